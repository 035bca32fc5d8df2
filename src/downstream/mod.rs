//! The side that faces MCP clients: HTTP, sessions, streams.
