//! One function per fuzz target; `cargo test` replays the committed seeds through the same functions.
