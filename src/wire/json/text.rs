//! JSON strings: decoded for comparing, encoded for what we write ourselves.

use super::{JsonError, Key};
use memchr::memchr;
use std::borrow::Cow;

/// A key as a reader would understand it, without its quotes; one with a lone surrogate stays as
/// it is written, with them.
pub fn decoded_key(bytes: &[u8], key: Key) -> Cow<'_, [u8]> {
    let token = key.of(bytes);
    if !key.escaped {
        return Cow::Borrowed(inner(token));
    }
    match decode_string(token) {
        Ok(text) => Cow::Owned(text.into_owned().into_bytes()),
        Err(_) => Cow::Borrowed(token),
    }
}

/// Without the quotes.
pub(super) fn inner(token: &[u8]) -> &[u8] {
    token.get(1..token.len().saturating_sub(1)).unwrap_or_default()
}

/// Whether a key is this text, escapes decoded.
pub fn key_is(bytes: &[u8], key: Key, text: &str) -> bool {
    let token = key.of(bytes);
    if key.escaped {
        return decode_string(token).is_ok_and(|decoded| decoded == text);
    }
    inner(token) == text.as_bytes()
}

/// Decodes a string token (with its quotes) that a scan has found valid.
pub fn decode_string(token: &[u8]) -> Result<Cow<'_, str>, JsonError> {
    let inner = token.get(1..token.len().saturating_sub(1)).ok_or(JsonError::Truncated)?;
    let text = std::str::from_utf8(inner).map_err(|_| JsonError::NotUtf8)?;
    if memchr(b'\\', inner).is_none() {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let (character, used) = decode_escape(escape)?;
        out.push(character);
        rest = escape.get(used..).ok_or(JsonError::Truncated)?;
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

/// One escape at the start of `text`: the character and how many bytes it took.
fn decode_escape(text: &str) -> Result<(char, usize), JsonError> {
    let simple = match text.as_bytes().get(1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return decode_unicode(text),
        _ => return Err(JsonError::Truncated),
    };
    Ok((simple, 2))
}

fn decode_unicode(text: &str) -> Result<(char, usize), JsonError> {
    let unit = |at: usize| {
        let digits = text.get(at + 2..at + 6)?;
        (text.get(at..at + 2) == Some("\\u")).then(|| u16::from_str_radix(digits, 16).ok())?
    };
    let first = unit(0).ok_or(JsonError::Truncated)?;
    let mut units = [first, 0];
    let paired = match unit(6) {
        Some(second) if (0xD800..0xDC00).contains(&first) => {
            units = [first, second];
            true
        }
        _ => false,
    };
    let used = if paired { &units[..] } else { &units[..1] };
    let decoded = char::decode_utf16(used.iter().copied()).next();
    let character = decoded.and_then(Result::ok).ok_or(JsonError::LoneSurrogate)?;
    Ok((character, if paired { 12 } else { 6 }))
}

/// Appends `text` as a JSON string with its quotes.
pub fn encode_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if (c as u32) < 0x20 => {
                out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes());
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// `text` as a JSON string token.
pub fn string_token(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    encode_string(text, &mut out);
    out
}
