//! HTTP answers: statuses, types, and how JSON-RPC faults become them.

use crate::control::admission::{Limit, RETRY_AFTER as WAIT};
use crate::net::body::Outgoing;
use crate::relay::{Answer, fault};
use crate::wire::jsonrpc::{Code, Rejected};
use crate::wire::sse::encode;
use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
};
use http::{HeaderMap, Response, StatusCode};

/// The answer to a fault.
pub type Refused = Box<Response<Outgoing>>;

/// An answer, or the answer to a fault.
pub type Answered = Result<Response<Outgoing>, Refused>;

/// What the official SDKs accept, as they write it.
const USUAL: &[u8] = b"application/json, text/event-stream";
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache, no-transform");
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Which status an answer with this error code, or with none, gets.
pub type Status = fn(Option<i64>) -> StatusCode;

/// What a client takes as an answer to a POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accept {
    /// `application/json`.
    pub json: bool,
    /// `text/event-stream`.
    pub stream: bool,
}

impl Accept {
    /// Reads the header; without one, everything is taken. `None` when neither type is.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let both = Self { json: true, stream: true };
        let mut values = headers.get_all(ACCEPT).iter().peekable();
        match values.peek() {
            None => return Some(both),
            Some(value) if value.as_bytes() == USUAL => return Some(both),
            Some(_) => {}
        }
        let mut accept = Self { json: false, stream: false };
        for value in values {
            for part in value.as_bytes().split(|byte| *byte == b',') {
                let kind = part.split(|byte| *byte == b';').next().unwrap_or_default();
                let is = |known: &str| kind.trim_ascii().eq_ignore_ascii_case(known.as_bytes());
                accept.json |= is("application/json") || is("application/*") || is("*/*");
                accept.stream |= is("text/event-stream") || is("text/*") || is("*/*");
            }
        }
        (accept.json || accept.stream).then_some(accept)
    }
}

fn typed(status: StatusCode, kind: HeaderValue, body: Outgoing) -> Response<Outgoing> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// A line of text for people.
pub fn text(status: StatusCode, text: &str) -> Refused {
    let mut response = typed(status, PLAIN, Outgoing::full(format!("{text}\n")));
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    later(&mut response);
    Box::new(response)
}

/// 503 to whoever comes when we are about to be gone.
pub fn stopping() -> Response<Outgoing> {
    let mut response = *text(StatusCode::SERVICE_UNAVAILABLE, "the gateway is stopping");
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Says when to come back, where a limit is the only thing wrong (RFC 6585 §4, RFC 9110 §15.6.4).
fn later(response: &mut Response<Outgoing>) {
    if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
    {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(WAIT.as_secs()));
    }
}

/// What is beyond a limit: 429 if that is the client's own, else 503. Only for what is no request
/// of a session or of 2026-07-28: clients take any status but 200 for a fault of the connection,
/// and lose the error that says which request it was.
pub fn beyond(limit: Limit) -> Refused {
    rejected(if limit.is_own() { 429 } else { 503 }, &fault::beyond(limit))
}

/// A JSON-RPC answer.
pub fn json(status: StatusCode, body: Vec<Bytes>) -> Response<Outgoing> {
    let body = match <[Bytes; 1]>::try_from(body) {
        Ok([one]) => Outgoing::full(one),
        Err(pieces) => Outgoing::parts(pieces),
    };
    typed(status, JSON, body)
}

/// An SSE stream.
pub fn stream(body: Outgoing) -> Response<Outgoing> {
    let mut response = typed(StatusCode::OK, STREAM, body);
    response.headers_mut().insert(CACHE_CONTROL, NO_CACHE);
    response.headers_mut().insert(BUFFERING, HeaderValue::from_static("no"));
    response
}

/// 202, for what has no answer.
pub fn accepted() -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// 405.
pub fn not_allowed() -> Refused {
    only("POST")
}

/// 405 where one method is served.
pub fn only(verb: &'static str) -> Refused {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, &format!("expected {verb}"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(verb));
    response
}

/// 406.
pub fn not_acceptable() -> Refused {
    let text = "expected accept to allow application/json or text/event-stream";
    rejected(406, &Rejected::new(Code::InvalidRequest, text))
}

/// A fault with a status of its own.
pub fn rejected(status: u16, rejected: &Rejected) -> Refused {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = json(status, vec![rejected.to_json()]);
    later(&mut response);
    Box::new(response)
}

/// The status of a modern error answer (MCP 2026-07-28 basic/transports/streamable-http).
pub fn modern_status(code: Option<i64>) -> StatusCode {
    match code {
        Some(-32601) => StatusCode::NOT_FOUND,
        Some(-32022..=-32020) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

/// A legacy answer is always 200; its error stands in the body.
pub fn legacy_status(_: Option<i64>) -> StatusCode {
    StatusCode::OK
}

/// The answer to a request: JSON, or one event for a client that takes nothing else. A stream has
/// no status but 200, so what has another one is JSON in any case.
pub fn complete(answer: Answer, accept: Accept, status: Status) -> Response<Outgoing> {
    let status = status(answer.error);
    if accept.json || status != StatusCode::OK {
        return json(status, answer.body);
    }
    let (prefix, data, suffix) = encode::event_parts(answer.one_piece(), None);
    stream(Outgoing::parts(vec![prefix, data, suffix]))
}
