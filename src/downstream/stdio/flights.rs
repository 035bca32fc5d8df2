//! The requests of one client that are under way, by their ids: on a pipe, a notification is the
//! only way to cancel one (MCP 2026-07-28 basic/transports/stdio, "Cancellation").

use crate::relay::Cancel;
use crate::wire::jsonrpc::RequestId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Requests under way. Who begins them bounds them.
#[derive(Debug, Default)]
pub struct Flights {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    flying: HashMap<u64, (RequestId, Arc<Cancel>)>,
}

/// A request under way; dropping it ends that.
#[derive(Debug)]
pub struct Flight {
    flights: Arc<Flights>,
    key: u64,
    cancel: Arc<Cancel>,
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request, so that it can be cancelled from here on.
    pub fn take_off(self: &Arc<Self>, id: &RequestId) -> Flight {
        let cancel = Arc::<Cancel>::default();
        let mut table = self.lock();
        table.next += 1;
        let key = table.next;
        table.flying.insert(key, (id.detached(), Arc::clone(&cancel)));
        drop(table);
        Flight { flights: Arc::clone(self), key, cancel }
    }

    /// Cancels a request by its id. An id that is in flight twice says nothing.
    pub fn cancel(&self, id: &RequestId) {
        let table = self.lock();
        let mut named = table.flying.values().filter(|(known, _)| known == id);
        match (named.next(), named.next()) {
            (Some((_, one)), None) => one.cancel(),
            (Some(_), Some(_)) => log::debug!("a cancellation names an id that is in flight twice"),
            (None, _) => {}
        }
    }
}

impl Flight {
    /// Does the work of the request unless it is cancelled; the work is dropped then.
    pub async fn fly<T>(self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => None,
            done = work => Some(done),
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.lock().flying.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn id(text: &'static str) -> RequestId {
        RequestId::from_token(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn exactly_the_one_that_is_named_is_cancelled() {
        let flights = Arc::new(Flights::default());
        let (one, other) = (flights.take_off(&id("1")), flights.take_off(&id("\"1\"")));
        flights.cancel(&id("2"));
        flights.cancel(&id("1"));
        one.fly(std::future::pending::<()>()).await;
        other.fly(async {}).await;
        assert!(flights.lock().flying.is_empty(), "nothing is left of them");
    }

    #[tokio::test]
    async fn an_id_in_flight_twice_cancels_neither() {
        let flights = Arc::new(Flights::default());
        let (one, other) = (flights.take_off(&id("1")), flights.take_off(&id("1")));
        flights.cancel(&id("1"));
        for flight in [one, other] {
            let mut done = false;
            flight.fly(async { done = true }).await;
            assert!(done);
        }
    }
}
