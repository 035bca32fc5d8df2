//! The operating system: child processes, signals, files, the terminal. The only row that builds a Command.
//!
//! ```text
//! gateway ── control socket ──► keeper ── control socket ──► exec stage
//!  spawn::Spawner                keeper::keep                 keeper::become_server
//!  reaper (one thread)           own session, subreaper       own process group, dies with
//!  holds the pipes' ends         tree: finds and kills        the keeper, sandbox, exec
//! ```

pub mod command;
pub mod file;
mod frame;
pub mod keeper;
pub mod limits;
pub mod random;
mod reaper;
pub mod sandbox;
pub mod signal;
pub mod spawn;
pub mod systemd;
pub mod terminal;
mod tree;
pub mod usage;
mod weight;
