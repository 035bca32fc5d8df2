//! Every task has an owner and a name and is joined; the only place that spawns tasks.

pub mod join;
pub mod quiet;
pub mod scope;
pub mod within;

pub use scope::{Scope, Task, Token};
pub use within::within;
