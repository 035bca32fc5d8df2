//! What the MCP specification names: revisions, methods, capabilities (pure).
