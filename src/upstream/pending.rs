//! Requests in flight on a shared line connection: ids, slots, inboxes.
//!
//! Every request has its own bounded inbox, so that the reader never waits for a consumer.

use crate::bridge::question::Declined;
use crate::bridge::task;
use crate::mcp::{Era, Method, Revision};
use crate::upstream::call::{CallError, Event, Outbound};
use crate::upstream::causes::{Causes, Verdict};
use crate::upstream::decline;
use crate::upstream::inbox::Inbox;
use crate::upstream::lines::LineSink;
use crate::wire::jsonrpc::{Notification, Request, RequestId, Response};
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Most requests in flight on one connection, whatever is configured.
pub const MAX_IN_FLIGHT: usize = 1 << 16;

const INDEX_BITS: u32 = 16;
/// Ids stay below 2^53, which every JSON implementation reads exactly.
const GENERATION_MASK: u64 = (1 << 36) - 1;

/// Locks, and goes on with the data if another thread panicked while it held the lock: every
/// critical section here leaves the data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The requests in flight on one connection.
#[derive(Debug)]
pub struct Pending {
    table: Mutex<Table>,
    most: usize,
    /// Counts what was read, whatever it was.
    arrivals: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    closed: Option<String>,
    revision: Option<Revision>,
    causes: Causes,
}

impl Table {
    /// Whether the peer logs only for requests that ask for it (MCP 2026-07-28
    /// server/utilities/logging).
    fn logs_on_request(&self) -> bool {
        self.revision.is_some_and(|revision| revision.era() == Era::Modern)
    }
}

#[derive(Debug, Default)]
struct Slot {
    generation: u64,
    inbox: Option<Arc<Inbox>>,
    wants_log: bool,
}

impl Table {
    fn slot(&self, id: u64) -> Option<&Slot> {
        let slot = self.slots.get(usize::try_from(id & ((1 << INDEX_BITS) - 1)).ok()?)?;
        (slot.generation == id >> INDEX_BITS && slot.inbox.is_some()).then_some(slot)
    }

    fn release(&mut self, id: u64) -> Option<Arc<Inbox>> {
        let index = u32::try_from(id & ((1 << INDEX_BITS) - 1)).ok()?;
        self.slot(id)?;
        let slot = self.slots.get_mut(index as usize)?;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        let inbox = slot.inbox.take();
        self.free.push(index);
        inbox
    }
}

impl Pending {
    /// Nothing in flight yet, and at most `most` requests, or [`MAX_IN_FLIGHT`].
    pub fn new(most: usize) -> Self {
        let most = most.min(MAX_IN_FLIGHT);
        Self { table: Mutex::default(), most, arrivals: AtomicU64::new(0) }
    }

    /// Something was read.
    pub(super) fn arrived(&self) {
        self.arrivals.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something was read.
    pub(super) fn arrivals(&self) -> u64 {
        self.arrivals.load(Ordering::Relaxed)
    }

    /// Takes a slot; its id is what the request must carry upstream, and its progress token.
    pub fn reserve(self: &Arc<Self>, sink: &Arc<LineSink>) -> Result<PipeCall, CallError> {
        let inbox = Arc::new(Inbox::default());
        let mut table = lock(&self.table);
        if let Some(why) = &table.closed {
            return Err(CallError::NotConnected(why.clone()));
        }
        let index = match table.free.pop() {
            Some(index) => index,
            None if table.slots.len() < self.most => {
                table.slots.push(Slot { generation: 1, ..Slot::default() });
                u32::try_from(table.slots.len() - 1).map_err(|_| CallError::Busy)?
            }
            None => return Err(CallError::Busy),
        };
        let slot = table.slots.get_mut(index as usize).ok_or(CallError::Busy)?;
        slot.inbox = Some(Arc::clone(&inbox));
        slot.wants_log = false;
        let id = slot.generation << INDEX_BITS | u64::from(index);
        drop(table);
        let (pending, sink) = (Arc::clone(self), Arc::clone(sink));
        let (stage, quiet, becomes_task) = (Stage::Reserved, false, false);
        Ok(PipeCall { id, pending, sink, inbox, stage, quiet, becomes_task })
    }

    /// Hands a response to the request it answers; `false` when there is none.
    pub fn complete(&self, response: Response) -> bool {
        let Some(id) = response.id.as_ref().and_then(RequestId::number) else { return false };
        let inbox = self.end(id);
        inbox.map(|inbox| inbox.finish(Ok(response))).is_some()
    }

    /// A late answer to a call that was given up: if it is a task, nobody has it.
    pub(super) fn late(self: &Arc<Self>, sink: &Arc<LineSink>, response: &Response) {
        let id = response.id.as_ref().and_then(RequestId::number);
        if id.is_some_and(|id| lock(&self.table).causes.is_orphan(id)) {
            self.disown(sink, response);
        }
    }

    /// Cancels the task that a call has become which nobody waits for any more.
    fn disown(self: &Arc<Self>, sink: &Arc<LineSink>, response: &Response) {
        let created = task::created(response, Era::Legacy).filter(|task| !task.over);
        if let (Some(task), Ok(call)) = (created, self.reserve(sink)) {
            sink.send_later(task::cancel_request(call.id(), &task.id)); // its answer is for nobody
        }
    }

    /// Whether a request with this id was in flight once: many servers answer what was cancelled.
    pub fn was_asked(&self, id: u64) -> bool {
        let table = lock(&self.table);
        let slot =
            usize::try_from(id & ((1 << INDEX_BITS) - 1)).ok().and_then(|at| table.slots.get(at));
        slot.is_some_and(|slot| (1..slot.generation).contains(&(id >> INDEX_BITS)))
    }

    /// Ends a request whose answer is none.
    pub fn fail(&self, id: u64, error: CallError) {
        if let Some(inbox) = self.end(id) {
            inbox.finish(Err(error));
        }
    }

    /// The answer to a request has come, maybe late.
    fn end(&self, id: u64) -> Option<Arc<Inbox>> {
        let mut table = lock(&self.table);
        table.causes.answered(id);
        table.release(id)
    }

    /// Hands progress to the request whose token it carries; gives that back whose request was
    /// answered.
    pub fn progress(&self, token: u64, notification: Notification) -> Option<Notification> {
        let inbox = lock(&self.table).slot(token).and_then(|slot| slot.inbox.clone());
        match inbox {
            Some(inbox) => {
                inbox.note(Event::Notification(notification)); // when it is full, it is left out
                None
            }
            None => self.was_asked(token).then_some(notification),
        }
    }

    /// The revision that is spoken from now on, and whether the server was told that its client
    /// has roots.
    pub fn negotiate(&self, revision: Revision, roots: bool) {
        let mut table = lock(&self.table);
        table.revision = Some(revision);
        table.causes.negotiated(revision.era(), roots);
    }

    /// Forgets the revision, before a new handshake.
    pub fn forget(&self) {
        lock(&self.table).revision = None;
    }

    /// Whether the peer is of the modern era, where clients send no responses.
    pub fn is_modern(&self) -> bool {
        lock(&self.table).revision.is_some_and(|revision| revision.era() == Era::Modern)
    }

    /// Whether several messages may come in one array.
    pub fn batches(&self) -> bool {
        lock(&self.table).revision.is_some_and(Revision::batches)
    }

    /// Hands a log message to the one request that can have caused it: of a legacy server the only
    /// one in flight, of a modern one the only one that asked. `false` when none or several could
    /// have, or the one wants none: a guess could show one client what belongs to another.
    pub fn log_message(&self, notification: Notification) -> bool {
        let table = lock(&self.table);
        let on_request = table.logs_on_request();
        let may = |slot: &&Slot| slot.inbox.is_some() && (slot.wants_log || !on_request);
        let mut causes = table.slots.iter().filter(may);
        let only = match (causes.next(), causes.next()) {
            (Some(only), None) if only.wants_log => only.inbox.clone(),
            _ => None,
        };
        drop(table);
        only.is_some_and(|inbox| inbox.note(Event::Notification(notification)))
    }

    /// Hands a request of the upstream to the call that can have caused it.
    pub(super) fn ask(&self, request: &Request, now: Instant) -> Verdict {
        lock(&self.table).causes.ask(request, now)
    }

    /// The upstream takes a question back; `false` when nobody was asked anything.
    pub(super) fn withdraw(&self, notification: &Notification) -> bool {
        lock(&self.table).causes.withdraw(notification)
    }

    /// Ends every request in flight, and refuses new ones.
    pub fn close(&self, why: &str) {
        let mut table = lock(&self.table);
        table.closed.get_or_insert_with(|| why.to_owned());
        let inboxes: Vec<_> = table.slots.iter_mut().filter_map(|slot| slot.inbox.take()).collect();
        table.causes.clear();
        drop(table);
        for inbox in inboxes {
            inbox.finish(Err(CallError::Gone(why.to_owned())));
        }
    }

    /// A request is about to be sent.
    fn describe(&self, id: u64, outbound: &Outbound, inbox: &Arc<Inbox>) {
        let mut table = lock(&self.table);
        let index = usize::try_from(id & ((1 << INDEX_BITS) - 1)).unwrap_or(usize::MAX);
        let slot = table.slots.get_mut(index);
        if let Some(slot) = slot.filter(|slot| slot.generation == id >> INDEX_BITS) {
            slot.wants_log = outbound.wants_log;
            table.causes.begin(id, outbound, inbox);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Reserved,
    Sent,
    Ended,
}

/// A request on a line connection. Dropping it frees its slot; if it was sent and not answered,
/// the upstream is told (`notifications/cancelled`, both eras on stdio).
#[derive(Debug)]
pub struct PipeCall {
    id: u64,
    pending: Arc<Pending>,
    sink: Arc<LineSink>,
    inbox: Arc<Inbox>,
    stage: Stage,
    /// The upstream is told nothing when this is dropped.
    quiet: bool,
    /// See [`Outbound::becomes_task`].
    becomes_task: bool,
}

impl PipeCall {
    /// The id reserved for this request.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Sends the message, which must carry [`Self::id`].
    pub async fn send(&mut self, outbound: Outbound) -> Result<(), CallError> {
        // it MUST NOT be cancelled (2025-11-25 basic/utilities/cancellation)
        self.quiet = outbound.method == Method::Initialize.name() || outbound.becomes_task;
        self.becomes_task = outbound.becomes_task;
        if outbound.wants_log || outbound.of_client {
            self.pending.describe(self.id, &outbound, &self.inbox);
        }
        // from here on the upstream may have seen it
        self.stage = Stage::Sent;
        self.sink.send(outbound.body).await.map_err(|why| CallError::Gone(why.to_string()))
    }

    /// Sends the response to a request of the upstream.
    pub fn reply(&self, response: Bytes) {
        self.sink.send_later(response);
    }

    /// See [`crate::upstream::call::Call::next`].
    pub async fn next(&mut self) -> Result<Event, CallError> {
        let event = self.inbox.next().await;
        if !matches!(event, Ok(Event::Notification(_) | Event::Request(_))) {
            self.stage = Stage::Ended;
        }
        event
    }
}

impl Drop for PipeCall {
    fn drop(&mut self) {
        let in_flight = {
            let mut table = lock(&self.pending.table);
            let in_flight = table.release(self.id).is_some();
            if in_flight {
                table.causes.given_up(self.id, Instant::now());
            }
            in_flight
        };
        for question in self.inbox.questions() {
            self.sink.send_later(decline(&question, Declined::failed("the call was given up")));
        }
        if let Some(response) = self.inbox.unread().filter(|_| self.becomes_task) {
            self.pending.disown(&self.sink, &response);
        }
        if in_flight && self.stage == Stage::Sent && !self.quiet {
            self.sink.send_later(cancelled(self.id));
        }
    }
}

/// `notifications/cancelled` for a request of ours.
pub fn cancelled(id: u64) -> Bytes {
    let text = format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{id},\"reason\":\"cancelled by the client\"}}}}"
    );
    Bytes::from(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::jsonrpc::Message;
    use proptest::prelude::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// What a future has at once.
    fn now<F: Future>(future: F) -> Option<F::Output> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    fn message(text: String) -> Message {
        Message::parse(Bytes::from(text)).expect("a message")
    }

    /// One thing that a client or the server does.
    #[derive(Debug, Clone)]
    enum Act {
        /// A client begins a call.
        Begin { person: u8, able: bool },
        /// The server answers one of the calls it knows of, given up or not.
        Answer(usize),
        /// A client gives its call up.
        GiveUp(usize),
        /// The server asks something because of one of the calls it knows of.
        Ask(usize),
        /// It takes its last question back.
        Regret,
        /// A client reads what has come.
        Read(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            3 => (0..3u8, any::<bool>()).prop_map(|(person, able)| Act::Begin { person, able }),
            2 => any::<usize>().prop_map(Act::Answer),
            1 => any::<usize>().prop_map(Act::GiveUp),
            4 => any::<usize>().prop_map(Act::Ask),
            1 => Just(Act::Regret),
            2 => any::<usize>().prop_map(Act::Read),
        ]
    }

    /// Clients of several people on one connection, and a server that knows why it asks.
    struct Model {
        pending: Arc<Pending>,
        sink: Arc<LineSink>,
        /// In flight: whose, and the call.
        calls: Vec<(u8, PipeCall)>,
        /// The calls that the server has not answered, and whose each was.
        known: Vec<(u64, u8)>,
        asked: u64,
        delivered: usize,
    }

    impl Model {
        fn new() -> Self {
            let pending = Arc::new(Pending::new(64));
            pending.negotiate(Revision::LATEST_LEGACY, false);
            let (calls, known) = (Vec::new(), Vec::new());
            Self { pending, sink: LineSink::new(None), calls, known, asked: 0, delivered: 0 }
        }

        fn act(&mut self, act: &Act) {
            match *act {
                Act::Begin { person, able } => self.begin(person, able),
                Act::Answer(at) if !self.known.is_empty() => {
                    let (id, _) = self.known.swap_remove(at % self.known.len());
                    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
                    let Message::Response(response) = message(text) else { unreachable!() };
                    assert!(self.pending.complete(response) || self.pending.was_asked(id));
                }
                Act::GiveUp(at) if !self.calls.is_empty() => {
                    let (person, mut call) = self.calls.swap_remove(at % self.calls.len());
                    read(person, &mut call);
                }
                Act::Ask(at) if !self.known.is_empty() => self.ask(at % self.known.len()),
                Act::Regret => {
                    let params = format!(r#"{{"requestId":{}}}"#, self.asked);
                    let text = format!(
                        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#
                    );
                    let Message::Notification(regret) = message(text) else { unreachable!() };
                    self.pending.withdraw(&regret);
                }
                Act::Read(at) if !self.calls.is_empty() => {
                    let at = at % self.calls.len();
                    let (person, call) = &mut self.calls[at];
                    if read(*person, call) {
                        self.calls.swap_remove(at);
                    }
                }
                _ => {}
            }
        }

        fn begin(&mut self, person: u8, interactive: bool) {
            let Ok(mut call) = self.pending.reserve(&self.sink) else { return };
            let body = vec![Bytes::from_static(b"{}")];
            let outbound = Outbound { body, of_client: true, interactive, ..Outbound::default() };
            now(call.send(outbound)).expect("there is room").expect("it is open");
            self.known.push((call.id(), person));
            self.calls.push((person, call));
        }

        /// The question says whose it is, for the test alone.
        fn ask(&mut self, at: usize) {
            let (cause, person) = self.known[at];
            self.asked += 1;
            let id = self.asked;
            let params = format!(r#"{{"person":{person},"cause":{cause}}}"#);
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"elicitation/create","params":{params}}}"#
            );
            let Message::Request(question) = message(text) else { unreachable!() };
            let verdict = self.pending.ask(&question, Instant::now());
            let alone = self.known.len() == 1;
            let in_flight = self.calls.iter().any(|(_, call)| call.id() == cause);
            assert_eq!(verdict == Verdict::Delivered, alone && in_flight, "{verdict:?}");
            self.delivered += usize::from(verdict == Verdict::Delivered);
        }
    }

    /// Reads what has come for a call; whether it has ended. What it is asked is its own.
    fn read(person: u8, call: &mut PipeCall) -> bool {
        while let Some(event) = now(call.next()) {
            match event.expect("the connection stands") {
                Event::Response(_) => return true,
                Event::Notification(_) => {}
                Event::Request(question) => {
                    let text = String::from_utf8_lossy(&question.call.bytes).into_owned();
                    let own = format!(r#"{{"person":{person},"cause":{}}}"#, call.id());
                    assert!(text.contains(&own), "{person} was asked {text}");
                }
            }
        }
        false
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn nobody_is_asked_what_another_has_caused(acts in prop::collection::vec(act(), 1..48)) {
            let mut model = Model::new();
            for act in &acts {
                model.act(act);
            }
            for (person, call) in &mut model.calls {
                read(*person, call);
            }
        }
    }

    #[test]
    fn the_model_asks_somebody_at_all() {
        let mut model = Model::new();
        let begin = Act::Begin { person: 1, able: true };
        for act in [begin.clone(), Act::Ask(0), Act::Read(0), Act::Answer(0), begin, Act::Ask(0)] {
            model.act(&act);
        }
        assert_eq!(model.delivered, 2);
    }
}
