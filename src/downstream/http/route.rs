//! Which era a message belongs to. It says so itself, by its `_meta` or its version header, and
//! never by its method: official tests send old methods in new clothes (MCP 2026-07-28
//! basic/versioning, "Backward Compatibility").

use crate::mcp::meta;
use crate::mcp::{Era, Revision};
use crate::wire::jsonrpc::{Code, Message, Rejected, batch};
use bytes::Bytes;
use http::HeaderMap;
use http::header::HeaderName;

/// `MCP-Protocol-Version`.
pub const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// A POST, by its era.
#[derive(Debug)]
pub enum Opening {
    /// 2026-07-28 and whatever comes after it.
    Modern(Message),
    /// Up to 2025-11-25.
    Legacy(Message),
    /// Several messages at once, which one revision knows.
    Batch(Vec<Bytes>),
}

/// Reads the body and finds its era.
///
/// # Errors
/// What makes the message unreadable.
pub fn open(headers: &HeaderMap, body: Bytes) -> Result<Opening, Rejected> {
    if batch::is_batch(&body) {
        return batch::split(&body).map(Opening::Batch);
    }
    let message = Message::parse(body)?;
    let modern = says_modern(headers) || carries_version(&message);
    Ok(if modern { Opening::Modern(message) } else { Opening::Legacy(message) })
}

/// A version header that is present and is no legacy revision.
fn says_modern(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(&VERSION).iter().peekable();
    values.peek().is_some() && !values.any(|value| is_legacy(value.as_bytes()))
}

fn is_legacy(value: &[u8]) -> bool {
    let revision = std::str::from_utf8(value).ok().and_then(|text| Revision::parse(text.trim()));
    revision.is_some_and(|revision| revision.era() == Era::Legacy)
}

fn carries_version(message: &Message) -> bool {
    let call = match message {
        Message::Request(request) => &request.call,
        Message::Notification(notification) => &notification.call,
        Message::Response(_) => return false,
    };
    call.meta_value(meta::PROTOCOL_VERSION).is_some()
}

/// The legacy version header, if there is one.
///
/// # Errors
/// A value that no legacy revision has, or more than one value.
pub fn legacy_version(headers: &HeaderMap) -> Result<Option<Revision>, Rejected> {
    let mut values = headers.get_all(&VERSION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let revision = value.to_str().ok().and_then(|text| Revision::parse(text.trim()));
    match revision.filter(|revision| revision.era() == Era::Legacy && values.next().is_none()) {
        Some(revision) => Ok(Some(revision)),
        None => Err(Rejected::new(
            Code::InvalidRequest,
            "expected MCP-Protocol-Version once, and to be a supported revision",
        )),
    }
}
