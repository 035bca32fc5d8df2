//! The connections of one listener, so that one which does nothing makes room for a newcomer.
//!
//! A connection is busy from the head of a request to the end of its answer, streams and all, and
//! idle otherwise. Never looks at a request.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::body::Outgoing;

/// The connections that are open.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: Mutex<HashMap<u64, Arc<Seat>>>,
    /// Counts what happens, so that what happened earlier has the lower number.
    clock: AtomicU64,
}

/// One connection.
#[derive(Debug, Default)]
struct Seat {
    requests: AtomicUsize,
    idle_since: AtomicU64,
    leave: Notify,
}

/// A connection's own seat, given up when it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    seats: Arc<Seats>,
    number: u64,
    seat: Arc<Seat>,
    _slot: OwnedSemaphorePermit,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Busy {
    seats: Arc<Seats>,
    seat: Arc<Seat>,
}

/// Makes the connection busy with a request.
#[derive(Debug, Clone)]
pub(super) struct Bell {
    seats: Arc<Seats>,
    seat: Arc<Seat>,
}

impl Seats {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// Seats a connection, which is idle at first.
    pub(super) fn take(self: &Arc<Self>, slot: OwnedSemaphorePermit) -> Taken {
        let number = self.now();
        let seat = Arc::new(Seat { idle_since: AtomicU64::new(number), ..Seat::default() });
        self.lock().insert(number, Arc::clone(&seat));
        Taken { seats: Arc::clone(self), number, seat, _slot: slot }
    }

    /// Asks who has been idle for longest to leave; false when all are busy.
    pub(super) fn make_room(&self) -> bool {
        let taken = self.lock();
        let idle = taken.values().filter(|seat| seat.is_idle());
        let longest = idle.min_by_key(|seat| seat.idle_since.load(Ordering::Relaxed));
        longest.map(|seat| seat.leave.notify_one()).is_some()
    }
}

impl Seat {
    fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }
}

impl Taken {
    /// What tells that the connection is busy.
    pub(super) fn bell(&self) -> Bell {
        Bell { seats: Arc::clone(&self.seats), seat: Arc::clone(&self.seat) }
    }

    /// Waits until it is asked to leave while it is idle. Asked within the connection's own task,
    /// in which it also becomes busy, so that no request is lost.
    pub(super) async fn unwanted(&self) {
        loop {
            self.seat.leave.notified().await;
            if self.seat.is_idle() {
                return;
            }
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.seats.lock().remove(&self.number);
    }
}

impl Bell {
    /// A request has come.
    pub(super) fn ring(&self) -> Busy {
        self.seat.requests.fetch_add(1, Ordering::Relaxed);
        Busy { seats: Arc::clone(&self.seats), seat: Arc::clone(&self.seat) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.seat.idle_since.store(self.seats.now(), Ordering::Relaxed);
        self.seat.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body of an answer; until it is written, the connection is busy.
#[derive(Debug)]
pub(super) struct Answering {
    pub(super) body: Outgoing,
    pub(super) _busy: Busy,
}

impl Body for Answering {
    type Data = Bytes;
    type Error = <Outgoing as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
