//! JSON by position: one validating pass over borrowed bytes (RFC 8259).
//!
//! The gateway forwards payloads byte for byte, so nothing here builds values: a scan yields
//! [`Span`]s, edits are splices ([`crate::wire::splice`]), and numbers, key order, escapes and
//! unknown members survive because they are never re-written. The grammar is strict: what this
//! scanner accepts, every conforming parser accepts. Nesting is bounded by [`MAX_DEPTH`].

mod scan;
mod text;

pub use scan::Scanner;
use scan::offset;
use text::inner;
pub use text::{decode_string, decoded_key, encode_string, key_is, string_token};

use std::borrow::Cow;
use std::fmt;

/// Deepest nesting of arrays and objects that is accepted. The scanner keeps one bit a level.
pub const MAX_DEPTH: u32 = 128;

/// Most members of one object whose members are looked at (not of those that are passed over).
pub const MAX_MEMBERS: usize = 4096;

/// Most elements of one array whose elements are looked at.
pub const MAX_ELEMENTS: usize = 1 << 16;

/// Up to so many members are compared with each other rather than sorted.
const FEW_MEMBERS: usize = 16;

/// Why bytes are not acceptable JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// The text ended inside a value.
    Truncated,
    /// A byte that the grammar does not allow here, with its offset in bytes.
    Unexpected(u32),
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// An escape that stands for no character (a lone surrogate), where text was needed.
    LoneSurrogate,
    /// A value of another kind was needed here; the offset in bytes.
    WrongKind(u32),
    /// One object has more than [`MAX_MEMBERS`] members.
    TooManyMembers,
    /// One array has more than [`MAX_ELEMENTS`] elements.
    TooManyElements,
    /// Larger than 4 GiB, which no limit allows.
    TooLarge,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "the text ends inside a value"),
            Self::Unexpected(at) => write!(f, "unexpected byte at offset {at}"),
            Self::TooDeep => write!(f, "nested deeper than {MAX_DEPTH} levels"),
            Self::NotUtf8 => write!(f, "not valid utf-8"),
            Self::LoneSurrogate => write!(f, "an escape stands for no character"),
            Self::WrongKind(at) => write!(f, "a value of another kind was expected at offset {at}"),
            Self::TooManyMembers => write!(f, "an object has more than {MAX_MEMBERS} members"),
            Self::TooManyElements => write!(f, "an array has more than {MAX_ELEMENTS} elements"),
            Self::TooLarge => write!(f, "larger than 4 gib"),
        }
    }
}

impl std::error::Error for JsonError {}

/// A range of bytes in the message it was found in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes this span stands for; empty when it lies outside `bytes`.
    pub fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.range()).unwrap_or_default()
    }

    /// As a range of indices.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The same place in a text that has `by` more bytes in front.
    pub fn shifted(&self, by: u32) -> Self {
        Self { start: self.start.saturating_add(by), end: self.end.saturating_add(by) }
    }

    /// All of `bytes`.
    pub fn whole(bytes: &[u8]) -> Self {
        Self { start: 0, end: offset(bytes.len()) }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.range().len()
    }

    /// Whether it covers nothing.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }
}

/// What a JSON value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names of RFC 8259 say it
pub enum Kind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

/// A value that was scanned and found to be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// What it is.
    pub kind: Kind,
    /// Where it stands, with quotes or brackets.
    pub span: Span,
    /// Whether it is a string with escapes.
    pub escaped: bool,
}

impl Value {
    /// The object that stands here.
    pub fn object(span: Span) -> Self {
        Self { kind: Kind::Object, span, escaped: false }
    }

    /// The array that stands here.
    pub fn array(span: Span) -> Self {
        Self { kind: Kind::Array, span, escaped: false }
    }

    /// The text of a string value, decoded; `None` for other kinds and for lone surrogates.
    pub fn text<'a>(&self, bytes: &'a [u8]) -> Option<Cow<'a, str>> {
        match (self.kind, self.escaped) {
            (Kind::String, false) => {
                std::str::from_utf8(inner(self.span.of(bytes))).ok().map(Cow::Borrowed)
            }
            (Kind::String, true) => decode_string(self.span.of(bytes)).ok(),
            _ => None,
        }
    }

    /// Whether it is a string that stands for a text, which one with a lone surrogate does not.
    pub fn is_text(&self, bytes: &[u8]) -> bool {
        self.kind == Kind::String && (!self.escaped || self.text(bytes).is_some())
    }

    /// Whether it is this text.
    pub fn is(&self, bytes: &[u8], text: &str) -> bool {
        match (self.kind, self.escaped) {
            (Kind::String, false) => inner(self.span.of(bytes)) == text.as_bytes(),
            (Kind::String, true) => self.text(bytes).is_some_and(|own| own == text),
            _ => false,
        }
    }

    /// The value of an integer that fits 64 bits, written without fraction or exponent.
    pub fn integer(&self, bytes: &[u8]) -> Option<i64> {
        if self.kind != Kind::Number {
            return None;
        }
        std::str::from_utf8(self.span.of(bytes)).ok()?.parse().ok()
    }

    /// Whether this is the literal `true`.
    pub fn is_true(&self, bytes: &[u8]) -> bool {
        self.span.of(bytes) == b"true"
    }
}

/// Where a key stands, with its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// From quote to quote.
    pub span: Span,
    /// Whether it is written with escapes.
    pub escaped: bool,
}

impl Key {
    /// As it is written, with its quotes.
    pub fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        self.span.of(bytes)
    }
}

/// A member of an object: its key and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Value,
}

impl Member {
    /// From the key to the end of the value.
    pub fn span(&self) -> Span {
        Span { start: self.key.span.start, end: self.value.span.end }
    }
}

/// An object with the positions of its own members, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// From brace to brace.
    pub span: Span,
    /// The members, duplicates included.
    pub members: Vec<Member>,
}

impl Object {
    /// Reads the members of the object that is `span` of `bytes` (or all of `bytes`' that follow).
    pub fn read(bytes: &[u8], span: Span) -> Result<Self, JsonError> {
        let mut scanner = Scanner::at(bytes, span)?;
        scanner.object(|scanner, _| scanner.value())
    }

    /// The first member with this key, compared as decoded text.
    pub fn get(&self, bytes: &[u8], key: &str) -> Option<&Member> {
        self.members.iter().find(|member| key_is(bytes, member.key, key))
    }

    /// The values of all members with this key.
    pub fn all<'a>(&'a self, bytes: &'a [u8], key: &'a str) -> impl Iterator<Item = Value> + 'a {
        let named = self.members.iter().filter(move |member| key_is(bytes, member.key, key));
        named.map(|member| member.value)
    }

    /// The value of the first member with this key.
    pub fn value(&self, bytes: &[u8], key: &str) -> Option<Value> {
        self.get(bytes, key).map(|member| member.value)
    }

    /// The decoded text of the string member with this key.
    pub fn text<'a>(&self, bytes: &'a [u8], key: &str) -> Option<Cow<'a, str>> {
        self.value(bytes, key)?.text(bytes)
    }

    /// A key that occurs twice, compared as decoded text, if there is one.
    pub fn duplicate(&self, bytes: &[u8]) -> Option<String> {
        if self.is_plainly_distinct(bytes) {
            return None;
        }
        let mut keys: Vec<Cow<'_, [u8]>> =
            self.members.iter().map(|member| decoded_key(bytes, member.key)).collect();
        keys.sort_unstable();
        let twice = keys.windows(2).find(|pair| pair.first() == pair.last())?;
        twice.first().map(|key| String::from_utf8_lossy(key).into_owned())
    }

    /// Whether there are few keys, written without escapes, and all different: true for nearly
    /// every message, and much cheaper to find out than an order.
    fn is_plainly_distinct(&self, bytes: &[u8]) -> bool {
        let differs = |(at, member): (usize, &Member)| {
            let key = member.key.of(bytes);
            let mut earlier = self.members.iter().take(at);
            !member.key.escaped && earlier.all(|other| other.key.of(bytes) != key)
        };
        self.members.len() <= FEW_MEMBERS && self.members.iter().enumerate().all(differs)
    }
}

/// The elements of an array, in their order.
///
/// # Errors
/// Another kind of value, or more than [`MAX_ELEMENTS`] elements: positions take more memory than
/// what they stand for.
pub fn elements(bytes: &[u8], span: Span) -> Result<Vec<Value>, JsonError> {
    let mut scanner = Scanner::at(bytes, span)?;
    let mut found = Vec::new();
    scanner.array(|scanner| {
        if found.len() == MAX_ELEMENTS {
            return Err(JsonError::TooManyElements);
        }
        found.push(scanner.value()?);
        Ok(())
    })?;
    Ok(found)
}

/// Checks a whole text and returns its one value; white space around it is allowed.
pub fn check(bytes: &[u8]) -> Result<Value, JsonError> {
    let mut scanner = Scanner::new(bytes)?;
    let value = scanner.value()?;
    scanner.finish()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_occurs_twice_is_found_among_few_and_many() {
        for fillers in [0, FEW_MEMBERS, 3 * FEW_MEMBERS] {
            let fillers: String = (0..fillers).map(|n| format!("\"f{n}\":0,")).collect();
            let twice = |last: &str| {
                let text = format!("{{\"a\":1,{fillers}\"{last}\":2}}");
                let object = Object::read(text.as_bytes(), Span::whole(text.as_bytes()));
                object.expect("an object").duplicate(text.as_bytes())
            };
            assert_eq!(twice("b"), None);
            assert_eq!(twice("a").as_deref(), Some("a"));
            assert_eq!(twice("\\u0061").as_deref(), Some("a"));
        }
    }

    fn accepts(text: &str) -> bool {
        check(text.as_bytes()).is_ok()
    }

    #[test]
    fn the_grammar_is_that_of_serde_json() {
        let texts = [
            "{}",
            "[]",
            "null",
            "true",
            "false",
            "0",
            "-0",
            "01",
            "1.",
            ".1",
            "1.5e+3",
            "1e",
            "-",
            "+1",
            "\"\"",
            "\"\\u00e9\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"a\nb\"",
            "[1,]",
            "[,1]",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{a:1}",
            "{\"a\":}",
            "[1 2]",
            "nul",
            "truee",
            "",
            " ",
            "[[[[]]]]",
            "{\"a\":{\"b\":[1,{\"c\":null}]}} ",
            "[1]]",
            "{} {}",
            "\"",
            "[\"\\",
            "1234567890123456789012345678901234567890",
            "\"\t\"",
            "\"\u{7f}\"",
            "[}",
            "{]",
        ];
        for text in texts {
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
            assert_eq!(accepts(text), theirs, "{text:?}");
        }
    }

    #[test]
    fn depth_is_bounded_and_does_not_recurse() {
        let nest = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(accepts(&nest(128)));
        assert_eq!(check(nest(129).as_bytes()), Err(JsonError::TooDeep));
        assert_eq!(check("[".repeat(1_000_000).as_bytes()), Err(JsonError::TooDeep));
    }

    #[test]
    fn strings_are_scanned_right_at_every_length_and_offset() {
        for length in 0..40 {
            for stop in 0..length {
                let mut inner = vec![b'a'; length];
                inner[stop] = 0x1f;
                let bytes = [b"\"".as_slice(), &inner, b"\""].concat();
                let at = u32::try_from(stop + 1).expect("small");
                assert_eq!(check(&bytes), Err(JsonError::Unexpected(at)));
                inner[stop] = b'"';
                let bytes = [b"\"".as_slice(), &inner, b"\""].concat();
                let mut scanner = Scanner::new(&bytes).expect("utf-8");
                assert_eq!(scanner.value().expect("a string").span.len(), stop + 2);
            }
        }
        assert!(accepts("\"\u{80}\u{ff}\u{1f600} and more text\""));
    }

    #[test]
    fn positions_are_kept_of_so_many_elements() {
        let array = |count: usize| format!("[{}0]", "0,".repeat(count - 1)).into_bytes();
        let count = |bytes: &[u8]| elements(bytes, Span::whole(bytes)).map(|found| found.len());
        assert_eq!(count(&array(MAX_ELEMENTS)), Ok(MAX_ELEMENTS));
        assert_eq!(count(&array(MAX_ELEMENTS + 1)), Err(JsonError::TooManyElements));
    }

    #[test]
    fn keys_are_compared_decoded() {
        let bytes = br#"{"n\u0061me":1,"name":2}"#;
        let object = Object::read(bytes, check(bytes).expect("valid").span).expect("object");
        assert_eq!(object.duplicate(bytes).as_deref(), Some("name"));
        assert_eq!(object.value(bytes, "name").and_then(|v| v.integer(bytes)), Some(1));
    }

    #[test]
    fn text_survives_encoding() {
        for text in ["", "plain", "q\"b\\n\n\r\t\u{1}\u{1f}é\u{1f600}\u{7f}"] {
            let token = string_token(text);
            assert_eq!(decode_string(&token).expect("decodes"), text);
            assert_eq!(serde_json::from_slice::<String>(&token).expect("json"), text);
        }
    }

    #[test]
    fn escapes_decode_as_serde_json_does() {
        for token in [r#""\ud83d\ude00""#, r#""\u0041\/\b\f""#, r#""\ud83d""#, r#""\ud83dx""#] {
            let theirs = serde_json::from_str::<String>(token).ok();
            assert_eq!(decode_string(token.as_bytes()).ok().map(Cow::into_owned), theirs);
        }
    }
}
