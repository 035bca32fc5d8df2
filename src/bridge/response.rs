//! An upstream's response as the client gets it.

use crate::bridge::content::{Content, marked, objects};
use crate::bridge::input::{Asks, Entry, URL_REQUIRED, urls};
use crate::bridge::question;
use crate::bridge::task;
use crate::mcp::{Era, Method, Revision, Routing};
use crate::wire::json::{self, JsonError, Kind, Member, Object, Value};
use crate::wire::jsonrpc::{Outcome, Response};
use crate::wire::splice::Splice;

/// A response and what it is to become.
#[derive(Debug)]
pub struct ResponseEdit<'a> {
    /// The response as it came.
    pub response: &'a Response,
    /// The client's id, as a JSON token.
    pub id: &'a [u8],
    /// The method that was asked for.
    pub method: Method,
    /// The revision of the client.
    pub client: Revision,
    /// The revision that is spoken with the upstream.
    pub upstream: Revision,
    /// The slug that resource URIs get, where several upstreams share the endpoint.
    pub space: Option<&'a str>,
    /// The result may only be cached for this caller.
    pub private: bool,
    /// The client's id of the task that it is about, as a JSON token.
    pub task: Option<&'a [u8]>,
    /// Client and upstream have extensions in common, which may add kinds of results.
    pub extended: bool,
}

/// What becomes of a response.
#[derive(Debug)]
pub enum Bridged {
    /// These edits, and the error code after them if it is an error.
    Edited {
        /// The edits.
        splice: Splice,
        /// The error code that the client sees.
        code: Option<i64>,
    },
    /// The upstream asks the client for input. Its own state is still to be edited.
    Asks {
        /// The other edits.
        splice: Splice,
        /// What it asks for.
        asks: Asks,
    },
    /// The upstream wants URLs to be opened, and to be called again.
    Urls(Vec<Entry>),
    /// It cannot be said to this client, and why.
    Refused(&'static str),
}

/// The edits that turn the upstream's response into the client's.
pub fn response(edit: &ResponseEdit<'_>) -> Bridged {
    let mut splice = Splice::new();
    match edit.response.id_span {
        Some(at) => splice.replace(at, edit.id),
        None => {
            let member = [b"\"id\":", edit.id, b","].concat();
            splice.insert(edit.response.start + 1, &member);
        }
    }
    match &edit.response.outcome {
        Outcome::Result(result) => bridge_result(edit, result, splice),
        Outcome::Error { error, code } => bridge_error(edit, error, *code, splice),
    }
}

fn bridge_result(edit: &ResponseEdit<'_>, result: &Object, mut splice: Splice) -> Bridged {
    let bytes = &edit.response.bytes;
    let kind = result.text(bytes, "resultType");
    match (edit.client.era(), edit.upstream.era()) {
        (Era::Legacy, Era::Modern) if kind.as_deref().is_some_and(|kind| kind != COMPLETE) => {
            return Bridged::Refused("it asks for input that this client cannot be asked for");
        }
        (Era::Modern, Era::Legacy) => complete(edit, result, &mut splice),
        (Era::Modern, Era::Modern) if !has_known_kinds(edit, result) => {
            return Bridged::Refused("it answers with a kind of result that this method has not");
        }
        (Era::Modern, Era::Modern) if kind.as_deref() == Some(INPUT_REQUIRED) => {
            return asks(edit, result, splice);
        }
        (Era::Modern, Era::Modern)
            if edit.task.is_none() && kind.as_deref() == Some(task::KIND) =>
        {
            return Bridged::Refused("it answers with a task, for which this client cannot wait");
        }
        (Era::Modern, Era::Modern) if edit.private && kind.is_none_or(|kind| kind == COMPLETE) => {
            make_private(edit, result, &mut splice);
        }
        _ => {}
    }
    if edit.client < edit.upstream {
        unstructure(edit, result, &mut splice);
    }
    let renamed = edit.task.map(|id| task::rename(bytes, edit.method, result, id, &mut splice));
    let mut content = Content {
        bytes,
        slug: edit.space,
        client: edit.client,
        upstream: edit.upstream,
        splice: &mut splice,
    };
    match renamed.unwrap_or(Ok(())).and_then(|()| content.result(edit.method, result)) {
        Ok(()) => Bridged::Edited { splice, code: None },
        Err(JsonError::LoneSurrogate) => Bridged::Refused("its result holds a uri that is no text"),
        Err(_) => Bridged::Refused("its result has too many members to be read"),
    }
}

/// The upstream asks for input: the user must see who asks where several share the endpoint.
fn asks(edit: &ResponseEdit<'_>, result: &Object, mut splice: Splice) -> Bridged {
    let asks = match Asks::read(&edit.response.bytes, result) {
        Ok(asks) => asks,
        Err(why) => return Bridged::Refused(why),
    };
    let bytes = &edit.response.bytes;
    let signed = edit.space.map(|slug| question::sign_requests(bytes, result, slug, &mut splice));
    if let Some(Err(_)) = signed {
        return Bridged::Refused("it asks for input that cannot be read");
    }
    Bridged::Asks { splice, asks }
}

/// `resultType` of a result that asks for input.
const INPUT_REQUIRED: &str = "input_required";

/// Whether a modern result says of itself what a result of this method can be. What is neither the
/// end nor a demand for input where one may come is invalid, unless an extension may mean something
/// by it (MCP 2026-07-28 basic, "Result Type", and basic/patterns/mrtr, "Supported Requests").
fn has_known_kinds(edit: &ResponseEdit<'_>, result: &Object) -> bool {
    let asks = matches!(edit.method.route(), Routing::Tool | Routing::Prompt | Routing::Resource);
    let bytes = &edit.response.bytes;
    result.all(bytes, "resultType").all(|kind| match kind.text(bytes).as_deref() {
        Some(COMPLETE) => true,
        Some(INPUT_REQUIRED) => asks,
        Some(task::KIND) => true, // whether it may is judged above
        Some(_) => edit.extended,
        None => false,
    })
}

/// `resultType` of a final result.
const COMPLETE: &str = "complete";

/// What the modern era demands of a result and a legacy upstream does not say. Whatever a legacy
/// upstream means by a `resultType`, its result is the final one.
fn complete(edit: &ResponseEdit<'_>, result: &Object, splice: &mut Splice) {
    let bytes = &edit.response.bytes;
    let mut added: Vec<&[u8]> = Vec::new();
    for kind in result.all(bytes, "resultType") {
        if kind.text(bytes).as_deref() != Some(COMPLETE) {
            splice.replace(kind.span, b"\"complete\"");
        }
    }
    if result.get(bytes, "resultType").is_none() {
        added.push(b"\"resultType\":\"complete\"");
    }
    if edit.method.is_cacheable() {
        if result.get(bytes, "ttlMs").is_none() {
            added.push(b"\"ttlMs\":0");
        }
        let scope = private_scope(bytes, result, edit.private, splice);
        added.extend(scope);
    }
    splice.edit_members(result, &[], &added);
}

fn make_private(edit: &ResponseEdit<'_>, result: &Object, splice: &mut Splice) {
    if edit.method.is_cacheable() {
        let scope = private_scope(&edit.response.bytes, result, true, splice);
        splice.edit_members(result, &[], scope.as_slice());
    }
}

/// The member to add to a result that does not say who may cache it. With `always`, what it says
/// is replaced (MCP 2026-07-28 server/utilities/caching).
fn private_scope(
    bytes: &[u8],
    result: &Object,
    always: bool,
    splice: &mut Splice,
) -> Option<&'static [u8]> {
    for scope in result.all(bytes, "cacheScope") {
        if always && scope.text(bytes).as_deref() != Some("private") {
            splice.replace(scope.span, b"\"private\"");
        }
    }
    result.get(bytes, "cacheScope").is_none().then_some(b"\"cacheScope\":\"private\"")
}

/// Takes out structured content that the client has no form for: the first revisions know none,
/// the later ones of the legacy era know objects.
fn unstructure(edit: &ResponseEdit<'_>, result: &Object, splice: &mut Splice) {
    if edit.method != Method::ToolsCall || edit.client.structures_anything() {
        return;
    }
    let knows_objects = edit.client.has_structured_content();
    let unknown = |member: &Member| {
        let structured = json::key_is(&edit.response.bytes, member.key, "structuredContent");
        structured && !(knows_objects && member.value.kind == Kind::Object)
    };
    let members = result.members.iter().enumerate();
    let removed: Vec<usize> =
        members.filter(|(_, member)| unknown(member)).map(|(index, _)| index).collect();
    splice.edit_members(result, &removed, &[]);
    let lost = removed.first().and_then(|index| result.members.get(*index));
    if let Some(lost) = lost {
        say_as_text(&edit.response.bytes, result, lost.value, splice);
    }
}

/// A result whose only content was the structured one says it as text, as servers SHOULD do
/// themselves (MCP 2026-07-28 server/tools, "Structured Content").
fn say_as_text(bytes: &[u8], result: &Object, lost: Value, splice: &mut Splice) {
    let Some(content) = result.value(bytes, "content") else { return };
    let is_empty = json::elements(bytes, content.span).is_ok_and(|blocks| blocks.is_empty());
    if content.kind == Kind::Array && is_empty {
        let mut text = b"[{\"type\":\"text\",\"text\":".to_vec();
        json::encode_string(&String::from_utf8_lossy(lost.span.of(bytes)), &mut text);
        text.extend_from_slice(b"}]");
        splice.replace(content.span, &text);
    }
}

const HOP_BY_HOP: &str = "it did not accept the form of our request";

fn bridge_error(edit: &ResponseEdit<'_>, error: &Object, code: i64, mut splice: Splice) -> Bridged {
    let bytes = &edit.response.bytes;
    let (Ok(uris), slug) = (data_uris(bytes, error), edit.space) else {
        return Bridged::Refused("its error has too many members to be read");
    };
    let missing_resource = edit.method == Method::ResourcesRead && !uris.is_empty();
    let mapped = match (edit.client.era(), edit.upstream.era(), code) {
        (_, _, -32020 | -32022) => return Bridged::Refused(HOP_BY_HOP),
        (Era::Modern, Era::Legacy, URL_REQUIRED) => {
            return match urls(bytes, error) {
                Some(entries) => Bridged::Urls(entries),
                None => Bridged::Refused("it wants a url to be opened first"),
            };
        }
        (Era::Modern, Era::Legacy, -32002) => -32602,
        // what a legacy server chose freely means something else in the modern era
        (Era::Modern, Era::Legacy, -32099..=-32020) => -32603,
        (Era::Legacy, Era::Modern, -32602) if missing_resource => -32002,
        (_, _, code) => code,
    };
    for value in error.all(bytes, "code").filter(|_| mapped != code) {
        splice.replace(value.span, mapped.to_string().as_bytes());
    }
    for uri in uris.into_iter().filter(|_| matches!(code, -32602 | -32002)) {
        match marked(bytes, slug, uri) {
            Ok(Some(marked)) => splice.replace(uri.span, &json::string_token(&marked)),
            Ok(None) => {}
            Err(_) => return Bridged::Refused("its error holds a uri that is no text"),
        }
    }
    if let (Some(slug), -32042) = (slug, code)
        && sign_urls(bytes, error, slug, &mut splice).is_err()
    {
        return Bridged::Refused("its error has too many members to be read");
    }
    Bridged::Edited { splice, code: Some(mapped) }
}

/// The elicitations of an error that wants URLs to be opened (2025-11-25 client/elicitation, "URL
/// Elicitation Required Error"): the user must see who asks.
fn sign_urls(
    bytes: &[u8],
    error: &Object,
    slug: &str,
    splice: &mut Splice,
) -> Result<(), JsonError> {
    for data in objects(bytes, error, "data") {
        for list in data?.all(bytes, "elicitations").filter(|list| list.kind == Kind::Array) {
            let list = json::elements(bytes, list.span)?;
            for params in list.iter().filter(|params| params.kind == Kind::Object) {
                question::sign(bytes, &Object::read(bytes, params.span)?, slug, splice);
            }
        }
    }
    Ok(())
}

/// The places of `error.data.uri`.
fn data_uris(bytes: &[u8], error: &Object) -> Result<Vec<Value>, JsonError> {
    let mut uris = Vec::new();
    for data in objects(bytes, error, "data") {
        uris.extend(data?.all(bytes, "uri").filter(|uri| uri.kind == Kind::String));
    }
    Ok(uris)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::jsonrpc::Message;
    use bytes::Bytes;

    fn parse(text: &str) -> Response {
        match Message::parse(Bytes::copy_from_slice(text.as_bytes())) {
            Ok(Message::Response(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    struct Case {
        method: Method,
        client: Revision,
        upstream: Revision,
        space: Option<&'static str>,
        private: bool,
    }

    impl Case {
        fn same(method: Method) -> Self {
            Self {
                method,
                client: Revision::MODERN,
                upstream: Revision::MODERN,
                space: None,
                private: false,
            }
        }

        fn run(&self, text: &str) -> Result<String, &'static str> {
            let response = parse(text);
            let edit = ResponseEdit {
                response: &response,
                id: b"\"c\"",
                method: self.method,
                client: self.client,
                upstream: self.upstream,
                space: self.space,
                private: self.private,
                task: None,
                extended: false,
            };
            match super::response(&edit) {
                Bridged::Urls(_) => Err("urls"),
                Bridged::Edited { splice, .. } | Bridged::Asks { splice, .. } => {
                    let bytes = splice.apply(&response.bytes);
                    Ok(String::from_utf8(bytes.to_vec()).expect("utf-8"))
                }
                Bridged::Refused(why) => Err(why),
            }
        }
    }

    #[test]
    fn one_era_changes_the_id_alone() {
        let text = r#" { "result" :{"content":[{"type":"resource_link","uri":"file:\/\/x"}],"structuredContent":[1.0e5,12345678901234567890123],"new":{"a":1,"a":2}}, "id":7 ,"jsonrpc":"2.0"}"#;
        let out = Case::same(Method::ToolsCall).run(text).expect("edited");
        assert_eq!(out, text.replace("\"id\":7", "\"id\":\"c\""));
    }

    #[test]
    fn an_error_without_an_id_gets_the_one_it_can_only_mean() {
        let text = r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"m"}}"#;
        let out = Case::same(Method::ToolsCall).run(text).expect("edited");
        assert_eq!(out, r#"{"id":"c","jsonrpc":"2.0","error":{"code":-32000,"message":"m"}}"#);
    }

    #[test]
    fn uris_change_where_they_are_resources_and_nowhere_else() {
        let text = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"file:///x"},{"type":"resource_link","uri":"file:///x","icons":[{"src":"file:///x"}]},{"type":"resource","resource":{"uri":"file:///y","text":"file:///x"}}],"structuredContent":{"uri":"file:///x"},"_meta":{"ui":{"resourceUri":"ui://v"},"ui/resourceUri":"ui://w"}}}"#;
        let case = Case { space: Some("fs"), ..Case::same(Method::ToolsCall) };
        let expected = r#"{"jsonrpc":"2.0","id":"c","result":{"content":[{"type":"text","text":"file:///x"},{"type":"resource_link","uri":"mcp-fs+file:///x","icons":[{"src":"file:///x"}]},{"type":"resource","resource":{"uri":"mcp-fs+file:///y","text":"file:///x"}}],"structuredContent":{"uri":"file:///x"},"_meta":{"ui":{"resourceUri":"ui://fs+v"},"ui/resourceUri":"ui://fs+w"}}}"#;
        assert_eq!(case.run(text).expect("edited"), expected);
        let read = r#"{"jsonrpc":"2.0","id":1,"result":{"contents":[{"uri":"a:b","text":""}]}}"#;
        let case = Case { space: Some("fs"), ..Case::same(Method::ResourcesRead) };
        assert!(case.run(read).expect("edited").contains(r#""uri":"mcp-fs+a:b""#));
        let prompt = r#"{"jsonrpc":"2.0","id":1,"result":{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"a:b"}}}]}}"#;
        let case = Case { space: Some("fs"), ..Case::same(Method::PromptsGet) };
        assert!(case.run(prompt).expect("edited").contains(r#""uri":"mcp-fs+a:b""#));
    }

    #[test]
    fn an_escape_hides_no_resource() {
        let case = Case { space: Some("fs"), ..Case::same(Method::ToolsCall) };
        let result = |result: &str| {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
            case.run(&text).expect("edited")
        };
        let link = r#"{"content":[{"type":"\u0072esource_lin\u006b","uri":"a:b"}]}"#;
        assert!(result(link).contains(r#""uri":"mcp-fs+a:b""#));
        let app = r#"{"content":[],"_meta":{"ui/\u0072esourceUri":"ui://v"}}"#;
        assert!(result(app).contains(r#""ui://fs+v""#));
    }

    #[test]
    fn a_modern_client_gets_what_its_era_demands() {
        let case = |method| Case { upstream: Revision::LATEST_LEGACY, ..Case::same(method) };
        assert_eq!(
            case(Method::ToolsCall).run(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).expect("edited"),
            r#"{"jsonrpc":"2.0","id":"c","result":{"resultType":"complete"}}"#
        );
        assert_eq!(
            case(Method::ResourcesRead)
                .run(r#"{"jsonrpc":"2.0","id":1,"result":{"ttlMs":5,"contents":[]}}"#)
                .expect("edited"),
            r#"{"jsonrpc":"2.0","id":"c","result":{"resultType":"complete","cacheScope":"private","ttlMs":5,"contents":[]}}"#
        );
        let missing = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32002,"message":"m"}}"#;
        assert!(case(Method::ResourcesRead).run(missing).expect("edited").contains("-32602"));
    }

    #[test]
    fn a_legacy_client_gets_what_its_revision_can_say() {
        let case = |client, method| Case { client, ..Case::same(method) };
        let text = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","structuredContent":[1],"content":[{"type":"audio","data":"x"},{"type":"resource_link","uri":"a:b"}]}}"#;
        assert_eq!(
            case(Revision::V2024_11_05, Method::ToolsCall).run(text).expect("edited"),
            r#"{"jsonrpc":"2.0","id":"c","result":{"resultType":"complete","content":[{"type":"text","text":"[audio, which this client cannot play]"},{"type":"text","text":"a:b"}]}}"#
        );
        let newest = case(Revision::V2025_11_25, Method::ToolsCall).run(text).expect("edited");
        assert!(newest.contains("resource_link") && !newest.contains("structuredContent"));
        let asks = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","requestState":"s"}}"#;
        assert!(case(Revision::V2025_11_25, Method::ToolsCall).run(asks).is_err());
        let missing = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"m","data":{"uri":"a:b"}}}"#;
        let read = case(Revision::V2025_11_25, Method::ResourcesRead).run(missing).expect("edited");
        assert!(read.contains("-32002"));
        let other = case(Revision::V2025_11_25, Method::ToolsCall).run(missing).expect("edited");
        assert!(other.contains("-32602"));
    }

    #[test]
    fn faults_of_our_own_hop_are_not_relayed() {
        for code in [-32020, -32022] {
            let text =
                format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"m"}}}}"#);
            assert!(Case::same(Method::ToolsCall).run(&text).is_err());
        }
        let text = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32021,"message":"m"}}"#;
        assert!(Case::same(Method::ToolsCall).run(text).is_ok());
    }

    #[test]
    fn content_that_becomes_text_keeps_the_slug_of_its_uri() {
        let link = r#"{"type":"resource_link","name":"n","uri":"a:b"}"#;
        let audio = r#"{"data":"x","type":"audio"}"#;
        let oldest = Revision::V2024_11_05;
        let tool = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[{link},{audio}]}}}}"#);
        let case = Case { client: oldest, space: Some("fs"), ..Case::same(Method::ToolsCall) };
        let text = r#"{"type":"text","text":"mcp-fs+a:b"}"#;
        let note = r#"{"type":"text","text":"[audio, which this client cannot play]"}"#;
        let expected = tool.replace("\"id\":1", "\"id\":\"c\"").replace(link, text);
        assert_eq!(case.run(&tool).expect("edited"), expected.replace(audio, note));
        let prompt = format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"messages":[{{"content":{link},"role":"user"}},{{"content":[{audio}]}}]}}}}"#
        );
        let case = Case { method: Method::PromptsGet, ..case };
        let expected = prompt.replace("\"id\":1", "\"id\":\"c\"").replace(link, text);
        assert_eq!(case.run(&prompt).expect("edited"), expected.replace(audio, note));
    }

    #[test]
    fn no_second_member_hides_a_uri() {
        let case = |method| Case { space: Some("fs"), ..Case::same(method) };
        for (method, result) in [
            (Method::ToolsCall, r#""content":[],"content":[{"type":"resource_link","uri":"u:1"}]"#),
            (
                Method::ToolsCall,
                r#""content":[{"type":"text","type":"resource_link","uri":"u:1","u\u0072i":"u:1"}]"#,
            ),
            (
                Method::ToolsCall,
                r#""content":[{"resource":7,"resource":{"uri":"u:1"},"type":"resource","resource":{"uri":"u:1"}}]"#,
            ),
            (
                Method::ToolsCall,
                r#""_meta":{"ui":{}},"_meta":{"ui":{"resourceUri":"u:1","resourceUri":"u:1"}}"#,
            ),
            (Method::ResourcesRead, r#""contents":[[],{"uri":"u:1","uri":"u:1"}]"#),
            (
                Method::PromptsGet,
                r#""messages":[{"content":[],"content":{"type":"resource_link","uri":"u:1"}}]"#,
            ),
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{result}}}}}"#);
            let out = case(method).run(&text).expect("edited");
            let expected =
                text.replace("\"id\":1", "\"id\":\"c\"").replace("\"u:1\"", "\"mcp-fs+u:1\"");
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn what_cannot_be_marked_is_not_relayed() {
        let case = Case { space: Some("fs"), ..Case::same(Method::ResourcesRead) };
        let text = r#"{"jsonrpc":"2.0","id":1,"result":{"contents":[{"uri":"a:\ud800"}]}}"#;
        assert_eq!(case.run(text), Err("its result holds a uri that is no text"));
        let members = vec!["\"k\":0"; json::MAX_MEMBERS + 1].join(",");
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"contents":[{{{members}}}]}}}}"#);
        assert_eq!(case.run(&text), Err("its result has too many members to be read"));
        let alone = Case { space: None, ..case };
        assert!(alone.run(&text).is_ok());
    }

    #[test]
    fn a_personal_result_is_private_whatever_it_says() {
        let case = |upstream| Case { upstream, private: true, ..Case::same(Method::ResourcesRead) };
        for upstream in [Revision::LATEST_LEGACY, Revision::MODERN] {
            let said = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","ttlMs":1,"cacheScope" : "public"}}"#;
            let out = case(upstream).run(said).expect("edited");
            assert_eq!(out, said.replace("\"id\":1", "\"id\":\"c\"").replace("public", "private"));
            let unsaid = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","ttlMs":1}}"#;
            assert_eq!(
                case(upstream).run(unsaid).expect("edited"),
                r#"{"jsonrpc":"2.0","id":"c","result":{"cacheScope":"private","resultType":"complete","ttlMs":1}}"#
            );
        }
        let asks = r#"{"jsonrpc":"2.0","id":"c","result":{"resultType":"input_required","requestState":"s"}}"#;
        assert_eq!(case(Revision::MODERN).run(asks).expect("edited"), asks);
        let call = Case { method: Method::ToolsCall, ..case(Revision::MODERN) };
        let done = r#"{"jsonrpc":"2.0","id":"c","result":{"resultType":"complete"}}"#;
        assert_eq!(call.run(done).expect("edited"), done);
    }

    #[test]
    fn a_legacy_result_is_final_whatever_it_says() {
        let text = r#"{"jsonrpc":"2.0","id":"c","result":{"resultType":"input_required"}}"#;
        let case = Case { upstream: Revision::LATEST_LEGACY, ..Case::same(Method::ToolsCall) };
        assert_eq!(case.run(text).expect("edited"), text.replace("input_required", "complete"));
        let legacy = Case { client: Revision::LATEST_LEGACY, ..case };
        assert_eq!(legacy.run(text).expect("edited"), text);
    }

    #[test]
    fn codes_that_mean_something_else_in_the_other_era_are_mapped() {
        let error = |code| {
            format!(r#"{{"jsonrpc":"2.0","id":"c","error":{{"message":"m","code":{code}}}}}"#)
        };
        let case = Case { upstream: Revision::LATEST_LEGACY, ..Case::same(Method::ToolsCall) };
        for (code, mapped) in [
            (-32021, -32603),
            (-32050, -32603),
            (-32099, -32603),
            (-32100, -32100),
            (-32002, -32602),
            (-32019, -32019),
            (-32000, -32000),
            (7, 7),
        ] {
            assert_eq!(case.run(&error(code)), Ok(error(mapped)));
        }
        assert!(case.run(&error(-32042)).is_err());
        let legacy = Case { client: Revision::LATEST_LEGACY, ..case };
        for code in [-32042, -32050, -32002] {
            assert_eq!(legacy.run(&error(code)), Ok(error(code)));
        }
    }
}
