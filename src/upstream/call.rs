//! One request on its way through an upstream, whatever the transport.
//!
//! Who holds the [`Call`] owns the request: dropping it before its end cancels it upstream, as
//! the transport and the era want it, and frees its slot, at whatever await it is dropped.

use crate::bridge::question::Declined;
use crate::upstream::decline;
use crate::upstream::lanes::{Hold, Seat};
use crate::upstream::pending::PipeCall;
use crate::upstream::post::HttpCall;
use crate::wire::jsonrpc::{self, Notification, Request, Response};
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;

/// A request as an upstream gets it. The body carries the id that was reserved for it.
#[derive(Debug, Default)]
pub struct Outbound {
    /// The JSON-RPC message in pieces that belong together.
    pub body: Vec<Bytes>,
    /// The method name, for `Mcp-Method`.
    pub method: Cow<'static, str>,
    /// The decoded `params.name` or `params.uri`, for `Mcp-Name` (modern HTTP only).
    pub name: Option<String>,
    /// `Mcp-Param-*` headers with their encoded values (modern HTTP only).
    pub params: Vec<(String, String)>,
    /// Whether log messages for this request are wanted at all.
    pub wants_log: bool,
    /// It is of a client: the upstream may ask something because of it.
    pub of_client: bool,
    /// That client can be asked something.
    pub interactive: bool,
    /// The upstream's id of the task that it is about (2025-11-25 basic/utilities/tasks).
    pub task: Option<String>,
    /// It is to become a task of 2025-11-25, which the upstream can cancel: that is how it is given
    /// up, and not by `notifications/cancelled` (basic/utilities/cancellation).
    pub becomes_task: bool,
    /// The servers, one bit each, that another one is to be preferred to.
    pub avoid: u16,
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
    /// All connections that calls may have for themselves are in use.
    Crowded,
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

impl CallError {
    /// Whether the upstream may have carried the request out, all the same.
    pub fn maybe_processed(&self) -> bool {
        matches!(self, Self::Gone(_) | Self::SessionLost | Self::TimedOut | Self::Status(500..=599))
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected(why) => write!(f, "not connected: {why}"),
            Self::Gone(why) => write!(f, "the connection ended before the answer: {why}"),
            Self::Unsent(why) => write!(f, "the request could not be sent: {why}"),
            Self::Busy => write!(f, "too many requests are in flight"),
            Self::Crowded => write!(f, "all of its lanes are in use"),
            Self::Status(status) => write!(f, "answered with http status {status}"),
            Self::SessionLost | Self::SessionUnknown => write!(f, "the upstream's session ended"),
            Self::BadAnswer(why) => write!(f, "not a valid answer: {why}"),
            Self::TimedOut => write!(f, "no answer in time"),
        }
    }
}

impl std::error::Error for CallError {}

/// A request in flight, and the seat that it has on a lane, if it is on one. The request ends
/// before its seat is given up.
#[derive(Debug)]
pub struct Call {
    way: Way,
    seat: Option<Seat>,
}

#[derive(Debug)]
enum Way {
    /// Through a child's pipes, or through memory.
    Pipe(PipeCall),
    Http(Box<HttpCall>),
}

impl Call {
    pub(super) fn pipe(call: PipeCall) -> Self {
        Self { way: Way::Pipe(call), seat: None }
    }

    pub(super) fn http(call: HttpCall) -> Self {
        Self { way: Way::Http(Box::new(call)), seat: None }
    }

    /// The same call, which holds its lane.
    pub fn seated(self, seat: Option<Seat>) -> Self {
        Self { seat, ..self }
    }

    /// The id reserved for this request; it is its progress token, too.
    pub fn id(&self) -> u64 {
        match &self.way {
            Way::Pipe(call) => call.id(),
            Way::Http(call) => call.id(),
        }
    }

    /// The server that it went to, as a bit of [`Outbound::avoid`].
    pub fn server(&self) -> u16 {
        match &self.way {
            Way::Pipe(_) => 0,
            Way::Http(call) => u32::try_from(call.at()).map_or(0, |at| 1_u16.wrapping_shl(at)),
        }
    }

    /// Whether it keeps a lane from all others.
    pub fn holds_a_lane(&self) -> bool {
        self.seat.as_ref().is_some_and(Seat::is_exclusive)
    }

    /// Keeps its lane for a task that it has become, if it is on one.
    pub fn hold(&self) -> Option<Hold> {
        self.seat.as_ref().and_then(Seat::hold)
    }

    /// Sends the request, which must carry [`Self::id`].
    pub async fn send(&mut self, outbound: Outbound) -> Result<(), CallError> {
        if let Some(seat) = &mut self.seat {
            seat.taken();
        }
        match &mut self.way {
            Way::Pipe(call) => call.send(outbound).await,
            Way::Http(call) => call.send(outbound),
        }
    }

    /// The next thing that comes back; after [`Event::Response`] or an error there is no more.
    /// Cancel safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Event, CallError> {
        let outcome = match &mut self.way {
            Way::Pipe(call) => call.next().await,
            Way::Http(call) => call.next().await,
        };
        if let Some(seat) = &mut self.seat {
            seat.note(&outcome);
        }
        outcome
    }

    /// The response to a request of our own, passing over notifications: there is nobody who
    /// could be asked anything.
    pub async fn response(mut self) -> Result<Response, CallError> {
        loop {
            match self.next().await? {
                Event::Response(response) => return Ok(response),
                Event::Request(request) => {
                    let nobody = Declined::failed("there is no client to ask");
                    self.reply(decline(&request, nobody));
                }
                Event::Notification(_) => {}
            }
        }
    }

    /// Sends the response to an [`Event::Request`].
    pub fn reply(&self, response: Bytes) {
        match &self.way {
            Way::Pipe(call) => call.reply(response),
            Way::Http(call) => call.reply(response),
        }
    }
}

/// What an upstream sends outside any request of ours.
#[derive(Debug)]
pub enum Unrequested {
    /// A notification that no pending request claims: a copy of its own, see
    /// [`Unrequested::notice`].
    Notice(Notification),
    /// A `subscriptions/listen` of ours ended, and its pause is over.
    ListenEnded(u64),
    /// A `subscriptions/listen` of ours has waited long for its acknowledgement.
    ListenLate(u64),
    /// There was a time when it could not tell us anything: something may have been missed.
    Missed,
    /// It is time to look for what was missed.
    CatchUp,
    /// Something was asked that several calls can have caused, so nobody was asked.
    Ambiguous,
    /// It gave no sign of life when asked for one.
    Silent {
        /// It may have no time: see [`crate::control::lifecycle::Event::Missed`].
        working: bool,
    },
    /// It gave a sign of life again.
    Alive,
    /// The connection is of no use any more, and why.
    Closed(String),
}

/// Most bytes of a notification outside requests: they name a list, a resource or a task. As many
/// as [`crate::upstream::lines::MAX_UNREQUESTED`] may wait.
pub const MAX_NOTICE: usize = 64 << 10;

impl Unrequested {
    /// A notification that no request of ours claims; `None` for one beyond [`MAX_NOTICE`]. Many
    /// may wait, so each is a copy: a slice would keep all of what it came in alive.
    pub(super) fn notice(notification: &Notification) -> Option<Self> {
        let bytes = &notification.call.bytes;
        if bytes.len() > MAX_NOTICE {
            return None;
        }
        let copy = Bytes::copy_from_slice(bytes);
        let call = jsonrpc::Call { bytes: copy, ..notification.call.clone() };
        Some(Self::Notice(Notification { call }))
    }
}
