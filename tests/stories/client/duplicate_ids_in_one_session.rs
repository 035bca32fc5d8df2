//! A client that uses one id twice at the same time gets both answers. Which of them a
//! cancellation means is unknown, so it means neither.

use crate::stage::{Client, Stage, progress};
use crate::support::Legacy;
use serde_json::{Value, json};

fn script() -> Value {
    let held = json!([progress(1, "begun"), { "await": "go" }, { "usual": true }]);
    json!({ "tools": ["a", "b"], "on": { "tools/call:a": held, "tools/call:b": held } })
}

fn call(name: &str) -> Value {
    json!({ "name": name, "_meta": { "progressToken": 5 } })
}

#[tokio::test]
async fn both_are_served_and_an_ambiguous_cancellation_is_ignored() {
    let stage = Stage::with(script()).await;
    for case in stage.cases().iter().filter(|case| case.era == "legacy") {
        let client = Legacy::connect(&case.url(), "2025-11-25").await;
        let id = json!(5);
        let mut a = client.open_as(&id, "tools/call", call(&case.name("a"))).await;
        let mut b = client.open_as(&id, "tools/call", call(&case.name("b"))).await;
        assert!(a.next().await.is_some() && b.next().await.is_some(), "both are in flight");
        let cancel = json!({ "requestId": 5, "reason": "which one?" });
        assert_eq!(client.notify("notifications/cancelled", cancel.clone()).await, 202);
        case.upstream.release("go");
        for (name, call) in [("a", a), ("b", b)] {
            let reply = call.finish().await;
            assert_eq!(reply.response()["id"], 5, "{case}");
            assert_eq!(reply.result()["content"][0]["text"], format!("called {name}"), "{case}");
        }
        case.upstream.shut("go");
        assert!(case.upstream.received_of("notifications/cancelled").is_empty(), "{case}");
    }
    stage.proxy.logs.assert_no_secret(&["which one?"]);
}

#[tokio::test]
async fn an_id_that_has_become_unique_again_can_be_cancelled() {
    let mut script = script();
    script["on"]["tools/call:b"] =
        json!([progress(1, "begun"), { "await": "other" }, { "usual": true }]);
    let stage = Stage::of(&["sl"], script).await;
    let client = Legacy::connect(&stage.proxy.url("/mcp/sl"), "2025-11-25").await;
    let upstream = stage.upstream("sl");
    let id = json!("twice");
    let mut a = client.open_as(&id, "tools/call", call("a")).await;
    let mut b = client.open_as(&id, "tools/call", call("b")).await;
    assert!(a.next().await.is_some() && b.next().await.is_some(), "both are in flight");
    upstream.release("go");
    assert_eq!(a.finish().await.response()["id"], "twice");
    client.notify("notifications/cancelled", json!({ "requestId": "twice" })).await;
    let cancelled: Value =
        serde_json::from_str(&upstream.wait_for("notifications/cancelled").await).expect("JSON");
    let calls = upstream.received_of("tools/call");
    assert_eq!(cancelled["params"]["requestId"], calls[1]["id"], "the one that is left");
    assert!(b.next().await.is_none(), "a cancelled request gets no answer");
    upstream.release("other");
}

#[tokio::test]
async fn modern_requests_are_independent_of_each_other() {
    let stage = Stage::with(script()).await;
    for case in stage.cases().iter().filter(|case| case.era == "modern") {
        let client = case.client().await;
        let Client::Modern(client) = client else { unreachable!("modern cases") };
        let mut a = client.open_as(&json!("x"), "tools/call", call(&case.name("a"))).await;
        let mut b = client.open_as(&json!("x"), "tools/call", call(&case.name("b"))).await;
        assert!(a.next().await.is_some() && b.next().await.is_some(), "both are in flight");
        case.upstream.release("go");
        for (name, call) in [("a", a), ("b", b)] {
            let reply = call.finish().await;
            assert_eq!(reply.response()["id"], "x", "{case}");
            assert_eq!(reply.result()["content"][0]["text"], format!("called {name}"), "{case}");
        }
        case.upstream.shut("go");
    }
}
