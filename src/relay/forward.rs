//! From a client's request to the upstream that serves it.

use crate::bridge::initialize::{Description, merge_instructions, set_level_request};
use crate::bridge::request::{self, RequestEdit, Retry, Stamp};
use crate::catalog::listing::Viewer;
use crate::catalog::param_header::ParamHeaders;
use crate::catalog::single::render_single;
use crate::mcp::capability::ServerCapabilities;
use crate::mcp::{
    ClientCapabilities, Era, Extensions, ListKind, LogLevel, Method, Revision, Routing, meta,
};
use crate::oauth::Permit;
use crate::relay::Hub;
use crate::relay::Outlet;
use crate::relay::attempt::{Again, Attempt, Original};
use crate::relay::exchange::{Ends, Exchange};
use crate::relay::fault::{self, Fault};
use crate::relay::foreign;
use crate::relay::parking::{Origin, Parking};
use crate::relay::retry;
use crate::relay::rounds::Rounds;
use crate::relay::route::{Route, gone, route, subject, target};
use crate::relay::tasks::{self, Tasks};
use crate::relay::world::{Endpoint, World};
use crate::task::within;
use crate::upstream::{CallError, Link, Outbound, Party, State, Ticket, Tickets, Upstream};
use crate::wire::json::{self, Object};
use crate::wire::jsonrpc::{Code, Rejected, Request, id};
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Up to this size a request is sent in one piece; larger ones in slices, without a copy.
const COPY_BELOW: usize = 16 << 10;

/// How long a list of all upstreams waits for those whose own list is being read anew.
const SHARED_WAIT: Duration = Duration::from_millis(500);

/// What is known of the client that asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The revision it speaks.
    pub revision: Revision,
    /// It has asked for log messages from this level on.
    pub level: Option<LogLevel>,
    /// It takes notifications with its answer.
    pub streams: bool,
    /// What it can be asked for while its request is under way.
    pub capabilities: ClientCapabilities,
    /// The extensions that it said it supports when its session began.
    pub extensions: Extensions,
    /// Its legacy session: the same number, the same session.
    pub session: Option<u64>,
    /// Where its session gets what it did not ask for (legacy only).
    pub outlet: Option<Arc<Outlet>>,
}

/// What a legacy client hears that has not said what it wants to hear.
const UNASKED: LogLevel = LogLevel::Info;

impl Caller {
    /// From which level on it gets log messages. While a legacy client has not said, the server
    /// chooses (2025-11-25 server/utilities/logging); a modern one gets none then.
    pub(super) fn hears(&self) -> Option<LogLevel> {
        let unasked = (self.revision.era() == Era::Legacy).then_some(UNASKED);
        self.level.or(unasked)
    }

    /// What it can be asked for with this request. A legacy client is asked on a stream, so nothing
    /// without one; a modern client by the answer itself.
    pub(super) fn askable(&self) -> ClientCapabilities {
        match self.revision.era() {
            Era::Legacy if !self.streams => ClientCapabilities::default(),
            _ => self.capabilities,
        }
    }
}

/// The way to the upstreams.
#[derive(Debug, Clone)]
pub struct Relay {
    worlds: watch::Receiver<Arc<World>>,
    /// Notifications outside requests.
    pub hub: Arc<Hub>,
    /// Calls that wait for their clients.
    pub(super) parking: Arc<Parking>,
    /// What clients were given of calls that go on.
    pub(super) tasks: Arc<Tasks>,
    /// Bounds what is under way.
    pub tickets: Arc<Tickets>,
}

/// One request, with who asks and where.
#[derive(Clone, Copy)]
pub(super) struct Inquiry<'a> {
    pub(super) permit: &'a Permit,
    pub(super) endpoint: Endpoint,
    pub(super) caller: &'a Caller,
    pub(super) method: Method,
    pub(super) message: &'a Request,
}

impl Relay {
    /// A relay over the worlds that are published.
    pub fn new(
        worlds: watch::Receiver<Arc<World>>,
        hub: Arc<Hub>,
        parking: Arc<Parking>,
        tasks: Arc<Tasks>,
        tickets: Arc<Tickets>,
    ) -> Self {
        Self { worlds, hub, parking, tasks, tickets }
    }

    /// The present state of everything.
    pub fn world(&self) -> Arc<World> {
        Arc::clone(&self.worlds.borrow())
    }

    /// What an endpoint can do, and what its upstreams say of how to use them; waits for
    /// upstreams that are being started.
    ///
    /// # Errors
    /// -32603 when nothing is known of the one upstream behind the endpoint.
    pub async fn describe(&self, _: &Permit, endpoint: Endpoint) -> Result<Description, Rejected> {
        self.world().settled(endpoint).await;
        let world = self.world();
        let mut description = Description::default();
        let mut starting = false;
        let mut instructions: Vec<(String, String)> = Vec::new();
        for upstream in world.behind(endpoint) {
            starting |= matches!(upstream.state(), State::Starting);
            let Some(peer) = upstream.peer() else {
                match endpoint {
                    Endpoint::Aggregate => continue,
                    Endpoint::Single(_) => return Err(unavailable(upstream)),
                }
            };
            description.capabilities =
                description.capabilities.union(&tasks::kept(upstream, &peer.capabilities));
            if endpoint != Endpoint::Aggregate {
                // several could not keep the promise of one
                description.extensions = Some((foreign::kept(upstream, &peer), peer.revision));
            }
            instructions.extend(peer.instructions.map(|text| (upstream.entry.key.clone(), text)));
        }
        if endpoint == Endpoint::Aggregate {
            // lists of the aggregate can change whatever its upstreams announce
            description.capabilities.announce_all();
            if starting {
                let everything = ServerCapabilities::everything();
                description.capabilities = description.capabilities.union(&everything);
            }
            description.instructions = merge_instructions(&instructions);
        } else {
            description.instructions = instructions.pop().map(|(_, text)| text);
        }
        Ok(description)
    }

    /// The result of a list request: a raw JSON object.
    ///
    /// # Errors
    /// -32602 for a cursor; -32601 when nothing behind the endpoint has such a list; -32603 when
    /// the one upstream behind it is not there and nothing is known of it.
    pub async fn list(
        &self,
        permit: &Permit,
        endpoint: Endpoint,
        kind: ListKind,
        caller: &Caller,
        message: &Request,
    ) -> Result<Bytes, Rejected> {
        refuse_cursor(message)?;
        let world = self.world();
        world.settled(endpoint).await;
        let bound = match endpoint {
            Endpoint::Aggregate => SHARED_WAIT,
            Endpoint::Single(_) => Duration::MAX,
        };
        let now = Instant::now();
        let behind = world.behind(endpoint).iter();
        let refreshing: Vec<_> = behind.filter_map(|u| u.freshen(kind, now)).collect();
        for refreshing in refreshing {
            refreshing.done(bound).await;
        }
        let world = self.world();
        let viewer = Viewer { revision: caller.revision, personal: permit.is_personal() };
        match endpoint {
            Endpoint::Aggregate if !world.catalog.offers(kind) && !is_expected(&world, kind) => {
                Err(no_method(kind.method()))
            }
            Endpoint::Aggregate => {
                let age =
                    |at: usize| world.upstreams.get(at).map_or(Duration::MAX, |u| u.age_of(kind));
                Ok(world.catalog.render(kind, viewer, &age))
            }
            Endpoint::Single(_) => {
                let upstream = world.behind(endpoint).first().ok_or_else(gone)?;
                single_list(upstream, kind, viewer)
            }
        }
    }

    /// Whether a request may have to wait for an upstream behind the endpoint to start.
    pub fn may_wait(&self, endpoint: Endpoint) -> bool {
        self.worlds.borrow().behind(endpoint).iter().any(|upstream| upstream.may_wait())
    }

    /// Sends a request to its upstream, or goes on with the one that it is the retry of.
    ///
    /// # Errors
    /// -32602 for what is not offered and for a retry that is none, -32601 for what the upstream does not do, -32603 when it
    /// cannot be reached or a limit is met.
    pub async fn begin(
        &self,
        permit: &Permit,
        endpoint: Endpoint,
        caller: &Caller,
        method: Method,
        message: &Request,
    ) -> Result<Exchange, Rejected> {
        let inquiry = Inquiry { permit, endpoint, caller, method, message };
        // before anything is waited for: what waits is bounded, too
        let ticket = self.tickets.admit(permit.principal(), caller.session);
        let ticket = ticket.map_err(fault::beyond)?;
        if let Some(state) = retry::state(caller, method, message) {
            return Box::pin(self.again(inquiry, state, ticket)).await;
        }
        let route = self.find(inquiry).await?;
        self.send(inquiry, route, ticket).await
    }

    /// Sends a request where it goes.
    pub(super) async fn send(
        &self,
        inquiry: Inquiry<'_>,
        route: Route,
        mut ticket: Ticket,
    ) -> Result<Exchange, Rejected> {
        let Inquiry { permit, endpoint, caller, method, .. } = inquiry;
        let origin = self.origin(inquiry, &route);
        let upstream = &route.upstream;
        enter(upstream, &mut ticket)?;
        let link = upstream.connection().await.ok_or_else(|| unavailable(upstream))?;
        if method == Method::Foreign && link.era() != caller.revision.era() {
            return Err(unavailable(upstream)); // it has come back as another
        }
        let (principal, session) = (permit.principal(), caller.session);
        let capabilities = tasks::askable(inquiry, upstream, &link);
        let party = Party { principal, session, capabilities };
        let way = upstream.way(link, &party).await;
        let (link, seat) = way.map_err(|e| refused(upstream, &e))?;
        if let Some(level) = caller.level {
            make_verbose(upstream, &link, level).await;
        }
        let mut task = self.part(inquiry, &link, &route)?;
        let plain = tasks::plain(inquiry, upstream, &link);
        let message = plain.as_ref().unwrap_or(inquiry.message);
        let failed = |e: CallError| {
            upstream.report(&e, &Arc::downgrade(&link));
            refused(upstream, &e)
        };
        let lane = seat.is_some().then_some(party);
        let mut call = link.wire().reserve().map_err(failed)?.seated(seat);
        let token = kept_token(message);
        if let Some(part) = &mut task {
            part.follow(&link, call.id(), token.as_ref());
        }
        let outbound = prepare(&route, &link, caller, method, message, None, call.id());
        let bound = upstream.entry.timeouts.idle;
        match within(bound, call.send(outbound)).await {
            Some(sent) => sent.map_err(failed)?,
            None => return Err(fault::rejected(upstream, Fault::Idle(bound))),
        }
        let ends = Ends {
            id: message.id.kept(message.call.bytes.len()),
            token,
            method,
            client: caller.revision,
            spoken: link.peer.revision,
            link: Arc::downgrade(&link),
            upstream: Arc::clone(upstream),
            prefixed: endpoint == Endpoint::Aggregate,
            level: caller.hears(),
            personal: permit.is_personal(),
            capabilities: caller.askable(),
            origin,
            outlet: caller.outlet.clone(),
            extended: has_extensions_in_common(inquiry, upstream, &link),
            task,
        };
        let may_come = Rounds::may_come(&ends);
        let again = (may_come || Again::is_of_use(&link)).then(|| {
            let (route, caller) = (route.clone(), caller.clone());
            let message = message.call.bytes.clone();
            let original = Original { route, caller, method, message, retry: None, lane };
            Again::new(Arc::new(original), &link)
        });
        let rounds = again.as_ref().filter(|_| may_come);
        let rounds = rounds.map(|again| Box::new(Rounds::new(again.clone(), ends.space())));
        let again = again.filter(|_| Again::is_of_use(&link));
        Ok(Exchange::new(ends, Attempt::new(call, again), ticket, rounds))
    }
}

impl Relay {
    /// What is kept of a request of a modern client, in case its upstream asks something.
    fn origin(&self, inquiry: Inquiry<'_>, route: &Route) -> Option<Origin> {
        let Inquiry { permit, caller, method, message, .. } = inquiry;
        if caller.revision.era() == Era::Legacy {
            return None;
        }
        Origin::of(&self.parking, permit.principal(), method, message, route.rename.as_ref())
    }

    /// Where a request goes. What is not known yet may belong to an upstream that is starting.
    pub(super) async fn find(&self, inquiry: Inquiry<'_>) -> Result<Route, Rejected> {
        let Inquiry { endpoint, caller, method, message, .. } = inquiry;
        if method.route() == Routing::Task {
            return self.find_task(inquiry);
        }
        let world = self.world();
        let subject = subject(method, message)?;
        let found = route(&world, endpoint, caller, method, message, &subject);
        // which arguments of a call are mirrored in headers says the list alone
        let is_listed = |route: &Route| route.target.is_some() || method.route() != Routing::Tool;
        if found.as_ref().is_ok_and(is_listed) || !are_starting(world.behind(endpoint)) {
            return found;
        }
        world.settled(endpoint).await;
        route(&self.world(), endpoint, caller, method, message, &subject)
    }
}

/// Whether a modern client supports an extension of the one modern upstream that it talks to: what
/// either says holds for the other then. Most upstreams have none.
fn has_extensions_in_common(inquiry: Inquiry<'_>, upstream: &Upstream, link: &Link) -> bool {
    let Inquiry { endpoint, caller, message, .. } = inquiry;
    let is_modern = (caller.revision.era(), link.era()) == (Era::Modern, Era::Modern);
    let has_any = link.peer.extensions.members().next().is_some();
    if endpoint == Endpoint::Aggregate || !is_modern || !has_any {
        return false;
    }
    let theirs = foreign::kept(upstream, &link.peer);
    let theirs = theirs.relayed(link.peer.revision, caller.revision);
    let call = &message.call;
    let declared = call.meta_value(meta::CLIENT_CAPABILITIES);
    let declared = declared.and_then(|declared| Object::read(&call.bytes, declared.span).ok());
    declared.is_some_and(|object| Extensions::read(&call.bytes, &object).meet(&theirs))
}

/// The client's progress token, which the exchange keeps.
fn kept_token(message: &Request) -> Option<Bytes> {
    let token = request::progress_token(&message.call)?;
    Some(id::kept(message.call.slice(token.span), message.call.bytes.len()))
}

/// Tells a legacy connection that log messages from `level` on are wanted. It is shared, so it is
/// never told to say less than those hear who have not asked.
pub(super) async fn make_verbose(upstream: &Upstream, link: &Link, level: LogLevel) {
    let level = level.min(UNASKED);
    if link.era() != Era::Legacy || !link.peer.capabilities.logging || !link.wants(level) {
        return;
    }
    let ask = link.ask("logging/setLevel", |id| set_level_request(id, level));
    let _ = tokio::time::timeout(upstream.entry.timeouts.list, ask).await; // it logs as before
}

/// Whether a list that nobody has shown may still come.
pub(super) fn is_expected(world: &World, kind: ListKind) -> bool {
    let promised =
        |upstream: &Arc<Upstream>| upstream.peer().is_some_and(|peer| peer.capabilities.has(kind));
    are_starting(&world.upstreams) || world.upstreams.iter().any(promised)
}

/// Every list of ours has one page, so whatever a cursor says, we never gave it
/// (MCP 2026-07-28 server/utilities/pagination, "Error Handling").
fn refuse_cursor(message: &Request) -> Result<(), Rejected> {
    match message.call.param("cursor") {
        Some(cursor) if cursor.kind != json::Kind::Null => {
            let text = "unknown cursor: every list here has one page";
            Err(Rejected::new(Code::InvalidParams, text))
        }
        _ => Ok(()),
    }
}

pub(super) fn are_starting(upstreams: &[Arc<Upstream>]) -> bool {
    upstreams.iter().any(|upstream| matches!(upstream.state(), State::Starting))
}

pub(super) fn no_method(method: Method) -> Rejected {
    Rejected::new(Code::MethodNotFound, format!("method not found: {}", method.name()))
}

pub(super) fn unavailable(upstream: &Upstream) -> Rejected {
    fault::rejected(upstream, Fault::Unavailable)
}

fn refused(upstream: &Upstream, error: &CallError) -> Rejected {
    fault::rejected(upstream, Fault::Call(error))
}

/// A place at the upstream for what has a ticket.
pub(super) fn enter(upstream: &Upstream, ticket: &mut Ticket) -> Result<(), Rejected> {
    upstream.admit(ticket).map_err(|limit| fault::rejected(upstream, Fault::Full(limit)))
}

fn single_list(upstream: &Upstream, kind: ListKind, viewer: Viewer) -> Result<Bytes, Rejected> {
    let link = upstream.link();
    let Some(listing) = upstream.listing(kind) else {
        return Err(match (link, upstream.fault(kind)) {
            (None, _) => unavailable(upstream),
            (_, None) => no_method(kind.method()),
            (_, Some(why)) => fault::rejected(upstream, Fault::Unfit(&why.to_string())),
        });
    };
    let allows = |name: &str| upstream.entry.allows_tool(name);
    let (from, age) = (upstream.provenance(), upstream.age_of(kind));
    Ok(render_single(&listing, from, viewer, age, &allows))
}

/// The request as the upstream gets it.
pub(super) fn prepare(
    route: &Route,
    link: &Link,
    caller: &Caller,
    method: Method,
    message: &Request,
    retry: Option<&Retry>,
    id: u64,
) -> Outbound {
    let token = id.to_string();
    let client = caller.revision.era();
    let stamp = (client == Era::Legacy && link.era() == Era::Modern).then(|| {
        let spoken = link.peer.revision;
        let extensions = caller.extensions.relayed(caller.revision, spoken);
        Stamp::ours(spoken, caller.level, &caller.askable(), &extensions)
    });
    let edit = RequestEdit {
        request: message,
        id: token.as_bytes(),
        progress_token: token.as_bytes(),
        client,
        upstream: link.era(),
        merged: route.merged,
        rename: route.rename.as_deref(),
        stamp: stamp.as_ref(),
        retry,
    };
    let mut splice = request::request(&edit);
    if let (Some((at, state)), Era::Modern) = (&route.state, link.era()) {
        splice.replace(*at, state); // a legacy upstream gets none
    }
    let body = match message.call.bytes.len() {
        0..COPY_BELOW => vec![splice.apply(&message.call.bytes)],
        _ => splice.chunks(&message.call.bytes),
    };
    let mirrored = link.era() == Era::Modern;
    let name = mirrored.then(|| mirrored_name(route, method, message)).flatten();
    let params = if mirrored { param_headers(route, message) } else { Vec::new() };
    let wanted = match link.era() {
        Era::Legacy => caller.hears(),
        Era::Modern => caller.level, // it is asked for no more than the client has asked for
    };
    let wants_log = wanted.is_some() && caller.streams;
    let interactive = caller.askable().because_of_a_call();
    let becomes_task = link.era() == Era::Legacy
        && method == Method::ToolsCall
        && message.call.param("task").is_some()
        && link.peer.capabilities.tasks.is_some_and(|tasks| tasks.cancel);
    let task = route.task.as_ref().map(|place| place.id.clone());
    let method = match method {
        Method::Foreign => message.call.method_name().into_owned().into(),
        known => Cow::Borrowed(known.name()),
    };
    let of_client = true;
    Outbound {
        body,
        method,
        name,
        params,
        wants_log,
        of_client,
        interactive,
        task,
        becomes_task,
        avoid: 0,
    }
}

pub(super) fn mirrored_name(route: &Route, method: Method, message: &Request) -> Option<String> {
    let member = method.mcp_name_param()?;
    match &route.rename {
        Some(token) => json::decode_string(token).ok().map(Cow::into_owned),
        None => message.call.param_text(member).map(Cow::into_owned),
    }
}

pub(super) fn param_headers(route: &Route, message: &Request) -> Vec<(String, String)> {
    let headers = route.target.as_ref().and_then(|target| target.headers.as_ref());
    let arguments = message.call.param("arguments").map(|arguments| arguments.span);
    headers.map(|headers| headers.values(&message.call.bytes, arguments)).unwrap_or_default()
}

impl Relay {
    /// The `Mcp-Param-*` annotations of a tool, as clients were shown them. Those of one that is
    /// not known yet are waited for while it may belong to an upstream that is starting.
    pub async fn param_headers(&self, endpoint: Endpoint, name: &str) -> Option<Arc<ParamHeaders>> {
        let world = self.world();
        let mut known = target(&world, endpoint, name);
        if known.is_none() && are_starting(world.behind(endpoint)) {
            world.settled(endpoint).await;
            known = target(&self.world(), endpoint, name);
        }
        known?.headers
    }

    /// Whether there is anything behind an endpoint whose level could be set. It is told with the
    /// next request that goes there ([`Self::begin`]).
    ///
    /// # Errors
    /// -32601 when nothing behind the endpoint logs.
    pub async fn check_logging(&self, permit: &Permit, endpoint: Endpoint) -> Result<(), Rejected> {
        match self.describe(permit, endpoint).await?.capabilities.logging {
            true => Ok(()),
            false => Err(no_method(Method::SetLevel)),
        }
    }
}
