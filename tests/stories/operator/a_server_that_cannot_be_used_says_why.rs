//! Every way in which a program is not a server: the log says which, its clients get an error that
//! names it, the others are served, and no process is left.

use super::{status, tools};
use crate::support::{FakeStdio, Modern, Proxy, Scratch, process};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn sh(script: &str) -> Value {
    json!({ "command": "sh", "args": ["-c", script], "timeouts": { "startMs": 500 } })
}

/// Far above what an error of ours takes, far below what waiting for a bad server would cost.
const AT_ONCE: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn each_has_its_own_line_and_harms_nobody() {
    let scratch = Scratch::new();
    let plain = scratch.write("plain", "#!/bin/sh\n");
    let good = FakeStdio::new(json!({ "tools": ["echo"] }));
    let cases = [
        ("missing", json!({ "command": "no-such-command" }), "command not found: no-such-command"),
        ("plain", json!({ "command": plain.to_str().expect("UTF-8") }), "is not executable"),
        ("exits", sh("exit 3"), "exited with code 3 before it was ready"),
        ("dies", sh("kill -9 $$"), "killed by signal 9 before it was ready"),
        ("mute", sh("exec sleep 1000"), "did not become ready within 500 ms"),
        ("banner", sh("echo Server on port 3000; exec sleep 1000"), "within 500 ms"),
        ("forks", sh("sleep 1000 & exit 0"), "exited with code 0 before it was ready"),
        ("closes", sh("exec >&-; exec sleep 1000"), "it closed its output before it was ready"),
    ];
    let mut servers = json!({ "good": good.entry(), "1mcp": { "type": "builtin" } });
    for (key, entry, _) in &cases {
        servers[*key] = entry.clone();
    }
    let mut proxy = Proxy::with(json!({ "mcpServers": servers })).start().await;
    proxy.logs.wait_for("good: ready").await;
    for (key, _, said) in &cases {
        let line = proxy.logs.wait_for(&format!("supervisor\",\"message\":\"{key}: ")).await;
        assert!(line.contains(said) && line.contains("warn"), "{line}");
    }
    let banner = proxy.logs.wait_for("banner: ignored what it wrote").await;
    assert!(banner.contains("warn"), "{banner}");
    for (key, _, said) in &cases {
        let client = Modern::new(&proxy.url(&format!("/mcp/{key}")));
        let reply = client.request("tools/call", json!({ "name": "x" })).await;
        let message = reply.error()["message"].as_str().unwrap_or_default();
        assert!(message.contains(&format!("{key:?}")) && message.contains(said), "{message}");
        assert_eq!(reply.error()["code"], -32603);
        let shown = status(&proxy.url("/mcp"), key).await;
        assert!(
            ["starting", "backoff"].contains(&shown["phase"].as_str().unwrap_or("")),
            "{shown}"
        );
        let begun = Instant::now();
        assert_eq!(status(&proxy.url("/mcp"), "good").await["phase"], "ready");
        let echo = json!({ "name": "good__echo", "arguments": {} });
        assert!(
            Modern::new(&proxy.url("/mcp")).request("tools/call", echo).await.result().is_object()
        );
        assert!(begun.elapsed() < AT_ONCE, "took {:?}", begun.elapsed());
    }
    assert_eq!(good.starts().len(), 1);
    let children = proxy.note_children();
    assert!(children.len() >= 2, "at least one server and its keeper: {children:?}");
    assert!(proxy.terminate().await.success());
    assert_eq!(proxy.logs.count("is stopping;"), 0, "that is no failure of a server");
    for pid in children {
        process::ends(pid).await;
    }
}

/// The answer to the first attempt comes too late; the next one, which is as quick as it should be,
/// brings it back.
#[tokio::test]
async fn an_answer_after_the_deadline_is_none_and_the_next_start_counts() {
    let late = FakeStdio::new(json!({ "tools": ["a"], "on": {
        "server/discover": [{ "await": "late" }, { "usual": true }] } }));
    let mut entry = late.entry();
    entry["timeouts"] = json!({ "startMs": 600 });
    entry["restart"] = json!({ "delayMs": 100 });
    let proxy = Proxy::with(json!({ "mcpServers": { "late": entry } })).start().await;
    proxy.logs.wait_for("\"late: did not become ready within 600 ms").await;
    late.release("late");
    proxy.logs.wait_for("late: ready").await;
    assert_eq!(tools(&proxy.url("/mcp/late")).await, ["a"]);
    process::ends(late.started(1).await).await;
}

#[tokio::test]
async fn a_flood_on_stderr_is_drained_and_a_few_lines_are_logged() {
    let flood = FakeStdio::new(json!({ "tools": ["a"], "start": [{ "flood": 4_000_000 }] }));
    let proxy = Proxy::with(json!({ "mcpServers": { "flood": flood.entry() } })).start().await;
    proxy.logs.wait_for("flood: ready").await;
    assert_eq!(tools(&proxy.url("/mcp/flood")).await, ["a"]);
    let logged = proxy.logs.count("flood: stderr: ");
    assert!((1..=400).contains(&logged), "{logged} of 50,000 lines");
}

#[tokio::test]
async fn one_that_closes_its_output_later_is_ended_and_started_again() {
    let closes = FakeStdio::new(json!({ "tools": ["close", "wait"], "on": {
        "tools/call:wait": [],
        "tools/call:close": [{ "closeOutput": true }] } }));
    let proxy = Proxy::with(json!({ "mcpServers": { "closes": closes.entry() } })).start().await;
    proxy.logs.wait_for("closes: ready").await;
    let client = Modern::new(&proxy.url("/mcp/closes"));
    let waiting = async {
        let reply = client.request("tools/call", json!({ "name": "wait" })).await;
        (reply, Instant::now())
    };
    let closing = async {
        closes.wait_for("\"wait\"").await;
        let closed = Instant::now();
        (client.request("tools/call", json!({ "name": "close" })).await, closed)
    };
    let ((waited, answered), (reply, closed)) = tokio::join!(waiting, closing);
    for reply in [waited, reply] {
        let message = reply.error()["message"].as_str().unwrap_or_default();
        assert!(
            message.contains("\"closes\"") && message.contains("closed its output"),
            "{message}"
        );
    }
    assert!(answered.duration_since(closed) < AT_ONCE);
    closes.started(2).await;
    process::ends(closes.started(1).await).await;
    proxy.logs.wait_for_nth(2, "closes: ready").await;
}
