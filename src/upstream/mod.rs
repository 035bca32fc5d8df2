//! The side that faces MCP servers: transports, pending calls, handshakes, lists.
//!
//! An [`Upstream`] is one entry of the configuration for as long as it is configured; a
//! [`Link`] is one connection of it, and comes and goes. Nothing here knows who asks.

pub mod call;
mod causes;
mod connection;
pub mod events;
pub mod health;
pub mod http;
mod inbox;
mod lane;
pub mod lanes;
pub mod lines;
pub mod link;
pub mod listing;
mod mirror;
pub mod pending;
pub mod post;
pub mod replicas;
pub mod state;
pub mod status;
pub mod stdio;
pub mod supervisor;
pub mod ticket;
pub mod tools;
pub mod watching;

pub use call::{Call, CallError, Event, Outbound};
pub use lanes::{Hold, Party, Seat};
pub use link::Link;
pub use state::{Announcement, Upstream};
pub use status::State;
pub use ticket::{Ticket, Tickets};

use crate::bridge::question::Declined;
use crate::wire::jsonrpc::{Rejected, Request};
use bytes::Bytes;

/// The answer to a request of an upstream with which nobody is asked.
fn decline(request: &Request, Declined { code, why }: Declined) -> Bytes {
    Rejected::new(code, why).with_id(Some(request.id.clone())).to_json()
}
