//! Bytes and their grammar: JSON, JSON-RPC, lines, SSE, header values (pure, fuzzed).
