//! JSON-RPC 2.0 as MCP uses it: messages by position, ids, batches, error answers.

pub mod batch;
pub mod error;
pub mod id;
pub mod message;
pub mod torn;

pub use error::{Code, Rejected};
pub use id::RequestId;
pub use message::{Call, Message, Notification, Outcome, Request, Response};
