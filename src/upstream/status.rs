//! Where an upstream stands, as operators and clients are told it.

use crate::upstream::Link;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where an upstream stands: what [`crate::control::lifecycle`] says, with what requests need.
#[derive(Debug, Clone)]
pub enum State {
    /// The first connection is being made.
    Starting,
    /// Requests can be sent.
    Ready(Arc<Link>),
    /// Requests can be sent, but probes are not answered.
    Degraded(Arc<Link>),
    /// The connection ended, and why; the next one is being made.
    Returning(Arc<str>),
    /// There is no connection, and why; the next attempt comes at this time.
    Backoff(Arc<str>, Instant),
    /// The same, and it has ended so quickly so often that attempts are rare.
    Open(Arc<str>, Instant),
    /// It is being stopped.
    Draining,
    /// It was stopped.
    Stopped,
    /// It is not used, and why.
    Disabled(Arc<str>),
}

impl State {
    /// The state in one word, for machines.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting | Self::Returning(_) => "starting",
            Self::Ready(_) => "ready",
            Self::Degraded(_) => "degraded",
            Self::Backoff(..) => "backoff",
            Self::Open(..) => "open",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Disabled(_) => "disabled",
        }
    }

    /// The connection, if there is one.
    pub fn link(&self) -> Option<&Arc<Link>> {
        match self {
            Self::Ready(link) | Self::Degraded(link) => Some(link),
            _ => None,
        }
    }

    /// Whether a connection is being made that is worth a wait.
    pub fn is_making(&self) -> bool {
        matches!(self, Self::Starting | Self::Returning(_))
    }

    /// How long it is until the next attempt to connect, where one is waited for; nothing where it
    /// is under way.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Backoff(_, next) | Self::Open(_, next) => {
                Some(next.saturating_duration_since(Instant::now()))
            }
            _ => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => write!(f, "starting"),
            Self::Ready(_) => write!(f, "ready"),
            Self::Degraded(_) => {
                write!(f, "degraded: it does not answer when asked for a sign of life")
            }
            Self::Returning(why) => write!(f, "restarting: {why}"),
            Self::Backoff(why, _) => write!(f, "down: {why}; {}", Next(self.retry_after())),
            Self::Open(why, _) => {
                write!(f, "down, and fails each time: {why}; {}", Next(self.retry_after()))
            }
            Self::Draining => write!(f, "stopping"),
            Self::Stopped => write!(f, "stopped"),
            Self::Disabled(why) => write!(f, "disabled: {why}"),
        }
    }
}

/// When the next attempt comes, in whole seconds, never sooner than it does.
struct Next(Option<Duration>);

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.map(|wait| wait.as_millis().div_ceil(1000)) {
            None | Some(0) => write!(f, "an attempt is under way"),
            Some(seconds) => write!(f, "next attempt in {seconds} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_told_when_to_retry_is_not_told_a_time_too_early() {
        let why: Arc<str> = "exited with code 1".into();
        let soon = Instant::now() + Duration::from_millis(1500);
        let state = State::Backoff(Arc::clone(&why), soon);
        assert_eq!(state.to_string(), "down: exited with code 1; next attempt in 2 s");
        assert!(state.retry_after().is_some_and(|wait| wait > Duration::from_secs(1)));
        let state = State::Open(why, Instant::now());
        assert!(state.to_string().ends_with("an attempt is under way"), "{state}");
        assert_eq!((state.name(), state.retry_after()), ("open", Some(Duration::ZERO)));
        assert_eq!(State::Starting.retry_after(), None);
    }
}
