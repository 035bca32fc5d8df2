//! 1MCP: one small, auditable process that makes many MCP servers appear as one.
//!
//! Bytes come in from MCP clients (**downstream**), are checked, find their way through an
//! immutable **catalog**, and go out to MCP servers (**upstream**). The payload is opaque: the few
//! bytes that must change (an id, a name, a URI, a header) are spliced, the rest goes through
//! untouched. Everything that decides is pure; everything that waits is thin.
//!
//! ```text
//!         downstream (any era)                                        upstream (any era)
//!  clients ──HTTP/SSE──► guard ──Permit──► relay ──Exchange──► upstream ──stdio/HTTP/SSE──► servers
//!                                            │  ▲                  │
//!                                         catalog bridge       supervisor
//!                                └──────── config (one JSON file) ──┘
//! ```
//!
//! The modules stand in one total order, and a module names only what stands before it
//! (`tests/architecture.rs` keeps it so):
//!
//! ```text
//! base < wire < mcp < oauth < config < control < catalog < bridge     pure: nothing waits, reads a clock or rolls dice
//! ── purity line ──
//! observe < task < sys < net < upstream < relay < downstream < gateway < cli
//! ```

pub mod base;
pub mod bridge;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod control;
pub mod downstream;
#[doc(hidden)]
pub mod fuzzing;
pub mod gateway;
pub mod mcp;
pub mod net;
pub mod oauth;
pub mod observe;
pub mod relay;
pub mod sys;
pub mod task;
pub mod upstream;
pub mod wire;
