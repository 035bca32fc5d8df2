//! The side that faces MCP servers: transports, pending calls, handshakes, lists.
//!
//! An [`Upstream`] is one entry of the configuration for as long as it is configured; a
//! [`Link`] is one connection of it, and comes and goes. Nothing here knows who asks.

pub mod call;
pub mod events;
pub mod http;
pub mod lines;
pub mod link;
pub mod listing;
mod mirror;
pub mod pending;
pub mod state;
pub mod stdio;
pub mod supervisor;
pub mod tools;
pub mod watching;

pub use call::{Call, CallError, Event, Outbound};
pub use link::Link;
pub use state::{Announcement, State, Ticket, Upstream};

use crate::wire::jsonrpc::{Code, Rejected, Request};
use bytes::Bytes;

/// The answer to a request of an upstream that cannot be attributed to one caller.
fn decline(request: &Request) -> Bytes {
    Rejected::new(
        Code::MethodNotFound,
        "no client can be asked through this connection: it is shared by several",
    )
    .with_id(Some(request.id.clone()))
    .to_json()
}
