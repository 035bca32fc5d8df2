//! Keys of `_meta` that the specification reserves (MCP 2026-07-28 basic, "_meta"), and how we
//! introduce ourselves.

/// The revision of a request.
pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Who sends a request.
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// What the sender of a request can be asked for.
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The least level of log messages that a request wants.
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// The listen request that a notification belongs to.
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// Who answers.
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// The token that progress of a request carries.
pub const PROGRESS_TOKEN: &str = "progressToken";

/// The task that a message of 2025-11-25 belongs to.
pub const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";

/// The extension for tasks (`capabilities.extensions`), in the modern era.
pub const TASKS: &str = "io.modelcontextprotocol/tasks";

/// The keys that a request of the modern era carries about itself.
pub const OF_REQUEST: [&str; 4] = [PROTOCOL_VERSION, CLIENT_INFO, CLIENT_CAPABILITIES, LOG_LEVEL];

/// The members of `params` that a retry carries besides those of the first request (MCP 2026-07-28
/// basic/patterns/mrtr): what the client answers, and the state that it was given.
pub const OF_RETRY: [&str; 2] = ["inputResponses", "requestState"];

/// Our `Implementation` object, as JSON.
pub const OURSELVES: &str = concat!(
    "{\"name\":\"1mcp\",\"title\":\"1MCP\",\"version\":\"",
    env!("CARGO_PKG_VERSION"),
    "\"}"
);
