//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// The first wait after the attempt that follows a failure at once.
const FIRST: Duration = Duration::from_millis(500);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);

/// A connection that lasted this long counts as a success.
const STABLE: Duration = Duration::from_secs(10);

/// Exponential backoff with jitter: the first attempt comes at once, then 0.5 s, 1 s … 30 s, each
/// shortened by up to a quarter so that many upstreams do not return in step.
#[derive(Debug, Default, Clone)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after a failure. `lasted` is how long the connection held, `dice` any number.
    pub fn after(&mut self, lasted: Duration, dice: u32) -> Duration {
        if lasted >= STABLE {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let Some(doublings) = self.failures.checked_sub(2) else { return Duration::ZERO };
        let full = FIRST.saturating_mul(1 << doublings.min(10)).min(LONGEST);
        full - full.mul_f64(f64::from(dice % 1024) / 4096.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_once_then_longer_then_bounded() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.after(Duration::ZERO, 0).as_millis()).collect();
        assert_eq!(waits[..5], [0, 500, 1000, 2000, 4000]);
        assert_eq!(waits.last(), Some(&30_000));
        assert_eq!(backoff.after(STABLE, 0), Duration::ZERO);
    }

    #[test]
    fn jitter_only_shortens_and_by_a_quarter_at_most() {
        for dice in [0, 1, 512, 1023, 1024, u32::MAX] {
            let mut backoff = Backoff { failures: 1 };
            let wait = backoff.after(Duration::ZERO, dice);
            assert!(wait <= FIRST && wait >= FIRST * 3 / 4, "{dice}: {wait:?}");
        }
    }
}
