//! Introductions in both eras and both directions: who we are to clients, who upstreams are to us.

use crate::bridge::request::own_members;
use crate::mcp::{
    ClientCapabilities, Era, Extensions, ListKind, LogLevel, Method, Revision, ServerCapabilities,
    meta,
};
use crate::wire::json::{self, Kind, Object};
use crate::wire::jsonrpc::error::result_json;
use crate::wire::jsonrpc::{Call, Code, Outcome, Rejected, RequestId, Response};
use bytes::Bytes;

/// Most characters of instructions that are taken from one upstream.
pub const MAX_INSTRUCTIONS: usize = 16 << 10;

/// What an upstream says of itself.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The revision that is spoken with it.
    pub revision: Revision,
    /// What it can do.
    pub capabilities: ServerCapabilities,
    /// The extensions that it supports.
    pub extensions: Extensions,
    /// How it wants to be used.
    pub instructions: Option<String>,
}

/// What the answer to the probe means (MCP 2026-07-28 basic/transports/stdio).
#[derive(Debug, Clone)]
pub enum Verdict {
    /// A modern server that speaks our revision.
    Modern(Peer),
    /// A modern server that speaks another revision that we speak.
    RetryAt(Revision),
    /// Not a modern server: `initialize` comes next.
    Legacy,
    /// A modern server with which we have no revision in common.
    Incompatible(String),
}

/// `server/discover` of ours.
pub fn discover_request(id: u64, revision: Revision) -> Bytes {
    own_request(id, Method::Discover, revision, "")
}

/// `initialize` of ours, which declares what can be asked for through this connection.
pub fn initialize_request(id: u64, capabilities: &ClientCapabilities) -> Bytes {
    Bytes::from(format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"initialize\",\"params\":{{\"protocolVersion\":\"{}\",\"capabilities\":{},\"clientInfo\":{}}}}}",
        Revision::LATEST_LEGACY.as_str(),
        capabilities.to_json(Era::Legacy, &Extensions::default()),
        meta::OURSELVES,
    ))
}

/// The end of a legacy handshake.
pub fn initialized_notification() -> Bytes {
    Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}")
}

/// A list request of ours; the cursor is a raw JSON string.
pub fn list_request(id: u64, revision: Revision, kind: ListKind, cursor: Option<&Bytes>) -> Bytes {
    let cursor = cursor.map(|cursor| format!("\"cursor\":{}", String::from_utf8_lossy(cursor)));
    own_request(id, kind.method(), revision, &cursor.unwrap_or_default())
}

/// `ping` of ours, for legacy servers.
pub fn ping_request(id: u64) -> Bytes {
    own_request(id, Method::Ping, Revision::LATEST_LEGACY, "")
}

/// `logging/setLevel` of ours.
pub fn set_level_request(id: u64, level: LogLevel) -> Bytes {
    let member = format!("\"level\":\"{}\"", level.as_str());
    own_request(id, Method::SetLevel, Revision::LATEST_LEGACY, &member)
}

fn own_request(id: u64, method: Method, revision: Revision, member: &str) -> Bytes {
    let mut params = Vec::new();
    if revision.era() == Era::Modern {
        params.push(format!(
            "\"_meta\":{{{}}}",
            own_members(revision, None, &ClientCapabilities::default())
        ));
    }
    if !member.is_empty() {
        params.push(member.to_owned());
    }
    let params = if params.is_empty() {
        String::new()
    } else {
        format!(",\"params\":{{{}}}", params.join(","))
    };
    let name = method.name();
    Bytes::from(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{name}\"{params}}}"))
}

/// Judges the answer to `server/discover`. Anything but a proper result or one of the errors of
/// the modern era, whatever its code, is an answer of a legacy server.
pub fn probe_verdict(response: &Response) -> Verdict {
    match (response.result(), response.error_code()) {
        (Some(result), _) => discovered(&response.bytes, result),
        (None, Some(-32022)) => refused(response),
        (None, Some(code @ (-32020 | -32021))) if is_modern(response, code) => {
            Verdict::Incompatible(format!("it refuses server/discover with {code}"))
        }
        _ => Verdict::Legacy,
    }
}

fn discovered(bytes: &[u8], result: &Object) -> Verdict {
    let Some(versions) = versions(bytes, result, "supportedVersions") else {
        return Verdict::Legacy;
    };
    if !versions.iter().any(|version| version == Revision::MODERN.as_str()) {
        return choose(&versions);
    }
    let capabilities = result.value(bytes, "capabilities").filter(|v| v.kind == Kind::Object);
    let capabilities = capabilities.and_then(|value| Object::read(bytes, value.span).ok());
    let capabilities = capabilities.unwrap_or_default();
    Verdict::Modern(Peer {
        revision: Revision::MODERN,
        capabilities: ServerCapabilities::read(bytes, &capabilities, Revision::MODERN),
        extensions: Extensions::read(bytes, &capabilities),
        instructions: instructions(bytes, result),
    })
}

fn versions(bytes: &[u8], object: &Object, key: &str) -> Option<Vec<String>> {
    let list = object.value(bytes, key).filter(|value| value.kind == Kind::Array)?;
    let elements = json::elements(bytes, list.span).ok()?;
    Some(elements.iter().filter_map(|v| v.text(bytes).map(|text| text.into_owned())).collect())
}

/// `error.data`, if it is an object.
fn data(response: &Response) -> Option<Object> {
    let Outcome::Error { error, .. } = &response.outcome else { return None };
    let data = error.value(&response.bytes, "data")?;
    (data.kind == Kind::Object).then(|| Object::read(&response.bytes, data.span).ok())?
}

/// Whether an error has the form that the modern era gives to its code: a legacy server may use
/// the number for anything.
fn is_modern(response: &Response, code: i64) -> bool {
    let required = || data(response)?.value(&response.bytes, "requiredCapabilities");
    code != -32021 || required().is_some_and(|value| value.kind == Kind::Object)
}

fn refused(response: &Response) -> Verdict {
    let versions = data(response).and_then(|data| versions(&response.bytes, &data, "supported"));
    versions.map_or(Verdict::Legacy, |versions| choose(&versions))
}

/// The best of the versions that a server names. One that names only legacy dates is met with
/// `initialize`, as the official SDKs do.
fn choose(versions: &[String]) -> Verdict {
    let known = versions.iter().filter_map(|version| Revision::parse(version)).max();
    match known {
        Some(revision) if revision.era() == Era::Modern => Verdict::RetryAt(revision),
        Some(_) => Verdict::Legacy,
        None => Verdict::Incompatible(format!(
            "it speaks {} and not {}",
            crate::base::label::Label::new(&versions.join(", ")),
            Revision::MODERN.as_str()
        )),
    }
}

fn instructions(bytes: &[u8], result: &Object) -> Option<String> {
    let text = result.text(bytes, "instructions")?;
    Some(text.chars().take(MAX_INSTRUCTIONS).collect())
}

/// Reads the answer to `initialize`.
///
/// # Errors
/// Why there is no session with this server.
pub fn read_initialize_result(response: &Response) -> Result<Peer, String> {
    let bytes = &response.bytes;
    let Some(result) = response.result() else {
        let code = response.error_code().unwrap_or_default();
        let text = response.error_message().unwrap_or_default();
        let text = crate::base::label::Label::new(&text);
        return Err(format!("it refuses initialize with {code}: {text}"));
    };
    let version = result.text(bytes, "protocolVersion").unwrap_or_default();
    let revision = Revision::parse(&version).filter(|revision| revision.era() == Era::Legacy);
    let revision = revision.ok_or_else(|| {
        let version = crate::base::label::Label::new(&version);
        format!("it wants protocol version {version}, which is not supported")
    })?;
    let capabilities = result.value(bytes, "capabilities").filter(|v| v.kind == Kind::Object);
    let capabilities = capabilities.and_then(|value| Object::read(bytes, value.span).ok());
    let capabilities = capabilities.unwrap_or_default();
    let extensions = Extensions::read(bytes, &capabilities);
    let mut capabilities = ServerCapabilities::read(bytes, &capabilities, revision);
    // the first revision had the method and no way to declare it
    let completes = capabilities.prompts.is_some() || capabilities.resources.is_some();
    capabilities.completions |= !revision.declares_completions() && completes;
    Ok(Peer { revision, capabilities, extensions, instructions: instructions(bytes, result) })
}

/// What a client's `initialize` says, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitializeParams {
    requested: Option<Revision>,
    /// What the client can be asked for, as far as the revision that is negotiated knows it.
    pub capabilities: ClientCapabilities,
    /// The extensions that it supports.
    pub extensions: Extensions,
}

impl InitializeParams {
    /// The revision to speak: the requested one if it is of the legacy era, or the newest of it.
    pub fn negotiate(&self) -> Revision {
        let legacy = self.requested.filter(|revision| revision.era() == Era::Legacy);
        legacy.unwrap_or(Revision::LATEST_LEGACY)
    }
}

/// Reads a client's `initialize`.
///
/// # Errors
/// -32602 with what was expected.
pub fn read_initialize(call: &Call) -> Result<InitializeParams, Rejected> {
    let invalid = |text| Rejected::new(Code::InvalidParams, text);
    let version = call.param_text("protocolVersion");
    let version =
        version.ok_or_else(|| invalid("expected params.protocolVersion to be a string"))?;
    for (key, text) in [
        ("capabilities", "expected params.capabilities to be an object"),
        ("clientInfo", "expected params.clientInfo to be an object"),
    ] {
        if call.param(key).is_none_or(|value| value.kind != Kind::Object) {
            return Err(invalid(text));
        }
    }
    let capabilities = call.param("capabilities");
    let capabilities = capabilities.and_then(|value| Object::read(&call.bytes, value.span).ok());
    let capabilities = capabilities.unwrap_or_default();
    let extensions = Extensions::read(&call.bytes, &capabilities);
    let capabilities = ClientCapabilities::read(&call.bytes, &capabilities);
    let requested = Revision::parse(&version);
    let mut params = InitializeParams { requested, capabilities, extensions };
    params.capabilities = capabilities.within(params.negotiate());
    Ok(params)
}

/// What an endpoint says of itself.
#[derive(Debug, Default)]
pub struct Description {
    /// What can be asked for.
    pub capabilities: ServerCapabilities,
    /// How the upstreams want to be used.
    pub instructions: Option<String>,
    /// The extensions of the one upstream behind it, and the revision that it says them in.
    pub extensions: Option<(Extensions, Revision)>,
}

impl Description {
    /// The extensions whose contract holds between a client of this revision and the upstream.
    fn extensions_for(&self, client: Revision) -> Extensions {
        let relayed = |(all, own): &(Extensions, Revision)| all.relayed(*own, client);
        self.extensions.as_ref().map(relayed).unwrap_or_default()
    }
}

/// The result of `initialize`.
pub fn initialize_result(revision: Revision, about: &Description) -> Vec<u8> {
    let mut out = format!(
        "{{\"protocolVersion\":\"{}\",\"capabilities\":{},\"serverInfo\":{}",
        revision.as_str(),
        about.capabilities.to_json(revision, &about.extensions_for(revision)),
        meta::OURSELVES,
    )
    .into_bytes();
    end_with_instructions(&mut out, about.instructions.as_deref());
    out
}

/// The result of `server/discover`. It is not worth keeping: upstreams come and go.
pub fn discover_result(about: &Description) -> Vec<u8> {
    let mut out = format!(
        "{{\"resultType\":\"complete\",\"supportedVersions\":[\"{}\"],\"capabilities\":{},\"ttlMs\":0,\"cacheScope\":\"private\",\"_meta\":{{\"{}\":{}}}",
        Revision::MODERN.as_str(),
        about.capabilities.to_json(Revision::MODERN, &about.extensions_for(Revision::MODERN)),
        meta::SERVER_INFO,
        meta::OURSELVES,
    )
    .into_bytes();
    end_with_instructions(&mut out, about.instructions.as_deref());
    out
}

fn end_with_instructions(out: &mut Vec<u8>, instructions: Option<&str>) {
    if let Some(text) = instructions {
        out.extend_from_slice(b",\"instructions\":");
        json::encode_string(text, out);
    }
    out.push(b'}');
}

/// The instructions of several upstreams as one text: each under its name. Control characters are
/// left out: the text goes into the context of a model, and its parts must not blur.
pub fn merge_instructions(parts: &[(String, String)]) -> Option<String> {
    let clean = |text: &str| -> String {
        text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
    };
    let sections = parts.iter().map(|(key, text)| format!("# {}\n\n{}", clean(key), clean(text)));
    let merged = sections.collect::<Vec<_>>().join("\n\n");
    (!merged.is_empty()).then_some(merged)
}

/// The graceful end of a listen stream.
pub fn listen_result(id: &RequestId) -> Bytes {
    let token = String::from_utf8_lossy(id.token());
    let key = meta::SUBSCRIPTION_ID;
    let result = format!("{{\"resultType\":\"complete\",\"_meta\":{{\"{key}\":{token}}}}}");
    result_json(id, result.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::jsonrpc::Message;

    fn answer(text: &str) -> Response {
        let message = format!(r#"{{"jsonrpc":"2.0","id":1,{text}}}"#);
        match Message::parse(Bytes::from(message)) {
            Ok(Message::Response(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn verdicts_are_those_that_were_measured() {
        let verdict = |text| format!("{:?}", probe_verdict(&answer(text)));
        let modern = r#""result":{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}"#;
        assert!(verdict(modern).starts_with("Modern"));
        for legacy in [
            r#""error":{"code":-32601,"message":"Method not found"}"#,
            r#""error":{"code":-32602,"message":"Invalid request parameters"}"#,
            r#""error":{"code":-32000,"message":"Server not initialized"}"#,
            r#""result":{"tools":[]}"#,
            r#""error":{"code":-32022,"message":"m","data":{"supported":["2025-11-25"]}}"#,
            r#""error":{"code":-32022,"message":"m"}"#,
            r#""error":{"code":-32021,"message":"m"}"#,
        ] {
            assert_eq!(verdict(legacy), "Legacy", "{legacy}");
        }
        let later = r#""error":{"code":-32022,"message":"m","data":{"supported":["2027-01-01"]}}"#;
        assert!(verdict(later).starts_with("Incompatible"));
        let needs = r#""error":{"code":-32021,"message":"m","data":{"requiredCapabilities":{}}}"#;
        assert!(verdict(needs).starts_with("Incompatible"));
        let same = r#""error":{"code":-32022,"message":"m","data":{"supported":["2026-07-28"]}}"#;
        assert!(verdict(same).starts_with("RetryAt"));
    }

    #[test]
    fn our_own_messages_are_messages() {
        for message in [
            discover_request(1, Revision::MODERN),
            initialize_request(2, &ClientCapabilities::bridged()),
            initialized_notification(),
            list_request(3, Revision::MODERN, ListKind::Tools, Some(&Bytes::from_static(b"\"\""))),
            list_request(3, Revision::LATEST_LEGACY, ListKind::Tools, None),
            set_level_request(4, LogLevel::Notice),
            listen_result(&RequestId::from_number(5)),
        ] {
            assert!(Message::parse(message.clone()).is_ok(), "{message:?}");
        }
        let about = Description {
            capabilities: ServerCapabilities::everything(),
            instructions: Some("a\n\"b".into()),
            extensions: None,
        };
        for result in [
            initialize_result(Revision::LATEST_LEGACY, &about),
            discover_result(&about),
            discover_result(&Description::default()),
        ] {
            assert!(json::check(&result).is_ok());
        }
    }

    #[test]
    fn a_session_is_agreed_on() {
        let peer = |text| read_initialize_result(&answer(text)).map(|peer| peer.revision);
        let result = r#""result":{"protocolVersion":"2024-11-05","capabilities":{"prompts":{}}}"#;
        assert_eq!(peer(result), Ok(Revision::V2024_11_05));
        assert!(read_initialize_result(&answer(result)).expect("a peer").capabilities.completions);
        assert!(peer(r#""result":{"protocolVersion":"2026-07-28","capabilities":{}}"#).is_err());
        assert!(peer(r#""error":{"code":-32600,"message":"no"}"#).is_err());
        let requested = |text| {
            let (requested, capabilities) = (Revision::parse(text), ClientCapabilities::default());
            InitializeParams { requested, capabilities, extensions: Extensions::default() }
                .negotiate()
        };
        assert_eq!(requested("2025-03-26"), Revision::V2025_03_26);
        assert_eq!(requested("2026-07-28"), Revision::V2025_11_25);
        assert_eq!(requested("1999-01-01"), Revision::V2025_11_25);
    }

    #[test]
    fn instructions_stay_apart() {
        let parts = [("a\u{1b}[2J".to_owned(), "use\u{0} me".to_owned()), ("b".into(), "x".into())];
        assert_eq!(merge_instructions(&parts).as_deref(), Some("# a[2J\n\nuse me\n\n# b\n\nx"));
        assert_eq!(merge_instructions(&[]), None);
    }
}
