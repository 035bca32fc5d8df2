//! `1mcp tools` and `1mcp call`: what a client sees, in a terminal.

use crate::base::text::terminal_safe;
use crate::catalog::param_header::ParamHeaders;
use crate::cli::args::{CallOptions, Target};
use crate::cli::client::{Endpoint, quoted};
use crate::cli::{Failure, complain, load, print, serve};
use crate::gateway::Gateway;
use crate::mcp::{ListKind, Method};
use crate::net::listen;
use crate::upstream::State;
use crate::wire::json::{self, Kind, Object};
use bytes::Bytes;
use std::net::{Ipv4Addr, SocketAddr};

/// The endpoint that is asked unless another is named.
const DEFAULT_URL: &str = "http://127.0.0.1:3050/mcp";

/// Widest description that is printed, in characters.
const DESCRIPTION: usize = 72;

/// Lists the tools of an endpoint.
pub(crate) fn tools(target: Target) -> Result<u8, Failure> {
    let json = target.json;
    let result = ask(target, Method::ToolsList, None, String::new())?;
    if json {
        return print(&format!("{}\n", String::from_utf8_lossy(&result))).map(|()| 0);
    }
    print(&table(&result)).map(|()| 0)
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

/// Names and the first lines of descriptions.
fn table(result: &[u8]) -> String {
    let tools = elements(result, ListKind::Tools.member());
    let mut out = String::new();
    for tool in &tools {
        let name = tool.text(result, "name").unwrap_or_default();
        let description = tool.text(result, "description").unwrap_or_default();
        let first = description.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let short = shortened(first.trim());
        out.push_str(&format!("{}\n    {}\n", terminal_safe(&name), terminal_safe(&short)));
    }
    out.push_str(&format!("{} tools\n", tools.len()));
    out
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(DESCRIPTION) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
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
        if let Some(gateway) = gateway {
            gateway.stop().await;
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
        if matches!(state, State::Starting | State::Down(_)) {
            let (key, state) = (&upstream.entry.key, state.to_string());
            complain(&format!("{}: {}", terminal_safe(key), terminal_safe(&state)));
        }
    }
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
