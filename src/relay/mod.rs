//! Takes a permitted client request to the right upstream and its answers back.

pub mod asking;
mod attempt;
pub mod exchange;
pub mod forward;
pub mod hub;
pub mod outlet;
mod rounds;
pub mod world;

pub use asking::Asked;
pub use exchange::{Answer, Cancel, Exchange, Step};
pub use forward::{Caller, Relay};
pub use hub::Hub;
pub use outlet::Outlet;
pub use world::{Endpoint, World};
