//! A server that does not answer any more is asked for a sign of life, is shown as degraded, and is
//! started again; one that is busy, or answers with an error, is left alone.

use super::status;
use crate::support::{FakeHttp, FakeStdio, Legacy, Modern, Proxy, process};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn probed(mut entry: Value, probe: u64, idle: u64) -> Value {
    entry["timeouts"] = json!({ "probeMs": probe, "idleMs": idle });
    entry
}

#[tokio::test]
async fn a_deaf_child_of_either_era_is_started_again() {
    for era in ["legacy", "modern"] {
        let fake = FakeStdio::new(json!({ "era": era, "tools": ["hang"], "on": {
            "tools/call:hang": [{ "usual": true }, { "deaf": true }] } }));
        let proxy = Proxy::with(json!({ "mcpServers": {
            "fake": probed(fake.entry(), 200, 300_000), "1mcp": { "type": "builtin" } } }))
        .start()
        .await;
        let client = Legacy::connect(&proxy.url("/mcp/fake"), "2025-11-25").await;
        client.request("tools/call", json!({ "name": "hang" })).await.result();
        proxy.logs.wait_for("fake: it gave no sign of life when asked").await;
        let shown = status(&proxy.url("/mcp"), "fake").await;
        assert!(
            ["degraded", "starting"].contains(&shown["phase"].as_str().unwrap_or("")),
            "{shown}"
        );
        proxy.logs.wait_for("fake: it gave no sign of life (").await;
        process::ends(fake.started(1).await).await;
        proxy.logs.wait_for_nth(2, "fake: ready").await;
    }
}

/// Whoever works on a call need not have time for a probe, but not for ever.
#[tokio::test]
async fn with_a_call_under_way_it_has_as_long_as_a_call_may_be_silent() {
    let fake = FakeStdio::new(json!({ "tools": ["hang", "late"], "on": {
        "tools/call:hang": [{ "deaf": true }] } }));
    let proxy = Proxy::with(json!({ "mcpServers": { "fake": probed(fake.entry(), 200, 1500) } }))
        .start()
        .await;
    proxy.logs.wait_for("fake: ready").await;
    let client = Modern::new(&proxy.url("/mcp/fake"));
    let hung =
        async { (client.request("tools/call", json!({ "name": "hang" })).await, Instant::now()) };
    let late = async {
        proxy.logs.wait_for("no sign of life when asked").await;
        tokio::time::sleep(Duration::from_millis(300)).await; // well into the time of the first
        let begun = Instant::now();
        (client.request("tools/call", json!({ "name": "late" })).await, begun.elapsed())
    };
    let begun = Instant::now();
    let ((hung, ended), (late, waited)) = tokio::join!(hung, late);
    assert!(ended.duration_since(begun) >= Duration::from_millis(1300), "it was given its time");
    assert!(hung.response().get("error").is_some(), "{hung:?}");
    let message = late.error()["message"].as_str().unwrap_or_default();
    assert!(message.contains("sign of life"), "{message}");
    assert!(
        waited < Duration::from_millis(1400),
        "told at once, not by its own timeout: {waited:?}"
    );
    assert_eq!(fake.received_of("ping").len(), 0, "a deaf one reads nothing");
}

#[tokio::test]
async fn an_error_is_a_sign_of_life_and_so_is_whatever_else_arrives() {
    let error = json!([{ "error": { "code": -32601, "message": "no such method" } }]);
    let fake = FakeStdio::new(json!({ "on": { "ping": error } }));
    let http = FakeHttp::mcp(json!({ "on": { "ping": error } })).await;
    let proxy = Proxy::with(json!({ "mcpServers": {
        "fake": probed(fake.entry(), 100, 300_000), "http": probed(http.entry(), 100, 300_000),
        "1mcp": { "type": "builtin" } } }))
    .start()
    .await;
    let end = Instant::now() + crate::support::BOUND;
    while fake.received_of("ping").len() < 6 || http.received_of("ping").len() < 6 {
        assert!(Instant::now() < end, "it is asked again and again");
        tokio::time::sleep(Duration::from_millis(5)).await; // a file gives no event
    }
    for key in ["fake", "http"] {
        assert_eq!(status(&proxy.url("/mcp"), key).await["phase"], "ready");
    }
    assert_eq!(proxy.logs.count("sign of life"), 0);
    assert_eq!((fake.starts().len(), http.received_of("initialize").len()), (1, 1));
}

#[tokio::test]
async fn an_http_server_that_hangs_is_connected_to_again() {
    let http =
        FakeHttp::mcp(json!({ "tools": ["wait"], "on": { "ping": [{ "await": "never" }, { "result": {} }], "tools/call:wait": [{ "await": "never" }, { "result": {} }] } }))
            .await;
    let proxy = Proxy::with(json!({ "mcpServers": { "http": probed(http.entry(), 200, 1000) } }))
        .start()
        .await;
    proxy.logs.wait_for("http: ready").await;
    let client = Modern::new(&proxy.url("/mcp/http"));
    proxy.logs.wait_for("http: it gave no sign of life when asked").await;
    let reply = client.request("tools/call", json!({ "name": "wait" })).await;
    assert!(reply.response().get("error").is_some(), "{reply:?}");
    proxy.logs.wait_for_nth(2, "http: ready").await;
    assert!(http.received_of("initialize").len() >= 2);
    assert_eq!(http.received_of("tools/call").len(), 1, "nothing is said twice");
}
