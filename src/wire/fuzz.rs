//! What must hold for any JSON at all, for the fuzzer and for `cargo test`. Not part of the library's
//! interface.

use super::json::{
    JsonError, Kind, MAX_MEMBERS, Object, Span, Value, check, decode_string, elements, string_token,
};
use super::jsonrpc::{Call, Code, Message, Outcome, Rejected, RequestId, Response, batch, torn};
use super::splice::{Splice, removals};
use bytes::Bytes;
use serde::de::IgnoredAny;
use std::collections::HashSet;

/// JSON: accepts what `serde_json` accepts, and no more; every part is where it is said to be.
///
/// # Panics
/// If a property fails.
pub fn json(data: &[u8]) {
    let reference =
        std::str::from_utf8(data).is_ok() && serde_json::from_slice::<IgnoredAny>(data).is_ok();
    match check(data) {
        Err(JsonError::TooDeep) => {} // the reference has no such limit
        Err(error) => assert!(!reference, "refused: {error}"),
        Ok(value) => {
            assert!(reference, "accepted what the reference refuses");
            assert_eq!(value.span.of(data), data.trim_ascii(), "all but the space around it");
            walk(data, value);
        }
    }
}

/// Every value in a value.
fn walk(data: &[u8], value: Value) {
    match value.kind {
        Kind::Object => {
            let Ok(object) = Object::read(data, value.span) else { return };
            walk_object(data, &object);
        }
        Kind::Array => {
            let found = elements(data, value.span).expect("read before");
            inside(value.span, found.iter().map(|value| value.span));
            found.into_iter().for_each(|value| walk(data, value));
        }
        Kind::String => string(value.span.of(data)),
        Kind::Number => {
            let token = String::from_utf8_lossy(value.span.of(data));
            assert_eq!(value.integer(data), token.parse().ok(), "an integer");
        }
        Kind::Bool => assert_eq!(value.is_true(data), value.span.len() == 4),
        Kind::Null => assert_eq!(value.span.of(data), b"null"),
    }
}

fn walk_object(data: &[u8], object: &Object) {
    assert!(object.members.len() <= MAX_MEMBERS);
    inside(object.span, object.members.iter().map(super::json::Member::span));
    let mut keys = HashSet::new();
    let mut twice = false;
    for member in &object.members {
        string(member.key.of(data));
        walk(data, member.value);
        if let Ok(key) = decode_string(member.key.of(data)) {
            let first = object.value(data, &key).expect("it is there");
            twice |= !keys.insert(key.clone().into_owned());
            assert_eq!(object.all(data, &key).next(), Some(first), "the first of its key");
        }
    }
    assert!(!twice || object.duplicate(data).is_some(), "a key that occurs twice is told");
}

/// One after the other, inside of their container.
fn inside(container: Span, parts: impl Iterator<Item = Span>) {
    let mut done = container.start + 1;
    for part in parts {
        assert!(done <= part.start && part.start < part.end && part.end < container.end);
        done = part.end;
    }
}

/// A string is decoded as the reference does it, and comes back when it is written again.
fn string(token: &[u8]) {
    let own = decode_string(token);
    let reference = serde_json::from_slice::<String>(token);
    assert_eq!(own.as_deref().ok(), reference.as_deref().ok(), "decoded alike");
    if let Ok(text) = own {
        assert_eq!(decode_string(&string_token(&text)).as_deref(), Ok(&*text));
    }
}

/// JSON-RPC: what is taken for a message is one, and what is refused is answered with JSON.
///
/// # Panics
/// If a property fails.
pub fn message(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    starts(data, &bytes);
    match Message::parse(bytes.clone()) {
        Ok(Message::Request(request)) => {
            assert_eq!(request.id_span.of(data), request.id.token(), "the id as it was written");
            call(data, &request.call);
        }
        Ok(Message::Notification(notification)) => call(data, &notification.call),
        Ok(Message::Response(answer)) => response(data, &answer),
        Err(rejected) => refusal(data, &rejected),
    }
    if batch::is_batch(data) {
        match batch::split(&bytes) {
            Ok(parts) => {
                assert!((1..=batch::MAX_BATCH).contains(&parts.len()));
                for part in parts {
                    assert!(check(&part).is_ok_and(|value| value.kind == Kind::Object));
                }
            }
            Err(rejected) => refusal(data, &rejected),
        }
    }
}

/// The start of a message answers what the whole answers, or cannot be told to answer anything.
fn starts(data: &[u8], bytes: &Bytes) {
    let answered = match Message::parse(bytes.clone()) {
        Ok(Message::Response(response)) => response.id.and_then(|id| id.number()),
        Ok(_) => None,
        Err(_) => return,
    };
    for end in [data.len(), data.len() / 2, data.len() * 3 / 4] {
        let start = torn::answered(data.get(..end).unwrap_or(data));
        assert!(start.is_none() || start == answered, "{end}: {start:?}, not {answered:?}");
    }
}

/// What another reader makes of it. Some messages it cannot hold: huge numbers, lone surrogates.
fn reference(data: &[u8]) -> Option<serde_json::Value> {
    serde_json::from_slice(data).ok()
}

fn call(data: &[u8], call: &Call) {
    let Some(reference) = reference(data) else { return };
    assert_eq!(reference["jsonrpc"], "2.0");
    assert_eq!(reference["method"], *call.method_name(), "one method for every reader");
    assert_eq!(reference["params"].is_object(), call.params.is_some());
    assert_eq!(reference["params"]["_meta"].is_object(), call.meta.is_some());
    for key in ["name", "uri"] {
        let own = call.param_text(key);
        assert_eq!(reference["params"][key].as_str(), own.as_deref(), "one {key} for every reader");
    }
}

fn response(data: &[u8], response: &Response) {
    if let Some(id) = &response.id {
        assert_eq!(response.id_span.map(|span| span.of(data)), Some(id.token()));
    }
    assert_eq!(data.get(response.start as usize), Some(&b'{'));
    let Some(reference) = reference(data) else { return };
    assert_eq!(reference["result"].is_object(), response.result().is_some());
    if let (Outcome::Error { code, .. }, Some(theirs)) =
        (&response.outcome, reference["error"]["code"].as_i64())
    // it takes -0 for a float
    {
        assert_eq!(*code, theirs, "one code for every reader");
    }
}

fn refusal(data: &[u8], rejected: &Rejected) {
    assert!(matches!(rejected.code, Code::Parse | Code::InvalidRequest | Code::InvalidParams));
    assert_eq!(rejected.code == Code::Parse, check(data).is_err(), "-32700 is for what is no json");
    let answer: serde_json::Value = serde_json::from_slice(&rejected.to_json()).expect("json");
    assert_eq!(answer["id"].is_null(), rejected.id.is_none());
    assert_eq!(answer["error"]["code"], rejected.code.number());
    let id = rejected.id.as_ref().map_or(&b""[..], RequestId::token);
    assert!(id.is_empty() || memchr::memmem::find(data, id).is_some(), "an id that was sent");
}

/// Splices, from `mask added json`: members and elements go and come, the others keep every byte.
///
/// # Panics
/// If a property fails.
pub fn splice(data: &[u8]) {
    let [mask, added, json @ ..] = data else { return };
    let Ok(value) = check(json) else { return };
    let goes = |index: usize| mask >> (index % 8) & 1 == 1;
    let kept = |bytes: &[u8], spans: &[Span]| -> Vec<Vec<u8>> {
        let kept = spans.iter().enumerate().filter(|(index, _)| !goes(*index));
        kept.map(|(_, span)| span.of(bytes).to_vec()).collect()
    };
    if let (Kind::Object, Ok(object)) = (value.kind, Object::read(json, value.span)) {
        let spans: Vec<Span> = object.members.iter().map(|member| member.value.span).collect();
        let removed: Vec<usize> = (0..spans.len()).filter(|index| goes(*index)).collect();
        let new: Vec<&[u8]> = vec![b"\"new\":[]"; usize::from(added % 3)];
        let out = apply_both(json, || {
            let mut splice = Splice::new();
            splice.edit_members(&object, &removed, &new);
            splice
        });
        let mut want = vec![b"[]".to_vec(); new.len()];
        want.extend(kept(json, &spans));
        let value = check(&out).expect("still json");
        let object = Object::read(&out, value.span).expect("still an object");
        let values = object.members.iter().map(|member| member.value.span.of(&out).to_vec());
        assert_eq!(values.collect::<Vec<_>>(), want);
    }
    if value.kind == Kind::Array {
        let spans: Vec<Span> =
            elements(json, value.span).expect("read before").iter().map(|v| v.span).collect();
        let out = apply_both(json, || {
            let mut splice = Splice::new();
            removals(&spans, |index| !goes(index)).into_iter().for_each(|span| splice.remove(span));
            splice
        });
        let value = check(&out).expect("still json");
        let left = elements(&out, value.span).expect("still an array");
        let left: Vec<_> = left.iter().map(|value| value.span.of(&out).to_vec()).collect();
        assert_eq!(left, kept(json, &spans));
    }
}

/// In one piece and as slices alike.
fn apply_both(json: &[u8], splice: impl Fn() -> Splice) -> Bytes {
    let whole = splice().apply(json);
    assert_eq!(splice().chunks(&Bytes::copy_from_slice(json)).concat(), whole);
    whole
}
