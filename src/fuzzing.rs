//! One function per fuzz target; `cargo test` replays the committed seeds through the same functions.
//!
//! Each states what must hold for *every* input and panics when it does not: the same result for any
//! chunking, agreement with a plain second implementation, round trips, bounded memory. Not part of
//! the library's interface.

use crate::base::label::{LABEL_CHARS, Label};
use crate::base::text::{is_harmful, terminal_safe};
use crate::bridge::canonical;
pub use crate::bridge::fuzz::bridge;
pub use crate::catalog::fuzz::{page, param_header};
pub use crate::config::fuzz::config;
pub use crate::wire::fuzz::{json, message, splice};
use crate::wire::json::{Kind, Object, Span, Value, check, decode_string, elements};
use crate::wire::line::{LineDecoder, LineError, unfold};
use crate::wire::sse::decode::{Event, EventDecoder, SseError};
use crate::wire::sse::encode;
use crate::wire::{header, uri};
use bytes::{Bytes, BytesMut};
use std::borrow::Cow;

/// Judges one input; panics when a property does not hold.
pub type Target = fn(&[u8]);

/// Every target by the name of its folder in `fuzz/seeds/`. A new parser adds its line here.
pub const TARGETS: &[(&str, Target)] = &[
    ("bridge", bridge),
    ("canonical", canonical),
    ("config", config),
    ("header_value", header_value),
    ("json", json),
    ("line", line),
    ("message", message),
    ("page", page),
    ("param_header", param_header),
    ("splice", splice),
    ("sse", sse),
    ("text", text),
    ("uri", uri),
];

/// Sizes of limit that a small input can reach, and one it cannot.
const LIMITS: [usize; 4] = [0, 7, 64, usize::MAX];

/// Cuts the input into chunks in several ways: whole, byte by byte, and in sizes drawn from the
/// content, so that one input always behaves the same.
fn chunkings(data: &[u8]) -> [Vec<&[u8]>; 3] {
    // FNV-1a as the seed, then one step of it for each size.
    let step = |state: u32, byte: u8| (state ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let mut state = data.iter().fold(0x811c_9dc5, |state, &byte| step(state, byte));
    let (mut rest, mut uneven) = (data, vec![]);
    while !rest.is_empty() {
        state = step(state, 0x5a);
        let size = 1 + usize::from(state.to_be_bytes()[0] % 13);
        let (chunk, tail) = rest.split_at(size.min(rest.len()));
        uneven.push(chunk);
        rest = tail;
    }
    [vec![data], data.chunks(1).collect(), uneven]
}

/// Digests of JSON: writing it anew changes nothing, saying something else does.
pub fn canonical(data: &[u8]) {
    let Ok(value) = check(data) else { return };
    let digest = |bytes: &[u8]| canonical::digest(bytes, Span::whole(bytes));
    let of = canonical::digest(data, value.span);
    let Some(again) = rewritten(data, value) else { return };
    assert_eq!(digest(&again), of, "written anew");
    assert_ne!(digest(&[b"[", again.as_slice(), b"]"].concat()), of, "in an array");
    let other: &[u8] = if value.kind == Kind::Null { b"\"null\"" } else { b"null" };
    assert_ne!(digest(other), of, "another value");
}

/// The same value in other words: members in the other order, text in escapes, spaces all over.
/// `None` for what has no other words: a key twice, a lone surrogate, more than is looked at.
fn rewritten(data: &[u8], value: Value) -> Option<Vec<u8>> {
    let escaped = |token: &[u8]| {
        let text = decode_string(token).ok()?;
        let units = text.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
        Some(format!("\"{}\"", units.collect::<String>()).into_bytes())
    };
    let (open, parts, close) = match value.kind {
        Kind::Object => {
            let object = Object::read(data, value.span).ok()?;
            let members = object.members.iter().rev().map(|member| {
                let key = escaped(member.key.of(data))?;
                Some([&key, b" : ".as_slice(), &rewritten(data, member.value)?].concat())
            });
            let members: Option<Vec<_>> = members.collect();
            (b'{', members.filter(|_| object.duplicate(data).is_none())?, b'}')
        }
        Kind::Array => {
            let elements = elements(data, value.span).ok()?;
            let elements: Option<Vec<_>> =
                elements.into_iter().map(|element| rewritten(data, element)).collect();
            (b'[', elements?, b']')
        }
        Kind::String => return escaped(value.span.of(data)),
        _ => return Some(value.span.of(data).to_vec()),
    };
    let parts = parts.join(b" , ".as_slice());
    Some([&[open, b' '], parts.as_slice(), &[b'\n', close]].concat())
}

/// Newline framing: any chunking gives what splitting at newlines gives, and holds little.
pub fn line(data: &[u8]) {
    for limit in LIMITS {
        let want = plain_lines(data, limit);
        for chunks in chunkings(data) {
            let (mut decoder, mut buf, mut got) =
                (LineDecoder::new(limit), BytesMut::new(), vec![]);
            for chunk in chunks {
                buf.extend_from_slice(chunk);
                got.extend(std::iter::from_fn(|| decoder.next(&mut buf)));
                assert!(buf.len() <= limit.saturating_add(1), "holds more than a line");
            }
            got.extend(std::iter::from_fn(|| decoder.finish(&mut buf)));
            assert_eq!(got, want, "limit {limit}");
        }
    }
    let flat = unfold(data);
    assert_eq!(flat.len(), data.len());
    for (&was, &is) in data.iter().zip(flat.iter()) {
        assert_eq!(is, if matches!(was, b'\r' | b'\n') { b' ' } else { was });
    }
}

/// The lines of a whole input, by the simplest means.
fn plain_lines(data: &[u8], limit: usize) -> Vec<Result<Bytes, LineError>> {
    let mut parts: Vec<&[u8]> = data.split(|&byte| byte == b'\n').collect();
    let half = parts.pop().unwrap_or_default();
    let content = |part: &[u8]| part.strip_suffix(b"\r").unwrap_or(part).to_vec();
    let blank = |part: &[u8]| part.iter().all(|byte| b" \t\r".contains(byte));
    let mut out = vec![];
    for part in parts.into_iter().map(content) {
        if part.len() > limit {
            out.push(Err(LineError::TooLong { limit }));
        } else if !blank(&part) {
            out.push(Ok(part.into()));
        }
    }
    if content(half).len() > limit {
        out.push(Err(LineError::TooLong { limit }));
    } else if !blank(half) {
        out.push(Err(LineError::Unfinished));
    }
    out
}

/// Server-Sent Events: any chunking gives what a plain reader of the whole stream gives, holds little,
/// and what we encode comes back.
pub fn sse(data: &[u8]) {
    let whole = Bytes::copy_from_slice(data);
    for limit in LIMITS {
        let want = plain_events(data, limit);
        for chunks in chunkings(&whole) {
            let (mut decoder, mut got) = (EventDecoder::new(limit), vec![]);
            for chunk in chunks {
                decoder.push(whole.slice_ref(chunk));
                got.extend(decoder.by_ref());
                assert!(decoder.held() <= limit, "holds more than an event");
            }
            got.extend(decoder.finish().map(Err));
            assert_eq!(got, want, "limit {limit}");
        }
    }
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    let (id, payload) = rest.split_at(usize::from(*first).min(rest.len()));
    sse_round_trip(payload, std::str::from_utf8(id).ok());
}

fn sse_round_trip(payload: &[u8], id: Option<&str>) {
    let whole = encode::event(payload, id);
    let (prefix, body, suffix) = encode::event_parts(Bytes::copy_from_slice(payload), id);
    assert_eq!([prefix, body, suffix].concat(), whole);
    let id = id.filter(|id| !id.contains(['\r', '\n', '\0'])).map(Box::from);
    let data = Bytes::from(unfold(payload).into_owned());
    let mut decoder = EventDecoder::new(usize::MAX);
    decoder.push(whole);
    decoder.push(Bytes::from_static(encode::KEEP_ALIVE));
    let got: Vec<_> = decoder.by_ref().collect();
    assert_eq!(got, [Ok(Event { data, id, ..Event::default() })]);
    assert_eq!(decoder.finish(), None);
}

/// The events of a whole stream, as WHATWG HTML §9.2.6 is written: lines first, then fields.
fn plain_events(data: &[u8], limit: usize) -> Vec<Result<Event, SseError>> {
    let (lines, half) = plain_sse_lines(data);
    let (mut out, mut block, mut size, mut lost) = (vec![], vec![], 0, false);
    for (at, &line) in lines.iter().enumerate() {
        let told = !lost && line.len() > limit - size;
        out.extend(told.then_some(Err(SseError::TooLong { limit })));
        lost |= told;
        let mark: &[u8] = if at == 0 { b"\xef\xbb\xbf" } else { b"" };
        let line = line.strip_prefix(mark).unwrap_or(line);
        if line.is_empty() && !told {
            out.extend((!lost).then(|| plain_event(&block)).flatten().map(Ok));
            (block, size, lost) = (vec![], 0, false);
        } else if !line.starts_with(b":") && !lost {
            size += line.len();
            block.push(line);
        }
    }
    if !lost {
        out.extend(plain_end(half, size, limit).map(Err));
    }
    out
}

/// What is wrong with the end of a stream: an event that is too long, or not finished.
fn plain_end(half: &[u8], size: usize, limit: usize) -> Option<SseError> {
    let begun = size > 0 || !(half.is_empty() || half.starts_with(b":"));
    match half.len() > limit - size {
        true => Some(SseError::TooLong { limit }),
        false => begun.then_some(SseError::Unfinished),
    }
}

/// Lines ended by CRLF, LF or CR, and what stands after the last end.
fn plain_sse_lines(data: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let (mut lines, mut rest) = (vec![], data);
    while let Some(end) = rest.iter().position(|byte| b"\r\n".contains(byte)) {
        let (line, tail) = rest.split_at(end);
        lines.push(line);
        rest = tail.strip_prefix(b"\r\n").unwrap_or_else(|| tail.get(1..).unwrap_or_default());
    }
    (lines, rest)
}

/// One block of field lines.
fn plain_event(lines: &[&[u8]]) -> Option<Event> {
    let (mut event, mut data, mut deliver) = (Event::default(), Vec::<&[u8]>::new(), false);
    for line in lines {
        let mut parts = line.splitn(2, |&byte| byte == b':');
        let name = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = String::from_utf8_lossy(value);
        match name {
            b"data" => data.push(value),
            b"event" => {
                event.event = Some(&*text).filter(|t| !["", "message"].contains(t)).map(Box::from)
            }
            b"id" if !value.contains(&0) => event.id = Some(Box::from(&*text)),
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                event.retry = text.parse().ok().or(event.retry);
            }
            _ => continue,
        }
        deliver |= !data.is_empty() || event.id.is_some() || event.retry.is_some();
    }
    event.data = data.join(&b'\n').into();
    deliver.then_some(event)
}

/// Header values: what is written is header-safe and comes back; what is read is written alike.
pub fn header_value(data: &[u8]) {
    if let Ok(value) = std::str::from_utf8(data) {
        let wire = header::encode(value);
        let sent = http::HeaderValue::from_str(&wire).expect("an encoded value fits in a header");
        assert_eq!(sent.to_str().ok(), Some(&*wire), "visible ASCII only");
        assert_eq!(header::decode(sent.as_bytes()), Ok(Cow::Borrowed(value)));
        assert!(wire.len() <= value.len().div_ceil(3) * 4 + 11, "base64 and its markers at most");
        if header::is_token(value) {
            assert!(http::HeaderName::from_bytes(data).is_ok() && *wire == *value);
        }
    }
    if let Ok(value) = header::decode(data) {
        assert!(http::HeaderValue::from_bytes(data).is_ok(), "only what a header may hold is read");
        let again = header::encode(&value).into_owned();
        assert_eq!(header::decode(again.as_bytes()), Ok(value));
    }
}

/// Resource URIs, from `slug LF slug LF uri`: a mark comes off again, says whose the URI is whatever
/// the URI is, and never makes two upstreams' URIs alike.
pub fn uri(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.splitn(3, '\n');
    let [slug, other, own] = [(); 3].map(|()| parts.next().unwrap_or_default());
    if let Some((marked, inner)) = uri::unwrap(own) {
        assert!(uri::is_slug(marked));
        let again = uri::wrap(marked, &inner).expect("only slugs come off");
        assert_eq!(uri::unwrap(&again), Some((marked, inner)));
    }
    let Some(seen) = uri::wrap(slug, own) else {
        assert!(!uri::is_slug(slug));
        return;
    };
    assert_eq!(uri::unwrap(&seen), Some((slug, Cow::Borrowed(own))));
    assert!(seen.len() <= own.len() + slug.len() + "mcp-+:".len());
    if let Some(theirs) = uri::wrap(other, own) {
        assert_eq!(theirs == seen, slug == other, "two upstreams' URIs are never alike");
    }
    if let Some(twice) = uri::wrap(other, &seen) {
        assert_eq!(
            uri::unwrap(&twice),
            Some((other, Cow::Borrowed(&*seen))),
            "a mark is no passport"
        );
    }
}

/// Text for eyes: nothing harmful is left, harmless text is untouched, sizes are bounded.
pub fn text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let safe = terminal_safe(&text);
    let harmful = |c: char| is_harmful(c) && !matches!(c, '\n' | '\t');
    assert!(!safe.contains(harmful));
    assert_eq!(matches!(safe, Cow::Borrowed(_)), !text.contains(harmful));
    assert!(safe.len() <= text.len() * 6);
    let label = Label::new(&text);
    assert!(label.as_str().chars().count() <= LABEL_CHARS);
    assert!(!label.as_str().contains(is_harmful));
}
