//! Streamable HTTP towards clients of every revision, on one endpoint; and HTTP+SSE beside it.
//!
//! The order of the checks: path, Host and Origin ([`guard`]), then the body's size and type, then
//! the era, which a message chooses by itself ([`route`]), then what the era wants.

pub mod answer;
pub mod deliver;
pub mod flow;
pub mod guard;
pub mod modern;
pub mod route;
pub mod sse;
pub mod streamable;

use crate::base::limits::Limits;
use crate::downstream::Sessions;
use crate::net::body::{BodyError, Outgoing, read_bounded};
use crate::oauth::Permit;
use crate::observe::log::{Admit, RateLimited};
use crate::relay::{Endpoint, Relay};
use crate::task::Scope;
use crate::wire::jsonrpc::{Code, Rejected};
use answer::{Answered, Refused};
use bytes::Bytes;
use guard::Guard;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method as Verb, Request, Response, StatusCode, request::Parts};
use hyper::body::Incoming;
use route::Opening;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a client may take to send its body.
pub const BODY_TIME: Duration = Duration::from_secs(30);

/// What serves the clients of all listeners.
#[derive(Debug)]
pub struct Front {
    /// The way to the upstreams.
    pub relay: Relay,
    /// Legacy sessions.
    pub sessions: Sessions,
    /// Streams of the HTTP+SSE transport.
    pub lines: sse::Lines,
    /// Host and Origin checks.
    pub guard: Guard,
    /// Bounds on what clients may send.
    pub limits: Limits,
    /// Ends when the gateway stops: open streams end then.
    pub scope: Arc<Scope>,
    /// Room for request bodies, in KiB.
    pub room: Arc<Semaphore>,
    /// Keeps refusals from flooding the log.
    pub refusals: Mutex<RateLimited>,
}

/// Bytes of large request bodies that may be held at once, of all clients together.
pub const BODIES: usize = 256 << 20;

/// Bodies up to this size count for nothing.
const SMALL_BODY: usize = 64 << 10;

/// Refusals that are logged in a second; more are counted.
const REFUSALS_PER_SECOND: u32 = 20;

/// Room for [`BODIES`].
pub fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(BODIES >> 10))
}

/// The room that a request body takes, if it takes any.
pub type Room = Option<OwnedSemaphorePermit>;

/// Refusals as the log takes them.
pub fn refusals() -> Mutex<RateLimited> {
    Mutex::new(RateLimited::new(REFUSALS_PER_SECOND, Duration::from_secs(1)))
}

/// A request that may be served, with its body still to come.
struct Admitted {
    permit: Permit,
    place: Place,
    head: Parts,
}

/// What a path stands for.
enum Place {
    /// `/mcp`: streamable HTTP.
    Mcp(Endpoint),
    /// `/sse`: the stream of HTTP+SSE.
    Sse(Endpoint),
    /// `/messages`: what is posted beside it.
    Messages,
}

impl Front {
    /// Answers one HTTP request. Never fails: every fault has its answer.
    pub async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Response<Outgoing> {
        let (head, body) = request.into_parts();
        let answered = match self.admit(head) {
            Ok(admitted) => self.dispatch(admitted, body).await,
            Err(refused) => Err(refused),
        };
        answered.unwrap_or_else(|refused| *refused)
    }

    fn admit(&self, head: Parts) -> Result<Admitted, Refused> {
        let permit = self.guard.check(&head).map_err(|refusal| {
            self.note(&refusal);
            answer::text(refusal.status(), &refusal.to_string())
        })?;
        let place = self.place(head.uri.path(), head.uri.query())?;
        Ok(Admitted { permit, place, head })
    }

    fn note(&self, refusal: &guard::Refusal) {
        let mut limit = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        match limit.admit(Instant::now()) {
            Admit::Pass { dropped: 0 } => log::warn!("refused: {refusal}"),
            Admit::Pass { dropped } => {
                log::warn!("refused: {refusal} ({dropped} refusals before it were not logged)");
            }
            Admit::Drop => {}
        }
    }

    /// Room for a body of the declared size, or of the largest if none is declared.
    fn room_for(&self, head: &Parts) -> Result<Room, Refused> {
        let declared = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let declared = declared.and_then(|length| length.parse::<usize>().ok());
        let size = declared.unwrap_or(usize::MAX).min(self.limits.message_bytes);
        if size <= SMALL_BODY {
            return Ok(None);
        }
        let full = |_| answer::text(StatusCode::SERVICE_UNAVAILABLE, "too much is being received");
        let kib = u32::try_from(size.min(BODIES) >> 10).unwrap_or(u32::MAX);
        Arc::clone(&self.room).try_acquire_many_owned(kib).map(Some).map_err(full)
    }

    /// The face of the gateway that the rest of a path names.
    fn endpoint(&self, rest: &str) -> Option<Endpoint> {
        match rest {
            "" | "/" => Some(Endpoint::Aggregate),
            _ => rest.strip_prefix('/').and_then(|slug| self.relay.world().endpoint(slug)),
        }
    }

    fn place(&self, path: &str, query: Option<&str>) -> Result<Place, Refused> {
        let found = if let Some(rest) = path.strip_prefix("/mcp") {
            self.endpoint(rest).map(Place::Mcp)
        } else if let Some(rest) = path.strip_prefix("/sse") {
            self.endpoint(rest).map(Place::Sse)
        } else {
            (path == "/messages").then_some(Place::Messages)
        };
        if found.is_some() && query.is_some_and(has_filter) {
            let text = "filters in the url are not supported: ignoring them would widen access";
            return Err(answer::text(StatusCode::BAD_REQUEST, text));
        }
        let missing = "expected /mcp or /sse, alone or with / and the slug of a configured server";
        found.ok_or_else(|| answer::text(StatusCode::NOT_FOUND, missing))
    }

    async fn dispatch(self: &Arc<Self>, admitted: Admitted, body: Incoming) -> Answered {
        let Admitted { permit, place, head } = admitted;
        match (place, &head.method) {
            (Place::Mcp(endpoint), &Verb::POST) => self.post(permit, endpoint, head, body).await,
            (Place::Mcp(endpoint), &Verb::GET) => streamable::get(self, &head, endpoint),
            (Place::Mcp(endpoint), &Verb::DELETE) => streamable::delete(self, &head, endpoint),
            (Place::Mcp(_), _) => Err(answer::not_allowed()),
            (Place::Sse(endpoint), _) => sse::get(self, permit, endpoint, &head),
            (Place::Messages, _) => {
                let line = sse::find(self, &permit, &head)?;
                check_type(&head)?;
                let (bytes, room) = self.receive(&head, body).await?;
                line.post(&head, bytes, room)
            }
        }
    }

    /// Reads a body, and the room it takes until it is let go.
    async fn receive(&self, head: &Parts, body: Incoming) -> Result<(Bytes, Room), Refused> {
        let room = self.room_for(head)?;
        let bytes = read_bounded(body, self.limits.message_bytes, BODY_TIME).await;
        Ok((bytes.map_err(|e| refuse_body(&e))?, room))
    }

    async fn post(
        self: &Arc<Self>,
        permit: Permit,
        endpoint: Endpoint,
        head: Parts,
        body: Incoming,
    ) -> Answered {
        check_type(&head)?;
        let accept = answer::Accept::read(&head.headers);
        let accept = accept.ok_or_else(answer::not_acceptable)?;
        let (bytes, _room) = self.receive(&head, body).await?;
        match route::open(&head.headers, bytes).map_err(|r| answer::rejected(400, &r))? {
            Opening::Modern(message) => {
                modern::serve(self, &permit, endpoint, &head.headers, accept, message).await
            }
            Opening::Legacy(message) => {
                streamable::post(self, &permit, endpoint, &head.headers, accept, message).await
            }
            Opening::Batch(messages) => {
                streamable::batch(self, &permit, endpoint, &head.headers, messages).await
            }
        }
    }
}

/// Whether a query names servers or tags to be shown alone, as 1MCP's queries do.
fn has_filter(query: &str) -> bool {
    let keys = query.split('&').filter_map(|pair| pair.split('=').next());
    let mut keys = keys.map(percent_decode);
    keys.any(|key| matches!(key.as_slice(), b"tags" | b"tag-filter" | b"preset"))
}

fn percent_decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let (plain, left) = match byte.filter(|_| *first == b'%') {
            Some(byte) => (byte, tail.get(2..).unwrap_or_default()),
            None => (*first, tail),
        };
        out.push(plain);
        rest = left;
    }
    out
}

/// A body of another type can be sent by a web page without asking (a simple request), so it is
/// refused before it is read.
fn is_json(head: &Parts) -> bool {
    let mut values = head.headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

fn check_type(head: &Parts) -> Result<(), Refused> {
    let text = "expected content-type: application/json";
    let refuse = || answer::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
    is_json(head).then_some(()).ok_or_else(refuse)
}

fn refuse_body(error: &BodyError) -> Refused {
    let (status, code) = match error {
        BodyError::TooLarge { .. } => (413, Code::InvalidRequest),
        BodyError::TimedOut => (408, Code::InvalidRequest),
        _ => (400, Code::Parse),
    };
    answer::rejected(status, &Rejected::new(code, error.to_string()))
}
