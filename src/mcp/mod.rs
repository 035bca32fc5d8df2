//! What the MCP specification names: revisions, methods, capabilities (pure).

pub mod capability;
pub mod client;
pub mod extension;
pub mod level;
pub mod meta;
pub mod method;
pub mod revision;
pub mod trace;

pub use capability::ServerCapabilities;
pub use client::ClientCapabilities;
pub use extension::Extensions;
pub use level::LogLevel;
pub use method::{ListKind, Method, Routing};
pub use revision::{Era, Revision};
