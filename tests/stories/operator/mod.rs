//! What someone who runs the gateway is promised.
