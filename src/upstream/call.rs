//! One request on its way through an upstream, whatever the transport.
//!
//! Who holds the [`Call`] owns the request: dropping it before its end cancels it upstream, as
//! the transport and the era want it, and frees its slot, at whatever await it is dropped.

use crate::upstream::decline;
use crate::upstream::http::HttpCall;
use crate::upstream::pending::PipeCall;
use crate::wire::jsonrpc::{Message, Notification, Request, Response};
use bytes::Bytes;
use std::fmt;

/// A request as an upstream gets it. The body carries the id that was reserved for it.
#[derive(Debug, Default)]
pub struct Outbound {
    /// The JSON-RPC message in pieces that belong together.
    pub body: Vec<Bytes>,
    /// The method name, for `Mcp-Method`.
    pub method: &'static str,
    /// The decoded `params.name` or `params.uri`, for `Mcp-Name` (modern HTTP only).
    pub name: Option<String>,
    /// `Mcp-Param-*` headers with their encoded values (modern HTTP only).
    pub params: Vec<(String, String)>,
    /// Whether log messages for this request are wanted at all.
    pub wants_log: bool,
    /// It is of a client: the upstream may ask something because of it.
    pub of_client: bool,
}

/// What comes back for a request.
#[derive(Debug)]
pub enum Event {
    /// Progress or a log message that belongs to this request.
    Notification(Notification),
    /// The upstream asks something of the client, and waits for [`Call::reply`].
    Request(Request),
    /// The end of the request.
    Response(Response),
}

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// There is no connection; nothing was sent.
    NotConnected(String),
    /// The connection ended after the request was sent: it may or may not have been carried out.
    Gone(String),
    /// The request could not be sent, which says nothing about the connection.
    Unsent(String),
    /// No free slot: too many requests are in flight.
    Busy,
    /// The upstream answered with an HTTP status that is no answer to a request.
    Status(u16),
    /// The legacy session is gone; the connection must be made anew. The request may or may not
    /// have been carried out.
    SessionLost,
    /// The same, and the request was not carried out: its session was unknown (404).
    SessionUnknown,
    /// The upstream answered with something that is not a response to this request.
    BadAnswer(String),
    /// Nothing came within the bound.
    TimedOut,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected(why) => write!(f, "not connected: {why}"),
            Self::Gone(why) => write!(f, "the connection ended before the answer: {why}"),
            Self::Unsent(why) => write!(f, "the request could not be sent: {why}"),
            Self::Busy => write!(f, "too many requests are in flight"),
            Self::Status(status) => write!(f, "answered with http status {status}"),
            Self::SessionLost | Self::SessionUnknown => write!(f, "the upstream's session ended"),
            Self::BadAnswer(why) => write!(f, "not a valid answer: {why}"),
            Self::TimedOut => write!(f, "no answer in time"),
        }
    }
}

impl std::error::Error for CallError {}

/// A request in flight.
#[derive(Debug)]
pub enum Call {
    /// Through a child's pipes, or through memory.
    Pipe(PipeCall),
    /// Through HTTP.
    Http(Box<HttpCall>),
}

impl Call {
    /// The next thing that comes back; after [`Event::Response`] or an error there is no more.
    /// Cancel safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Event, CallError> {
        match self {
            Self::Pipe(call) => call.next().await,
            Self::Http(call) => call.next().await,
        }
    }

    /// The response to a request of our own, passing over notifications: there is nobody who
    /// could be asked anything.
    pub async fn response(mut self) -> Result<Response, CallError> {
        loop {
            match self.next().await? {
                Event::Response(response) => return Ok(response),
                Event::Request(request) => self.reply(decline(&request)),
                Event::Notification(_) => {}
            }
        }
    }

    /// Sends the response to an [`Event::Request`].
    pub fn reply(&self, response: Bytes) {
        match self {
            Self::Pipe(call) => call.reply(response),
            Self::Http(call) => call.reply(response),
        }
    }
}

/// What an upstream sends outside any request of ours.
#[derive(Debug)]
pub enum Unrequested {
    /// A message that no pending request claims.
    Message(Message),
    /// A `subscriptions/listen` of ours ended, and its pause is over.
    ListenEnded(u64),
    /// A `subscriptions/listen` of ours has waited long for its acknowledgement.
    ListenLate(u64),
    /// The connection is of no use any more, and why.
    Closed(String),
}
