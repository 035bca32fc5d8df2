//! How often something is looked for that may not be there.

use std::time::{Duration, Instant};

/// The wait after the first look in vain.
const FIRST: Duration = Duration::from_secs(1);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// A look for what was missed: at once as a rule, but twice as long after each one that found
/// nothing, up to an hour. A peer that gives occasion for it every minute is looked at every minute
/// only while that brings something.
#[derive(Debug, Default, Clone)]
pub struct Pace {
    /// When there was a look, and how much had been found by then.
    last: Option<(Instant, u64)>,
    wait: Duration,
    due: bool,
}

impl Pace {
    /// There is an occasion: how long to wait before the look; `None` if one is to come anyway.
    /// `found` counts all that was ever found.
    pub fn occasion(&mut self, now: Instant, found: u64) -> Option<Duration> {
        if std::mem::replace(&mut self.due, true) {
            return None;
        }
        let Some((at, before)) = self.last else { return Some(Duration::ZERO) };
        let ago = now.duration_since(at);
        if found != before || ago >= LONGEST {
            self.wait = Duration::ZERO;
        }
        Some(self.wait.saturating_sub(ago))
    }

    /// The look begins.
    pub fn look(&mut self, now: Instant, found: u64) {
        self.due = false;
        self.last = Some((now, found));
        self.wait = (self.wait * 2).clamp(FIRST, LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_in_vain_become_rare() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        let (mut looks, mut due) = (0, None);
        for minute in 0..24 * 60 {
            let now = begin + Duration::from_secs(60 * minute);
            due = due.or_else(|| pace.occasion(now, 0).map(|wait| now + wait));
            if due.is_some_and(|due| due <= now) {
                due = None;
                looks += 1;
                pace.look(now, 0);
            }
        }
        assert!((20..=40).contains(&looks), "{looks} looks in a day");
    }

    #[test]
    fn what_brings_something_is_done_again_at_once() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        for found in 0..100 {
            assert_eq!(pace.occasion(begin, found), Some(Duration::ZERO));
            assert_eq!(pace.occasion(begin, found), None, "one is to come");
            pace.look(begin, found);
        }
        assert_ne!(pace.occasion(begin, 99), Some(Duration::ZERO));
        pace.look(begin, 99);
        assert_eq!(pace.occasion(begin + LONGEST, 99), Some(Duration::ZERO));
    }
}
