//! Where what belongs to one request waits for whoever made it.
//!
//! The reader of a connection must never wait for a consumer, or one slow client would stall all
//! others of that upstream: notifications are dropped when an inbox is full, the response has a
//! reserved place.

use crate::upstream::call::{CallError, Event};
use crate::wire::jsonrpc::{Request, Response};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Most notifications waiting for the consumer of one request; later ones are dropped.
pub const MAX_WAITING_NOTIFICATIONS: usize = 256;

/// Most bytes of such notifications.
pub const MAX_WAITING_BYTES: usize = 4 << 20;

/// Where the answer to one request arrives, and what comes before it.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<Arrived>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Arrived {
    events: VecDeque<Event>,
    /// Bytes of the events.
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
    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the end; what came before it stays.
    pub(super) fn finish(&self, end: Result<Response, CallError>) {
        self.lock().end.get_or_insert(end);
        self.wake.notify_one();
    }

    /// Keeps an event until it is taken; `false` when there is no room for it.
    pub(super) fn note(&self, event: Event) -> bool {
        let mut state = self.lock();
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
        let mut state = self.lock();
        match state.events.pop_front() {
            Some(event) => {
                state.bytes = state.bytes.saturating_sub(size(&event));
                Some(Ok(event))
            }
            None => state.end.take().map(|end| end.map(Event::Response)),
        }
    }

    /// The next thing that came. Cancel safe.
    pub(super) async fn next(&self) -> Result<Event, CallError> {
        loop {
            if let Some(event) = self.take() {
                return event;
            }
            self.wake.notified().await;
        }
    }

    /// The answer that nobody has taken and nobody will.
    pub(super) fn unread(&self) -> Option<Response> {
        self.lock().end.take()?.ok()
    }

    /// The questions that nobody has taken and nobody will.
    pub(super) fn questions(&self) -> Vec<Request> {
        let events = std::mem::take(&mut self.lock().events);
        let requests = events.into_iter().filter_map(|event| match event {
            Event::Request(request) => Some(request),
            _ => None,
        });
        requests.collect()
    }
}
