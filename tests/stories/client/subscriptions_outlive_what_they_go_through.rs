//! A subscription holds as long as its client wants it: it is made again on a new connection, and what
//! may have been missed meanwhile counts as changed. An upstream that does not answer holds up nobody
//! else's (MCP 2026-07-28 basic/patterns/subscriptions).

use crate::stage::Stage;
use crate::support::{Legacy, Modern};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const UPDATED: &str = "notifications/resources/updated";

#[tokio::test]
async fn a_new_connection() {
    let script = json!({
        "tools": ["die", "touch"], "resources": ["mem:a"],
        "on": {
            "tools/call:die": [{ "exit": 1 }],
            "tools/call:touch": [{ "notify": [UPDATED, { "uri": "mem:a" }] }, { "usual": true }],
        },
    });
    let stage = Stage::of(&["sl", "sm"], script).await;
    for kind in ["sl", "sm"] {
        let url = stage.proxy.url(&format!("/mcp/{kind}"));
        let client = Modern::new(&url);
        let wanted = json!({ "resourceSubscriptions": ["mem:a"] });
        let params = json!({ "notifications": wanted });
        let mut listen = client.open("subscriptions/listen", params).await;
        let first = listen.next().await.expect("an acknowledgement");
        assert_eq!(first["params"]["notifications"], wanted, "{kind}");
        let session = Legacy::connect(&url, "2025-11-25").await;
        let mut stream = session.get_stream().await;
        session.request("resources/subscribe", json!({ "uri": "mem:a" })).await.result();

        client.request("tools/call", json!({ "name": "die" })).await.error();
        stage.proxy.logs.wait_for_nth(2, &format!("{kind}: ready")).await;
        for told in [listen.next().await, stream.next().await] {
            let told = told.expect("it may have changed meanwhile");
            assert_eq!(
                (&told["method"], &told["params"]["uri"]),
                (&json!(UPDATED), &json!("mem:a"))
            );
        }
        // asked for again by whom it came back to: what it says now is heard
        let asked = if kind == "sl" { "resources/subscribe" } else { "subscriptions/listen" };
        let again = async {
            while stage.upstream(kind).received_of(asked).len() < 2 {
                tokio::task::yield_now().await;
            }
        };
        crate::support::bounded("the subscription on the new connection", again).await;
        client.request("tools/call", json!({ "name": "touch" })).await.result();
        for told in [listen.next().await, stream.next().await] {
            assert_eq!(told.expect("an update")["params"]["uri"], "mem:a", "{kind}");
        }
    }
}

#[tokio::test]
async fn one_that_is_silent() {
    let silent = json!([{ "await": "never" }, { "usual": true }]);
    let script = json!({
        "resources": ["mem:a", "mem:b"],
        "on": { "resources/subscribe:mem:b": silent },
    });
    let stage = Stage::of(&["sl", "hl", "hm"], script).await;
    let client = Modern::new(&stage.proxy.url("/mcp"));
    let uri = |kind: &str, own: &str| format!("mcp-{kind}+mem:{own}");
    let wanted =
        json!([uri("sl", "b"), uri("hl", "b"), uri("sl", "a"), uri("hl", "a"), uri("hm", "a")]);
    let began = Instant::now();
    let params =
        json!({ "notifications": { "resourceSubscriptions": wanted, "toolsListChanged": true } });
    let mut stream = client.open("subscriptions/listen", params).await;
    let first = stream.next().await.expect("an acknowledgement");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let honoured: Value = json!([uri("sl", "a"), uri("hl", "a"), uri("hm", "a")]);
    let said = &first["params"]["notifications"];
    assert_eq!(said["resourceSubscriptions"], honoured, "only what was confirmed");
    assert_eq!(said["toolsListChanged"], true, "{said}");
}
