//! Users who were sent to a URL (MCP 2025-11-25 client/elicitation, "Completion Notifications for
//! URL Mode Elicitation"): which elicitations of which connections a session was given, so that the
//! news that one is over reaches this client and no other.
//!
//! The modern era has neither the ids nor the notification: there the client learns the outcome by
//! repeating its request (2026-07-28 basic/patterns/mrtr).

use crate::relay::known::Known;
use crate::upstream::Link;
use std::collections::VecDeque;

/// Most elicitations of one session whose end is waited for; of more, the oldest is forgotten.
pub const MOST_ELSEWHERE: usize = 64;

/// Most bytes of the id of one; the end of others is not told.
pub const MAX_ID: usize = 1024;

/// What one session waits for.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(VecDeque<(Known<Link>, String)>);

impl Elsewhere {
    /// The client was given this elicitation.
    pub(super) fn begin(&mut self, link: Known<Link>, id: String) {
        if id.is_empty() || id.len() > MAX_ID {
            return;
        }
        self.end(&link, &id); // it is given once more
        if self.0.len() >= MOST_ELSEWHERE {
            self.0.pop_front();
        }
        self.0.push_back((link, id));
    }

    /// It is over; whether it was waited for.
    pub(super) fn end(&mut self, link: &Known<Link>, id: &str) -> bool {
        let at = self.0.iter().position(|(by, known)| by == link && known == id);
        at.and_then(|at| self.0.remove(at)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Weak;

    #[test]
    fn what_is_waited_for_is_bounded_and_ends_once() {
        let (mut elsewhere, link) = (Elsewhere::default(), Known(Weak::new()));
        for id in 0..=MOST_ELSEWHERE {
            elsewhere.begin(link.clone(), id.to_string());
        }
        assert!(!elsewhere.end(&link, "0"), "the oldest");
        assert!(elsewhere.end(&link, "1"));
        assert!(!elsewhere.end(&link, "1"), "it was over before");
        for never in [String::new(), "x".repeat(MAX_ID + 1)] {
            elsewhere.begin(link.clone(), never.clone());
            assert!(!elsewhere.end(&link, &never));
        }
    }
}
