//! An upstream that is a child process: starting it, and what it writes to its standard error.

use crate::base::limits::Limits;
use crate::config::{Sandbox, SandboxProfile, SecretText, Stdio};
use crate::control::confine::Sandboxed;
use crate::control::lifecycle::STABLE;
use crate::observe::log::{Admit, RateLimited};
use crate::sys::command::CommandError;
use crate::sys::sandbox::{Policy, named_paths};
use crate::sys::spawn::{Child, ChildSpec, SpawnError, Spawner};
use crate::wire::line::LineDecoder;
use bytes::BytesMut;
use log::Level;
use std::collections::HashMap;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest line of standard error that is logged; the rest of it is left out.
pub const MAX_STDERR_LINE: usize = 8 << 10;

/// Lines of standard error that are logged in a second; more are counted.
pub const STDERR_LINES_PER_SECOND: u32 = 20;

/// Most different lines of failed starts that are known again.
pub const MAX_KNOWN_LINES: usize = 1024;

/// What the children of one entry have written to standard error before they failed. A child that
/// is started again and again says the same again and again: that is for the debug log.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The child in whose life each line came first.
    lines: HashMap<u64, u64>,
    children: u64,
}

impl Repeats {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A child begins; its number.
    fn begin(&self) -> u64 {
        let mut known = self.lock();
        known.children += 1;
        known.children
    }

    /// All is news again.
    pub fn forget(&self) {
        self.lock().lines.clear();
    }

    /// Whether an earlier child has said the same, but for the numbers in it (times, process ids).
    fn knows(&self, child: u64, line: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        line.split(|c: char| c.is_ascii_digit())
            .filter(|part| !part.is_empty())
            .for_each(|part| part.hash(&mut hasher));
        let (line, mut known) = (hasher.finish(), self.lock());
        if known.lines.len() >= MAX_KNOWN_LINES {
            return known.lines.get(&line).is_some_and(|first| *first < child);
        }
        *known.lines.entry(line).or_insert(child) < child
    }
}

/// What no sandbox may give away, and where it is said what cannot be enforced.
#[derive(Debug, Default)]
pub struct Fence {
    /// The configuration, what it refers to, and the folder of our state.
    pub own: Vec<PathBuf>,
    /// The home folder of whoever runs the gateway.
    pub home: Option<PathBuf>,
    said: AtomicBool,
    /// What was last said of each entry: one that is started again and again is held the same.
    held: Mutex<HashMap<String, u64>>,
}

impl Fence {
    /// Around these files and this home folder.
    #[must_use]
    pub fn around(own: Vec<PathBuf>, home: Option<PathBuf>) -> Self {
        Self { own, home, ..Self::default() }
    }

    /// What the child of an entry is held to.
    fn policy(&self, stdio: &Stdio) -> Option<Box<Policy>> {
        let rules = Sandbox::clone(&stdio.sandbox);
        if rules.profile == SandboxProfile::DangerouslyOff {
            return None;
        }
        let values = stdio.env.iter().filter_map(|(_, value)| Some(value.as_ref()?.expose()));
        let named = named_paths(stdio.args.iter().map(String::as_str).chain(values));
        let (protected, home) = (self.own.clone(), self.home.clone());
        Some(Box::new(Policy { rules, named, protected, home, at_most: None }))
    }

    /// Whether an entry's last child was held differently.
    fn is_news(&self, key: &str, sandboxed: &Sandboxed) -> bool {
        let mut hasher = DefaultHasher::new();
        (sandboxed.to_string(), &sandboxed.remarks).hash(&mut hasher);
        let now = hasher.finish();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(key.to_owned(), now) != Some(now)
    }

    /// Logs what a child is held by, when it is news; what this kernel cannot do, once for all
    /// children.
    fn say(&self, key: &str, sandboxed: Option<&Sandboxed>) {
        let Some(sandboxed) = sandboxed else {
            log::warn!("{key}: runs without a sandbox, as its entry says (dangerously-off)");
            return;
        };
        let is_news = self.is_news(key, sandboxed);
        let at = |level| if is_news { level } else { Level::Debug };
        log::log!(at(Level::Info), "{key}: sandbox {sandboxed}");
        for remark in &sandboxed.remarks {
            // Somebody has to see to a path that a server was meant to have.
            let matters = remark.contains("not granted");
            let level = at(if matters { Level::Warn } else { Level::Info });
            log::log!(level, "{key}: sandbox: {remark}");
        }
        if let Some(gaps) = sandboxed.gaps()
            && !self.said.swap(true, Ordering::Relaxed)
        {
            log::warn!("sandboxes are weaker here: this kernel cannot enforce {gaps}");
        }
    }
}

/// Starts the child of an entry with exactly the environment that the entry asks for, in its
/// sandbox.
pub async fn start(
    spawner: &Spawner,
    key: &str,
    stdio: &Stdio,
    environment: Vec<(String, SecretText)>,
    fence: &Fence,
) -> Result<Child, String> {
    let spec = ChildSpec {
        label: key.to_owned(),
        command: OsString::from(&stdio.command),
        args: stdio.args.iter().map(OsString::from).collect(),
        env: environment.iter().map(|(k, v)| (k.into(), v.expose().into())).collect(),
        cwd: stdio.cwd.as_ref().map(PathBuf::from),
        sandbox: fence.policy(stdio),
    };
    let child = spawner.spawn(spec).await.map_err(|e| {
        if let SpawnError::Command(CommandError::NotOnPath { path, .. }) = &e {
            log::debug!("{key}: searched PATH {path}");
        }
        e.to_string()
    })?;
    fence.say(key, child.sandboxed.as_ref());
    Ok(child)
}

/// Reads standard error to its end, whatever comes, so that the child never blocks on it.
pub async fn drain_stderr(
    label: String,
    repeats: Arc<Repeats>,
    mut stderr: impl AsyncRead + Unpin,
) {
    let (child, begun) = (repeats.begin(), Instant::now());
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
            if begun.elapsed() < STABLE && repeats.knows(child, &text) {
                log::debug!("{label}: stderr: {text}");
            } else {
                say(&mut limit, &label, &text);
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_known_when_an_earlier_child_said_it_whatever_the_time() {
        let repeats = Repeats::default();
        let (first, second) = (repeats.begin(), repeats.begin());
        let at = |time: &str| format!("{time} [pid 12] cannot open the store");
        assert!(!repeats.knows(first, &at("10:00:01.5")));
        assert!(!repeats.knows(first, &at("10:00:02.5")), "the same child may say it twice");
        assert!(repeats.knows(second, &at("23:59:59.123")));
        assert!(!repeats.knows(second, "cannot open the door"));
        repeats.forget();
        assert!(!repeats.knows(second, &at("10:00:01.5")));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let repeats = Repeats::default();
        for n in 0..2 * MAX_KNOWN_LINES {
            repeats.knows(1, &"x".repeat(n));
        }
        assert_eq!(repeats.lock().lines.len(), MAX_KNOWN_LINES);
        assert!(repeats.knows(2, "x"));
    }
}
