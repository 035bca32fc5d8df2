//! Bytes and their grammar: JSON, JSON-RPC, lines, SSE, header values (pure, fuzzed).

pub mod crypto;
#[doc(hidden)]
pub mod fuzz;
pub mod header;
pub mod json;
pub mod jsonrpc;
pub mod line;
pub mod splice;
pub mod sse;
pub mod uri;
