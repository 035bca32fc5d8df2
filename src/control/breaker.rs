//! The breaker before one origin: whoever is down is not asked again and again by everybody.
//!
//! Closed, open, half open. Several failures in a row open it; after a pause one probe is let
//! through, and what comes of it closes the breaker or begins a longer pause. What counts as a
//! failure, and what time it is, says the caller. Never here: which request is sent again.

use crate::control::backoff::{Backoff, LONGEST};
use std::time::{Duration, Instant};

/// So many failures in a row open it.
pub const MOST_FAILURES: u32 = 3;

/// The first pause; each further one is twice as long, up to [`LONGEST_PAUSE`].
pub const PAUSE: Duration = Duration::from_millis(200);

/// The longest pause.
pub const LONGEST_PAUSE: Duration = LONGEST;

/// A probe of which nothing was heard for so long does not keep back the next one.
pub const PROBE: Duration = Duration::from_secs(1);

/// Whoever has failed so recently is asked only if nobody else can be.
pub const SUSPECT: Duration = Duration::from_secs(1);

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer, whatever it says.
    Answered,
    /// None: nobody is there, or nobody who can answer.
    Failed,
    /// It was given up before, or failed for a reason of our own.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Open {
        /// When a probe may go.
        until: Instant,
    },
    HalfOpen {
        /// When the last probe went.
        since: Instant,
    },
}

/// The right to send one request; [`Breaker::note`] wants it back.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    round: u64,
}

/// How an origin stands among others that can be asked instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    /// How long no request is let through.
    pub wait: Duration,
    /// It has failed just now.
    pub suspect: bool,
    /// Requests under way there.
    pub busy: usize,
}

/// The breaker of one origin.
#[derive(Debug)]
pub struct Breaker {
    phase: Phase,
    /// Counts openings and closings: what comes of a request from before one says nothing.
    round: u64,
    /// In a row, while it is closed.
    failures: u32,
    failed: Option<Instant>,
    pauses: Backoff,
}

impl Default for Breaker {
    fn default() -> Self {
        let pauses = Backoff::after_one(PAUSE);
        Self { phase: Phase::Closed, round: 0, failures: 0, failed: None, pauses }
    }
}

impl Breaker {
    /// Lets a request through.
    ///
    /// # Errors
    /// How long nothing is let through.
    pub fn permit(&mut self, now: Instant) -> Result<Permit, Duration> {
        match self.wait(now) {
            Duration::ZERO => Ok(self.attempt(now)),
            wait => Err(wait),
        }
    }

    /// Lets a request through whose sender waits between its attempts by a rule of its own.
    pub fn attempt(&mut self, now: Instant) -> Permit {
        if self.phase != Phase::Closed {
            self.phase = Phase::HalfOpen { since: now };
        }
        Permit { round: self.round }
    }

    /// How long nothing is let through.
    pub fn wait(&self, now: Instant) -> Duration {
        match self.phase {
            Phase::Closed => Duration::ZERO,
            Phase::Open { until } => until.saturating_duration_since(now),
            Phase::HalfOpen { since } => (since + PROBE).saturating_duration_since(now),
        }
    }

    /// Whether it has failed just now.
    pub fn is_suspect(&self, now: Instant) -> bool {
        self.failed.is_some_and(|at| now.saturating_duration_since(at) < SUSPECT)
    }

    /// Whether requests are let through as they come.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// What came of a request. `dice` is any number.
    pub fn note(&mut self, permit: Permit, outcome: Outcome, now: Instant, dice: u32) {
        if permit.round != self.round {
            return;
        }
        match (outcome, self.phase) {
            (Outcome::Answered, Phase::Closed) => (self.failures, self.failed) = (0, None),
            (Outcome::Answered, _) => {
                let round = self.round + 1;
                *self = Self { round, ..Self::default() };
            }
            (Outcome::Failed, Phase::Closed) => {
                (self.failures, self.failed) = (self.failures + 1, Some(now));
                if self.failures == MOST_FAILURES {
                    self.round += 1;
                    self.open(now, dice);
                }
            }
            (Outcome::Failed, _) => {
                self.failed = Some(now);
                self.open(now, dice);
            }
            (Outcome::Unknown, Phase::HalfOpen { .. }) => self.phase = Phase::Open { until: now },
            (Outcome::Unknown, _) => {}
        }
    }

    fn open(&mut self, now: Instant, dice: u32) {
        self.phase = Phase::Open { until: now + self.pauses.after(dice) };
    }
}

/// Who of several is asked: who lets a request through, has not failed just now, and has least to
/// do; the first of equals. Of those at `avoid` one is taken only if there is no other.
pub fn best(standings: impl Iterator<Item = Standing>, avoid: u16) -> usize {
    let is_avoided =
        |at: usize| u32::try_from(at).is_ok_and(|at| avoid.checked_shr(at).unwrap_or(0) & 1 == 1);
    let ranked = standings.enumerate().map(|(at, standing)| {
        let is_shut = standing.wait > Duration::ZERO;
        (is_shut, is_avoided(at), standing, at)
    });
    ranked.min().map_or(0, |(.., at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fail(breaker: &mut Breaker, now: Instant) -> Result<(), Duration> {
        let permit = breaker.permit(now)?;
        breaker.note(permit, Outcome::Failed, now, 0);
        Ok(())
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..MOST_FAILURES {
            assert_eq!(fail(&mut breaker, now), Ok(()));
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_probe_closes_it() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..3 * MOST_FAILURES {
            for _ in 1..MOST_FAILURES {
                assert_eq!(fail(&mut breaker, now), Ok(()));
            }
            let permit = breaker.permit(now).expect("not enough in a row");
            breaker.note(permit, Outcome::Answered, now, 0);
        }
        let mut breaker = opened(now);
        assert_eq!(breaker.permit(now).err(), Some(PAUSE));
        let then = now + PAUSE;
        let probe = breaker.permit(then).expect("the pause is over");
        assert_eq!(breaker.permit(then).err(), Some(PROBE), "one at a time");
        breaker.note(probe, Outcome::Answered, then, 0);
        assert!(breaker.is_closed() && breaker.permit(then).is_ok());
    }

    #[test]
    fn each_pause_is_longer_than_the_last_and_none_longer_than_half_a_minute() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            pauses.push(breaker.wait(now));
            now += breaker.wait(now);
            assert_eq!(fail(&mut breaker, now), Ok(()));
        }
        assert_eq!(pauses[..4], [1, 2, 4, 8].map(|n| n * PAUSE));
        assert_eq!(pauses.last(), Some(&LONGEST_PAUSE));
    }

    #[test]
    fn what_comes_late_of_a_request_from_before_says_nothing() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        let old: Vec<Permit> = (0..8).filter_map(|_| breaker.permit(now).ok()).collect();
        for _ in 0..MOST_FAILURES {
            assert_eq!(fail(&mut breaker, now), Ok(()));
        }
        for (at, permit) in old.into_iter().enumerate() {
            let outcome = if at < 4 { Outcome::Answered } else { Outcome::Failed };
            breaker.note(permit, outcome, now, 0);
        }
        assert_eq!(breaker.wait(now), PAUSE);
    }

    #[test]
    fn whoever_waits_by_itself_may_try_before_the_pause_is_over() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let permit = breaker.attempt(now);
        breaker.note(permit, Outcome::Answered, now, 0);
        assert!(breaker.is_closed());
    }

    #[test]
    fn who_is_asked() {
        let free = Standing { wait: Duration::ZERO, suspect: false, busy: 0 };
        let busy = Standing { busy: 2, ..free };
        let shut = Standing { wait: PAUSE, ..free };
        let soon = Standing { wait: PAUSE / 2, ..free };
        let suspect = Standing { suspect: true, ..free };
        let cases: &[(&[Standing], u16, usize)] = &[
            (&[free, free], 0, 0),
            (&[busy, free, free], 0, 1),
            (&[suspect, busy], 0, 1),
            (&[shut, suspect], 0, 1),
            (&[shut, soon, shut], 0, 1),
            (&[free, busy], 0b01, 1),
            (&[free, shut], 0b01, 0),
            (&[free, busy], 0b11, 0),
            (&[free], 0b01, 0),
            (&[], 0, 0),
        ];
        for (standings, avoid, expected) in cases {
            assert_eq!(best(standings.iter().copied(), *avoid), *expected, "{standings:?}");
        }
    }

    #[derive(Debug, Clone)]
    enum Act {
        Pass(u64),
        Ask,
        Attempt,
        End(usize, u8),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            2 => (1..2_000u64).prop_map(Act::Pass),
            3 => Just(Act::Ask),
            1 => Just(Act::Attempt),
            4 => (any::<usize>(), 0..4u8).prop_map(|(at, how)| Act::End(at, how)),
        ]
    }

    /// What is known of the breaker by its promises alone.
    #[derive(Default)]
    struct Model {
        /// Since the last answer that counts; permits from before an opening do not count.
        failures: u32,
        era: u64,
        shut: bool,
    }

    proptest! {
        /// In any sequence of events: it is shut exactly after enough failures in a row and until
        /// a probe is answered; shut, it lets one request through at a time; and nobody waits for
        /// longer than the longest pause.
        #[test]
        fn it_keeps_its_promises(acts in proptest::collection::vec(act(), 1..200)) {
            let (mut now, mut breaker, mut model) =
                (Instant::now(), Breaker::default(), Model::default());
            let mut out: Vec<(Permit, u64)> = Vec::new();
            let mut last_probe: Option<Instant> = None;
            for (dice, act) in (0..).zip(acts) {
                match act {
                    Act::Pass(ms) => now += Duration::from_millis(ms),
                    Act::Ask => match breaker.permit(now) {
                        Ok(permit) => {
                            if model.shut {
                                let spaced = last_probe.is_none_or(|at| now - at >= PROBE);
                                prop_assert!(spaced, "two probes at once");
                                last_probe = Some(now);
                            }
                            out.push((permit, model.era));
                        }
                        Err(wait) => {
                            prop_assert!(model.shut && wait <= LONGEST_PAUSE, "{wait:?}");
                            prop_assert!(wait > Duration::ZERO);
                        }
                    },
                    Act::Attempt => {
                        out.push((breaker.attempt(now), model.era));
                        last_probe = model.shut.then_some(now);
                    }
                    Act::End(at, how) if !out.is_empty() => {
                        let (permit, era) = out.swap_remove(at % out.len());
                        let outcome = [Outcome::Answered, Outcome::Failed, Outcome::Unknown]
                            [usize::from(how % 3)];
                        breaker.note(permit, outcome, now, dice);
                        if era != model.era {
                            continue;
                        }
                        match outcome {
                            Outcome::Answered => {
                                model.era += u64::from(model.shut);
                                (model.failures, model.shut) = (0, false);
                            }
                            Outcome::Failed if model.shut => {}
                            Outcome::Failed => {
                                model.failures += 1;
                                model.shut = model.failures == MOST_FAILURES;
                                model.era += u64::from(model.shut);
                            }
                            Outcome::Unknown => {}
                        }
                        last_probe = None;
                    }
                    Act::End(..) => {}
                }
                prop_assert_eq!(breaker.is_closed(), !model.shut);
            }
            now += LONGEST_PAUSE.max(PROBE);
            prop_assert!(breaker.permit(now).is_ok(), "nobody is shut out for ever");
        }
    }
}
