//! Authorization (pure). Until it exists, the gateway serves loopback addresses only.

mod permit;

pub use permit::{Permit, Principal};
