//! What a client's HTTP request says about the client is for us alone. An upstream gets the headers
//! that its entry configures and those that its own protocol demands, and no others.

use crate::stage::Stage;
use crate::support::{FakeHttp, Legacy, Modern, Proxy, RawHttp};
use serde_json::{Value, json};

const SECRETS: [(&str, &str); 12] = [
    ("Authorization", "Bearer s3cr3t-token"),
    ("Cookie", "session=s3cr3t-cookie"),
    ("Proxy-Authorization", "Basic s3cr3t"),
    ("X-Api-Key", "s3cr3t-key"),
    ("X-Forwarded-For", "203.0.113.7"),
    ("Forwarded", "for=203.0.113.7"),
    ("User-Agent", "s3cr3t-agent"),
    ("Referer", "http://localhost/s3cr3t"),
    ("Mcp-Param-Foo", "s3cr3t-param"),
    ("Last-Event-ID", "s3cr3t-event"),
    ("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("Accept-Language", "tlh"),
];

/// Those that may be there, for a legacy upstream and a modern one.
const OURS: [&str; 9] = [
    "host",
    "content-type",
    "content-length",
    "accept",
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
    "mcp-session-id",
    "x-configured",
];

#[tokio::test]
async fn and_configured_ones_go_out() {
    for era in ["legacy", "modern"] {
        let fake = FakeHttp::mcp(json!({ "era": era, "tools": ["echo"] })).await;
        let mut entry = fake.entry();
        entry["headers"] =
            json!({ "X-Configured": "of the operator", "Authorization": "Bearer configured" });
        let proxy = Proxy::with(json!({ "mcpServers": { "fake": entry } })).start().await;
        for (path, tool) in [("/mcp/fake", "echo"), ("/mcp", "fake__echo")] {
            let url = proxy.url(path);
            let id = Legacy::connect(&url, "2025-11-25").await.session.expect("a session");
            let session = [("Mcp-Session-Id", id.as_str()), ("MCP-Protocol-Version", "2025-11-25")];
            let modern = [
                ("MCP-Protocol-Version", "2026-07-28"),
                ("Mcp-Method", "tools/call"),
                ("Mcp-Name", tool),
            ];
            let plain = json!({ "name": tool });
            let marked = Modern::new(&url).with_meta(plain.clone());
            for (own, params) in [(&session[..], plain), (&modern[..], marked)] {
                let headers = [("Content-Type", "application/json"), ("Accept", "*/*")].into_iter();
                let headers: Vec<_> = headers.chain(own.iter().copied()).chain(SECRETS).collect();
                let body =
                    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
                let reply = RawHttp::once("POST", &url, &headers, body.to_string()).await;
                let answer: Value = serde_json::from_str(&reply.text()).expect("JSON");
                assert!(answer["result"].is_object(), "{answer}");
            }
            for recorded in fake.recorded() {
                let head = &recorded.head;
                for (name, value) in &head.headers {
                    assert!(
                        OURS.contains(&name.as_str()) || name == "authorization",
                        "{era}: {name}: {value}"
                    );
                    assert!(!value.contains("s3cr3t") && *value != id, "{era}: {name}: {value}");
                }
                assert_eq!(head.header("authorization"), Some("Bearer configured"), "{era}");
                assert_eq!(head.header("x-configured"), Some("of the operator"), "{era}");
                assert!(!recorded.body.contains("s3cr3t"), "{era}");
            }
        }
        proxy.logs.assert_no_secret(&["s3cr3t", "Bearer", "of the operator"]);
    }
}

#[tokio::test]
async fn a_session_of_ours_is_no_session_of_theirs() {
    let stage = Stage::of(&["hl"], json!({ "tools": ["echo"] })).await;
    let url = stage.proxy.url("/mcp/hl");
    let client = Legacy::connect(&url, "2025-11-25").await;
    client.request("tools/call", json!({ "name": "echo" })).await.result();
    let crate::stage::Upstream::Http(fake) = stage.upstream("hl") else {
        unreachable!("over HTTP")
    };
    let call =
        fake.recorded().into_iter().rfind(|r| r.body.contains("tools/call")).expect("a call");
    let theirs = call.head.header("mcp-session-id").expect("its own session");
    assert!(theirs.starts_with("fake-session-"), "{theirs}");
    let ours = client.session.clone().expect("a session");
    assert_ne!(theirs, ours);
    let reply = client.request("tools/list", Value::Null).await;
    assert!(
        reply.headers.headers.iter().all(|(_, value)| value != theirs),
        "and theirs stays there"
    );
}
