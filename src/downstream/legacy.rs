//! What a session of a legacy client is served with, whichever transport its messages come by.
//!
//! Transports read messages and write answers; what a message means stands here.

use crate::bridge::initialize;
use crate::control::admission::Limit;
use crate::downstream::Front;
use crate::downstream::http::flow::Flow;
use crate::downstream::session::Session;
use crate::mcp::{LogLevel, Method, Routing};
use crate::oauth::Permit;
use crate::relay::fault::beyond;
use crate::relay::route::unknown_resource;
use crate::relay::{Answer, Caller, Cancel, Endpoint, Hub, fault};
use crate::task::join;
use crate::upstream::state::WatchError;
use crate::wire::jsonrpc::{Call, Code, Message, Rejected, Request, RequestId};
use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A fault and its HTTP status.
pub type Fault = (u16, Rejected);

/// A request that cannot be served as it is.
pub fn invalid(text: &'static str) -> Rejected {
    Rejected::new(Code::InvalidRequest, text)
}

/// `initialize`: the client and we agree on a revision, and a session begins.
///
/// # Errors
/// Parameters that cannot be read, an upstream that cannot be introduced, or too many sessions.
pub async fn begin(
    front: &Front,
    permit: &Permit,
    endpoint: Endpoint,
    request: &Request,
) -> Result<(Arc<Session>, Answer), Fault> {
    let params = initialize::read_initialize(&request.call).map_err(|r| (200, r))?;
    let revision = params.negotiate();
    let full = |limit: Limit| (if limit.is_own() { 429 } else { 503 }, beyond(limit));
    front.relay.tickets.unpressed().map_err(full)?;
    let description = front.relay.describe(permit, endpoint).await.map_err(|r| (200, r))?;
    let session = front.sessions.open(
        (permit.principal(), endpoint, revision, params.capabilities, params.extensions),
        &front.relay.hub,
        &front.relay.world(),
    );
    let session = session.map_err(full)?;
    let result = initialize::initialize_result(revision, &description);
    Ok((session, Answer::result(&request.id, result)))
}

/// Serves several messages at once (2025-03-26 basic/transports, "Sending Messages"); `None` when
/// there is nothing to answer.
pub async fn batch(
    front: &Arc<Front>,
    permit: &Permit,
    session: &Arc<Session>,
    messages: Vec<Bytes>,
) -> Option<Bytes> {
    let served = messages.into_iter().map(|message| batched(front, permit, session, message));
    let answers: Vec<_> = join::all(served).await.into_iter().flatten().collect();
    let body = || Bytes::from([b"[".as_slice(), &answers.join(&b','), b"]"].concat());
    (!answers.is_empty()).then(body)
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
    let answer = match serve(front, permit, session, false, request).await {
        Ok(Served::Now(answer)) => answer,
        Ok(Served::Later(flow)) => flow.answer().await?,
        Ok(Served::Cancelled) => return None,
        Err(rejected) => Answer::rejected(&rejected.with_id(Some(id))),
    };
    Some(answer.body.concat())
}

/// A notification of the client.
pub fn notified(session: &Session, call: &Call) {
    if call.method_name() != Method::Cancelled.name() {
        return; // initialized changes nothing, and roots are not asked for yet
    }
    if let Some(id) = call.param("requestId") {
        session.cancel(&RequestId::from_token(call.slice(id.span)));
    }
}

/// How a request is served.
#[allow(clippy::large_enum_variant, reason = "it is moved once, and a box would cost every call")]
pub enum Served {
    /// We know the answer.
    Now(Answer),
    /// An upstream will.
    Later(Flow),
    /// There is no answer.
    Cancelled,
}

/// Serves a request; `streams` says whether the client takes more than the answer.
///
/// # Errors
/// What the request is answered with instead.
pub async fn serve(
    front: &Arc<Front>,
    permit: &Permit,
    session: &Arc<Session>,
    streams: bool,
    request: Request,
) -> Result<Served, Rejected> {
    let name = request.call.method_name();
    let method = front.relay.method(session.endpoint, session.revision, &name).await;
    let method = method.ok_or_else(|| {
        let text = format!("method not found: {}", crate::base::label::Label::new(&name));
        Rejected::new(Code::MethodNotFound, text)
    })?;
    let (revision, level) = (session.revision, session.level());
    let (capabilities, extensions) = (session.capabilities, session.extensions.clone());
    let (number, outlet) = (Some(session.number), Some(Arc::clone(&session.outlet)));
    let caller =
        Caller { revision, level, streams, capabilities, extensions, session: number, outlet };
    let endpoint = session.endpoint;
    let empty = || Served::Now(Answer::result(&request.id, Bytes::from_static(b"{}")));
    match method.route() {
        // on its own it never comes here
        Routing::Initialize => Err(invalid("expected initialize to be in no batch")),
        Routing::Ping => Ok(empty()),
        Routing::SetLevel => set_level(front, permit, session, &request).await.map(|()| empty()),
        Routing::List(kind) => {
            let result = front.relay.list(permit, endpoint, kind, &caller, &request).await?;
            Ok(Served::Now(Answer::result(&request.id, result)))
        }
        Routing::Subscribe => subscribe(front, session, &request).await.map(|()| empty()),
        Routing::Unsubscribe => unsubscribe(front, session, &request).map(|()| empty()),
        Routing::Tool
        | Routing::Prompt
        | Routing::Resource
        | Routing::Completion
        | Routing::Task
        | Routing::Foreign => {
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
    let flight = session.take_off(request.id.kept(request.call.bytes.len()), Arc::clone(&cancel));
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
    let ended = |_| Err(fault::stopping());
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
        WatchError::Call(error) => fault::rejected(&upstream, fault::Fault::Call(&error)),
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
