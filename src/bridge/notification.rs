//! Notifications on their way to a client, and those that we send ourselves.

use crate::bridge::listen::Filter;
use crate::mcp::{ListKind, Method, meta};
use crate::wire::json;
use crate::wire::jsonrpc::Notification;
use crate::wire::splice::Splice;
use crate::wire::uri;
use bytes::Bytes;

/// Progress with the client's own token.
pub fn progress(notification: &Notification, token: &[u8]) -> Splice {
    let mut splice = Splice::new();
    if let Some(ours) = notification.call.param(meta::PROGRESS_TOKEN) {
        splice.replace(ours.span, token);
    }
    splice
}

/// `notifications/resources/updated` of an upstream for one client: with the slug that
/// the client knows the resource by, and with the client's own subscription, if it has one.
pub fn updated(
    notification: &Notification,
    space: Option<&str>,
    subscription: Option<&[u8]>,
) -> Splice {
    let call = &notification.call;
    let mut splice = Splice::new();
    if let (Some(slug), Some(uri)) = (space, call.param("uri")) {
        let wrapped = uri.text(&call.bytes).and_then(|text| uri::wrap(slug, &text));
        if let Some(wrapped) = wrapped {
            splice.replace(uri.span, &json::string_token(&wrapped));
        }
    }
    let tag = subscription.map(tag);
    match (&call.meta, &call.params, tag) {
        (Some(meta), _, tag) => {
            let is_tag = |key| json::key_is(&call.bytes, key, meta::SUBSCRIPTION_ID);
            let theirs = meta.members.iter().position(|member| is_tag(member.key));
            let added: Vec<&[u8]> = tag.as_deref().into_iter().collect();
            splice.edit_members(meta, theirs.as_slice(), &added);
        }
        (None, Some(params), Some(tag)) => {
            let member = [b"\"_meta\":{", tag.as_slice(), b"}"].concat();
            splice.edit_members(params, &[], &[&member]);
        }
        _ => {}
    }
    splice
}

fn tag(id: &[u8]) -> Vec<u8> {
    [b"\"", meta::SUBSCRIPTION_ID.as_bytes(), b"\":", id].concat()
}

fn build(method: Method, members: &[&[u8]]) -> Bytes {
    let mut out = b"{\"jsonrpc\":\"2.0\",\"method\":\"".to_vec();
    out.extend_from_slice(method.name().as_bytes());
    out.push(b'"');
    if !members.is_empty() {
        out.extend_from_slice(b",\"params\":{");
        out.extend_from_slice(&members.join(&b','));
        out.push(b'}');
    }
    out.push(b'}');
    Bytes::from(out)
}

fn tagged(subscription: Option<&[u8]>) -> Option<Vec<u8>> {
    subscription.map(|id| [b"\"_meta\":{", tag(id).as_slice(), b"}"].concat())
}

/// A request of ours is not waited for any more.
pub fn cancelled(id: u64) -> Bytes {
    build(Method::Cancelled, &[format!("\"requestId\":{id}").as_bytes()])
}

/// A subscription of the client ends (MCP 2026-07-28 basic/patterns/cancellation); `listen` is the id
/// of its request.
pub fn ended(listen: &[u8]) -> Bytes {
    build(Method::Cancelled, &[&[b"\"requestId\":", listen].concat()])
}

/// A list has changed; `subscription` is the client's listen request, if it has one.
pub fn list_changed(kind: ListKind, subscription: Option<&[u8]>) -> Bytes {
    let tag = tagged(subscription);
    build(kind.changed(), tag.as_deref().as_slice())
}

/// A resource may have changed.
pub fn resource_updated(uri: &str, subscription: Option<&[u8]>) -> Bytes {
    let mut member = b"\"uri\":".to_vec();
    json::encode_string(uri, &mut member);
    let tag = tagged(subscription);
    let members: Vec<&[u8]> = tag.as_deref().into_iter().chain([member.as_slice()]).collect();
    build(Method::ResourceUpdated, &members)
}

/// The first message of a listen stream: what of the filter is honoured.
pub fn acknowledged(subscription: &[u8], filter: &Filter) -> Bytes {
    let tag = tagged(Some(subscription)).unwrap_or_default();
    let notifications = [b"\"notifications\":", filter.to_json().as_bytes()].concat();
    build(Method::Acknowledged, &[&tag, &notifications])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::jsonrpc::Message;

    fn parse(text: &str) -> Notification {
        match Message::parse(Bytes::copy_from_slice(text.as_bytes())) {
            Ok(Message::Notification(notification)) => notification,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn progress_carries_the_token_of_its_client() {
        let text = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":65536,"progress":0.50,"x":1}}"#;
        let notification = parse(text);
        let out = progress(&notification, b"\"tok\"").apply(text.as_bytes());
        assert_eq!(out, text.replace("65536", "\"tok\""));
    }

    #[test]
    fn an_update_is_addressed_anew() {
        let legacy = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b","title":"t"}}"#;
        let out = updated(&parse(legacy), Some("fs"), Some(b"\"L\"")).apply(legacy.as_bytes());
        assert_eq!(
            out,
            r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"L"},"uri":"mcp-fs+a:b","title":"t"}}"#
        );
        let modern = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":9,"k":1},"uri":"a:b"}}"#;
        let out = updated(&parse(modern), None, Some(b"4")).apply(modern.as_bytes());
        assert_eq!(
            out,
            r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":4,"k":1},"uri":"a:b"}}"#
        );
        let out = updated(&parse(modern), None, None).apply(modern.as_bytes());
        assert_eq!(
            out,
            r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"_meta":{"k":1},"uri":"a:b"}}"#
        );
    }

    #[test]
    fn our_own_are_well_formed() {
        assert_eq!(
            list_changed(ListKind::Tools, None),
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#
        );
        for message in [
            list_changed(ListKind::Templates, Some(b"1")),
            resource_updated("a:\"b", Some(b"\"x\"")),
            acknowledged(b"1", &Filter::all_lists()),
        ] {
            let parsed = parse(std::str::from_utf8(&message).expect("utf-8"));
            assert!(parsed.call.meta_value(meta::SUBSCRIPTION_ID).is_some());
        }
    }
}
