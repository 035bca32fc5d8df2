//! Sockets: listening, and the one place that opens connections to peers.
