//! Methods that the specification does not have: those of extensions (MCP 2026-07-28
//! basic/versioning, "Extension Negotiation").
//!
//! A client that speaks to one upstream alone, in its era, is told which extensions it supports, and
//! may call their methods. Nothing of such a request is understood here: it gets an id and a progress
//! token of ours, can be cancelled, and its answer is the upstream's. Never here: a method that the
//! specification may mean, or any where only some tools may be called, since nobody knows what a
//! foreign method calls.

use crate::bridge::initialize::Peer;
use crate::mcp::method::may_be_foreign;
use crate::mcp::{Extensions, Method, Revision};
use crate::relay::forward::Relay;
use crate::relay::world::Endpoint;
use crate::upstream::Upstream;

/// The extensions that an upstream keeps for a client that speaks to it alone.
pub(super) fn kept(upstream: &Upstream, peer: &Peer) -> Extensions {
    let entry = &upstream.entry;
    let all = entry.enabled_tools.is_none() && entry.disabled_tools.is_empty();
    if all { peer.extensions.clone() } else { peer.extensions.apps() }
}

impl Relay {
    /// What a method name means to a client of this revision on an endpoint; `None` if nothing. A
    /// name that the specification does not have waits for an upstream that is being started.
    pub async fn method(&self, endpoint: Endpoint, client: Revision, name: &str) -> Option<Method> {
        if let Some(method) = Method::parse(name) {
            return method.client_request_in(client).then_some(method);
        }
        if endpoint == Endpoint::Aggregate || !may_be_foreign(name) {
            return None;
        }
        let world = self.world();
        world.settled(endpoint).await;
        let upstream = world.behind(endpoint).first()?;
        let peer = upstream.peer()?;
        let relayed = kept(upstream, &peer).relayed(peer.revision, client);
        (peer.revision.era() == client.era() && relayed.are_more_than_apps())
            .then_some(Method::Foreign)
    }
}
