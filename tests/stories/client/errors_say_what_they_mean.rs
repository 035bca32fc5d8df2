//! A client that gets an error can tell what has happened to its call: the same in both eras, in
//! `error.data`, with a code that means nothing else.

use crate::stage::Client;
use crate::support::{FakeStdio, Legacy, Modern, Proxy, Reply, process};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn clients(proxy: &Proxy, path: &str) -> [Client; 2] {
    let url = proxy.url(path);
    [Client::Legacy(Legacy::connect(&url, "2025-11-25").await), Client::Modern(Modern::new(&url))]
}

async fn call(client: &Client, tool: &str) -> Reply {
    client.request("tools/call", json!({ "name": tool, "arguments": {} })).await
}

/// The text and the data of an error of ours.
fn told(reply: &Reply) -> (String, Value) {
    assert_eq!((reply.status, reply.error_code()), (200, -32603));
    let error = reply.error();
    (error["message"].as_str().expect("a text").to_owned(), error["data"].clone())
}

#[tokio::test]
async fn a_server_that_dies_while_it_works_may_have_done_it() {
    let fake = FakeStdio::new(json!({ "tools": ["hang", "echo"], "on": {
        "tools/call:hang": [{ "await": "never" }] } }));
    let proxy = Proxy::with(json!({ "mcpServers": { "x": fake.entry() } })).start().await;
    let mut starts = 1;
    for client in clients(&proxy, "/mcp/x").await {
        let pid = fake.started(starts).await;
        let kill = async {
            let calls = starts;
            while fake.received_of("tools/call").len() < calls {
                tokio::time::sleep(Duration::from_millis(5)).await; // a file gives no event
            }
            process::signal(pid, Signal::KILL);
            Instant::now()
        };
        let (reply, killed) = tokio::join!(call(&client, "hang"), kill);
        assert!(killed.elapsed() < Duration::from_millis(500), "it came at once");
        let (text, data) = told(&reply);
        assert!(text.starts_with("upstream \"x\": ") && text.contains("may have"), "{text}");
        let expected = json!({ "reason": "lost", "upstream": "x", "carriedOut": "maybe" });
        assert_eq!(data, expected);
        starts += 1;
        fake.started(starts).await;
        proxy.logs.wait_for_nth(starts, "x: ready").await;
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_says_where_it_stands_and_when_to_come_back() {
    let looping = FakeStdio::new(json!({ "start": [{ "exit": 3 }] }));
    let mut entry = looping.entry();
    entry["restart"] = json!({ "max": 0 });
    let proxy = Proxy::with(json!({ "mcpServers": { "x": entry } })).start().await;
    proxy.logs.wait_for("failure 1 in a row").await;
    let modern = Client::Modern(Modern::new(&proxy.url("/mcp/x")));
    let begun = Instant::now();
    let (text, data) = told(&call(&modern, "echo").await);
    assert!(begun.elapsed() < Duration::from_secs(1), "it did not wait for the next attempt");
    assert!(text.starts_with("upstream \"x\" is down") && text.contains("code 3"), "{text}");
    let wait = data["retryAfterMs"].as_u64().expect("a time");
    assert!((1..=90_000).contains(&wait), "{data}");
    let expected = json!({ "reason": "unavailable", "upstream": "x", "carriedOut": "no",
        "state": "open", "retryAfterMs": wait });
    assert_eq!(data, expected);
}

#[tokio::test]
async fn a_time_that_is_over_is_named() {
    let fake = FakeStdio::new(json!({ "tools": ["hang", "crawl"], "on": {
        "tools/call:hang": [{ "await": "never" }],
        "tools/call:crawl": [{ "await": "never" }] } }));
    let entry = |idle: u64, total: u64| {
        let mut entry = fake.entry();
        entry["timeouts"] = json!({ "idleMs": idle, "totalMs": total });
        entry
    };
    let servers = json!({ "idle": entry(150, 5000), "total": entry(5000, 200) });
    let proxy = Proxy::with(json!({ "mcpServers": servers })).start().await;
    let rows = [
        ("idle", "no answer in time: no progress for 150ms", 150),
        ("total", "no answer in time: 200ms in all", 200),
    ];
    for (upstream, words, after) in rows {
        for client in clients(&proxy, &format!("/mcp/{upstream}")).await {
            let (text, data) = told(&call(&client, "hang").await);
            assert!(text.contains(words), "{text}");
            let expected = json!({ "reason": "timeout", "upstream": upstream,
                "carriedOut": "maybe", "afterMs": after });
            assert_eq!(data, expected);
        }
    }
}

#[tokio::test]
async fn too_much_at_once_was_not_carried_out() {
    let fake = FakeStdio::new(json!({ "tools": ["hang"], "on": {
        "tools/call:hang": [{ "await": "go" }, { "usual": true }] } }));
    let proxy = Proxy::with(json!({
        "gateway": { "limits": { "inFlight": 1 } }, "mcpServers": { "x": fake.entry() } }))
    .start()
    .await;
    let [legacy, modern] = clients(&proxy, "/mcp/x").await;
    for (busy, late) in [(&legacy, &modern), (&modern, &legacy)] {
        fake.shut("go");
        let refused = async {
            fake.reached("go").await;
            let refused = call(late, "hang").await;
            fake.release("go");
            refused
        };
        let (served, refused) = tokio::join!(call(busy, "hang"), refused);
        served.result();
        let (text, data) = told(&refused);
        assert!(text.contains("in flight") && text.contains("not carried out"), "{text}");
        let expected = json!({ "reason": "overload", "upstream": "x", "carriedOut": "no",
            "limit": "inFlight", "retryAfterMs": 1000 });
        assert_eq!(data, expected);
    }
    assert_eq!(fake.received_of("tools/call").len(), 2);
}
