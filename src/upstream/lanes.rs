//! Lanes: further connections of one upstream, for calls that must not share the one that all
//! share, because of whom the server could ask or of what it remembers.
//!
//! A legacy server on a shared connection asks without saying whom (2025-11-25 basic/transports).
//! Once that was seen to matter, calls during which a client can be asked run here, one at a time
//! on each lane. An entry with an `isolation` has all its calls here, each with its own kind.

use crate::config::{Isolation, LaneSettings};
use crate::mcp::{ClientCapabilities, Era};
use crate::oauth::Principal;
use crate::task::within;
use crate::upstream::call::{CallError, Event};
use crate::upstream::link::Link;
use crate::upstream::supervisor::Command;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

/// How long a lane that nobody uses is kept for its tasks, however long those last.
pub const KEPT: Duration = Duration::from_secs(3600);

/// For whom a call is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// The one who may make it.
    pub principal: Principal,
    /// The legacy session that it came in.
    pub session: Option<u64>,
    /// What the client can be asked for.
    pub capabilities: ClientCapabilities,
}

/// Who shares a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    /// Anybody, one call after the other.
    Anybody,
    /// One call, and no other.
    Nobody,
    /// One principal, on whatever clients.
    Principal(Principal),
    /// One legacy session.
    Session(u64),
}

/// Who shares a lane, and what the server was told of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    who: Who,
    declared: ClientCapabilities,
}

impl Key {
    /// Where a call belongs; `None` is the connection that all share.
    fn of(isolation: Isolation, exclusive: bool, era: Era, party: &Party) -> Option<Self> {
        let bridged = ClientCapabilities::bridged();
        let who = match (isolation, party.session) {
            (Isolation::Shared, _) if exclusive && era == Era::Legacy => {
                let able = party.capabilities.because_of_a_call();
                return able.then_some(Self { who: Who::Anybody, declared: bridged });
            }
            (Isolation::Shared, _) => return None,
            (Isolation::Call, _) => Who::Nobody,
            (Isolation::Session, Some(session)) => Who::Session(session),
            (Isolation::Session, None) | (Isolation::Principal, _) => {
                Who::Principal(party.principal.clone())
            }
        };
        // a modern server is told with each request
        let declared = match era {
            Era::Legacy => party.capabilities,
            Era::Modern => ClientCapabilities::default(),
        };
        Some(Self { who, declared })
    }

    /// Whether several calls are on one lane at a time.
    fn is_shared(&self) -> bool {
        matches!(self.who, Who::Principal(_) | Who::Session(_))
    }
}

/// One lane, as those see it who wait for it or use it.
#[derive(Debug)]
struct Lane {
    number: u64,
    key: Key,
    standing: watch::Sender<Standing>,
    /// Whether it is still of use is to be looked at again.
    look: Notify,
}

#[derive(Debug, Clone)]
enum Standing {
    Opening,
    Ready(Arc<Link>),
    Ended(Arc<str>),
}

/// A lane among others.
#[derive(Debug)]
struct Place {
    lane: Arc<Lane>,
    users: usize,
    /// When the last user left.
    since: Instant,
    /// It takes no more calls, and why.
    ending: Option<&'static str>,
    /// Until when each task runs that was begun here.
    tasks: HashMap<u64, Option<Instant>>,
}

impl Place {
    fn is_free(&self) -> bool {
        self.users == 0 && self.ending.is_none()
    }

    /// How long it is still kept for its tasks.
    fn kept(&self, now: Instant) -> Duration {
        let left = |until: Instant| until.saturating_duration_since(now);
        let tasks = self.tasks.values().map(|until| until.map_or(KEPT, left));
        tasks.max().unwrap_or_default().min(left(self.since + KEPT))
    }
}

/// What is to become of a lane.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// It ends now, and why.
    End(&'static str),
    /// It is to be looked at after this time.
    Look(Duration),
    /// It is to be looked at when something changes.
    Wait,
}

/// The lanes of one upstream that are open, opening or ending.
#[derive(Debug, Default)]
struct Pool {
    places: Vec<Place>,
    made: u64,
    /// Counts the tasks that lanes were kept for.
    held: u64,
}

impl Pool {
    /// A seat on a lane that is there.
    fn join(&mut self, key: &Key) -> Option<Arc<Lane>> {
        let fits = |place: &&mut Place| match key.who {
            Who::Nobody => false,
            Who::Anybody => place.lane.key == *key && place.is_free(),
            _ => place.lane.key == *key && place.ending.is_none(),
        };
        let place = self.places.iter_mut().find(fits)?;
        place.users += 1;
        Some(Arc::clone(&place.lane))
    }

    /// A seat on a new lane, if there may be one more; otherwise the lane that nobody has used for
    /// longest makes room, if there is one.
    fn make(&mut self, key: &Key, most: usize, now: Instant) -> Option<Arc<Lane>> {
        if self.places.len() >= most {
            self.make_room(now);
            return None;
        }
        self.made += 1;
        let (standing, look) = (watch::Sender::new(Standing::Opening), Notify::new());
        let lane = Arc::new(Lane { number: self.made, key: key.clone(), standing, look });
        let tasks = HashMap::new();
        let place = Place { lane: Arc::clone(&lane), users: 1, since: now, ending: None, tasks };
        self.places.push(place);
        Some(lane)
    }

    fn make_room(&mut self, now: Instant) {
        if self.places.iter().any(|place| place.users == 0 && place.ending.is_some()) {
            return; // there will be room
        }
        let is_idle = |place: &&mut Place| place.is_free() && place.kept(now).is_zero();
        let free = self.places.iter_mut().filter(is_idle);
        if let Some(oldest) = free.min_by_key(|place| place.since) {
            oldest.ending = Some("others need its place");
            oldest.lane.look.notify_one();
        }
    }

    fn place(&mut self, number: u64) -> Option<&mut Place> {
        self.places.iter_mut().find(|place| place.lane.number == number)
    }

    fn leave(&mut self, number: u64, ending: Option<&'static str>, now: Instant) {
        let Some(place) = self.place(number) else { return };
        place.users = place.users.saturating_sub(1);
        place.since = now;
        place.ending = place.ending.or(ending);
        place.lane.look.notify_one();
    }

    fn due(&mut self, number: u64, idle: Duration, now: Instant) -> Due {
        let Some(place) = self.place(number) else { return Due::End("it is gone") };
        let unused = now.saturating_duration_since(place.since);
        let rest = idle.saturating_sub(unused).max(place.kept(now));
        match place.ending {
            _ if place.users > 0 => Due::Wait,
            None if !rest.is_zero() => Due::Look(rest),
            ending => Due::End(place.ending.insert(ending.unwrap_or("nobody used it"))),
        }
    }
}

/// The lanes of one upstream.
#[derive(Debug)]
pub struct Lanes {
    label: String,
    isolation: Isolation,
    settings: LaneSettings,
    commands: mpsc::Sender<Command>,
    /// Something was asked that several calls could have caused.
    exclusive: AtomicBool,
    pool: Mutex<Pool>,
    /// One after the other waits for a lane, in the order in which they came.
    turn: Semaphore,
    changed: Notify,
}

impl Lanes {
    /// No lanes yet; `commands` has them opened.
    pub(super) fn new(
        label: &str,
        isolation: Isolation,
        settings: LaneSettings,
        commands: mpsc::Sender<Command>,
    ) -> Arc<Self> {
        Arc::new(Self {
            label: label.to_owned(),
            isolation,
            settings,
            commands,
            exclusive: AtomicBool::new(false),
            pool: Mutex::default(),
            turn: Semaphore::new(1),
            changed: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        // every critical section leaves the pool whole
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A question could not be put to anybody because several calls can have caused it. It is
    /// said once; from now on calls whose clients can be asked run on lanes.
    pub(super) fn ambiguous(&self) {
        if self.exclusive.swap(true, Ordering::Relaxed) {
            return;
        }
        let remedy = match self.isolation {
            Isolation::Shared => {
                "calls whose clients can be asked run on connections of their own from now on; \
                 with \"isolation\" in its entry they do from the start"
            }
            _ => "with \"isolation\": \"call\" in its entry it would have been clear",
        };
        let label = &self.label;
        log::warn!(
            "{label}: asked something that several calls can have caused, so nobody was asked; {remedy}"
        );
    }

    /// Whether there are calls that do not go through the connection that all share.
    pub(super) fn are_used(&self) -> bool {
        self.isolation != Isolation::Shared || self.exclusive.load(Ordering::Relaxed)
    }

    /// A seat for a call where it belongs; `None` is the connection that all share, whose peer is
    /// of `era`. Waits at most `bound`.
    ///
    /// # Errors
    /// [`CallError::Crowded`] when no lane became free, or why there is none.
    pub(super) async fn seat(
        self: &Arc<Self>,
        era: Era,
        party: &Party,
        bound: Duration,
    ) -> Result<Option<(Arc<Link>, Seat)>, CallError> {
        let exclusive = self.exclusive.load(Ordering::Relaxed);
        let Some(key) = Key::of(self.isolation, exclusive, era, party) else { return Ok(None) };
        let seated = async {
            let seat = self.find(&key).await?;
            Ok(Some((seat.link().await?, seat)))
        };
        within(bound, seated).await.unwrap_or(Err(CallError::Crowded))
    }

    async fn find(self: &Arc<Self>, key: &Key) -> Result<Seat, CallError> {
        if key.is_shared()
            && let Some(lane) = self.lock().join(key)
        {
            return Ok(Seat::new(self, lane));
        }
        let _turn = self.turn.acquire().await.map_err(|_| CallError::Crowded)?;
        loop {
            if let Some(seat) = self.take(key)? {
                return Ok(seat);
            }
            self.changed.notified().await;
        }
    }

    /// A seat, if there is one now, on a lane that is there or on a new one.
    fn take(self: &Arc<Self>, key: &Key) -> Result<Option<Seat>, CallError> {
        let mut pool = self.lock();
        if let Some(lane) = pool.join(key) {
            return Ok(Some(Seat::new(self, lane)));
        }
        let Some(lane) = pool.make(key, self.settings.max, Instant::now()) else { return Ok(None) };
        drop(pool);
        let life = Life { lanes: Arc::clone(self), lane: Arc::clone(&lane) };
        let seat = Seat::new(self, lane);
        // when it cannot be told, the life is dropped, and with it the lane
        self.commands.try_send(Command::Open(life)).map_err(|_| CallError::Busy)?;
        Ok(Some(seat))
    }

    /// A legacy session has ended, and with it the lane that was its own.
    pub fn session_ended(&self, session: u64) {
        let mut pool = self.lock();
        for place in &mut pool.places {
            if place.lane.key.who == Who::Session(session) {
                place.ending.get_or_insert("its session ended");
                place.lane.look.notify_one();
            }
        }
    }
}

/// The place of one call on a lane, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    lanes: Arc<Lanes>,
    lane: Arc<Lane>,
    /// A call was sent from here.
    taken: bool,
    /// It was answered.
    answered: bool,
    /// The connection is of no use any more.
    broken: bool,
}

impl Seat {
    fn new(lanes: &Arc<Lanes>, lane: Arc<Lane>) -> Self {
        let lanes = Arc::clone(lanes);
        Self { lanes, lane, taken: false, answered: false, broken: false }
    }

    /// Whether no other call can be on its lane.
    pub(super) fn is_exclusive(&self) -> bool {
        !self.lane.key.is_shared()
    }

    /// Keeps a lane that is not for one call alone.
    pub(super) fn hold(&self) -> Option<Hold> {
        if self.is_exclusive() {
            return None;
        }
        let mut pool = self.lanes.lock();
        pool.held += 1;
        let task = pool.held;
        pool.place(self.lane.number)?.tasks.insert(task, None);
        let (lanes, lane) = (Arc::clone(&self.lanes), Arc::clone(&self.lane));
        Some(Hold { lanes, lane, task })
    }

    async fn link(&self) -> Result<Arc<Link>, CallError> {
        let mut standing = self.lane.standing.subscribe();
        let settled = standing.wait_for(|standing| !matches!(standing, Standing::Opening)).await;
        match settled.as_deref() {
            Ok(Standing::Ready(link)) => Ok(Arc::clone(link)),
            Ok(Standing::Ended(why)) => Err(CallError::NotConnected(why.to_string())),
            Ok(Standing::Opening) | Err(_) => Err(CallError::NotConnected("it is gone".into())),
        }
    }

    /// The server may know of the call from now on.
    pub(super) fn taken(&mut self) {
        self.taken = true;
    }

    /// What came back says what can become of the lane.
    pub(super) fn note(&mut self, outcome: &Result<Event, CallError>) {
        match outcome {
            Ok(Event::Response(_)) => self.answered = true,
            Err(
                CallError::SessionLost | CallError::SessionUnknown | CallError::NotConnected(_),
            ) => self.broken = true,
            _ => {}
        }
    }
}

/// Who is next on a lane must not meet what the last one has left behind: a call that was given up
/// may go on asking.
impl Drop for Seat {
    fn drop(&mut self) {
        let ending = match self.lane.key.who {
            _ if self.broken => Some("its connection is of no use any more"),
            Who::Nobody => Some("its call is over"),
            Who::Anybody if self.taken && !self.answered => Some("its call was given up"),
            _ => None,
        };
        self.lanes.lock().leave(self.lane.number, ending, Instant::now());
        self.lanes.changed.notify_one();
    }
}

/// A task that runs on a lane: its connection is not idle until this is dropped, or the time of the
/// task is over, or nobody has used the lane for [`KEPT`].
#[derive(Debug)]
pub struct Hold {
    lanes: Arc<Lanes>,
    lane: Arc<Lane>,
    task: u64,
}

impl Hold {
    /// The task lasts until then.
    pub fn until(&self, end: Option<Instant>) {
        let mut pool = self.lanes.lock();
        let place = pool.place(self.lane.number);
        if let Some(until) = place.and_then(|place| place.tasks.get_mut(&self.task)) {
            *until = end;
        }
        self.lane.look.notify_one();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(place) = self.lanes.lock().place(self.lane.number) {
            place.tasks.remove(&self.task);
        }
        self.lane.look.notify_one();
        self.lanes.changed.notify_one();
    }
}

/// A lane's own hold on its place: when it is dropped, the lane is no more.
#[derive(Debug)]
pub struct Life {
    lanes: Arc<Lanes>,
    lane: Arc<Lane>,
}

impl Life {
    /// Counts the lanes of an upstream.
    pub(super) fn number(&self) -> u64 {
        self.lane.number
    }

    /// What the server is told of who is behind it.
    pub(super) fn declared(&self) -> &ClientCapabilities {
        &self.lane.key.declared
    }

    /// Calls can be sent.
    pub(super) fn ready(&self, link: &Arc<Link>) {
        self.lane.standing.send_replace(Standing::Ready(Arc::clone(link)));
    }

    /// No more calls are taken; who waits for it learns why.
    pub(super) fn failed(&self, why: &str) {
        if let Some(place) = self.lanes.lock().place(self.lane.number) {
            place.ending.get_or_insert("it has ended");
        }
        self.lane.standing.send_replace(Standing::Ended(why.into()));
    }

    /// Returns when it is of no use to anybody any more, or was not for `idle`, and says why.
    pub(super) async fn over(&self, idle: Duration) -> &'static str {
        loop {
            let due = self.lanes.lock().due(self.lane.number, idle, Instant::now());
            match due {
                Due::End(why) => return why,
                Due::Look(after) => _ = within(after, self.lane.look.notified()).await,
                Due::Wait => self.lane.look.notified().await,
            }
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let number = self.lane.number;
        self.lanes.lock().places.retain(|place| place.lane.number != number);
        self.lane.standing.send_if_modified(|standing| {
            let open = !matches!(standing, Standing::Ended(_));
            if open {
                *standing = Standing::Ended("the upstream is not connected".into());
            }
            open
        });
        self.lanes.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::client::Elicitation;
    use crate::oauth::Permit;

    fn party(session: Option<u64>, form: bool, roots: bool) -> Party {
        let elicitation = form.then(Elicitation::default);
        let capabilities = ClientCapabilities { elicitation, roots, ..Default::default() };
        let principal = Permit::dangerously_for_anyone_on_this_machine().principal();
        Party { principal, session, capabilities }
    }

    #[test]
    fn calls_go_where_they_belong() {
        let place = |isolation, exclusive, era, party: &Party| {
            Key::of(isolation, exclusive, era, party).map(|key| (key.who, key.declared.roots))
        };
        let (able, mute) = (party(Some(7), true, true), party(None, false, true));
        let me = || Who::Principal(able.principal.clone());
        use Era::{Legacy, Modern};
        use Isolation::{Call, Principal, Session, Shared};
        for (isolation, exclusive, era, party, expected) in [
            (Shared, false, Legacy, &able, None),
            (Shared, true, Legacy, &able, Some((Who::Anybody, false))),
            (Shared, true, Legacy, &mute, None),
            (Shared, true, Modern, &able, None),
            (Call, false, Legacy, &able, Some((Who::Nobody, true))),
            (Session, false, Legacy, &able, Some((Who::Session(7), true))),
            (Session, false, Legacy, &mute, Some((me(), true))),
            (Session, false, Modern, &able, Some((Who::Session(7), false))),
            (Principal, true, Legacy, &able, Some((me(), true))),
        ] {
            let found = place(isolation, exclusive, era, party);
            assert_eq!(found, expected, "{isolation:?} {exclusive} {era:?} {party:?}");
        }
    }

    fn key(who: Who) -> Key {
        Key { who, declared: ClientCapabilities::default() }
    }

    #[test]
    fn a_lane_is_kept_while_it_is_used_and_a_while_after() {
        let (mut pool, now, idle) = (Pool::default(), Instant::now(), Duration::from_secs(9));
        let lane = pool.make(&key(Who::Session(1)), 1, now).expect("there is room").number;
        assert_eq!(pool.due(lane, idle, now + idle * 2), Due::Wait, "a call may take long");
        pool.leave(lane, None, now);
        assert_eq!(pool.due(lane, idle, now + idle / 3), Due::Look(idle * 2 / 3));
        assert!(pool.join(&key(Who::Session(2))).is_none(), "it is another's");
        assert!(pool.join(&key(Who::Session(1))).is_some());
        pool.leave(lane, None, now + idle);
        assert_eq!(pool.due(lane, idle, now + idle * 2), Due::End("nobody used it"));
        assert!(pool.join(&key(Who::Session(1))).is_none(), "it is ending");
    }

    #[test]
    fn a_lane_with_tasks_is_not_idle() {
        let (mut pool, now, idle) = (Pool::default(), Instant::now(), Duration::from_secs(9));
        let lane = pool.make(&key(Who::Session(1)), 1, now).expect("there is room").number;
        let runs = |pool: &mut Pool, task, until| {
            pool.place(lane).expect("a place").tasks.insert(task, until);
        };
        runs(&mut pool, 1, Some(now + idle * 3));
        pool.leave(lane, None, now);
        assert_eq!(pool.due(lane, idle, now + idle), Due::Look(idle * 2));
        assert!(pool.make(&key(Who::Session(2)), 1, now + idle).is_none());
        assert_eq!(pool.due(lane, idle, now + idle), Due::Look(idle * 2), "none makes room");
        runs(&mut pool, 2, None);
        assert_eq!(pool.due(lane, idle, now + idle), Due::Look(KEPT - idle), "nor for ever");
        pool.place(lane).expect("a place").tasks.remove(&2);
        assert_eq!(pool.due(lane, idle, now + idle * 3), Due::End("nobody used it"));
        runs(&mut pool, 3, None);
        let ended = pool.due(lane, idle, now);
        assert_eq!(ended, Due::End("nobody used it"), "a task that comes too late");
    }

    #[test]
    fn one_at_a_time_makes_room_and_none_that_is_used() {
        let (mut pool, now) = (Pool::default(), Instant::now());
        let made = (0..3).map(|session| pool.make(&key(Who::Session(session)), 3, now));
        let lanes: Vec<u64> = made.map(|lane| lane.expect("there is room").number).collect();
        assert!(pool.make(&key(Who::Nobody), 3, now).is_none());
        for (lane, after) in [(lanes[1], 2), (lanes[2], 1)] {
            pool.leave(lane, None, now + Duration::from_secs(after));
        }
        for _ in 0..2 {
            assert!(pool.make(&key(Who::Nobody), 3, now).is_none());
        }
        let ending: Vec<bool> = pool.places.iter().map(|place| place.ending.is_some()).collect();
        assert_eq!(ending, [false, false, true], "the one unused for longest, and no other");
    }
}
