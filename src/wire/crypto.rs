//! The one module that names ring: authenticated encryption and SHA-256.
//!
//! Pure: keys and nonces come in as arguments. Never here: a choice of algorithm by a peer.

use crate::base::secret::Secret;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{Context, SHA256};
use std::fmt;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// Bytes of a nonce. A random one may be drawn 2^32 times for one key (NIST SP 800-38D §8.3).
pub const NONCE_BYTES: usize = NONCE_LEN;

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// Seals what only its holder can open again (AES-256-GCM).
pub struct SealKey(LessSafeKey);

impl SealKey {
    /// A key of these random bytes.
    pub fn new(key: &Secret<[u8; KEY_BYTES]>) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key.expose());
        Self(LessSafeKey::new(key.expect("a key of this algorithm has so many bytes")))
    }

    /// The nonce, the encrypted text and its tag. A nonce must never be used twice.
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], context: &[u8], text: &[u8]) -> Vec<u8> {
        let mut sealed = text.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(unique, Aad::from(context), &mut sealed);
        let tag = tag.expect("a text of this length can be sealed");
        [nonce.as_slice(), &sealed, tag.as_ref()].concat()
    }

    /// What was sealed in the same context; `None` for anything else.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let (nonce, mut rest) = (Nonce::assume_unique_for_key(*nonce), rest.to_vec());
        let length = self.0.open_in_place(nonce, Aad::from(context), &mut rest).ok()?.len();
        rest.truncate(length);
        Some(rest)
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[seal key]")
    }
}

/// SHA-256 over parts that come one after another.
#[derive(Clone)]
pub struct Sha256(Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Sha256 {
    /// More bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Bytes with their length in front, so that parts cannot run into each other.
    pub fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    /// The digest of all that came.
    pub fn finish(self) -> Digest {
        let digest = self.0.finish();
        digest.as_ref().try_into().expect("a SHA-256 digest has 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealKey {
        SealKey::new(&Secret::new([byte; KEY_BYTES]))
    }

    #[test]
    fn only_what_was_sealed_opens_and_only_in_its_context() {
        let sealed = key(1).seal([7; NONCE_BYTES], b"v1", b"text");
        assert_eq!(key(1).open(b"v1", &sealed).as_deref(), Some(b"text".as_slice()));
        assert_eq!(key(2).open(b"v1", &sealed), None, "another key");
        assert_eq!(key(1).open(b"v2", &sealed), None, "another context");
        for at in 0..sealed.len() {
            let mut other = sealed.clone();
            other[at] ^= 1;
            assert_eq!(key(1).open(b"v1", &other), None, "byte {at} changed");
            assert_eq!(key(1).open(b"v1", &sealed[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn the_digest_is_sha_256() {
        let mut hash = Sha256::default();
        hash.update(b"a");
        hash.update(b"bc");
        let hex: String = hash.finish().iter().map(|byte| format!("{byte:02x}")).collect();
        // FIPS 180-4, the example of one block
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let digest = |parts: &[&[u8]]| {
            let mut hash = Sha256::default();
            parts.iter().for_each(|part| hash.part(part));
            hash.finish()
        };
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
    }
}
