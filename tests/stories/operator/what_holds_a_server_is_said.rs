//! What holds each server is said, in the log and by the built-in server, and our own files are
//! nobody's.
#![cfg(target_os = "linux")]

use super::status;
use crate::support::{FakeStdio, Proxy, Scratch};
use serde_json::json;

#[tokio::test]
async fn in_the_log_and_in_the_status() {
    let (held, free) = (FakeStdio::new(json!({ "tools": ["a"] })), FakeStdio::new(json!({})));
    let mut off = free.entry();
    off["sandbox"] = json!({ "profile": "dangerously-off" });
    let servers = json!({ "1mcp": { "type": "builtin" }, "held": held.entry(), "off": off });
    let proxy = Proxy::with(json!({ "mcpServers": servers })).start().await;
    let line = proxy.logs.wait_for("held: sandbox default: ").await;
    let said = line.split("held: sandbox ").nth(1).unwrap_or_default().trim_end_matches(['"', '}']);
    let line = proxy.logs.wait_for("off: runs without a sandbox").await;
    assert!(line.contains("warn") && line.contains("dangerously-off"), "{line}");
    let granted = format!("held: sandbox: {}: granted", held.folder().display());
    proxy.logs.wait_for(&granted).await;
    proxy.logs.wait_for("held: ready").await;
    proxy.logs.wait_for("off: ready").await;
    let url = proxy.url("/mcp");
    assert_eq!(status(&url, "held").await["sandbox"], said);
    for key in ["off", "1mcp"] {
        assert_eq!(status(&url, key).await["sandbox"], json!(null), "{key}");
    }
}

#[tokio::test]
async fn a_file_with_secrets_of_one_entry_is_not_read_by_another() {
    let scratch = Scratch::new();
    let secrets = scratch.write("secrets.env", "TOKEN=s3cret\n");
    let other = FakeStdio::new(json!({ "tools": ["a"] }));
    let mut entry = other.entry();
    entry["envFile"] = json!(secrets);
    let script = "echo begun >&2; cat \"$0\" >&2; echo ended >&2; exec sleep 1000";
    let proxy = Proxy::with(json!({ "mcpServers": {
        "other": entry,
        "spy": { "command": "sh", "args": ["-c", script, secrets] },
    }}))
    .start()
    .await;
    if proxy.logs.wait_for("spy: sandbox default: ").await.contains("not enforced: files") {
        return; // a kernel without Landlock
    }
    proxy.logs.wait_for("spy: stderr: ended").await;
    proxy.logs.wait_for("not granted: files of the gateway are there").await;
    proxy.logs.wait_for("Permission denied").await;
    proxy.logs.assert_no_secret(&["s3cret"]);
}
