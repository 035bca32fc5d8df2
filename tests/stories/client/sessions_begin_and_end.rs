//! A legacy session begins with `initialize`, belongs to one endpoint, and is over when its client
//! says so. Whoever names another one is told in the way its revision has it.

use crate::stage::Stage;
use crate::support::{Legacy, RawHttp, http::Response};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const BOTH: (&str, &str) = ("Accept", "application/json, text/event-stream");
const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

async fn send(verb: &str, url: &str, headers: &[(&str, &str)]) -> Response {
    let body = if verb == "POST" { PING } else { "" };
    let headers: Vec<_> = [BOTH, JSON].into_iter().chain(headers.iter().copied()).collect();
    RawHttp::once(verb, url, &headers, body).await
}

#[tokio::test]
async fn an_id_that_nobody_can_guess() {
    let stage = Stage::of(&["sl"], json!({})).await;
    let url = stage.proxy.url("/mcp");
    let (one, two) =
        (Legacy::connect(&url, "2025-11-25").await, Legacy::connect(&url, "2025-11-25").await);
    let ids = [one, two].map(|client| client.session.expect("a session"));
    assert_ne!(ids[0], ids[1]);
    for id in ids {
        assert!(id.len() >= 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    }
}

/// Verb, URL, headers, and the status that must come.
type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16);

#[tokio::test]
async fn no_session_is_400_and_an_unknown_one_404() {
    let stage = Stage::of(&["sl", "hl"], json!({})).await;
    let [here, there, all] = ["/mcp/sl", "/mcp/hl", "/mcp"].map(|path| stage.proxy.url(path));
    let client = Legacy::connect(&here, "2025-11-25").await;
    let id = client.session.clone().expect("a session");
    let known = ("Mcp-Session-Id", id.as_str());
    let unknown = ("Mcp-Session-Id", "0123456789abcdef0123456789abcdef");
    let modern = ("MCP-Protocol-Version", "2026-07-28");
    let old = ("MCP-Protocol-Version", "2025-06-18");
    let wrong = ("MCP-Protocol-Version", "2025-06-19");
    let rows: &[Row<'_>] = &[
        ("POST", &here, &[], 400),
        ("POST", &here, &[old], 400),
        ("POST", &here, &[known], 200),
        ("POST", &here, &[known, old], 200),
        ("POST", &here, &[unknown], 404),
        ("POST", &there, &[known], 404),
        ("POST", &all, &[known], 404),
        ("GET", &here, &[], 405),
        ("GET", &here, &[modern], 405),
        ("GET", &here, &[known, modern], 405),
        ("GET", &here, &[unknown], 404),
        ("GET", &there, &[known], 404),
        ("GET", &all, &[known, old], 404),
        ("POST", &here, &[known, wrong], 400),
        ("GET", &here, &[known, wrong], 400),
        ("DELETE", &here, &[known, wrong], 400),
        ("DELETE", &here, &[], 405),
        ("DELETE", &here, &[known, modern], 405),
        ("DELETE", &here, &[unknown], 404),
        ("DELETE", &there, &[known], 404),
        ("DELETE", &all, &[known], 404),
        ("PUT", &here, &[known], 405),
        ("PATCH", &here, &[known], 405),
        // none of these has ended it
        ("POST", &here, &[known], 200),
    ];
    for (verb, url, headers, status) in rows {
        let response = send(verb, url, headers).await;
        assert_eq!(response.status(), *status, "{verb} {url} {headers:?}: {}", response.text());
        if *status == 405 {
            assert!(response.head.header("allow").is_some(), "405 says what is allowed");
        }
        if *verb == "POST" && *status != 200 {
            let body: Value = serde_json::from_str(&response.text()).expect("JSON");
            assert_eq!(body["jsonrpc"], "2.0", "{body}");
        }
    }
}

#[tokio::test]
async fn delete_ends_it_and_its_stream() {
    let stage = Stage::of(&["sl"], json!({ "tools": ["hang"], "on": { "tools/call:hang": [{ "progress": 1 }, { "await": "never" }] } })).await;
    let url = stage.proxy.url("/mcp/sl");
    let client = Legacy::connect(&url, "2025-11-25").await;
    let other = Legacy::connect(&url, "2025-11-25").await;
    let mut stream = client.get_stream().await;
    assert_eq!(stream.head.status(), 200);
    let hang = json!({ "name": "hang", "_meta": { "progressToken": 1 } });
    let mut call = client.open("tools/call", hang).await;
    call.next().await.expect("it has begun");
    let theirs = stage.upstream("sl").received_of("tools/call")[0]["id"].clone();
    assert_eq!(client.delete().await, 200);
    assert!(stream.next().await.is_none(), "its stream ends");
    assert!(call.next().await.is_none(), "its requests end");
    stage.upstream("sl").wait_for(&format!(r#""requestId":{theirs},"#)).await;
    assert_eq!(client.request("ping", Value::Null).await.status, 404);
    assert_eq!(client.get_stream().await.head.status(), 404);
    assert_eq!(client.delete().await, 404);
    other.request("ping", Value::Null).await.result();
}

#[tokio::test]
async fn its_newest_stream_takes_over() {
    let change =
        json!([{ "notify": ["notifications/tools/list_changed", null] }, { "usual": true }]);
    let script = json!({ "tools": ["grow"], "on": { "tools/call:grow": change } });
    let stage = Stage::of(&["sl"], script).await;
    let client = Legacy::connect(&stage.proxy.url("/mcp/sl"), "2025-11-25").await;
    let mut first = client.get_stream().await;
    let mut second = client.get_stream().await;
    assert!(first.next().await.is_none(), "each message goes to one stream, so the older ends");
    client.request("tools/call", json!({ "name": "grow" })).await.result();
    let message = second.next().await.expect("a message");
    assert_eq!(message["method"], "notifications/tools/list_changed");
}

#[tokio::test]
async fn initialize_begins_a_new_one_whatever_is_named() {
    let stage = Stage::of(&["sl"], json!({})).await;
    let url = stage.proxy.url("/mcp");
    let client = Legacy::connect(&url, "2025-11-25").await;
    let old = client.session.clone().expect("a session");
    let initialize = json!({ "jsonrpc": "2.0", "id": "again", "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" },
    }});
    for id in [old.as_str(), "unknown"] {
        let headers = [("Mcp-Session-Id", id), BOTH, JSON];
        let reply = RawHttp::once("POST", &url, &headers, initialize.to_string()).await;
        assert_eq!(reply.status(), 200);
        let new = reply.head.header("mcp-session-id").expect("a new session").to_owned();
        assert_ne!(new, old);
    }
    client.request("ping", Value::Null).await.result();
}

#[tokio::test]
async fn a_version_that_nobody_knows_is_400() {
    let stage = Stage::of(&["sl"], json!({})).await;
    let url = stage.proxy.url("/mcp");
    let client = Legacy::connect(&url, "2025-11-25").await;
    let id = client.session.clone().expect("a session");
    for verb in ["POST", "GET"] {
        let headers = [("Mcp-Session-Id", id.as_str()), ("MCP-Protocol-Version", "1999-01-01")];
        assert_eq!(send(verb, &url, &headers).await.status(), 400, "{verb}");
    }
}
