//! What someone hostile does not get: each story ends with `Logs::assert_no_secret`.
