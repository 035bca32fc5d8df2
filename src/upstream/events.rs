//! An SSE stream of an upstream as JSON-RPC messages (MCP 2025-11-25 and 2026-07-28
//! basic/transports), and how long to wait before one that ended is opened again.

use crate::net::client::Body;
use crate::upstream::CallError;
use crate::upstream::http::failed;
use crate::wire::jsonrpc::{Message, Rejected, batch};
use crate::wire::sse::decode::EventDecoder;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;

/// The longest pause that a server may ask for before its stream is resumed.
const MAX_RETRY: Duration = Duration::from_secs(60 * 60);

/// The first pause before a stream is resumed; it doubles each time that nothing comes of it.
const MIN_RETRY: Duration = Duration::from_millis(100);

/// An SSE body read as JSON-RPC messages.
#[derive(Debug)]
pub struct EventStream {
    body: Body,
    decoder: EventDecoder,
    /// An event may hold several messages.
    batches: bool,
    /// Those of them that were not given yet.
    waiting: VecDeque<Bytes>,
    /// The id of the last event, for resuming.
    pub last_event: Option<String>,
    /// The reconnection time the upstream asked for.
    pub retry: Option<Duration>,
}

impl EventStream {
    /// Reads a body whose events have at most `limit` bytes, and may hold several messages each
    /// where the revision has batches.
    pub(super) fn new(body: Body, limit: usize, batches: bool) -> Self {
        let decoder = EventDecoder::new(limit);
        let (waiting, last_event, retry) = (VecDeque::new(), None, None);
        Self { body, decoder, batches, waiting, last_event, retry }
    }

    /// The next message; `None` at the end of the stream. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Message>, CallError> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Message::parse(message).map(Some).map_err(bad);
            }
            for event in self.decoder.by_ref() {
                let event = event.map_err(|e| CallError::BadAnswer(e.to_string()))?;
                self.retry = event.retry.map(Duration::from_millis).or(self.retry);
                if let Some(id) = event.id {
                    self.last_event = Some(id.into_string());
                }
                // a priming event has no data; events of other names are not ours to read
                if event.data.is_empty() || event.event.is_some() {
                    continue;
                }
                if !(self.batches && batch::is_batch(&event.data)) {
                    return Message::parse(event.data).map(Some).map_err(bad);
                }
                self.waiting = batch::split(&event.data).map_err(bad)?.into();
                break;
            }
            if !self.waiting.is_empty() {
                continue;
            }
            match self.body.chunk().await.map_err(failed)? {
                Some(chunk) => self.decoder.push(chunk),
                None => return Ok(None),
            }
        }
    }
}

/// A message that is none.
pub(super) fn bad(rejected: Rejected) -> CallError {
    CallError::BadAnswer(rejected.message.into_owned())
}

/// The pause before a stream is opened again: as long as the server asks for (it MUST be
/// respected, 2025-11-25 basic/transports), and longer each time that nothing came of it.
pub(super) fn pause(asked: Option<Duration>, idle: u32) -> Duration {
    asked.unwrap_or_default().max(MIN_RETRY * (1 << idle.min(6))).min(MAX_RETRY)
}
