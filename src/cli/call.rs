//! `1mcp tools` and `1mcp call`: what a client sees, in a terminal.

use crate::base::text::{one_line, terminal_safe};
use crate::catalog::param_header::ParamHeaders;
use crate::cli::args::{CallOptions, Target};
use crate::cli::client::{Endpoint, quoted};
use crate::cli::{Failure, complain, counted, load, print, serve};
use crate::gateway::{Gateway, builtin};
use crate::mcp::{ListKind, Method};
use crate::net::listen;
use crate::sys::terminal;
use crate::upstream::State;
use crate::wire::json::{self, Kind, Object};
use bytes::Bytes;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The endpoint that is asked unless another is named.
const DEFAULT_URL: &str = "http://127.0.0.1:3050/mcp";

/// Columns before a description.
const INDENT: usize = 4;

/// Least columns for a description, however narrow the terminal is.
const NARROWEST: usize = 16;

/// How long the gateway may take to say which servers are not there.
const TELL: Duration = Duration::from_secs(2);

/// Lists the tools of an endpoint.
pub(crate) fn tools(target: Target) -> Result<u8, Failure> {
    let json = target.json;
    let result = ask(target, Method::ToolsList, None, String::new())?;
    if json {
        return print(&format!("{}\n", String::from_utf8_lossy(&result))).map(|()| 0);
    }
    print(&table(&result, terminal::width())).map(|()| 0)
}

fn object(bytes: &[u8]) -> Option<Object> {
    let value = json::check(bytes).ok()?;
    Object::read(bytes, value.span).ok()
}

fn elements(bytes: &[u8], key: &str) -> Vec<Object> {
    let list = object(bytes).and_then(|object| object.value(bytes, key));
    let list = list.filter(|list| list.kind == Kind::Array);
    let values = list.and_then(|list| json::elements(bytes, list.span).ok()).unwrap_or_default();
    values.into_iter().filter_map(|value| Object::read(bytes, value.span).ok()).collect()
}

/// Names and the first lines of descriptions, each cut to one line of a terminal of so many columns.
fn table(result: &[u8], columns: Option<usize>) -> String {
    let tools = elements(result, ListKind::Tools.member());
    let mut out = String::new();
    for tool in &tools {
        let name = tool.text(result, "name").unwrap_or_default();
        let description = tool.text(result, "description").unwrap_or_default();
        let first = description.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let first = terminal_safe(first.trim());
        let short = match columns {
            Some(columns) => shortened(&first, columns.saturating_sub(INDENT).max(NARROWEST)),
            None => first.into_owned(),
        };
        // a name with line breaks must not look like several tools
        out.push_str(&format!("{}\n", one_line(&name)));
        if !short.is_empty() {
            out.push_str(&format!("{:INDENT$}{short}\n", ""));
        }
    }
    out.push_str(&format!("{}\n", counted(tools.len(), "tool")));
    out
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// Calls a tool.
pub(crate) fn call(options: CallOptions) -> Result<u8, Failure> {
    let CallOptions { target, name, arguments } = options;
    match json::check(arguments.as_bytes()) {
        Ok(value) if value.kind == Kind::Object => {}
        Ok(_) => return Err(Failure::usage("expected the arguments to be a JSON object")),
        Err(e) => return Err(Failure::usage(format!("the arguments are not JSON: {e}"))),
    }
    let json = target.json;
    let members = format!("\"name\":{},\"arguments\":{arguments}", quoted(&name));
    let result = ask(target, Method::ToolsCall, Some(name), members)?;
    let failed = object(&result)
        .and_then(|object| object.value(&result, "isError"))
        .is_some_and(|value| value.is_true(&result));
    let text =
        if json { format!("{}\n", String::from_utf8_lossy(&result)) } else { content(&result) };
    print(&text)?;
    Ok(if failed { 3 } else { 0 })
}

/// The content of a result: text as it is, everything else as a note of what it is.
fn content(result: &[u8]) -> String {
    let mut out = String::new();
    for block in elements(result, "content") {
        let kind = block.text(result, "type").unwrap_or_default();
        let line = match kind.as_ref() {
            "text" => block.text(result, "text").unwrap_or_default().into_owned(),
            "resource_link" => {
                format!("[resource: {}]", block.text(result, "uri").unwrap_or_default())
            }
            other => format!("[{other}; use --json to see it]"),
        };
        out.push_str(&terminal_safe(&line));
        out.push('\n');
    }
    out
}

/// Asks a running gateway, or one that is started for this question.
fn ask(
    target: Target,
    method: Method,
    name: Option<String>,
    members: String,
) -> Result<Bytes, Failure> {
    serve::runtime()?.block_on(async {
        let (gateway, url) = match &target.config {
            Some(path) => start(path).map(|(gateway, url)| (Some(gateway), url))?,
            None => (None, target.url.unwrap_or_else(|| DEFAULT_URL.to_owned())),
        };
        if let Some(gateway) = &gateway {
            gateway.settled().await;
            tell_absent(gateway);
        }
        let endpoint = Endpoint::new(&url)?;
        let params = match &name {
            Some(name) => mirrored(&endpoint, name, &members).await,
            None => Vec::new(),
        };
        let result = endpoint.request(method, name.as_deref(), &params, &members).await;
        match (gateway, &result) {
            (Some(gateway), _) => drop(gateway.stop().await),
            (None, Ok(listed)) if method == Method::ToolsList => {
                let told = tell_missing(&endpoint, listed);
                let _ = tokio::time::timeout(TELL, told).await; // it is a hint
            }
            _ => {}
        }
        result
    })
}

/// The headers that mirror arguments of a call, which the tool asks for in its schema (MCP
/// 2026-07-28 basic/transports/streamable-http, "Custom Headers from Tool Parameters"). There are
/// none for a tool that is not listed.
async fn mirrored(endpoint: &Endpoint, name: &str, members: &str) -> Vec<(String, String)> {
    let listed = endpoint.request(Method::ToolsList, None, &[], "").await.unwrap_or_default();
    let tools = elements(&listed, ListKind::Tools.member());
    let tool = tools.iter().find(|tool| tool.text(&listed, "name").as_deref() == Some(name));
    let schema = tool.and_then(|tool| tool.value(&listed, "inputSchema"));
    let schema = schema.map(|schema| ParamHeaders::compile(schema.span.of(&listed)));
    let Some(Ok(Some(headers))) = schema else { return Vec::new() };
    let params = format!("{{{members}}}");
    let arguments = object(params.as_bytes());
    let arguments = arguments.and_then(|object| object.value(params.as_bytes(), "arguments"));
    headers.values(params.as_bytes(), arguments.map(|arguments| arguments.span))
}

/// Nobody reads a log here, so what is missing is said.
fn tell_absent(gateway: &Gateway) {
    for upstream in gateway.world().upstreams.iter() {
        let state = upstream.state();
        if state.link().is_none() && !matches!(state, State::Disabled(_)) {
            tell(&upstream.entry.key, &state.to_string());
        }
    }
}

fn tell(key: &str, state: &str) {
    complain(&format!("{}: {}", one_line(key), one_line(state)));
}

/// The same of a running gateway, where it can be known: from its built-in server, if it has one.
async fn tell_missing(endpoint: &Endpoint, listed: &[u8]) {
    let tools = elements(listed, ListKind::Tools.member());
    let Some(name) = tools.iter().find_map(|tool| list_servers(listed, tool)) else { return };
    let members = format!("\"name\":{},\"arguments\":{{}}", quoted(&name));
    let asked = endpoint.request(Method::ToolsCall, Some(&name), &[], &members).await;
    let Ok(answer) = asked else { return };
    let content = object(&answer).and_then(|object| object.value(&answer, "structuredContent"));
    let content = content.map(|content| content.span.of(&answer)).unwrap_or_default();
    for server in elements(content, "servers") {
        let state = server.text(content, "state").unwrap_or_default();
        if state != "ready" && !state.starts_with("disabled") {
            tell(&server.text(content, "name").unwrap_or_default(), &state);
        }
    }
}

/// The name of a tool, if it is the one of the built-in server that lists all servers, and this
/// endpoint is more than that server.
fn list_servers(listed: &[u8], tool: &Object) -> Option<String> {
    let name = tool.text(listed, "name")?;
    let own = builtin::LIST_SERVERS;
    let is_it = name.len() > own.len() && name.ends_with(own);
    let says = tool.text(listed, "description")?;
    (is_it && says == builtin::LIST_SERVERS_DOES).then(|| name.into_owned())
}

fn start(path: &std::path::Path) -> Result<(Gateway, String), Failure> {
    let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let loaded = load::load(Some(path), Some(listen.clone()))?;
    let Some(config) = loaded.config.clone() else {
        return Err(Failure::usage("the configuration cannot be used: see 1mcp check"));
    };
    for (is_error, line) in loaded.lines() {
        complain(&format!("{}: {line}", if is_error { "error" } else { "warning" }));
    }
    let listeners = listen::bind(&listen).map_err(|e| Failure::failed(e.to_string()))?;
    let address = listeners.first().map(|listener| listener.local_address());
    let address = address.ok_or_else(|| Failure::failed("no address to listen on"))?;
    let gateway = serve::start(config, loaded, listeners)?;
    Ok((gateway, format!("http://{address}/mcp")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_line_breaks_is_one_tool() {
        let result = br#"{"tools":[{"name":"a\nother__tool\n    trusted","description":"d"}]}"#;
        let expected = "a\\nother__tool\\n    trusted\n    d\n1 tool\n";
        assert_eq!(table(result, None), expected);
    }

    #[test]
    fn descriptions_are_as_wide_as_the_terminal_and_whole_without_one() {
        let text = format!("{}\u{1b}", "word ".repeat(20));
        let listed = format!(
            "{{\"tools\":[{{\"name\":\"a\",\"description\":\"{}\\u001b\\nmore\"}}]}}",
            "word ".repeat(20)
        );
        let line = |columns| {
            let table = table(listed.as_bytes(), columns);
            table.lines().nth(1).expect("a description").to_owned()
        };
        assert_eq!(line(None), format!("    {}", terminal_safe(&text)));
        assert_eq!(line(Some(200)), line(None), "it fits");
        for columns in [30, 72, 80, 105] {
            let cut = line(Some(columns));
            assert!(cut.ends_with('…') && (columns - 2..=columns).contains(&cut.chars().count()));
        }
        let least = INDENT + NARROWEST;
        assert!(
            (least - 1..=least).contains(&line(Some(0)).chars().count()),
            "still a word or two"
        );
    }
}
