//! The life of one upstream: connect, shake hands, read the lists, serve, and begin again.
//!
//! One task owns all of it. What takes time (a list, a subscription) runs in tasks of the
//! connection's own scope, so that the loop always hears of the end of the connection.

use crate::config::ProtocolPin;
use crate::control::backoff::Backoff;
use crate::control::pace::Pace;
use crate::mcp::ListKind;
use crate::task::{Scope, join};
use crate::upstream::call::Unrequested;
use crate::upstream::connection::{Connection, Failure, Greeting, keeper_lost};
use crate::upstream::lane;
use crate::upstream::lanes::Life;
use crate::upstream::link::Link;
use crate::upstream::state::{Announcement, State, Upstream, WatchError};
use crate::upstream::tools::{Tools, dice};
use crate::upstream::watching::Watching;
use crate::upstream::{CallError, listing};
use crate::wire::jsonrpc::{Message, Notification};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Most commands that may wait for one supervisor.
pub const MAX_COMMANDS: usize = 256;

/// What the rest of the gateway asks of a supervisor.
#[derive(Debug)]
pub enum Command {
    /// Read a list anew, unless that is under way.
    Refresh(ListKind),
    /// Subscribe to a resource.
    Watch {
        /// The resource, as the upstream names it.
        uri: String,
        /// Gets the upstream's answer.
        answer: oneshot::Sender<Result<(), WatchError>>,
    },
    /// End a subscription.
    Unwatch {
        /// The resource, as the upstream names it.
        uri: String,
    },
    /// Open a further connection.
    Open(Life),
    /// A connection is of no use any more.
    Lost {
        /// What a request met.
        error: CallError,
        /// The connection it met it on.
        link: Weak<Link>,
    },
}

/// The task that keeps one upstream running until its scope ends.
pub struct Supervisor {
    upstream: Arc<Upstream>,
    commands: mpsc::Receiver<Command>,
    tools: Tools,
    scope: Arc<Scope>,
    /// The last child ended on the probe: the next one is met with `initialize`.
    skip_probe: bool,
    /// It was connected before: what it offers may have changed meanwhile.
    returning: bool,
    watching: Watching,
    /// How often what may have been missed is looked for.
    pace: Pace,
}

impl Supervisor {
    /// A supervisor that has not begun.
    pub fn new(
        upstream: Arc<Upstream>,
        commands: mpsc::Receiver<Command>,
        tools: Tools,
        scope: Arc<Scope>,
    ) -> Self {
        let watching = Watching::default();
        let (skip_probe, returning, pace) = (false, false, Pace::default());
        Self { upstream, commands, tools, scope, skip_probe, returning, watching, pace }
    }

    /// Keeps the upstream running until the scope ends.
    pub async fn run(mut self) {
        let token = self.scope.token();
        let mut backoff = Backoff::default();
        let mut said = String::new();
        while !token.is_cancelled() {
            let (why, lasted) = match self.connect().await {
                Ok(connection) => {
                    said.clear(); // it was ready in between, so that its end is news
                    let begun = Instant::now();
                    (self.serve(connection).await, begun.elapsed())
                }
                Err(why) => (why, Duration::ZERO),
            };
            if token.is_cancelled() {
                break;
            }
            let pause = backoff.after(lasted, dice(&self.tools.random));
            let key = &self.upstream.entry.key;
            // the same reason again and again is said once
            let level = if why == said { log::Level::Debug } else { log::Level::Warn };
            let again = match pause.as_millis() {
                0 => "trying again at once".to_owned(),
                ms => format!("next attempt in {ms} ms"),
            };
            self.upstream.set_state(match pause.is_zero() {
                true => State::Returning(why.as_str().into()),
                false => State::Down(why.as_str().into()),
            });
            log::log!(level, "{key}: {why}; {again}");
            said = why;
            self.rest(pause).await;
        }
        self.upstream.set_state(State::Down("the gateway is stopping".into()));
    }

    /// Waits for the next attempt; whoever wants to subscribe meanwhile is told why not.
    async fn rest(&mut self, pause: Duration) {
        let token = self.scope.token();
        let wake = tokio::time::sleep(pause);
        tokio::pin!(wake);
        loop {
            let command = tokio::select! {
                () = &mut wake => return,
                () = token.cancelled() => return,
                command = self.commands.recv() => command,
            };
            match command {
                Some(Command::Watch { uri, answer }) => {
                    self.watching.refuse_while_down(uri, answer)
                }
                Some(Command::Unwatch { uri }) => self.watching.forget(&uri),
                // who wants a lane learns that there is none when it is dropped
                Some(Command::Refresh(_) | Command::Lost { .. } | Command::Open(_)) => {}
                None => return,
            }
            if self.commands.is_empty() {
                self.upstream.take_ended().iter().for_each(|uri| self.watching.forget(uri));
            }
        }
    }

    async fn connect(&mut self) -> Result<Connection, String> {
        let scope = Arc::new(self.scope.child(format!("upstream {}", self.upstream.entry.slug)));
        let greeting = Greeting::Find(match self.skip_probe {
            true => ProtocolPin::Legacy,
            false => self.upstream.entry.protocol,
        });
        let (tools, entry, stop) = (&self.tools, &self.upstream.entry, self.scope.token());
        match Connection::open(tools, entry, scope, &stop, greeting).await {
            Ok(connection) => {
                self.skip_probe = false;
                Ok(connection)
            }
            Err(Failure { why, on_probe }) => {
                self.skip_probe = on_probe && !self.skip_probe;
                Err(why)
            }
        }
    }

    /// Serves until the connection ends, and says why it did.
    async fn serve(&mut self, mut connection: Connection) -> String {
        let token = self.scope.token();
        self.upstream.connected(&connection.link.peer, connection.sandboxed.take());
        let changed = self.read_lists(&connection).await;
        self.publish(changed).await;
        self.upstream.set_state(State::Ready(Arc::clone(&connection.link)));
        let key = &self.upstream.entry.key;
        let peer = &connection.link.peer;
        log::info!("{key}: ready, speaks {}", peer.revision.as_str());
        self.watching.begin(&self.upstream, &connection.link, &connection.scope, &connection.back);
        if self.returning {
            self.watching.announce_all(self.upstream.position, &self.tools.announce).await;
        }
        self.returning = true;
        self.pace = Pace::default();
        let why = loop {
            tokio::select! {
                () = token.cancelled() => break "the gateway is stopping".to_owned(),
                () = keeper_lost(&mut connection.process) => {
                    break "its keeper was killed; what the server has started may still run".to_owned();
                }
                arrived = connection.unrequested.recv() => match arrived {
                    Some(Unrequested::Message(Message::Notification(notification))) => {
                        self.notification(&connection, notification).await;
                    }
                    Some(Unrequested::Message(_)) => {}
                    Some(Unrequested::ListenEnded(id)) => self.watching.ended(id),
                    Some(Unrequested::ListenLate(id)) => self.watching.late(id),
                    Some(Unrequested::Missed) => self.missed(&connection).await,
                    Some(Unrequested::CatchUp) => self.catch_up(&connection).await,
                    Some(Unrequested::Ambiguous) => self.upstream.lanes.ambiguous(),
                    Some(Unrequested::Closed(why)) => break why,
                    None => break "the connection ended".to_owned(),
                },
                command = self.commands.recv() => match command {
                    Some(Command::Lost { error, link }) => {
                        // a late report of an earlier connection says nothing about this one
                        if std::ptr::eq(link.as_ptr(), Arc::as_ptr(&connection.link)) {
                            break error.to_string();
                        }
                    }
                    Some(command) => self.command(&connection, command),
                    None => break "the entry is gone".to_owned(),
                },
            }
        };
        self.upstream.set_state(State::Returning(why.as_str().into()));
        self.watching.suspend();
        self.upstream.disconnected();
        self.publish(Vec::new()).await;
        connection.end(why).await
    }

    async fn announce(&self, announcement: Announcement) {
        let _ = self.tools.announce.send(announcement).await; // nobody listens at the very end
    }

    /// Makes what was read known before anybody is told that the upstream is ready.
    async fn publish(&self, changed: Vec<ListKind>) {
        let (done, published) = oneshot::channel();
        let upstream = self.upstream.position;
        let announced = Vec::new();
        self.announce(Announcement::Listed { upstream, announced, changed, published: Some(done) })
            .await;
        let _ = tokio::time::timeout(TELL_AFTER, published).await; // it will be, soon
    }

    /// Reads all lists; those that differ from what was known. What cannot be read now is tried
    /// again while the connection lasts.
    async fn read_lists(&self, connection: &Connection) -> Vec<ListKind> {
        let pages = self.tools.list_pages;
        let kinds = ListKind::ALL.map(|kind| {
            let (upstream, link) = (Arc::clone(&self.upstream), Arc::clone(&connection.link));
            async move { read_list(&upstream, &link, kind, pages).await }
        });
        let differs = join::all(kinds).await;
        let unread = ListKind::ALL.into_iter().filter(|kind| self.upstream.is_unread(*kind));
        for kind in unread {
            let (upstream, link) = (Arc::clone(&self.upstream), Arc::clone(&connection.link));
            let announce = self.tools.announce.clone();
            connection.scope.spawn("upstream list retry", async move {
                let mut pause = TELL_AFTER;
                while upstream.is_unread(kind) {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_RETRY);
                    if read_list(&upstream, &link, kind, pages).await {
                        tell(&upstream, &announce, vec![kind]).await;
                    }
                }
            });
        }
        let changed = ListKind::ALL.into_iter().zip(differs).filter(|(_, differs)| *differs);
        changed.map(|(kind, _)| kind).collect()
    }

    async fn notification(&mut self, connection: &Connection, notification: Notification) {
        let name = notification.call.method_name().into_owned();
        if let Some(kind) = ListKind::ALL.into_iter().find(|kind| kind.changed().name() == name) {
            self.changed(connection, kind);
            return;
        }
        match name.as_str() {
            "notifications/resources/updated" => {
                let upstream = self.upstream.position;
                self.announce(Announcement::Updated { upstream, notification }).await;
            }
            "notifications/tasks/status" => {
                let upstream = self.upstream.position;
                self.announce(Announcement::TaskStatus { upstream, notification }).await;
            }
            "notifications/subscriptions/acknowledged" => {
                if self.watching.acknowledged(&notification) {
                    self.missed(connection).await;
                }
            }
            "notifications/cancelled" => self.watching.cancelled(&notification),
            _ => {
                log::debug!("{}: a notification nobody waits for", self.upstream.entry.key)
            }
        }
    }

    /// There was a time when nothing could be announced: what was missed is looked for, at once or,
    /// where that has been in vain, later.
    async fn missed(&mut self, connection: &Connection) {
        match self.pace.occasion(Instant::now(), self.upstream.changes()) {
            None => {}
            Some(Duration::ZERO) => self.catch_up(connection).await,
            Some(wait) => {
                let back = connection.back.clone();
                connection.scope.spawn("upstream catch up", async move {
                    tokio::time::sleep(wait).await;
                    let _ = back.send(Unrequested::CatchUp).await; // the connection may be gone
                });
            }
        }
    }

    /// Every list whose changes are announced is read anew, every resource may have changed.
    async fn catch_up(&mut self, connection: &Connection) {
        self.pace.look(Instant::now(), self.upstream.changes());
        for kind in ListKind::ALL {
            let announces = connection.link.peer.capabilities.announces(kind);
            if announces && self.upstream.begin_reading(kind) {
                self.refresh(connection, kind, kind.alone());
            }
        }
        self.watching.announce_all(self.upstream.position, &self.tools.announce).await;
    }

    /// The upstream says a list has changed: it is read anew, then clients are told; if reading
    /// takes long they are told before, and their next request waits for it. A change announced
    /// while the list is being read makes it be read once more, however often it is announced.
    fn changed(&self, connection: &Connection, kind: ListKind) {
        let related: &'static [ListKind] = match kind {
            ListKind::Tools => &[ListKind::Tools],
            ListKind::Prompts => &[ListKind::Prompts],
            ListKind::Resources | ListKind::Templates => {
                &[ListKind::Resources, ListKind::Templates]
            }
        };
        for kind in related {
            self.upstream.mark_stale(*kind);
        }
        self.upstream.mark_announced(kind);
        if self.upstream.begin_reading(kind) {
            self.refresh(connection, kind, related);
        }
    }

    fn refresh(&self, connection: &Connection, kind: ListKind, related: &'static [ListKind]) {
        let (upstream, link) = (Arc::clone(&self.upstream), Arc::clone(&connection.link));
        let (announce, pages) = (self.tools.announce.clone(), self.tools.list_pages);
        connection.scope.spawn("upstream list refresh", async move {
            loop {
                let reading = async {
                    let mut changed = Vec::new();
                    for kind in related {
                        if read_list(&upstream, &link, *kind, pages).await {
                            changed.push(*kind);
                        }
                    }
                    changed
                };
                tokio::pin!(reading);
                match tokio::time::timeout(TELL_AFTER, &mut reading).await {
                    Ok(changed) => tell(&upstream, &announce, changed).await,
                    Err(_) => {
                        tell(&upstream, &announce, Vec::new()).await;
                        tell(&upstream, &announce, reading.await).await;
                    }
                }
                if !upstream.end_reading(kind) {
                    return;
                }
                // whoever announces without end is heard now and then
                tokio::time::sleep(ANNOUNCE_PAUSE).await;
            }
        });
    }

    fn command(&mut self, connection: &Connection, command: Command) {
        match command {
            Command::Refresh(kind) => {
                if self.upstream.begin_reading(kind) {
                    self.refresh(connection, kind, kind.alone());
                }
            }
            Command::Watch { uri, answer } => self.watching.watch(uri, answer),
            Command::Unwatch { uri } => self.watching.unwatch(&uri),
            Command::Open(life) => {
                let peer = connection.link.peer.clone();
                let (upstream, tools) = (Arc::clone(&self.upstream), self.tools.clone());
                let scope = Arc::clone(&self.scope);
                self.scope.spawn("lane", lane::run(life, upstream, tools, scope, peer));
            }
            Command::Lost { .. } => {} // handled by the caller, which leaves its loop
        }
        if self.commands.is_empty() {
            self.upstream.take_ended().iter().for_each(|uri| self.watching.unwatch(uri));
        }
    }
}

/// The longest pause before a list that could not be read is tried again.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// The pause between two announcements of one list.
const ANNOUNCE_PAUSE: Duration = Duration::from_millis(250);

/// How long clients wait to be told of a change while the list is being read.
const TELL_AFTER: Duration = Duration::from_millis(500);

/// Tells the gateway which lists differ from what was known, and which the upstream itself said
/// have changed since it was last told.
async fn tell(upstream: &Upstream, announce: &mpsc::Sender<Announcement>, changed: Vec<ListKind>) {
    let announced = upstream.take_announced();
    if changed.is_empty() && announced.is_empty() {
        return;
    }
    let upstream = upstream.position;
    let listed = Announcement::Listed { upstream, announced, changed, published: None };
    let _ = announce.send(listed).await; // nobody hears it at the very end
}

/// Reads one list and stores it; whether it differs from what was known. When reading fails, what
/// was known before stays.
async fn read_list(upstream: &Upstream, link: &Link, kind: ListKind, pages: usize) -> bool {
    if !link.peer.capabilities.has(kind) {
        return upstream.store(kind, None);
    }
    let (key, name) = (&upstream.entry.key, kind.method().name());
    let bound = upstream.entry.timeouts.list;
    let mut remarks = Vec::new();
    let differs = match listing::fetch(link, kind, bound, pages, &mut remarks).await {
        Ok(listing) => {
            if listing.repeated() > 0 {
                let times = listing.repeated();
                remarks.push(format!("a name that was there before comes again ({times} times)"));
            }
            upstream.store(kind, Some(listing))
        }
        Err(listing::ListError::Refused(-32601, _)) => upstream.store(kind, None),
        Err(e) => {
            let line = format!("{key}: {name} failed: {e}");
            // the same reason again and again is said once
            let level = if upstream.keep(kind, e) { log::Level::Warn } else { log::Level::Debug };
            log::log!(level, "{line}");
            false
        }
    };
    match (differs, remarks.as_slice()) {
        (true, [only]) => log::warn!("{key}: {name}: {only}"),
        (true, [first, more @ ..]) => {
            log::warn!("{key}: {name}: {first} (and {} more)", more.len());
        }
        _ => {}
    }
    differs
}
