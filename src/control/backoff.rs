//! How long to wait before something that failed is tried again.

use std::time::Duration;

/// The first wait after the attempt that follows a failure at once.
const FIRST: Duration = Duration::from_millis(500);

/// The shortest first wait, whatever is configured.
pub const SHORTEST: Duration = Duration::from_millis(100);

/// The longest wait.
pub const LONGEST: Duration = Duration::from_secs(30);

/// Exponential backoff with jitter: the first attempt comes at once, then after one step, two, four
/// … 30 s, each shortened by up to a quarter so that many do not return in step.
#[derive(Debug, Clone)]
pub struct Backoff {
    step: Duration,
    failures: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(FIRST)
    }
}

impl Backoff {
    /// One whose first wait is `step`, within [`SHORTEST`] and [`LONGEST`].
    pub fn new(step: Duration) -> Self {
        Self { step: step.clamp(SHORTEST, LONGEST), failures: 0 }
    }

    /// The same where the first failure is over: the next one is followed by a wait of one step.
    pub fn after_one(step: Duration) -> Self {
        Self { failures: 1, ..Self::new(step) }
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// There was a success: the next failure is a first one.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after a failure. `dice` is any number.
    pub fn after(&mut self, dice: u32) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let Some(doublings) = self.failures.checked_sub(2) else { return Duration::ZERO };
        let full = self.step.saturating_mul(1 << doublings.min(10)).min(LONGEST);
        full - full.mul_f64(share(dice))
    }
}

/// From nothing to a quarter.
pub(super) fn share(dice: u32) -> f64 {
    f64::from(dice % 1024) / 4096.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_once_then_longer_then_bounded() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.after(0).as_millis()).collect();
        assert_eq!(waits[..5], [0, 500, 1000, 2000, 4000]);
        assert_eq!(waits.last(), Some(&30_000));
        backoff.reset();
        assert_eq!(backoff.after(0), Duration::ZERO);
    }

    #[test]
    fn jitter_only_shortens_and_by_a_quarter_at_most() {
        for dice in [0, 1, 512, 1023, 1024, u32::MAX] {
            let mut backoff = Backoff { step: FIRST, failures: 1 };
            let wait = backoff.after(dice);
            assert!(wait <= FIRST && wait >= FIRST * 3 / 4, "{dice}: {wait:?}");
        }
    }
}
