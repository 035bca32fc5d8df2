//! While servers are being started, the first list waits up to 2 s for them, answers with who is
//! there, and announces the rest when it comes.

use super::tools;
use crate::support::{FakeStdio, Legacy, Modern, Proxy};
use serde_json::json;
use std::time::{Duration, Instant};

/// A server that shakes hands when the gate is opened.
fn late() -> FakeStdio {
    FakeStdio::new(json!({ "tools": ["late"], "prompts": ["late"], "on": {
        "server/discover": [{ "await": "gate" }, { "error": { "code": -32601, "message": "old" } }],
    }}))
}

#[tokio::test]
async fn who_comes_in_time_is_in_the_first_list() {
    let (late, good) = (late(), FakeStdio::new(json!({ "tools": ["echo"] })));
    let servers = json!({ "late": late.entry(), "good": good.entry() });
    let proxy = Proxy::with(json!({ "mcpServers": servers })).start().await;
    let url = proxy.url("/mcp");
    let open = async {
        late.reached("gate").await;
        good.wait_for("tools/list").await;
        late.release("gate");
    };
    let (seen, ()) = tokio::join!(tools(&url), open);
    assert_eq!(seen, ["late__late", "good__echo"]);
}

#[tokio::test]
async fn who_is_later_is_announced() {
    let (late, good) = (late(), FakeStdio::new(json!({ "tools": ["echo"] })));
    let servers = json!({ "late": late.entry(), "good": good.entry() });
    let proxy = Proxy::with(json!({ "mcpServers": servers })).start().await;
    let begun = Instant::now();
    let legacy = Legacy::connect(&proxy.url("/mcp"), "2025-11-25").await;
    let waited = begun.elapsed();
    assert!((1500..4500).contains(&waited.as_millis()), "initialize waited {waited:?}");
    // everything is declared, since it may all come
    for kind in ["tools", "prompts", "resources"] {
        assert_eq!(legacy.initialized["capabilities"][kind]["listChanged"], true, "{kind}");
    }
    let begun = Instant::now();
    let mut standing = legacy.get_stream().await;
    let modern = Modern::new(&proxy.url("/mcp"));
    let wanted = json!({ "toolsListChanged": true, "promptsListChanged": true });
    let mut listen = modern.listen(wanted).await;
    assert_eq!(tools(&proxy.url("/mcp")).await, ["good__echo"], "with who is there");
    assert!(begun.elapsed() < Duration::from_millis(1500), "it waits once: {:?}", begun.elapsed());
    late.release("gate");
    for stream in [&mut standing, &mut listen] {
        let mut told = Vec::new();
        while told.len() < 2 {
            let message = stream.next().await.expect("a notification");
            told.push(message["method"].as_str().unwrap_or_default().to_owned());
        }
        told.sort();
        assert_eq!(
            told,
            ["notifications/prompts/list_changed", "notifications/tools/list_changed"]
        );
    }
    let begun = Instant::now();
    assert_eq!(tools(&proxy.url("/mcp")).await, ["late__late", "good__echo"]);
    assert!(begun.elapsed() < Duration::from_secs(1));
}

/// A call that comes before its server does waits for it, on both endpoints.
#[tokio::test]
async fn an_early_call_waits_for_its_server() {
    let late = late();
    let proxy = Proxy::with(json!({ "mcpServers": { "late": late.entry() } })).start().await;
    let (all, alone) = (Modern::new(&proxy.url("/mcp")), Modern::new(&proxy.url("/mcp/late")));
    let open = async {
        late.reached("gate").await;
        late.release("gate");
    };
    let whole = all.request("tools/call", json!({ "name": "late__late" }));
    let single = alone.request("tools/call", json!({ "name": "late" }));
    let (whole, single, ()) = tokio::join!(whole, single, open);
    for reply in [whole, single] {
        assert_eq!(reply.result()["content"][0]["text"], "called late");
    }
    let unknown = all.request("tools/call", json!({ "name": "late__unknown" })).await;
    assert_eq!(unknown.error_code(), -32602);
}
