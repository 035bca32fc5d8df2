//! Words that every row uses: time, limits, labels, secrets. Types only; nothing here reads a clock.

pub mod label;
pub mod limits;
pub mod secret;
pub mod text;
