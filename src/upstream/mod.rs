//! The side that faces MCP servers: transports, pending calls, handshakes, lists.
