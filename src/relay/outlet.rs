//! Where notifications outside requests are delivered to: the GET stream of a legacy session, or
//! a modern `subscriptions/listen`.
//!
//! An outlet never grows: list changes are bits, and of the updates of one resource only one
//! waits at a time.

use crate::bridge::listen::Filter;
use crate::bridge::notification;
use crate::mcp::ListKind;
use crate::relay::elsewhere::Elsewhere;
use crate::relay::known::Known;
use crate::relay::world::Endpoint;
use crate::upstream::Link;
use crate::wire::jsonrpc::RequestId;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;

/// Most resources whose updates wait in one outlet; of more, the oldest is given up.
pub const MAX_WAITING_UPDATES: usize = 1024;

/// Most resources that one outlet wants the updates of.
pub const MAX_WANTED: usize = crate::bridge::listen::MAX_URIS;

/// Most bytes of the updates that wait in one outlet; a single larger one is not delivered.
pub const MAX_WAITING_BYTES: usize = 512 << 10;

/// Most bytes of the URIs that one outlet wants the updates of.
pub const MAX_WANTED_BYTES: usize = 256 << 10;

/// An outlet wants too many resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// A place that notifications are delivered to.
#[derive(Debug)]
pub struct Outlet {
    /// The face of the gateway that its client talks to.
    pub endpoint: Endpoint,
    /// The id of the listen request, which every notification of it carries (modern only).
    pub subscription: Option<RequestId>,
    state: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    filter: Filter,
    changed: Vec<ListKind>,
    updates: VecDeque<(String, Bytes)>,
    /// Bytes of the updates and their URIs.
    bytes: usize,
    /// What happens at the URLs that the client was given.
    elsewhere: Elsewhere,
    closed: bool,
}

impl Waiting {
    fn wait(&mut self, uri: &str, message: Bytes) {
        if let Some(at) = self.updates.iter().position(|(known, _)| known == uri) {
            let before = self.updates.remove(at);
            self.bytes -= before.map_or(0, |update| size(&update));
        }
        let update = (uri.to_owned(), message);
        let more = size(&update);
        if more > MAX_WAITING_BYTES {
            return log::debug!("an update of a resource is too large to wait for its client");
        }
        while self.updates.len() >= MAX_WAITING_UPDATES || self.bytes + more > MAX_WAITING_BYTES {
            if self.take_update().is_none() {
                break;
            }
        }
        self.bytes += more;
        self.updates.push_back(update);
    }

    fn take_update(&mut self) -> Option<Bytes> {
        let update = self.updates.pop_front()?;
        self.bytes -= size(&update);
        Some(update.1)
    }
}

fn size((uri, message): &(String, Bytes)) -> usize {
    uri.len() + message.len()
}

/// Whether a subscription to `wanted` covers `uri`: the resource itself, or one below it.
fn covers(wanted: &str, uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix(wanted) else { return false };
    rest.is_empty() || wanted.ends_with('/') || rest.starts_with(['/', '?', '#'])
}

impl Outlet {
    /// An outlet that lets through what `filter` says.
    pub fn new(endpoint: Endpoint, subscription: Option<RequestId>, filter: Filter) -> Self {
        let state = Mutex::new(Waiting { filter, ..Waiting::default() });
        Self { endpoint, subscription, state, wake: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a resource whose updates are wanted; false if it was wanted already.
    ///
    /// # Errors
    /// When it would want more than [`MAX_WANTED`] or [`MAX_WANTED_BYTES`].
    pub fn want(&self, uri: &str) -> Result<bool, TooMany> {
        let mut waiting = self.lock();
        if waiting.filter.uris.iter().any(|known| known == uri) {
            return Ok(false);
        }
        let bytes: usize = waiting.filter.uris.iter().map(String::len).sum();
        if waiting.filter.uris.len() >= MAX_WANTED || bytes + uri.len() > MAX_WANTED_BYTES {
            return Err(TooMany);
        }
        waiting.filter.uris.push(uri.to_owned());
        Ok(true)
    }

    /// Takes a resource out again; whether it was wanted.
    pub fn unwant(&self, uri: &str) -> bool {
        let mut waiting = self.lock();
        let before = waiting.filter.uris.len();
        waiting.filter.uris.retain(|known| known != uri);
        waiting.filter.uris.len() < before
    }

    /// The resources whose updates are wanted, as the client names them.
    pub fn wanted(&self) -> Vec<String> {
        self.lock().filter.uris.clone()
    }

    pub(super) fn list_changed(&self, kind: ListKind) {
        let mut waiting = self.lock();
        // resources and templates share one notification
        let waits = waiting.changed.iter().any(|known| known.changed() == kind.changed());
        if waiting.filter.wants(kind) && !waits {
            waiting.changed.push(kind);
            drop(waiting);
            self.wake.notify_one();
        }
    }

    /// An update of `uri` (as the client names it); a subscription covers what lies below it.
    pub(super) fn updated(&self, uri: &str, message: impl FnOnce() -> Bytes) {
        let mut waiting = self.lock();
        if !waiting.filter.uris.iter().any(|wanted| covers(wanted, uri)) {
            return;
        }
        waiting.wait(uri, message());
        drop(waiting);
        self.wake.notify_one();
    }

    /// A message for this client alone. Of those under one key the last is kept.
    pub(super) fn deliver(&self, key: String, message: Bytes) {
        self.lock().wait(&key, message);
        self.wake.notify_one();
    }

    /// The client was given an elicitation by URL of this connection, and is to hear of its end.
    pub(super) fn sent_elsewhere(&self, link: &Weak<Link>, id: String) {
        self.lock().elsewhere.begin(Known(Weak::clone(link)), id);
    }

    /// That elicitation is over; whether this client was given it.
    pub(super) fn was_elsewhere(&self, link: &Known<Link>, id: &str) -> bool {
        self.lock().elsewhere.end(link, id)
    }

    /// Nothing will come any more: [`Self::next`] ends when it has given what waits.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// The next notification; `None` when the outlet was closed. Cancel safe.
    pub async fn next(&self) -> Option<Bytes> {
        loop {
            if let Some(ready) = self.take() {
                return ready;
            }
            self.wake.notified().await;
        }
    }

    fn take(&self) -> Option<Option<Bytes>> {
        let mut waiting = self.lock();
        if !waiting.changed.is_empty() {
            let kind = waiting.changed.remove(0);
            let subscription = self.subscription.as_ref().map(RequestId::token);
            return Some(Some(notification::list_changed(kind, subscription)));
        }
        match waiting.take_update() {
            Some(message) => Some(Some(message)),
            None => waiting.closed.then_some(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_shares_a_notification_is_told_once() {
        let outlet = Outlet::new(Endpoint::Aggregate, None, Filter::all_lists());
        for kind in ListKind::ALL {
            outlet.list_changed(kind);
        }
        outlet.close();
        let mut told = Vec::new();
        while let Some(message) = outlet.next().await {
            told.push(message);
        }
        assert_eq!(told.len(), 3, "{told:?}");
    }

    fn wanting(uri: &str) -> Outlet {
        let outlet = Outlet::new(Endpoint::Aggregate, None, Filter::default());
        assert_eq!(outlet.want(uri), Ok(true));
        outlet
    }

    #[tokio::test]
    async fn large_updates_push_out_the_oldest() {
        let outlet = wanting("mem:/");
        let large = Bytes::from(vec![b'x'; MAX_WAITING_BYTES / 2 - 100]);
        for uri in ["mem:/a", "mem:/b", "mem:/b", "mem:/c"] {
            outlet.updated(uri, || large.clone());
        }
        outlet.updated("mem:/d", || Bytes::from(vec![b'x'; MAX_WAITING_BYTES]));
        let waiting: Vec<String> =
            outlet.lock().updates.iter().map(|(uri, _)| uri.clone()).collect();
        assert_eq!(waiting, ["mem:/b", "mem:/c"]);
        outlet.close();
        while outlet.next().await.is_some() {}
        assert_eq!(outlet.lock().bytes, 0);
    }

    #[test]
    fn wishes_are_bounded_by_their_bytes() {
        let outlet = wanting("mem:a");
        assert_eq!(outlet.want(&"u".repeat(MAX_WANTED_BYTES)), Err(TooMany));
        assert_eq!(outlet.want(&"u".repeat(MAX_WANTED_BYTES - 5)), Ok(true));
        assert_eq!(outlet.want("m"), Err(TooMany));
    }
}
