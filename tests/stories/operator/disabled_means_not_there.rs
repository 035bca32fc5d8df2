//! A disabled entry is not started; a disabled tool is in no list and cannot be called, whatever it
//! is called by.

use super::{status, tools};
use crate::support::{FakeStdio, Legacy, Modern, Proxy, RawHttp};
use serde_json::json;

#[tokio::test]
async fn a_disabled_entry_is_not_started() {
    let (one, two, good) = (
        FakeStdio::new(json!({})),
        FakeStdio::new(json!({})),
        FakeStdio::new(json!({ "tools": ["echo"] })),
    );
    let (mut disabled, mut not_enabled) = (one.entry(), two.entry());
    disabled["disabled"] = json!(true);
    not_enabled["enabled"] = json!(false);
    let proxy = Proxy::with(json!({ "mcpServers": {
        "disabled": disabled, "not-enabled": not_enabled, "good": good.entry(),
        "1mcp": { "type": "builtin" },
    }}))
    .start()
    .await;
    let seen = tools(&proxy.url("/mcp")).await;
    assert!(seen.iter().all(|name| name.starts_with("good__") || name.starts_with("1mcp__")));
    for key in ["disabled", "not-enabled"] {
        assert_eq!(status(&proxy.url("/mcp"), key).await["state"], "disabled: by its entry");
        let client = Modern::new(&proxy.url(&format!("/mcp/{key}")));
        let reply = client.request("tools/call", json!({ "name": "x" })).await;
        let message = reply.error()["message"].as_str().unwrap_or_default();
        assert!(message.contains("disabled"), "{message}");
    }
    assert_eq!((one.starts().len(), two.starts().len()), (0, 0));
    let gone = RawHttp::once("POST", &proxy.url("/mcp/nobody"), &[], "").await;
    assert_eq!(gone.status(), 404);
}

#[tokio::test]
async fn a_disabled_tool_is_neither_listed_nor_called() {
    let all = json!({ "tools": ["a", "b", "c", "A"] });
    let (deny, allow, both) =
        (FakeStdio::new(all.clone()), FakeStdio::new(all.clone()), FakeStdio::new(all));
    let (mut denied, mut allowed, mut mixed) = (deny.entry(), allow.entry(), both.entry());
    denied["disabledTools"] = json!(["b", "not-there"]);
    allowed["enabledTools"] = json!(["a", "c"]);
    mixed["enabledTools"] = json!(["a", "b"]);
    mixed["disabledTools"] = json!(["b"]);
    let proxy = Proxy::with(json!({ "mcpServers": {
        "deny": denied, "allow": allowed, "both": mixed } }))
    .start()
    .await;
    let expected: [(&str, &[&str], &[&str], &FakeStdio); 3] = [
        ("deny", &["a", "c", "A"], &["b"], &deny),
        ("allow", &["a", "c"], &["b", "A"], &allow),
        ("both", &["a"], &["b", "c", "A"], &both),
    ];
    let whole = tools(&proxy.url("/mcp")).await;
    for (key, shown, hidden, fake) in expected {
        assert_eq!(tools(&proxy.url(&format!("/mcp/{key}"))).await, shown, "{key}");
        let prefixed: Vec<_> = shown.iter().map(|name| format!("{key}__{name}")).collect();
        let listed: Vec<_> = whole.iter().filter(|n| n.starts_with(key)).cloned().collect();
        assert_eq!(listed, prefixed);
        let legacy = Legacy::connect(&proxy.url(&format!("/mcp/{key}")), "2025-11-25").await;
        let modern = Modern::new(&proxy.url("/mcp"));
        for name in hidden {
            let alone = legacy.request("tools/call", json!({ "name": name })).await;
            assert_eq!(alone.error_code(), -32602, "{key} {name}: as if it were not there");
            let prefixed = json!({ "name": format!("{key}__{name}") });
            assert_eq!(modern.request("tools/call", prefixed).await.error_code(), -32602);
        }
        // also when the name is written in another way
        let escaped =
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\u0062"}}"#;
        assert_eq!(legacy.send("POST", escaped).await.finish().await.error_code(), -32602);
        assert_eq!(fake.received_of("tools/call").len(), 0, "{key}");
        let call = legacy.request("tools/call", json!({ "name": "a" })).await;
        assert!(call.result().is_object());
    }
}
