//! Decisions about time and load as pure state machines: backoff, lifecycle.
