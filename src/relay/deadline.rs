//! How long one exchange may take: since it last moved, and in all.

use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// How long an exchange may take, and its one timer.
#[derive(Debug)]
pub(super) struct Deadline {
    pub(super) idle: Duration,
    /// When it has taken too long: after an idle time, or in all.
    pub(super) due: Instant,
    pub(super) end: Instant,
    /// How long nothing may happen now.
    given: Duration,
    /// `None` until somebody waits.
    pub(super) timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    pub(super) fn new(idle: Duration, total: Duration) -> Self {
        let now = Instant::now();
        let end = now + total;
        Self { idle, due: (now + idle).min(end), end, given: idle, timer: None }
    }

    /// Progress was made: the idle time begins anew, the end stays.
    pub(super) fn extend(&mut self) {
        self.allow(self.idle);
    }

    /// Only the end counts.
    pub(super) fn pause(&mut self) {
        self.due = self.end;
    }

    /// A person is asked: that is no idle time.
    pub(super) fn allow(&mut self, time: Duration) {
        self.given = time;
        self.due = (Instant::now() + time).min(self.end);
    }

    /// The timer, set to ring after `patience`, or when it has taken too long. To set it to a
    /// later time than before costs next to nothing.
    pub(super) fn timer(&mut self, patience: Duration) -> Pin<&mut Sleep> {
        let patience = Instant::now().checked_add(patience);
        let ring = patience.map_or(self.due, |patience| patience.min(self.due));
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(ring)));
        if timer.deadline() != ring {
            timer.as_mut().reset(ring);
        }
        timer.as_mut()
    }

    pub(super) fn has_passed(&self) -> bool {
        Instant::now() >= self.due
    }

    /// How long nothing may happen as things are.
    pub(super) fn patience(&self) -> Duration {
        self.given
    }

    /// Whether it has taken too long in all.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }
}
