//! `1mcp stdio`: the gateway for the one client that has started us, until that is gone.
//!
//! It listens nowhere, so `gateway.listen` means nothing here, and whoever can write to our input
//! is whoever has started us. Nothing but messages goes to standard output; the log goes to
//! standard error.

use crate::cli::Failure;
use crate::cli::args::StdioOptions;
use crate::cli::load::{self, Loaded};
use crate::cli::serve::{raise_limits, runtime, start, start_log, unusable};
use crate::config::Config;
use crate::downstream::stdio;
use crate::oauth::Permit;
use crate::relay::Endpoint;
use crate::sys::signal::{Hangup, Shutdown};
use tokio::sync::oneshot;

/// Runs the gateway.
pub(crate) fn run(options: StdioOptions) -> Result<u8, Failure> {
    let loaded = load::load(options.config.as_deref(), Some(Vec::new()))?;
    let Some(mut config) = loaded.config.clone() else { return Err(unusable(&loaded)) };
    let endpoint = endpoint(&mut config, options.server.as_deref()).map_err(Failure::usage)?;
    start_log(&config, &loaded)?;
    raise_limits();
    let runtime = runtime()?;
    let outcome = runtime.block_on(until_gone(config, loaded, endpoint));
    // a thread may still wait for input, or for somebody to read our output: it ends with us
    runtime.shutdown_background();
    outcome
}

/// The face of the gateway that the client sees. Where that is one server, no other is started.
fn endpoint(config: &mut Config, server: Option<&str>) -> Result<Endpoint, String> {
    let Some(server) = server else { return Ok(Endpoint::Aggregate) };
    let slugs: Vec<_> = config.entries.iter().map(|entry| entry.slug.to_string()).collect();
    config.entries.retain(|entry| entry.slug.as_str() == server);
    match config.entries.first() {
        Some(entry) if entry.enabled => Ok(Endpoint::Single(0)),
        Some(_) => Err(format!("--server {server}: its entry is disabled")),
        None => Err(format!("--server {server:?}: expected one of {}", slugs.join(", "))),
    }
}

async fn until_gone(config: Config, loaded: Loaded, endpoint: Endpoint) -> Result<u8, Failure> {
    let deaf = |e| Failure::failed(format!("cannot hear signals: {e}"));
    let (mut shutdown, mut hangup) =
        (Shutdown::listen().map_err(deaf)?, Hangup::listen().map_err(deaf)?);
    let gateway = start(config, loaded, Vec::new())?;
    let permit = Permit::local_owner();
    let (stop, told) = oneshot::channel();
    let told = async { drop(told.await) };
    let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
    let front = gateway.front();
    let mut served = Box::pin(async {
        stdio::serve(front, permit, endpoint, input, output, told).await;
        gateway.stop().await
    });
    let mut stop = Some(stop);
    let late = loop {
        let signal = tokio::select! {
            late = &mut served => break late,
            signal = shutdown.recv() => signal,
            () = hangup.recv() => "SIGHUP", // its terminal is gone
        };
        match stop.take() {
            Some(stop) => {
                log::info!("{signal}; once more to stop at once");
                let _ = stop.send(()); // it is ending already
            }
            None if signal == "SIGHUP" => {}
            None => return Err(Failure::failed("stopped at once")),
        }
    };
    for task in late {
        log::warn!("did not end in time: {task}");
    }
    Ok(0)
}
