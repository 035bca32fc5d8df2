//! A name or a URI never becomes a header, a line or a second message of its own, whatever
//! characters it has; a pretty-printed request is still one line for a stdio server.

use super::Scene;
use crate::support::{FakeHttp, FakeStdio, Legacy, Modern};
use serde_json::json;

const EVIL: [&str; 6] = [
    "x\r\nX-Injected: 1",
    "x\nX-Injected: 1",
    "x\rX-Injected: 1",
    "x\u{0}y",
    "=?base64?eA==?=",
    " spaces around ",
];

#[tokio::test]
async fn no_name_becomes_a_header_of_an_http_upstream() {
    let tools: Vec<_> = EVIL
        .iter()
        .map(|name| json!({ "name": name, "inputSchema": { "type": "object" } }))
        .collect();
    let modern = FakeHttp::mcp(json!({ "era": "modern", "tools": tools })).await;
    let scene = Scene::with(json!({ "modern": modern.entry() }), json!({})).await;
    let url = scene.proxy.url("/mcp/modern");
    let clients = (Legacy::connect(&url, "2025-11-25").await, Modern::new(&url));
    for name in EVIL {
        for (method, member) in [("tools/call", "name"), ("resources/read", "uri")] {
            let params = json!({ member: name });
            let (legacy, modern) =
                (clients.0.request(method, params.clone()), clients.1.request(method, params));
            // the fake compares headers and body, and answers with what it got
            assert!(legacy.await.result().is_object(), "{method} {name:?}");
            assert!(modern.await.result().is_object(), "{method} {name:?}");
        }
    }
    for request in modern.recorded() {
        assert_eq!(request.head.header("x-injected"), None, "{:?}", request.head);
        assert!(!request.head.start.contains("Injected"));
    }
    scene.others_are_served().await;
}

#[tokio::test]
async fn no_argument_becomes_another_header() {
    let schema = json!({ "type": "object", "properties": {
        "region": { "type": "string", "x-mcp-header": "Region" },
    }});
    let tools = json!([{ "name": "go", "inputSchema": schema }]);
    let modern = FakeHttp::mcp(json!({ "era": "modern", "tools": tools })).await;
    let scene = Scene::with(json!({ "modern": modern.entry() }), json!({})).await;
    let legacy = Legacy::connect(&scene.proxy.url("/mcp/modern"), "2025-11-25").await;
    for value in EVIL {
        let call = json!({ "name": "go", "arguments": { "region": value } });
        assert!(legacy.request("tools/call", call).await.result().is_object(), "{value:?}");
    }
    let calls: Vec<_> =
        modern.recorded().into_iter().filter(|r| r.json()["method"] == "tools/call").collect();
    assert_eq!(calls.len(), EVIL.len());
    for (call, value) in calls.iter().zip(EVIL) {
        let header = call.head.header("mcp-param-region").expect("it is mirrored");
        assert_eq!(header, crate::support::clients::encode(value));
        assert_eq!(call.head.header("x-injected"), None);
    }
    scene.others_are_served().await;
}

/// CVE-2026-34476, GHSA-g53w-w6mj-hrpp: nothing of a client's own headers goes further.
#[tokio::test]
async fn no_header_of_a_client_reaches_an_upstream() {
    let http = FakeHttp::mcp(json!({ "era": "modern", "tools": ["echo"] })).await;
    let scene = Scene::with(json!({ "http": http.entry() }), json!({})).await;
    let url = scene.proxy.url("/mcp/http");
    let body = super::modern_body(1, "tools/call", json!({ "name": "echo", "arguments": {} }));
    let headers = [
        super::ACCEPT,
        super::JSON,
        super::MODERN,
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "echo"),
        ("Authorization", "Bearer client-secret"),
        ("Cookie", "session=client-secret"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("Mcp-Param-Region", "client-secret"),
        ("Mcp-Session-Id", "client-secret"),
        ("Mcp-Init-Host", "evil.example"),
        ("X-Upstream-Url", "http://evil.example/"),
        ("Connection", "keep-alive, X-Hop"),
        ("X-Hop", "client-secret"),
        ("Traceparent", "00-client-secret"),
    ];
    let response = crate::support::RawHttp::once("POST", &url, &headers, body).await;
    assert_eq!(response.status(), 200);
    for request in http.recorded() {
        for (name, value) in &request.head.headers {
            let foreign = value.contains("client-secret") || value.contains("evil");
            assert!(!foreign && value != "6.6.6.6", "{name}: {value}");
        }
    }
    scene.others_are_served().await;
}

#[tokio::test]
async fn a_pretty_request_is_one_line_for_a_stdio_server() {
    let scene = Scene::new().await;
    let client = scene.legacy().await;
    let body = "{\r\n  \"jsonrpc\": \"2.0\",\n  \"id\": 1,\n\n  \"method\": \"tools/call\",\r  \"params\": {\n    \"name\": \"echo\",\n    \"arguments\": {\n      \"a\": \"x\\ny\",\r\n      \"b\": [\n        1\n      ]\n    }\n  }\n}\n";
    let reply = client.send("POST", body).await.finish().await;
    let echoed = reply.result()["content"][0]["text"].as_str().expect("a text");
    let value: serde_json::Value = serde_json::from_str(echoed).expect("JSON");
    assert_eq!(value, json!({ "a": "x\ny", "b": [1] }));
    scene.others_are_served().await;
    for line in scene.good.received() {
        serde_json::from_str::<serde_json::Value>(&line).expect("every line is a whole message");
    }
}

#[tokio::test]
async fn a_name_in_the_log_is_harmless() {
    let evil = "t\u{1b}]0;pwned\u{7}\u{202e}\nfake line";
    let twice = json!([
        { "name": evil, "inputSchema": { "type": "object" } },
        { "name": evil, "inputSchema": { "type": "object" } },
        { "name": "bad", "inputSchema": { "type": "object", "properties": {
            "x": { "type": "string", "x-mcp-header": evil } } } },
    ]);
    let liar = FakeStdio::new(json!({ "tools": twice, "instructions": evil, "name": evil,
        "on": { "prompts/list": [{ "error": { "code": -32000, "message": evil } }] },
        "start": [{ "stderr": evil }] }));
    let log = json!({ "log": { "level": "trace", "format": "text" } });
    let scene = Scene::with(json!({ "liar": liar.entry() }), log).await;
    let client = Legacy::connect(&scene.proxy.url("/mcp"), "2025-11-25").await;
    client.request("tools/list", json!({})).await;
    client.request("tools/call", json!({ "name": evil })).await;
    client.request(evil, json!({})).await;
    scene.proxy.logs.wait_for("pwned").await;
    scene.others_are_served().await;
    for line in scene.proxy.logs.lines() {
        assert!(!line.starts_with("fake line"), "a forged line");
        let harmful = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!line.contains(harmful), "{line:?}");
    }
}
