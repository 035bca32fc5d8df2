//! How an entry is reached: a child process, streamable HTTP, or the built-in server.

use std::collections::HashSet;
use std::path::PathBuf;

use super::document::{Node, Value};
use super::dotenv;
use super::entry::Fields;
use super::fault::Findings;
use super::model::{EnvPattern, Http, MAX_URLS, SecretText, Stdio, Transport};
use super::read;
use super::sandbox;
use super::substitute::OWN_PREFIX;
use super::url::{HttpUrl, Scheme};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stdio,
    Http,
    Sse,
    Builtin,
}

const KINDS: &[(&str, Kind)] = &[
    ("stdio", Kind::Stdio),
    ("http", Kind::Http),
    ("sse", Kind::Sse),
    ("builtin", Kind::Builtin),
    ("streamableHttp", Kind::Http),
    ("streamable-http", Kind::Http),
];

/// Reads the transport of an entry.
pub(super) fn read(fields: &Fields<'_>, findings: &mut Findings) -> Option<Transport> {
    match kind(fields, findings)? {
        Kind::Stdio => stdio(fields, findings).map(Transport::Stdio),
        Kind::Http => {
            if let Some(node) = fields.own("sandbox") {
                let message = "`sandbox` has no meaning without a process and is ignored";
                findings.warning(node.span.start, message);
            }
            http(fields, findings).map(Transport::Http)
        }
        Kind::Builtin => Some(Transport::Builtin),
        Kind::Sse => {
            let at = fields.get("type").map_or(fields.entry.key_span.start, |n| n.span.start);
            findings.error(at, "upstreams of type \"sse\" are not supported yet");
            None
        }
    }
}

/// `type` where it stands; else `command` means a process and `url` means HTTP.
fn kind(fields: &Fields<'_>, findings: &mut Findings) -> Option<Kind> {
    let (command, url) = (fields.own("command"), fields.own("url"));
    if let Some(node) = fields.get("type") {
        let kind = read::one_of(node, KINDS, findings)?;
        let unused = if kind == Kind::Stdio { ("url", url) } else { ("command", command) };
        if let (key, Some(node)) = unused {
            let message = format!("`{key}` has no meaning for this type and is ignored");
            findings.warning(node.span.start, message);
        }
        return Some(kind);
    }
    match (command, url) {
        (Some(_), None) => Some(Kind::Stdio),
        (None, Some(_)) => Some(Kind::Http),
        (Some(_), Some(node)) => {
            findings.error(node.span.start, "both `command` and `url`: say which with `type`");
            None
        }
        (None, None) => {
            let at = fields.entry.node.span.start;
            findings.expected(at, "`command` or `url`", "neither");
            None
        }
    }
}

// ---- child processes ----

fn stdio(fields: &Fields<'_>, findings: &mut Findings) -> Option<Stdio> {
    let command = required(fields, "command", findings);
    let args = fields.read("args", findings, |node, findings| arguments(fields, node, findings));
    let cwd = fields.read("cwd", findings, |node, findings| fields.text(node, findings));
    let mut env = env_file(fields, findings);
    // Defaults first, so that the entry's own values win.
    for node in [fields.default("env"), fields.own("env")].into_iter().flatten() {
        env.extend(environment(fields, node, findings));
    }
    let inherit_all = fields.read("inheritParentEnv", findings, read::boolean);
    let filter = fields.read("envFilter", findings, read::words).unwrap_or_default();
    let sandbox = Box::new(sandbox::read(fields, findings));
    Some(Stdio {
        command: command?,
        args: args.unwrap_or_default(),
        cwd: cwd.map(|path| PathBuf::from(fields.around.environment.absolute(&path))),
        env,
        inherit_all: inherit_all.unwrap_or(false),
        filter: filter.iter().map(|pattern| env_pattern(pattern)).collect(),
        sandbox,
    })
}

/// A text that must be there and not be empty.
fn required(fields: &Fields<'_>, key: &str, findings: &mut Findings) -> Option<String> {
    let Some(node) = fields.get(key) else {
        findings.error(fields.entry.node.span.start, format!("`{key}` is missing"));
        return None;
    };
    let text = fields.text(node, findings)?;
    if text.trim().is_empty() {
        findings.error(node.span.start, format!("`{key}` is empty"));
        return None;
    }
    Some(text)
}

fn arguments(fields: &Fields<'_>, node: &Node, findings: &mut Findings) -> Option<Vec<String>> {
    let texts = read::strings(node, findings)?;
    let expand = |(node, text)| fields.expand(node, text, findings);
    Some(texts.into_iter().filter_map(expand).collect())
}

fn env_pattern(pattern: &str) -> EnvPattern {
    let (deny, rest) = match pattern.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let (name, prefix) = match rest.strip_suffix('*') {
        Some(name) => (name, true),
        None => (rest, false),
    };
    EnvPattern { deny, name: name.to_owned(), prefix }
}

type Env = Vec<(String, Option<SecretText>)>;

/// The variables of `envFile`.
fn env_file(fields: &Fields<'_>, findings: &mut Findings) -> Env {
    let Some(node) = fields.get("envFile") else { return Vec::new() };
    let Some(path) = fields.text(node, findings) else { return Vec::new() };
    let Some(text) = file(fields, node, &path, findings) else { return Vec::new() };
    match dotenv::read(text) {
        Ok(variables) => {
            let own = |(name, _): &(String, String)| !name.starts_with(OWN_PREFIX);
            let secret = |(name, value)| (name, Some(SecretText::new(value)));
            variables.into_iter().filter(own).map(secret).collect()
        }
        Err(line) => {
            findings.error(node.span.start, format!("line {line} of the file is not NAME=value"));
            Vec::new()
        }
    }
}

/// What the caller read for a path.
fn file<'a>(
    fields: &Fields<'a>,
    node: &Node,
    path: &str,
    findings: &mut Findings,
) -> Option<&'a str> {
    let absolute = fields.around.environment.absolute(path);
    let problem = match fields.around.environment.files.get(&absolute) {
        Some(Ok(text)) if text.len() <= dotenv::MAX_REFERENCED_FILE_BYTES => return Some(text),
        Some(Ok(_)) => format!("it is longer than {} bytes", dotenv::MAX_REFERENCED_FILE_BYTES),
        Some(Err(problem)) => problem.clone(),
        None => "it was not read".to_owned(),
    };
    findings.error(node.span.start, format!("the file {absolute} cannot be used: {problem}"));
    None
}

/// `env`: an object, or an array of `"NAME=value"` and `"NAME"` (inherited).
fn environment(fields: &Fields<'_>, node: &Node, findings: &mut Findings) -> Env {
    let mut env = Vec::new();
    match &node.value {
        Value::Object(members) => {
            for member in members {
                if !variable_name(&member.key, member.key_span.start, findings) {
                    continue;
                }
                let value = env_value(fields, &member.node, findings);
                env.extend(value.map(|value| (member.key.clone(), value)));
            }
        }
        Value::Array(elements) => {
            env.extend(
                elements.iter().filter_map(|element| env_element(fields, element, findings)),
            );
        }
        Value::Invalid => {}
        _ => findings.expected(
            node.span.start,
            "an object, or an array of \"NAME=value\"",
            node.kind(),
        ),
    }
    env
}

/// A value of `env`: `null` removes what would be inherited.
fn env_value(
    fields: &Fields<'_>,
    node: &Node,
    findings: &mut Findings,
) -> Option<Option<SecretText>> {
    match &node.value {
        Value::Null => Some(None),
        // VS Code accepts numbers, and people write ports that way.
        Value::Number(text) => Some(Some(SecretText::new(text.clone()))),
        _ => secret(fields, node, findings).map(Some),
    }
}

fn env_element(
    fields: &Fields<'_>,
    node: &Node,
    findings: &mut Findings,
) -> Option<(String, Option<SecretText>)> {
    let text = read::string(node, findings)?;
    let at = node.span.start;
    let Some((name, value)) = text.split_once('=') else {
        let name = text.trim();
        if !variable_name(name, at, findings) {
            return None;
        }
        let Some(value) = fields.around.environment.variable(name) else {
            // The name may be a value that lost its `NAME=`: it is not repeated.
            findings.warning(at, "no variable of this name is set; nothing is inherited");
            return None;
        };
        return Some((name.to_owned(), Some(SecretText::new(value.to_owned()))));
    };
    let name = name.trim();
    if !variable_name(name, at, findings) {
        return None;
    }
    let value = fields.expand(node, value, findings)?;
    Some((name.to_owned(), Some(SecretText::new(value))))
}

fn variable_name(name: &str, at: usize, findings: &mut Findings) -> bool {
    if name.is_empty() || name.contains(['=', '\0']) {
        findings.error(at, "not a name that a variable can have");
        return false;
    }
    if name.starts_with(OWN_PREFIX) {
        findings.error(at, format!("`{OWN_PREFIX}…` variables are the gateway's own"));
        return false;
    }
    true
}

/// A text that may be secret: a string, or `{"file": "…"}`.
fn secret(fields: &Fields<'_>, node: &Node, findings: &mut Findings) -> Option<SecretText> {
    match &node.value {
        Value::String(text) => fields.expand(node, text, findings).map(SecretText::new),
        Value::Object(members) if members.len() == 1 && node.get("file").is_some() => {
            let path = node.get("file")?;
            let name = fields.text(path, findings)?;
            let text = file(fields, path, &name, findings)?;
            // Editors and `echo` end a file with a line break that is no part of the secret.
            let text = text.strip_suffix('\n').unwrap_or(text);
            Some(SecretText::new(text.strip_suffix('\r').unwrap_or(text).to_owned()))
        }
        Value::Invalid => None,
        _ => {
            findings.expected(node.span.start, "a string or {\"file\": \"…\"}", node.kind());
            None
        }
    }
}

/// The paths of the files that a `secret` or `envFile` value wants, before substitution.
pub(super) fn wanted_file(node: &Node) -> Option<&str> {
    match &node.get("file")?.value {
        Value::String(path) if node.members().len() == 1 => Some(path),
        _ => None,
    }
}

// ---- HTTP ----

fn http(fields: &Fields<'_>, findings: &mut Findings) -> Option<Http> {
    let headers = headers(fields, findings);
    let plain = fields.read("dangerouslyAllowPlainHttp", findings, read::boolean).unwrap_or(false);
    let Some(node) = fields.get("url") else {
        findings.error(fields.entry.node.span.start, "`url` is missing");
        return None;
    };
    let nodes = match &node.value {
        Value::Array(elements) => elements.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if nodes.is_empty() || nodes.len() > MAX_URLS {
        let expected = format!("1 to {MAX_URLS} addresses");
        findings.expected(node.span.start, &expected, &nodes.len().to_string());
        return None;
    }
    let urls: Vec<HttpUrl> =
        nodes.iter().filter_map(|node| address(fields, node, plain, findings)).collect();
    (urls.len() == nodes.len()).then_some(Http { urls, headers })
}

fn address(
    fields: &Fields<'_>,
    node: &Node,
    plain: bool,
    findings: &mut Findings,
) -> Option<HttpUrl> {
    let text = fields.text(node, findings)?;
    let at = node.span.start;
    let url = match HttpUrl::parse(&text) {
        Ok(url) => url,
        Err(error) => {
            findings.error(at, error.to_string());
            return None;
        }
    };
    if fields.around.listen.iter().any(|listen| url.reaches(*listen)) {
        findings.error(at, "the address is this gateway's own");
    } else if url.scheme() == Scheme::Https {
        findings.error(at, "https upstreams are not supported yet");
    } else if !url.is_loopback() && plain {
        // A dangerous option is said aloud every time it is used.
        findings.warning(at, "`dangerouslyAllowPlainHttp`: others can read and change the traffic");
    } else if !url.is_loopback() {
        let message = "plain http to another machine can be read and changed on the way; \
                       `\"dangerouslyAllowPlainHttp\": true` allows it";
        findings.error(at, message);
    }
    Some(url)
}

/// Fields that the gateway writes itself, per message (RFC 9110, RFC 9112, MCP transports).
const OWN_HEADERS: &[&str] = &[
    "accept",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn is_own_header(name: &str) -> bool {
    OWN_HEADERS.contains(&name) || name.starts_with("mcp-")
}

fn headers(fields: &Fields<'_>, findings: &mut Findings) -> Vec<(String, SecretText)> {
    let mut headers: Vec<(String, SecretText)> = Vec::new();
    for node in [fields.default("headers"), fields.own("headers")].into_iter().flatten() {
        let mut seen = HashSet::new();
        for member in read::members(node, findings).unwrap_or_default() {
            let Some(name) = header_name(&member.key, member.key_span.start, findings) else {
                continue;
            };
            if !seen.insert(name.clone()) {
                findings.error(member.key_span.start, "the header is here twice");
                continue;
            }
            let Some(value) = secret(fields, &member.node, findings) else { continue };
            if !is_header_value(value.expose()) {
                let message = "a header value has visible ASCII, spaces and tabs only";
                findings.error(member.node.span.start, message);
                continue;
            }
            headers.retain(|(other, _)| *other != name);
            headers.push((name, value));
        }
    }
    headers
}

fn header_name(key: &str, at: usize, findings: &mut Findings) -> Option<String> {
    // RFC 9110 §5.6.2: a token.
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if key.is_empty() || !key.bytes().all(is_token) {
        findings.error(at, "not a name that a header can have");
        return None;
    }
    let name = key.to_ascii_lowercase();
    if is_own_header(&name) {
        findings.warning(at, format!("the gateway writes `{name}` itself; this one is ignored"));
        return None;
    }
    Some(name)
}

fn is_header_value(value: &str) -> bool {
    value.bytes().all(|b| b == b'\t' || (0x20..0x7f).contains(&b)) && value.trim() == value
}
