//! One server that is missing, mute, hung or dead: the lists of the others are whole and at once.

use super::{status, tools};
use crate::support::{FakeStdio, Modern, Proxy, process};
use rustix::process::Signal;
use serde_json::json;
use std::time::{Duration, Instant};

/// Far above what a list takes, far below what a server that hangs would cost.
const AT_ONCE: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn missing_mute_and_refused_servers_hide_nobody() {
    let good = FakeStdio::new(json!({ "tools": ["echo"] }));
    let mute = FakeStdio::new(json!({ "on": { "server/discover": [], "initialize": [] } }));
    let proxy = Proxy::with(json!({ "mcpServers": {
        "missing": { "command": "no-such-command-anywhere" },
        "mute": mute.entry(),
        "refused": { "type": "http", "url": "http://127.0.0.1:1/mcp" },
        "good": good.entry(),
        "1mcp": { "type": "builtin" },
    }}))
    .start()
    .await;
    let begun = Instant::now();
    let seen = tools(&proxy.url("/mcp")).await;
    assert!(seen.contains(&"good__echo".to_owned()), "{seen:?}");
    assert!(begun.elapsed() < Duration::from_secs(4), "the first list waits 2 s for the mute one");
    let client = Modern::new(&proxy.url("/mcp"));
    let begun = Instant::now();
    let reply = client.request("tools/call", json!({ "name": "good__echo" })).await;
    assert!(reply.result().is_object() && begun.elapsed() < AT_ONCE);
    for _ in 0..3 {
        // the mute one is still being started, and has had its time
        let begun = Instant::now();
        assert_eq!(tools(&proxy.url("/mcp")).await, seen);
        assert!(begun.elapsed() < AT_ONCE, "took {:?}", begun.elapsed());
    }
    assert_eq!(status(&proxy.url("/mcp"), "good").await["state"], "ready");
}

#[tokio::test]
async fn a_server_that_hangs_after_it_was_ready_delays_nobody() {
    let good = FakeStdio::new(json!({ "tools": ["echo"] }));
    let hung = FakeStdio::new(json!({ "tools": ["hang", "other"], "on": {
        "tools/call:hang": [
            { "notify": ["notifications/tools/list_changed", null] },
            { "usual": true },
            { "deaf": true },
        ],
    }}));
    let proxy =
        Proxy::with(json!({ "mcpServers": { "hung": hung.entry(), "good": good.entry() } }))
            .start()
            .await;
    let all = ["hung__hang", "hung__other", "good__echo"];
    assert_eq!(tools(&proxy.url("/mcp")).await, all);
    let client = Modern::new(&proxy.url("/mcp"));
    client.request("tools/call", json!({ "name": "hung__hang" })).await;
    // its own list would change, but it never says how: what was known stays
    for _ in 0..3 {
        let begun = Instant::now();
        assert_eq!(tools(&proxy.url("/mcp")).await, all);
        assert!(begun.elapsed() < AT_ONCE, "took {:?}", begun.elapsed());
        let begun = Instant::now();
        let reply = client.request("tools/call", json!({ "name": "good__echo" })).await;
        assert!(reply.result().is_object() && begun.elapsed() < AT_ONCE);
    }
}

#[tokio::test]
async fn the_tools_of_a_dead_server_stay_known() {
    let good = FakeStdio::new(json!({ "tools": ["echo"] }));
    let dying = FakeStdio::new(json!({ "tools": ["a"] }));
    let proxy = Proxy::with(json!({ "mcpServers": {
        "dying": dying.entry(), "good": good.entry(), "1mcp": { "type": "builtin" } } }))
    .start()
    .await;
    let before = tools(&proxy.url("/mcp")).await;
    // from now on it ends at once, each time it is started
    dying.rewrite(&json!({ "start": [{ "exit": 9 }] }));
    process::signal(dying.started(1).await, Signal::KILL);
    dying.started(3).await;
    let begun = Instant::now();
    assert_eq!(tools(&proxy.url("/mcp")).await, before);
    assert!(begun.elapsed() < AT_ONCE);
    let state = status(&proxy.url("/mcp"), "dying").await["state"].to_string();
    assert!(state.contains("exited with code 9"), "{state}");
    let client = Modern::new(&proxy.url("/mcp"));
    let reply = client.request("tools/call", json!({ "name": "dying__a" })).await;
    let message = reply.error()["message"].as_str().unwrap_or_default();
    assert!(message.contains("\"dying\"") && message.contains("code 9"), "{message}");
}
