//! Even a gateway that is killed without a word leaves no server behind, nor what a server started.
#![cfg(target_os = "linux")]

use crate::support::{FakeStdio, Proxy, process};
use rustix::process::Signal;
use serde_json::json;

#[tokio::test]
async fn all_descendants_end() {
    let plain = FakeStdio::new(json!({ "tools": ["a"] }));
    let deaf = FakeStdio::new(json!({ "tools": ["b"], "ignoreTerm": true, "ignoreEof": true }));
    let nested = FakeStdio::new(json!({ "tools": ["c"] }));
    let line = nested.command().join(" ");
    let script = format!(
        "trap '' TERM HUP; sleep 1000 & setsid sleep 1000 & (setsid sleep 1000 &) ; {line}; sleep 1000"
    );
    let mut proxy = Proxy::with(json!({ "mcpServers": {
        "plain": plain.entry(),
        "deaf": deaf.entry(),
        "nested": { "command": "sh", "args": ["-c", script],
            // a path within a script is no argument, so it is named here
            "sandbox": { "write": [nested.folder()] } },
    }}))
    .start()
    .await;
    let listed = super::tools(&proxy.url("/mcp")).await;
    assert_eq!(listed, ["plain__a", "deaf__b", "nested__c"]);
    let children = process::descendants(proxy.pid());
    assert!(children.len() >= 7, "{children:?}");
    process::signal(proxy.pid(), Signal::KILL);
    assert_eq!(proxy.ended().await.code(), None, "it was killed");
    for pid in children {
        process::ends(pid).await;
    }
}
