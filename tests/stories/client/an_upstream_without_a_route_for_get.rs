//! Many small HTTP servers know POST only and answer 404 to everything else, where the specification
//! wants 405. They are used all the same, with a session and without one.

use crate::support::{Answer, FakeHttp, Head, Modern, Proxy};
use serde_json::{Value, json};

/// A legacy server with one tool; `session` is what it answers `initialize` with.
fn server(head: &Head, body: &str, session: Option<&str>) -> Answer {
    if head.method() != "POST" {
        return Answer::new(404, "text/html", "Cannot GET /mcp");
    }
    let message: Value = serde_json::from_str(body).unwrap_or_default();
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => json!({
            "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
            "serverInfo": { "name": "small", "version": "1" },
        }),
        "tools/list" => json!({ "tools": [{ "name": "t", "inputSchema": { "type": "object" } }] }),
        "tools/call" => json!({ "content": [{ "type": "text", "text": "done" }] }),
        "server/discover" => return Answer::empty(400),
        _ => return Answer::empty(202),
    };
    let is_first = message["method"] == "initialize";
    let answer = Answer::json(json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }));
    match session.filter(|_| is_first) {
        Some(id) => answer.header("Mcp-Session-Id", id),
        None => answer,
    }
}

#[tokio::test]
async fn is_used_all_the_same() {
    for session in [None, Some("one")] {
        let fake = FakeHttp::serve(move |head, body| server(head, body, session)).await;
        let config = json!({
            "mcpServers": { "s": fake.entry() }, "gateway": { "log": { "level": "debug" } },
        });
        let proxy = Proxy::with(config).start().await;
        proxy.logs.wait_for("s: offers no stream").await;
        let client = Modern::new(&proxy.url("/mcp/s"));
        let reply = client.request("tools/call", json!({ "name": "t" })).await;
        assert_eq!(reply.result()["content"][0]["text"], "done", "{session:?}");
        assert_eq!(fake.received_of("initialize").len(), 1, "{session:?}");
    }
}
