//! The server inside this process (`{"type": "builtin"}`): an ordinary MCP server of revision
//! 2026-07-28, with tools that list the upstreams and search what they offer.
//!
//! It is spoken to like every other upstream, as lines over memory, and is a peer for tests.

use crate::base::limits::Limits;
use crate::catalog::listing::Viewer;
use crate::gateway::status_json;
use crate::mcp::{ListKind, Method, Revision, Routing, meta};
use crate::relay::World;
use crate::task::Scope;
use crate::wire::json::{self, Kind, Object};
use crate::wire::jsonrpc::error::result_json;
use crate::wire::jsonrpc::{Code, Message, Rejected, Request};
use crate::wire::line::LineDecoder;
use bytes::BytesMut;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;

/// Bytes in flight between the server and us.
const BUFFER: usize = 64 << 10;

/// Most tools that a search returns.
const MAX_FOUND: usize = 50;

/// The tool that lists all servers, by its own name.
pub const LIST_SERVERS: &str = "list_servers";

/// What that tool says of itself.
pub const LIST_SERVERS_DOES: &str = "Lists the MCP servers behind this endpoint with their state, protocol version and how much they offer.";

const TOOLS: &str = r#"[{"name":"list_servers","title":"List servers","description":"Lists the MCP servers behind this endpoint with their state, protocol version and how much they offer.","inputSchema":{"type":"object","properties":{}},"annotations":{"readOnlyHint":true,"openWorldHint":false}},{"name":"search_tools","title":"Search tools","description":"Finds tools of all servers behind this endpoint by words in their names and descriptions.","inputSchema":{"type":"object","properties":{"query":{"type":"string","description":"Words to look for; a tool is found when all of them occur"}},"required":["query"]},"annotations":{"readOnlyHint":true,"openWorldHint":false}}]"#;

/// What connects a supervisor to a fresh server of this kind.
pub fn connector(
    worlds: watch::Receiver<Arc<World>>,
) -> Arc<dyn Fn(&Scope) -> DuplexStream + Send + Sync> {
    Arc::new(move |scope| {
        let (ours, theirs) = tokio::io::duplex(BUFFER);
        scope.spawn("builtin server", serve(theirs, worlds.clone()));
        ours
    })
}

async fn serve(mut stream: DuplexStream, worlds: watch::Receiver<Arc<World>>) {
    let mut lines = LineDecoder::new(Limits::default().line_bytes);
    let mut buffer = BytesMut::with_capacity(BUFFER);
    loop {
        while let Some(line) = lines.next(&mut buffer) {
            let answer = match line.map(Message::parse) {
                Ok(Ok(Message::Request(request))) => answer(&request, &worlds),
                Ok(Err(rejected)) => rejected.to_json(),
                Ok(Ok(_)) => continue,
                Err(_) => return,
            };
            let sent = stream.write_all(&[&answer[..], b"\n"].concat()).await;
            if sent.is_err() {
                return;
            }
        }
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

fn answer(request: &Request, worlds: &watch::Receiver<Arc<World>>) -> bytes::Bytes {
    let world = Arc::clone(&worlds.borrow());
    match respond(request, &world) {
        Ok(result) => result_json(&request.id, result.as_bytes()),
        Err(rejected) => rejected.with_id(Some(request.id.clone())).to_json(),
    }
}

fn respond(request: &Request, world: &World) -> Result<String, Rejected> {
    let name = request.call.method_name();
    let method = Method::parse(&name).filter(|m| m.client_request_in(Revision::MODERN));
    match method.map(Method::route) {
        Some(Routing::Discover) => Ok(complete(&format!(
            "\"supportedVersions\":[\"{}\"],\"capabilities\":{{\"tools\":{{}}}},{CACHED}",
            Revision::MODERN.as_str()
        ))),
        Some(Routing::List(ListKind::Tools)) => {
            Ok(complete(&format!("\"tools\":{TOOLS},{CACHED}")))
        }
        Some(Routing::Tool) => call(request, world),
        _ => Err(Rejected::new(Code::MethodNotFound, "method not found")),
    }
}

/// These two never change while the process runs.
const CACHED: &str = "\"ttlMs\":3600000,\"cacheScope\":\"public\"";

fn complete(members: &str) -> String {
    format!(
        "{{\"resultType\":\"complete\",{members},\"_meta\":{{\"{}\":{}}}}}",
        meta::SERVER_INFO,
        meta::OURSELVES
    )
}

fn call(request: &Request, world: &World) -> Result<String, Rejected> {
    match request.call.param_text("name").as_deref() {
        Some(LIST_SERVERS) => Ok(structured(&format!("{{\"servers\":{}}}", servers(world)))),
        Some("search_tools") => search(request, world),
        _ => Err(Rejected::new(Code::InvalidParams, "unknown tool")),
    }
}

fn servers(world: &World) -> String {
    let rows: Vec<String> = world.upstreams.iter().map(|upstream| status_json(upstream)).collect();
    format!("[{}]", rows.join(","))
}

/// A result with structured content, and the same as text for clients that read only that.
fn structured(content: &str) -> String {
    let text = String::from_utf8(json::string_token(content)).unwrap_or_default();
    complete(&format!(
        "\"content\":[{{\"type\":\"text\",\"text\":{text}}}],\"structuredContent\":{content}"
    ))
}

/// Searches what clients see on the aggregate endpoint.
fn search(request: &Request, world: &World) -> Result<String, Rejected> {
    let expected = || Rejected::new(Code::InvalidParams, "expected arguments.query to be a string");
    let bytes = &request.call.bytes;
    let arguments = request.call.param("arguments").filter(|value| value.kind == Kind::Object);
    let arguments = arguments.and_then(|value| Object::read(bytes, value.span).ok());
    let query = arguments.as_ref().and_then(|object| object.text(bytes, "query"));
    let query = query.ok_or_else(expected)?.to_lowercase();
    let words: Vec<&str> = query.split_whitespace().collect();
    let listed = world
        .catalog
        .render(ListKind::Tools, Viewer::anyone(Revision::MODERN), &|_| Duration::ZERO);
    let mut found = Vec::new();
    for tool in tools(&listed) {
        let field = |key| tool.text(&listed, key).unwrap_or_default().to_lowercase();
        let text = [field("name"), field("title"), field("description")].join(" ");
        if words.iter().all(|word| text.contains(word)) && found.len() < MAX_FOUND {
            found.push(summary(&listed, &tool));
        }
    }
    Ok(structured(&format!("{{\"tools\":[{}]}}", found.join(","))))
}

fn tools(listed: &[u8]) -> Vec<Object> {
    let result = json::check(listed).ok().and_then(|value| Object::read(listed, value.span).ok());
    let list = result.and_then(|result| result.value(listed, "tools"));
    let elements = list.and_then(|list| json::elements(listed, list.span).ok());
    let objects = elements.unwrap_or_default().into_iter();
    objects.filter_map(|value| Object::read(listed, value.span).ok()).collect()
}

fn summary(listed: &[u8], tool: &Object) -> String {
    let raw = |key| tool.value(listed, key).map(|v| String::from_utf8_lossy(v.span.of(listed)));
    let members = ["name", "description"].map(|key| raw(key).map(|v| format!("\"{key}\":{v}")));
    format!("{{{}}}", members.into_iter().flatten().collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tool_that_lists_servers_is_what_the_command_line_looks_for() {
        let listed = format!("{{\"tools\":{TOOLS}}}");
        let first = tools(listed.as_bytes()).into_iter().next().expect("a tool");
        let said = ["name", "description"].map(|key| first.text(listed.as_bytes(), key));
        let said = said.map(|text| text.expect("a text").into_owned());
        assert_eq!(said, [LIST_SERVERS, LIST_SERVERS_DOES]);
    }
}
