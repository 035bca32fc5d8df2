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

use crate::downstream::Front;
use crate::net::body::{BodyError, Outgoing, read_bounded};
use crate::oauth::Permit;
use crate::observe::log::{Admit, RateLimited};
use crate::relay::Endpoint;
use crate::wire::jsonrpc::{Code, Rejected};
use answer::{Answered, Refused};
use bytes::Bytes;
use guard::Guard;
use http::header::CONTENT_TYPE;
use http::{Method as Verb, Request, Response, StatusCode, request::Parts};
use hyper::body::Incoming;
use route::Opening;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a client may take to send its body.
pub const BODY_TIME: Duration = Duration::from_secs(30);

/// The way of HTTP requests to what serves them, for all listeners.
#[derive(Debug)]
pub struct Gate {
    front: Arc<Front>,
    /// Host and Origin checks.
    guard: Guard,
    /// Streams of the HTTP+SSE transport.
    lines: sse::Lines,
    /// Room for request bodies, in KiB.
    room: Arc<Semaphore>,
    /// Keeps refusals from flooding the log.
    refusals: Mutex<RateLimited>,
}

/// Bytes of large request bodies that may be held at once, of all clients together.
pub const BODIES: usize = 256 << 20;

/// So much of each body counts for nothing.
const SMALL_BODY: usize = 64 << 10;

/// Refusals that are logged in a second; more are counted.
const REFUSALS_PER_SECOND: u32 = 20;

/// The room that one body takes: as much as has arrived of it, whatever it says it will be.
struct Held {
    room: Arc<Semaphore>,
    bytes: usize,
    taken: Option<OwnedSemaphorePermit>,
}

/// A body and its room, which is free again when the last slice of the body is gone: a request may
/// be kept longer than its client waits for it.
struct Kept {
    body: Bytes,
    _taken: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Held {
    fn new(room: &Arc<Semaphore>) -> Self {
        Self { room: Arc::clone(room), bytes: 0, taken: None }
    }

    /// The body with its room.
    fn keep(self, body: Bytes) -> Bytes {
        match self.taken {
            Some(taken) => Bytes::from_owner(Kept { body, _taken: taken }),
            None => body,
        }
    }

    fn is_small(&self) -> bool {
        self.bytes <= SMALL_BODY
    }

    /// Takes room for more bytes; false if there is none.
    fn admit(&mut self, more: usize) -> bool {
        self.bytes = self.bytes.saturating_add(more);
        let has = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let lacks = (self.bytes.saturating_sub(SMALL_BODY) >> 10).saturating_sub(has);
        if lacks == 0 {
            return true;
        }
        let Ok(lacks) = u32::try_from(lacks) else { return false };
        let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(lacks) else { return false };
        match &mut self.taken {
            Some(taken) => taken.merge(room),
            None => self.taken = Some(room),
        }
        true
    }
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

impl Gate {
    /// Lets in to `front` whom `guard` lets in.
    pub fn new(front: Arc<Front>, guard: Guard, lines: sse::Lines) -> Self {
        let room = Arc::new(Semaphore::new(BODIES >> 10));
        let refusals = Mutex::new(RateLimited::new(REFUSALS_PER_SECOND, Duration::from_secs(1)));
        Self { front, guard, lines, room, refusals }
    }

    /// Answers one HTTP request. Never fails: every fault has its answer.
    pub async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Response<Outgoing> {
        if self.front.stopping.is_cancelled() {
            return answer::stopping();
        }
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

    /// The face of the gateway that the rest of a path names.
    fn endpoint(&self, rest: &str) -> Option<Endpoint> {
        match rest {
            "" | "/" => Some(Endpoint::Aggregate),
            _ => rest.strip_prefix('/').and_then(|slug| self.front.relay.world().endpoint(slug)),
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
            (Place::Mcp(endpoint), &Verb::GET) => {
                streamable::get(&self.front, &permit, &head, endpoint)
            }
            (Place::Mcp(endpoint), &Verb::DELETE) => {
                streamable::delete(&self.front, &permit, &head, endpoint)
            }
            (Place::Mcp(_), _) => Err(answer::not_allowed()),
            (Place::Sse(endpoint), _) => sse::get(self, permit, endpoint, &head),
            (Place::Messages, _) => {
                let line = sse::find(self, &permit, &head)?;
                check_type(&head)?;
                let bytes = self.receive(body).await?;
                line.post(&head, bytes)
            }
        }
    }

    /// Reads a body, which takes room until it is let go.
    async fn receive(&self, body: Incoming) -> Result<Bytes, Refused> {
        let mut held = Held::new(&self.room);
        let mut admit = |size| {
            held.admit(size) && (held.is_small() || self.front.relay.tickets.unpressed().is_ok())
        };
        let bytes =
            read_bounded(body, self.front.limits.message_bytes, BODY_TIME, &mut admit).await;
        Ok(held.keep(bytes.map_err(|e| refuse_body(&e))?))
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
        let bytes = self.receive(body).await?;
        let front = &self.front;
        match route::open(&head.headers, bytes).map_err(|r| answer::rejected(400, &r))? {
            Opening::Modern(message) => {
                modern::serve(front, &permit, endpoint, &head.headers, accept, message).await
            }
            Opening::Legacy(message) => {
                streamable::post(front, &permit, endpoint, &head.headers, accept, message).await
            }
            Opening::Batch(messages) => {
                streamable::batch(front, &permit, endpoint, &head.headers, messages).await
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
    if matches!(error, BodyError::NoRoom) {
        return answer::rejected(503, &Rejected::new(Code::Internal, error.to_string()));
    }
    let (status, code) = match error {
        BodyError::TooLarge { .. } => (413, Code::InvalidRequest),
        BodyError::TimedOut => (408, Code::InvalidRequest),
        _ => (400, Code::Parse),
    };
    answer::rejected(status, &Rejected::new(code, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_by_what_arrives_and_free_when_nobody_holds_the_body() {
        let room = Arc::new(Semaphore::new(64));
        let mut held = Held::new(&room);
        assert!(held.admit(SMALL_BODY));
        assert_eq!(room.available_permits(), 64, "a small body takes none");
        assert!(held.admit(40 << 10));
        assert_eq!(room.available_permits(), 24);
        assert!(!Held::new(&room).admit(SMALL_BODY + (25 << 10)), "there is no more");
        let body = held.keep(Bytes::from_static(b"body"));
        let slice = body.slice(1..2);
        drop(body);
        assert_eq!(room.available_permits(), 24, "a slice keeps all of it alive");
        drop(slice);
        assert_eq!(room.available_permits(), 64);
    }
}
