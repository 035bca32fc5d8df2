//! Who gets which notification outside requests, and what upstreams are asked to report.

use crate::bridge::notification;
use crate::mcp::ListKind;
use crate::relay::known::Known;
use crate::relay::outlet::{Outlet, TooMany};
use crate::relay::world::{Endpoint, World};
use crate::upstream::state::WatchError;
use crate::upstream::{Link, Upstream};
use crate::wire::jsonrpc::{Notification, RequestId};
use crate::wire::uri;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Delivers notifications to outlets, and counts who wants which resource watched.
#[derive(Debug, Default)]
pub struct Hub {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    outlets: Vec<Weak<Outlet>>,
    /// The resources of upstreams that outlets want.
    watched: HashMap<(usize, String), Watch>,
}

#[derive(Debug, Default)]
struct Watch {
    outlets: usize,
    /// The upstream has agreed to report changes.
    agreed: bool,
}

/// A subscription that is undone unless it succeeds.
struct Undo<'a> {
    hub: &'a Hub,
    outlet: &'a Outlet,
    upstream: &'a Upstream,
    theirs: &'a str,
    ours: &'a str,
    wanted: bool,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if !self.wanted {
            self.hub.unsubscribe(self.outlet, self.upstream, self.theirs, self.ours);
        }
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the outlet gets what its filter lets through.
    pub fn add(&self, outlet: &Arc<Outlet>) {
        let mut table = self.lock();
        table.outlets.retain(|known| known.strong_count() > 0);
        table.outlets.push(Arc::downgrade(outlet));
    }

    fn outlets(&self) -> Vec<Arc<Outlet>> {
        self.lock().outlets.iter().filter_map(Weak::upgrade).collect()
    }

    /// A list of an endpoint has changed.
    pub fn list_changed(&self, endpoint: Endpoint, kind: ListKind) {
        for outlet in self.outlets().iter().filter(|outlet| outlet.endpoint == endpoint) {
            outlet.list_changed(kind);
        }
    }

    /// A resource of an upstream has changed; `notification` is what the upstream said, if it did.
    pub fn updated(&self, upstream: &Upstream, uri: &str, notification: Option<&Notification>) {
        let prefixed = uri::wrap(upstream.slug(), uri);
        for outlet in self.outlets() {
            let (name, space) = match outlet.endpoint {
                Endpoint::Single(at) if at == upstream.position => (Some(uri), None),
                Endpoint::Aggregate => (prefixed.as_deref(), Some(upstream.slug())),
                Endpoint::Single(_) => continue,
            };
            let Some(name) = name else { continue };
            let subscription = outlet.subscription.as_ref().map(RequestId::token);
            outlet.updated(name, || match notification {
                Some(notification) => {
                    let splice = notification::updated(notification, space, subscription);
                    splice.apply(&notification.call.bytes)
                }
                None => notification::resource_updated(name, subscription),
            });
        }
    }

    /// An elicitation by URL is over: the client that was given it hears of it. Of an id that was
    /// given to several, nobody can say whose it is.
    pub fn completed(&self, link: Weak<Link>, notification: &Notification) {
        let Some(id) = notification.call.param_text("elicitationId") else { return };
        let (outlets, link) = (self.outlets(), Known(link));
        let waiting = outlets.iter().filter(|outlet| outlet.was_elsewhere(&link, &id));
        if let [only] = waiting.collect::<Vec<_>>().as_slice() {
            only.deliver(format!("elicitation {id}"), notification.call.bytes.clone());
        }
    }

    /// The upstream of a resource as a client names it, and its name there.
    pub fn locate(world: &World, endpoint: Endpoint, uri: &str) -> Option<(Arc<Upstream>, String)> {
        let (at, uri) = match endpoint {
            Endpoint::Single(at) => (at, uri.to_owned()),
            Endpoint::Aggregate => world.catalog.resource(uri)?,
        };
        Some((Arc::clone(world.upstreams.get(at)?), uri))
    }

    /// Makes an outlet get the updates of a resource. When this is abandoned before it has ended,
    /// it is undone.
    ///
    /// # Errors
    /// The upstream's refusal, unless it has agreed for another outlet before.
    pub async fn subscribe(
        &self,
        outlet: &Outlet,
        upstream: &Arc<Upstream>,
        theirs: &str,
        ours: &str,
    ) -> Result<(), WatchError> {
        if !outlet.want(ours).map_err(|TooMany| WatchError::TooMany)? {
            return Ok(());
        }
        let key = (upstream.position, theirs.to_owned());
        let agreed = {
            let mut table = self.lock();
            let watch = table.watched.entry(key.clone()).or_default();
            watch.outlets += 1;
            watch.agreed
        };
        if agreed && upstream.link().is_some() {
            return Ok(());
        }
        let mut undo = Undo { hub: self, outlet, upstream, theirs, ours, wanted: false };
        upstream.watch(theirs.to_owned()).await?;
        undo.wanted = true;
        if let Some(watch) = self.lock().watched.get_mut(&key) {
            watch.agreed = true;
        }
        Ok(())
    }

    /// Ends the updates of a resource for an outlet; the last one ends them upstream.
    pub fn unsubscribe(&self, outlet: &Outlet, upstream: &Upstream, theirs: &str, ours: &str) {
        if !outlet.unwant(ours) {
            return;
        }
        let key = (upstream.position, theirs.to_owned());
        let mut table = self.lock();
        let Some(watch) = table.watched.get_mut(&key) else { return };
        watch.outlets = watch.outlets.saturating_sub(1);
        if watch.outlets == 0 {
            table.watched.remove(&key);
            // still under the lock, so that it cannot overtake the wish of one who comes now
            upstream.unwatch(theirs.to_owned());
        }
    }

    /// Ends everything an outlet gets.
    pub fn remove(&self, world: &World, outlet: &Outlet) {
        for ours in outlet.wanted() {
            if let Some((upstream, theirs)) = Self::locate(world, outlet.endpoint, &ours) {
                self.unsubscribe(outlet, &upstream, &theirs, &ours);
            }
        }
        outlet.close();
    }
}
