//! A client's request as its upstream gets it.

use crate::mcp::{
    ClientCapabilities, Era, Extensions, LogLevel, Method, Revision, Routing, extension, meta,
    trace,
};
use crate::wire::json::{self, Key, Kind, Member, Object, Span, Value};
use crate::wire::jsonrpc::{Call, Request};
use crate::wire::splice::Splice;

/// Protocol metadata for a request whose client has none: legacy to modern.
#[derive(Debug, Clone)]
pub struct Stamp(String);

impl Stamp {
    /// Our own, for a client that can be asked for this and supports these extensions.
    pub fn ours(
        revision: Revision,
        level: Option<LogLevel>,
        capabilities: &ClientCapabilities,
        extensions: &Extensions,
    ) -> Self {
        Self(members(revision, level, &capabilities.to_json(Era::Modern, extensions)))
    }
}

/// The members of `_meta` that every modern request of ours carries.
pub(super) fn own_members(
    revision: Revision,
    level: Option<LogLevel>,
    capabilities: &ClientCapabilities,
) -> String {
    members(revision, level, &capabilities.to_json(Era::Modern, &Extensions::default()))
}

fn members(revision: Revision, level: Option<LogLevel>, capabilities: &str) -> String {
    let mut members = format!(
        "\"{}\":\"{}\",\"{}\":{},\"{}\":{}",
        meta::PROTOCOL_VERSION,
        revision.as_str(),
        meta::CLIENT_INFO,
        meta::OURSELVES,
        meta::CLIENT_CAPABILITIES,
        capabilities,
    );
    if let Some(level) = level {
        members.push_str(&format!(",\"{}\":\"{}\"", meta::LOG_LEVEL, level.as_str()));
    }
    members
}

/// What a request carries when it is repeated, as raw members of `params` (MCP 2026-07-28
/// basic/patterns/mrtr, "Client Requirements").
#[derive(Clone, Debug, Default)]
pub struct Retry(Vec<Vec<u8>>);

impl Retry {
    /// Answers by the raw keys of their questions, if there were questions, and the raw state
    /// that came with them, if there was one.
    pub fn new<'a>(
        answers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        state: Option<&[u8]>,
    ) -> Self {
        let [responses, request_state] = meta::OF_RETRY;
        let answers: Vec<Vec<u8>> =
            answers.map(|(key, value)| [key, b":", value].concat()).collect();
        let head = |name: &str| format!("\"{name}\":").into_bytes();
        let mut members = Vec::new();
        if !answers.is_empty() {
            members.push([&head(responses)[..], b"{", &answers.join(&b','), b"}"].concat());
        }
        members.extend(state.map(|state| [&head(request_state)[..], state].concat()));
        Self(members)
    }
}

/// A request and what it is to become.
#[derive(Debug)]
pub struct RequestEdit<'a> {
    /// The request as it came.
    pub request: &'a Request,
    /// The id that it gets, as a JSON token.
    pub id: &'a [u8],
    /// What replaces the client's progress token, as a JSON token.
    pub progress_token: &'a [u8],
    /// The era of the client.
    pub client: Era,
    /// The era of the upstream.
    pub upstream: Era,
    /// Several upstreams share the endpoint.
    pub merged: bool,
    /// What replaces the name or URI that the method is routed by, as a JSON string token.
    pub rename: Option<&'a [u8]>,
    /// Metadata for a modern upstream, when the client is legacy.
    pub stamp: Option<&'a Stamp>,
    /// What a modern upstream has asked a legacy client for, if it is sent again.
    pub retry: Option<&'a Retry>,
}

/// The edits that turn the client's request into the upstream's.
pub fn request(edit: &RequestEdit<'_>) -> Splice {
    let call = &edit.request.call;
    let mut splice = Splice::new();
    splice.replace(edit.request.id_span, edit.id);
    if let Some(token) = progress_token(call) {
        splice.replace(token.span, edit.progress_token);
    }
    if let (Some(name), Some(at)) = (edit.rename, routed_by(call)) {
        splice.replace(at, name);
    }
    match (edit.client, edit.upstream) {
        (Era::Modern, Era::Legacy) => remove_metadata(call, &mut splice),
        (Era::Legacy, Era::Modern) => modernize(call, edit, &mut splice),
        (Era::Modern, Era::Modern) => {
            drop_trace(call, &mut splice);
            if edit.merged {
                // one of several is not told of what holds between a client and one server (MCP
                // 2026-07-28 basic/versioning, "Extension Negotiation")
                let kept = |key| KEPT.iter().any(|id| json::key_is(&call.bytes, key, id));
                drop_extensions(call, |key| !kept(key), &mut splice);
            }
        }
        (Era::Legacy, Era::Legacy) => {}
    }
    splice
}

/// The members of `_meta` that are reserved for a trace context and hold none: no modern upstream
/// gets these. What vendors say of a trace goes with the trace it is about (W3C Trace Context 4.3).
fn no_trace(call: &Call, meta: &Object) -> Vec<usize> {
    let is = |member: &Member, name| json::key_is(&call.bytes, member.key, name);
    let holds = |member: &Member, form: fn(&str) -> bool| {
        member.value.text(&call.bytes).is_some_and(|text| form(&text))
    };
    let is_parent = |member: &Member| is(member, trace::TRACEPARENT);
    let traced = meta.members.iter().any(|m| is_parent(m) && holds(m, trace::is_traceparent));
    let is_none = |member: &Member| {
        is_parent(member) && !holds(member, trace::is_traceparent)
            || is(member, trace::TRACESTATE) && !(traced && holds(member, trace::is_tracestate))
            || is(member, trace::BAGGAGE) && !holds(member, trace::is_baggage)
    };
    let members = meta.members.iter().enumerate();
    members.filter(|(_, member)| is_none(member)).map(|(index, _)| index).collect()
}

fn drop_trace(call: &Call, splice: &mut Splice) {
    let Some(meta) = &call.meta else { return };
    let dropped = no_trace(call, meta);
    if !dropped.is_empty() {
        splice.edit_members(meta, &dropped, &[]);
    }
}

/// The extensions of a client that several upstreams as one can keep.
pub(super) const KEPT: [&str; 2] = [extension::APPS, meta::TASKS];

/// The call without some of the extensions that its client declares.
pub(super) fn drop_extensions(call: &Call, dropped: impl Fn(Key) -> bool, splice: &mut Splice) {
    let (bytes, Some(meta)) = (&call.bytes, &call.meta) else { return };
    let object = |value: Value| Object::read(bytes, value.span).ok();
    for declared in meta.all(bytes, meta::CLIENT_CAPABILITIES).filter_map(object) {
        for extensions in declared.all(bytes, "extensions").filter_map(object) {
            let members = extensions.members.iter().enumerate();
            let dropped = members.filter(|(_, member)| dropped(member.key));
            let dropped: Vec<usize> = dropped.map(|(index, _)| index).collect();
            splice.edit_members(&extensions, &dropped, &[]);
        }
    }
}

/// The client's progress token; anything but a string or a number asks for no progress (MCP
/// basic/patterns/progress).
pub fn progress_token(call: &Call) -> Option<Value> {
    let token = call.meta_value(meta::PROGRESS_TOKEN)?;
    matches!(token.kind, Kind::String | Kind::Number).then_some(token)
}

/// What `params.ref` of a completion refers to (MCP server/utilities/completion).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A prompt, by the name in this string value.
    Prompt(Value),
    /// A resource or template, by the URI in this string value.
    Resource(Value),
}

/// The reference of a completion; `None` for another shape. A member that occurs twice is another
/// shape too: who is asked must not depend on which of the two is read.
pub fn reference(call: &Call) -> Option<Reference> {
    let bytes = &call.bytes;
    let value = call.param("ref").filter(|value| value.kind == Kind::Object)?;
    let object = Object::read(bytes, value.span).ok()?;
    if object.duplicate(bytes).is_some() {
        return None;
    }
    let text = |key| object.value(bytes, key).filter(|value| value.text(bytes).is_some());
    match object.text(bytes, "type")?.as_ref() {
        "ref/prompt" => text("name").map(Reference::Prompt),
        "ref/resource" => text("uri").map(Reference::Resource),
        _ => None,
    }
}

/// Where the name or URI stands that the request is routed by.
fn routed_by(call: &Call) -> Option<Span> {
    let at = |key| call.param(key).map(|value| value.span);
    match Method::parse(&call.method_name())?.route() {
        Routing::Tool | Routing::Prompt => at("name"),
        Routing::Resource => at("uri"),
        Routing::Task => at("taskId"),
        Routing::Completion => match reference(call)? {
            Reference::Prompt(value) | Reference::Resource(value) => Some(value.span),
        },
        _ => None,
    }
}

/// The members of `_meta` that describe the request itself.
fn own(call: &Call, meta: &Object) -> Vec<usize> {
    named(call, meta, &meta::OF_REQUEST)
}

/// The places of the members with one of these names.
fn named(call: &Call, object: &Object, names: &[&str]) -> Vec<usize> {
    let is_one = |key: Key| names.iter().any(|name| json::key_is(&call.bytes, key, name));
    let members = object.members.iter().enumerate();
    members.filter(|(_, member)| is_one(member.key)).map(|(index, _)| index).collect()
}

/// Legacy servers know no metadata of requests and no retries; a `_meta` that held nothing else goes
/// with it.
fn remove_metadata(call: &Call, splice: &mut Splice) {
    let (Some(params), Some(meta)) = (&call.params, &call.meta) else { return };
    let is_of_retry =
        |key: Key| meta::OF_RETRY.iter().any(|name| json::key_is(&call.bytes, key, name));
    let removed = own(call, meta);
    let keeps_meta = removed.len() < meta.members.len();
    let goes =
        |member: &Member| is_of_retry(member.key) || !keeps_meta && member.value.span == meta.span;
    let members = params.members.iter().enumerate();
    let gone: Vec<usize> = members.filter(|(_, m)| goes(m)).map(|(index, _)| index).collect();
    if keeps_meta {
        splice.edit_members(meta, &removed, &[]);
    }
    if !gone.is_empty() {
        splice.edit_members(params, &gone, &[]);
    }
}

/// A legacy client repeats no request itself: what it says of a retry is not an upstream's own
/// state given back, so it does not get there.
fn modernize(call: &Call, edit: &RequestEdit<'_>, splice: &mut Splice) {
    let Some(Stamp(members)) = edit.stamp else { return };
    let mut added: Vec<&[u8]> = Vec::new();
    let stamped = format!("\"_meta\":{{{members}}}");
    match &call.meta {
        Some(meta) => {
            let removed = [own(call, meta), no_trace(call, meta)].concat();
            splice.edit_members(meta, &removed, &[members.as_bytes()]);
        }
        None => added.push(stamped.as_bytes()),
    }
    added.extend(edit.retry.iter().flat_map(|retry| retry.0.iter().map(Vec::as_slice)));
    match &call.params {
        Some(params) => splice.edit_members(params, &named(call, params, &meta::OF_RETRY), &added),
        None => {
            let params = [b"\"params\":{", added.join(&b',').as_slice(), b"}"].concat();
            splice.edit_members(&call.root, &[], &[&params]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::jsonrpc::Message;
    use bytes::Bytes;

    fn parse(text: &str) -> Request {
        match Message::parse(Bytes::copy_from_slice(text.as_bytes())) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn edited(text: &str, client: Era, upstream: Era, rename: Option<&[u8]>) -> String {
        let request = parse(text);
        let stamp = Stamp("\"p\":1".into());
        let edit = RequestEdit {
            request: &request,
            id: b"77",
            progress_token: b"88",
            client,
            upstream,
            merged: rename.is_some(),
            rename,
            stamp: Some(&stamp),
            retry: None,
        };
        let bytes = super::request(&edit).apply(&request.call.bytes);
        String::from_utf8(bytes.to_vec()).expect("utf-8")
    }

    const CALL: &str = r#"{ "jsonrpc":"2.0","id":"a","method":"tools\/call", "params":{"name":"x\u0041", "arguments":{"n":12345678901234567890123,"n":1.0e0},"_meta":{"progressToken":"t","v/k":[1] }} ,"extra":null}"#;

    #[test]
    fn one_era_changes_the_id_and_the_token() {
        let expected = CALL.replace("\"a\"", "77").replace("\"t\"", "88");
        assert_eq!(edited(CALL, Era::Legacy, Era::Legacy, None), expected);
        assert_eq!(edited(CALL, Era::Modern, Era::Modern, None), expected);
    }

    #[test]
    fn a_name_is_replaced_where_it_stands() {
        let expected =
            CALL.replace("\"a\"", "77").replace("\"t\"", "88").replace(r#""x\u0041""#, "\"y\"");
        assert_eq!(edited(CALL, Era::Legacy, Era::Legacy, Some(b"\"y\"")), expected);
        let complete = r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/resource","uri":"u"},"argument":{"name":"uri","value":"u"}}}"#;
        let expected = r#"{"jsonrpc":"2.0","id":77,"method":"completion/complete","params":{"ref":{"type":"ref/resource","uri":"w"},"argument":{"name":"uri","value":"u"}}}"#;
        assert_eq!(edited(complete, Era::Legacy, Era::Legacy, Some(b"\"w\"")), expected);
    }

    #[test]
    fn one_of_several_is_told_of_the_extensions_that_all_can_keep() {
        let call = |extensions: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a","_meta":{{"io.modelcontextprotocol/clientCapabilities":{{"sampling":{{}},{extensions}}},"v/k":1}}}}}}"#
            )
        };
        let all = r#""extensions":{ "x/y":{"n":1.0e0},"io.modelcontextprotocol\/ui":{"m":[1]},"io.modelcontextprotocol/tasks":{}},"extensions":{"x/y":{}}"#;
        let kept = r#""extensions":{ "io.modelcontextprotocol\/ui":{"m":[1]},"io.modelcontextprotocol/tasks":{}},"extensions":{}"#;
        let told =
            |extensions: &str, name| edited(&call(extensions), Era::Modern, Era::Modern, name);
        let as_one = |extensions: &str| call(extensions).replace(r#""id":1"#, r#""id":77"#);
        assert_eq!(told(all, Some(b"\"a\"")), as_one(kept));
        assert_eq!(told(all, None), as_one(all), "its contract holds for the client alone");
    }

    #[test]
    fn a_reference_names_one_thing_or_nothing() {
        let read = |reference: &str| {
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{{"ref":{reference}}}}}"#
            );
            let call = parse(&text).call;
            Some(match super::reference(&call)? {
                Reference::Prompt(value) => format!("prompt {}", value.text(&call.bytes)?),
                Reference::Resource(value) => format!("resource {}", value.text(&call.bytes)?),
            })
        };
        assert_eq!(read(r#"{"type":"ref/prompt","name":"a"}"#).as_deref(), Some("prompt a"));
        assert_eq!(read(r#"{"uri":"a:b","type":"ref/resource"}"#).as_deref(), Some("resource a:b"));
        for other in [
            r#""a""#,
            "[]",
            "{}",
            r#"{"type":"ref/tool","name":"a"}"#,
            r#"{"type":"ref/prompt","uri":"a"}"#,
            r#"{"type":"ref/prompt","name":7}"#,
            r#"{"type":"ref/prompt","name":"a","n\u0061me":"b"}"#,
            r#"{"type":"ref/prompt","name":"a","type":"ref/resource","uri":"b"}"#,
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_progress_token_stays() {
        for token in ["null", "true", "[]", "{}"] {
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":77,"method":"m","params":{{"_meta":{{"progressToken":{token}}}}}}}"#
            );
            assert_eq!(edited(&text, Era::Legacy, Era::Legacy, None), text);
        }
    }

    #[test]
    fn metadata_goes_and_nothing_else() {
        let modern = |rest: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28",{rest}"io.modelcontextprotocol/clientCapabilities":{{}}}},"name":"x"}}}}"#
            )
        };
        assert_eq!(
            edited(&modern(""), Era::Modern, Era::Legacy, None),
            r#"{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{"name":"x"}}"#
        );
        assert_eq!(
            edited(&modern("\"progressToken\":5,"), Era::Modern, Era::Legacy, None),
            r#"{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{"_meta":{"progressToken":88},"name":"x"}}"#
        );
    }

    #[test]
    fn metadata_comes_wherever_there_is_room() {
        let cases = [
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#,
                r#"{"params":{"_meta":{"p":1}},"jsonrpc":"2.0","id":77,"method":"m"}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{}}"#,
                r#"{"jsonrpc":"2.0","id":77,"method":"m","params":{"_meta":{"p":1}}}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"io.modelcontextprotocol/clientInfo":0,"k":1}}}"#,
                r#"{"jsonrpc":"2.0","id":77,"method":"m","params":{"_meta":{"p":1,"k":1}}}"#,
            ),
        ];
        for (before, after) in cases {
            assert_eq!(edited(before, Era::Legacy, Era::Modern, None), after);
        }
    }

    #[test]
    fn a_retry_carries_what_was_asked_for_and_the_state_as_it_was_given() {
        let message = parse(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"requestState":"mine","name":"x","inputResponse\u0073":{}}}"#,
        );
        let answers: [(&[u8], &[u8]); 2] = [(br#""a\u0062""#, b"{ }"), (b"\"\"", b"{\"n\":1.0e0}")];
        let answers = Retry::new(answers.into_iter(), Some(br#""\/\u0041\ud800""#));
        let state_alone = Retry::new(std::iter::empty(), Some(b"\"s\""));
        let stamp = Stamp("\"p\":1".into());
        let edited = |retry: Option<&Retry>| {
            let edit = RequestEdit {
                request: &message,
                id: b"2",
                progress_token: b"2",
                client: Era::Legacy,
                upstream: Era::Modern,
                merged: false,
                rename: None,
                stamp: Some(&stamp),
                retry,
            };
            let bytes = request(&edit).apply(&message.call.bytes);
            let text = String::from_utf8(bytes.to_vec()).expect("utf-8");
            let params = text.split("\"params\":").nth(1).expect("params").to_owned();
            params.trim_end_matches('}').to_owned()
        };
        assert_eq!(edited(None), r#"{"_meta":{"p":1},"name":"x""#);
        assert_eq!(
            edited(Some(&answers)),
            r#"{"_meta":{"p":1},"inputResponses":{"a\u0062":{ },"":{"n":1.0e0}},"requestState":"\/\u0041\ud800","name":"x""#
        );
        assert_eq!(edited(Some(&state_alone)), r#"{"_meta":{"p":1},"requestState":"s","name":"x""#);
    }
}
