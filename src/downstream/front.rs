//! What serves the clients of every transport.

use crate::base::limits::Limits;
use crate::downstream::Sessions;
use crate::relay::Relay;
use crate::task::Scope;
use std::sync::Arc;

/// What serves clients, however they come.
#[derive(Debug)]
pub struct Front {
    /// The way to the upstreams.
    pub relay: Relay,
    /// Legacy sessions.
    pub sessions: Sessions,
    /// Bounds on what clients may send.
    pub limits: Limits,
    /// Ends when the gateway stops: open streams end then.
    pub scope: Arc<Scope>,
}
