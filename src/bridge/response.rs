//! An upstream's response as the client gets it.

use crate::mcp::{Era, Method, Revision, Routing};
use crate::wire::json::{self, Kind, Object, Span, Value};
use crate::wire::jsonrpc::{Outcome, Response};
use crate::wire::splice::Splice;
use crate::wire::uri;

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
    /// The era of the upstream.
    pub upstream: Era,
    /// The slug that resource URIs get, where several upstreams share the endpoint.
    pub space: Option<&'a str>,
    /// The result may only be cached for this caller.
    pub private: bool,
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
    let client = edit.client.era();
    if client == Era::Legacy && edit.upstream == Era::Modern {
        let kind = result.text(bytes, "resultType");
        if kind.is_some_and(|kind| kind != "complete") {
            return Bridged::Refused("it asks for input that this client cannot be asked for");
        }
        downgrade(edit, result, &mut splice);
    }
    if client == Era::Modern {
        match edit.upstream {
            Era::Legacy => complete(edit, result, &mut splice),
            Era::Modern => make_private(edit, result, &mut splice),
        }
    }
    if let Some(slug) = edit.space {
        Spaced { bytes, slug, splice: &mut splice }.result(edit.method, result);
    }
    Bridged::Edited { splice, code: None }
}

/// What the modern era demands of a result and a legacy upstream does not say.
fn complete(edit: &ResponseEdit<'_>, result: &Object, splice: &mut Splice) {
    let bytes = &edit.response.bytes;
    let mut added: Vec<&[u8]> = Vec::new();
    let cached = edit.method.is_cacheable();
    for (key, member, wanted) in [
        ("resultType", &b"\"resultType\":\"complete\""[..], true),
        ("ttlMs", b"\"ttlMs\":0", cached),
        ("cacheScope", b"\"cacheScope\":\"private\"", cached),
    ] {
        if wanted && result.get(bytes, key).is_none() {
            added.push(member);
        }
    }
    splice.edit_members(result, &[], &added);
}

fn make_private(edit: &ResponseEdit<'_>, result: &Object, splice: &mut Splice) {
    if let (true, Some(scope)) = (edit.private, result.value(&edit.response.bytes, "cacheScope")) {
        splice.replace(scope.span, b"\"private\"");
    }
}

/// Content that the client's revision has no form for.
fn downgrade(edit: &ResponseEdit<'_>, result: &Object, splice: &mut Splice) {
    let bytes = &edit.response.bytes;
    if edit.method != Method::ToolsCall {
        return;
    }
    let structured = result.members.iter().position(|member| {
        json::key_is(bytes, member.key, "structuredContent") && member.value.kind != Kind::Object
    });
    splice.edit_members(result, structured.as_slice(), &[]);
    let Some(content) = result.value(bytes, "content") else { return };
    for block in json::elements(bytes, content.span).unwrap_or_default() {
        let Some(object) = read(bytes, block) else { continue };
        let text = match object.text(bytes, "type").as_deref() {
            Some("audio") if !edit.client.has_audio() => {
                "[audio, which this client cannot play]".into()
            }
            Some("resource_link") if !edit.client.has_resource_links() => {
                object.text(bytes, "uri").unwrap_or_default()
            }
            _ => continue,
        };
        let mut replacement = b"{\"type\":\"text\",\"text\":".to_vec();
        json::encode_string(&text, &mut replacement);
        replacement.push(b'}');
        splice.replace(block.span, &replacement);
    }
}

fn read(bytes: &[u8], value: Value) -> Option<Object> {
    (value.kind == Kind::Object).then(|| Object::read(bytes, value.span).ok())?
}

/// The places of a result where resource URIs stand, and no others: never text, structured
/// content or icons.
struct Spaced<'a> {
    bytes: &'a [u8],
    slug: &'a str,
    splice: &'a mut Splice,
}

impl Spaced<'_> {
    fn result(&mut self, method: Method, result: &Object) {
        match method.route() {
            Routing::Tool => {
                self.each(result.value(self.bytes, "content"), Self::block);
                self.ui(result);
            }
            Routing::Prompt => self.each(result.value(self.bytes, "messages"), Self::message),
            Routing::Resource => self.each(result.value(self.bytes, "contents"), Self::contents),
            _ => {}
        }
    }

    fn each(&mut self, list: Option<Value>, visit: fn(&mut Self, &Object)) {
        let Some(list) = list.filter(|list| list.kind == Kind::Array) else { return };
        for element in json::elements(self.bytes, list.span).unwrap_or_default() {
            if let Some(object) = read(self.bytes, element) {
                visit(self, &object);
            }
        }
    }

    fn message(&mut self, message: &Object) {
        let Some(content) = message.value(self.bytes, "content") else { return };
        match content.kind {
            Kind::Array => self.each(Some(content), Self::block),
            _ => {
                if let Some(block) = read(self.bytes, content) {
                    self.block(&block);
                }
            }
        }
    }

    fn block(&mut self, block: &Object) {
        match block.text(self.bytes, "type").as_deref() {
            Some("resource_link") => self.uri(block),
            Some("resource") => {
                let resource = block.value(self.bytes, "resource");
                if let Some(resource) = resource.and_then(|value| read(self.bytes, value)) {
                    self.uri(&resource);
                }
            }
            _ => {}
        }
    }

    fn contents(&mut self, contents: &Object) {
        self.uri(contents);
    }

    fn uri(&mut self, object: &Object) {
        if let Some(uri) = object.value(self.bytes, "uri") {
            self.wrap(uri);
        }
    }

    fn wrap(&mut self, uri: Value) {
        let text = uri.text(self.bytes);
        if let Some(wrapped) = text.and_then(|text| uri::wrap(self.slug, &text)) {
            self.splice.replace(uri.span, &json::string_token(&wrapped));
        }
    }

    /// The resource that shows a result (MCP Apps).
    fn ui(&mut self, result: &Object) {
        let Some(meta) = result.value(self.bytes, "_meta").and_then(|v| read(self.bytes, v)) else {
            return;
        };
        if let Some(flat) = meta.value(self.bytes, "ui/resourceUri") {
            self.wrap(flat);
        }
        if let Some(ui) = meta.value(self.bytes, "ui").and_then(|v| read(self.bytes, v))
            && let Some(uri) = ui.value(self.bytes, "resourceUri")
        {
            self.wrap(uri);
        }
    }
}

const HOP_BY_HOP: &str = "it did not accept the form of our request";

fn bridge_error(edit: &ResponseEdit<'_>, error: &Object, code: i64, mut splice: Splice) -> Bridged {
    let bytes = &edit.response.bytes;
    let uri = data_uri(bytes, error);
    let mapped = match (edit.client.era(), edit.upstream, code) {
        (_, _, -32020 | -32022) => return Bridged::Refused(HOP_BY_HOP),
        (Era::Modern, Era::Legacy, -32042) => {
            return Bridged::Refused("it wants a url to be opened first");
        }
        (Era::Modern, Era::Legacy, -32002) => -32602,
        (Era::Legacy, Era::Modern, -32602)
            if edit.method == Method::ResourcesRead && uri.is_some() =>
        {
            -32002
        }
        (_, _, code) => code,
    };
    if mapped != code
        && let Some(value) = error.value(bytes, "code")
    {
        splice.replace(value.span, mapped.to_string().as_bytes());
    }
    if let (Some(slug), -32602 | -32002, Some((span, uri))) = (edit.space, code, uri)
        && let Some(wrapped) = uri::wrap(slug, &uri)
    {
        splice.replace(span, &json::string_token(&wrapped));
    }
    Bridged::Edited { splice, code: Some(mapped) }
}

/// `error.data.uri`, and where it stands.
fn data_uri(bytes: &[u8], error: &Object) -> Option<(Span, String)> {
    let data = read(bytes, error.value(bytes, "data")?)?;
    let uri = data.value(bytes, "uri")?;
    Some((uri.span, uri.text(bytes)?.into_owned()))
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
        upstream: Era,
        space: Option<&'static str>,
    }

    impl Case {
        fn same(method: Method) -> Self {
            Self { method, client: Revision::MODERN, upstream: Era::Modern, space: None }
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
                private: false,
            };
            match super::response(&edit) {
                Bridged::Edited { splice, .. } => {
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
    fn a_modern_client_gets_what_its_era_demands() {
        let case = |method| Case { upstream: Era::Legacy, ..Case::same(method) };
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
        let case = |client, method| Case { method, client, upstream: Era::Modern, space: None };
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
}
