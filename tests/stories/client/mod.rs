//! What someone with an MCP client is promised.
