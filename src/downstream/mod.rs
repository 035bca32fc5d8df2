//! The side that faces MCP clients: HTTP, sessions, streams.

pub mod http;
pub mod legacy;
pub mod replay;
pub mod session;

pub use http::Front;
pub use session::{Session, Sessions};
