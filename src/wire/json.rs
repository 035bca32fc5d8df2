//! JSON by position: one validating pass over borrowed bytes (RFC 8259).
//!
//! The gateway forwards payloads byte for byte, so nothing here builds values: a scan yields
//! [`Span`]s, edits are splices ([`crate::wire::splice`]), and numbers, key order, escapes and
//! unknown members survive because they are never re-written. The grammar is strict: what this
//! scanner accepts, every conforming parser accepts. Nesting is bounded by [`MAX_DEPTH`].

use std::borrow::Cow;
use std::fmt;

/// Deepest nesting of arrays and objects that is accepted. The scanner keeps one bit a level.
pub const MAX_DEPTH: u32 = 128;

/// Most members of one object whose members are looked at (not of those that are passed over).
pub const MAX_MEMBERS: usize = 4096;

/// Most elements of one array whose elements are looked at.
pub const MAX_ELEMENTS: usize = 1 << 16;

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
}

impl Value {
    /// The text of a string value, decoded; `None` for other kinds and for lone surrogates.
    pub fn text<'a>(&self, bytes: &'a [u8]) -> Option<Cow<'a, str>> {
        if self.kind == Kind::String { decode_string(self.span.of(bytes)).ok() } else { None }
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

/// A member of an object: its key (with quotes) and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where the key stands, with its quotes.
    pub key: Span,
    /// The value.
    pub value: Value,
}

impl Member {
    /// From the key to the end of the value.
    pub fn span(&self) -> Span {
        Span { start: self.key.start, end: self.value.span.end }
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
        let mut keys: Vec<Cow<'_, [u8]>> =
            self.members.iter().map(|member| decoded_key(bytes, member.key)).collect();
        keys.sort_unstable();
        let twice = keys.windows(2).find(|pair| pair.first() == pair.last())?;
        twice.first().map(|key| String::from_utf8_lossy(key).into_owned())
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

/// A key as a reader would understand it; one with a lone surrogate stays as it is written.
fn decoded_key(bytes: &[u8], key: Span) -> Cow<'_, [u8]> {
    match decode_string(key.of(bytes)) {
        Ok(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
        Ok(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        Err(_) => Cow::Borrowed(key.of(bytes)),
    }
}

/// Whether the key at `span` (with its quotes) is `key`, escapes decoded.
pub fn key_is(bytes: &[u8], span: Span, key: &str) -> bool {
    let token = span.of(bytes);
    let inner = token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
    if inner.contains(&b'\\') {
        return decode_string(token).is_ok_and(|text| text == key);
    }
    inner == key.as_bytes()
}

/// Decodes a string token (with its quotes) that a scan has found valid.
pub fn decode_string(token: &[u8]) -> Result<Cow<'_, str>, JsonError> {
    let inner = token.get(1..token.len().saturating_sub(1)).ok_or(JsonError::Truncated)?;
    let text = std::str::from_utf8(inner).map_err(|_| JsonError::NotUtf8)?;
    if !inner.contains(&b'\\') {
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

/// Checks a whole text and returns its one value; white space around it is allowed.
pub fn check(bytes: &[u8]) -> Result<Value, JsonError> {
    let mut scanner = Scanner::new(bytes)?;
    let value = scanner.value()?;
    scanner.finish()?;
    Ok(value)
}

/// A cursor over JSON text that validates as it moves.
#[derive(Debug)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    pos: usize,
    depth: u32,
}

impl<'a> Scanner<'a> {
    /// Starts at the first byte. The whole text must be UTF-8.
    pub fn new(bytes: &'a [u8]) -> Result<Self, JsonError> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(JsonError::TooLarge);
        }
        if std::str::from_utf8(bytes).is_err() {
            return Err(JsonError::NotUtf8);
        }
        Ok(Self { bytes, pos: 0, depth: 0 })
    }

    /// Starts at a value that an earlier scan of the same bytes has found.
    pub fn at(bytes: &'a [u8], span: Span) -> Result<Self, JsonError> {
        let bytes = bytes.get(..span.end as usize).ok_or(JsonError::Truncated)?;
        Ok(Self { bytes, pos: span.start as usize, depth: 0 })
    }

    /// Only white space may follow.
    pub fn finish(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        if self.pos == self.bytes.len() { Ok(()) } else { Err(self.unexpected()) }
    }

    /// What the next value is, without moving past it.
    pub fn peek_kind(&mut self) -> Result<Kind, JsonError> {
        self.skip_space();
        match self.peek()? {
            b'{' => Ok(Kind::Object),
            b'[' => Ok(Kind::Array),
            b'"' => Ok(Kind::String),
            b't' | b'f' => Ok(Kind::Bool),
            b'n' => Ok(Kind::Null),
            b'-' | b'0'..=b'9' => Ok(Kind::Number),
            _ => Err(self.unexpected()),
        }
    }

    /// Moves past one value.
    pub fn value(&mut self) -> Result<Value, JsonError> {
        let kind = self.peek_kind()?;
        let start = self.pos;
        match kind {
            Kind::Object | Kind::Array => self.skip_container()?,
            _ => self.skip_scalar(kind)?,
        }
        Ok(Value { kind, span: self.span_from(start) })
    }

    /// Walks the members of an object; `visit` gets the key and must move past the value.
    pub fn object(
        &mut self,
        mut visit: impl FnMut(&mut Self, Span) -> Result<Value, JsonError>,
    ) -> Result<Object, JsonError> {
        if self.peek_kind()? != Kind::Object {
            return Err(JsonError::WrongKind(self.offset()));
        }
        let start = self.pos;
        self.enter()?;
        let mut members = Vec::with_capacity(8);
        if !self.closes(b'}') {
            loop {
                let key = self.key()?;
                let value = visit(self, key)?;
                if members.len() == MAX_MEMBERS {
                    return Err(JsonError::TooManyMembers);
                }
                members.push(Member { key, value });
                if !self.continues(b'}')? {
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(Object { span: self.span_from(start), members })
    }

    /// Walks the elements of an array; `visit` must move past one value each time.
    pub fn array(
        &mut self,
        mut visit: impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<Span, JsonError> {
        if self.peek_kind()? != Kind::Array {
            return Err(JsonError::WrongKind(self.offset()));
        }
        let start = self.pos;
        self.enter()?;
        if !self.closes(b']') {
            loop {
                visit(self)?;
                if !self.continues(b']')? {
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(self.span_from(start))
    }

    fn span_from(&self, start: usize) -> Span {
        Span { start: offset(start), end: offset(self.pos) }
    }

    fn offset(&self) -> u32 {
        offset(self.pos)
    }

    fn unexpected(&self) -> JsonError {
        if self.pos >= self.bytes.len() {
            JsonError::Truncated
        } else {
            JsonError::Unexpected(self.offset())
        }
    }

    fn peek(&self) -> Result<u8, JsonError> {
        self.bytes.get(self.pos).copied().ok_or(JsonError::Truncated)
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.pos) {
            self.pos += 1;
        }
    }

    /// Steps into a container whose opening byte is next.
    fn enter(&mut self) -> Result<(), JsonError> {
        if self.depth == MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        self.depth += 1;
        self.pos += 1;
        Ok(())
    }

    /// Whether the container just entered is empty; moves past its closing byte if so.
    fn closes(&mut self, close: u8) -> bool {
        self.skip_space();
        let closed = self.bytes.get(self.pos) == Some(&close);
        self.pos += usize::from(closed);
        closed
    }

    /// After an element: past a comma (true) or past the closing byte (false).
    fn continues(&mut self, close: u8) -> Result<bool, JsonError> {
        self.skip_space();
        let byte = self.peek()?;
        if byte == b',' || byte == close {
            self.pos += 1;
            return Ok(byte == b',');
        }
        Err(self.unexpected())
    }

    /// Past a key and its colon.
    fn key(&mut self) -> Result<Span, JsonError> {
        self.skip_space();
        let start = self.pos;
        if self.peek()? != b'"' {
            return Err(self.unexpected());
        }
        self.skip_string()?;
        let key = self.span_from(start);
        self.skip_space();
        if self.peek()? != b':' {
            return Err(self.unexpected());
        }
        self.pos += 1;
        Ok(key)
    }

    /// Past an array or object, without recursion: one bit a level says which it is.
    fn skip_container(&mut self) -> Result<(), JsonError> {
        let base = self.depth;
        let mut objects: u128 = 0;
        loop {
            if self.open_or_scalar(&mut objects)? {
                continue;
            }
            while self.depth > base {
                let is_object = objects & 1 == 1;
                if self.continues(if is_object { b'}' } else { b']' })? {
                    if is_object {
                        self.key()?;
                    }
                    break;
                }
                self.depth -= 1;
                objects >>= 1;
            }
            if self.depth == base {
                return Ok(());
            }
        }
    }

    /// At a value inside a container: steps in (true: a value comes next) or past it (false).
    fn open_or_scalar(&mut self, objects: &mut u128) -> Result<bool, JsonError> {
        let kind = self.peek_kind()?;
        let close = match kind {
            Kind::Object => b'}',
            Kind::Array => b']',
            _ => return self.skip_scalar(kind).map(|()| false),
        };
        self.enter()?;
        if self.closes(close) {
            self.depth -= 1;
            return Ok(false);
        }
        *objects = *objects << 1 | u128::from(kind == Kind::Object);
        if kind == Kind::Object {
            self.key()?;
        }
        Ok(true)
    }

    fn skip_scalar(&mut self, kind: Kind) -> Result<(), JsonError> {
        match kind {
            Kind::String => self.skip_string(),
            Kind::Number => self.skip_number(),
            _ => self.skip_literal(),
        }
    }

    fn skip_literal(&mut self) -> Result<(), JsonError> {
        let rest = self.bytes.get(self.pos..).unwrap_or_default();
        for literal in [&b"true"[..], b"false", b"null"] {
            if rest.starts_with(literal) {
                self.pos += literal.len();
                return Ok(());
            }
        }
        Err(self.unexpected())
    }

    fn skip_number(&mut self) -> Result<(), JsonError> {
        self.pos += usize::from(self.peek()? == b'-');
        if self.peek()? == b'0' {
            self.pos += 1;
        } else {
            self.skip_digits()?;
        }
        if self.bytes.get(self.pos) == Some(&b'.') {
            self.pos += 1;
            self.skip_digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.pos) {
            self.pos += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.pos) {
                self.pos += 1;
            }
            self.skip_digits()?;
        }
        Ok(())
    }

    fn skip_digits(&mut self) -> Result<(), JsonError> {
        let start = self.pos;
        while self.bytes.get(self.pos).is_some_and(u8::is_ascii_digit) {
            self.pos += 1;
        }
        if self.pos == start { Err(self.unexpected()) } else { Ok(()) }
    }

    /// Past a string whose opening quote is next.
    fn skip_string(&mut self) -> Result<(), JsonError> {
        self.pos += 1;
        loop {
            self.pos += plain_length(self.bytes.get(self.pos..).unwrap_or_default());
            match self.peek()? {
                b'"' => {
                    self.pos += 1;
                    return Ok(());
                }
                b'\\' => self.skip_escape()?,
                _ => return Err(self.unexpected()),
            }
        }
    }

    fn skip_escape(&mut self) -> Result<(), JsonError> {
        self.pos += 1;
        match self.peek()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                self.pos += 1;
                Ok(())
            }
            b'u' => {
                self.pos += 1;
                for _ in 0..4 {
                    if !self.peek()?.is_ascii_hexdigit() {
                        return Err(self.unexpected());
                    }
                    self.pos += 1;
                }
                Ok(())
            }
            _ => Err(self.unexpected()),
        }
    }
}

/// Positions fit 32 bits: [`Scanner::new`] refuses longer texts.
fn offset(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

/// How many bytes at the start of `bytes` are neither a quote, a backslash nor a control
/// character: eight at a time, then one by one.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero_in = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let mut done = 0;
    for chunk in bytes.as_chunks::<8>().0 {
        let word = u64::from_le_bytes(*chunk);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let quote = zero_in(word ^ (ONES * u64::from(b'"')));
        let backslash = zero_in(word ^ (ONES * u64::from(b'\\')));
        let stop = control | quote | backslash;
        if stop != 0 {
            // borrows only run upwards, so the lowest marked byte is exact
            return done + (stop.trailing_zeros() / 8) as usize;
        }
        done += 8;
    }
    let tail = bytes.get(done..).unwrap_or_default();
    done + tail.iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0..0x20)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

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
