//! Tasks that clients were given ([`crate::bridge::task`]): which upstream has them, and whose they
//! are.
//!
//! Clients see random ids of ours, on every endpoint: what is shown to one client is worth nothing
//! to another, guessing is hopeless whatever ids an upstream makes, and ids of two upstreams never
//! meet. An id is good for the one it was given to: in the modern era a principal, before that a
//! session, and on the endpoint where it was given.
//!
//! It is a bounded table and no sealed text, because ids must be found both ways (an upstream tells
//! the news of a task under its own id) and an id that an upstream gives out a second time, after a
//! restart, must be taken from whom it was given to first.

use crate::base::label::Label;
use crate::bridge::task::{self, Lifetime};
use crate::config::Isolation;
use crate::mcp::{ClientCapabilities, Era, Method, Routing, ServerCapabilities};
use crate::oauth::{Permit, Principal};
use crate::relay::Outlet;
use crate::relay::forward::{Caller, Inquiry, Relay, are_starting, no_method};
use crate::relay::known::Known;
use crate::relay::progress::{Following, Progress};
use crate::relay::route::Route;
use crate::relay::world::{Endpoint, World};
use crate::sys::random::Random;
use crate::upstream::{Hold, Link, Upstream};
use crate::wire::json;
use crate::wire::jsonrpc::{Code, Notification, Rejected, Request, Response};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Most tasks that are known at once. For one more, the oldest is forgotten of whom has most.
pub const MOST_TASKS: usize = 16 << 10;

/// Most tasks of one principal or session; for one more, its oldest is forgotten.
pub const MOST_OF_ONE: usize = 1 << 10;

/// How long a task is known after its time: an upstream may still have its result.
pub const LINGER: Duration = Duration::from_secs(600);

/// Those that are over are looked for at most so often.
const SWEEP: Duration = Duration::from_secs(1);

/// Most bytes of an upstream's id.
pub const MAX_ID: usize = 1024;

/// Whom a task was given to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    principal: Principal,
    endpoint: Endpoint,
    /// A legacy session, known by its outlet.
    session: Option<Known<Outlet>>,
}

impl Owner {
    /// Who asks.
    pub fn new(permit: &Permit, endpoint: Endpoint, session: Option<&Arc<Outlet>>) -> Self {
        let session = session.map(|outlet| Known(Arc::downgrade(outlet)));
        Self { principal: permit.principal(), endpoint, session }
    }

    fn has_ended(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.0.strong_count() == 0)
    }
}

/// A task at its upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The slug of the upstream.
    pub slug: String,
    /// Its own id for the task.
    pub id: String,
}

#[derive(Debug)]
struct Bound {
    owner: Owner,
    place: Arc<Place>,
    since: Instant,
    lifetime: Lifetime,
    run: Run,
}

/// What there is of a task only until it is over.
#[derive(Debug, Default)]
pub(super) struct Run {
    progress: Option<Following>,
    lane: Option<Hold>,
}

impl Run {
    fn until(&self, end: Option<Instant>) {
        if let Some(progress) = &self.progress {
            progress.until(end);
        }
        if let Some(lane) = &self.lane {
            lane.until(end);
        }
    }
}

impl Bound {
    /// The upstream says how long it lasts.
    fn lasts(&mut self, lifetime: Lifetime) {
        self.lifetime = lifetime;
        self.run.until(lifetime.0.and_then(|time| self.since.checked_add(time)));
    }

    fn has_expired(&self, now: Instant) -> bool {
        let end = self.lifetime.0.and_then(|time| self.since.checked_add(time + LINGER));
        end.is_some_and(|end| now >= end)
    }
}

#[derive(Debug, Default)]
struct Table {
    /// By our ids.
    tasks: HashMap<String, Bound>,
    /// Our ids by those of the upstreams.
    ours: HashMap<Arc<Place>, String>,
    /// Our ids by owner, oldest first.
    owners: HashMap<Owner, VecDeque<String>>,
    /// When those that are over were looked for.
    swept: Option<Instant>,
}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.slug, &self.id).hash(state);
    }
}

/// The tasks that clients were given.
#[derive(Debug)]
pub struct Tasks {
    table: Mutex<Table>,
    progress: Arc<Progress>,
    random: Arc<Random>,
}

impl Table {
    fn forget(&mut self, ours: &str) {
        let Some(bound) = self.tasks.remove(ours) else { return };
        self.ours.remove(&bound.place);
        if let Some(known) = self.owners.get_mut(&bound.owner) {
            known.retain(|known| known != ours);
            if known.is_empty() {
                self.owners.remove(&bound.owner);
            }
        }
    }

    fn forget_where(&mut self, over: impl Fn(&Bound) -> bool) {
        let over = self.tasks.iter().filter(|(_, bound)| over(bound));
        let over: Vec<String> = over.map(|(ours, _)| ours.clone()).collect();
        over.iter().for_each(|ours| self.forget(ours));
    }

    fn forget_oldest_of(&mut self, owner: &Owner) {
        let oldest = self.owners.get(owner).and_then(|known| known.front().cloned());
        if let Some(oldest) = oldest {
            self.forget(&oldest);
        }
    }

    fn make_room(&mut self, owner: &Owner, now: Instant) {
        let count = |table: &Self| table.owners.get(owner).map_or(0, VecDeque::len);
        let full = count(self) >= MOST_OF_ONE || self.tasks.len() >= MOST_TASKS;
        if full && self.swept.is_none_or(|swept| now >= swept + SWEEP) {
            self.swept = Some(now);
            self.forget_where(|bound| bound.has_expired(now) || bound.owner.has_ended());
        }
        if count(self) >= MOST_OF_ONE {
            self.forget_oldest_of(owner);
        }
        if self.tasks.len() >= MOST_TASKS {
            let most = self.owners.iter().max_by_key(|(_, known)| known.len());
            if let Some(most) = most.map(|(owner, _)| owner.clone()) {
                self.forget_oldest_of(&most);
            }
        }
    }
}

impl Tasks {
    /// No tasks yet.
    pub fn new(random: Arc<Random>) -> Self {
        Self { table: Mutex::default(), progress: Arc::default(), random }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a task that an upstream has created; the id that its owner gets.
    fn bind(
        &self,
        owner: Owner,
        place: Place,
        lifetime: Lifetime,
        run: Run,
        now: Instant,
    ) -> String {
        let (ours, place) = (self.random.hex128(), Arc::new(place));
        let mut table = self.lock();
        if let Some(before) = table.ours.get(&place).cloned() {
            table.forget(&before);
        }
        table.make_room(&owner, now);
        table.ours.insert(Arc::clone(&place), ours.clone());
        table.owners.entry(owner.clone()).or_default().push_back(ours.clone());
        let mut bound = Bound { owner, place, since: now, lifetime, run };
        bound.lasts(lifetime);
        table.tasks.insert(ours.clone(), bound);
        ours
    }

    /// Where a task is; `None` for one that is unknown, expired, or another's.
    pub fn find(&self, owner: &Owner, ours: &str, now: Instant) -> Option<Arc<Place>> {
        let table = self.lock();
        let bound = table.tasks.get(ours)?;
        let is_theirs = bound.owner == *owner && !bound.has_expired(now);
        is_theirs.then(|| Arc::clone(&bound.place))
    }

    /// The upstream says how long the task lasts.
    fn lasts(&self, ours: &str, lifetime: Lifetime) {
        if let Some(bound) = self.lock().tasks.get_mut(ours) {
            bound.lasts(lifetime);
        }
    }

    /// The task is in a state that it does not leave.
    fn over(&self, ours: &str) {
        if let Some(bound) = self.lock().tasks.get_mut(ours) {
            bound.run = Run::default();
        }
    }

    /// Passes progress on that came outside its call, if that has become a task.
    pub fn progress(&self, link: Weak<Link>, notification: &Notification) {
        self.progress.tell(link, notification);
    }

    /// Passes the news of a task to the session that it is of (MCP 2025-11-25
    /// basic/utilities/tasks, "Task Status Notification"); of others there is nobody to tell.
    pub fn tell(&self, slug: &str, notification: &Notification) {
        let Some(id) = notification.call.param_text("taskId") else { return };
        let place = Place { slug: slug.to_owned(), id: id.into_owned() };
        let mut table = self.lock();
        let Some(ours) = table.ours.get(&place).cloned() else { return };
        let Some(bound) = table.tasks.get_mut(&ours) else { return };
        if task::has_ended(notification) {
            bound.run = Run::default();
        }
        let session = bound.owner.session.as_ref();
        let Some(outlet) = session.and_then(|session| session.0.upgrade()) else { return };
        drop(table);
        let token = json::string_token(&ours);
        outlet.deliver(ours, task::status(notification, &token));
    }
}

/// What one request has to do with tasks.
#[derive(Debug)]
pub(super) enum Part {
    /// It may become one.
    Maker { tasks: Arc<Tasks>, owner: Owner, run: Run },
    /// It is about one: its id as the client knows it, and its place.
    About { tasks: Arc<Tasks>, ours: String, place: Arc<Place> },
}

impl Part {
    /// The id that the client sees in this response, as a JSON string token; `None` if there is none.
    ///
    /// # Errors
    /// Why the response cannot be relayed.
    pub(super) fn id(
        &mut self,
        response: &Response,
        era: Era,
        slug: &str,
        method: Method,
    ) -> Result<Option<Bytes>, &'static str> {
        let ours = match self {
            Self::Maker { tasks, owner, run } => {
                let Some(created) = task::created(response, era) else { return Ok(None) };
                if created.id.len() > MAX_ID {
                    return Err("it has created a task whose id is too long");
                }
                let place = Place { slug: slug.to_owned(), id: created.id };
                let run = std::mem::take(run);
                let run = if created.over { Run::default() } else { run };
                &tasks.bind(owner.clone(), place, created.lifetime, run, Instant::now())
            }
            Self::About { tasks, ours, .. } => {
                if let Some(lifetime) = task::lasting(response, era) {
                    tasks.lasts(ours, lifetime);
                }
                if task::is_over(response, method) {
                    tasks.over(ours);
                }
                ours
            }
        };
        Ok(Some(Bytes::from(json::string_token(ours))))
    }

    /// The call goes out under this id, with this token of its client.
    pub(super) fn follow(&mut self, link: &Arc<Link>, id: u64, token: Option<&Bytes>) {
        let Self::Maker { tasks, owner, run } = self else { return };
        if let (Some(session), Some(token)) = (&owner.session, token) {
            let (session, link) = (session.clone(), Arc::downgrade(link));
            run.progress = Some(tasks.progress.follow(session, token.clone(), link, id));
        }
    }

    /// The call was answered: its lane is kept, in case it has become a task.
    pub(super) fn stays(&mut self, lane: impl FnOnce() -> Option<Hold>) {
        if let Self::Maker { run, .. } = self {
            run.lane = lane();
        }
    }

    /// Both ids of the task that it is about, as JSON string tokens: the client's, the upstream's.
    pub(super) fn ids(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        match self {
            Self::Maker { .. } => None,
            Self::About { ours, place, .. } => {
                Some((json::string_token(ours), json::string_token(&place.id)))
            }
        }
    }

    /// The upstream tells news of a task on the stream of this request.
    pub(super) fn tell(&self, slug: &str, notification: &Notification) {
        let (Self::Maker { tasks, .. } | Self::About { tasks, .. }) = self;
        tasks.tell(slug, notification);
    }
}

/// What of its capabilities an upstream can keep. One that has a connection for each call loses its
/// tasks when the call has ended.
pub(super) fn kept(upstream: &Upstream, said: &ServerCapabilities) -> ServerCapabilities {
    match upstream.entry.isolation {
        Isolation::Call => ServerCapabilities { tasks: None, task_extension: false, ..*said },
        _ => *said,
    }
}

/// Whether calls through this connection can become tasks of the caller's kind.
fn are_offered(upstream: &Upstream, link: &Link, caller: &Caller) -> bool {
    let (peer, offered) = (&link.peer, kept(upstream, &link.peer.capabilities));
    match (caller.revision.era(), peer.revision.era()) {
        (Era::Modern, Era::Modern) => offered.task_extension,
        (Era::Legacy, Era::Legacy) => caller.revision.has_tasks() && offered.tasks.is_some(),
        _ => false,
    }
}

/// What the client can be asked for, for the choice of a connection. Of those that take any call
/// nobody could say which one has the task: so tasks are on the one that all share, where a question
/// that could concern several clients is put to none.
pub(super) fn askable(
    inquiry: Inquiry<'_>,
    upstream: &Upstream,
    link: &Link,
) -> ClientCapabilities {
    let Inquiry { caller, method, message, .. } = inquiry;
    let is_task = || match method.route() {
        Routing::Task => true,
        Routing::Tool => {
            message.call.param("task").is_some() && are_offered(upstream, link, caller)
        }
        _ => false,
    };
    match upstream.entry.isolation {
        Isolation::Shared if is_task() => ClientCapabilities::default(),
        _ => caller.capabilities,
    }
}

/// The call as any other, where it wishes to be a task of 2025-11-25 and cannot be, or where its
/// upstream could make one of it that would be lost. Otherwise modern upstreams pass the wish over by
/// themselves, and know whether they have the extension.
pub(super) fn plain(inquiry: Inquiry<'_>, upstream: &Upstream, link: &Link) -> Option<Request> {
    let Inquiry { caller, method, message, .. } = inquiry;
    if method != Method::ToolsCall || are_offered(upstream, link, caller) {
        return None;
    }
    match (caller.revision.era(), link.era()) {
        (Era::Modern, Era::Modern) => {
            link.peer.capabilities.task_extension.then(|| task::undeclaring(message))?
        }
        _ => message.call.param("task").is_some().then(|| task::plain(message))?,
    }
}

fn owner(inquiry: Inquiry<'_>) -> Owner {
    Owner::new(inquiry.permit, inquiry.endpoint, inquiry.caller.outlet.as_ref())
}

fn unknown(id: &str) -> Rejected {
    Rejected::new(Code::InvalidParams, format!("unknown task: {}", Label::new(id)))
}

impl Relay {
    /// Where a request about a task goes.
    ///
    /// # Errors
    /// -32601 where there are no tasks, -32021 for a modern client that has not declared them,
    /// -32602 for a task that is not one of the owner's.
    pub(super) fn find_task(&self, inquiry: Inquiry<'_>) -> Result<Route, Rejected> {
        let Inquiry { caller, method, message, .. } = inquiry;
        let (world, owner, era) = (self.world(), owner(inquiry), caller.revision.era());
        let id = message.call.param_text("taskId");
        let place = id.as_deref().and_then(|id| self.tasks.find(&owner, id, Instant::now()));
        if place.is_none() && !exist(&world, owner.endpoint, era) {
            return Err(no_method(method));
        }
        if era == Era::Modern && !task::declares(&message.call) {
            return Err(task::undeclared());
        }
        let expected =
            || Rejected::new(Code::InvalidParams, "expected params.taskId to be the id of a task");
        let id = id.ok_or_else(expected)?;
        let place = place.ok_or_else(|| unknown(&id))?;
        let mut behind = world.behind(owner.endpoint).iter();
        let upstream = behind.find(|upstream| upstream.slug() == place.slug);
        let upstream = Arc::clone(upstream.ok_or_else(|| unknown(&id))?);
        let rename = Some(Bytes::from(json::string_token(&place.id)));
        let merged = owner.endpoint == Endpoint::Aggregate;
        Ok(Route { upstream, merged, rename, target: None, state: None, task: Some(place) })
    }

    /// What a request that goes through this connection has to do with tasks.
    ///
    /// # Errors
    /// -32602 for a task of an upstream that meanwhile speaks another revision.
    pub(super) fn part(
        &self,
        inquiry: Inquiry<'_>,
        link: &Link,
        route: &Route,
    ) -> Result<Option<Box<Part>>, Rejected> {
        let Inquiry { caller, method, message, .. } = inquiry;
        let tasks = || Arc::clone(&self.tasks);
        if let Some(place) = &route.task {
            let ours = message.call.param_text("taskId").unwrap_or_default().into_owned();
            if !are_offered(&route.upstream, link, caller) {
                return Err(unknown(&ours));
            }
            let place = Arc::clone(place);
            return Ok(Some(Box::new(Part::About { tasks: tasks(), ours, place })));
        }
        if method != Method::ToolsCall || !are_offered(&route.upstream, link, caller) {
            return Ok(None);
        }
        let may = match caller.revision.era() {
            Era::Modern => task::declares(&message.call),
            Era::Legacy => message.call.param("task").is_some(),
        };
        Ok(may.then(|| {
            Box::new(Part::Maker { tasks: tasks(), owner: owner(inquiry), run: Run::default() })
        }))
    }

    /// Whether modern clients find tasks behind an endpoint.
    pub fn has_tasks(&self, endpoint: Endpoint) -> bool {
        exist(&self.world(), endpoint, Era::Modern)
    }
}

/// Whether there are tasks of this era behind an endpoint, or may be.
fn exist(world: &World, endpoint: Endpoint, era: Era) -> bool {
    let has = |capabilities: ServerCapabilities| match era {
        Era::Modern => capabilities.task_extension,
        Era::Legacy => capabilities.tasks.is_some(),
    };
    let said = |upstream: &Upstream| Some(kept(upstream, &upstream.peer()?.capabilities));
    let behind = world.behind(endpoint);
    are_starting(behind) || behind.iter().any(|upstream| said(upstream).is_some_and(has))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::listen::Filter;

    fn tasks() -> Tasks {
        Tasks::new(Arc::new(Random::open().expect("a random device")))
    }

    fn owner(name: &'static str) -> Owner {
        Owner { principal: Principal::named(name), endpoint: Endpoint::Aggregate, session: None }
    }

    fn place(slug: &str, id: &str) -> Place {
        Place { slug: slug.into(), id: id.into() }
    }

    const FOREVER: Lifetime = Lifetime(None);

    #[test]
    fn a_task_is_found_by_its_owner_alone() {
        let (tasks, now) = (tasks(), Instant::now());
        let at = place("a", "1");
        let ours = tasks.bind(owner("ann"), at.clone(), FOREVER, Run::default(), now);
        let found = |owner: &Owner, id: &str| tasks.find(owner, id, now).map(|p| (*p).clone());
        assert_eq!(found(&owner("ann"), &ours), Some(at));
        assert_eq!(found(&owner("bob"), &ours), None, "another principal");
        let elsewhere = Owner { endpoint: Endpoint::Single(0), ..owner("ann") };
        assert_eq!(found(&elsewhere, &ours), None, "another endpoint");
        for other in ["1", "", &ours[1..], &ours.to_uppercase()] {
            assert_eq!(found(&owner("ann"), other), None, "{other}");
        }
        let outlet = Arc::new(Outlet::new(Endpoint::Aggregate, None, Filter::default()));
        let permit = Permit::dangerously_for_anyone_on_this_machine();
        let session = Owner::new(&permit, Endpoint::Aggregate, Some(&outlet));
        let ours = tasks.bind(session.clone(), place("a", "2"), FOREVER, Run::default(), now);
        assert!(found(&session, &ours).is_some());
        assert!(found(&Owner::new(&permit, Endpoint::Aggregate, None), &ours).is_none());
        let another = Arc::new(Outlet::new(Endpoint::Aggregate, None, Filter::default()));
        let another = Owner::new(&permit, Endpoint::Aggregate, Some(&another));
        assert!(found(&another, &ours).is_none(), "another session");
    }

    #[test]
    fn an_id_that_an_upstream_gives_again_is_taken_from_whom_it_was_given_to_first() {
        let (tasks, now) = (tasks(), Instant::now());
        let first = tasks.bind(owner("ann"), place("a", "1"), FOREVER, Run::default(), now);
        let other = tasks.bind(owner("ann"), place("b", "1"), FOREVER, Run::default(), now);
        let second = tasks.bind(owner("bob"), place("a", "1"), FOREVER, Run::default(), now);
        assert!(tasks.find(&owner("ann"), &first, now).is_none());
        assert!(tasks.find(&owner("ann"), &other, now).is_some(), "of another upstream");
        assert!(tasks.find(&owner("bob"), &second, now).is_some());
    }

    #[test]
    fn what_has_lasted_its_time_is_unknown_after_a_while() {
        let (tasks, now) = (tasks(), Instant::now());
        let second = Duration::from_secs(1);
        let ours =
            tasks.bind(owner("ann"), place("a", "1"), Lifetime(Some(second)), Run::default(), now);
        let known = |at| tasks.find(&owner("ann"), &ours, at).is_some();
        assert!(known(now + LINGER));
        assert!(!known(now + LINGER + second));
        tasks.lasts(&ours, Lifetime(Some(2 * second)));
        assert!(known(now + LINGER + second));
        tasks.lasts(&ours, FOREVER);
        assert!(known(now + 1000 * LINGER));
    }

    #[test]
    fn a_flood_of_tasks_costs_its_owner_alone() {
        let (tasks, now) = (tasks(), Instant::now());
        let mut kept = tasks.bind(owner("ann"), place("a", "kept"), FOREVER, Run::default(), now);
        let mut ids = (0..).map(|n: u32| n.to_string());
        let first = tasks.bind(owner("bob"), place("a", "first"), FOREVER, Run::default(), now);
        for id in ids.by_ref().take(MOST_OF_ONE) {
            tasks.bind(owner("bob"), place("a", &id), FOREVER, Run::default(), now);
        }
        assert!(tasks.find(&owner("bob"), &first, now).is_none(), "its oldest");
        assert!(tasks.find(&owner("ann"), &kept, now).is_some());
        assert_eq!(tasks.lock().tasks.len(), MOST_OF_ONE + 1);
        let outlets: Vec<_> = (0..2 * MOST_TASKS / MOST_OF_ONE)
            .map(|_| Arc::new(Outlet::new(Endpoint::Aggregate, None, Filter::default())))
            .collect();
        let permit = Permit::dangerously_for_anyone_on_this_machine();
        for outlet in &outlets {
            let owner = Owner::new(&permit, Endpoint::Aggregate, Some(outlet));
            for id in ids.by_ref().take(MOST_OF_ONE) {
                tasks.bind(owner.clone(), place("a", &id), FOREVER, Run::default(), now);
            }
        }
        assert!(tasks.find(&owner("ann"), &kept, now).is_some());
        let table = tasks.lock();
        let counted: usize = table.owners.values().map(VecDeque::len).sum();
        assert_eq!(
            (table.tasks.len(), table.ours.len(), counted),
            (MOST_TASKS, MOST_TASKS, MOST_TASKS)
        );
        drop(table);
        drop(outlets);
        let now = now + SWEEP;
        kept = tasks.bind(owner("ann"), place("a", "again"), FOREVER, Run::default(), now);
        assert!(tasks.find(&owner("ann"), &kept, now).is_some());
        assert!(tasks.lock().tasks.len() < MOST_TASKS / 2, "those of ended sessions are gone");
    }
}
