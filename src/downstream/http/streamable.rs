//! Streamable HTTP of the revisions up to 2025-11-25: a session begins with `initialize`, is named
//! by a header, and may have one stream for messages outside requests.

use crate::bridge::initialize;
use crate::downstream::http::Front;
use crate::downstream::http::answer::{self, Accept, Answered, legacy_status};
use crate::downstream::http::flow::{Flow, KEEP_ALIVE, WAITING_FRAMES};
use crate::downstream::http::route::{VERSION, legacy_version};
use crate::downstream::session::{Session, StreamGuard};
use crate::mcp::{Era, LogLevel, Method, Revision, Routing};
use crate::net::body::{FrameSender, Outgoing};
use crate::oauth::Permit;
use crate::relay::forward::unknown_resource;
use crate::relay::{Answer, Caller, Cancel, Endpoint, Hub};
use crate::task::join;
use crate::upstream::state::WatchError;
use crate::wire::jsonrpc::{Call, Code, Message, Rejected, Request, RequestId};
use crate::wire::sse::encode;
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use std::future::Future;
use std::sync::Arc;
use tokio::sync::oneshot;

/// `Mcp-Session-Id`.
pub const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

fn invalid(text: &'static str) -> Rejected {
    Rejected::new(Code::InvalidRequest, text)
}

/// A fault and its HTTP status.
type Fault = (u16, Rejected);

/// The session of a request whose version header, if it has one, is fit for it.
fn admit(front: &Front, endpoint: Endpoint, headers: &HeaderMap) -> Result<Arc<Session>, Fault> {
    legacy_version(headers).map_err(|rejected| (400, rejected))?;
    session(front, endpoint, headers)
}

/// Finds the session that a request names.
fn session(front: &Front, endpoint: Endpoint, headers: &HeaderMap) -> Result<Arc<Session>, Fault> {
    let mut ids = headers.get_all(&SESSION).iter();
    let (Some(id), None) = (ids.next(), ids.next()) else {
        return Err((400, invalid("expected the header Mcp-Session-Id once")));
    };
    let found = id.to_str().ok().and_then(|id| front.sessions.find(id, endpoint));
    let gone = || (404, invalid("no such session: begin with initialize"));
    found.ok_or_else(gone)
}

/// Serves one message.
pub async fn post(
    front: &Arc<Front>,
    permit: &Permit,
    endpoint: Endpoint,
    headers: &HeaderMap,
    accept: Accept,
    message: Message,
) -> Answered {
    if let Message::Request(request) = &message
        && request.call.is_method(Method::Initialize.name())
    {
        return begin(front, permit, endpoint, accept, request).await;
    }
    let id = match &message {
        Message::Request(request) => Some(request.id.clone()),
        _ => None,
    };
    let refuse = |(status, rejected): Fault| answer::rejected(status, &rejected.with_id(id));
    let session = admit(front, endpoint, headers).map_err(refuse)?;
    match message {
        Message::Request(request) => {
            let id = request.id.clone();
            let served = serve(front, permit, &session, accept, request).await;
            Ok(match served {
                Ok(Served::Now(answer)) => answer::complete(answer, accept, legacy_status),
                Ok(Served::Later(flow)) => flow.respond(accept, legacy_status).await,
                Ok(Served::Cancelled) => answer::accepted(),
                Err(rejected) => {
                    let answer = Answer::rejected(&rejected.with_id(Some(id)));
                    answer::complete(answer, accept, legacy_status)
                }
            })
        }
        Message::Notification(notification) => {
            notified(&session, &notification.call);
            Ok(answer::accepted())
        }
        Message::Response(response) => {
            session.answered(&response);
            Ok(answer::accepted())
        }
    }
}

/// Serves several messages at once (2025-03-26 basic/transports, "Sending Messages").
pub async fn batch(
    front: &Arc<Front>,
    permit: &Permit,
    endpoint: Endpoint,
    headers: &HeaderMap,
    messages: Vec<Bytes>,
) -> Answered {
    let text = "expected one message: batches exist in sessions of revision 2025-03-26 only";
    let refuse = || answer::rejected(400, &invalid(text));
    if !headers.contains_key(&SESSION) {
        return Err(refuse());
    }
    let session = admit(front, endpoint, headers).map_err(|(s, r)| answer::rejected(s, &r))?;
    if !session.revision.batches() {
        return Err(refuse());
    }
    let served = messages.into_iter().map(|message| batched(front, permit, &session, message));
    let answers: Vec<_> = join::all(served).await.into_iter().flatten().collect();
    if answers.is_empty() {
        return Ok(answer::accepted());
    }
    let body = [b"[".as_slice(), &answers.join(&b','), b"]"].concat();
    Ok(answer::json(StatusCode::OK, vec![Bytes::from(body)]))
}

async fn batched(
    front: &Arc<Front>,
    permit: &Permit,
    session: &Arc<Session>,
    message: Bytes,
) -> Option<Vec<u8>> {
    let request = match Message::parse(message) {
        Ok(Message::Request(request)) => request,
        Ok(Message::Notification(notification)) => {
            notified(session, &notification.call);
            return None;
        }
        Ok(Message::Response(response)) => {
            session.answered(&response);
            return None;
        }
        Err(rejected) => return Some(rejected.to_json().to_vec()),
    };
    let id = request.id.clone();
    let json_only = Accept { json: true, stream: false };
    let answer = match serve(front, permit, session, json_only, request).await {
        Ok(Served::Now(answer)) => answer,
        Ok(Served::Later(flow)) => flow.answer().await?,
        Ok(Served::Cancelled) => return None,
        Err(rejected) => Answer::rejected(&rejected.with_id(Some(id))),
    };
    Some(answer.body.concat())
}

/// `initialize`: the client and we agree on a revision, and a session begins.
async fn begin(
    front: &Arc<Front>,
    permit: &Permit,
    endpoint: Endpoint,
    accept: Accept,
    request: &Request,
) -> Answered {
    let refuse = |status, rejected: Rejected| {
        answer::rejected(status, &rejected.with_id(Some(request.id.clone())))
    };
    let params = initialize::read_initialize(&request.call).map_err(|r| refuse(200, r))?;
    let revision = params.negotiate();
    let description = front.relay.describe(permit, endpoint).await.map_err(|r| refuse(200, r))?;
    let session = front.sessions.open(
        (endpoint, revision, params.capabilities),
        &front.relay.hub,
        &front.relay.world(),
    );
    let full = || refuse(503, Rejected::new(Code::Internal, "too many sessions are open"));
    let session = session.ok_or_else(full)?;
    let (capabilities, instructions) =
        (&description.capabilities, description.instructions.as_deref());
    let result = initialize::initialize_result(revision, capabilities, instructions);
    let mut response =
        answer::complete(Answer::result(&request.id, &result), accept, legacy_status);
    if let Ok(id) = HeaderValue::from_str(&session.id) {
        response.headers_mut().insert(SESSION, id);
    }
    Ok(response)
}

fn notified(session: &Session, call: &Call) {
    if call.method_name() != Method::Cancelled.name() {
        return; // initialized changes nothing, and roots are not asked for yet
    }
    if let Some(id) = call.param("requestId") {
        session.cancel(&RequestId::from_token(call.slice(id.span)));
    }
}

#[allow(clippy::large_enum_variant, reason = "it is moved once, and a box would cost every call")]
enum Served {
    Now(Answer),
    Later(Flow),
    /// There is no answer.
    Cancelled,
}

async fn serve(
    front: &Arc<Front>,
    permit: &Permit,
    session: &Arc<Session>,
    accept: Accept,
    request: Request,
) -> Result<Served, Rejected> {
    let name = request.call.method_name();
    let method = Method::parse(&name).filter(|m| m.client_request_in(session.revision));
    let method = method.ok_or_else(|| {
        let text = format!("method not found: {}", crate::base::label::Label::new(&name));
        Rejected::new(Code::MethodNotFound, text)
    })?;
    let (revision, level) = (session.revision, session.level());
    let capabilities = session.capabilities;
    let caller = Caller { revision, level, streams: accept.stream, capabilities };
    let endpoint = session.endpoint;
    let empty = || Served::Now(Answer::result(&request.id, b"{}"));
    match method.route() {
        // on its own it never comes here
        Routing::Initialize => Err(invalid("expected initialize to be in no batch")),
        Routing::Ping => Ok(empty()),
        Routing::SetLevel => set_level(front, permit, session, &request).await.map(|()| empty()),
        Routing::List(kind) => {
            let result = front.relay.list(permit, endpoint, kind, &caller, &request).await?;
            Ok(Served::Now(Answer::result(&request.id, &result)))
        }
        Routing::Subscribe => subscribe(front, session, &request).await.map(|()| empty()),
        Routing::Unsubscribe => unsubscribe(front, session, &request).map(|()| empty()),
        Routing::Tool | Routing::Prompt | Routing::Resource | Routing::Completion => {
            let own = (Arc::clone(front), permit.clone(), Arc::clone(session));
            let sent = send(own, caller, method, request);
            match front.relay.may_wait(endpoint) {
                false => sent.await,
                true => apart(front, sent).await,
            }
        }
        _ => {
            Err(Rejected::new(Code::MethodNotFound, format!("method not found: {}", method.name())))
        }
    }
}

/// Sends a request to its upstream, with all that takes as its own.
async fn send(
    (front, permit, session): (Arc<Front>, Permit, Arc<Session>),
    caller: Caller,
    method: Method,
    request: Request,
) -> Result<Served, Rejected> {
    // it can be cancelled from here on, also while it waits for its upstream to start
    let cancel = Arc::new(Cancel::default());
    let flight = session.take_off(&request.id, Arc::clone(&cancel));
    let endpoint = session.endpoint;
    let exchange = tokio::select! {
        begun = front.relay.begin(&permit, endpoint, &caller, method, &request) => begun?,
        () = cancel.cancelled() => return Ok(Served::Cancelled),
    };
    let exchange = exchange.cancelled_by(cancel);
    Ok(Served::Later(Flow::legacy(exchange, front, flight)))
}

/// Does the work in a task of its own: a client that disconnects while its request waits for an
/// upstream has not cancelled it (2025-11-25 basic/transports, "Sending Messages to the Server").
async fn apart(
    front: &Front,
    work: impl Future<Output = Result<Served, Rejected>> + Send + 'static,
) -> Result<Served, Rejected> {
    let (hand, handed) = oneshot::channel();
    let stopping = front.scope.token();
    front.scope.spawn("request that waits for its upstream", async move {
        tokio::select! {
            // what nobody takes is adopted by its session
            served = work => drop(hand.send(served)),
            () = stopping.cancelled() => {}
        }
    });
    let ended = |_| Err(Rejected::new(Code::Internal, "the gateway is stopping"));
    handed.await.unwrap_or_else(ended)
}

/// The level of a session is its own; legacy upstreams are told the most verbose one.
async fn set_level(
    front: &Front,
    permit: &Permit,
    session: &Session,
    request: &Request,
) -> Result<(), Rejected> {
    let level = request.call.param_text("level").and_then(|level| LogLevel::parse(&level));
    let level = level.ok_or_else(|| {
        Rejected::new(Code::InvalidParams, "expected params.level to be a log level of RFC 5424")
    })?;
    front.relay.check_logging(permit, session.endpoint).await?;
    session.set_level(level);
    Ok(())
}

fn uri(request: &Request) -> Result<String, Rejected> {
    let uri = request.call.param_text("uri").map(std::borrow::Cow::into_owned);
    uri.ok_or_else(|| Rejected::new(Code::InvalidParams, "expected params.uri to be a string"))
}

async fn subscribe(front: &Front, session: &Session, request: &Request) -> Result<(), Rejected> {
    let ours = uri(request)?;
    let world = front.relay.world();
    let found = Hub::locate(&world, session.endpoint, &ours);
    let (upstream, theirs) = found.ok_or_else(|| unknown_resource(&ours, session.revision))?;
    let outcome = front.relay.hub.subscribe(&session.outlet, &upstream, &theirs, &ours).await;
    outcome.map_err(|error| match error {
        WatchError::TooMany => {
            Rejected::new(Code::Internal, "too many resources are subscribed to")
        }
        WatchError::Unsupported => {
            Rejected::new(Code::MethodNotFound, "method not found: resources/subscribe")
        }
        WatchError::Refused(-32601, _) => {
            Rejected::new(Code::MethodNotFound, "method not found: resources/subscribe")
        }
        WatchError::Refused(-32002, _) => unknown_resource(&ours, session.revision),
        WatchError::Refused(-32602, text) => Rejected::new(Code::InvalidParams, text),
        WatchError::Refused(_, text) => Rejected::new(Code::Internal, text),
        WatchError::Call(error) => {
            Rejected::new(Code::Internal, format!("upstream {:?}: {error}", upstream.entry.key))
        }
    })
}

fn unsubscribe(front: &Front, session: &Session, request: &Request) -> Result<(), Rejected> {
    let ours = uri(request)?;
    let world = front.relay.world();
    let found = Hub::locate(&world, session.endpoint, &ours);
    let (upstream, theirs) = found.ok_or_else(|| unknown_resource(&ours, session.revision))?;
    front.relay.hub.unsubscribe(&session.outlet, &upstream, &theirs, &ours);
    Ok(())
}

/// Whether a GET or DELETE is of the modern era, where neither exists.
fn is_modern(headers: &HeaderMap) -> bool {
    let version = headers.get(&VERSION).and_then(|value| value.to_str().ok());
    let revision = version.and_then(|text| Revision::parse(text.trim()));
    revision.is_some_and(|revision| revision.era() == Era::Modern)
}

/// GET: the stream for messages outside requests.
pub fn get(front: &Arc<Front>, head: &Parts, endpoint: Endpoint) -> Answered {
    if !head.headers.contains_key(&SESSION) || is_modern(&head.headers) {
        return Err(answer::not_allowed());
    }
    legacy_version(&head.headers).map_err(|r| answer::rejected(400, &r))?;
    if !Accept::read(&head.headers).is_some_and(|accept| accept.stream) {
        return Err(answer::not_acceptable());
    }
    let session =
        session(front, endpoint, &head.headers).map_err(|(s, r)| answer::rejected(s, &r))?;
    let guard = session.open_stream();
    let stopping = front.scope.token();
    let body = Outgoing::driven(WAITING_FRAMES, |frames| async move {
        tokio::select! {
            () = deliver(guard, frames) => {}
            () = stopping.cancelled() => {}
        }
    });
    Ok(answer::stream(body))
}

async fn deliver(mut guard: StreamGuard, frames: FrameSender) {
    // the headers alone are not always passed on; a comment is
    let mut frame = Bytes::from_static(encode::KEEP_ALIVE);
    let outlet = Arc::clone(&guard.session().outlet);
    loop {
        if frames.send(frame).await.is_err() {
            return;
        }
        frame = tokio::select! {
            biased; // a stream that was replaced takes nothing from the one in its place
            () = guard.replaced() => return,
            notification = outlet.next() => match notification {
                Some(notification) => encode::event(&notification, None),
                None => return,
            },
            () = tokio::time::sleep(KEEP_ALIVE) => Bytes::from_static(encode::KEEP_ALIVE),
        };
    }
}

/// DELETE: the client ends its session.
pub fn delete(front: &Arc<Front>, head: &Parts, endpoint: Endpoint) -> Answered {
    if !head.headers.contains_key(&SESSION) || is_modern(&head.headers) {
        return Err(answer::not_allowed());
    }
    let session =
        admit(front, endpoint, &head.headers).map_err(|(s, r)| answer::rejected(s, &r))?;
    front.sessions.close(&session, &front.relay.hub, &front.relay.world());
    Ok(Response::new(Outgoing::empty()))
}
