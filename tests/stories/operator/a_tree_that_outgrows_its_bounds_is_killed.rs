//! A server whose processes or memory grow beyond what its entry allows is killed with all of them,
//! the operator reads why, and nobody else notices.
#![cfg(target_os = "linux")]

use super::status;
use crate::support::{FakeStdio, Proxy, process};
use serde_json::json;

#[tokio::test]
async fn the_log_and_the_state_say_why() {
    let fake = FakeStdio::new(json!({ "tools": ["a"] }));
    let script = format!(
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do setsid sleep 1000 & done; {}; exit",
        fake.command().join(" ")
    );
    let good = FakeStdio::new(json!({ "tools": ["echo"] }));
    let many = json!({
        "command": "sh",
        "args": ["-c", script],
        "sandbox": { "write": [fake.folder()], "processes": 10 },
        "restart": { "max": 0 },
    });
    let mut proxy = Proxy::with(json!({ "mcpServers": {
        "many": many, "good": good.entry(), "1mcp": { "type": "builtin" } } }))
    .start()
    .await;
    let why = "killed for being more than 10 processes (sandbox.processes)";
    let line = proxy.logs.wait_for(why).await;
    assert!(line.contains("warn") && line.contains("many: "), "{line}");
    let shown = status(&proxy.url("/mcp"), "many").await;
    assert_eq!(shown["phase"], "open", "{shown}");
    assert!(shown.to_string().contains(why), "{shown}");
    // Besides the good one and its keeper, none is left.
    assert_eq!(proxy.note_children().len(), 2);
    assert_eq!(good.starts().len(), 1);
    process::ends(fake.started(1).await).await;
}
