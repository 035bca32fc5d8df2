//! What is asked of a request of MCP 2026-07-28 whichever transport it comes by, and what serves it:
//! stateless, each request with its own metadata.

use crate::base::label::Label;
use crate::bridge::{initialize, listen, notification, task};
use crate::downstream::Front;
use crate::mcp::{ClientCapabilities, Extensions, LogLevel, Method, Revision, Routing, meta};
use crate::oauth::Permit;
use crate::relay::fault::beyond;
use crate::relay::{Answer, Caller, Endpoint, Exchange, Hub, Outlet};
use crate::task::join;
use crate::wire::json::{self, Kind, Object};
use crate::wire::jsonrpc::{Call, Code, Rejected, Request, RequestId};
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// How long the acknowledgement of a listen waits for the confirmations of upstreams.
pub const CONFIRM: Duration = Duration::from_millis(500);

/// How a request is served.
#[allow(clippy::large_enum_variant, reason = "it is moved once, and a box would cost every call")]
pub enum Served {
    /// We know the answer.
    Now(Answer),
    /// An upstream will.
    Later(Exchange),
    /// It stays open; its client is told this first.
    Listening(Listener, Bytes),
}

/// Serves a request that has passed the checks; `streams` says whether the client takes more than
/// the answer.
///
/// # Errors
/// What the request is answered with instead.
pub async fn serve(
    front: &Arc<Front>,
    permit: &Permit,
    endpoint: Endpoint,
    streams: bool,
    method: Method,
    request: &Request,
) -> Result<Served, Rejected> {
    let caller = caller(method, request, streams)?;
    let result = match method.route() {
        Routing::Discover => discover(front, permit, endpoint).await?.into(),
        Routing::List(kind) => front.relay.list(permit, endpoint, kind, &caller, request).await?,
        Routing::Listen => {
            front.relay.tickets.unpressed().map_err(beyond)?;
            let (listener, first) = Listener::open(front, permit, endpoint, request).await?;
            return Ok(Served::Listening(listener, first));
        }
        _ => {
            let exchange = front.relay.begin(permit, endpoint, &caller, method, request).await?;
            return Ok(Served::Later(exchange));
        }
    };
    Ok(Served::Now(Answer::result(&request.id, result)))
}

fn caller(method: Method, request: &Request, streams: bool) -> Result<Caller, Rejected> {
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
    let (revision, session, outlet) = (Revision::MODERN, None, None);
    // those of a modern client stand in its request, which stays as it is
    let extensions = Extensions::default();
    Ok(Caller { revision, level, streams, capabilities, extensions, session, outlet })
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

/// The version that the request says it is of.
///
/// # Errors
/// -32602 when it lacks what every request carries.
pub fn required_meta(request: &Request) -> Result<Cow<'_, str>, Rejected> {
    let version = request.call.meta_value(meta::PROTOCOL_VERSION);
    let version = version.and_then(|version| version.text(&request.call.bytes));
    let version = version.ok_or_else(|| missing(meta::PROTOCOL_VERSION, "a string"))?;
    let capabilities = request.call.meta_value(meta::CLIENT_CAPABILITIES);
    match capabilities.map(|value| value.kind) {
        Some(Kind::Object) => Ok(version),
        _ => Err(missing(meta::CLIENT_CAPABILITIES, "an object")),
    }
}

/// The method that `name` stands for, in a request that says it is of `version`.
///
/// # Errors
/// Another version, or a method that it does not know, each with its HTTP status.
pub fn known(version: &str, name: &str, method: Option<Method>) -> Result<Method, (u16, Rejected)> {
    if Revision::parse(version) != Some(Revision::MODERN) {
        return Err((400, unsupported(version)));
    }
    method.ok_or_else(|| {
        let text = format!("method not found: {}", Label::new(name));
        (404, Rejected::new(Code::MethodNotFound, text))
    })
}

fn missing(key: &str, kind: &str) -> Rejected {
    Rejected::new(Code::InvalidParams, format!("expected params._meta[{key:?}] to be {kind}"))
}

/// The answer to another version (MCP 2026-07-28 basic/versioning, "Protocol Version Negotiation").
pub fn unsupported(requested: &str) -> Rejected {
    let mut data = format!("{{\"supported\":[\"{}\"],\"requested\":", Revision::MODERN.as_str());
    data.push_str(&String::from_utf8_lossy(&json::string_token(requested)));
    data.push('}');
    Rejected::new(Code::UnsupportedVersion, "unsupported protocol version").with_data(data)
}

async fn discover(front: &Front, permit: &Permit, endpoint: Endpoint) -> Result<Vec<u8>, Rejected> {
    let description = front.relay.describe(permit, endpoint).await?;
    Ok(initialize::discover_result(&description))
}

/// A listen stream; dropping it ends its subscriptions.
pub struct Listener {
    front: Arc<Front>,
    outlet: Arc<Outlet>,
    /// The id of the listen request.
    id: RequestId,
}

impl Listener {
    /// Begins to listen; what the client is to get first comes along.
    async fn open(
        front: &Arc<Front>,
        permit: &Permit,
        endpoint: Endpoint,
        request: &Request,
    ) -> Result<(Self, Bytes), Rejected> {
        // news of tasks are not relayed, and so not acknowledged: clients look for themselves
        let wants_tasks = task::is_listened_for(&request.call) && front.relay.has_tasks(endpoint);
        if wants_tasks && !task::declares(&request.call) {
            return Err(task::undeclared());
        }
        let mut filter = listen::read_filter(&request.call)?;
        let capabilities = front.relay.describe(permit, endpoint).await?.capabilities;
        filter.restrict(&capabilities);
        let uris = std::mem::take(&mut filter.uris);
        let id = request.id.detached();
        let outlet = Arc::new(Outlet::new(endpoint, Some(id.clone()), filter.clone()));
        front.relay.hub.add(&outlet);
        let listener = Self { front: Arc::clone(front), outlet, id };
        filter.uris = listener.subscribe(uris).await;
        let acknowledged = notification::acknowledged(listener.id.token(), &filter);
        Ok((listener, acknowledged))
    }

    /// The id of the listen request.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// The next notification; `None` when there will be none. Cancel safe.
    pub async fn next(&self) -> Option<Bytes> {
        self.outlet.next().await
    }

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

    /// Ends the stream from our side; what its client is told last.
    pub fn end(self) -> Bytes {
        initialize::listen_result(&self.id)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.front.relay.hub.remove(&self.front.relay.world(), &self.outlet);
    }
}
