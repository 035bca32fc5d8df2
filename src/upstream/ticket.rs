//! The rights of requests to be under way, held for as long as they are: what
//! [`crate::control::admission`] decides, with locks about it and drops that give everything back.

use crate::control::admission::{Hall, Limit, Pressure, Room, Who};
use crate::oauth::Principal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The requests of clients that are under way, at all upstreams; our own are not counted.
#[derive(Debug)]
pub struct Tickets(Mutex<Hall<Principal>>);

/// The places of one upstream.
#[derive(Debug)]
pub(super) struct Places(Mutex<Room<Principal>>);

/// The right of one request to be under way; dropping it gives it back.
#[derive(Debug)]
pub struct Ticket {
    who: Who<Principal>,
    tickets: Arc<Tickets>,
    /// Where it has a place, once it has one.
    places: Option<Arc<Places>>,
    parked: bool,
}

impl Tickets {
    /// At most `total` requests under way, and `per_client` of one principal.
    pub fn new(total: usize, per_client: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Hall::new(total, per_client))))
    }

    /// Lets one more request be under way.
    ///
    /// # Errors
    /// The limit that forbids it.
    pub fn admit(
        self: &Arc<Self>,
        principal: Principal,
        session: Option<u64>,
    ) -> Result<Ticket, Limit> {
        lock(&self.0).enter(&principal)?;
        let who = Who { principal, session };
        Ok(Ticket { who, tickets: Arc::clone(self), places: None, parked: false })
    }

    /// What we have too little of from now on.
    pub fn press(&self, pressure: Option<Pressure>) {
        lock(&self.0).press(pressure);
    }

    /// Whether new work may begin that is not a request to an upstream.
    ///
    /// # Errors
    /// What we have too little of.
    pub fn unpressed(&self) -> Result<(), Limit> {
        lock(&self.0).pressure().map_or(Ok(()), |pressure| Err(Limit::Pressure(pressure)))
    }
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Room::new(most))))
    }

    pub(super) fn are_used(&self) -> bool {
        lock(&self.0).is_busy()
    }
}

impl Ticket {
    /// Takes a place there.
    pub(super) fn enter(&mut self, places: &Arc<Places>) -> Result<(), Limit> {
        lock(&places.0).enter(&self.who, Instant::now())?;
        self.places = Some(Arc::clone(places));
        Ok(())
    }

    /// The request waits for its client: its place is free for another, until this is dropped for
    /// a new one.
    pub fn park(&mut self) {
        if !std::mem::replace(&mut self.parked, true) {
            lock(&self.tickets.0).leave(&self.who.principal);
            if let Some(places) = &self.places {
                lock(&places.0).park(&self.who);
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.parked {
            lock(&self.tickets.0).leave(&self.who.principal);
        }
        match &self.places {
            Some(places) if self.parked => lock(&places.0).unpark(),
            Some(places) => lock(&places.0).leave(&self.who),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Principal {
        Principal::named("ann")
    }

    #[test]
    fn what_is_parked_leaves_its_place_and_the_upstream_busy() {
        let (tickets, places) = (Tickets::new(1, 1), Places::new(1));
        let mut parked = tickets.admit(ann(), None).expect("there is room");
        parked.enter(&places).expect("there is a place");
        assert_eq!(tickets.admit(ann(), None).expect_err("full"), Limit::InFlightPerClient);
        parked.park();
        parked.park();
        let mut again = tickets.admit(ann(), None).expect("it is free again");
        again.enter(&places).expect("it is free again");
        drop(parked);
        assert!(places.are_used());
        drop(again);
        assert!(!places.are_used());
        let full = tickets.admit(ann(), None).expect("everything has come back");
        assert!(tickets.admit(ann(), None).is_err());
        drop(full);
    }
}
