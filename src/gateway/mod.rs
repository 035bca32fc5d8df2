//! Puts the rows together: starts upstreams, publishes worlds, serves listeners.

pub mod builtin;
pub mod pulse;

use crate::config::{Config, Entry};
use crate::control::admission::Limit;
use crate::control::pressure::{Gauge, Usage};
use crate::downstream::http::guard::Guard;
use crate::downstream::http::sse::Lines;
use crate::downstream::{Front, Gate, Sessions, session};
use crate::gateway::pulse::Pulse;
use crate::mcp::{ListKind, Method};
use crate::net::client::Circuit;
use crate::net::listen::{ListenLimits, Listener};
use crate::relay::{Endpoint, Hub, Parking, Relay, Tasks, World, parking};
use crate::sys::random::Random;
use crate::sys::spawn::Spawner;
use crate::sys::usage;
use crate::task::{Scope, Token, within};
use crate::upstream::stdio::Fence;
use crate::upstream::supervisor::Supervisor;
use crate::upstream::tools::Tools;
use crate::upstream::{Announcement, Link, State, Tickets, Upstream};
use crate::wire::json;
use crate::wire::jsonrpc::Notification;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Most announcements of upstreams that wait to be published.
pub const MAX_ANNOUNCEMENTS: usize = 1024;

/// How long answers to requests that were given up may take to reach their clients.
pub const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How long everything may take to end, once requests have had their time to finish.
pub const STOP: Duration = Duration::from_secs(10);

/// How often it is looked at how much memory and how many descriptors we use.
pub const LOOK: Duration = Duration::from_secs(1);

/// What a gateway is made of.
pub struct Parts {
    /// The configuration.
    pub config: Config,
    /// What children may inherit.
    pub environment: BTreeMap<String, String>,
    /// What the sandboxes of children keep from them.
    pub fence: Fence,
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// Starts child processes.
    pub spawner: Spawner,
    /// Session ids and jitter.
    pub random: Arc<Random>,
}

/// A gateway that runs until it is stopped.
pub struct Gateway {
    scope: Scope,
    worlds: watch::Receiver<Arc<World>>,
    front: Arc<Front>,
    /// Listeners, which end when nothing is under way on their connections.
    doors: Arc<Scope>,
    pulse: Pulse,
    /// Calls that wait for their clients.
    parked: Arc<Scope>,
    upstreams: Scope,
}

impl Gateway {
    /// Starts everything. Listening does not wait for upstreams.
    pub fn start(parts: Parts) -> Self {
        let scope = Scope::root("gateway");
        let Parts { config, environment, fence, listeners, spawner, random } = parts;
        let config = Arc::new(config);
        let (announce, announcements) = mpsc::channel(MAX_ANNOUNCEMENTS);
        let heard = announce.downgrade();
        let made: Vec<_> = config
            .entries
            .iter()
            .enumerate()
            .map(|(at, entry)| {
                Upstream::new(at, Arc::new(entry.clone()), config.gateway.limits.in_flight)
            })
            .collect();
        let (upstreams, commands): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        let first = Arc::new(World::new(Arc::clone(&config), upstreams.clone()));
        let (published, worlds) = watch::channel(first);
        let hub = Arc::new(Hub::default());
        let tasks = Arc::new(Tasks::new(Arc::clone(&random)));
        let tools = Tools {
            spawner,
            limits: config.gateway.limits.peer(),
            // what is parked has no place, but a connection
            in_flight: config.gateway.limits.in_flight + parking::MOST,
            list_pages: config.gateway.limits.list_pages,
            announce,
            random: Arc::clone(&random),
            environment: Arc::new(environment),
            repeats: Arc::default(),
            circuits: Arc::default(),
            fence: Arc::new(fence),
            builtin: builtin::connector(worlds.clone()),
        };
        let publisher = Publisher {
            published,
            announcements,
            hub: Arc::clone(&hub),
            tasks: Arc::clone(&tasks),
        };
        scope.spawn("publisher", publisher.run());
        let running = scope.child("upstreams");
        for (upstream, commands) in upstreams.into_iter().zip(commands) {
            start_upstream(&running, upstream, commands, tools.clone());
        }
        let parked = Arc::new(scope.child("parked calls"));
        let parking = Arc::new(Parking::new(Arc::clone(&random), Arc::clone(&parked)));
        let limits = &config.gateway.limits;
        let tickets = Tickets::new(limits.in_flight_total, limits.in_flight_per_client);
        scope.spawn("gauge", gauge(Arc::clone(&tickets), limits.memory_mib, scope.token()));
        let relay = Relay::new(worlds.clone(), hub, parking, tasks, tickets);
        let doors = Arc::new(scope.child("doors"));
        let (listening, stopping) = (listeners.len(), doors.token());
        let pulse =
            Pulse { announce: heard, doors: Arc::clone(&doors), listeners: listening, stopping };
        let front = serve(&scope, &doors, &config, relay, random, listeners);
        Self { scope, worlds, front, doors, pulse, parked, upstreams: running }
    }

    /// The present state of everything.
    pub fn world(&self) -> Arc<World> {
        Arc::clone(&self.worlds.borrow())
    }

    /// Whether it is alive.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// What serves clients that come by no listener.
    pub fn front(&self) -> Arc<Front> {
        Arc::clone(&self.front)
    }

    /// Waits until the first attempt to start each upstream has ended, as long as its entry allows.
    pub async fn settled(&self) {
        for upstream in self.world().upstreams.iter() {
            upstream.settled(upstream.entry.timeouts.start).await;
        }
    }

    /// Lets in nobody any more, lets what is under way finish as long as the configuration allows,
    /// answers the rest, and stops everything; returns the names of tasks that did not end in time.
    pub async fn stop(self) -> Vec<String> {
        let bound = self.front.drain;
        self.doors.cancel();
        self.parked.cancel();
        self.front.sessions.fall_silent(); // whom we asked has no way to answer
        if within(bound, self.drained()).await.is_none() {
            log::warn!("requests did not finish within {bound:?} and are given up");
            self.upstreams.cancel(); // whoever waits for them is told
            let _ = within(LAST_ANSWERS, self.drained()).await; // they end with their tasks
        }
        self.scope.shutdown(STOP).await
    }

    /// Waits until nothing of any client is under way.
    async fn drained(&self) {
        self.doors.idle().await;
        self.parked.idle().await;
        self.front.scope.idle().await;
    }
}

fn start_upstream(
    scope: &Scope,
    upstream: Arc<Upstream>,
    commands: mpsc::Receiver<crate::upstream::supervisor::Command>,
    tools: Tools,
) {
    let Entry { key, enabled, .. } = &*upstream.entry;
    if !enabled {
        log::info!("{key}: disabled by its entry");
        upstream.set_state(State::Disabled("by its entry".into()));
        return;
    }
    let own = Arc::new(scope.child(format!("upstream {}", upstream.slug())));
    let supervisor = Supervisor::new(upstream, commands, tools, Arc::clone(&own));
    scope.spawn("supervisor", supervisor.run());
}

fn serve(
    scope: &Scope,
    doors: &Scope,
    config: &Config,
    relay: Relay,
    random: Arc<Random>,
    listeners: Vec<Listener>,
) -> Arc<Front> {
    let settings = &config.gateway;
    let sessions = (settings.limits.sessions, settings.limits.sessions_per_client);
    let adopted = Arc::new(scope.child("exchanges"));
    let front = Arc::new(Front {
        relay,
        sessions: Sessions::new(sessions, Arc::clone(&random), Arc::clone(&adopted)),
        limits: settings.limits.peer(),
        scope: adopted,
        stopping: doors.token(),
        drain: settings.drain,
    });
    scope.spawn("session sweeper", sweep(Arc::clone(&front), scope.token()));
    let guard = Guard::new(settings.allowed_hosts.clone(), settings.allowed_origins.clone());
    let lines = Lines::new(sessions, random);
    let gate = Arc::new(Gate::new(Arc::clone(&front), guard, lines));
    let connections = Arc::new(scope.child("connections"));
    for listener in listeners {
        let limits = ListenLimits {
            max_connections: settings.limits.connections,
            max_header_bytes: settings.limits.header_bytes,
            drain: settings.drain + LAST_ANSWERS,
            ..ListenLimits::default()
        };
        let stop = doors.token();
        let (gate, connections) = (Arc::clone(&gate), Arc::clone(&connections));
        doors.spawn("listener", async move {
            let stopped = async move { stop.cancelled().await };
            let spawn = move |name, work| {
                connections.spawn(name, work);
            };
            let answer = move |request| Arc::clone(&gate).serve(request);
            listener.serve(limits, stopped, spawn, answer).await;
        });
    }
    front
}

async fn sweep(front: Arc<Front>, stop: Token) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(session::SWEEP) => {}
            () = stop.cancelled() => return,
        }
        let world = front.relay.world();
        front.sessions.sweep(Instant::now(), &front.relay.hub, &world);
    }
}

/// Looks at what we use, and has new work refused while it is too much.
async fn gauge(tickets: Arc<Tickets>, memory_mib: usize, stop: Token) {
    let set = u64::try_from(memory_mib).unwrap_or(u64::MAX).saturating_mul(1 << 20);
    let half = || usage::memory().map_or(u64::MAX, |all| all / 2);
    let memory = if set == 0 { half() } else { set };
    let (mut gauge, mut before) = (Gauge::new(memory), None);
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => return,
        }
        let descriptors = usage::descriptors();
        let used = Usage { memory: usage::resident(), descriptors };
        let pressure = gauge.step(used);
        tickets.press(pressure);
        if pressure != std::mem::replace(&mut before, pressure) {
            match pressure {
                Some(short) => log::warn!("new work is refused: {}", Limit::Pressure(short)),
                None => log::info!("new work is taken on again"),
            }
        }
    }
}

/// Turns what upstreams announce into new worlds and notifications.
struct Publisher {
    published: watch::Sender<Arc<World>>,
    announcements: mpsc::Receiver<Announcement>,
    hub: Arc<Hub>,
    tasks: Arc<Tasks>,
}

impl Publisher {
    async fn run(mut self) {
        while let Some(announcement) = self.announcements.recv().await {
            match announcement {
                Announcement::Listed { upstream, announced, changed, published } => {
                    self.listed(upstream, &announced, &changed);
                    if let Some(published) = published {
                        let _ = published.send(()); // it does not wait for ever
                    }
                }
                Announcement::Updated { upstream, notification } => {
                    let uri = notification.call.param_text("uri").map(|uri| uri.into_owned());
                    if let Some(uri) = uri {
                        self.updated(upstream, &uri, Some(&notification));
                    }
                }
                Announcement::News { upstream, link, notification } => {
                    self.news(upstream, link, &notification);
                }
                Announcement::Pulse(answer) => drop(answer.send(())), // who asked may have left
                Announcement::Resubscribed { upstream, uri } => self.updated(upstream, &uri, None),
            }
        }
    }

    /// What an upstream announced is passed on as it is. Changes are also found by comparison, for
    /// upstreams that came back; on the aggregate, for those that announce nothing besides.
    fn listed(&self, upstream: usize, announced: &[ListKind], changed: &[ListKind]) {
        let before = Arc::clone(&self.published.borrow());
        let after = Arc::new(before.relisted());
        for finding in after.catalog.findings() {
            if !before.catalog.findings().contains(finding) {
                log::warn!("{finding}");
            }
        }
        self.published.send_replace(Arc::clone(&after));
        for kind in ListKind::ALL {
            let said = announced.contains(&kind);
            if said || changed.contains(&kind) && announces(&after, upstream, kind) {
                self.hub.list_changed(Endpoint::Single(upstream), kind);
            }
            if said || after.catalog.differs(&before.catalog, kind) {
                self.hub.list_changed(Endpoint::Aggregate, kind);
            }
        }
    }

    fn updated(&self, upstream: usize, uri: &str, notification: Option<&Notification>) {
        let world = Arc::clone(&self.published.borrow());
        if let Some(upstream) = world.upstreams.get(upstream) {
            self.hub.updated(upstream, uri, notification);
        }
    }
}

impl Publisher {
    /// What concerns one client alone goes there.
    fn news(&self, upstream: usize, link: Weak<Link>, notification: &Notification) {
        let world = Arc::clone(&self.published.borrow());
        match Method::parse(&notification.call.method_name()) {
            Some(Method::TaskStatus) => {
                if let Some(upstream) = world.upstreams.get(upstream) {
                    self.tasks.tell(upstream.slug(), notification);
                }
            }
            Some(Method::Progress) => self.tasks.progress(link, notification),
            Some(Method::ElicitationComplete) => self.hub.completed(link, notification),
            _ => {}
        }
    }
}

/// Whether an upstream has promised to announce changes of a list.
fn announces(world: &World, upstream: usize, kind: ListKind) -> bool {
    let peer = world.upstreams.get(upstream).and_then(|upstream| upstream.peer());
    peer.is_some_and(|peer| peer.capabilities.announces(kind))
}

/// Where several servers stand behind one entry: whether each is asked, and how much it has to do.
fn urls_json(upstream: &Upstream) -> String {
    if upstream.circuits.len() < 2 {
        return "null".to_owned();
    }
    let url = |circuit: &Circuit| {
        let state = if circuit.is_closed() { "closed" } else { "open" };
        let standing = circuit.standing();
        let wait = standing.wait.as_millis();
        format!(
            "{{\"breaker\":\"{state}\",\"retryAfterMs\":{wait},\"inFlight\":{}}}",
            standing.busy
        )
    };
    let urls: Vec<String> = upstream.circuits.iter().map(url).collect();
    format!("[{}]", urls.join(","))
}

/// One upstream as the operator sees it: a raw JSON object.
pub fn status_json(upstream: &Upstream) -> String {
    let text = |text: &str| String::from_utf8(json::string_token(text)).unwrap_or_default();
    let count = |kind| upstream.listing(kind).map_or(0, |listing| listing.entries.len());
    let protocol = upstream.link().map(|link| link.peer.revision.as_str());
    let state = upstream.state();
    let retry = state.retry_after().map(|wait| wait.as_millis().to_string());
    format!(
        "{{\"name\":{},\"slug\":{},\"phase\":{},\"state\":{},\"retryAfterMs\":{},\"protocolVersion\":{},\"sandbox\":{},\"urls\":{},\"tools\":{},\"prompts\":{},\"resources\":{}}}",
        text(&upstream.entry.key),
        text(upstream.slug()),
        text(state.name()),
        text(&state.to_string()),
        retry.as_deref().unwrap_or("null"),
        protocol.map_or("null".to_owned(), text),
        upstream.sandboxed().map_or("null".to_owned(), |said| text(&said)),
        urls_json(upstream),
        count(ListKind::Tools),
        count(ListKind::Prompts),
        count(ListKind::Resources),
    )
}
