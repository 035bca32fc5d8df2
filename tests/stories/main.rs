//! Stories: the real binary between real sockets and fake peers. A folder says who cares, a file's
//! name is the promise.
#![allow(clippy::panic, reason = "a test fails by panicking")]

mod attacker;
mod client;
mod fakes;
mod operator;
mod stage;
mod transparency;

#[path = "../support/mod.rs"]
mod support;
