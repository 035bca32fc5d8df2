//! Reads Server-Sent Events (WHATWG HTML §9.2.6) from chunks of any size.
//!
//! Every chunking of the same bytes gives the same events, and no event or line may hold more than
//! the limit. Differences from a browser, each because the reader is a proxy: data is handed on as
//! raw bytes (its parser judges the UTF-8), and a block with only an `id` or a `retry` is delivered
//! too, with empty data, since both concern the connection.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr2;
use std::fmt;

/// One block of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The event's type; `None` for a message, whether it said `message`, nothing or no name.
    pub event: Option<Box<str>>,
    /// The data lines, joined by newlines. Empty for an event that only primes or paces the stream.
    pub data: Bytes,
    /// The id, if the block set one; the empty id means that there is none to resume from any more.
    pub id: Option<Box<str>>,
    /// The reconnection delay, in milliseconds, if the block set one.
    pub retry: Option<u64>,
}

/// Why a stretch of the stream gave no event. The decoder stays usable after either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SseError {
    /// An event was longer than the limit and is thrown away up to its end; told once per event.
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The stream ended in the middle of an event.
    Unfinished,
}

impl fmt::Display for SseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => write!(f, "an event is longer than {limit} bytes"),
            Self::Unfinished => f.write_str("the stream ended in the middle of an event"),
        }
    }
}

impl std::error::Error for SseError {}

/// Turns chunks into events: [`push`](Self::push) one, then [`next`](Self::next) until `None`.
///
/// A data line that stands whole in one chunk is a slice of that chunk, not a copy.
#[derive(Debug)]
pub struct EventDecoder {
    limit: usize,
    /// What of the last chunk has not been read.
    input: Bytes,
    /// The beginning of a line whose end has not come.
    partial: BytesMut,
    block: Block,
    /// The last byte read was a CR: an LF right after it belongs to the same line end.
    after_cr: bool,
    /// No line has ended yet, so a byte order mark may still come off.
    at_start: bool,
    discarding: Discarding,
}

/// Whether an event that was too long is being thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Discarding {
    No,
    /// At the beginning of a line: an empty one ends the event.
    AtLineStart,
    InLine,
}

impl EventDecoder {
    /// A decoder for events whose lines, field names included, have at most `max_event_bytes` bytes
    /// together; a comment counts while it is read and is then forgotten.
    pub fn new(max_event_bytes: usize) -> Self {
        Self {
            limit: max_event_bytes,
            input: Bytes::new(),
            partial: BytesMut::new(),
            block: Block::default(),
            after_cr: false,
            at_start: true,
            discarding: Discarding::No,
        }
    }

    /// Takes the next chunk. Whoever has not called [`next`](Self::next) until `None` before pays a
    /// copy and holds both chunks.
    pub fn push(&mut self, chunk: Bytes) {
        if self.input.is_empty() {
            self.input = chunk;
        } else {
            self.input = [&self.input[..], &chunk[..]].concat().into();
        }
    }

    /// What is left when the stream has ended, after the last [`next`](Self::next):
    /// [`SseError::Unfinished`] if it was cut in the middle of an event (WHATWG: such an event is
    /// dropped), then `None`. The decoder is as new afterwards.
    pub fn finish(&mut self) -> Option<SseError> {
        let comment = self.partial.first() == Some(&b':');
        let cut = self.block.is_begun() || !(self.partial.is_empty() || comment);
        *self = Self::new(self.limit);
        cut.then_some(SseError::Unfinished)
    }

    /// How many bytes are held for the event that is being read; at most the limit.
    pub fn held(&self) -> usize {
        self.block.size + self.partial.len()
    }

    /// The next whole line without its end (LF, CRLF or CR), or the beginning of one put aside.
    fn take_line(&mut self) -> Option<Result<Bytes, SseError>> {
        self.skip_lf();
        if self.input.is_empty() {
            self.input = Bytes::new(); // an empty rest would hold the whole chunk in memory
            return None;
        }
        let end = memchr2(b'\n', b'\r', &self.input);
        let fresh = end.unwrap_or(self.input.len());
        if fresh > self.limit.saturating_sub(self.held()) {
            return Some(Err(self.too_long()));
        }
        let head = self.input.split_to(fresh);
        if end.is_none() {
            self.partial.extend_from_slice(&head);
            return None;
        }
        self.end_line();
        let mut line = if self.partial.is_empty() {
            head
        } else {
            self.partial.extend_from_slice(&head);
            std::mem::take(&mut self.partial).freeze()
        };
        if std::mem::take(&mut self.at_start) && line.starts_with(b"\xef\xbb\xbf") {
            line.advance(3);
        }
        Some(Ok(line))
    }

    /// Lets the event go, with its memory; the line it broke on is not empty.
    fn too_long(&mut self) -> SseError {
        self.partial = BytesMut::new();
        self.block = Block::default();
        self.at_start = false;
        self.discarding = Discarding::InLine;
        SseError::TooLong { limit: self.limit }
    }

    /// Throws input away up to the empty line that ends the event.
    fn discard(&mut self) {
        loop {
            self.skip_lf();
            let Some(end) = memchr2(b'\n', b'\r', &self.input) else {
                if !self.input.is_empty() {
                    self.discarding = Discarding::InLine;
                }
                self.input = Bytes::new();
                return;
            };
            self.input.advance(end);
            self.end_line();
            if end == 0 && self.discarding == Discarding::AtLineStart {
                self.discarding = Discarding::No;
                return;
            }
            self.discarding = Discarding::AtLineStart;
        }
    }

    /// Eats the CR or LF that the input stands on.
    fn end_line(&mut self) {
        self.after_cr = self.input.first() == Some(&b'\r');
        self.input.advance(1);
    }

    /// Eats the LF of a CRLF, whose CR may have been in an earlier chunk.
    fn skip_lf(&mut self) {
        if self.after_cr && !self.input.is_empty() {
            self.after_cr = false;
            if self.input.first() == Some(&b'\n') {
                self.input.advance(1);
            }
        }
    }
}

/// The events of what was pushed so far. `None` asks for another chunk, after which there may be more;
/// [`SseError::TooLong`] comes as soon as an event is known to be over the limit.
impl Iterator for EventDecoder {
    type Item = Result<Event, SseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.discarding != Discarding::No {
            self.discard();
        }
        while let Some(line) = self.take_line() {
            let line = match line {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            if !line.is_empty() {
                self.block.line(line);
            } else if let Some(event) = std::mem::take(&mut self.block).end() {
                return Some(Ok(event));
            }
        }
        None
    }
}

/// The fields of the event that is being read.
#[derive(Debug, Default)]
struct Block {
    event: Option<Box<str>>,
    data: Data,
    id: Option<Box<str>>,
    retry: Option<u64>,
    /// The bytes of its field lines.
    size: usize,
}

#[derive(Debug, Default)]
enum Data {
    #[default]
    None,
    One(Bytes),
    Many(BytesMut),
}

impl Block {
    /// Takes one line that is not empty.
    fn line(&mut self, line: Bytes) {
        let colon = memchr::memchr(b':', &line);
        if colon == Some(0) {
            return; // a comment
        }
        self.size += line.len();
        let mut value = line;
        let name = value.split_to(colon.unwrap_or(value.len()));
        if colon.is_some() {
            value.advance(1);
        }
        if value.first() == Some(&b' ') {
            value.advance(1);
        }
        match &name[..] {
            b"data" => self.data.push(value),
            b"event" => {
                self.event = (!matches!(&value[..], b"" | b"message")).then(|| text(&value));
            }
            b"id" if !value.contains(&0) => self.id = Some(text(&value)),
            b"retry" => self.retry = digits(&value).or(self.retry),
            _ => {} // WHATWG: any other field is ignored
        }
    }

    /// The event, if there is anything to deliver: WHATWG dispatches only what had a data line.
    fn end(self) -> Option<Event> {
        let data = match self.data {
            Data::None if self.id.is_none() && self.retry.is_none() => return None,
            Data::None => Bytes::new(),
            Data::One(data) => data,
            Data::Many(data) => data.freeze(),
        };
        Some(Event { event: self.event, data, id: self.id, retry: self.retry })
    }

    const fn is_begun(&self) -> bool {
        self.size > 0
    }
}

impl Data {
    fn push(&mut self, line: Bytes) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(line),
            Self::One(first) => {
                let mut all = BytesMut::with_capacity(first.len() + 1 + line.len());
                all.extend_from_slice(&first);
                Self::joined(all, &line)
            }
            Self::Many(all) => Self::joined(all, &line),
        };
    }

    fn joined(mut all: BytesMut, line: &[u8]) -> Self {
        all.extend_from_slice(b"\n");
        all.extend_from_slice(line);
        Self::Many(all)
    }
}

fn text(value: &[u8]) -> Box<str> {
    String::from_utf8_lossy(value).into()
}

/// A number written in ASCII digits only; beyond 64 bits it says nothing.
fn digits(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    // `parse` alone would accept a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sse::encode;
    use proptest::prelude::*;

    const LIMIT: usize = 40;
    const LONG: Result<Event, SseError> = Err(SseError::TooLong { limit: LIMIT });

    fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Result<Event, SseError>> {
        let (mut decoder, mut out) = (EventDecoder::new(LIMIT), vec![]);
        for chunk in chunks {
            decoder.push(Bytes::copy_from_slice(chunk));
            out.extend(decoder.by_ref());
            assert!(decoder.held() <= LIMIT);
        }
        out.extend(decoder.finish().map(Err));
        out
    }

    fn data(data: &'static str) -> Event {
        Event { data: Bytes::from_static(data.as_bytes()), ..Event::default() }
    }

    /// Each input at once and byte by byte.
    fn check(table: &[(&str, Vec<Result<Event, SseError>>)]) {
        for (input, want) in table {
            assert_eq!(&decode([input.as_bytes()]), want, "{input:?} at once");
            assert_eq!(&decode(input.as_bytes().chunks(1)), want, "{input:?} byte by byte");
        }
    }

    #[test]
    fn lines_and_data() {
        check(&[
            ("", vec![]),
            ("data: a\n\ndata: b\n\n", vec![Ok(data("a")), Ok(data("b"))]),
            ("data: a\r\n\r\ndata: b\r\n\r\n", vec![Ok(data("a")), Ok(data("b"))]),
            ("data: a\r\rdata: b\r\r", vec![Ok(data("a")), Ok(data("b"))]),
            ("data: a\n\rdata: b\r\n\n", vec![Ok(data("a")), Ok(data("b"))]),
            ("\u{feff}data: a\n\n", vec![Ok(data("a"))]),
            ("data: a\n\n\u{feff}data: b\n\n", vec![Ok(data("a"))]),
            (": hello\ndata: a\n:\n\n:\r\n\r\n", vec![Ok(data("a"))]),
            ("data:a\ndata:  b\ndata\ndata: c\n\n", vec![Ok(data("a\n b\n\nc"))]),
            ("data\n\n", vec![Ok(data(""))]),
            ("\n\n\ndata: a\n\n\n", vec![Ok(data("a"))]),
            ("Data: a\ndatax: b\n\n", vec![]),
        ]);
    }

    #[test]
    fn names_ids_and_delays() {
        let named = Event { event: Some("endpoint".into()), ..data("/m?s=1") };
        let prime = Event { id: Some("7".into()), retry: Some(1500), ..data("") };
        let id = |id: &str| Event { id: Some(id.into()), ..data("x") };
        check(&[
            ("event: endpoint\ndata: /m?s=1\n\n", vec![Ok(named)]),
            ("event: message\ndata: a\n\n", vec![Ok(data("a"))]),
            ("event: x\nevent\ndata: a\n\n", vec![Ok(data("a"))]),
            ("event: lost\n\ndata: a\n\n", vec![Ok(data("a"))]),
            ("id: 7\nretry: 1500\ndata: \n\n", vec![Ok(prime.clone())]),
            ("id: 7\nretry: 1500\n\n", vec![Ok(prime)]),
            ("id: a\0b\ndata: x\n\n", vec![Ok(data("x"))]),
            ("id: 1\nid: a\0b\ndata: x\n\n", vec![Ok(id("1"))]),
            ("id\ndata: x\n\n", vec![Ok(id(""))]),
            ("retry: +5\nretry: 5s\nretry\nretry:  5\ndata: x\n\n", vec![Ok(data("x"))]),
            ("retry: 5\nretry: x\n\n", vec![Ok(Event { retry: Some(5), ..data("") })]),
            ("retry: 99999999999999999999\ndata: x\n\n", vec![Ok(data("x"))]),
        ]);
    }

    #[test]
    fn too_long_and_unfinished() {
        let long = "x".repeat(LIMIT);
        check(&[
            (&format!("data: {long}\ndata: y\n\ndata: a\n\n"), vec![LONG, Ok(data("a"))]),
            (&format!("data: {long}\r\n\r\ndata: a\n\n"), vec![LONG, Ok(data("a"))]),
            (&format!("data: {long}\r\rdata: a\n\n"), vec![LONG, Ok(data("a"))]),
            (&format!("data: {long}\n\n\u{feff}data: b\n\ndata: a\n\n"), vec![LONG, Ok(data("a"))]),
            (&format!(":{long}\n\ndata: a\n\n"), vec![LONG, Ok(data("a"))]),
            (&format!(":{}\n\ndata: a\n\n", &long[1..]), vec![Ok(data("a"))]),
            (&format!("{}data: a\n\n", ": comment\n".repeat(20)), vec![Ok(data("a"))]),
            (&"data: a\n".repeat(6), vec![LONG]),
            (
                &format!("data: {}\n\n", &long[6..]),
                vec![Ok(data("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"))],
            ),
            ("data: a\n\ndata: b\n", vec![Ok(data("a")), Err(SseError::Unfinished)]),
            ("data: a\n\nda", vec![Ok(data("a")), Err(SseError::Unfinished)]),
            ("data: a\n\n: comm", vec![Ok(data("a"))]),
        ]);
    }

    #[test]
    fn data_whole_in_one_chunk_is_not_copied() {
        let chunk = encode::event(b"{\"id\":1}", None);
        let at = chunk.as_ptr();
        let mut decoder = EventDecoder::new(LIMIT);
        decoder.push(chunk);
        let event = decoder.next().expect("an event").expect("a short event");
        assert_eq!(event.data, "{\"id\":1}");
        assert_eq!(event.data.as_ptr() as usize - at as usize, "event: message\ndata: ".len());
    }

    #[test]
    fn chunks_pushed_before_the_first_are_read_are_kept() {
        let mut decoder = EventDecoder::new(LIMIT);
        decoder.push(Bytes::from_static(b"data: a\n\nda"));
        decoder.push(Bytes::from_static(b"ta: b\n\n"));
        let all: Vec<_> = decoder.by_ref().collect();
        assert_eq!(all, [Ok(data("a")), Ok(data("b"))]);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_events(
            input in "((data|id|event|retry|x)?(: ?)?[a1\u{0}]{0,9}(\n|\r\n|\r|\n\n)){0,12}",
            size in 1usize..20,
        ) {
            prop_assert_eq!(decode([input.as_bytes()]), decode(input.as_bytes().chunks(size)));
        }

        #[test]
        fn what_is_encoded_is_decoded(
            payload in "[^\r\n]{0,40}",
            id in proptest::option::of("[^\r\n\u{0}]{0,9}"),
        ) {
            let mut decoder = EventDecoder::new(1000);
            decoder.push(encode::event(payload.as_bytes(), id.as_deref()));
            let want = Event { data: payload.into(), id: id.map(Into::into), ..Event::default() };
            prop_assert_eq!(decoder.next(), Some(Ok(want)));
            prop_assert_eq!(decoder.finish(), None);
        }
    }
}
