//! Lists come in one page, so every cursor is one we never gave (-32602); what a listen may ask for
//! is bounded, and asking for all of it makes nobody wait.

use super::Scene;
use crate::support::{FakeStdio, Legacy, Modern};
use serde_json::{Value, json};

const LISTS: [&str; 4] =
    ["tools/list", "prompts/list", "resources/list", "resources/templates/list"];

#[tokio::test]
async fn a_cursor_we_never_gave_is_refused() {
    let pages = FakeStdio::new(json!({ "tools": [["a"], ["b"]], "prompts": ["p"],
        "resources": ["file:///r"], "resourceTemplates": ["file:///{x}"] }));
    let scene = Scene::with(json!({ "pages": pages.entry() }), json!({})).await;
    for path in ["/mcp", "/mcp/pages"] {
        let url = scene.proxy.url(path);
        let (legacy, modern) = (Legacy::connect(&url, "2025-11-25").await, Modern::new(&url));
        for method in LISTS {
            // the upstream's own cursors, forged ones, other types
            for cursor in [
                json!("page-1"),
                json!(""),
                json!("../../x"),
                json!("\u{0}"),
                json!(1),
                json!({}),
                json!([]),
            ] {
                let params = json!({ "cursor": cursor });
                for reply in [
                    legacy.request(method, params.clone()).await,
                    modern.request(method, params).await,
                ] {
                    assert_eq!(
                        (reply.status, reply.error_code()),
                        (200, -32602),
                        "{method} {cursor}"
                    );
                    let message = reply.error()["message"].as_str().unwrap_or_default();
                    assert!(message.contains("cursor"), "{message}");
                }
            }
            for params in [json!({}), json!({ "cursor": null })] {
                let reply = legacy.request(method, params).await;
                assert!(reply.result().get("nextCursor").is_none(), "{method}: one page");
            }
        }
        let cursors = pages.received_of("tools/list");
        assert!(cursors.iter().all(|m| m["params"].get("cursor").is_none_or(|c| c == "page-1")));
    }
    scene.others_are_served().await;
}

fn uris(count: usize) -> Value {
    (0..count).map(|n| json!(format!("file:///{n}"))).collect()
}

#[tokio::test]
async fn a_listen_for_thousands_of_resources_is_refused() {
    let scene = Scene::new().await;
    for path in ["/mcp", "/mcp/good"] {
        let client = Modern::new(&scene.proxy.url(path));
        for count in [1001, 50_000] {
            let params = json!({ "notifications": { "resourceSubscriptions": uris(count) } });
            let reply = client.request("subscriptions/listen", params).await;
            assert_eq!(reply.error_code(), -32602, "{count}");
            let message = reply.error()["message"].as_str().unwrap_or_default();
            assert!(message.contains("1000"), "names the limit: {message}");
        }
    }
    scene.never_forwarded("resources/subscribe");
    scene.others_are_served().await;
}

#[tokio::test]
async fn listening_to_as_much_as_allowed_makes_nobody_wait() {
    for era in ["legacy", "modern"] {
        let other = FakeStdio::new(json!({ "era": era, "tools": ["echo"] }));
        let scene = Scene::with(json!({ "other": other.entry() }), json!({})).await;
        let client = Modern::new(&scene.proxy.url("/mcp/other"));
        let filter = json!({ "toolsListChanged": true, "resourceSubscriptions": uris(1000) });
        let mut streams = Vec::new();
        for _ in 0..10 {
            streams.push(client.listen(filter.clone()).await);
        }
        scene.others_are_served().await;
        let reply = client.request("tools/call", json!({ "name": "echo" })).await;
        assert_eq!(reply.status, 200, "{era}");
        drop(streams);
        scene.others_are_served().await;
    }
}

/// An upstream that never confirms a subscription delays the acknowledgement by a bound alone.
#[tokio::test]
async fn an_upstream_that_never_confirms_does_not_hold_a_listen() {
    let mute = FakeStdio::new(json!({ "on": { "resources/subscribe": [] } }));
    let scene = Scene::with(json!({ "mute": mute.entry() }), json!({})).await;
    let client = Modern::new(&scene.proxy.url("/mcp/mute"));
    let filter = json!({ "toolsListChanged": true, "resourceSubscriptions": uris(3) });
    let mut stream = client.open("subscriptions/listen", json!({ "notifications": filter })).await;
    let first = stream.next().await.expect("an acknowledgement");
    let granted = &first["params"]["notifications"];
    assert_eq!(granted["toolsListChanged"], true, "{first}");
    assert_eq!(granted.get("resourceSubscriptions"), None, "what was not confirmed is left out");
    scene.others_are_served().await;
}

#[tokio::test]
async fn as_many_calls_at_once_as_the_limit_says() {
    let busy = FakeStdio::new(json!({ "tools": ["wait", "echo"], "on": {
        "tools/call:wait": [{ "await": "gate" }, { "usual": true }],
    }}));
    let limits = json!({ "limits": { "inFlight": 2 } });
    let scene = Scene::with(json!({ "busy": busy.entry() }), limits).await;
    let client = Modern::new(&scene.proxy.url("/mcp/busy"));
    let wait = || async { client.request("tools/call", json!({ "name": "wait" })).await };
    let third = async {
        while busy.received_of("tools/call").len() < 2 {
            busy.reached("gate").await;
            tokio::task::yield_now().await;
        }
        let refused = client.request("tools/call", json!({ "name": "echo" })).await;
        scene.others_are_served().await;
        busy.release("gate");
        refused
    };
    let (one, two, refused) = tokio::join!(wait(), wait(), third);
    assert_eq!(refused.error_code(), -32603);
    let message = refused.error()["message"].as_str().unwrap_or_default();
    assert!(message.contains("in flight"), "{message}");
    assert!(one.result().is_object() && two.result().is_object());
    let after = client.request("tools/call", json!({ "name": "echo" })).await;
    assert_eq!(after.status, 200, "the slots are free again");
    assert!(after.result().is_object());
}
