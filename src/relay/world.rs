//! Everything a request needs to know, as one immutable value: loaded once per request, so that
//! routing and dispatch can never disagree.

use crate::catalog::merge::{Catalog, Source};
use crate::config::Config;
use crate::task::join;
use crate::upstream::{State, Upstream};
use std::sync::Arc;
use std::time::Duration;

/// How long `/mcp` waits for upstreams that are being started before it answers with the others.
pub const START_WAIT: Duration = Duration::from_secs(2);

/// Which face of the gateway a client talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/mcp`: all upstreams as one.
    Aggregate,
    /// `/mcp/{slug}`: one upstream alone, by its position.
    Single(usize),
}

/// One state of the gateway.
#[derive(Debug)]
pub struct World {
    /// Counts the states.
    pub generation: u64,
    /// The configuration in force.
    pub config: Arc<Config>,
    /// The upstreams, in the order of the configuration.
    pub upstreams: Arc<Vec<Arc<Upstream>>>,
    /// What they offer together.
    pub catalog: Arc<Catalog>,
}

impl World {
    /// The first state: nothing is known of any upstream.
    pub fn new(config: Arc<Config>, upstreams: Vec<Arc<Upstream>>) -> Self {
        let upstreams = Arc::new(upstreams);
        let catalog = Arc::new(merge(&config, &upstreams));
        Self { generation: 0, config, upstreams, catalog }
    }

    /// The next state: the lists as they are known now.
    pub fn relisted(&self) -> Self {
        let (config, upstreams) = (Arc::clone(&self.config), Arc::clone(&self.upstreams));
        let catalog = Arc::new(merge(&config, &upstreams));
        Self { generation: self.generation + 1, config, upstreams, catalog }
    }

    /// The endpoint of a slug.
    pub fn endpoint(&self, slug: &str) -> Option<Endpoint> {
        self.upstreams.iter().position(|upstream| upstream.slug() == slug).map(Endpoint::Single)
    }

    /// The upstreams behind an endpoint.
    pub fn behind(&self, endpoint: Endpoint) -> &[Arc<Upstream>] {
        match endpoint {
            Endpoint::Aggregate => &self.upstreams,
            Endpoint::Single(at) => self.upstreams.get(at..=at).unwrap_or_default(),
        }
    }

    /// Waits for upstreams that are being started: a moment for all of them together, or as long
    /// as its entry allows for one alone.
    pub async fn settled(&self, endpoint: Endpoint) {
        let upstreams = self.behind(endpoint);
        let starting = upstreams.iter().filter(|u| matches!(u.state(), State::Starting));
        // each counts from its own start: one that hangs is not waited for again and again
        let waits = starting.map(|upstream| {
            let bound = match endpoint {
                Endpoint::Aggregate => START_WAIT,
                Endpoint::Single(_) => upstream.entry.timeouts.start,
            };
            upstream.settled(bound.saturating_sub(upstream.age()))
        });
        join::all(waits).await;
    }
}

fn merge(config: &Config, upstreams: &[Arc<Upstream>]) -> Catalog {
    let offers: Vec<_> = upstreams.iter().map(|upstream| upstream.offer()).collect();
    let sources: Vec<Source<'_>> = upstreams
        .iter()
        .zip(&offers)
        .map(|(upstream, offer)| Source {
            slug: upstream.slug(),
            from: upstream.provenance(),
            offer,
            is_current: upstream.is_current(),
            enabled_tools: upstream.entry.enabled_tools.as_deref(),
            disabled_tools: &upstream.entry.disabled_tools,
        })
        .collect();
    Catalog::merge(&sources, &config.gateway.separator)
}
