//! Random bytes from the kernel, for identifiers and secrets.
//!
//! Never here: a generator of our own, or a fallback when the kernel has none.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};

/// The kernel's random device, kept open so that it works in a sandbox and out of descriptors.
#[derive(Debug)]
pub struct Random {
    device: File,
}

impl Random {
    /// Opens the device and reads a byte from it, so that a fault shows at start.
    ///
    /// # Errors
    /// The system's, if there is no `/dev/urandom` that can be read.
    pub fn open() -> io::Result<Self> {
        let device = File::open("/dev/urandom")?;
        (&device).read_exact(&mut [0])?;
        Ok(Self { device })
    }

    /// Overwrites `bytes` with random ones.
    ///
    /// # Panics
    /// If the open device fails to read, which it never does; going on would be unsafe.
    pub fn fill(&self, bytes: &mut [u8]) {
        (&self.device).read_exact(bytes).expect("an open /dev/urandom always reads");
    }

    /// 128 random bits as 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn hex128(&self) -> String {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        bytes.iter().fold(String::with_capacity(32), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_long_and_differ() {
        let random = Random::open().expect("a random device");
        let ids: std::collections::HashSet<_> = (0..100).map(|_| random.hex128()).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
    }
}
