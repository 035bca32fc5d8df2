//! Decisions about time and load as pure state machines: backoff.

pub mod backoff;
