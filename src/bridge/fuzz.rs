//! What must hold for any message at all, for the fuzzer and for `cargo test`: the edits are those of
//! a plain second implementation that works on trees, and every other token stays as it was written.

use crate::bridge::question::{Question, Reply};
use crate::bridge::request::{KEPT, RequestEdit, Stamp, own_members, request as edit_request};
use crate::bridge::required::Required;
use crate::bridge::response::{Bridged, ResponseEdit, response as edit_response};
use crate::bridge::tree::{Member, Node};
use crate::bridge::{initialize, listen, notification};
use crate::mcp::{ClientCapabilities, Era, Extensions, Method, Revision, Routing, meta, trace};
use crate::wire::json::{self, Kind};
use crate::wire::jsonrpc::{Message, Notification, Request, RequestId, Response};
use crate::wire::{splice::Splice, uri};
use bytes::Bytes;

/// The slug of the upstream, where several share the endpoint.
const SLUG: &str = "s";
/// What clients can be asked for.
const ASKED: [&str; 3] = ["sampling/createMessage", "elicitation/create", "roots/list"];
/// The id, token and name that are put in.
const ID: &[u8] = b"7001";
const TOKEN: &[u8] = b"\"7002\"";
const NAME: &[u8] = b"\"7003\"";

/// The methods whose results have places to edit, and one that has none.
const METHODS: [Method; 5] = [
    Method::ToolsCall,
    Method::PromptsGet,
    Method::ResourcesRead,
    Method::Complete,
    Method::ToolsList,
];

/// Who talks to whom.
struct Ends {
    client: Revision,
    upstream: Revision,
    slug: Option<&'static str>,
    private: bool,
    method: Method,
}

impl Ends {
    fn from_bytes(first: u8, second: u8) -> Self {
        let mut revisions = Revision::ALL.iter().cycle();
        let mut methods = METHODS.iter().cycle();
        Self {
            client: *revisions.nth(usize::from(first & 7)).unwrap_or(&Revision::MODERN),
            upstream: match (first & 8, first >> 6) {
                (0, 0) => Revision::LATEST_LEGACY,
                (0, 1) => Revision::V2025_06_18,
                (0, 2) => Revision::V2025_03_26,
                (0, _) => Revision::V2024_11_05,
                _ => Revision::MODERN,
            },
            slug: (first & 16 != 0).then_some(SLUG),
            private: first & 32 != 0,
            method: *methods.nth(usize::from(second & 7)).unwrap_or(&Method::ToolsCall),
        }
    }

    fn is(&self, client: Era, upstream: Era) -> bool {
        self.client.era() == client && self.upstream.era() == upstream
    }
}

/// Bridges one message between two ends: two bytes say who they are, the rest is the message.
///
/// # Panics
/// When the edits are not exactly those that the protocol demands.
pub fn bridge(data: &[u8]) {
    let [first, second, text @ ..] = data else { return };
    let ends = Ends::from_bytes(*first, *second);
    match Message::parse(Bytes::copy_from_slice(text)) {
        Ok(Message::Request(message)) => request(&ends, &message),
        Ok(Message::Response(message)) => response(&ends, &message),
        Ok(Message::Notification(message)) => notifications(&ends, &message),
        Err(_) => {}
    }
}

fn applied(edits: [Splice; 2], source: &Bytes) -> Node {
    let [first, second] = edits;
    let whole = first.apply(source);
    assert_eq!(second.chunks(source).concat(), whole, "two ways to apply one edit");
    Node::read(&whole)
}

fn request(ends: &Ends, message: &Request) {
    let stamp =
        Stamp::ours(Revision::MODERN, None, &ClientCapabilities::bridged(), &Extensions::default());
    let edit = RequestEdit {
        request: message,
        id: ID,
        progress_token: TOKEN,
        client: ends.client.era(),
        upstream: ends.upstream.era(),
        merged: ends.slug.is_some(),
        rename: ends.slug.map(|_| NAME),
        stamp: Some(&stamp),
        retry: None,
    };
    let bytes = &message.call.bytes;
    let mut tree = Node::read(bytes);
    model_request(ends, &mut tree);
    assert_eq!(applied([edit_request(&edit), edit_request(&edit)], bytes), tree);
    let _ = (listen::read_filter(&message.call), initialize::read_initialize(&message.call));
    if let Some(question) = Question::of_request(message) {
        asked(ends, question);
    }
}

/// A question that is made fit is fit, and stays json.
fn asked(ends: &Ends, question: Question) {
    let capabilities = ClientCapabilities { roots: true, ..ClientCapabilities::bridged() };
    let capabilities = capabilities.within(ends.client);
    let fit = |question: Question| question.for_client(&capabilities, ends.client, "id");
    let Ok(fitting) = fit(question) else { return };
    Node::read(&fitting.request(7, ends.slug));
    assert_eq!(fit(fitting.clone()).as_ref(), Ok(&fitting));
}

/// What a client says is json for either era, and says nothing of itself to the modern one.
fn replied(ends: &Ends, message: &Response) {
    let (reply, id) = (Reply::of_response(message), RequestId::from_number(7));
    for method in [Method::Elicit, Method::CreateMessage, Method::RootsList] {
        Node::read(&reply.response(&id, method, ends.client));
        let Ok(input) = reply.input(method) else { continue };
        let mut tree = Node::read(&input);
        let few = tree.all("_meta").next().is_none() && tree.all("resultType").next().is_none();
        assert!(few || tree.count() > json::MAX_MEMBERS);
    }
}

fn model_request(ends: &Ends, root: &mut Node) {
    root.set("id", ID);
    let method = root.text("method").and_then(|name| Method::parse(&name));
    if ends.is(Era::Legacy, Era::Modern) && root.all("params").next().is_none() {
        root.add("params", Node::Object(vec![]));
    }
    for params in root.all("params") {
        if let (Some(method), Some(_)) = (method, ends.slug) {
            rename(method, params);
        }
        for token in params.all("_meta").flat_map(|meta| meta.all(meta::PROGRESS_TOKEN)) {
            if token.is_token() {
                *token = Node::read(TOKEN);
            }
        }
        if ends.upstream.era() == Era::Modern {
            params.all("_meta").for_each(model_trace);
        }
        model_extensions(ends, params);
        if ends.client.era() != ends.upstream.era() {
            model_metadata(ends, params);
        }
    }
}

fn model_extensions(ends: &Ends, params: &mut Node) {
    if ends.is(Era::Modern, Era::Modern) && ends.slug.is_some() {
        let metas = params.all("_meta");
        let declared = metas.flat_map(|meta| meta.all(meta::CLIENT_CAPABILITIES));
        let extensions = declared.flat_map(|declared| declared.all("extensions"));
        extensions.for_each(|all| all.keep(|(id, _, _)| KEPT.contains(&id.as_str())));
    }
}

fn model_trace(meta: &mut Node) {
    let parents = meta.all("traceparent").filter_map(|parent| parent.as_text());
    let traced = parents.into_iter().any(|parent| trace::is_traceparent(&parent));
    meta.keep(|(key, _, value)| {
        let holds = |form: fn(&str) -> bool| value.as_text().is_some_and(|text| form(&text));
        match key.as_str() {
            "traceparent" => holds(trace::is_traceparent),
            "tracestate" => traced && holds(trace::is_tracestate),
            "baggage" => holds(trace::is_baggage),
            _ => true,
        }
    });
}

fn rename(method: Method, params: &mut Node) {
    match method.route() {
        Routing::Tool | Routing::Prompt => params.set("name", NAME),
        Routing::Resource => params.set("uri", NAME),
        Routing::Completion => {
            for reference in params.all("ref").filter(|reference| !reference.has_duplicates()) {
                match reference.text("type").as_deref() {
                    Some("ref/prompt") => reference.set_text("name", NAME),
                    Some("ref/resource") => reference.set_text("uri", NAME),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

fn model_metadata(ends: &Ends, params: &mut Node) {
    let kept = |members: Vec<Member>| -> Vec<Member> {
        let own = |member: &Member| meta::OF_REQUEST.contains(&member.0.as_str());
        members.into_iter().filter(|member| !own(member)).collect()
    };
    let meta = params.all("_meta").next().map(Node::take_members).map(kept);
    if ends.upstream.era() == Era::Legacy {
        if meta.is_some() {
            params.keep(|member| !meta::OF_RETRY.contains(&member.0.as_str()));
        }
        match meta {
            Some(meta) if meta.is_empty() => params.remove("_meta"),
            Some(meta) => params.all("_meta").for_each(|at| *at = Node::Object(meta.clone())),
            None => {}
        }
        return;
    }
    params.keep(|member| !meta::OF_RETRY.contains(&member.0.as_str()));
    let mut members = Node::read(&stamped()).take_members();
    let known = meta.is_some();
    members.extend(meta.unwrap_or_default());
    if !known {
        params.add("_meta", Node::Scalar(vec![]));
    }
    params.all("_meta").for_each(|at| *at = Node::Object(members.clone()));
}

fn stamped() -> Vec<u8> {
    format!("{{{}}}", own_members(Revision::MODERN, None, &ClientCapabilities::bridged()))
        .into_bytes()
}

fn response(ends: &Ends, message: &Response) {
    let edit = ResponseEdit {
        response: message,
        id: ID,
        method: ends.method,
        client: ends.client,
        upstream: ends.upstream,
        space: ends.slug,
        private: ends.private,
        task: None,
        extended: false,
    };
    replied(ends, message);
    if let Some(Ok(required)) = Required::read(message) {
        required.questions.into_iter().for_each(|(_, question)| asked(ends, question));
    }
    let mut tree = Node::read(&message.bytes);
    let relayed = model_response(ends, &mut tree, &structured(message));
    match (edit_response(&edit), edit_response(&edit)) {
        (Bridged::Edited { splice, code }, Bridged::Edited { splice: again, .. }) => {
            assert!(relayed, "relayed what a client of this kind must not see");
            assert_eq!(applied([splice, again], &message.bytes), tree);
            assert_eq!(code.is_some(), message.error_code().is_some());
        }
        (Bridged::Asks { splice, asks }, Bridged::Asks { splice: again, .. }) => {
            assert!(relayed && ends.is(Era::Modern, Era::Modern));
            assert_eq!(applied([splice, again], &message.bytes), tree);
            assert!(asks.state.is_none_or(|state| state.kind == Kind::String));
        }
        (Bridged::Urls(entries), _) => {
            assert!(!relayed && ends.is(Era::Modern, Era::Legacy) && !entries.is_empty());
        }
        (Bridged::Refused(why), _) => {
            assert!(!relayed || why.contains("too many members"), "{why}");
        }
        _ => unreachable!("one edit, two outcomes"),
    }
    let _ = (initialize::probe_verdict(message), initialize::read_initialize_result(message));
}

/// The structured content of a result, as it was written.
fn structured(message: &Response) -> Vec<String> {
    let bytes = &message.bytes;
    let Some(result) = message.result() else { return Vec::new() };
    let raw = result.all(bytes, "structuredContent").map(|value| value.span.of(bytes));
    raw.map(|raw| String::from_utf8_lossy(raw).into_owned()).collect()
}

/// Whether the response can be relayed, which the tree then shows.
fn model_response(ends: &Ends, root: &mut Node, raw: &[String]) -> bool {
    if root.all("id").next().is_none() {
        root.add("id", Node::Scalar(vec![]));
    }
    root.set("id", ID);
    root.all("error").all(|error| model_error(ends, error))
        && root.all("result").all(|result| model_result(ends, result, raw))
}

fn model_error(ends: &Ends, error: &mut Node) -> bool {
    let code = error.all("code").next().and_then(|code| code.integer()).unwrap_or_default();
    let names_uri = error.all("data").flat_map(|data| data.all("uri")).any(|uri| uri.is_string());
    let missing = names_uri && ends.method == Method::ResourcesRead;
    let Some(mapped) = mapped(ends, code, missing) else { return false };
    if mapped != code {
        error.set("code", mapped.to_string().as_bytes());
    }
    if let (Some(slug), -32042) = (ends.slug, code) {
        let lists = error.all("data").flat_map(|data| data.all("elicitations"));
        let lists = lists.filter(|list| !list.is_object());
        lists.flat_map(Node::objects).for_each(|params| model_sign(params, slug));
    }
    let about_a_uri = matches!(code, -32602 | -32002);
    !about_a_uri || error.all("data").flat_map(|data| data.all("uri")).all(|uri| mark(ends, uri))
}

/// The code that the client sees; `None` where the response is not relayed.
fn mapped(ends: &Ends, code: i64, missing_resource: bool) -> Option<i64> {
    if matches!(code, -32020 | -32022) {
        return None;
    }
    match (ends.client.era(), ends.upstream.era()) {
        (Era::Modern, Era::Legacy) => match code {
            -32042 => None,
            -32002 => Some(-32602),
            -32099..=-32020 => Some(-32603),
            code => Some(code),
        },
        (Era::Legacy, Era::Modern) if code == -32602 && missing_resource => Some(-32002),
        _ => Some(code),
    }
}

fn model_result(ends: &Ends, result: &mut Node, raw: &[String]) -> bool {
    let kind = result.text("resultType");
    let open = kind.as_deref().is_some_and(|kind| kind != "complete");
    match (ends.client.era(), ends.upstream.era()) {
        (Era::Legacy, Era::Modern) if open => return false,
        (Era::Modern, Era::Legacy) => model_hints(ends, result),
        (Era::Modern, Era::Modern) if !kinds(result).iter().all(|kind| is_kind(ends, kind)) => {
            return false;
        }
        (Era::Modern, Era::Modern) if kind.as_deref() == Some("input_required") => {
            return model_asks(ends, result);
        }
        (Era::Modern, Era::Modern) if kind.as_deref() == Some("task") => return false,
        (Era::Modern, Era::Modern) if !open => model_scope(ends, result),
        _ => {}
    }
    if ends.method == Method::ToolsCall && ends.client < ends.upstream {
        model_structured(ends, result, raw);
    }
    model_content(ends, result)
}

/// What asks for input says so plainly, and on a shared endpoint the user sees who asks.
fn model_asks(ends: &Ends, result: &mut Node) -> bool {
    let states = result.all("requestState").map(|state| state.is_string()).collect::<Vec<_>>();
    if result.has_duplicates() || states == [false] {
        return false;
    }
    let Some(requests) = result.all("inputRequests").next() else { return !states.is_empty() };
    let Node::Object(requests) = requests else { return false };
    requests.iter_mut().all(|(_, _, request)| model_question(ends, request))
}

fn model_question(ends: &Ends, request: &mut Node) -> bool {
    let method = request.text("method");
    if !request.is_object() || !method.as_deref().is_some_and(|name| ASKED.contains(&name)) {
        return false;
    }
    if let Some(slug) = ends.slug
        && request.all("method").any(|method| method.as_text().is_some_and(|m| m == ASKED[1]))
    {
        request.all("params").for_each(|params| model_sign(params, slug));
    }
    true
}

/// The upstream's name in front of what the user reads.
fn model_sign(params: &mut Node, slug: &str) {
    for message in params.all("message") {
        if let Node::Scalar(token) = message
            && let Some(text) = token.strip_prefix(b"\"")
        {
            *token = [format!("\"[{slug}] ").as_bytes(), text].concat();
        }
    }
}

/// Structured content that the client has no form for goes; where there is no other, it is said.
fn model_structured(ends: &Ends, result: &mut Node, raw: &[String]) {
    let objects = ends.client >= Revision::V2025_06_18;
    let is_known = |node: &Node| objects && node.is_object();
    let said = result.all("structuredContent").map(|node| is_known(node)).zip(raw);
    let lost = said.filter(|(known, _)| !known).map(|(_, raw)| raw).next();
    result.keep(|member| member.0 != "structuredContent" || is_known(&member.2));
    if let (Some(lost), Some(Node::Array(content))) = (lost, result.all("content").next())
        && content.is_empty()
    {
        content.push(Node::text_block(lost));
    }
}

fn kinds(result: &mut Node) -> Vec<Option<String>> {
    result.all("resultType").map(|kind| kind.as_text()).collect()
}

fn is_kind(ends: &Ends, kind: &Option<String>) -> bool {
    match (kind.as_deref(), ends.method) {
        (Some("complete"), _) | (Some("task"), Method::ToolsCall) => true,
        (Some("input_required"), method) => {
            matches!(method, Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead)
        }
        _ => false,
    }
}

fn model_scope(ends: &Ends, result: &mut Node) {
    if ends.private && cached(ends) {
        result.set("cacheScope", b"\"private\"");
        result.ensure("cacheScope", b"\"private\"");
    }
}

/// Each is added in front of what is there.
fn model_hints(ends: &Ends, result: &mut Node) {
    model_scope(ends, result);
    if cached(ends) {
        result.ensure("cacheScope", b"\"private\"");
        result.ensure("ttlMs", b"0");
    }
    result.set("resultType", b"\"complete\"");
    result.ensure("resultType", b"\"complete\"");
}

fn cached(ends: &Ends) -> bool {
    matches!(ends.method, Method::ResourcesRead | Method::ToolsList)
}

fn model_content(ends: &Ends, result: &mut Node) -> bool {
    match ends.method {
        Method::ToolsCall => {
            let content = result.all("content").flat_map(Node::objects);
            let blocks: Vec<bool> = content.map(|block| model_block(ends, block)).collect();
            let mut metas: Vec<&mut Node> = result.all("_meta").collect();
            let flat = metas.iter_mut().flat_map(|meta| meta.all("ui/resourceUri"));
            let flat: Vec<bool> = flat.map(|uri| mark(ends, uri)).collect();
            let ui = metas.into_iter().flat_map(|meta| meta.all("ui"));
            let ui = ui.flat_map(|ui| ui.all("resourceUri")).map(|uri| mark(ends, uri));
            ui.chain(blocks).chain(flat).all(|relayed| relayed)
        }
        Method::PromptsGet => {
            let messages = result.all("messages").flat_map(Node::objects);
            let content = messages.flat_map(|message| message.all("content"));
            content.flat_map(Node::objects).all(|block| model_block(ends, block))
        }
        Method::ResourcesRead => {
            let contents = result.all("contents").flat_map(Node::objects);
            contents.flat_map(|contents| contents.all("uri")).all(|uri| mark(ends, uri))
        }
        _ => true,
    }
}

fn model_block(ends: &Ends, block: &mut Node) -> bool {
    let types: Vec<String> = block.all("type").filter_map(|kind| kind.as_text()).collect();
    let is = |kind: &str| types.iter().any(|own| own == kind);
    let oldest = |revision| ends.client < ends.upstream && ends.client < revision;
    let link = is("resource_link");
    if link && oldest(Revision::V2025_06_18) {
        let relayed = block.all("uri").next().is_none_or(|uri| mark(ends, uri));
        let text = block.text("uri").unwrap_or_default();
        *block = Node::text_block(&text);
        return relayed;
    }
    if is("audio") && oldest(Revision::V2025_03_26) {
        *block = Node::text_block("[audio, which this client cannot play]");
        return true;
    }
    let own = !link || block.all("uri").all(|uri| mark(ends, uri));
    let mut inner = block.all("resource").flat_map(|resource| resource.all("uri"));
    own && (!is("resource") || inner.all(|uri| mark(ends, uri)))
}

/// Marks a URI; whether it could be marked if it must be.
fn mark(ends: &Ends, node: &mut Node) -> bool {
    let (Some(slug), true) = (ends.slug, node.is_string()) else { return true };
    let Some(text) = node.as_text() else { return false };
    let marked = uri::wrap(slug, &text).expect("the slug is a slug");
    *node = Node::read(&json::string_token(&marked));
    true
}

fn notifications(ends: &Ends, message: &Notification) {
    let bytes = &message.call.bytes;
    let splice = || notification::progress(message, TOKEN);
    let mut tree = Node::read(bytes);
    tree.all("params").for_each(|params| params.set("progressToken", TOKEN));
    assert_eq!(applied([splice(), splice()], bytes), tree);

    let text = message.call.param("uri").is_none_or(|uri| uri.kind != Kind::String)
        || message.call.param_text("uri").is_some();
    if !text {
        return;
    }
    let subscription = (ends.client.era() == Era::Modern).then_some(ID);
    let splice = || notification::updated(message, ends.slug, subscription);
    let mut tree = Node::read(bytes);
    for params in tree.all("params") {
        params.all("uri").for_each(|uri| assert!(mark(ends, uri)));
        if let Some(meta) = params.all("_meta").next() {
            meta.remove(meta::SUBSCRIPTION_ID);
        } else if subscription.is_some() {
            params.add("_meta", Node::Object(vec![]));
        }
        if let (Some(id), Some(meta)) = (subscription, params.all("_meta").next()) {
            meta.add(meta::SUBSCRIPTION_ID, Node::read(id));
        }
    }
    assert_eq!(applied([splice(), splice()], bytes), tree);
    let _ = (listen::subscription_number(message), listen::acknowledged_uris(message));
}
