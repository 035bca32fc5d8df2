//! Writes Server-Sent Events (WHATWG HTML §9.2) that carry one JSON-RPC message each.
//!
//! The shape is the one the official SDKs write and read: `event: message`, then `id` if there is
//! one, then one `data` line. Nothing here allocates more than the framing when the payload is large:
//! see [`event_parts`].

use crate::wire::line::unfold;
use bytes::{BufMut, Bytes, BytesMut};
use std::borrow::Cow;

/// A comment that keeps an idle stream open (MCP 2026-07-28 basic/transports/streamable-http);
/// complete on its own, so it may stand between any two events.
pub const KEEP_ALIVE: &[u8] = b":\r\n\r\n";

const EVENT: &[u8] = b"event: message\n";
const EVENT_DATA: &[u8] = b"event: message\ndata: ";
const ID: &[u8] = b"id: ";
const DATA: &[u8] = b"data: ";
const END: &[u8] = b"\n\n";

/// One message event in one buffer. `data` is valid JSON: raw line breaks in it become spaces.
/// An `id` that could break the framing (it holds CR, LF or NUL) is left out.
pub fn event(data: &[u8], id: Option<&str>) -> Bytes {
    let data = unfold(data);
    let framing = EVENT_DATA.len() + END.len() + id.map_or(0, |id| ID.len() + id.len() + 1);
    let mut out = BytesMut::with_capacity(framing + data.len());
    put_prefix(&mut out, id);
    out.put_slice(&data);
    out.put_slice(END);
    out.freeze()
}

/// The same event as [`event`], in three parts for a vectored write: what goes before the payload,
/// the payload (the caller's own bytes unless it had raw line breaks), what goes after it.
pub fn event_parts(data: Bytes, id: Option<&str>) -> (Bytes, Bytes, Bytes) {
    let unfolded = match unfold(&data) {
        Cow::Owned(copy) => Some(Bytes::from(copy)),
        Cow::Borrowed(_) => None,
    };
    let prefix = if id.is_some() {
        let mut out = BytesMut::new();
        put_prefix(&mut out, id);
        out.freeze()
    } else {
        Bytes::from_static(EVENT_DATA)
    };
    (prefix, unfolded.unwrap_or(data), Bytes::from_static(END))
}

/// The first event of a resumable stream: an id and no data, so that a client can resume before
/// anything was said (MCP 2025-11-25 basic/transports), with the reconnection delay in milliseconds
/// if one is to be told.
pub fn prime(id: &str, retry_ms: Option<u64>) -> Bytes {
    let mut out = BytesMut::new();
    put_id(&mut out, id);
    if let Some(ms) = retry_ms {
        out.put_slice(format!("retry: {ms}\n").as_bytes());
    }
    out.put_slice(DATA);
    out.put_slice(END);
    out.freeze()
}

/// The first event of an HTTP+SSE stream: where its client posts to (MCP 2024-11-05
/// basic/transports). `uri` holds no line break.
pub fn endpoint(uri: &str) -> Bytes {
    Bytes::from(format!("event: endpoint\ndata: {uri}\n\n"))
}

fn put_prefix(out: &mut BytesMut, id: Option<&str>) {
    out.put_slice(EVENT);
    if let Some(id) = id {
        put_id(out, id);
    }
    out.put_slice(DATA);
}

fn put_id(out: &mut BytesMut, id: &str) {
    if !id.contains(['\r', '\n', '\0']) {
        out.put_slice(ID);
        out.put_slice(id.as_bytes());
        out.put_u8(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes() {
        assert_eq!(event(b"{}", None), "event: message\ndata: {}\n\n");
        assert_eq!(event(b"{}", Some("7")), "event: message\nid: 7\ndata: {}\n\n");
        assert_eq!(event(b"{\r\n}\n", None), "event: message\ndata: {  } \n\n");
        assert_eq!(prime("a/0", Some(1500)), "id: a/0\nretry: 1500\ndata: \n\n");
        assert_eq!(endpoint("/m?s=1"), "event: endpoint\ndata: /m?s=1\n\n");
        assert_eq!(prime("a/0", None), "id: a/0\ndata: \n\n");
    }

    #[test]
    fn an_id_cannot_break_the_framing() {
        for id in ["1\ndata: forged", "1\rdata: forged", "1\0"] {
            assert_eq!(event(b"{}", Some(id)), "event: message\ndata: {}\n\n");
        }
    }

    #[test]
    fn parts_are_the_event_and_a_clean_payload_is_not_copied() {
        for (data, id) in [("{\"a\":1}", None), ("{}", Some("7")), ("{\n}", None)] {
            let whole = Bytes::copy_from_slice(data.as_bytes());
            let (prefix, payload, suffix) = event_parts(whole.clone(), id);
            assert_eq!([prefix, payload.clone(), suffix].concat(), event(data.as_bytes(), id));
            assert_eq!(payload.as_ptr() == whole.as_ptr(), !data.contains('\n'));
        }
    }
}
