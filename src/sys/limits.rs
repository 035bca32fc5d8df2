//! Limits of the process itself.

use rustix::process::{Resource, getrlimit, setrlimit};
use std::io;

/// Most descriptors that are asked for: some programs we start look at each number below the limit.
const MOST_DESCRIPTORS: u64 = 65_536;

/// Raises the soft limit of open files as far as the hard one allows, at most to
/// [`MOST_DESCRIPTORS`]: every client, every upstream and every child takes some, and a client
/// must not be able to take the last.
///
/// # Errors
/// The system's, if it refuses.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(MOST_DESCRIPTORS).min(MOST_DESCRIPTORS);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    limit.current = Some(wanted);
    Ok(setrlimit(Resource::Nofile, limit)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_as_high_as_it_may_be() {
        raise_descriptor_limit().expect("lower than the hard limit");
        let limit = getrlimit(Resource::Nofile);
        let most = limit.maximum.unwrap_or(MOST_DESCRIPTORS).min(MOST_DESCRIPTORS);
        assert!(limit.current.is_none_or(|current| current >= most));
    }
}
