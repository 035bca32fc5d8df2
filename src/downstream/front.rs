//! What serves the clients of every transport.

use crate::base::limits::Limits;
use crate::downstream::Sessions;
use crate::relay::Relay;
use crate::task::{Scope, Token};
use std::sync::Arc;
use std::time::Duration;

/// What serves clients, however they come.
#[derive(Debug)]
pub struct Front {
    /// The way to the upstreams.
    pub relay: Relay,
    /// Legacy sessions.
    pub sessions: Sessions,
    /// Bounds on what clients may send.
    pub limits: Limits,
    /// Owns what goes on without a connection; ends when requests have had their time to finish.
    pub scope: Arc<Scope>,
    /// The gateway is told to stop: nothing new begins, and streams end that nothing under way
    /// will speak on.
    pub stopping: Token,
    /// How long what is under way may take to finish then.
    pub drain: Duration,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::{Config, GatewaySettings};
    use crate::relay::{Hub, Parking, Tasks, World};
    use crate::sys::random::Random;
    use crate::upstream::Tickets;
    use tokio::sync::watch;

    /// A front without upstreams.
    pub(crate) fn bare() -> Arc<Front> {
        let config = Config {
            gateway: GatewaySettings::default(),
            entries: Vec::new(),
            rejected: Vec::new(),
        };
        let world = Arc::new(World::new(Arc::new(config), Vec::new()));
        let random = Arc::new(Random::open().expect("a random device"));
        let scope = Arc::new(Scope::root("test"));
        let parking = Arc::new(Parking::new(Arc::clone(&random), Arc::clone(&scope)));
        let tasks = Arc::new(Tasks::new(Arc::clone(&random)));
        let (worlds, hub) = (watch::channel(world).1, Arc::new(Hub::default()));
        let relay = Relay::new(worlds, hub, parking, tasks, Tickets::new(1024, 1024));
        let sessions = Sessions::new((1024, 1024), random, Arc::clone(&scope));
        let (limits, stopping, drain) = (Limits::default(), scope.token(), Duration::ZERO);
        Arc::new(Front { relay, sessions, limits, scope, stopping, drain })
    }
}
