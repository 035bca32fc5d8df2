//! Request ids, kept as they were written (MCP basic, "Requests": a string or an integer).

use crate::wire::json;
use bytes::Bytes;
use std::fmt;
use std::hash::{Hash, Hasher};

/// Most bytes of an id as it was written: it is kept for as long as its request, and said again in
/// everything that answers it.
pub const MAX_ID: usize = 128 << 10;

/// Messages below this size, in bytes, may be kept alive by a part of them.
pub const KEPT_ALIVE: usize = 16 << 10;

/// A part of a message of `whole` bytes, for whoever keeps it longer than the message: a copy,
/// unless a copy would be no better than to keep the message.
pub fn kept(part: Bytes, whole: usize) -> Bytes {
    if whole < KEPT_ALIVE || part.len() >= KEPT_ALIVE {
        part
    } else {
        Bytes::copy_from_slice(&part)
    }
}

/// An id as its sender wrote it: a JSON string or integer token. `1` and `"1"` are different ids.
#[derive(Clone)]
pub struct RequestId(Bytes);

impl RequestId {
    /// Takes a token that a scan has found to be a string or an integer.
    pub(crate) fn from_token(token: Bytes) -> Self {
        Self(token)
    }

    /// An id of our own.
    pub fn from_number(number: u64) -> Self {
        Self(Bytes::from(number.to_string().into_bytes()))
    }

    /// The JSON token, with quotes if it is a string.
    pub fn token(&self) -> &[u8] {
        &self.0
    }

    /// The value of an id that is a plain unsigned integer.
    pub fn number(&self) -> Option<u64> {
        std::str::from_utf8(&self.0).ok()?.parse().ok()
    }

    /// A copy that does not keep the message alive that the id came in.
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// The id for whoever keeps it longer than the message of `whole` bytes, see [`kept`].
    pub fn kept(&self, whole: usize) -> Self {
        Self(kept(self.0.clone(), whole))
    }

    fn canonical(&self) -> std::borrow::Cow<'_, str> {
        match json::decode_string(&self.0) {
            Ok(text) if self.0.first() == Some(&b'"') => text,
            _ => String::from_utf8_lossy(&self.0),
        }
    }

    fn is_string(&self) -> bool {
        self.0.first() == Some(&b'"')
    }
}

impl PartialEq for RequestId {
    fn eq(&self, other: &Self) -> bool {
        let is_escaped = |id: &Self| id.is_string() && id.0.contains(&b'\\');
        self.0 == other.0
            || (self.is_string() == other.is_string()
                && (is_escaped(self) || is_escaped(other))
                && self.canonical() == other.canonical())
    }
}

impl Eq for RequestId {}

impl Hash for RequestId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.is_string().hash(state);
        self.canonical().hash(state);
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_the_same_digits_as_text_are_different_ids() {
        let id = |token: &'static str| RequestId::from_token(Bytes::from_static(token.as_bytes()));
        assert_ne!(id("1"), id("\"1\""));
        assert_eq!(id("\"a\""), id(r#""\u0061""#));
        assert_eq!(RequestId::from_number(7), id("7"));
        assert_eq!(id("\"7\"").number(), None);
    }

    #[test]
    fn an_id_keeps_no_large_message_alive() {
        let message = Bytes::from(vec![b'1'; KEPT_ALIVE]);
        let kept = RequestId::from_token(message.slice(..4)).kept(message.len());
        assert_eq!(kept.token(), b"1111");
        assert!(message.is_unique());
    }
}
