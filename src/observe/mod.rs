//! What operators see: log lines and counters. Never payload.

pub mod log;
