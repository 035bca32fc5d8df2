//! Bytes and their grammar: JSON, JSON-RPC, lines, SSE, header values (pure, fuzzed).

pub mod json;
pub mod jsonrpc;
pub mod splice;
