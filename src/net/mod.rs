//! Sockets: listening, and the one place that opens connections to peers.
//!
//! HTTP/1.1 only. [`client`] speaks to upstreams, [`listen`] accepts downstream connections, and
//! [`body`] is the one body type both write and the one way both read a whole body into memory.
//! Nothing here knows MCP, and nothing here spawns a task.

pub mod body;
pub mod client;
mod fair;

pub mod listen;
pub mod patient;
mod seats;
