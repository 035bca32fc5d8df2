//! The one configuration file: bytes in, a validated immutable value and a list of faults out (pure).
