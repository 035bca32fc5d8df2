//! A server that is killed, or ends, each time it was started: after a few quick attempts there is
//! one a minute, clients learn when, the log stays short, and nobody else notices.

use super::status;
use crate::support::{FakeStdio, Modern, Proxy, process};
use rustix::process::Signal;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_server_killed_each_time_it_is_ready_is_left_alone() {
    let killed = FakeStdio::new(json!({ "tools": ["a"], "start": [
        { "stderr": "2026-11-24 10:00:00 cannot bind port 80" } ] }));
    let good = FakeStdio::new(json!({ "tools": ["echo"] }));
    let mut entry = killed.entry();
    entry["restart"] = json!({ "max": 3, "delayMs": 1 });
    let proxy = Proxy::with(json!({ "mcpServers": {
        "killed": entry, "good": good.entry(), "1mcp": { "type": "builtin" } } }))
    .start()
    .await;
    for count in 1..=4 {
        proxy.logs.wait_for_nth(count, "killed: ready").await;
        process::signal(killed.started(count).await, Signal::KILL);
    }
    let line = proxy.logs.wait_for("one attempt a minute").await;
    assert!(line.contains("killed by signal 9") && line.contains("warn"), "{line}");
    let shown = status(&proxy.url("/mcp"), "killed").await;
    assert_eq!(shown["phase"], "open", "{shown}");
    assert!(shown["retryAfterMs"].as_u64().is_some_and(|ms| ms > 30_000), "{shown}");
    let client = Modern::new(&proxy.url("/mcp/killed"));
    let begun = std::time::Instant::now();
    let reply = client.request("tools/call", json!({ "name": "a" })).await;
    assert!(begun.elapsed().as_millis() < 1000, "nobody waits for it");
    let message = reply.error()["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("killed by signal 9") && message.contains("next attempt in"),
        "{message}"
    );
    assert_eq!(killed.starts().len(), 4);
    assert_eq!(proxy.logs.count("killed: stderr: "), 1, "what it says each time is said once");
    assert_eq!(good.starts().len(), 1);
}

/// A hundred times in a minute with `ONEMCP_LONG=1`, otherwise ten times in six seconds.
#[tokio::test]
#[allow(clippy::print_stderr, reason = "how long it went on is said")]
async fn whoever_kills_it_whenever_it_is_there_kills_few() {
    let long = std::env::var("ONEMCP_LONG").is_ok_and(|long| long == "1");
    let attempts = if long { 100 } else { 10 };
    let killed = FakeStdio::new(json!({ "tools": ["a"] }));
    let good = FakeStdio::new(json!({ "tools": ["echo"] }));
    let mut entry = killed.entry();
    entry["restart"] = json!({ "max": 3, "delayMs": 1 });
    let proxy = Proxy::with(json!({ "mcpServers": { "killed": entry, "good": good.entry() } }))
        .start()
        .await;
    proxy.logs.wait_for("killed: ready").await;
    let client = Modern::new(&proxy.url("/mcp/good"));
    let mut hits = 0;
    for _ in 0..attempts {
        let there = process::descendants(proxy.pid());
        let last = killed.starts().last().copied().filter(|pid| there.contains(pid));
        if let Some(pid) = last {
            process::signal(pid, Signal::KILL);
            hits += 1;
        }
        let echo = json!({ "name": "echo", "arguments": {} });
        assert!(client.request("tools/call", echo).await.result().is_object());
        tokio::time::sleep(Duration::from_millis(600)).await; // the pace of whoever kills
    }
    let starts = killed.starts().len();
    eprintln!("killed whenever it was there, {attempts} looks: {hits} hits, {starts} starts");
    assert!((4..=6).contains(&starts), "four quick ones, then one a minute: {starts}");
    assert_eq!(good.starts().len(), 1);
    let lines = proxy.logs.lines().len();
    assert!(lines < 60, "{lines} lines\n{}", proxy.logs.text());
}
