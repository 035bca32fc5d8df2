//! A server that is killed is started again and can be called within 5 s; until then its calls get
//! an error that says why, and what has changed meanwhile is announced.

use super::tools;
use crate::support::{BOUND, FakeHttp, FakeStdio, Legacy, Modern, Proxy, process};
use rustix::process::Signal;
use serde_json::json;
use std::time::Instant;

#[tokio::test]
async fn killed_servers_of_both_eras_come_back() {
    for era in ["legacy", "modern"] {
        let fake = FakeStdio::new(json!({ "era": era, "tools": ["wait", "echo"], "on": {
            "tools/call:wait": [{ "await": "never" }],
        }}));
        let proxy = Proxy::with(json!({ "mcpServers": { "fake": fake.entry() } })).start().await;
        let client = Legacy::connect(&proxy.url("/mcp/fake"), "2025-11-25").await;
        for round in 1..=2 {
            let pid = fake.started(round).await;
            let waiting = client.request("tools/call", json!({ "name": "wait" }));
            let kill = async {
                fake.reached("never").await;
                process::signal(pid, Signal::KILL);
                Instant::now()
            };
            let (in_flight, killed) = tokio::join!(waiting, kill);
            assert_eq!(in_flight.error_code(), -32603, "{era}: {in_flight:?}");
            let message = in_flight.error()["message"].as_str().unwrap_or_default();
            assert!(message.contains("\"fake\""), "{message}");
            loop {
                let echo = json!({ "name": "echo", "arguments": { "n": round } });
                let reply = client.request("tools/call", echo).await;
                let Some(error) = reply.response().get("error") else {
                    assert_eq!(reply.result()["content"][0]["text"], format!(r#"{{"n":{round}}}"#));
                    break;
                };
                assert_eq!(error["code"], -32603, "{era}: {error}");
                assert!(
                    error["message"].as_str().is_some_and(|m| m.contains("\"fake\"")),
                    "{error}"
                );
                assert!(killed.elapsed() < BOUND, "{era}: {error}");
            }
            assert!(killed.elapsed() < BOUND, "{era}: after {:?}", killed.elapsed());
        }
        let line = proxy.logs.wait_for("fake: it closed its output").await;
        assert!(line.contains("killed by signal 9"), "{line}");
    }
}

#[tokio::test]
async fn what_changed_meanwhile_is_announced() {
    let fake = FakeStdio::new(json!({ "tools": ["old"] }));
    let proxy = Proxy::with(json!({ "mcpServers": { "fake": fake.entry() } })).start().await;
    assert_eq!(tools(&proxy.url("/mcp")).await, ["fake__old"]);
    let client = Modern::new(&proxy.url("/mcp"));
    let mut stream = client.listen(json!({ "toolsListChanged": true })).await;
    let alone = Modern::new(&proxy.url("/mcp/fake"));
    let mut alone_stream = alone.listen(json!({ "toolsListChanged": true })).await;
    fake.rewrite(&json!({ "tools": ["new"] }));
    process::signal(fake.started(1).await, Signal::KILL);
    for stream in [&mut stream, &mut alone_stream] {
        let told = stream.next().await.expect("a notification");
        assert_eq!(told["method"], "notifications/tools/list_changed");
    }
    assert_eq!(tools(&proxy.url("/mcp")).await, ["fake__new"]);
    assert_eq!(tools(&proxy.url("/mcp/fake")).await, ["new"]);
}

/// A server that always ends at once is not started in a tight loop.
#[tokio::test]
async fn a_server_that_keeps_crashing_is_given_time() {
    let looping = FakeStdio::new(json!({ "start": [{ "exit": 1 }] }));
    let good = FakeStdio::new(json!({ "tools": ["echo"] }));
    let proxy = Proxy::with(json!({ "mcpServers": {
        "looping": looping.entry(), "good": good.entry() } }))
    .start()
    .await;
    let begun = Instant::now();
    looping.started(3).await;
    assert!(begun.elapsed().as_millis() > 300, "the third start came after {:?}", begun.elapsed());
    assert_eq!(tools(&proxy.url("/mcp")).await, ["good__echo"]);
    let alone = Modern::new(&proxy.url("/mcp/looping"));
    let reply = alone.request("tools/call", json!({ "name": "x" })).await;
    let message = reply.error()["message"].as_str().unwrap_or_default();
    assert!(message.contains("exited with code 1"), "{message}");
    let warned = proxy.logs.lines();
    let warned =
        warned.iter().filter(|l| l.contains("\"warn\"") && l.contains("looping: ")).count();
    assert_eq!(warned, 1, "the same reason is said once");
}

/// What was in flight when it crashed may have been carried out: it is not said again.
#[tokio::test]
async fn an_http_server_that_was_started_again_is_connected_to_again() {
    for era in ["legacy", "modern"] {
        let script = json!({ "era": era, "tools": ["wait", "echo"], "on": {
            "tools/call:wait": [{ "await": "never" }, { "result": {} }] } });
        let before = FakeHttp::mcp(script.clone()).await;
        let mut entry = before.entry();
        entry["restart"] = json!({ "delayMs": 100 });
        let proxy = Proxy::with(json!({ "mcpServers": {
            "fake": entry, "1mcp": { "type": "builtin" } } }))
        .start()
        .await;
        proxy.logs.wait_for("fake: ready").await;
        let client = Modern::new(&proxy.url("/mcp/fake"));
        let waiting = client.request("tools/call", json!({ "name": "wait" }));
        let crash = async {
            before.reached("never").await;
            before.crash().await;
            Instant::now()
        };
        let (in_flight, crashed) = tokio::join!(waiting, crash);
        let message = in_flight.error()["message"].as_str().unwrap_or_default();
        assert!(message.contains("\"fake\""), "{era}: {message}");
        assert!(crashed.elapsed().as_millis() < 1000, "{era}: after {:?}", crashed.elapsed());
        // a call finds out, if nothing did before
        let echo = json!({ "name": "echo", "arguments": {} });
        let down = client.request("tools/call", echo.clone()).await;
        let message = down.error()["message"].as_str().unwrap_or_default();
        assert!(message.contains("\"fake\""), "{era}: {message}");
        let after = FakeHttp::mcp_at(script, before.address()).await;
        let begun = Instant::now();
        while client.request("tools/call", echo.clone()).await.response().get("result").is_none() {
            assert!(begun.elapsed() < BOUND, "{era}: it is not back");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let calls = after.received_of("tools/call");
        assert!(calls.iter().all(|call| call["params"]["name"] == "echo"), "{era}: {calls:?}");
        assert_eq!(calls.len(), 1, "{era}: only the one that succeeded: {calls:?}");
    }
}
