//! How an exchange ends: with an answer, or because its client does not want one any more.

use crate::relay::exchange::COPY_BELOW;
use crate::wire::jsonrpc::error::{result_json, result_pieces};
use crate::wire::jsonrpc::{Rejected, RequestId};
use bytes::Bytes;
use tokio::sync::Notify;

/// Ends an exchange from outside (`notifications/cancelled` of a legacy client).
#[derive(Debug, Default)]
pub struct Cancel(Notify);

impl Cancel {
    /// Cancels; the exchange ends without an answer.
    pub fn cancel(&self) {
        self.0.notify_one();
    }

    /// Waits for it. One who waits is enough: a cancellation that was waited for is spent.
    pub async fn cancelled(&self) {
        self.0.notified().await;
    }
}

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// The JSON-RPC response, in pieces that belong together.
    pub body: Vec<Bytes>,
    /// Its error code, if it is an error.
    pub error: Option<i64>,
}

impl Answer {
    /// An error answer of our own.
    pub fn rejected(rejected: &Rejected) -> Self {
        Self { body: vec![rejected.to_json()], error: Some(rejected.code.number()) }
    }

    /// The body in one piece, copied if it is not.
    pub fn one_piece(self) -> Bytes {
        match <[Bytes; 1]>::try_from(self.body) {
            Ok([one]) => one,
            Err(pieces) => Bytes::from(pieces.concat()),
        }
    }

    /// A result of our own; `result` is a raw JSON object. A large one is not copied: a list is
    /// the same bytes for everybody who waits for it.
    pub fn result(id: &RequestId, result: impl Into<Bytes>) -> Self {
        let result = result.into();
        let body = match result.len() {
            0..COPY_BELOW => vec![result_json(id, &result)],
            _ => result_pieces(id, result).into(),
        };
        Self { body, error: None }
    }
}
