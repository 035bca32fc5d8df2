//! `1mcp tools --config FILE` starts the servers of a file for one question. Nobody reads a log then,
//! so what could not be started is said beside the answer, without the search path of this host.

use crate::support::{FakeStdio, Scratch, proxy};
use serde_json::json;

#[tokio::test]
async fn beside_the_answer() {
    let fake = FakeStdio::new(json!({ "tools": ["echo"] }));
    let scratch = Scratch::new();
    let config = json!({ "mcpServers": {
        "there": fake.entry(),
        "missing": { "command": "no-such-command-anywhere" },
        "off": { "command": "no-such-command-anywhere", "disabled": true },
    }});
    let file = scratch.write("mcp.json", &config.to_string());
    let output = proxy::run(&["tools", "--config", file.to_str().expect("UTF-8")]).await;
    assert_eq!(output.status.code(), Some(0));
    let (out, err) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    assert!(out.expect("UTF-8").starts_with("there__echo\n"));
    let missing = "command not found: no-such-command-anywhere is in no folder of PATH";
    let err = err.expect("UTF-8");
    assert!(err.starts_with("1mcp: missing: ") && err.contains(missing), "{err}");
    assert_eq!(err.lines().count(), 1, "no other server, no search path: {err}");
}
