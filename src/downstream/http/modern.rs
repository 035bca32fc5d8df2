//! Requests of MCP 2026-07-28: stateless, each with its own metadata, mirrored in headers.

use crate::downstream::Front;
use crate::downstream::http::answer::{self, Accept, Answered, modern_status};
use crate::downstream::http::flow::{Flow, KEEP_ALIVE, WAITING_FRAMES};
use crate::downstream::http::route::VERSION;
use crate::downstream::modern::{self, Listener, Served, known, required_meta, unsupported};
use crate::mcp::{Method, Revision, Routing, meta};
use crate::net::body::{FrameSender, Outgoing};
use crate::oauth::Permit;
use crate::relay::{Answer, Endpoint};
use crate::task::Token;
use crate::wire::header;
use crate::wire::jsonrpc::{Call, Code, Message, Rejected, Request};
use crate::wire::sse::encode;
use bytes::Bytes;
use http::Response;
use http::header::{HeaderMap, HeaderName};
use std::sync::Arc;

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Serves one message.
pub async fn serve(
    front: &Arc<Front>,
    permit: &Permit,
    endpoint: Endpoint,
    headers: &HeaderMap,
    accept: Accept,
    message: Message,
) -> Answered {
    let request = match message {
        Message::Request(request) => request,
        Message::Notification(notification) => {
            // no notification has a meaning here: a disconnect is the cancellation
            check_version_header(headers, &notification.call)
                .map_err(|r| answer::rejected(400, &r))?;
            return Ok(answer::accepted());
        }
        Message::Response(_) => {
            let text = "expected a request or a notification: clients send no responses";
            return Err(answer::rejected(400, &Rejected::new(Code::InvalidRequest, text)));
        }
    };
    let refuse = |status, rejected: Rejected| {
        answer::rejected(status, &rejected.with_id(Some(request.id.clone())))
    };
    let name = request.call.method_name();
    let method = front.relay.method(endpoint, Revision::MODERN, &name).await;
    let method = check(headers, &request, method).map_err(|(status, r)| refuse(status, r))?;
    let checked = check_param_headers(front, endpoint, method, headers, &request).await;
    checked.map_err(|r| refuse(400, r))?;
    let answered = respond(front, permit, endpoint, accept, method, &request).await;
    Ok(answered.unwrap_or_else(|rejected| {
        let rejected = rejected.with_id(Some(request.id.clone()));
        answer::complete(Answer::rejected(&rejected), accept, modern_status)
    }))
}

/// Answers a request that has passed the checks.
async fn respond(
    front: &Arc<Front>,
    permit: &Permit,
    endpoint: Endpoint,
    accept: Accept,
    method: Method,
    request: &Request,
) -> Result<Response<Outgoing>, Rejected> {
    if method.route() == Routing::Listen && !accept.stream {
        let text = "expected accept to allow text/event-stream";
        let rejected = Rejected::new(Code::InvalidRequest, text).with_id(Some(request.id.clone()));
        return Ok(*answer::rejected(406, &rejected));
    }
    Ok(match modern::serve(front, permit, endpoint, accept.stream, method, request).await? {
        Served::Now(answer) => answer::complete(answer, accept, modern_status),
        Served::Later(exchange) => Flow::modern(exchange).respond(accept, modern_status).await,
        Served::Listening(listener, first) => {
            let stopping = front.stopping.clone();
            let run = |frames| listening(listener, first, stopping, frames);
            answer::stream(Outgoing::driven(WAITING_FRAMES, run))
        }
    })
}

/// The checks that the specification wants before anything is done, in its order: required
/// metadata, headers, version, method.
fn check(
    headers: &HeaderMap,
    request: &Request,
    method: Option<Method>,
) -> Result<Method, (u16, Rejected)> {
    let version = required_meta(request).map_err(|r| (400, r))?;
    let name = request.call.method_name();
    check_mirrored(headers, [(&VERSION, &version), (&METHOD, &name)]).map_err(|r| (400, r))?;
    check_name_header(headers, request, method).map_err(|r| (400, r))?;
    known(&version, &name, method)
}

fn mismatch(text: String) -> Rejected {
    Rejected::new(Code::HeaderMismatch, text)
}

/// The one value of a header, if it is there exactly once and is text.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a [u8], Rejected> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value.as_bytes().trim_ascii()),
        (None, _) => Err(mismatch(format!("expected the header {name}, which is missing"))),
        _ => Err(mismatch(format!("expected the header {name} once"))),
    }
}

/// All that is asked of a notification: a version that is supported, and that its metadata, if it
/// has any, does not contradict.
fn check_version_header(headers: &HeaderMap, call: &Call) -> Result<(), Rejected> {
    let version = String::from_utf8_lossy(one(headers, &VERSION)?);
    let claimed = call.meta_value(meta::PROTOCOL_VERSION);
    let claimed = claimed.and_then(|claimed| claimed.text(&call.bytes));
    if claimed.is_some_and(|claimed| claimed != version) {
        return Err(mismatch(format!("the header {VERSION} differs from the body")));
    }
    match Revision::parse(&version) {
        Some(Revision::MODERN) => Ok(()),
        _ => Err(unsupported(&version)),
    }
}

/// Headers that say what the body says.
fn check_mirrored(headers: &HeaderMap, pairs: [(&HeaderName, &str); 2]) -> Result<(), Rejected> {
    for (name, body) in pairs {
        if one(headers, name)? != body.as_bytes() {
            return Err(mismatch(format!("the header {name} differs from the body")));
        }
    }
    Ok(())
}

fn check_name_header(
    headers: &HeaderMap,
    request: &Request,
    method: Option<Method>,
) -> Result<(), Rejected> {
    let Some(member) = method.and_then(Method::mcp_name_param) else { return Ok(()) };
    let value = header::decode(one(headers, &NAME)?);
    let value = value.map_err(|e| mismatch(format!("the header mcp-name: {e}")))?;
    match request.call.param_text(member) {
        Some(body) if body != value => {
            Err(mismatch(format!("the header mcp-name differs from params.{member}")))
        }
        _ => Ok(()), // a missing member is for the parameters' own check
    }
}

/// `Mcp-Param-*` against the schema of the tool as it was shown to clients.
async fn check_param_headers(
    front: &Front,
    endpoint: Endpoint,
    method: Method,
    headers: &HeaderMap,
    request: &Request,
) -> Result<(), Rejected> {
    if method.route() != Routing::Tool {
        return Ok(());
    }
    let name = request.call.param_text("name").unwrap_or_default();
    let Some(annotated) = front.relay.param_headers(endpoint, &name).await else { return Ok(()) };
    let arguments = request.call.param("arguments").map(|arguments| arguments.span);
    let twice = annotated.names().find(|name| headers.get_all(*name).iter().count() > 1);
    if let Some(name) = twice {
        return Err(mismatch(format!("expected the header {name} once")));
    }
    let lookup = |name: &str| headers.get(name).map(http::HeaderValue::as_bytes);
    annotated.validate(&request.call.bytes, arguments, lookup).map_err(mismatch)
}

/// Passes on what a listen stream brings.
async fn listening(listener: Listener, first: Bytes, stopping: Token, frames: FrameSender) {
    let mut next = Some(first);
    while let Some(message) = next {
        if frames.send(encode::event(&message, None)).await.is_err() {
            return;
        }
        next = loop {
            tokio::select! {
                notification = listener.next() => break notification,
                () = stopping.cancelled() => break None,
                () = tokio::time::sleep(KEEP_ALIVE) => {
                    let alive = Bytes::from_static(encode::KEEP_ALIVE);
                    if frames.send(alive).await.is_err() {
                        return;
                    }
                }
            }
        };
    }
    // a graceful end says so (basic/patterns/subscriptions, "Graceful Closure")
    let _ = frames.send(encode::event(&listener.end(), None)).await; // the client may be gone
}
