//! The SSE stream of an upstream, read as JSON-RPC messages (MCP basic/transports/streamable-http).

use crate::base::limits::Limits;
use crate::net::client::Body;
use crate::upstream::CallError;
use crate::upstream::http::failed;
use crate::wire::jsonrpc::Message;
use crate::wire::sse::decode::EventDecoder;
use std::time::Duration;

/// An SSE body read as JSON-RPC messages.
#[derive(Debug)]
pub struct EventStream {
    body: Body,
    decoder: EventDecoder,
    /// The id of the last event, for resuming.
    pub last_event: Option<String>,
    /// The reconnection time the upstream asked for.
    pub retry: Option<Duration>,
}

impl EventStream {
    /// A stream of which nothing was read.
    pub(super) fn new(body: Body, limits: &Limits) -> Self {
        let decoder = EventDecoder::new(limits.event_bytes);
        Self { body, decoder, last_event: None, retry: None }
    }

    /// The next message; `None` at the end of the stream. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Message>, CallError> {
        loop {
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
                let message = Message::parse(event.data);
                return message.map(Some).map_err(|e| CallError::BadAnswer(e.message.into_owned()));
            }
            match self.body.chunk().await.map_err(failed)? {
                Some(chunk) => self.decoder.push(chunk),
                None => return Ok(None),
            }
        }
    }
}
