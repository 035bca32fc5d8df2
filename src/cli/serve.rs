//! `1mcp serve`: the gateway until it is told to stop.

use crate::cli::Failure;
use crate::cli::args::ServeOptions;
use crate::cli::load::{self, Loaded};
use crate::config::{AuthMode, Config, LogFormat, LogLevel};
use crate::config::{is_loopback_ip, parse_listen};
use crate::gateway::pulse::Pulse;
use crate::gateway::{Gateway, Parts};
use crate::net::listen::{self, Listener};
use crate::observe::log as observe;
use crate::sys::limits::raise_descriptor_limit;
use crate::sys::random::Random;
use crate::sys::signal::{Hangup, Shutdown};
use crate::sys::spawn::{Spawner, own_program};
use crate::sys::systemd::{Notify, Service};
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

/// Runs the gateway.
pub(crate) fn run(options: ServeOptions) -> Result<u8, Failure> {
    let given = addresses(&options.listen)?;
    let listen = (!given.is_empty()).then_some(given);
    let mut loaded = load::load(options.config.as_deref(), listen.clone())?;
    let service = Service::take(&mut loaded.environment);
    let Some(mut config) = loaded.config.clone() else { return Err(unusable(&loaded)) };
    start_log(&config, &loaded)?;
    if let Some(listen) = listen {
        config.gateway.listen = listen;
    }
    let handed = service.sockets().map_err(|e| Failure::failed(e.to_string()))?;
    if !handed.is_empty() {
        // who made them has chosen the addresses
        config.gateway.listen = handed.iter().filter_map(|s| s.local_addr().ok()).collect();
    }
    if let Some(fault) = open_door(&config) {
        return Err(Failure::usage(fault));
    }
    raise_limits();
    runtime()?.block_on(until_stopped(config, loaded, service, handed))
}

/// Listens where the configuration says, or goes on where somebody else has begun.
fn listen(config: &Config, handed: Vec<TcpListener>) -> Result<Vec<Listener>, Failure> {
    if handed.is_empty() {
        return listen::bind(&config.gateway.listen).map_err(|e| Failure::failed(e.to_string()));
    }
    let adopted: Result<Vec<_>, _> = handed.into_iter().map(Listener::adopt).collect();
    adopted.map_err(|e| Failure::failed(format!("cannot accept on a socket handed over: {e}")))
}

/// Tells the service manager that we are alive, as long as that is so.
async fn feed(pulse: Pulse, every: Option<Duration>, notify: &Notify) -> Infallible {
    let Some(every) = every else { return std::future::pending().await };
    loop {
        tokio::time::sleep(every).await;
        if !pulse.beats().await {
            log::error!(
                "a part of the gateway has ended: the service manager is told nothing more"
            );
            return std::future::pending().await;
        }
        notify.alive();
    }
}

fn addresses(texts: &[String]) -> Result<Vec<SocketAddr>, Failure> {
    let read = |text: &String| {
        let expected = || Failure::usage(format!("--listen {text:?}: expected ADDRESS:PORT"));
        parse_listen(text).ok_or_else(expected)
    };
    texts.iter().map(read).collect()
}

/// Makes room for many connections and children.
pub(super) fn raise_limits() {
    if let Err(e) = raise_descriptor_limit() {
        log::warn!("the limit of open files cannot be raised: {e}");
    }
}

pub(super) fn unusable(loaded: &Loaded) -> Failure {
    let lines: Vec<String> = loaded.lines().into_iter().map(|(_, line)| line).collect();
    Failure::usage(format!("the configuration cannot be used\n{}", lines.join("\n")))
}

/// Until authentication exists, only this machine may connect: an address that others can reach,
/// and why it is refused.
pub(super) fn open_door(config: &Config) -> Option<String> {
    let open = config.gateway.listen.iter().find(|address| !is_loopback_ip(address.ip()))?;
    Some(format!(
        "will not listen on {open}: clients are not authenticated yet, so only loopback \
         addresses (127.0.0.1, ::1) are served"
    ))
}

/// Begins to log, first what is wrong with the file.
pub(super) fn start_log(config: &Config, loaded: &Loaded) -> Result<(), Failure> {
    let level = match config.gateway.log.level {
        LogLevel::Error => log::LevelFilter::Error,
        LogLevel::Warn => log::LevelFilter::Warn,
        LogLevel::Info => log::LevelFilter::Info,
        LogLevel::Debug => log::LevelFilter::Debug,
        LogLevel::Trace => log::LevelFilter::Trace,
    };
    let format = match config.gateway.log.format {
        LogFormat::Auto => observe::Format::Auto,
        LogFormat::Text => observe::Format::Human,
        LogFormat::Json => observe::Format::Json,
    };
    observe::init(level, format).map_err(|e| Failure::failed(e.to_string()))?;
    for (is_error, line) in loaded.lines() {
        let level = if is_error { log::Level::Error } else { log::Level::Warn };
        log::log!(level, "{line}");
    }
    Ok(())
}

/// The runtime of every command that talks to somebody. It works on half of the processors: the
/// clients and servers of this machine want the others, and with fewer workers fewer answers are
/// handed from one processor to another.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let workers = (processors / 2).max(1);
    let built =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    built.map_err(|e| Failure::failed(format!("cannot start: {e}")))
}

/// A gateway from what was loaded.
pub(super) fn start(
    config: Config,
    loaded: Loaded,
    listeners: Vec<Listener>,
) -> Result<Gateway, Failure> {
    let failed = |what: &str, e: std::io::Error| Failure::failed(format!("{what}: {e}"));
    let helper = own_program().map_err(|e| failed("cannot find this program", e))?;
    let spawner = Spawner::start(helper).map_err(|e| failed("cannot start processes", e))?;
    let random = Random::open().map_err(|e| failed("no randomness", e))?;
    let fence = loaded.fence();
    let environment = loaded.environment;
    let random = Arc::new(random);
    Ok(Gateway::start(Parts { config, environment, fence, listeners, spawner, random }))
}

async fn until_stopped(
    config: Config,
    loaded: Loaded,
    service: Service,
    handed: Vec<TcpListener>,
) -> Result<u8, Failure> {
    let mut shutdown =
        Shutdown::listen().map_err(|e| Failure::failed(format!("cannot hear signals: {e}")))?;
    let listeners = listen(&config, handed)?;
    if config.gateway.auth_mode == AuthMode::OAuth {
        log::warn!("clients are not authenticated yet: every program on this machine can connect");
    }
    let addresses: Vec<SocketAddr> = listeners.iter().map(Listener::local_address).collect();
    let gateway = start(config, loaded, listeners)?;
    for address in &addresses {
        log::info!("listening on http://{address}/mcp");
    }
    let notify = service.notify().unwrap_or_else(|e| {
        log::warn!("the service manager cannot be told anything (NOTIFY_SOCKET): {e}");
        Notify::default()
    });
    let texts: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    notify.ready(&format!("listening on {}", texts.join(", ")));
    let mut fed = Box::pin(feed(gateway.pulse(), service.watchdog(), &notify));
    let mut hangup =
        Hangup::listen().map_err(|e| Failure::failed(format!("cannot hear signals: {e}")))?;
    let signal = loop {
        tokio::select! {
            signal = shutdown.recv() => break signal,
            never = &mut fed => match never {},
            () = hangup.recv() => log::warn!("SIGHUP: the file is not read again while running yet"),
        }
    };
    log::info!("stopping ({signal}); once more to stop at once");
    notify.stopping();
    tokio::select! {
        never = fed => match never {},
        late = gateway.stop() => {
            for task in late {
                log::warn!("did not end in time: {task}");
            }
            log::info!("stopped");
            Ok(0)
        }
        _ = shutdown.recv() => Err(Failure::failed("stopped at once")),
    }
}
