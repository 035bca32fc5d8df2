//! Decisions about time and load as pure state machines: backoff and pace.

pub mod backoff;
pub mod pace;
