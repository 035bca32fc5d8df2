//! Sessions of legacy clients (MCP 2025-11-25 basic/transports, "Session Management").
//!
//! A session belongs to one endpoint, remembers what was negotiated, and owns its exchanges and
//! what they say: a disconnect is not a cancellation in these revisions.

use crate::bridge::listen::Filter;
use crate::bridge::question::Reply;
use crate::control::admission::Limit;
use crate::downstream::replay::{Frame, Reader, Replay, STANDING, TOTAL_BYTES};
use crate::mcp::{ClientCapabilities, Extensions, LogLevel, Revision};
use crate::oauth::Principal;
use crate::relay::{Asked, Cancel, Endpoint, Exchange, Hub, Outlet, Step, World};
use crate::sys::random::Random;
use crate::task::Scope;
use crate::wire::jsonrpc::{RequestId, Response};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// A session without requests and streams for this long has ended.
pub const IDLE: Duration = Duration::from_secs(30 * 60);

/// When there are too many sessions, one that was not used for this long makes room.
pub const ROOM: Duration = Duration::from_secs(60);

/// The same for one that was never used at all.
pub const ROOM_UNUSED: Duration = Duration::from_secs(1);

/// How often ended sessions are looked for.
pub const SWEEP: Duration = Duration::from_secs(60);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a session is opened with: for whom, where, in which revision, by a client that can do what.
pub type Opened = (Principal, Endpoint, Revision, ClientCapabilities, Extensions);

/// Digits of what the event ids of one session have in common.
const TAG: usize = 16;

/// What who keeps most for replay gives up at a time, in bytes, where all keep too much.
const SLICE: usize = 64 << 10;

/// Most questions of one session that wait for an answer.
pub const MOST_ASKED: usize = 1024;

/// One legacy session.
#[derive(Debug)]
pub struct Session {
    /// What stands in `Mcp-Session-Id`.
    pub id: String,
    /// Tells it from other sessions, and is no secret.
    pub number: u64,
    /// Who has opened it, and alone may use it.
    pub principal: Principal,
    /// The face of the gateway that the session was opened on.
    pub endpoint: Endpoint,
    /// The revision that was negotiated.
    pub revision: Revision,
    /// What the client can be asked for.
    pub capabilities: ClientCapabilities,
    /// The extensions that it supports.
    pub extensions: Extensions,
    /// What its GET stream will bring.
    pub outlet: Arc<Outlet>,
    /// What its streams have said.
    replay: Arc<Replay>,
    /// With those that it shares the room for that with.
    table: Weak<Table>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    level: Option<LogLevel>,
    /// Requests in flight; a client may use one id twice.
    flights: Vec<Option<(RequestId, Arc<Cancel>)>>,
    /// The places in `flights` that are free.
    free: Vec<usize>,
    last_used: Instant,
    /// Nothing came after `initialize` yet.
    unused: bool,
    /// Connections that read its streams.
    readers: usize,
    ended: bool,
    /// What the client was asked, by the ids of our requests.
    asked: HashMap<u64, Asked>,
    /// Nothing is asked any more.
    silent: bool,
    next_id: u64,
}

impl Session {
    fn new(
        id: String,
        number: u64,
        (principal, endpoint, revision, capabilities, extensions): Opened,
        (replay, table): (Replay, Weak<Table>),
    ) -> Self {
        let outlet = Arc::new(Outlet::new(endpoint, None, Filter::all_lists()));
        let state = State {
            level: None,
            flights: Vec::new(),
            free: Vec::new(),
            last_used: Instant::now(),
            unused: true,
            readers: 0,
            ended: false,
            asked: HashMap::new(),
            silent: false,
            next_id: 1,
        };
        let (replay, state) = (Arc::new(replay), Mutex::new(state));
        Self {
            id,
            number,
            principal,
            endpoint,
            revision,
            capabilities,
            extensions,
            outlet,
            replay,
            table,
            state,
        }
    }

    /// The least level of log messages that the client has asked for.
    pub fn level(&self) -> Option<LogLevel> {
        lock(&self.state).level
    }

    /// The client has set its level.
    pub fn set_level(&self, level: LogLevel) {
        lock(&self.state).level = Some(level);
    }

    /// Notes that a request is in flight, so that it can be cancelled by its id.
    pub fn take_off(self: &Arc<Self>, id: RequestId, cancel: Arc<Cancel>) -> Flight {
        let mut state = lock(&self.state);
        if state.ended {
            cancel.cancel();
        }
        let flying = Some((id, cancel));
        let free = state.free.pop();
        let place = free.unwrap_or(state.flights.len());
        match state.flights.get_mut(place) {
            Some(empty) => *empty = flying,
            None => state.flights.push(flying),
        }
        drop(state);
        Flight { session: Arc::clone(self), place }
    }

    /// Cancels a request by its id. An id that is in flight twice says nothing.
    pub fn cancel(&self, id: &RequestId) {
        let state = lock(&self.state);
        let mut named = state.flights.iter().flatten().filter(|(known, _)| known == id);
        match (named.next(), named.next()) {
            (Some((_, one)), None) => one.cancel(),
            (Some(_), Some(_)) => {
                log::debug!("a cancellation names an id that is in flight twice")
            }
            (None, _) => {}
        }
    }

    /// Notes a question; the id of the request that puts it to the client. `None` when too many
    /// wait already.
    pub fn ask(&self, asked: Asked) -> Option<u64> {
        let mut state = lock(&self.state);
        state.asked.retain(|_, asked| !asked.is_over());
        if state.ended || state.silent || state.asked.len() >= MOST_ASKED {
            return None;
        }
        let id = state.next_id;
        state.next_id += 1;
        state.asked.insert(id, asked);
        Some(id)
    }

    /// Declines what waits for an answer, and whatever would be asked from now on.
    fn fall_silent(&self) {
        let mut state = lock(&self.state);
        state.silent = true;
        let asked = std::mem::take(&mut state.asked);
        drop(state);
        drop(asked);
    }

    /// The client has answered; what nobody has asked is passed over.
    pub fn answered(&self, response: &Response) {
        let id = response.id.as_ref().and_then(RequestId::number);
        match id.and_then(|id| lock(&self.state).asked.remove(&id)) {
            Some(asked) => asked.answer(Reply::of_response(response)),
            None => log::debug!("a client answers what it was not asked"),
        }
    }

    /// A question is not asked any more; whether it was still open.
    pub fn withdraw(&self, id: u64) -> bool {
        let asked = lock(&self.state).asked.remove(&id);
        asked.is_some()
    }

    fn sweep(&self, now: Instant) {
        for id in self.replay.sweep(now) {
            self.withdraw(id); // nobody came to be asked
        }
    }

    fn touch(&self) {
        let mut state = lock(&self.state);
        (state.last_used, state.unused) = (Instant::now(), false);
    }

    /// Notes that somebody listens: the session is in use.
    pub fn occupy(self: &Arc<Self>) -> Occupied {
        lock(&self.state).readers += 1;
        Occupied(Arc::clone(self))
    }

    /// Begins a stream, which lives on without its connection.
    pub fn speak(self: &Arc<Self>) -> Speech {
        Speech { number: self.replay.open(), session: Arc::clone(self) }
    }

    fn say(&self, stream: u64, message: Bytes, question: Option<u64>) {
        for id in self.replay.push(stream, message, question) {
            self.withdraw(id); // nobody was asked
        }
        if let Some(table) = self.table.upgrade() {
            table.make_room();
        }
    }

    /// Gives up some of what is kept for replay.
    fn shed(&self) {
        for id in self.replay.shed(SLICE) {
            self.withdraw(id); // nobody was asked
        }
    }

    /// The stream and the place in it that `Last-Event-ID` names.
    pub fn place(&self, event_id: &str) -> Option<(u64, u64)> {
        self.replay.find(event_id)
    }

    /// Listens to a stream after a place, or to the one for messages outside requests from now
    /// on. It takes the place of an earlier connection: a client whose connection broke comes back
    /// before we notice. `None` when the stream is not kept any more.
    pub fn listen(self: &Arc<Self>, place: Option<(u64, u64)>) -> Option<Listening> {
        let (stream, after) = place.map_or((STANDING, None), |(stream, at)| (stream, Some(at)));
        let reader = self.replay.read(stream, after)?;
        Some(Listening { reader, occupied: self.occupy() })
    }

    fn end(&self) {
        let flights = {
            let mut state = lock(&self.state);
            state.ended = true;
            state.free.clear();
            (std::mem::take(&mut state.flights), std::mem::take(&mut state.asked))
        };
        let (flights, asked) = flights;
        drop(asked);
        self.replay.close();
        for (_, cancel) in flights.iter().flatten() {
            cancel.cancel();
        }
        self.outlet.close();
    }

    /// Whether it may end for another, unused as it is: at once if it never was of any use.
    fn makes_room(&self, now: Instant) -> bool {
        let state = lock(&self.state);
        state.unused || now.duration_since(state.last_used) >= ROOM
    }

    /// Since when nobody has used it; `None` while somebody does.
    fn unused_since(&self) -> Option<Instant> {
        let state = lock(&self.state);
        let busy = state.readers > 0 || state.flights.iter().any(Option::is_some);
        (!busy).then_some(state.last_used)
    }
}

/// A request of a session that is in flight.
#[derive(Debug)]
pub struct Flight {
    session: Arc<Session>,
    place: usize,
}

impl Flight {
    /// The session that the request is of.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut state = lock(&self.session.state);
        // none is left of a session that has ended
        if state.flights.get_mut(self.place).and_then(Option::take).is_some() {
            state.free.push(self.place);
        }
        state.last_used = Instant::now();
    }
}

/// Somebody listens to a session.
#[derive(Debug)]
pub struct Occupied(Arc<Session>);

impl Drop for Occupied {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.readers = state.readers.saturating_sub(1);
        state.last_used = Instant::now();
    }
}

/// A stream of a session, for who writes it; dropping it ends the stream.
#[derive(Debug)]
pub struct Speech {
    session: Arc<Session>,
    number: u64,
}

impl Speech {
    /// Says something; `question` is the id of the question that it puts. Never waits.
    pub fn say(&self, message: Bytes, question: Option<u64>) {
        self.session.say(self.number, message, question);
    }

    /// Listens to it from its beginning.
    pub fn listen(&self) -> Option<Listening> {
        self.session.listen(Some((self.number, 0)))
    }
}

impl Drop for Speech {
    fn drop(&mut self) {
        self.session.replay.end(self.number);
    }
}

/// A connection that listens to a stream of a session.
#[derive(Debug)]
pub struct Listening {
    reader: Reader,
    occupied: Occupied,
}

impl Listening {
    /// The session.
    pub fn session(&self) -> &Session {
        &self.occupied.0
    }

    /// Whether it is the stream for messages outside requests, which has no end of its own.
    pub fn stands(&self) -> bool {
        self.reader.stream() == STANDING
    }

    /// The id of the event that it has got to.
    pub fn event_id(&self) -> String {
        self.reader.id()
    }

    /// The next event; `None` at the end of the stream, or when another listens to it. Cancel
    /// safe.
    pub async fn next(&mut self) -> Option<Frame> {
        let (session, stream) = (&self.occupied.0, self.reader.stream());
        loop {
            tokio::select! {
                biased; // who was replaced takes nothing from the one in its place
                event = self.reader.next() => return event,
                notice = notice(session, stream) => {
                    session.say(STANDING, notice?, None);
                }
            }
        }
    }
}

/// What comes outside requests, for the stream that it belongs on.
async fn notice(session: &Session, stream: u64) -> Option<Bytes> {
    match stream {
        STANDING => session.outlet.next().await,
        _ => std::future::pending().await,
    }
}

/// The sessions by their ids.
#[derive(Debug)]
struct Table {
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    /// Bytes that are kept for replay.
    kept: Arc<AtomicUsize>,
    /// Most bytes that are.
    room: usize,
}

impl Table {
    /// Where too much is kept for replay, who keeps most gives up some of it, so that nobody can
    /// take from the others what little they keep.
    fn make_room(&self) {
        while self.kept.load(Ordering::Relaxed) > self.room {
            let sessions = lock(&self.sessions);
            let largest = sessions.values().max_by_key(|session| session.replay.bytes()).cloned();
            drop(sessions);
            let Some(largest) = largest.filter(|largest| largest.replay.bytes() > 0) else {
                return;
            };
            largest.shed();
        }
    }
}

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    table: Arc<Table>,
    /// In all, and of one principal.
    most: (usize, usize),
    random: Arc<Random>,
    scope: Arc<Scope>,
}

impl Sessions {
    /// No sessions yet, and at most so many of them in all and of one principal. Exchanges without
    /// a client end in `scope`.
    pub fn new(most: (usize, usize), random: Arc<Random>, scope: Arc<Scope>) -> Self {
        let (sessions, kept, room) = (Mutex::default(), Arc::default(), TOTAL_BYTES);
        Self { table: Arc::new(Table { sessions, kept, room }), most, random, scope }
    }

    /// Opens a session.
    ///
    /// # Errors
    /// The limit that forbids it: there are too many, and none of them has been idle for [`ROOM`].
    pub fn open(&self, opened: Opened, hub: &Hub, world: &World) -> Result<Arc<Session>, Limit> {
        if let Some(limit) = self.met(&opened.0) {
            let now = Instant::now();
            let of_all = limit == Limit::Sessions;
            let counts = |session: &Session| of_all || session.principal == opened.0;
            let mut idle = self.idle(now, ROOM_UNUSED).into_iter();
            let oldest = idle.find(|session| counts(session) && session.makes_room(now));
            let oldest = oldest.ok_or(limit)?;
            self.close(&oldest, hub, world);
        }
        let mut tag = self.random.hex128();
        tag.truncate(TAG); // it tells sessions apart and keeps no secret
        let replay = Replay::new(tag, Arc::clone(&self.table.kept));
        let place = (replay, Arc::downgrade(&self.table));
        let mut number = [0; 8];
        self.random.fill(&mut number);
        let number = u64::from_le_bytes(number);
        let session = Arc::new(Session::new(self.random.hex128(), number, opened, place));
        lock(&self.table.sessions).insert(session.id.clone(), Arc::clone(&session));
        hub.add(&session.outlet);
        Ok(session)
    }

    /// The limit that one more session of this principal would be beyond.
    fn met(&self, principal: &Principal) -> Option<Limit> {
        let (most, of_one) = self.most;
        let sessions = lock(&self.table.sessions);
        let own = || sessions.values().filter(|session| session.principal == *principal).count();
        match sessions.len() {
            many if many >= of_one && own() >= of_one => Some(Limit::SessionsPerClient),
            many if many >= most => Some(Limit::Sessions),
            _ => None,
        }
    }

    /// The sessions that nobody has used for `idle`, those unused for longest first.
    fn idle(&self, now: Instant, idle: Duration) -> Vec<Arc<Session>> {
        let table = lock(&self.table.sessions);
        let unused = |session: &Arc<Session>| Some((session.unused_since()?, Arc::clone(session)));
        let mut found: Vec<_> = table.values().filter_map(unused).collect();
        drop(table);
        found.retain(|(since, _)| now.duration_since(*since) >= idle);
        found.sort_by_key(|(since, _)| *since);
        found.into_iter().map(|(_, session)| session).collect()
    }

    /// The session with this id, if it belongs to this endpoint and this principal.
    pub fn find(
        &self,
        id: &str,
        endpoint: Endpoint,
        principal: &Principal,
    ) -> Option<Arc<Session>> {
        let session = lock(&self.table.sessions).get(id).cloned();
        let is_theirs = |s: &Arc<Session>| s.endpoint == endpoint && s.principal == *principal;
        let session = session.filter(is_theirs)?;
        session.touch();
        Some(session)
    }

    /// Ends a session.
    pub fn close(&self, session: &Session, hub: &Hub, world: &World) {
        lock(&self.table.sessions).remove(&session.id);
        session.end();
        for upstream in &*world.upstreams {
            upstream.lanes.session_ended(session.number);
        }
        hub.remove(world, &session.outlet);
    }

    /// Nobody can answer any more: what clients were asked is declined.
    pub fn fall_silent(&self) {
        let all: Vec<_> = lock(&self.table.sessions).values().cloned().collect();
        all.iter().for_each(|session| session.fall_silent());
    }

    /// Ends the sessions that nobody has used for [`IDLE`], and gives up what is not replayed any
    /// more.
    pub fn sweep(&self, now: Instant, hub: &Hub, world: &World) {
        let all: Vec<_> = lock(&self.table.sessions).values().cloned().collect();
        for session in all {
            session.sweep(now);
        }
        for session in self.idle(now, IDLE) {
            self.close(&session, hub, world);
        }
    }

    /// Does work of a session that goes on without its client's connection.
    pub fn carry_on(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.scope.token();
        self.scope.spawn("stream of a session", async move {
            tokio::select! {
                () = work => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    /// Goes on with an exchange whose client has disconnected before there was a stream to come back
    /// to. Its answer reaches nobody, but the upstream finishes what it has begun.
    pub fn adopt(&self, mut exchange: Exchange, flight: Option<Flight>) {
        self.carry_on(async move {
            let more = |step: &Step| !matches!(step, Step::Answer(_) | Step::Cancelled);
            while more(&exchange.next(Duration::MAX).await) {}
            drop(flight);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::Front;
    use crate::downstream::front::tests::bare;

    /// The room for replay, in bytes.
    const NARROW: usize = 1 << 20;

    fn open(front: &Front, whose: &'static str) -> Arc<Session> {
        let (principal, revision) = (Principal::named(whose), Revision::parse("2025-11-25"));
        let revision = revision.expect("a revision");
        let (capabilities, extensions) = (ClientCapabilities::default(), Extensions::default());
        let opened = (principal, Endpoint::Aggregate, revision, capabilities, extensions);
        let (hub, world) = (&front.relay.hub, front.relay.world());
        front.sessions.open(opened, hub, &world).expect("there is room")
    }

    /// A front whose sessions have little room.
    fn narrow() -> Arc<Front> {
        let mut front = bare();
        let sessions = &mut Arc::get_mut(&mut front).expect("it is ours alone").sessions;
        Arc::get_mut(&mut sessions.table).expect("it is ours alone").room = NARROW;
        front
    }

    #[tokio::test]
    async fn who_keeps_much_takes_nothing_from_who_keeps_little() {
        let front = narrow();
        let little = open(&front, "");
        let small = little.speak();
        (0..3).for_each(|_| small.say(Bytes::from_static(b"{}"), None));
        let message = Bytes::from(vec![b'x'; NARROW / 16]);
        let mut kept = Vec::new();
        for _ in 0..8 {
            let greedy = open(&front, "");
            for _ in 0..4 {
                let speech = greedy.speak();
                let unread = speech.listen().expect("it is open");
                (0..2).for_each(|_| speech.say(message.clone(), None));
                kept.push((speech, unread));
            }
        }
        let bytes = front.sessions.table.kept.load(Ordering::Relaxed);
        assert!(bytes <= NARROW, "{bytes}");
        small.say(Bytes::from_static(b"{}"), None);
        let mut listening = small.listen().expect("it is kept");
        for _ in 0..4 {
            let frame = listening.next().await.expect("an event");
            assert!(frame.concat().ends_with(b"data: {}\n\n"), "{frame:?}");
        }
        assert!(listening.event_id().ends_with("-1-4"), "nothing was left out");
    }

    #[tokio::test]
    async fn who_comes_back_for_what_was_given_up_for_others_is_told_so() {
        let front = narrow();
        let large = open(&front, "");
        let said = large.speak();
        said.say(Bytes::from(vec![b'x'; NARROW / 2]), None);
        let place = said.listen().expect("it is open").event_id();
        drop(said);
        assert!(large.place(&place).is_some());
        for _ in 0..4 {
            open(&front, "").speak().say(Bytes::from(vec![b'x'; NARROW / 4]), None);
        }
        assert!(large.place(&place).is_none());
    }
}
