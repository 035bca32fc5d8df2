//! Requests of MCP 2026-07-28: stateless, each with its own metadata, mirrored in headers.

use crate::bridge::{initialize, listen, notification, task};
use crate::downstream::http::Front;
use crate::downstream::http::answer::{self, Accept, Answered, modern_status};
use crate::downstream::http::flow::{Flow, KEEP_ALIVE, WAITING_FRAMES};
use crate::downstream::http::route::VERSION;
use crate::mcp::{ClientCapabilities, LogLevel, Method, Revision, Routing, meta};
use crate::net::body::{FrameSender, Outgoing};
use crate::oauth::Permit;
use crate::relay::{Answer, Caller, Endpoint, Hub, Outlet};
use crate::task::join;
use crate::wire::header;
use crate::wire::json::{self, Kind, Object};
use crate::wire::jsonrpc::{Call, Code, Message, Rejected, Request};
use crate::wire::sse::encode;
use bytes::Bytes;
use http::Response;
use http::header::{HeaderMap, HeaderName};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// How long the acknowledgement of a listen waits for the confirmations of upstreams.
pub const CONFIRM: Duration = Duration::from_millis(500);

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
    let method = check(headers, &request).map_err(|(status, r)| refuse(status, r))?;
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
    let caller = caller(method, request, accept)?;
    let result = match method.route() {
        Routing::Discover => discover(front, permit, endpoint).await?.into(),
        Routing::List(kind) => front.relay.list(permit, endpoint, kind, &caller, request).await?,
        Routing::Listen => return listen(front, permit, endpoint, accept, request).await,
        _ => {
            let exchange = front.relay.begin(permit, endpoint, &caller, method, request).await?;
            return Ok(Flow::modern(exchange).respond(accept, modern_status).await);
        }
    };
    Ok(answer::complete(Answer::result(&request.id, result), accept, modern_status))
}

fn caller(method: Method, request: &Request, accept: Accept) -> Result<Caller, Rejected> {
    let level = match request.call.meta_value(meta::LOG_LEVEL) {
        None => None,
        Some(value) => {
            let level = value.text(&request.call.bytes).and_then(|text| LogLevel::parse(&text));
            Some(level.ok_or_else(|| {
                Rejected::new(Code::InvalidParams, "expected a log level of RFC 5424 in _meta")
            })?)
        }
    };
    let capabilities = if method.mcp_name_param().is_some() {
        capabilities(&request.call)
    } else {
        ClientCapabilities::default()
    };
    let (revision, streams) = (Revision::MODERN, accept.stream);
    Ok(Caller { revision, level, streams, capabilities, session: None })
}

/// What the client can be asked for because of this request. Most declare nothing.
fn capabilities(call: &Call) -> ClientCapabilities {
    let declared = call.meta_value(meta::CLIENT_CAPABILITIES);
    let declared = declared.filter(|declared| declared.span.len() > "{}".len());
    let declared = declared.and_then(|declared| Object::read(&call.bytes, declared.span).ok());
    declared.map_or_else(ClientCapabilities::default, |object| {
        ClientCapabilities::read(&call.bytes, &object)
    })
}

/// The checks that the specification wants before anything is done, in its order: required
/// metadata, headers, version, method.
fn check(headers: &HeaderMap, request: &Request) -> Result<Method, (u16, Rejected)> {
    let version = required_meta(request).map_err(|r| (400, r))?;
    let name = request.call.method_name();
    let method = Method::parse(&name);
    check_mirrored(headers, [(&VERSION, &version), (&METHOD, &name)]).map_err(|r| (400, r))?;
    check_name_header(headers, request, method).map_err(|r| (400, r))?;
    if Revision::parse(&version) != Some(Revision::MODERN) {
        return Err((400, unsupported(&version)));
    }
    method.filter(|m| m.client_request_in(Revision::MODERN)).ok_or_else(|| {
        let text = format!("method not found: {}", crate::base::label::Label::new(&name));
        (404, Rejected::new(Code::MethodNotFound, text))
    })
}

/// The version that the request says it is of.
fn required_meta(request: &Request) -> Result<Cow<'_, str>, Rejected> {
    let version = request.call.meta_value(meta::PROTOCOL_VERSION);
    let version = version.and_then(|version| version.text(&request.call.bytes));
    let version = version.ok_or_else(|| missing(meta::PROTOCOL_VERSION, "a string"))?;
    let capabilities = request.call.meta_value(meta::CLIENT_CAPABILITIES);
    match capabilities.map(|value| value.kind) {
        Some(Kind::Object) => Ok(version),
        _ => Err(missing(meta::CLIENT_CAPABILITIES, "an object")),
    }
}

fn missing(key: &str, kind: &str) -> Rejected {
    Rejected::new(Code::InvalidParams, format!("expected params._meta[{key:?}] to be {kind}"))
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

/// MCP 2026-07-28 basic/versioning, "Protocol Version Negotiation".
fn unsupported(requested: &str) -> Rejected {
    let mut data = format!("{{\"supported\":[\"{}\"],\"requested\":", Revision::MODERN.as_str());
    data.push_str(&String::from_utf8_lossy(&json::string_token(requested)));
    data.push('}');
    Rejected::new(Code::UnsupportedVersion, "unsupported protocol version").with_data(data)
}

async fn discover(front: &Front, permit: &Permit, endpoint: Endpoint) -> Result<Vec<u8>, Rejected> {
    let description = front.relay.describe(permit, endpoint).await?;
    let (capabilities, instructions) =
        (&description.capabilities, description.instructions.as_deref());
    Ok(initialize::discover_result(capabilities, instructions))
}

async fn listen(
    front: &Arc<Front>,
    permit: &Permit,
    endpoint: Endpoint,
    accept: Accept,
    request: &Request,
) -> Result<Response<Outgoing>, Rejected> {
    if !accept.stream {
        let text = "expected accept to allow text/event-stream";
        let rejected = Rejected::new(Code::InvalidRequest, text).with_id(Some(request.id.clone()));
        return Ok(*answer::rejected(406, &rejected));
    }
    // news of tasks are not relayed, and so not acknowledged: clients look for themselves
    if task::is_listened_for(&request.call)
        && front.relay.has_tasks(endpoint)
        && !task::declares(&request.call)
    {
        return Err(task::undeclared());
    }
    let mut filter = listen::read_filter(&request.call)?;
    let capabilities = front.relay.describe(permit, endpoint).await?.capabilities;
    filter.restrict(&capabilities);
    let uris = std::mem::take(&mut filter.uris);
    let id = request.id.detached();
    let outlet = Arc::new(Outlet::new(endpoint, Some(id.clone()), filter.clone()));
    front.relay.hub.add(&outlet);
    let listener = Listener { front: Arc::clone(front), outlet };
    filter.uris = listener.subscribe(uris).await;
    let acknowledged = notification::acknowledged(id.token(), &filter);
    Ok(answer::stream(Outgoing::driven(WAITING_FRAMES, |frames| {
        listener.run(acknowledged, initialize::listen_result(&id), frames)
    })))
}

/// A listen stream; dropping it ends its subscriptions.
struct Listener {
    front: Arc<Front>,
    outlet: Arc<Outlet>,
}

impl Listener {
    /// Subscribes to the resources; those that were confirmed in time.
    async fn subscribe(&self, uris: Vec<String>) -> Vec<String> {
        let world = self.front.relay.world();
        let (hub, outlet) = (&self.front.relay.hub, &self.outlet);
        let confirm = |ours: String| {
            let located = Hub::locate(&world, outlet.endpoint, &ours);
            async move {
                let (upstream, theirs) = located?;
                let subscribed = hub.subscribe(outlet, &upstream, &theirs, &ours);
                let subscribed = tokio::time::timeout(CONFIRM, subscribed).await;
                matches!(subscribed, Ok(Ok(()))).then_some(ours)
            }
        };
        join::all(uris.into_iter().map(confirm)).await.into_iter().flatten().collect()
    }

    async fn run(self, acknowledged: Bytes, result: Bytes, frames: FrameSender) {
        let stopping = self.front.scope.token();
        let mut next = Some(acknowledged);
        while let Some(message) = next {
            if frames.send(encode::event(&message, None)).await.is_err() {
                return;
            }
            next = loop {
                tokio::select! {
                    notification = self.outlet.next() => break notification,
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
        let _ = frames.send(encode::event(&result, None)).await; // the client may be gone
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.front.relay.hub.remove(&self.front.relay.world(), &self.outlet);
    }
}
