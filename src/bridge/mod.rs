//! Legacy to modern and back: a message and two revisions come in, edited bytes come out (pure).
//!
//! The edits are those that the protocol demands and no others: ids and progress tokens always;
//! names and URIs where several upstreams share one endpoint; protocol metadata and error codes
//! where the eras differ. Everything else stays byte for byte.

pub mod canonical;
mod content;
mod fit;
pub(crate) mod fuzz;
pub mod initialize;
pub mod input;
pub mod listen;
pub mod notification;
pub mod question;
pub mod request;
pub mod required;
pub mod response;
pub mod task;
mod tree;
