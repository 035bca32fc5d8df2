//! The scanner: one pass, no recursion, nothing built.

use super::{JsonError, Key, Kind, MAX_DEPTH, MAX_MEMBERS, Member, Object, Span, Value};

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
        let escaped = match kind {
            Kind::Object | Kind::Array => self.skip_container().map(|()| false)?,
            _ => self.skip_scalar(kind)?,
        };
        Ok(Value { kind, span: self.span_from(start), escaped })
    }

    /// Walks the members of an object; `visit` gets the key and must move past the value.
    pub fn object(
        &mut self,
        mut visit: impl FnMut(&mut Self, Key) -> Result<Value, JsonError>,
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
    fn key(&mut self) -> Result<Key, JsonError> {
        self.skip_space();
        let start = self.pos;
        if self.peek()? != b'"' {
            return Err(self.unexpected());
        }
        let escaped = self.skip_string()?;
        let key = Key { span: self.span_from(start), escaped };
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
            _ => return self.skip_scalar(kind).map(|_| false),
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

    /// Past a value that is no container; whether it is a string with escapes.
    fn skip_scalar(&mut self, kind: Kind) -> Result<bool, JsonError> {
        match kind {
            Kind::String => return self.skip_string(),
            Kind::Number => self.skip_number()?,
            _ => self.skip_literal()?,
        }
        Ok(false)
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

    /// Past a string whose opening quote is next; whether it has escapes.
    fn skip_string(&mut self) -> Result<bool, JsonError> {
        self.pos += 1;
        let mut escaped = false;
        loop {
            self.pos += plain_length(self.bytes.get(self.pos..).unwrap_or_default());
            match self.peek()? {
                b'"' => {
                    self.pos += 1;
                    return Ok(escaped);
                }
                b'\\' => {
                    escaped = true;
                    self.skip_escape()?;
                }
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
pub(super) fn offset(position: usize) -> u32 {
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
