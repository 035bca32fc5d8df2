//! Decisions about time, load and confinement, as pure values and state machines.

pub mod admission;
pub mod backoff;
pub mod breaker;
pub mod confine;
pub mod lifecycle;
pub mod pace;
pub mod pressure;
