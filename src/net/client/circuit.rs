//! What is known of one origin, whoever asks it: its breaker, and how much it has to do.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::error::ClientError;
use crate::control::breaker::{Breaker, Outcome, Permit, Standing};

/// The breaker of one origin. Clones share it; it outlives the connections.
#[derive(Clone, Default)]
pub struct Circuit(Arc<Shared>);

#[derive(Default)]
struct Shared {
    breaker: Mutex<Breaker>,
    /// Requests under way, until their responses have ended.
    busy: AtomicUsize,
}

impl fmt::Debug for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Circuit").field(&self.standing()).finish()
    }
}

impl Circuit {
    /// How it stands among others that can be asked instead.
    pub fn standing(&self) -> Standing {
        let now = Instant::now();
        let breaker = self.breaker();
        let (wait, suspect) = (breaker.wait(now), breaker.is_suspect(now));
        Standing { wait, suspect, busy: self.0.busy.load(Ordering::Relaxed) }
    }

    /// Whether requests are let through as they come.
    pub fn is_closed(&self) -> bool {
        self.breaker().is_closed()
    }

    /// It has failed in a way that no single request has shown.
    pub fn blame(&self) {
        self.attempt().note(Outcome::Failed);
    }

    /// Lets a request through.
    ///
    /// # Errors
    /// [`ClientError::Open`].
    pub(super) fn pass(&self) -> Result<Pass, ClientError> {
        let permit = self.breaker().permit(Instant::now());
        permit.map(|permit| Pass::new(self, permit)).map_err(|wait| ClientError::Open { wait })
    }

    /// Lets a request through whose sender waits between attempts by itself.
    pub(super) fn attempt(&self) -> Pass {
        let permit = self.breaker().attempt(Instant::now());
        Pass::new(self, permit)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.0.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request that was let through, until its response has ended.
pub(super) struct Pass {
    circuit: Circuit,
    permit: Option<Permit>,
}

impl Pass {
    fn new(circuit: &Circuit, permit: Permit) -> Self {
        circuit.0.busy.fetch_add(1, Ordering::Relaxed);
        Self { circuit: circuit.clone(), permit: Some(permit) }
    }

    /// What came of it, once.
    pub(super) fn note(&mut self, outcome: Outcome) {
        let Some(permit) = self.permit.take() else { return };
        let dice = match outcome {
            Outcome::Failed => RandomState::new().hash_one(()),
            _ => 0, // none is thrown
        };
        let dice = u32::try_from(dice >> 32).unwrap_or(0);
        self.circuit.breaker().note(permit, outcome, Instant::now(), dice);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.note(Outcome::Unknown);
        self.circuit.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}
