//! Which upstream a request is for, and what it is called there.

use crate::base::label::Label;
use crate::bridge::request::{self, Reference};
use crate::catalog::merge::Target;
use crate::mcp::{Era, ListKind, Method, Revision, Routing};
use crate::relay::fault;
use crate::relay::forward::{Caller, is_expected, no_method, unavailable};
use crate::relay::tasks::Place;
use crate::relay::world::{Endpoint, World};
use crate::upstream::Upstream;
use crate::wire::json::{self, Span};
use crate::wire::jsonrpc::{Code, Rejected, Request};
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;

/// Where one request goes.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) upstream: Arc<Upstream>,
    /// The JSON string token that replaces the name or URI; `None` where it stays.
    pub(super) rename: Option<Bytes>,
    /// It goes to one of several that share the endpoint.
    pub(super) merged: bool,
    /// For `Mcp-Param-*`.
    pub(super) target: Option<Target>,
    /// What stands in the place of the `requestState` at this span.
    pub(super) state: Option<(Span, Bytes)>,
    /// The task that the request is about.
    pub(super) task: Option<Arc<Place>>,
}

pub(super) fn unknown(what: &str, name: &str) -> Rejected {
    Rejected::new(Code::InvalidParams, format!("unknown {what}: {}", Label::new(name)))
}

pub(super) fn gone() -> Rejected {
    fault::not_configured()
}

/// Where a call of a tool goes, if it is listed.
pub(super) fn target(world: &World, endpoint: Endpoint, name: &str) -> Option<Target> {
    match endpoint {
        Endpoint::Aggregate => world.catalog.tool(name).cloned(),
        Endpoint::Single(at) => world.upstreams.get(at)?.listing(ListKind::Tools)?.tool(name),
    }
}

pub(super) fn route(
    world: &World,
    endpoint: Endpoint,
    caller: &Caller,
    method: Method,
    message: &Request,
    subject: &str,
) -> Result<Route, Rejected> {
    match endpoint {
        Endpoint::Single(at) => {
            let upstream = world.upstreams.get(at).ok_or_else(gone)?;
            let is_call = method.route() == Routing::Tool;
            if is_call && !upstream.entry.allows_tool(subject) {
                return Err(unknown("tool", subject));
            }
            let target = is_call.then(|| target(world, endpoint, subject)).flatten();
            let upstream = Arc::clone(upstream);
            Ok(Route { upstream, merged: false, rename: None, target, state: None, task: None })
        }
        Endpoint::Aggregate => aggregate_route(world, caller, method, message, subject),
    }
}

/// The name or URI that a request is about.
pub(super) fn subject(method: Method, message: &Request) -> Result<Cow<'_, str>, Rejected> {
    let (member, found) = match method.route() {
        Routing::Tool | Routing::Prompt => ("params.name", message.call.param_text("name")),
        Routing::Resource => ("params.uri", message.call.param_text("uri")),
        Routing::Completion => ("params.ref", reference(message).map(|(_, text)| text)),
        _ => return Ok(Cow::Borrowed("")),
    };
    found.ok_or_else(|| {
        Rejected::new(Code::InvalidParams, format!("expected {member}, which is missing"))
    })
}

/// Whether a completion is for a prompt, and the prompt's name or the resource's URI.
pub(super) fn reference(message: &Request) -> Option<(bool, Cow<'_, str>)> {
    let (is_prompt, value) = match request::reference(&message.call)? {
        Reference::Prompt(name) => (true, name),
        Reference::Resource(uri) => (false, uri),
    };
    Some((is_prompt, value.text(&message.call.bytes)?))
}

pub(super) fn aggregate_route(
    world: &World,
    caller: &Caller,
    method: Method,
    message: &Request,
    subject: &str,
) -> Result<Route, Rejected> {
    let is_prompt = match method.route() {
        Routing::Completion => reference(message).is_some_and(|(is_prompt, _)| is_prompt),
        other => other == Routing::Prompt,
    };
    let named = match method.route() {
        Routing::Tool => Some((ListKind::Tools, world.catalog.tool(subject))),
        _ if is_prompt => Some((ListKind::Prompts, world.catalog.prompt(subject))),
        _ => None,
    };
    let (at, rename, target) = match named {
        Some((kind, target)) => {
            let target = target.ok_or_else(|| not_offered(world, method, kind, subject))?;
            (target.upstream, target.name.clone(), Some(target.clone()))
        }
        None => {
            let found = world.catalog.resource(subject);
            let (at, uri) = found.ok_or_else(|| match method.route() {
                _ if nobody_has(world, ListKind::Resources) => no_method(method),
                Routing::Resource => unknown_resource(subject, caller.revision),
                _ => unknown("resource", subject), // of a completion it is a parameter
            })?;
            (at, Bytes::from(json::string_token(&uri)), None)
        }
    };
    let upstream = world.upstreams.get(at).ok_or_else(gone)?;
    let (upstream, rename) = (Arc::clone(upstream), Some(rename));
    Ok(Route { upstream, merged: true, rename, target, state: None, task: None })
}

/// Whether requests about such entries are as unknown here as the list itself.
pub(super) fn nobody_has(world: &World, kind: ListKind) -> bool {
    !world.catalog.offers(kind) && !is_expected(world, kind)
}

/// A name that nobody offers. If it could be one of an upstream whose names are not known, that is
/// no fault of the name.
pub(super) fn not_offered(world: &World, method: Method, kind: ListKind, name: &str) -> Rejected {
    let separator = &world.config.gateway.separator;
    let is_of = |upstream: &&Arc<Upstream>| {
        let rest = name.strip_prefix(upstream.slug());
        rest.is_some_and(|rest| rest.starts_with(separator.as_str())) && upstream.link().is_none()
    };
    match world.upstreams.iter().find(is_of) {
        Some(upstream) => unavailable(upstream),
        None if nobody_has(world, kind) => no_method(method),
        None if kind == ListKind::Tools => unknown("tool", name),
        None => unknown("prompt", name),
    }
}

/// No such resource; the URI stands in `error.data` (MCP 2026-07-28 and 2025-11-25
/// server/resources, "Error Handling").
pub fn unknown_resource(uri: &str, client: Revision) -> Rejected {
    let code = match client.era() {
        Era::Modern => Code::InvalidParams,
        Era::Legacy => Code::ResourceNotFound,
    };
    let mut data = b"{\"uri\":".to_vec();
    json::encode_string(uri, &mut data);
    data.push(b'}');
    Rejected::new(code, "resource not found").with_data(data)
}
