//! Takes a permitted client request to the right upstream and its answers back.

pub mod answer;
pub mod asking;
mod attempt;
mod deadline;
mod elsewhere;
pub mod exchange;
pub mod fault;
mod foreign;
pub mod forward;
pub mod hub;
mod known;
pub mod outlet;
pub mod parking;
mod progress;
mod retry;
mod rounds;
pub mod route;
pub mod seal;
pub mod tasks;
pub mod world;

pub use answer::{Answer, Cancel};
pub use asking::Asked;
pub use exchange::{Exchange, Step};
pub use fault::Fault;
pub use forward::{Caller, Relay};
pub use hub::Hub;
pub use outlet::Outlet;
pub use parking::{Parking, Parting};
pub use tasks::Tasks;
pub use world::{Endpoint, World};
