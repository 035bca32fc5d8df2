//! The life of one upstream: connect, shake hands, read the lists, serve, and begin again.
//!
//! One task owns all of it. What takes time (a list, a subscription) runs in tasks of the
//! connection's own scope, so that the loop always hears of the end of the connection. When there
//! is another attempt is decided by [`Lifecycle`].

use crate::config::ProtocolPin;
use crate::control::lifecycle::{Action, Event, Lifecycle, Phase, Plan, STABLE};
use crate::control::pace::Pace;
use crate::mcp::ListKind;
use crate::task::{Scope, join};
use crate::upstream::call::Unrequested;
use crate::upstream::connection::{Connection, Failure, Greeting, exited};
use crate::upstream::lane;
use crate::upstream::lanes::Life;
use crate::upstream::link::Link;
use crate::upstream::state::{Announcement, Upstream, WatchError};
use crate::upstream::status::State;
use crate::upstream::tools::{Tools, dice};
use crate::upstream::watching::Watching;
use crate::upstream::{CallError, health, listing};
use crate::wire::jsonrpc::Notification;
use std::ops::ControlFlow;
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
    life: Lifecycle,
    /// Why there is no connection, or was none before the present one.
    why: Option<Arc<str>>,
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
        let circuits = Arc::clone(&upstream.circuits);
        let tools = Tools { repeats: Arc::default(), circuits, ..tools };
        let watching = Watching::default();
        let (skip_probe, returning, pace) = (false, false, Pace::default());
        let restart = upstream.entry.restart;
        let life = Lifecycle::new(Plan { delay: restart.delay, max: restart.max });
        let why = None;
        Self { upstream, commands, tools, scope, life, why, skip_probe, returning, watching, pace }
    }

    /// Keeps the upstream running until the scope ends.
    pub async fn run(mut self) {
        let token = self.scope.token();
        let mut action = self.step(Event::Due, None);
        while !token.is_cancelled() {
            action = match action {
                Action::Attempt => match self.connect().await {
                    Ok(connection) => self.serve(connection).await,
                    Err(_) if token.is_cancelled() => break,
                    Err(why) => self.missed_out(&why),
                },
                Action::Wait(until) => {
                    self.rest(until).await;
                    self.step(Event::Due, None)
                }
                _ => break, // there is nothing to go on with
            };
        }
        self.step(Event::Stop, None);
        self.step(Event::Ended, None);
        match &self.why {
            Some(why) if self.returning => {
                log::info!("{}: stopped: {why}", self.upstream.entry.key)
            }
            _ => log::info!("{}: stopped", self.upstream.entry.key),
        }
    }

    /// Tells the lifecycle what happened, and everybody what follows. `link` is the connection,
    /// if there is one.
    fn step(&mut self, event: Event, link: Option<&Arc<Link>>) -> Action {
        let before = self.life.phase();
        let action = self.life.step(event, Instant::now(), dice(&self.tools.random));
        let phase = self.life.phase();
        if phase == before && action == Action::Nothing {
            return action;
        }
        self.show(link);
        action
    }

    /// Everybody sees where the lifecycle stands.
    fn show(&self, link: Option<&Arc<Link>>) {
        let why = || self.why.clone().unwrap_or_else(|| "it is not connected".into());
        self.upstream.set_state(match (self.life.phase(), link) {
            (Phase::Ready, Some(link)) => State::Ready(Arc::clone(link)),
            (Phase::Degraded, Some(link)) => State::Degraded(Arc::clone(link)),
            (Phase::Starting, _) if self.why.is_none() => State::Starting,
            (Phase::Starting | Phase::Ready | Phase::Degraded, _) => State::Returning(why()),
            (Phase::Backoff { next }, _) => State::Backoff(why(), next),
            (Phase::Open { next }, _) => State::Open(why(), next),
            (Phase::Draining, _) => State::Draining,
            (Phase::Stopped, _) => State::Stopped,
        });
    }

    /// There is no connection, or none any more.
    fn fell(&mut self, event: Event, why: &str) -> Action {
        self.why = Some(why.into());
        self.step(event, None)
    }

    /// An attempt has failed. The same reason again and again is said once.
    fn missed_out(&mut self, why: &str) -> Action {
        let is_news = self.why.as_deref() != Some(why);
        let action = self.fell(Event::Failed, why);
        self.tell(if is_news { log::Level::Warn } else { log::Level::Debug }, why, action);
        action
    }

    /// Tells the operator why there is no connection and when there will be another attempt.
    fn tell(&self, level: log::Level, why: &str, action: Action) {
        let (key, failures) = (&self.upstream.entry.key, self.life.failures());
        let Action::Wait(until) = action else { return };
        let wait = until.saturating_duration_since(Instant::now()).as_millis();
        match self.life.phase() {
            Phase::Open { .. } if failures == self.upstream.entry.restart.max.saturating_add(1) => {
                log::warn!(
                    "{key}: {why}; failure {failures} in a row: one attempt a minute from now on"
                );
            }
            Phase::Starting => log::log!(level, "{key}: {why}; trying again at once"),
            _ => log::log!(level, "{key}: {why}; next attempt in {wait} ms"),
        }
    }

    /// Waits for the next attempt; whoever wants to subscribe meanwhile is told why not.
    async fn rest(&mut self, until: Instant) {
        let token = self.scope.token();
        let wake = tokio::time::sleep_until(until.into());
        tokio::pin!(wake);
        loop {
            let command = tokio::select! {
                () = &mut wake => return,
                () = token.cancelled() => return,
                Some(command) = self.commands.recv() => command,
            };
            match command {
                Command::Watch { uri, answer } => self.watching.refuse_while_down(uri, answer),
                Command::Unwatch { uri } => self.watching.forget(&uri),
                // who wants a lane learns that there is none when it is dropped
                Command::Refresh(_) | Command::Lost { .. } | Command::Open(_) => {}
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

    /// Serves until the connection ends; what is to be done then.
    async fn serve(&mut self, mut connection: Connection) -> Action {
        let token = self.scope.token();
        self.upstream.connected(&connection.link.peer, connection.sandboxed.take());
        let changed = self.read_lists(&connection).await;
        self.publish(changed).await;
        self.step(Event::Connected, Some(&connection.link));
        let key = &self.upstream.entry.key;
        let peer = &connection.link.peer;
        log::info!("{key}: ready, speaks {}", peer.revision.as_str());
        self.watching.begin(&self.upstream, &connection.link, &connection.scope, &connection.back);
        if self.returning {
            self.watching.announce_all(self.upstream.position, &self.tools.announce).await;
        }
        self.returning = true;
        self.pace = Pace::default();
        let watched = health::look_after(
            Arc::clone(&connection.link),
            Arc::clone(&self.upstream),
            connection.back.clone(),
        );
        connection.scope.spawn("upstream health", watched);
        let begun = Instant::now();
        let why = loop {
            let course = tokio::select! {
                () = token.cancelled() => break "the gateway is stopping".to_owned(),
                why = exited(&mut connection.process) => break why,
                arrived = connection.unrequested.recv() => {
                    self.arrived(&connection, arrived).await
                }
                command = self.commands.recv() => self.told(&connection, command),
            };
            if let ControlFlow::Break(why) = course {
                break why;
            }
        };
        if begun.elapsed() >= STABLE {
            self.tools.repeats.forget(); // what the next child says is news
        }
        let stops = token.is_cancelled();
        let event = match connection.link.wire().can_move() {
            _ if stops => Event::Stop,
            true => Event::Moved,
            false => Event::Lost,
        };
        let action = self.fell(event, &why);
        self.watching.suspend();
        self.upstream.disconnected();
        self.publish(Vec::new()).await;
        let why = connection.end(why).await; // now it is known how the child has ended
        self.tell(log::Level::Warn, &why, action);
        self.why = Some(why.into());
        self.show(None);
        action
    }

    /// Something came outside any request; why the connection is of no use any more, if it is not.
    async fn arrived(
        &mut self,
        connection: &Connection,
        arrived: Option<Unrequested>,
    ) -> ControlFlow<String> {
        match arrived {
            Some(Unrequested::Notice(notification)) => {
                self.notification(connection, notification).await;
            }
            Some(Unrequested::ListenEnded(id)) => self.watching.ended(id),
            Some(Unrequested::ListenLate(id)) => self.watching.late(id),
            Some(Unrequested::Missed) => self.missed(connection).await,
            Some(Unrequested::CatchUp) => self.catch_up(connection).await,
            Some(Unrequested::Ambiguous) => self.upstream.lanes.ambiguous(),
            Some(Unrequested::Silent { working }) => return self.silent(connection, working),
            Some(Unrequested::Alive) => {
                self.step(Event::Heard, Some(&connection.link));
                log::info!("{}: it answers again", self.upstream.entry.key);
            }
            Some(Unrequested::Closed(why)) => return ControlFlow::Break(why),
            None => return ControlFlow::Break("the connection ended".to_owned()),
        }
        ControlFlow::Continue(())
    }

    /// It gave no sign of life: calls that wait for it are told when it is given up.
    fn silent(&mut self, connection: &Connection, working: bool) -> ControlFlow<String> {
        let is_first = self.life.phase() == Phase::Ready;
        if self.step(Event::Missed { working }, Some(&connection.link)) == Action::GiveUp {
            let why = "it gave no sign of life".to_owned();
            connection.link.wire().give_up(&why);
            return ControlFlow::Break(why);
        }
        if is_first {
            log::warn!("{}: it gave no sign of life when asked", self.upstream.entry.key);
        }
        ControlFlow::Continue(())
    }

    fn told(&mut self, connection: &Connection, command: Option<Command>) -> ControlFlow<String> {
        match command {
            // a late report of an earlier connection says nothing about this one
            Some(Command::Lost { error, link })
                if std::ptr::eq(link.as_ptr(), Arc::as_ptr(&connection.link)) =>
            {
                return ControlFlow::Break(error.to_string());
            }
            Some(command) => self.command(connection, command),
            None => return ControlFlow::Break("the entry is gone".to_owned()),
        }
        ControlFlow::Continue(())
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
            "notifications/subscriptions/acknowledged" => {
                if self.watching.acknowledged(&notification) {
                    self.missed(connection).await;
                }
            }
            "notifications/cancelled" => self.watching.cancelled(&notification),
            _ => {
                let (upstream, link) = (self.upstream.position, &connection.link);
                match Announcement::news(upstream, link, notification) {
                    Some(news) => self.announce(news).await,
                    None => {
                        log::debug!("{}: a notification nobody waits for", self.upstream.entry.key)
                    }
                }
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
            Command::Lost { .. } => {} // of an earlier connection
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
