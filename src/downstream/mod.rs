//! The side that faces MCP clients: HTTP, sessions, streams, standard input and output.

pub mod front;
pub mod http;
pub mod legacy;
pub mod modern;
pub mod replay;
pub mod session;
pub mod stdio;

pub use front::Front;
pub use http::Gate;
pub use session::{Session, Sessions};
