//! SIGTERM (and SIGINT): streams end as the protocol wants it, servers end with their children,
//! even those that do not listen, and the exit code is 0.

use crate::support::{FakeHttp, FakeStdio, Legacy, Modern, Proxy, Sse, process};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Instant;

#[tokio::test]
async fn open_streams_end_with_their_last_message() {
    let fake = FakeStdio::new(json!({ "tools": ["wait"], "on": {
        "tools/call:wait": [{ "progress": 1 }, { "await": "never" }],
    }}));
    let http = FakeHttp::mcp(json!({ "tools": ["echo"] })).await;
    let servers = json!({ "fake": fake.entry(), "http": http.entry() });
    let gateway = json!({ "timeouts": { "drainMs": 300 } });
    let mut proxy = Proxy::with(json!({ "gateway": gateway, "mcpServers": servers })).start().await;
    let modern = Modern::new(&proxy.url("/mcp"));
    let legacy = Legacy::connect(&proxy.url("/mcp/fake"), "2025-11-25").await;
    let listen = modern.listen(json!({ "toolsListChanged": true })).await;
    let standing = legacy.get_stream().await;
    let mut old = Sse::connect(&proxy.url("/sse/fake"), "2024-11-05", json!({})).await;
    assert_eq!(standing.head.status(), 200);
    let call = json!({ "name": "wait", "_meta": { "progressToken": 1 } });
    let mut waiting = legacy.open("tools/call", call).await;
    assert_eq!(waiting.next().await.expect("progress")["method"], "notifications/progress");
    let begun = Instant::now();
    assert_eq!(proxy.terminate().await.code(), Some(0));
    assert!(begun.elapsed().as_secs() < 5, "took {:?}", begun.elapsed());

    let last = listen.finish().await;
    let meta = &last.result()["_meta"]["io.modelcontextprotocol/subscriptionId"];
    assert_eq!((last.response()["id"].as_u64(), meta.as_u64()), (Some(1), Some(1)), "{last:?}");
    assert_eq!(standing.finish().await.messages, Vec::<Value>::new());
    assert_eq!(old.next().await, None);
    let rest = waiting.finish().await;
    assert!(rest.messages.iter().all(|m| m.get("result").is_none()), "{rest:?}");
    fake.gone().await;
    assert_eq!(fake.ended(), ["eof"], "it was asked to end, not killed");
    let ended = http.wait_for("the end of the session", |r| r.head.method() == "DELETE").await;
    assert!(ended.head.header("mcp-session-id").is_some());
}

/// A server that ignores the end of its input and SIGTERM, and has children of its own.
#[tokio::test]
async fn deaf_servers_and_their_children_are_ended() {
    let deaf = FakeStdio::new(json!({ "ignoreTerm": true, "ignoreEof": true, "tools": ["a"] }));
    let nested = FakeStdio::new(json!({ "tools": ["b"] }));
    let line = nested.command().join(" ");
    let script = format!("sleep 1000 & setsid sleep 1000 & (sleep 1000 &) ; {line}; sleep 1000");
    let servers = json!({
        "deaf": deaf.entry(),
        "nested": { "command": "sh", "args": ["-c", script],
            // a path within a script is no argument, so it is named here
            "sandbox": { "write": [nested.folder()] } },
    });
    let mut proxy = Proxy::with(json!({ "mcpServers": servers })).start().await;
    assert_eq!(super::tools(&proxy.url("/mcp")).await, ["deaf__a", "nested__b"]);
    let children = process::descendants(proxy.pid());
    assert!(children.len() >= 6, "{children:?}");
    let begun = Instant::now();
    process::terminate(proxy.pid());
    // 2 s of grace, and 2 s more after its SIGTERM
    for pid in children {
        process::ends(pid).await;
    }
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert!(begun.elapsed().as_secs() < 9, "took {:?}", begun.elapsed());
}

#[tokio::test]
async fn an_interrupt_is_the_same_and_a_second_one_ends_at_once() {
    let config = json!({ "mcpServers": { "1mcp": { "type": "builtin" } } });
    let mut proxy = Proxy::with(&config).start().await;
    process::signal(proxy.pid(), Signal::INT);
    assert_eq!(proxy.ended().await.code(), Some(0));
    proxy.logs.wait_for("\"stopped\"").await;
    assert!(proxy.logs.lines().last().is_some_and(|line| line.contains("\"stopped\"")));

    let deaf = FakeStdio::new(json!({ "ignoreTerm": true, "ignoreEof": true, "tools": ["a"] }));
    let mut proxy = Proxy::with(json!({ "mcpServers": { "deaf": deaf.entry() } })).start().await;
    super::tools(&proxy.url("/mcp")).await;
    process::terminate(proxy.pid());
    proxy.logs.wait_for("stopping").await;
    let begun = Instant::now();
    process::terminate(proxy.pid());
    assert_eq!(proxy.ended().await.code(), Some(1));
    assert!(begun.elapsed().as_secs() < 2, "took {:?}", begun.elapsed());
    deaf.gone().await;
}

/// Before any server is there, and while one is being started.
#[tokio::test]
async fn a_stop_while_starting_is_a_stop() {
    let mute = FakeStdio::new(json!({ "on": { "server/discover": [] } }));
    let mut proxy = Proxy::with(json!({ "mcpServers": { "mute": mute.entry() } })).start().await;
    mute.wait_for("server/discover").await;
    assert_eq!(proxy.terminate().await.code(), Some(0));
    mute.gone().await;
}
