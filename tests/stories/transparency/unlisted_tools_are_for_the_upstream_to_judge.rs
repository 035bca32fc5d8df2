//! An upstream may have more than it lists. On its own endpoint every name goes to it; on the
//! merged one a name that nobody listed has no upstream to go to.

use crate::stage::Stage;
use crate::support::{FakeStdio, Legacy, Modern, Proxy};
use serde_json::json;

#[tokio::test]
async fn forwarded_alone_and_refused_merged() {
    let stage = Stage::with(json!({ "tools": ["listed"], "prompts": ["listed"], "on": {
        "tools/call:hidden": [{ "result": { "content": [{ "type": "text", "text": "found" }] } }],
        "prompts/get:hidden": [{ "result": { "messages": [], "description": "found" } }],
    }}))
    .await;
    for case in stage.cases() {
        let client = case.client().await;
        let asked = || {
            let of = |method| case.upstream.received_of(method).len();
            of("tools/call") + of("prompts/get")
        };
        let before = asked();
        for method in ["tools/call", "prompts/get"] {
            let reply = client.request(method, json!({ "name": case.name("hidden") })).await;
            if case.aggregate {
                assert_eq!((reply.status, reply.error_code()), (200, -32602), "{case}: {method}");
            } else {
                let found = reply.result().to_string();
                assert!(found.contains("found"), "{case}: {method}: {found}");
            }
        }
        assert_eq!(asked() - before, if case.aggregate { 0 } else { 2 }, "{case}");
        // the upstream's own answer to what it does not know
        if !case.aggregate {
            let reply = client.request("tools/call", json!({ "name": "nothing" })).await;
            assert_eq!(
                (reply.error_code(), reply.error()["message"].as_str()),
                (-32602, Some("unknown nothing"))
            );
        }
    }
}

#[tokio::test]
async fn what_the_operator_disabled_exists_nowhere() {
    let fake = FakeStdio::new(json!({ "tools": ["kept", "gone"] }));
    let mut entry = fake.entry();
    entry["disabledTools"] = json!(["gone", "unlisted"]);
    let proxy = Proxy::with(json!({ "mcpServers": { "fake": entry } })).start().await;
    for (path, kept, gone) in [
        ("/mcp/fake", "kept", ["gone", "unlisted"]),
        ("/mcp", "fake__kept", ["fake__gone", "fake__unlisted"]),
    ] {
        let url = proxy.url(path);
        let legacy = Legacy::connect(&url, "2025-11-25").await;
        let modern = Modern::new(&url);
        let listed = legacy.request("tools/list", json!({})).await;
        assert_eq!(listed.result()["tools"].as_array().map(Vec::len), Some(1), "{path}");
        legacy.request("tools/call", json!({ "name": kept })).await.result();
        for name in gone {
            let call = json!({ "name": name });
            assert_eq!(
                legacy.request("tools/call", call.clone()).await.error_code(),
                -32602,
                "{name}"
            );
            assert_eq!(modern.request("tools/call", call).await.error_code(), -32602, "{name}");
        }
    }
    assert!(fake.received_of("tools/call").iter().all(|call| call["params"]["name"] == "kept"));
}
