//! Newline framing, as stdio peers speak it (MCP 2026-07-28 basic/transports/stdio).
//!
//! Cuts complete lines off the front of a read buffer without copying, whatever the chunks they came
//! in, and bounds what one line may hold. It never looks inside a line: invalid UTF-8, NUL and bad
//! JSON belong to whoever parses it.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2};
use std::borrow::Cow;
use std::fmt;

/// Why a stretch of input gave no line. The decoder stays usable after either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// A line was longer than the limit and is thrown away up to its newline; told once per line.
    TooLong {
        /// The limit, in bytes without the line's end.
        limit: usize,
    },
    /// The input ended in the middle of a line.
    Unfinished,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => write!(f, "a line is longer than {limit} bytes"),
            Self::Unfinished => f.write_str("the input ended in the middle of a line"),
        }
    }
}

impl std::error::Error for LineError {}

/// Takes lines off the front of one read buffer.
///
/// The buffer belongs to the caller, who only appends to it. Read into it, call
/// [`next`](Self::next) until it gives `None`, read again: then the buffer never holds more than the
/// limit, one byte, and what a single read brought.
#[derive(Debug)]
pub struct LineDecoder {
    limit: usize,
    /// How much of the buffer's front is known to hold no newline.
    scanned: usize,
    /// Inside a line that was too long, whose rest is thrown away.
    discarding: bool,
    /// The start of the last line that was too long.
    refused: Bytes,
}

/// How much of a line that is too long is kept, in bytes.
pub const KEPT: usize = 1 << 10;

impl LineDecoder {
    /// A decoder for lines of at most `max_line_bytes` bytes, not counting `\n` or `\r\n`.
    pub const fn new(max_line_bytes: usize) -> Self {
        Self { limit: max_line_bytes, scanned: 0, discarding: false, refused: Bytes::new() }
    }

    /// The start of the line that [`LineError::TooLong`] was told of last, at most [`KEPT`] bytes.
    pub fn refused(&self) -> &[u8] {
        &self.refused
    }

    fn refuse(&mut self, line: &[u8]) -> LineError {
        let kept = line.get(..KEPT.min(self.limit)).unwrap_or(line);
        self.refused = Bytes::copy_from_slice(kept);
        LineError::TooLong { limit: self.limit }
    }

    /// The next complete line, without its `\n` and one `\r` before it; lines of nothing but white
    /// space are skipped. `None` asks for more input.
    ///
    /// # Errors
    /// [`LineError::TooLong`], as soon as the line is known to be over the limit.
    pub fn next(&mut self, buf: &mut BytesMut) -> Option<Result<Bytes, LineError>> {
        loop {
            let scanned = self.scanned.min(buf.len());
            let Some(found) = buf.get(scanned..).and_then(|fresh| memchr(b'\n', fresh)) else {
                return self.wait(buf);
            };
            self.scanned = 0;
            let mut line = buf.split_to(scanned + found + 1);
            if std::mem::take(&mut self.discarding) {
                continue;
            }
            line.truncate(content(line.strip_suffix(b"\n").unwrap_or(&line)));
            if line.len() > self.limit {
                return Some(Err(self.refuse(&line)));
            }
            if !is_blank(&line) {
                return Some(Ok(line.freeze()));
            }
        }
    }

    /// What is left when the input has ended: first the complete lines, then
    /// [`LineError::Unfinished`] for the half one, then `None`.
    ///
    /// # Errors
    /// Those of [`next`](Self::next), and [`LineError::Unfinished`].
    pub fn finish(&mut self, buf: &mut BytesMut) -> Option<Result<Bytes, LineError>> {
        if let Some(line) = self.next(buf) {
            return Some(line);
        }
        let half = std::mem::take(buf);
        *self = Self::new(self.limit);
        (!is_blank(&half)).then_some(Err(LineError::Unfinished))
    }

    /// No newline in sight: remembers how far it looked, and lets go of a line that is too long.
    fn wait(&mut self, buf: &mut BytesMut) -> Option<Result<Bytes, LineError>> {
        self.scanned = buf.len();
        if !self.discarding && content(buf) <= self.limit {
            return None;
        }
        let news = !std::mem::replace(&mut self.discarding, true);
        self.scanned = 0;
        if news {
            let start = std::mem::take(buf); // gives the memory of the long line back
            return Some(Err(self.refuse(&start)));
        }
        buf.clear();
        None
    }
}

/// The length of a line without the carriage return that belongs to its end.
fn content(line: &[u8]) -> usize {
    line.strip_suffix(b"\r").unwrap_or(line).len()
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

/// Puts JSON on one line: raw carriage returns and newlines become spaces. In valid JSON they stand
/// only between tokens, so the value is the same; the caller has validated it. Borrowed when there
/// is nothing to change, which is the ordinary case.
pub fn unfold(json: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr2(b'\r', b'\n', json) else {
        return Cow::Borrowed(json);
    };
    let mut out = json.to_vec();
    for byte in out.iter_mut().skip(first) {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 8;
    const LONG: Result<&[u8], LineError> = Err(LineError::TooLong { limit: LIMIT });

    fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Result<Bytes, LineError>> {
        let (mut decoder, mut buf, mut out) = (LineDecoder::new(LIMIT), BytesMut::new(), vec![]);
        for chunk in chunks {
            buf.extend_from_slice(chunk);
            out.extend(std::iter::from_fn(|| decoder.next(&mut buf)));
            assert!(buf.len() <= LIMIT + 1, "an idle decoder holds {} bytes", buf.len());
        }
        out.extend(std::iter::from_fn(|| decoder.finish(&mut buf)));
        out
    }

    #[test]
    fn the_table() {
        type Want = &'static [Result<&'static [u8], LineError>];
        let table: &[(&str, Want)] = &[
            ("", &[]),
            ("a\nb\n", &[Ok(b"a"), Ok(b"b")]),
            ("a\r\nb\r\r\n", &[Ok(b"a"), Ok(b"b\r")]),
            ("\n\r\n \t\na\n\n", &[Ok(b"a")]),
            ("a\rb\n", &[Ok(b"a\rb")]),
            ("12345678\n", &[Ok(b"12345678")]),
            ("12345678\r\n", &[Ok(b"12345678")]),
            ("12345678\r", &[Err(LineError::Unfinished)]),
            ("123456789\nb\n", &[LONG, Ok(b"b")]),
            ("12345678\rx\nb\n", &[LONG, Ok(b"b")]),
            ("1234567890123456789012345", &[LONG]),
            ("         \nb\n", &[LONG, Ok(b"b")]),
            ("a\nhalf", &[Ok(b"a"), Err(LineError::Unfinished)]),
            ("a\n \t", &[Ok(b"a")]),
            ("\0\n", &[Ok(b"\0")]),
        ];
        for (input, want) in table {
            let want: Vec<_> = want.iter().map(|r| r.map(Bytes::from_static)).collect();
            assert_eq!(decode([input.as_bytes()]), want, "{input:?} at once");
            assert_eq!(decode(input.as_bytes().chunks(1)), want, "{input:?} byte by byte");
        }
    }

    #[test]
    fn lines_are_cut_off_without_a_copy() {
        let mut buf = BytesMut::from(&b"first\nsecond\n"[..]);
        let at = buf.as_ptr();
        let mut decoder = LineDecoder::new(LIMIT);
        let first = decoder.next(&mut buf).expect("a line").expect("a short line");
        assert_eq!((first.as_ptr(), &first[..]), (at, &b"first"[..]));
    }

    #[test]
    fn an_endless_line_is_told_once_and_keeps_no_memory() {
        let (mut decoder, mut buf) = (LineDecoder::new(LIMIT), BytesMut::new());
        let mut told = 0;
        for _ in 0..100 {
            buf.extend_from_slice(&[b'x'; 1000]);
            told += std::iter::from_fn(|| decoder.next(&mut buf)).count();
            assert!(buf.is_empty());
        }
        assert_eq!((told, decoder.refused()), (1, &[b'x'; LIMIT][..]));
    }

    #[test]
    fn an_ended_decoder_can_start_again() {
        let (mut decoder, mut buf) =
            (LineDecoder::new(LIMIT), BytesMut::from(&b"x".repeat(20)[..]));
        assert_eq!(decoder.finish(&mut buf), Some(LONG.map(Bytes::from_static)));
        assert_eq!(decoder.finish(&mut buf), None);
        buf.extend_from_slice(b"a\n");
        assert_eq!(decoder.next(&mut buf), Some(Ok(Bytes::from_static(b"a"))));
    }

    #[test]
    fn unfold_changes_line_breaks_only() {
        assert!(matches!(unfold(b"{\"a\": 1}"), Cow::Borrowed(_)));
        assert_eq!(&*unfold(b"{\r\n  \"a\\n\": 1\n}"), b"{    \"a\\n\": 1 }");
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_lines(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b' '), Just(b'a')], 0..80),
            size in 1usize..20,
        ) {
            prop_assert_eq!(decode([&input[..]]), decode(input.chunks(size)));
        }
    }
}
