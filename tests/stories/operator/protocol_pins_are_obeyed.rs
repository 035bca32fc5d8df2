//! `"protocol": "legacy"` never probes, `"modern"` never falls back, `"auto"` finds out.

use super::{status, tools};
use crate::support::{FakeHttp, FakeStdio, Proxy};
use serde_json::{Value, json};

fn pinned(mut entry: Value, protocol: &str) -> Value {
    entry["protocol"] = json!(protocol);
    entry
}

#[tokio::test]
async fn a_pin_decides_what_is_said_first() {
    let both = || FakeStdio::new(json!({ "era": "both", "tools": ["echo"] }));
    let (legacy, modern, auto) = (both(), both(), both());
    let old = FakeStdio::new(json!({ "tools": ["echo"] }));
    let http = FakeHttp::mcp(json!({ "era": "both", "tools": ["echo"] })).await;
    let proxy = Proxy::with(json!({ "mcpServers": {
        "1mcp": { "type": "builtin" },
        "legacy": pinned(legacy.entry(), "legacy"),
        "modern": pinned(modern.entry(), "modern"),
        "auto": pinned(auto.entry(), "auto"),
        "old": old.entry(),
        "http": pinned(http.entry(), "legacy"),
    }}))
    .start()
    .await;
    let url = proxy.url("/mcp");
    let seen = tools(&url).await;
    for (key, version) in [
        ("legacy", "2025-11-25"),
        ("modern", "2026-07-28"),
        ("auto", "2026-07-28"),
        ("old", "2025-11-25"),
        ("http", "2025-11-25"),
    ] {
        assert!(seen.contains(&format!("{key}__echo")), "{key}: {seen:?}");
        assert_eq!(status(&url, key).await["protocolVersion"], version, "{key}");
    }
    assert_eq!(legacy.received_of("server/discover").len(), 0, "no probe");
    assert_eq!(http.received_of("server/discover").len(), 0, "no probe");
    for fake in [&modern, &auto] {
        assert_eq!(fake.received_of("initialize").len(), 0, "no handshake of the old era");
    }
    let first = old.received().first().cloned().unwrap_or_default();
    assert!(first.contains("server/discover"), "auto asks first: {first}");
}

#[tokio::test]
async fn a_pin_that_does_not_fit_is_said_clearly() {
    let old = FakeStdio::new(json!({ "tools": ["echo"] }));
    let new = FakeStdio::new(json!({ "era": "modern", "tools": ["echo"] }));
    let good = FakeStdio::new(json!({ "tools": ["echo"] }));
    let proxy = Proxy::with(json!({ "mcpServers": {
        "1mcp": { "type": "builtin" },
        "old": pinned(old.entry(), "modern"),
        "new": pinned(new.entry(), "legacy"),
        "good": good.entry(),
    }}))
    .start()
    .await;
    for (key, said) in [("old", "2026-07-28"), ("new", "initialize")] {
        let mut nth = 1; // the first lines are about its sandbox
        while !proxy.logs.wait_for_nth(nth, &format!("{key}: ")).await.contains(said) {
            nth += 1;
        }
    }
    let seen = tools(&proxy.url("/mcp")).await;
    assert!(seen.contains(&"good__echo".to_owned()) && !seen.contains(&"old__echo".to_owned()));
    assert_eq!(old.received_of("initialize").len(), 0, "modern never falls back");
    assert_eq!(new.received_of("server/discover").len(), 0, "legacy never probes");
}
