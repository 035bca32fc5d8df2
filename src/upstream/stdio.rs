//! An upstream that is a child process: starting it, and what it writes to its standard error.

use crate::base::limits::Limits;
use crate::config::{SecretText, Stdio};
use crate::observe::log::{Admit, RateLimited};
use crate::sys::command::CommandError;
use crate::sys::spawn::{Child, ChildSpec, SpawnError, Spawner};
use crate::wire::line::LineDecoder;
use bytes::BytesMut;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest line of standard error that is logged; the rest of it is left out.
pub const MAX_STDERR_LINE: usize = 8 << 10;

/// Lines of standard error that are logged in a second; more are counted.
pub const STDERR_LINES_PER_SECOND: u32 = 20;

/// Starts the child of an entry with exactly the environment that the entry asks for.
pub async fn start(
    spawner: &Spawner,
    key: &str,
    stdio: &Stdio,
    environment: Vec<(String, SecretText)>,
) -> Result<Child, String> {
    let spec = ChildSpec {
        label: key.to_owned(),
        command: OsString::from(&stdio.command),
        args: stdio.args.iter().map(OsString::from).collect(),
        env: environment.iter().map(|(k, v)| (k.into(), v.expose().into())).collect(),
        cwd: stdio.cwd.as_ref().map(PathBuf::from),
    };
    spawner.spawn(spec).await.map_err(|e| {
        if let SpawnError::Command(CommandError::NotOnPath { path, .. }) = &e {
            log::debug!("{key}: searched PATH {path}");
        }
        e.to_string()
    })
}

/// Reads standard error to its end, whatever comes, so that the child never blocks on it.
pub async fn drain_stderr(label: String, mut stderr: impl AsyncRead + Unpin) {
    let limits = Limits::for_messages(MAX_STDERR_LINE);
    let mut lines = LineDecoder::new(limits.line_bytes);
    let mut buffer = BytesMut::with_capacity(MAX_STDERR_LINE);
    let mut limit = RateLimited::new(STDERR_LINES_PER_SECOND, Duration::from_secs(1));
    loop {
        while let Some(line) = lines.next(&mut buffer) {
            let text = match &line {
                Ok(line) => String::from_utf8_lossy(line),
                Err(_) => "(a line too long to log)".into(),
            };
            say(&mut limit, &label, &text);
        }
        buffer.reserve(MAX_STDERR_LINE);
        match stderr.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

fn say(limit: &mut RateLimited, label: &str, text: &str) {
    match limit.admit(Instant::now()) {
        Admit::Pass { dropped: 0 } => log::info!("{label}: stderr: {text}"),
        Admit::Pass { dropped } => {
            log::info!("{label}: stderr: ({dropped} lines not logged)");
            log::info!("{label}: stderr: {text}");
        }
        Admit::Drop => {}
    }
}
