//! Puts the rows together: starts upstreams, publishes worlds, opens listeners.
