//! The values of `Mcp-Name` and `Mcp-Param-*` (MCP 2026-07-28 basic/transports/streamable-http,
//! "Value Encoding"), and what a header name may look like.
//!
//! A value that plain ASCII cannot carry is written as `=?base64?…?=`. Decoding is strict, because a
//! value that two parties read differently is how a check is passed by: canonical base64 only, and
//! the markers exactly as the specification writes them. Comparing the value with the body, and
//! trusting neither alone, is the caller's business.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;
use std::fmt;

const OPEN: &str = "=?base64?";
const CLOSE: &str = "?=";

/// Why a header value cannot be read: HTTP 400 and JSON-RPC -32020, `HeaderMismatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderValueError {
    /// It holds a byte outside visible ASCII, space and tab.
    InvalidByte,
    /// It has the base64 markers but not canonical base64 between them.
    InvalidBase64,
    /// Its base64 does not hold UTF-8.
    InvalidUtf8,
}

impl fmt::Display for HeaderValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidByte => "header value holds a byte that is not visible ascii",
            Self::InvalidBase64 => "header value is marked as base64 but is not",
            Self::InvalidUtf8 => "header value is base64 of bytes that are not utf-8",
        })
    }
}

impl std::error::Error for HeaderValueError {}

/// Writes a value so that any HTTP party carries it unharmed. Borrowed when it can go as it is.
///
/// A tab goes as base64 as well: the specification lists it both as a safe and as a control
/// character, and base64 is right under either reading.
pub fn encode(value: &str) -> Cow<'_, str> {
    let visible = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let padded = value.starts_with(' ') || value.ends_with(' ');
    if visible && !padded && !is_marked(value) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(format!("{OPEN}{}{CLOSE}", STANDARD.encode(value)))
}

/// Reads a value as it stood on the wire; white space around it does not count (RFC 9110 §5.5).
///
/// # Errors
/// See [`HeaderValueError`].
pub fn decode(raw: &[u8]) -> Result<Cow<'_, str>, HeaderValueError> {
    if !raw.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return Err(HeaderValueError::InvalidByte);
    }
    let value = std::str::from_utf8(raw).map_err(|_| HeaderValueError::InvalidByte)?;
    let value = value.trim_matches([' ', '\t']);
    if !is_marked(value) {
        return Ok(Cow::Borrowed(value));
    }
    // The markers of `=?base64?=` share a byte, so that there is nothing between them to decode.
    let inner = value.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(CLOSE));
    let inner = inner.ok_or(HeaderValueError::InvalidBase64)?;
    let bytes = STANDARD.decode(inner).map_err(|_| HeaderValueError::InvalidBase64)?;
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| HeaderValueError::InvalidUtf8)
}

/// Whether a value "starts with `=?base64?` and ends with `?=`", in the specification's words.
fn is_marked(value: &str) -> bool {
    value.starts_with(OPEN) && value.ends_with(CLOSE)
}

/// Whether a text may be a header name, or part of one: `1*tchar` (RFC 9110 §5.6.2).
pub fn is_token(text: &str) -> bool {
    let tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(tchar)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_table_of_the_specification() {
        let table = [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ];
        for (value, wire) in table {
            assert_eq!(encode(value), wire);
            assert_eq!(decode(wire.as_bytes()).as_deref(), Ok(value));
        }
    }

    #[test]
    fn plain_values_stay_plain() {
        for value in ["", "a b", "=?base64?open", "close?=", "=?BASE64?QQ==?=", "=?utf-8?QQ==?="] {
            assert!(matches!(encode(value), Cow::Borrowed(_)), "{value:?}");
            assert_eq!(decode(value.as_bytes()).as_deref(), Ok(value));
        }
    }

    #[test]
    fn doubtful_values_are_wrapped() {
        for value in ["a\tb", "\t", " ", "\0", "\u{7f}", "é", "=?base64?=", "=?base64??="] {
            let wire = encode(value);
            assert!(wire.starts_with(OPEN), "{value:?}");
            assert_eq!(decode(wire.as_bytes()).as_deref(), Ok(value));
        }
    }

    #[test]
    fn white_space_around_a_value_does_not_count() {
        assert_eq!(decode(b" \t a b\t ").as_deref(), Ok("a b"));
        assert_eq!(decode(b" =?base64?YQ==?= ").as_deref(), Ok("a"));
        assert_eq!(decode(b"=?base64??=").as_deref(), Ok(""));
    }

    #[test]
    fn what_is_refused() {
        use HeaderValueError::*;
        let table: [(&[u8], HeaderValueError); 11] = [
            (b"a\rb", InvalidByte),
            (b"a\0b", InvalidByte),
            (b"\x7f", InvalidByte),
            (b"caf\xc3\xa9", InvalidByte),
            (b"=?base64?YQ?=", InvalidBase64),
            (b"=?base64?YR==?=", InvalidBase64),
            (b"=?base64?Y Q==?=", InvalidBase64),
            (b"=?base64?-_-_?=", InvalidBase64),
            (b"=?base64?YQ==?=?=", InvalidBase64),
            (b"=?base64?=", InvalidBase64),
            (b"=?base64?/w==?=", InvalidUtf8),
        ];
        for (raw, error) in table {
            assert_eq!(decode(raw), Err(error), "{:?}", raw.escape_ascii().to_string());
        }
    }

    #[test]
    fn tokens() {
        for text in ["Region", "x-1", "!#$%&'*+-.^_`|~", "9"] {
            assert!(is_token(text), "{text:?}");
        }
        for text in ["", "a b", "a:b", "a\n", "é", "(x)", "a/b", "\"", "a\0"] {
            assert!(!is_token(text), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_value_comes_back(value in any::<String>()) {
            let wire = encode(&value);
            prop_assert!(wire.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert_eq!(decode(wire.as_bytes()), Ok(Cow::Borrowed(&*value)));
        }
    }
}
