//! What operators see: log lines and counters. Never payload.
