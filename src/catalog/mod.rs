//! What all upstreams offer, merged: names, URIs, immutable snapshots (pure).
//!
//! A list is read page by page ([`page`]), kept as one [`listing`] an upstream, and shown in two
//! ways: all of them as one, on `/mcp` ([`merge`]), or one alone, on `/mcp/{name}` ([`single`]).
//! Entries are forwarded byte for byte; each edit is one that the eras or the merge make necessary.

mod annotation;
pub mod entry;
pub mod finding;
#[doc(hidden)]
pub mod fuzz;
pub mod listing;
pub mod merge;
pub mod namespace;
mod number;
pub mod page;
pub mod param_header;
pub mod single;
