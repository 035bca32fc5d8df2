//! Sessions of legacy clients (MCP 2025-11-25 basic/transports, "Session Management").
//!
//! A session belongs to one endpoint, remembers what was negotiated, and owns the exchanges whose
//! client went away: a disconnect is not a cancellation in these revisions.

use crate::bridge::listen::Filter;
use crate::bridge::question::Reply;
use crate::mcp::{ClientCapabilities, LogLevel, Revision};
use crate::relay::{Asked, Cancel, Endpoint, Exchange, Hub, Outlet, Step, World};
use crate::sys::random::Random;
use crate::task::Scope;
use crate::wire::jsonrpc::{RequestId, Response};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

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

/// What a session is opened with: where, in which revision, by a client that can do what.
pub type Opened = (Endpoint, Revision, ClientCapabilities);

/// Most questions of one session that wait for an answer.
pub const MOST_ASKED: usize = 1024;

/// One legacy session.
#[derive(Debug)]
pub struct Session {
    /// What stands in `Mcp-Session-Id`.
    pub id: String,
    /// The face of the gateway that the session was opened on.
    pub endpoint: Endpoint,
    /// The revision that was negotiated.
    pub revision: Revision,
    /// What the client can be asked for.
    pub capabilities: ClientCapabilities,
    /// What its GET stream will bring.
    pub outlet: Arc<Outlet>,
    /// Counts the GET streams that were opened.
    streams: watch::Sender<u64>,
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
    streams: usize,
    ended: bool,
    /// What the client was asked, by the ids of our requests.
    asked: HashMap<u64, Asked>,
    next_id: u64,
}

impl Session {
    fn new(id: String, (endpoint, revision, capabilities): Opened) -> Self {
        let outlet = Arc::new(Outlet::new(endpoint, None, Filter::all_lists()));
        let state = State {
            level: None,
            flights: Vec::new(),
            free: Vec::new(),
            last_used: Instant::now(),
            unused: true,
            streams: 0,
            ended: false,
            asked: HashMap::new(),
            next_id: 1,
        };
        let (streams, state) = (watch::Sender::new(0), Mutex::new(state));
        Self { id, endpoint, revision, capabilities, outlet, streams, state }
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
    pub fn take_off(self: &Arc<Self>, id: &RequestId, cancel: Arc<Cancel>) -> Flight {
        let flying = Some((id.clone(), cancel));
        let mut state = lock(&self.state);
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
        if state.ended || state.asked.len() >= MOST_ASKED {
            return None;
        }
        let id = state.next_id;
        state.next_id += 1;
        state.asked.insert(id, asked);
        Some(id)
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

    fn touch(&self) {
        let mut state = lock(&self.state);
        (state.last_used, state.unused) = (Instant::now(), false);
    }

    /// Notes that a GET stream is open. It takes the place of an earlier one: a client whose
    /// connection broke comes back before we notice.
    pub fn open_stream(self: &Arc<Self>) -> StreamGuard {
        lock(&self.state).streams += 1;
        self.streams.send_modify(|opened| *opened += 1);
        let mut later = self.streams.subscribe();
        later.mark_unchanged();
        StreamGuard { session: Arc::clone(self), later }
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
        let busy = state.streams > 0 || state.flights.iter().any(Option::is_some);
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

/// The GET stream of a session while it is open.
#[derive(Debug)]
pub struct StreamGuard {
    session: Arc<Session>,
    later: watch::Receiver<u64>,
}

impl StreamGuard {
    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Another stream of the session was opened.
    pub async fn replaced(&mut self) {
        let _ = self.later.changed().await; // the sender lives as long as the session
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let mut state = lock(&self.session.state);
        state.streams = state.streams.saturating_sub(1);
        state.last_used = Instant::now();
    }
}

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    table: Mutex<HashMap<String, Arc<Session>>>,
    most: usize,
    random: Arc<Random>,
    scope: Arc<Scope>,
}

impl Sessions {
    /// No sessions yet, and at most `most` of them. Exchanges without a client end in `scope`.
    pub fn new(most: usize, random: Arc<Random>, scope: Arc<Scope>) -> Self {
        Self { table: Mutex::default(), most, random, scope }
    }

    /// Opens a session; `None` when there are too many and none has been idle for [`ROOM`].
    pub fn open(&self, opened: Opened, hub: &Hub, world: &World) -> Option<Arc<Session>> {
        if lock(&self.table).len() >= self.most {
            let now = Instant::now();
            let mut idle = self.idle(now, ROOM_UNUSED).into_iter();
            let oldest = idle.find(|session| session.makes_room(now))?;
            self.close(&oldest, hub, world);
        }
        let session = Arc::new(Session::new(self.random.hex128(), opened));
        lock(&self.table).insert(session.id.clone(), Arc::clone(&session));
        hub.add(&session.outlet);
        Some(session)
    }

    /// The sessions that nobody has used for `idle`, those unused for longest first.
    fn idle(&self, now: Instant, idle: Duration) -> Vec<Arc<Session>> {
        let table = lock(&self.table);
        let unused = |session: &Arc<Session>| Some((session.unused_since()?, Arc::clone(session)));
        let mut found: Vec<_> = table.values().filter_map(unused).collect();
        drop(table);
        found.retain(|(since, _)| now.duration_since(*since) >= idle);
        found.sort_by_key(|(since, _)| *since);
        found.into_iter().map(|(_, session)| session).collect()
    }

    /// The session with this id, if it belongs to this endpoint.
    pub fn find(&self, id: &str, endpoint: Endpoint) -> Option<Arc<Session>> {
        let session = lock(&self.table).get(id).cloned();
        let session = session.filter(|session| session.endpoint == endpoint)?;
        session.touch();
        Some(session)
    }

    /// Ends a session.
    pub fn close(&self, session: &Session, hub: &Hub, world: &World) {
        lock(&self.table).remove(&session.id);
        session.end();
        hub.remove(world, &session.outlet);
    }

    /// Ends the sessions that nobody has used for [`IDLE`].
    pub fn sweep(&self, now: Instant, hub: &Hub, world: &World) {
        for session in self.idle(now, IDLE) {
            self.close(&session, hub, world);
        }
    }

    /// Goes on with an exchange whose client has disconnected. Its answer reaches nobody, but the
    /// upstream finishes what it has begun.
    pub fn adopt(&self, mut exchange: Exchange, flight: Option<Flight>) {
        let stopping = self.scope.token();
        self.scope.spawn("exchange without client", async move {
            let rest = async {
                let more = |step: &Step| !matches!(step, Step::Answer(_) | Step::Cancelled);
                while more(&exchange.next(Duration::MAX).await) {}
            };
            tokio::select! {
                () = rest => {}
                () = stopping.cancelled() => {}
            }
            drop(flight);
        });
    }
}
