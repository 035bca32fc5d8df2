//! Requests in flight on a shared line connection: ids, slots, inboxes.
//!
//! The reader of a connection must never wait for a consumer, or one slow client would stall all
//! others of that upstream. So every request has its own bounded inbox: notifications are dropped
//! when it is full, the response has a reserved place.

use crate::mcp::{Era, Method, Revision};
use crate::upstream::call::{CallError, Event, Outbound};
use crate::upstream::lines::LineSink;
use crate::wire::jsonrpc::{Notification, Request, RequestId, Response};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Most requests in flight on one connection, whatever is configured.
pub const MAX_IN_FLIGHT: usize = 1 << 16;

/// Most notifications waiting for the consumer of one request; later ones are dropped.
pub const MAX_WAITING_NOTIFICATIONS: usize = 256;

/// Most bytes of such notifications.
pub const MAX_WAITING_BYTES: usize = 4 << 20;

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
}

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    closed: Option<String>,
    revision: Option<Revision>,
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
    /// The upstream may ask something because of this request.
    of_client: bool,
}

/// Where the answer to one request arrives.
#[derive(Debug, Default)]
struct Inbox {
    state: Mutex<Arrived>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Arrived {
    events: VecDeque<Event>,
    /// Bytes of the notifications.
    bytes: usize,
    end: Option<Result<Response, CallError>>,
}

/// The bytes that an event keeps.
fn size(event: &Event) -> usize {
    match event {
        Event::Notification(notification) => notification.call.bytes.len(),
        Event::Request(request) => request.call.bytes.len(),
        Event::Response(response) => response.bytes.len(),
    }
}

impl Inbox {
    fn finish(&self, end: Result<Response, CallError>) {
        lock(&self.state).end.get_or_insert(end);
        self.wake.notify_one();
    }

    /// Keeps an event until it is taken; `false` when there is no room for it.
    fn note(&self, event: Event) -> bool {
        let mut state = lock(&self.state);
        let size = size(&event);
        let room = state.bytes == 0 || state.bytes + size <= MAX_WAITING_BYTES;
        if !room || state.events.len() >= MAX_WAITING_NOTIFICATIONS {
            return false;
        }
        state.bytes += size;
        state.events.push_back(event);
        drop(state);
        self.wake.notify_one();
        true
    }

    fn take(&self) -> Option<Result<Event, CallError>> {
        let mut state = lock(&self.state);
        match state.events.pop_front() {
            Some(event) => {
                state.bytes = state.bytes.saturating_sub(size(&event));
                Some(Ok(event))
            }
            None => state.end.take().map(|end| end.map(Event::Response)),
        }
    }
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
        Self { table: Mutex::default(), most: most.min(MAX_IN_FLIGHT) }
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
        (slot.wants_log, slot.of_client) = (false, false);
        let id = slot.generation << INDEX_BITS | u64::from(index);
        drop(table);
        let (pending, sink) = (Arc::clone(self), Arc::clone(sink));
        Ok(PipeCall { id, pending, sink, inbox, stage: Stage::Reserved, quiet: false })
    }

    /// Hands a response to the request it answers; `false` when there is none.
    pub fn complete(&self, response: Response) -> bool {
        let Some(id) = response.id.as_ref().and_then(RequestId::number) else { return false };
        let inbox = lock(&self.table).release(id);
        inbox.map(|inbox| inbox.finish(Ok(response))).is_some()
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
        let inbox = lock(&self.table).release(id);
        if let Some(inbox) = inbox {
            inbox.finish(Err(error));
        }
    }

    /// Hands progress to the request whose token it carries; `false` when there is none.
    pub fn progress(&self, token: u64, notification: Notification) -> bool {
        let inbox = lock(&self.table).slot(token).and_then(|slot| slot.inbox.clone());
        inbox.is_some_and(|inbox| inbox.note(Event::Notification(notification)))
    }

    /// The revision that is spoken from now on.
    pub fn negotiate(&self, revision: Revision) {
        lock(&self.table).revision = Some(revision);
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

    /// Hands a request of the upstream to the one request of a client that can have caused it.
    /// `false` when none or several could have: a guess could ask one person what concerns
    /// another.
    pub fn ask(&self, request: &Request) -> bool {
        let table = lock(&self.table);
        let mut causes = table.slots.iter().filter(|slot| slot.inbox.is_some() && slot.of_client);
        let only = match (causes.next(), causes.next()) {
            (Some(only), None) => only.inbox.clone(),
            _ => None,
        };
        drop(table);
        only.is_some_and(|inbox| inbox.note(Event::Request(request.clone())))
    }

    /// Ends every request in flight, and refuses new ones.
    pub fn close(&self, why: &str) {
        let mut table = lock(&self.table);
        table.closed.get_or_insert_with(|| why.to_owned());
        let inboxes: Vec<_> = table.slots.iter_mut().filter_map(|slot| slot.inbox.take()).collect();
        drop(table);
        for inbox in inboxes {
            inbox.finish(Err(CallError::Gone(why.to_owned())));
        }
    }

    fn describe(&self, id: u64, wants_log: bool, of_client: bool) {
        let mut table = lock(&self.table);
        let index = usize::try_from(id & ((1 << INDEX_BITS) - 1)).unwrap_or(usize::MAX);
        let slot = table.slots.get_mut(index);
        if let Some(slot) = slot.filter(|slot| slot.generation == id >> INDEX_BITS) {
            (slot.wants_log, slot.of_client) = (wants_log, of_client);
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
}

impl PipeCall {
    /// The id reserved for this request.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Sends the message, which must carry [`Self::id`].
    pub async fn send(&mut self, outbound: Outbound) -> Result<(), CallError> {
        let Outbound { body, wants_log, of_client, method, .. } = outbound;
        // it MUST NOT be cancelled (2025-11-25 basic/utilities/cancellation)
        self.quiet = method == Method::Initialize.name();
        if wants_log || of_client {
            self.pending.describe(self.id, wants_log, of_client);
        }
        // from here on the upstream may have seen it
        self.stage = Stage::Sent;
        self.sink.send(body).await.map_err(|why| CallError::Gone(why.to_string()))
    }

    /// Sends the response to a request of the upstream.
    pub fn reply(&self, response: Bytes) {
        self.sink.send_later(response);
    }

    /// See [`crate::upstream::call::Call::next`].
    pub async fn next(&mut self) -> Result<Event, CallError> {
        loop {
            if let Some(event) = self.inbox.take() {
                if !matches!(event, Ok(Event::Notification(_) | Event::Request(_))) {
                    self.stage = Stage::Ended;
                }
                return event;
            }
            self.inbox.wake.notified().await;
        }
    }
}

impl Drop for PipeCall {
    fn drop(&mut self) {
        let in_flight = lock(&self.pending.table).release(self.id).is_some();
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
