//! The life of the connection to one upstream: when to connect, how long to wait before, when to
//! give up a connection that hangs.
//!
//! One pure state machine. Whoever drives it tells what happened and when, and does what it says;
//! it never gives an upstream up for good. Never here: what is said to clients or operators.

use crate::control::backoff::{Backoff, share};
use std::time::{Duration, Instant};

/// A connection that lasted this long counts as a success: what comes after is a first failure.
pub const STABLE: Duration = Duration::from_secs(10);

/// The wait before each attempt once there is a crash loop.
pub const CRASH_LOOP: Duration = Duration::from_secs(60);

/// A connection on which so many probes in a row were not answered is given up.
pub const MOST_MISSED: u32 = 3;

/// What the operator has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The first wait; the very first attempt after a failure comes at once.
    pub delay: Duration,
    /// After more quick failures in a row than this there is a crash loop.
    pub max: u32,
}

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// An attempt is under way, or comes at once.
    Starting,
    /// Requests can be sent.
    Ready,
    /// Requests can be sent, but probes are not answered.
    Degraded,
    /// There was a failure.
    Backoff {
        /// When the next attempt comes.
        next: Instant,
    },
    /// There were so many failures in a row that this is a crash loop.
    Open {
        /// When the next attempt comes; in the past while it is under way.
        next: Instant,
    },
    /// What is left is being ended, and nothing comes after it.
    Draining,
    /// Nothing is left.
    Stopped,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The wait is over; at the very beginning, too.
    Due,
    /// The attempt has brought a connection that shook hands.
    Connected,
    /// The attempt has brought none.
    Failed,
    /// The connection ended, or is of no use.
    Lost,
    /// The same, and there is another server to connect to, which has not failed: that is worth no
    /// wait, but in a crash loop.
    Moved,
    /// A probe was not answered in time.
    Missed {
        /// Calls are under way, and none of them has been silent for longer than it may be:
        /// whoever works on them need not have time for a probe.
        working: bool,
    },
    /// Something arrived.
    Heard,
    /// There are to be no more connections.
    Stop,
    /// What was left has ended.
    Ended,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Connect: [`Event::Connected`] or [`Event::Failed`] follows.
    Attempt,
    /// Wait until then: [`Event::Due`] follows.
    Wait(Instant),
    /// Use the connection: [`Event::Lost`] follows some time.
    Serve,
    /// End the connection: [`Event::Lost`] follows.
    GiveUp,
    /// End whatever there is: [`Event::Ended`] follows.
    End,
    /// Go on.
    Nothing,
}

/// One upstream's connection through its attempts.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    max: u32,
    backoff: Backoff,
    phase: Phase,
    /// An attempt is under way.
    trying: bool,
    /// When the present connection was made.
    since: Option<Instant>,
    missed: u32,
}

impl Lifecycle {
    /// Nothing was tried yet: [`Event::Due`] begins.
    pub fn new(plan: Plan) -> Self {
        let (phase, backoff) = (Phase::Starting, Backoff::new(plan.delay));
        Self { max: plan.max, backoff, phase, trying: false, since: None, missed: 0 }
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Quick failures in a row.
    pub fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// Whether there were more than there may be.
    fn is_crash_loop(&self) -> bool {
        self.failures() > self.max
    }

    /// What follows from an event. One that cannot come now changes nothing. `dice` is any number.
    pub fn step(&mut self, event: Event, now: Instant, dice: u32) -> Action {
        match (self.phase, event) {
            (Phase::Stopped, _) => Action::Nothing,
            (Phase::Draining, Event::Ended | Event::Failed | Event::Lost) => self.stopped(),
            (Phase::Draining, _) => Action::Nothing,
            (_, Event::Stop) => self.stop(),
            (_, Event::Due) => self.due(now),
            (_, Event::Connected) if self.trying => self.connected(now),
            (_, Event::Failed) if self.trying => self.failed(now, dice),
            (Phase::Ready | Phase::Degraded, Event::Lost) => self.failed(now, dice),
            (Phase::Ready | Phase::Degraded, Event::Moved) => self.moved(now, dice),
            (Phase::Ready | Phase::Degraded, Event::Missed { working }) => self.missed(working),
            (Phase::Degraded, Event::Heard) => {
                (self.phase, self.missed) = (Phase::Ready, 0);
                Action::Nothing
            }
            _ => Action::Nothing,
        }
    }

    fn due(&mut self, now: Instant) -> Action {
        match self.phase {
            _ if self.trying => return Action::Nothing,
            Phase::Starting => {}
            Phase::Backoff { next } | Phase::Open { next } if now < next => {
                return Action::Wait(next); // a clock was early
            }
            Phase::Backoff { .. } | Phase::Open { .. } => {}
            _ => return Action::Nothing,
        }
        self.trying = true;
        if !matches!(self.phase, Phase::Open { .. }) {
            self.phase = Phase::Starting;
        }
        Action::Attempt
    }

    fn connected(&mut self, now: Instant) -> Action {
        (self.trying, self.since, self.missed) = (false, Some(now), 0);
        self.phase = Phase::Ready;
        Action::Serve
    }

    fn failed(&mut self, now: Instant, dice: u32) -> Action {
        let lasted = self.since.take().map(|since| now.saturating_duration_since(since));
        if lasted.is_some_and(|lasted| lasted >= STABLE) {
            self.backoff.reset();
        }
        (self.trying, self.missed) = (false, 0);
        let mut wait = self.backoff.after(dice);
        if self.is_crash_loop() {
            wait = CRASH_LOOP + CRASH_LOOP.mul_f64(share(dice)); // never more often
        }
        let next = now + wait;
        self.phase = match wait {
            _ if self.is_crash_loop() => Phase::Open { next },
            Duration::ZERO => Phase::Starting,
            _ => Phase::Backoff { next },
        };
        Action::Wait(next)
    }

    fn moved(&mut self, now: Instant, dice: u32) -> Action {
        let action = self.failed(now, dice);
        if !matches!(self.phase, Phase::Backoff { .. }) {
            return action;
        }
        self.phase = Phase::Starting;
        Action::Wait(now)
    }

    fn missed(&mut self, working: bool) -> Action {
        self.missed = self.missed.saturating_add(1);
        self.phase = Phase::Degraded;
        match self.missed >= MOST_MISSED && !working {
            true => Action::GiveUp,
            false => Action::Nothing,
        }
    }

    fn stop(&mut self) -> Action {
        match self.trying || self.since.is_some() {
            true => {
                self.phase = Phase::Draining;
                Action::End
            }
            false => self.stopped(),
        }
    }

    fn stopped(&mut self) -> Action {
        (self.phase, self.trying, self.since) = (Phase::Stopped, false, None);
        Action::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAN: Plan = Plan { delay: Duration::from_secs(1), max: 5 };

    fn waits(plan: Plan, count: usize, dice: u32) -> Vec<u128> {
        let (mut life, mut now) = (Lifecycle::new(plan), Instant::now());
        let fail = |_| {
            assert_eq!(life.step(Event::Due, now, dice), Action::Attempt);
            let Action::Wait(next) = life.step(Event::Failed, now, dice) else { return 0 };
            (next - std::mem::replace(&mut now, next)).as_millis()
        };
        (0..count).map(fail).collect()
    }

    #[test]
    fn another_server_is_turned_to_at_once_but_not_for_ever() {
        let plan = Plan { delay: Duration::from_secs(1), max: 3 };
        let (mut life, now) = (Lifecycle::new(plan), Instant::now());
        for at in 0..6 {
            if life.step(Event::Due, now, 0) != Action::Attempt {
                assert!(at > 3 && matches!(life.phase(), Phase::Open { .. }), "{life:?}");
                continue;
            }
            life.step(Event::Connected, now, 0);
            let next = life.step(Event::Moved, now, 0);
            assert_eq!(next == Action::Wait(now), at < 3, "{life:?}");
        }
    }

    #[test]
    fn at_once_then_longer_then_once_a_minute_without_end() {
        assert_eq!(waits(PLAN, 8, 0), [0, 1000, 2000, 4000, 8000, 60_000, 60_000, 60_000]);
        let patient = Plan { max: u32::MAX, ..PLAN };
        assert_eq!(waits(patient, 40, 0).last(), Some(&30_000));
        assert_eq!(waits(Plan { max: 0, ..PLAN }, 2, 0), [60_000, 60_000], "no quick restart");
        assert_eq!(waits(Plan { delay: Duration::ZERO, ..PLAN }, 3, 0), [0, 100, 200]);
        assert_eq!(waits(Plan { delay: Duration::MAX, ..PLAN }, 3, 0), [0, 30_000, 30_000]);
    }

    #[test]
    fn jitter_shortens_the_backoff_and_lengthens_a_crash_loop() {
        for dice in [0, 1, 512, 1023, 1024, u32::MAX] {
            let waits = waits(PLAN, 6, dice);
            assert!((750..=1000).contains(&waits[1]), "{dice}: {waits:?}");
            assert!((60_000..=75_000).contains(&waits[5]), "{dice}: {waits:?}");
        }
    }

    #[test]
    fn what_was_stable_is_tried_at_once_however_often_it_failed_before() {
        let (mut life, mut now) = (Lifecycle::new(PLAN), Instant::now());
        for lasts in [Duration::ZERO, STABLE - Duration::from_millis(1)] {
            for _ in 0..10 {
                life.step(Event::Due, now, 0);
                life.step(Event::Connected, now, 0);
                now += lasts;
                let Action::Wait(next) = life.step(Event::Lost, now, 0) else { continue };
                now = next;
            }
            assert!(matches!(life.phase(), Phase::Open { .. }), "{lasts:?}: {life:?}");
        }
        life.step(Event::Due, now, 0);
        assert!(matches!(life.phase(), Phase::Open { .. }), "nobody waits for it: {life:?}");
        assert_eq!(life.step(Event::Connected, now, 0), Action::Serve);
        assert_eq!(life.step(Event::Lost, now + STABLE, 0), Action::Wait(now + STABLE));
        assert_eq!(life.phase(), Phase::Starting);
    }

    #[test]
    fn a_missed_probe_degrades_and_the_third_ends_unless_there_is_work() {
        let (mut life, now) = (Lifecycle::new(PLAN), Instant::now());
        life.step(Event::Due, now, 0);
        life.step(Event::Connected, now, 0);
        let idle = Event::Missed { working: false };
        assert_eq!(life.step(idle, now, 0), Action::Nothing);
        assert_eq!(life.phase(), Phase::Degraded);
        assert_eq!(life.step(Event::Heard, now, 0), Action::Nothing);
        assert_eq!(life.phase(), Phase::Ready);
        for _ in 0..10 {
            assert_eq!(life.step(Event::Missed { working: true }, now, 0), Action::Nothing);
        }
        assert_eq!(life.phase(), Phase::Degraded);
        assert_eq!(life.step(idle, now, 0), Action::GiveUp);
        assert_eq!(life.step(Event::Lost, now + STABLE, 0), Action::Wait(now + STABLE));
    }

    /// What becomes of one attempt, or happens to whoever drives the machine.
    #[derive(Debug, Clone, Copy)]
    enum Fate {
        Fails(u64),
        LastsUntilLost(u64),
        Hangs {
            working: bool,
        },
        Recovers,
        /// An event that does not belong there.
        Noise(Event),
    }

    fn fate() -> impl Strategy<Value = Fate> {
        let stray = prop::sample::select(vec![
            Event::Due,
            Event::Connected,
            Event::Failed,
            Event::Lost,
            Event::Moved,
            Event::Heard,
            Event::Missed { working: true },
            Event::Ended,
        ]);
        prop_oneof![
            3 => (0..2_000u64).prop_map(Fate::Fails),
            3 => (0..30_000u64).prop_map(Fate::LastsUntilLost),
            1 => any::<bool>().prop_map(|working| Fate::Hangs { working }),
            1 => Just(Fate::Recovers),
            1 => stray.prop_map(Fate::Noise),
        ]
    }

    /// Drives a machine in virtual time as its owner does, and looks at every step.
    struct Model {
        life: Lifecycle,
        now: Instant,
        trying: bool,
        connected: Option<Instant>,
        due: Option<Instant>,
        attempts: Vec<Instant>,
    }

    impl Model {
        fn step(&mut self, event: Event, dice: u32) -> Action {
            let (held, before) = (self.connected.is_some(), self.life.phase());
            let serves = |phase| matches!(phase, Phase::Ready | Phase::Degraded);
            let action = self.life.step(event, self.now, dice);
            let after = self.life.phase();
            if serves(after) {
                assert!(serves(before) || self.trying && event == Event::Connected, "{event:?}");
            }
            match action {
                Action::Attempt => {
                    assert!(!self.trying && !held, "two at once: {:?}", self.life);
                    assert!(self.due.is_none_or(|due| self.now >= due), "too early");
                    (self.trying, self.due) = (true, None);
                    self.attempts.push(self.now);
                }
                Action::Serve => (self.trying, self.connected) = (false, Some(self.now)),
                Action::Wait(next) => {
                    let wait = next - self.now;
                    assert!(wait <= CRASH_LOOP.mul_f64(1.25), "{wait:?}");
                    if let Some(since) = self.connected.take()
                        && self.now - since >= STABLE
                        && self.life.max > 0
                    {
                        assert_eq!(wait, Duration::ZERO, "it was stable");
                    }
                    (self.trying, self.due) = (false, Some(next));
                }
                Action::GiveUp => assert!(held && after == Phase::Degraded),
                Action::End | Action::Nothing => {}
            }
            action
        }

        /// An owner tells nothing that did not happen; whoever does all the same changes nothing.
        fn is_possible(&self, event: Event) -> bool {
            match event {
                Event::Due => self.due.is_some_and(|due| due <= self.now),
                Event::Connected | Event::Failed => self.trying,
                Event::Lost | Event::Moved | Event::Heard | Event::Missed { .. } => {
                    self.connected.is_some()
                }
                Event::Stop | Event::Ended => false,
            }
        }

        fn pass(&mut self, ms: u64) {
            self.now += Duration::from_millis(ms);
        }

        fn ignores(&mut self, strays: &[Event], dice: u32) {
            for stray in strays {
                assert!(!self.is_possible(*stray));
                assert_eq!(self.step(*stray, dice), Action::Nothing, "{stray:?}");
            }
        }

        /// Lives through one attempt.
        fn live(&mut self, fate: Fate, dice: u32) {
            if let Fate::Noise(event) = fate {
                if !self.is_possible(event) {
                    let (before, due) = (self.life.phase(), self.due);
                    let action = self.step(event, dice);
                    let waits = event == Event::Due && due.map(Action::Wait) == Some(action);
                    assert!(action == Action::Nothing || waits, "{event:?}: {action:?}");
                    assert_eq!((self.life.phase(), self.due), (before, due));
                }
                return;
            }
            self.now = self.due.map_or(self.now, |due| due.max(self.now));
            assert_eq!(self.step(Event::Due, dice), Action::Attempt);
            self.ignores(&[Event::Due, Event::Lost, Event::Heard, Event::Ended], dice);
            if let Fate::Fails(ms) = fate {
                self.pass(ms);
                self.step(Event::Failed, dice);
                return;
            }
            assert_eq!(self.step(Event::Connected, dice), Action::Serve);
            self.ignores(&[Event::Due, Event::Connected, Event::Failed, Event::Ended], dice);
            match fate {
                Fate::LastsUntilLost(ms) => self.pass(ms),
                Fate::Hangs { working } => {
                    for _ in 0..MOST_MISSED {
                        self.pass(10_000);
                        self.step(Event::Missed { working }, dice);
                    }
                    assert_eq!(self.life.phase(), Phase::Degraded);
                }
                _ => {
                    self.step(Event::Missed { working: false }, dice);
                    self.step(Event::Heard, dice);
                    assert_eq!(self.life.phase(), Phase::Ready);
                }
            }
            self.step(Event::Lost, dice);
        }
    }

    /// Most attempts in any minute that hold no stable connection: the backoff of the shortest
    /// step, with the most jitter.
    const MOST_IN_A_MINUTE: usize = 13;

    proptest! {
        #[test]
        fn whatever_happens_attempts_are_one_at_a_time_bounded_and_never_the_last(
            (max, delay) in (0..12u32, 0..5_000u64),
            fates in prop::collection::vec((fate(), any::<u32>()), 1..80),
            stop in any::<prop::sample::Index>(),
        ) {
            let plan = Plan { delay: Duration::from_millis(delay), max };
            let (life, now) = (Lifecycle::new(plan), Instant::now());
            let attempts = Vec::new();
            let mut model =
                Model { life, now, trying: false, connected: None, due: Some(now), attempts };
            let stop = stop.index(fates.len());
            let mut stable = false;
            for (fate, dice) in fates.iter().take(stop) {
                stable |= matches!(fate, Fate::LastsUntilLost(10_000..) | Fate::Hangs { .. });
                model.live(*fate, *dice);
                prop_assert!(!matches!(model.life.phase(), Phase::Stopped | Phase::Draining));
            }
            if !stable {
                for (at, first) in model.attempts.iter().enumerate() {
                    let window = model.attempts.iter().skip(at);
                    let near = window.filter(|t| **t - *first < Duration::from_secs(60)).count();
                    prop_assert!(near <= MOST_IN_A_MINUTE, "{near} attempts in a minute");
                }
            }
            model.life.step(Event::Stop, model.now, 0);
            model.life.step(Event::Ended, model.now, 0);
            for (fate, dice) in &fates {
                let event = match fate {
                    Fate::Noise(event) => *event,
                    Fate::Fails(_) => Event::Failed,
                    _ => Event::Due,
                };
                prop_assert_eq!(model.life.step(event, model.now, *dice), Action::Nothing);
                prop_assert_eq!(model.life.phase(), Phase::Stopped);
            }
        }
    }

    #[test]
    fn a_crash_loop_has_at_most_one_attempt_a_minute() {
        let (mut life, mut now) = (Lifecycle::new(PLAN), Instant::now());
        let mut attempts = Vec::new();
        for _ in 0..50 {
            assert_eq!(life.step(Event::Due, now, 7), Action::Attempt);
            attempts.push(now);
            if let Action::Wait(next) = life.step(Event::Failed, now, 7) {
                now = next;
            }
        }
        let late = attempts.windows(2).skip(6).map(|pair| pair[1] - pair[0]);
        late.for_each(|gap| assert!(gap >= CRASH_LOOP, "{gap:?}"));
    }

    #[test]
    fn whoever_stops_in_the_middle_ends_what_there_is() {
        let now = Instant::now();
        let mut life = Lifecycle::new(PLAN);
        assert_eq!(life.step(Event::Stop, now, 0), Action::Nothing);
        assert_eq!(life.phase(), Phase::Stopped);
        let mut life = Lifecycle::new(PLAN);
        life.step(Event::Due, now, 0);
        assert_eq!(life.step(Event::Stop, now, 0), Action::End);
        assert_eq!(life.phase(), Phase::Draining);
        assert_eq!(life.step(Event::Connected, now, 0), Action::Nothing, "too late");
        life.step(Event::Ended, now, 0);
        assert_eq!(life.phase(), Phase::Stopped);
    }
}
