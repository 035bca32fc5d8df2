//! A program that is not there: one line in the log that says what was looked for, and the same
//! from the built-in server; trying again does not repeat it, and no client learns where was looked.

use super::status;
use crate::support::{Modern, Proxy, Scratch};
use serde_json::json;

#[tokio::test]
async fn the_log_and_the_builtin_server_say_it_once() {
    let scratch = Scratch::new();
    let plain = scratch.write("not-executable", "#!/bin/sh\n");
    let plain = plain.to_str().expect("UTF-8");
    let folder = scratch.path().to_str().expect("UTF-8");
    let proxy = Proxy::with(json!({
        "mcpServers": {
            "1mcp": { "type": "builtin" },
            "missing": { "command": "no-such-command", "args": ["--flag"] },
            "path": { "command": "/no/such/file" },
            "plain": { "command": plain },
            "folder": { "command": folder },
            "nowhere": { "command": "sh", "cwd": "/no/such/folder" },
        },
        "gateway": { "log": { "level": "debug", "format": "text" } },
    }))
    .start()
    .await;
    for (key, said) in [
        ("missing", "command not found: no-such-command"),
        ("path", "command not found: no file /no/such/file"),
        ("plain", "is not executable"),
        ("folder", "is not a file"),
        ("nowhere", "the working directory /no/such/folder does not exist"),
    ] {
        let line = proxy.logs.wait_for(&format!("supervisor: {key}: ")).await;
        assert!(line.contains(said) && line.contains("warn"), "{line}");
        let state = status(&proxy.url("/mcp"), key).await["state"].to_string();
        assert!(state.contains(said), "{state}");
        let client = Modern::new(&proxy.url(&format!("/mcp/{key}")));
        let reply = client.request("tools/call", json!({ "name": "x" })).await;
        let message = reply.error()["message"].as_str().unwrap_or_default();
        assert!(message.contains(key) && message.contains(said), "{message}");
        assert!(!message.contains("/bin"), "the operator's PATH is not for clients: {message}");
    }
    for key in ["missing", "path", "plain", "folder", "nowhere"] {
        // by the third attempt it would have been said again, if it ever was
        proxy.logs.wait_for_nth(3, &format!("supervisor: {key}: ")).await;
        let lines = proxy.logs.lines();
        let said = lines.iter().filter(|l| l.contains(" warn ") && l.contains(&format!("{key}: ")));
        assert_eq!(said.count(), 1, "{key}");
    }
}
