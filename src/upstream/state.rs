//! One configured upstream: its state, what it offers, and how fresh that is.

use crate::bridge::initialize::Peer;
use crate::catalog::entry::Provenance;
use crate::catalog::listing::{Listing, Offer};
use crate::config::{Entry, Transport};
use crate::control::admission::Limit;
use crate::control::confine::Sandboxed;
use crate::mcp::{Era, ListKind, Method, Revision};
use crate::net::client::Circuit;
use crate::upstream::lanes::{Lanes, Party, Seat};
use crate::upstream::listing::ListError;
use crate::upstream::status::State;
use crate::upstream::supervisor::Command;
use crate::upstream::ticket::{Places, Ticket};
use crate::upstream::watching::MAX_WATCHED;
use crate::upstream::{CallError, Link};
use crate::wire::jsonrpc::Notification;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

/// How long a list of an upstream that announces no changes is taken as current.
pub const UNANNOUNCED_FRESH: Duration = Duration::from_secs(1);

/// How long a list request waits for the refresh of such a list.
pub const LAZY_WAIT: Duration = Duration::from_millis(100);

/// How long a request waits for an upstream whose connection has just ended.
pub const RETURN_WAIT: Duration = Duration::from_secs(2);

/// What an upstream tells the rest of the gateway.
#[derive(Debug)]
pub enum Announcement {
    /// Lists were read anew.
    Listed {
        /// Position of the upstream in the configuration.
        upstream: usize,
        /// The lists that the upstream announced as changed.
        announced: Vec<ListKind>,
        /// The lists that differ from what was known.
        changed: Vec<ListKind>,
        /// Told when the lists can be seen by clients.
        published: Option<oneshot::Sender<()>>,
    },
    /// A resource changed.
    Updated {
        /// Position of the upstream in the configuration.
        upstream: usize,
        /// The `notifications/resources/updated` as it came.
        notification: Notification,
    },
    /// Something that concerns one client alone was said outside its calls.
    News {
        /// Position of the upstream in the configuration.
        upstream: usize,
        /// The connection on which it was said.
        link: Weak<Link>,
        /// As it came; see [`Announcement::news`].
        notification: Notification,
    },
    /// Nothing has happened: somebody wants to know whether announcements are heard.
    Pulse(oneshot::Sender<()>),
    /// A subscribed resource may have changed while the connection was down.
    Resubscribed {
        /// Position of the upstream in the configuration.
        upstream: usize,
        /// The resource.
        uri: String,
    },
}

impl Announcement {
    /// The state or the progress of a task, or the end of an elicitation by URL, from a server of
    /// 2025-11-25; `None` for any other notification, and from modern servers, which have none of
    /// these.
    pub(super) fn news(
        upstream: usize,
        link: &Arc<Link>,
        notification: Notification,
    ) -> Option<Self> {
        use Method::{ElicitationComplete, Progress, TaskStatus};
        let method = Method::parse(&notification.call.method_name())?;
        let is_news = matches!(method, TaskStatus | Progress | ElicitationComplete);
        let news = || Self::News { upstream, link: Arc::downgrade(link), notification };
        (is_news && link.era() == Era::Legacy).then(news)
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Freshness {
    /// The upstream said that it has changed.
    stale: bool,
    /// The last read has failed.
    failed: bool,
    /// When it was last tried to read it.
    fetched: Option<Instant>,
    /// When it was last read.
    read: Option<Instant>,
    reading: bool,
    again: bool,
    /// The upstream said that it has changed, and clients were not told yet.
    announced: bool,
}

#[derive(Debug, Default)]
struct Shelf {
    offer: Offer,
    peer: Option<Peer>,
    sandboxed: Option<Sandboxed>,
    /// The connection that the lists were read from stands.
    current: bool,
    freshness: [Freshness; 4],
    /// How often a list differed from what was known.
    changes: u64,
    /// Why the last read of each list failed, if it did.
    faults: [Option<ListError>; 4],
}

/// One entry of the configuration, whatever becomes of its connections.
#[derive(Debug)]
pub struct Upstream {
    /// Its place among the upstreams.
    pub position: usize,
    /// What the file says.
    pub entry: Arc<Entry>,
    state: watch::Sender<State>,
    shelf: Mutex<Shelf>,
    /// Counts completed reads of lists.
    reads: watch::Sender<u64>,
    made: Instant,
    /// Places for requests of clients; our own are not counted.
    places: Arc<Places>,
    /// Its connections besides the one that all share.
    pub lanes: Arc<Lanes>,
    /// What is known of each of its urls.
    pub circuits: Arc<[Circuit]>,
    pub(crate) commands: mpsc::Sender<Command>,
    /// Subscriptions that ended while there was no room for the command that says so.
    ended: Mutex<BTreeSet<String>>,
}

fn index(kind: ListKind) -> usize {
    match kind {
        ListKind::Tools => 0,
        ListKind::Prompts => 1,
        ListKind::Resources => 2,
        ListKind::Templates => 3,
    }
}

impl Upstream {
    /// An upstream that nobody has started yet, and what its supervisor listens to.
    /// At most `in_flight` requests of clients are under way there at once.
    pub fn new(
        position: usize,
        entry: Arc<Entry>,
        in_flight: usize,
    ) -> (Arc<Self>, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(crate::upstream::supervisor::MAX_COMMANDS);
        let state = watch::Sender::new(State::Starting);
        let (shelf, reads) = (Mutex::default(), watch::Sender::new(0));
        let places = Places::new(in_flight);
        let made = Instant::now();
        let ended = Mutex::default();
        let lanes = Lanes::new(&entry.key, entry.isolation, entry.lanes, commands.clone());
        let urls = match &entry.transport {
            Transport::Http(http) => http.urls.len(),
            _ => 0,
        };
        let circuits = (0..urls).map(|_| Circuit::default()).collect();
        let upstream = Self {
            position,
            entry,
            state,
            shelf,
            reads,
            made,
            places,
            lanes,
            circuits,
            commands,
            ended,
        };
        (Arc::new(upstream), receiver)
    }

    /// The connection for a call of `party`: the one that all share, which is `link`, or a lane
    /// with the seat there. Waits as long as a start may take.
    ///
    /// # Errors
    /// Why there is no lane for it.
    pub async fn way(
        &self,
        link: Arc<Link>,
        party: &Party,
    ) -> Result<(Arc<Link>, Option<Seat>), CallError> {
        if !self.lanes.are_used() {
            return Ok((link, None));
        }
        // most calls do not come here, and none is to be larger for it
        let seat = self.lanes.seat(link.era(), party, self.entry.timeouts.start);
        let found = Box::pin(seat).await?;
        Ok(found.map_or((link, None), |(lane, seat)| (lane, Some(seat))))
    }

    /// A place for one request of a client, until its ticket is dropped.
    ///
    /// # Errors
    /// The limit that forbids it.
    pub fn admit(&self, ticket: &mut Ticket) -> Result<(), Limit> {
        ticket.enter(&self.places)
    }

    /// Whether a request of a client is under way, or waits for its client.
    pub(super) fn is_busy(&self) -> bool {
        self.places.are_used()
    }

    /// The slug that stands in paths, prefixes and URIs.
    pub fn slug(&self) -> &str {
        self.entry.slug.as_str()
    }

    /// Where it stands now.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// The connection, if there is one.
    pub fn link(&self) -> Option<Arc<Link>> {
        self.state.borrow().link().map(Arc::clone)
    }

    /// What it said of itself when it was last connected.
    pub fn peer(&self) -> Option<Peer> {
        self.shelf().peer.clone()
    }

    /// Where its lists come from: what was spoken on the last connection, over its transport.
    pub fn provenance(&self) -> Provenance {
        let peer = self.shelf().peer.as_ref().map(|peer| peer.revision);
        let revision = peer.unwrap_or(Revision::LATEST_LEGACY);
        match self.entry.transport {
            Transport::Http(_) => Provenance::over_http(revision),
            Transport::Stdio(_) | Transport::Builtin => Provenance::over_lines(revision),
        }
    }

    /// How long ago one of its lists was read; that of one which the upstream says has changed
    /// since is as old as can be.
    pub fn age_of(&self, kind: ListKind) -> Duration {
        let freshness = self.shelf().freshness[index(kind)];
        let read = freshness.read.filter(|_| !freshness.stale);
        read.map_or(Duration::MAX, |at| at.elapsed())
    }

    /// Whether its lists are those of a connection that stands.
    pub fn is_current(&self) -> bool {
        self.shelf().current
    }

    pub(crate) fn connected(&self, peer: &Peer, sandboxed: Option<Sandboxed>) {
        let mut shelf = self.shelf();
        shelf.sandboxed = sandboxed;
        (shelf.peer, shelf.current) = (Some(peer.clone()), true);
    }

    /// What its process is held by, in one line; none if it has no process or no sandbox.
    pub fn sandboxed(&self) -> Option<String> {
        self.shelf().sandboxed.as_ref().map(Sandboxed::to_string)
    }

    pub(crate) fn set_state(&self, state: State) {
        self.state.send_replace(state);
    }

    /// How long ago it was configured.
    pub fn age(&self) -> Duration {
        self.made.elapsed()
    }

    /// The connection; when it is being made, waits for it: the first time as long as the entry
    /// allows, later [`RETURN_WAIT`].
    pub async fn connection(&self) -> Option<Arc<Link>> {
        let bound = match self.state() {
            State::Starting => self.entry.timeouts.start,
            State::Returning(_) => self.entry.timeouts.start.min(RETURN_WAIT),
            state => return state.link().map(Arc::clone),
        };
        let mut states = self.state.subscribe();
        let made = states.wait_for(|state| !state.is_making());
        let _ = tokio::time::timeout(bound, made).await; // then there is none
        self.link()
    }

    /// Whether a request may have to wait for a connection that is being made.
    pub fn may_wait(&self) -> bool {
        let making = self.state.borrow().is_making();
        making || self.lanes.are_used()
    }

    /// The connection that takes the place of a lost one; waits for it like [`Self::connection`].
    pub async fn connection_after(&self, lost: &Weak<Link>) -> Option<Arc<Link>> {
        let is_new = |link: &Arc<Link>| !std::ptr::eq(Arc::as_ptr(link), lost.as_ptr());
        let mut states = self.state.subscribe();
        let made = states.wait_for(|state| state.link().map_or_else(|| !state.is_making(), is_new));
        let bound = self.entry.timeouts.start.min(RETURN_WAIT);
        let _ = tokio::time::timeout(bound, made).await; // then there is none
        self.link().filter(is_new)
    }

    /// Waits until the first attempt to connect has ended, at most `bound`.
    pub async fn settled(&self, bound: Duration) {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Starting));
        let _ = tokio::time::timeout(bound, settled).await; // whoever is there by then is served
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it offers as far as it is known; what was known stays while it is down.
    pub fn offer(&self) -> Offer {
        self.shelf().offer.clone()
    }

    /// One of its lists as far as it is known.
    pub fn listing(&self, kind: ListKind) -> Option<Arc<Listing>> {
        self.shelf().offer.get(kind).cloned()
    }

    /// Keeps a list that was read; whether it differs from what was known.
    pub(crate) fn store(&self, kind: ListKind, listing: Option<Listing>) -> bool {
        let mut shelf = self.shelf();
        let known = shelf.offer.get(kind);
        let differs = known.map(|known| &**known) != listing.as_ref();
        if differs {
            shelf.offer.set(kind, listing.map(Arc::new));
            shelf.changes += 1;
        }
        let freshness = &mut shelf.freshness[index(kind)];
        (freshness.stale, freshness.failed) = (freshness.again, false);
        freshness.fetched = Some(Instant::now());
        freshness.read = freshness.fetched;
        shelf.faults[index(kind)] = None;
        drop(shelf);
        self.reads.send_modify(|reads| *reads += 1);
        differs
    }

    /// How often any of its lists was found to differ from what was known.
    pub(crate) fn changes(&self) -> u64 {
        self.shelf().changes
    }

    /// A read of a list failed: what was known stays, and the next request tries again later.
    /// Whether it did not fail in the same way the last time.
    pub(crate) fn keep(&self, kind: ListKind, why: ListError) -> bool {
        let mut shelf = self.shelf();
        let freshness = &mut shelf.freshness[index(kind)];
        (freshness.fetched, freshness.failed) = (Some(Instant::now()), true);
        let before = shelf.faults[index(kind)].replace(why);
        let news = before != shelf.faults[index(kind)];
        drop(shelf);
        self.reads.send_modify(|reads| *reads += 1);
        news
    }

    /// Why the last read of one of its lists failed, if it did.
    pub fn fault(&self, kind: ListKind) -> Option<ListError> {
        self.shelf().faults[index(kind)].clone()
    }

    pub(crate) fn mark_stale(&self, kind: ListKind) {
        self.shelf().freshness[index(kind)].stale = true;
    }

    pub(crate) fn mark_announced(&self, kind: ListKind) {
        self.shelf().freshness[index(kind)].announced = true;
    }

    /// The lists that the upstream said have changed since this was last asked.
    pub(crate) fn take_announced(&self) -> Vec<ListKind> {
        let mut shelf = self.shelf();
        let kinds = ListKind::ALL.into_iter();
        kinds.filter(|k| std::mem::take(&mut shelf.freshness[index(*k)].announced)).collect()
    }

    /// Whether a list that the upstream says it has was never read.
    pub(crate) fn is_unread(&self, kind: ListKind) -> bool {
        let shelf = self.shelf();
        let promised = shelf.peer.as_ref().is_some_and(|peer| peer.capabilities.has(kind));
        promised && shelf.freshness[index(kind)].failed && shelf.offer.get(kind).is_none()
    }

    /// Whether a read of the list may begin; while one is under way, it will be repeated.
    pub(crate) fn begin_reading(&self, kind: ListKind) -> bool {
        let mut shelf = self.shelf();
        let freshness = &mut shelf.freshness[index(kind)];
        freshness.again = freshness.reading;
        !std::mem::replace(&mut freshness.reading, true)
    }

    /// A read of the list has ended; whether it must be repeated at once.
    pub(crate) fn end_reading(&self, kind: ListKind) -> bool {
        let mut shelf = self.shelf();
        let freshness = &mut shelf.freshness[index(kind)];
        freshness.reading = std::mem::take(&mut freshness.again);
        freshness.reading
    }

    /// The connection ended: no read is under way any more.
    pub(crate) fn disconnected(&self) {
        let mut shelf = self.shelf();
        shelf.current = false;
        for freshness in &mut shelf.freshness {
            (freshness.reading, freshness.again) = (false, false);
        }
    }

    /// Asks for one list to be made current before it is served, if it is not: the caller is to
    /// wait for what comes back. One that the upstream said has changed is worth a long wait, one
    /// whose upstream never says so a short one.
    pub fn freshen(&self, kind: ListKind, now: Instant) -> Option<Refreshing<'_>> {
        let link = self.link()?;
        let freshness = self.shelf().freshness[index(kind)];
        let announces = link.peer.capabilities.announces(kind);
        let old = freshness.fetched.is_none_or(|at| now.duration_since(at) >= self.fresh_for(kind));
        let bound = match (freshness.stale, freshness.failed) {
            (true, false) => self.entry.timeouts.list,
            (_, true) if old => LAZY_WAIT,
            _ if old && (!announces || self.has_ttl(kind)) => LAZY_WAIT,
            _ => return None,
        };
        let reads = self.reads.subscribe();
        self.commands.try_send(Command::Refresh(kind)).ok()?;
        Some(Refreshing { upstream: self, kind, since: now, bound, reads })
    }

    /// Reads a list anew, however fresh it seems, and waits for it as long as that may take.
    pub async fn renew(&self, kind: ListKind) {
        self.mark_stale(kind);
        if let Some(refreshing) = self.freshen(kind, Instant::now()) {
            refreshing.done(Duration::MAX).await;
        }
    }

    /// Whether the upstream says how long the list is good for, and not just that it is not.
    fn has_ttl(&self, kind: ListKind) -> bool {
        self.listing(kind).and_then(|listing| listing.ttl_ms).is_some_and(|ttl| ttl > 0)
    }

    fn fresh_for(&self, kind: ListKind) -> Duration {
        let listing = self.listing(kind);
        let ttl = listing.and_then(|listing| listing.ttl_ms).map(Duration::from_millis);
        ttl.unwrap_or_default().max(UNANNOUNCED_FRESH)
    }

    /// Subscribes to a resource; the answer of the upstream, or why there is none.
    pub async fn watch(&self, uri: String) -> Result<(), WatchError> {
        let (answer, answered) = oneshot::channel();
        self.ended().remove(&uri); // it is wanted again
        let command = Command::Watch { uri, answer };
        let gone = WatchError::Call(CallError::NotConnected("the upstream is not running".into()));
        if self.commands.send(command).await.is_err() {
            return Err(gone);
        }
        answered.await.unwrap_or(Err(gone))
    }

    /// Ends a subscription. A client may end a thousand at once, so what finds no room among the
    /// commands is put aside; beyond [`MAX_WATCHED`] updates go on arriving, and are dropped here.
    pub fn unwatch(&self, uri: String) {
        let told = self.commands.try_send(Command::Unwatch { uri });
        if let Err(TrySendError::Full(Command::Unwatch { uri })) = told {
            let mut ended = self.ended();
            if ended.len() < MAX_WATCHED {
                ended.insert(uri);
            }
        }
    }

    /// What was put aside. To be asked when all commands were looked at: the beginning of such a
    /// subscription may be among them.
    pub(crate) fn take_ended(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.ended())
    }

    fn ended(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request did not fit what the upstream has listed: the list is read anew.
    pub fn doubt(&self, kind: ListKind) {
        self.mark_stale(kind);
        let _ = self.commands.try_send(Command::Refresh(kind)); // else the next list request does it
    }

    /// A request found the connection unusable: the supervisor is to make a new one.
    pub fn report(&self, error: &CallError, link: &Weak<Link>) {
        use CallError::{NotConnected, SessionLost, SessionUnknown};
        if matches!(error, SessionLost | SessionUnknown | NotConnected(_)) {
            let lost = Command::Lost { error: error.clone(), link: Weak::clone(link) };
            let _ = self.commands.try_send(lost); // it is busy with others
        }
    }
}

/// A list that is being read anew.
#[derive(Debug)]
pub struct Refreshing<'a> {
    upstream: &'a Upstream,
    kind: ListKind,
    since: Instant,
    bound: Duration,
    reads: watch::Receiver<u64>,
}

impl Refreshing<'_> {
    /// Waits until the list is current, at most as long as it is worth, and at most `bound`,
    /// both counted from the request for it.
    pub async fn done(mut self, bound: Duration) {
        let end = tokio::time::Instant::from_std(self.since + self.bound.min(bound));
        let current = async {
            while self.reads.changed().await.is_ok() {
                let freshness = self.upstream.shelf().freshness[index(self.kind)];
                if !freshness.again && freshness.fetched.is_some_and(|at| at >= self.since) {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout_at(end, current).await; // then what is known is served
    }
}

/// Why a resource is not being watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchError {
    /// The upstream refused: code and text.
    Refused(i64, String),
    /// Too many resources are watched.
    TooMany,
    /// The upstream has no subscriptions.
    Unsupported,
    /// It could not be asked.
    Call(CallError),
}
