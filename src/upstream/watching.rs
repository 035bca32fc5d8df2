//! What an upstream is asked to tell us: list changes and resource subscriptions.
//!
//! A legacy upstream is asked with `resources/subscribe` and, over HTTP, told us through a GET
//! stream; a modern one through one `subscriptions/listen` that carries everything wanted. When
//! more is wanted, a second listen is opened, and the first is dropped once the second is
//! acknowledged: nothing is missed in between.

use crate::bridge::listen;
use crate::mcp::{Era, ListKind, Method};
use crate::task::{Scope, Task};
use crate::upstream::CallError;
use crate::upstream::call::{Call, Event, Unrequested};
use crate::upstream::events::{EventStream, pause};
use crate::upstream::http::HttpLink;
use crate::upstream::link::{Link, Wire};
use crate::upstream::state::{Announcement, Upstream, WatchError};
use crate::wire::jsonrpc::{Message, Notification};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

type Answer = oneshot::Sender<Result<(), WatchError>>;

/// Most resources watched at one upstream.
pub const MAX_WATCHED: usize = 10_000;

/// How long a listen may wait for its acknowledgement.
const ACKNOWLEDGE: Duration = Duration::from_secs(5);

/// Why a subscription that was not acknowledged is none.
const NOT_HONOURED: &str = "the server does not report changes of this resource";

/// The pause before a stream that ended is opened again.
const REOPEN: Duration = Duration::from_secs(1);

/// The subscriptions at one upstream; they outlive its connections.
#[derive(Default)]
pub struct Watching {
    watched: BTreeSet<String>,
    live: Option<Live>,
}

/// The present connection, as far as subscriptions need it.
struct Live {
    link: Arc<Link>,
    scope: Arc<Scope>,
    back: mpsc::Sender<Unrequested>,
    /// How long a subscription may take.
    bound: Duration,
    current: Option<Listening>,
    next: Option<Opening>,
    queued: Vec<(String, Answer)>,
    /// Listens in a row that came to nothing.
    failures: u32,
    /// There was a time without a listen: something may have been missed.
    gap: bool,
    turns: Turns,
}

/// Requests to a legacy upstream about one resource are made one after the other: the end of a
/// subscription that came in after its new beginning would end that.
#[derive(Default)]
struct Turns(HashMap<String, oneshot::Receiver<()>>);

/// The place of one request among those about its resource; the next one comes when it is dropped.
struct Turn {
    before: Option<oneshot::Receiver<()>>,
    _done: oneshot::Sender<()>,
}

impl Turns {
    fn take(&mut self, uri: &str) -> Turn {
        self.0.retain(|_, last| last.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        let (done, next) = oneshot::channel();
        Turn { before: self.0.insert(uri.to_owned(), next), _done: done }
    }
}

impl Turn {
    async fn come(&mut self) {
        if let Some(before) = self.before.take() {
            let _ = before.await; // its end is the signal
        }
    }
}

/// A listen that was acknowledged.
struct Listening {
    id: u64,
    task: Task,
}

/// A listen that waits for its acknowledgement.
struct Opening {
    id: u64,
    task: Task,
    waiting: Vec<(String, Answer)>,
}

fn down() -> WatchError {
    WatchError::Call(CallError::NotConnected("the upstream is not connected".into()))
}

impl Watching {
    /// A connection came up: everything wanted is asked for again.
    pub fn begin(
        &mut self,
        upstream: &Arc<Upstream>,
        link: &Arc<Link>,
        scope: &Arc<Scope>,
        back: &mpsc::Sender<Unrequested>,
    ) {
        let (link, scope, back) = (Arc::clone(link), Arc::clone(scope), back.clone());
        let label = upstream.entry.key.clone();
        if let (Era::Legacy, Wire::Http(http)) = (link.era(), link.wire()) {
            scope.spawn("upstream stream", follow(Arc::clone(http), back.clone(), label, None));
        }
        let bound = upstream.entry.timeouts.list;
        let (current, next, queued) = (None, None, Vec::new());
        let (failures, gap) = (0, false);
        let turns = Turns::default();
        let live = Live { link, scope, back, bound, current, next, queued, failures, gap, turns };
        self.live = Some(live);
        let Some(live) = &mut self.live else { return };
        match live.link.era() {
            Era::Legacy => {
                for uri in self.watched.clone() {
                    live.subscribe(uri, None);
                }
            }
            Era::Modern => live.listen(&self.watched, Vec::new()),
        }
    }

    /// The connection ended: what was asked for stays wanted.
    pub fn suspend(&mut self) {
        if let Some(live) = self.live.take() {
            let waiting = live.next.map(|next| next.waiting).unwrap_or_default();
            for (_, answer) in waiting.into_iter().chain(live.queued) {
                let _ = answer.send(Err(down())); // whoever asked may be gone
            }
        }
    }

    /// Updates may have been missed while there was no connection: each resource counts as changed.
    pub async fn announce_all(&self, upstream: usize, announce: &mpsc::Sender<Announcement>) {
        for uri in self.watched.clone() {
            let _ = announce.send(Announcement::Resubscribed { upstream, uri }).await;
        }
    }

    /// Nobody can be asked now.
    pub fn refuse_while_down(&mut self, _uri: String, answer: Answer) {
        let _ = answer.send(Err(down())); // whoever asked may be gone
    }

    /// No longer wanted, while there is no connection.
    pub fn forget(&mut self, uri: &str) {
        self.watched.remove(uri);
    }

    /// Asks for updates of one resource.
    pub fn watch(&mut self, uri: String, answer: Answer) {
        let Some(live) = &mut self.live else { return self.refuse_while_down(uri, answer) };
        let refusal = match live.link.peer.capabilities.subscribes() {
            false => Some(WatchError::Unsupported),
            true => (self.watched.len() >= MAX_WATCHED).then_some(WatchError::TooMany),
        };
        if let Some(refusal) = refusal {
            let _ = answer.send(Err(refusal)); // whoever asked may be gone
            return;
        }
        self.watched.insert(uri.clone());
        match live.link.era() {
            Era::Legacy => live.subscribe(uri, Some(answer)),
            Era::Modern if live.next.is_some() => live.queued.push((uri, answer)),
            Era::Modern => live.listen(&self.watched, vec![(uri, answer)]),
        }
    }

    /// Ends the updates of one resource. A modern listen goes on until the next one replaces it:
    /// updates that nobody wants are dropped by whoever gets them.
    pub fn unwatch(&mut self, uri: &str) {
        self.watched.remove(uri);
        let Some(live) = &mut self.live else { return };
        if live.link.era() == Era::Legacy {
            let (link, uri, bound) = (Arc::clone(&live.link), uri.to_owned(), live.bound);
            let mut turn = live.turns.take(&uri);
            live.scope.spawn("upstream unsubscribe", async move {
                turn.come().await;
                let ask =
                    link.ask("resources/unsubscribe", |id| listen::unsubscribe_request(id, &uri));
                let _ = tokio::time::timeout(bound, ask).await; // updates are dropped here anyway
            });
        }
    }

    /// The upstream acknowledged a listen: the one before it has done its work. True when there
    /// was none before it and changes may have been missed.
    pub fn acknowledged(&mut self, notification: &Notification) -> bool {
        let Some(live) = &mut self.live else { return false };
        let Some(id) = listen::subscription_number(notification) else { return false };
        let Some(opening) = live.next.take_if(|next| next.id == id) else { return false };
        live.failures = 0;
        let accepted = listen::acknowledged_uris(notification);
        for (uri, answer) in opening.waiting {
            let accepted = accepted.contains(&uri);
            if !accepted {
                self.watched.remove(&uri);
            }
            // it has subscriptions, but none to this: the method is there
            let refused = || WatchError::Refused(-32602, NOT_HONOURED.to_owned());
            let _ = answer.send(if accepted { Ok(()) } else { Err(refused()) });
        }
        let replaced = live.current.replace(Listening { id, task: opening.task });
        if let Some(replaced) = replaced {
            replaced.task.abort();
        }
        if !live.queued.is_empty() {
            let queued = std::mem::take(&mut live.queued);
            live.listen(&self.watched, queued);
        }
        std::mem::take(&mut live.gap)
    }

    /// A listen was not acknowledged in time.
    pub fn late(&mut self, id: u64) {
        let Some(live) = &self.live else { return };
        if let Some(next) = live.next.as_ref().filter(|next| next.id == id) {
            next.task.abort();
            self.ended(id);
        }
    }

    /// A listen ended by itself, or was never acknowledged: as long as something is wanted there
    /// is another.
    pub fn ended(&mut self, id: u64) {
        let Some(live) = &mut self.live else { return };
        if let Some(failed) = live.next.take_if(|next| next.id == id) {
            live.failures = live.failures.saturating_add(1);
            for (uri, answer) in failed.waiting {
                self.watched.remove(&uri);
                let _ = answer.send(Err(WatchError::Unsupported)); // whoever asked may be gone
            }
        }
        live.current.take_if(|current| current.id == id);
        if live.current.is_none() {
            live.gap = true;
        }
        if live.next.is_none() && (live.current.is_none() || !live.queued.is_empty()) {
            let queued = std::mem::take(&mut live.queued);
            live.listen(&self.watched, queued);
        }
    }

    /// On a line connection the server ends a listen with a cancellation.
    pub fn cancelled(&mut self, notification: &Notification) {
        let id = notification.call.param("requestId");
        let id = id.and_then(|id| id.integer(&notification.call.bytes));
        if let Some(id) = id.and_then(|id| u64::try_from(id).ok()) {
            self.ended(id);
        }
    }
}

impl Live {
    fn subscribe(&mut self, uri: String, answer: Option<Answer>) {
        let (link, bound) = (Arc::clone(&self.link), self.bound);
        let mut turn = self.turns.take(&uri);
        self.scope.spawn("upstream subscribe", async move {
            turn.come().await;
            let ask = link.ask("resources/subscribe", |id| listen::subscribe_request(id, &uri));
            let answered = tokio::time::timeout(bound, ask).await;
            let outcome = match answered.unwrap_or(Err(CallError::TimedOut)) {
                Err(e) => Err(WatchError::Call(e)),
                Ok(response) => match response.error_code() {
                    None => Ok(()),
                    Some(code) => {
                        let text = response.error_message().unwrap_or_default().into_owned();
                        Err(WatchError::Refused(code, text))
                    }
                },
            };
            if let Some(answer) = answer {
                let _ = answer.send(outcome); // whoever asked may be gone
            }
        });
    }

    /// Opens a listen for everything wanted.
    fn listen(&mut self, watched: &BTreeSet<String>, waiting: Vec<(String, Answer)>) {
        let capabilities = &self.link.peer.capabilities;
        let kinds: Vec<ListKind> =
            ListKind::ALL.into_iter().filter(|kind| capabilities.announces(*kind)).collect();
        let uris: Vec<String> = watched.iter().cloned().collect();
        if kinds.is_empty() && uris.is_empty() {
            return;
        }
        let Ok(call) = self.link.wire().reserve() else { return };
        let id = call.id();
        let body = listen::listen_request(id, self.link.peer.revision, &kinds, &uris);
        let back = self.back.clone();
        // after failures the next attempt waits, longer each time; the first ones do not
        let pause = REOPEN * (1 << self.failures.min(5)) - REOPEN;
        let task = self.scope.spawn("upstream listen", async move {
            tokio::time::sleep(pause).await;
            let end = match hear(call, id, body, &back).await {
                Err(CallError::NotConnected(why)) => Unrequested::Closed(why),
                _ => Unrequested::ListenEnded(id),
            };
            let _ = back.send(end).await; // the connection may be gone
        });
        self.next = Some(Opening { id, task, waiting });
    }
}

/// Passes on what a listen brings until it ends, and then waits a moment.
async fn hear(
    mut call: Call,
    id: u64,
    body: bytes::Bytes,
    back: &mpsc::Sender<Unrequested>,
) -> Result<(), CallError> {
    let outbound = crate::upstream::Outbound {
        body: vec![body],
        method: "subscriptions/listen".into(),
        ..crate::upstream::Outbound::default()
    };
    call.send(outbound).await?;
    let mut event = tokio::time::timeout(ACKNOWLEDGE, call.next()).await;
    if event.is_err() {
        // the acknowledgement may have come another way: on a line connection it always does
        let _ = back.send(Unrequested::ListenLate(id)).await; // the connection may be gone
        event = Ok(call.next().await);
    }
    while let Ok(Ok(Event::Notification(notification))) = event {
        if let Some(notice) = Unrequested::notice(&notification)
            && back.send(notice).await.is_err()
        {
            return Ok(());
        }
        event = Ok(call.next().await);
    }
    match event {
        Ok(Err(e @ CallError::NotConnected(_))) => Err(e),
        _ => {
            tokio::time::sleep(REOPEN).await;
            Ok(())
        }
    }
}

/// Whether a notification took a question back.
fn is_withdrawn(link: &HttpLink, notification: &Notification) -> bool {
    notification.call.method_name() == Method::Cancelled.name() && link.withdraw(notification)
}

/// Passes on what a stream brings until it ends.
async fn pass_on(
    stream: &mut EventStream,
    link: &Arc<HttpLink>,
    back: &mpsc::Sender<Unrequested>,
) -> Result<(), mpsc::error::SendError<Unrequested>> {
    while let Ok(Some(message)) = stream.next().await {
        link.arrived(http::StatusCode::OK);
        match message {
            Message::Request(request) => link.ask(&request),
            Message::Notification(n) if is_withdrawn(link, &n) => {}
            Message::Notification(n) => match Unrequested::notice(&n) {
                Some(notice) => back.send(notice).await?,
                None => log::debug!("a notification larger than any has to be"),
            },
            Message::Response(_) => {} // nothing was asked on this stream
        }
    }
    Ok(())
}

/// Follows the GET stream of a legacy session for as long as the upstream offers one. A server
/// without a route for GET answers 404, as one does whose session ended: the session cannot have
/// ended at the very first, and if it has, the next request finds out.
/// `opened` hears of the outcome of the first attempt.
pub(super) async fn follow(
    link: Arc<HttpLink>,
    back: mpsc::Sender<Unrequested>,
    label: String,
    mut opened: Option<oneshot::Sender<()>>,
) {
    let (mut last_event, mut offered): (Option<String>, bool) = (None, false);
    let mut asked = None;
    loop {
        let opening = link.stream(last_event.as_deref()).await;
        if let Some(opened) = opened.take() {
            let _ = opened.send(()); // who waits for it does not wait for ever
        }
        match opening {
            Ok(Some(mut stream)) => {
                // a server without event ids does not say again what it said to nobody
                let missed = offered && last_event.is_none();
                if missed && back.send(Unrequested::Missed).await.is_err() {
                    return;
                }
                offered = true;
                if pass_on(&mut stream, &link, &back).await.is_err() {
                    return;
                }
                // one that brought nothing new leaves us where we were
                last_event = stream.last_event.take().or(last_event);
                asked = stream.retry.or(asked);
            }
            Err(CallError::SessionLost) if offered => {
                let _ = back.send(Unrequested::Closed("its session ended".into())).await;
                return;
            }
            Err(e @ CallError::NotConnected(_)) => {
                let _ = back.send(Unrequested::Closed(e.to_string())).await;
                return;
            }
            Ok(None) | Err(CallError::SessionLost) => {
                return log::debug!("{label}: offers no stream for messages outside requests");
            }
            Err(e) => log::debug!("{label}: its stream: {e}"),
        }
        tokio::time::sleep(pause(asked.or(Some(REOPEN)), 0)).await;
    }
}
