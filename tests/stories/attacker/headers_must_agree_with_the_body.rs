//! MCP 2026-07-28 basic/transports/streamable-http: the headers mirror the body, or nothing is done
//! and the answer is 400 with -32020. A header that stands there twice agrees with nothing.

use super::{JSON, MODERN, Scene, modern_body, refusal, refused};
use crate::support::RawHttp;
use serde_json::json;

const CALL: (&str, &str) = ("Mcp-Method", "tools/call");
const NAME: (&str, &str) = ("Mcp-Name", "echo");

#[tokio::test]
async fn missing_wrong_and_doubled_headers_are_mismatches() {
    let scene = Scene::new().await;
    let secret = json!({ "name": "echo", "arguments": { "must": "not-arrive" } });
    let body = modern_body(1, "tools/call", secret);
    let list = ("Mcp-Method", "tools/list");
    let old = ("MCP-Protocol-Version", "2025-11-25");
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[CALL, NAME], "mcp-protocol-version"),
        (&[MODERN, NAME], "mcp-method"),
        (&[MODERN, CALL], "mcp-name"),
        (&[MODERN, list, NAME], "mcp-method"),
        (&[MODERN, ("Mcp-Method", "TOOLS/CALL"), NAME], "mcp-method"),
        (&[MODERN, CALL, ("Mcp-Name", "other")], "mcp-name"),
        (&[MODERN, CALL, ("Mcp-Name", "Echo")], "mcp-name"),
        (&[MODERN, CALL, ("Mcp-Name", "")], "mcp-name"),
        (&[MODERN, CALL, ("Mcp-Name", "=?base64?!!!?=")], "mcp-name"),
        (&[MODERN, CALL, ("Mcp-Name", "=?base64?b3RoZXI=?=")], "mcp-name"),
        (&[MODERN, CALL, ("Mcp-Name", "=?base64?/w==?=")], "mcp-name"),
        (&[MODERN, CALL, NAME, NAME], "mcp-name"),
        (&[MODERN, CALL, NAME, ("mcp-name", "other")], "mcp-name"),
        (&[MODERN, CALL, CALL, NAME], "mcp-method"),
        (&[MODERN, MODERN, CALL, NAME], "mcp-protocol-version"),
        (&[MODERN, old, CALL, NAME], "mcp-protocol-version"),
        (&[old, CALL, NAME], "mcp-protocol-version"),
    ];
    for (headers, expected) in cases {
        let response = scene.post(headers, &body).await;
        refused(&format!("{headers:?}"), &response, 400, -32020, expected);
    }
    scene.never_forwarded("not-arrive");
    scene.others_are_served().await;
}

#[tokio::test]
async fn headers_in_other_clothes_still_agree() {
    let scene = Scene::new().await;
    let body = modern_body(1, "tools/call", json!({ "name": "echo", "arguments": {} }));
    for headers in [
        [MODERN, CALL, ("MCP-NAME", "  echo  ")],
        [MODERN, ("mcp-METHOD", "tools/call"), ("Mcp-Name", "=?base64?ZWNobw==?=")],
    ] {
        assert_eq!(scene.post(&headers, &body).await.status(), 200, "{headers:?}");
    }
}

#[tokio::test]
async fn required_metadata_is_asked_for_by_name() {
    let scene = Scene::new().await;
    let version = "io.modelcontextprotocol/protocolVersion";
    let capabilities = "io.modelcontextprotocol/clientCapabilities";
    let list = [MODERN, ("Mcp-Method", "tools/list")];
    for (meta, missing) in [
        (json!({}), version),
        (json!({ version: 20260728 }), version),
        (json!({ version: "2026-07-28" }), capabilities),
        (json!({ version: "2026-07-28", capabilities: [] }), capabilities),
        (json!({ version: "2026-07-28", capabilities: null }), capabilities),
    ] {
        let params = json!({ "_meta": meta });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params });
        let response = scene.post(&list, body.to_string()).await;
        refused(&body.to_string(), &response, 400, -32602, missing);
    }
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    refused("no params", &scene.post(&list, body).await, 400, -32602, version);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":7}}"#;
    refused("meta 7", &scene.post(&list, body).await, 400, -32602, "params._meta");
    scene.others_are_served().await;
}

/// A legacy request names its session and its version once, or not at all.
#[tokio::test]
async fn doubled_legacy_headers_are_refused() {
    let scene = Scene::new().await;
    let (mine, other) = (scene.legacy().await, scene.legacy().await);
    let session = ("Mcp-Session-Id", mine.session.as_deref().expect("a session"));
    let foreign = ("Mcp-Session-Id", other.session.as_deref().expect("a session"));
    let version = ("MCP-Protocol-Version", "2025-11-25");
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(scene.post(&[session, version], ping).await.status(), 200);
    for headers in [
        &[session, foreign, version][..],
        &[session, session, version],
        &[session, version, MODERN],
        &[session, version, ("MCP-Protocol-Version", "nonsense")],
    ] {
        let (status, _, message) = refusal(&scene.post(headers, ping).await);
        assert_eq!(status, 400, "{headers:?}: {message}");
    }
    for method in ["GET", "DELETE"] {
        let accept = ("Accept", "text/event-stream");
        let headers = [accept, session, foreign];
        let response = RawHttp::once(method, &scene.url(), &headers, "").await;
        assert_eq!(response.status(), 400, "{method}");
    }
    assert_eq!(scene.post(&[session, version], ping).await.status(), 200, "nothing was deleted");
    scene.others_are_served().await;
}

#[tokio::test]
async fn a_client_that_takes_neither_type_gets_406() {
    let scene = Scene::new().await;
    let body = modern_body(1, "tools/list", json!({}));
    let headers = [JSON, MODERN, ("Mcp-Method", "tools/list"), ("Accept", "text/html")];
    let response = RawHttp::once("POST", &scene.url(), &headers, &body).await;
    refused("text/html", &response, 406, -32600, "accept");
    for accept in ["*/*", "application/json", "application/*;q=0.1"] {
        let headers = [JSON, MODERN, ("Mcp-Method", "tools/list"), ("Accept", accept)];
        let response = RawHttp::once("POST", &scene.url(), &headers, &body).await;
        assert_eq!(response.status(), 200, "{accept}");
    }
    scene.others_are_served().await;
}
