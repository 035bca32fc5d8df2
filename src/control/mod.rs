//! Decisions about time and load as pure state machines: lifecycle, backoff and pace.

pub mod backoff;
pub mod lifecycle;
pub mod pace;
