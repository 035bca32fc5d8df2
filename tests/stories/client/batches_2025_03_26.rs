//! One revision knows batches; it gets them, and no other does.

use crate::stage::Stage;
use crate::support::{FakeHttp, FakeStdio, Legacy, Modern, Proxy, RawHttp};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const BOTH: (&str, &str) = ("Accept", "application/json, text/event-stream");

fn script() -> Value {
    json!({ "tools": ["echo", "slow"], "on": {
        "tools/call:slow": [{ "log": "busy" }, { "progress": 2 }, { "usual": true }],
    }})
}

fn request(id: Value, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

#[tokio::test]
async fn requests_notifications_and_faults_in_one_array() {
    let stage = Stage::with(script()).await;
    for case in stage.cases().iter().filter(|case| case.era == "legacy") {
        let client = Legacy::connect(&case.url(), "2025-03-26").await;
        let echo = json!({ "name": case.name("echo"), "arguments": { "a": 1 } });
        let slow = json!({ "name": case.name("slow"), "_meta": { "progressToken": 1 } });
        let batch = json!([
            request(json!(1), "tools/call", echo),
            { "jsonrpc": "2.0", "method": "notifications/roots/list_changed" },
            request(json!("1"), "tools/call", slow),
            request(json!(3), "nobody/knows", json!({})),
            { "jsonrpc": "1.0", "id": 4, "method": "ping" },
            request(json!(5), "ping", json!({})),
        ]);
        let mut reply = client.send("POST", &batch.to_string()).await;
        let answers = reply.next().await.expect("an answer");
        assert_eq!(
            (reply.head.status(), reply.head.header("content-type")),
            (200, Some("application/json"))
        );
        let answers = answers.as_array().expect("answers in one array");
        let by = |id: Value| answers.iter().find(|a| a["id"] == id).expect("answered");
        assert_eq!(answers.len(), 5, "{case}: {answers:?}");
        assert_eq!(by(json!(1))["result"]["content"][0]["text"], r#"{"a":1}"#, "{case}");
        assert_eq!(by(json!("1"))["result"]["content"][0]["text"], "called slow", "{case}");
        assert_eq!(by(json!(3))["error"]["code"], -32601, "{case}");
        assert_eq!(by(json!(4))["error"]["code"], -32600, "{case}");
        assert_eq!(by(json!(5))["result"], json!({}), "{case}");
    }
}

#[tokio::test]
async fn what_has_no_answer_is_accepted() {
    let stage = Stage::of(&["sl"], script()).await;
    let client = Legacy::connect(&stage.proxy.url("/mcp/sl"), "2025-03-26").await;
    let notifications = json!([
        { "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 9 } },
        { "jsonrpc": "2.0", "id": "ask-1", "result": {} },
    ]);
    let reply = client.send("POST", &notifications.to_string()).await.finish().await;
    assert_eq!((reply.status, reply.texts.len()), (202, 0));
}

#[tokio::test]
async fn what_is_no_batch_is_refused() {
    let stage = Stage::of(&["sl"], script()).await;
    let url = stage.proxy.url("/mcp");
    let client = Legacy::connect(&url, "2025-03-26").await;
    let many: Vec<Value> = (0..65).map(|id| request(json!(id), "ping", json!({}))).collect();
    for (body, code) in [
        ("[]".to_owned(), -32600),
        ("[1]".to_owned(), -32600),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_owned(), -32700),
        (json!([[request(json!(1), "ping", json!({}))]]).to_string(), -32600),
        (json!(many).to_string(), -32600),
    ] {
        let reply = client.send("POST", &body).await.finish().await;
        assert_eq!((reply.status, reply.error_code()), (400, code), "{body}");
    }
    let ping = json!([request(json!(1), "ping", json!({}))]).to_string();
    assert_eq!(
        client.send("POST", &ping).await.next().await.expect("an answer")[0]["result"],
        json!({})
    );
}

#[tokio::test]
async fn the_handshake_is_in_no_batch() {
    let stage = Stage::of(&["sl"], script()).await;
    let url = stage.proxy.url("/mcp");
    let initialize = request(
        json!(1),
        "initialize",
        json!({
            "protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" },
        }),
    );
    let body = json!([initialize, request(json!(2), "ping", json!({}))]).to_string();
    let reply = RawHttp::once("POST", &url, &[BOTH, JSON], &body).await;
    assert_eq!((reply.status(), reply.head.header("mcp-session-id")), (400, None));
    let code =
        |text: &str| serde_json::from_str::<Value>(text).expect("JSON")["error"]["code"].clone();
    assert_eq!(code(&reply.text()), -32600);

    let client = Legacy::connect(&url, "2025-03-26").await;
    let mut reply = client.send("POST", &body).await;
    assert_eq!(reply.head.header("mcp-session-id"), None, "no session begins");
    let answers = reply.next().await.expect("answers");
    assert_eq!((&answers[0]["id"], &answers[0]["error"]["code"]), (&json!(1), &json!(-32600)));
    assert_eq!(answers[1]["result"], json!({}), "the others are served");
}

#[tokio::test]
async fn every_other_revision_refuses_them() {
    let stage = Stage::of(&["sl"], script()).await;
    let url = stage.proxy.url("/mcp/sl");
    let body = json!([request(json!(1), "tools/call", json!({ "name": "echo" }))]).to_string();
    for revision in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let client = Legacy::connect(&url, revision).await;
        let reply = client.send("POST", &body).await.finish().await;
        assert_eq!((reply.status, reply.error_code()), (400, -32600), "{revision}");
        let header = [
            ("MCP-Protocol-Version", "2025-03-26"),
            ("Mcp-Session-Id", client.session.as_deref().expect("a session")),
            BOTH,
            JSON,
        ];
        let reply = RawHttp::once("POST", &url, &header, &body).await;
        assert_eq!(reply.status(), 400, "{revision}: what was negotiated counts, not the header");
    }
    let modern = json!([{ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": Modern::new(&url).with_meta(json!({ "name": "echo" })) }]);
    let headers = [
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "echo"),
        BOTH,
        JSON,
    ];
    let reply = RawHttp::once("POST", &url, &headers, modern.to_string()).await;
    assert_eq!(reply.status(), 400, "{}", reply.text());
    assert!(
        stage.upstream("sl").received_of("tools/call").is_empty(),
        "none of it was carried out"
    );
}

/// MCP 2025-03-26 basic, "Batching": whoever speaks it MUST take batches, clients as well.
#[tokio::test]
async fn an_upstream_of_that_revision_may_answer_with_one() {
    let answer =
        r#"{"jsonrpc":"2.0","id":$id,"result":{"content":[{"type":"text","text":"done"}]}}"#;
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$token,"progress":1}}"#;
    let script = json!({ "tools": ["both", "alone"], "on": {
        "tools/call:both": [{ "line": format!(" [{progress}, {answer}]") }],
        "tools/call:alone": [{ "line": format!("[{answer}]") }],
    }});
    for revision in ["2025-03-26", "2025-06-18"] {
        let mut script = script.clone();
        script["revision"] = json!(revision);
        let (stdio, http) = (FakeStdio::new(script.clone()), FakeHttp::mcp(script.clone()).await);
        script["sse"] = json!(true);
        let sse = FakeHttp::mcp(script).await;
        let mut entries =
            json!({ "stdio": stdio.entry(), "http": http.entry(), "sse": sse.entry() });
        if revision != "2025-03-26" {
            entries["stdio"]["requestTimeout"] = json!(300); // what it writes there is ignored
        }
        let proxy = Proxy::with(json!({ "mcpServers": entries })).start().await;
        for (name, tool) in [
            ("stdio", "both"),
            ("stdio", "alone"),
            ("sse", "both"),
            ("sse", "alone"),
            ("http", "alone"),
        ] {
            let client = Modern::new(&proxy.url(&format!("/mcp/{name}")));
            let params = json!({ "name": tool, "_meta": { "progressToken": "t" } });
            let reply = client.request("tools/call", params).await;
            if revision != "2025-03-26" {
                assert_eq!(reply.error_code(), -32603, "{name} {tool}: no other revision has them");
                continue;
            }
            assert_eq!(reply.result()["content"][0]["text"], "done", "{name} {tool}");
            let heard = reply.notifications("notifications/progress").len();
            assert_eq!(heard, usize::from(tool == "both"), "{name} {tool}");
        }
    }
}
