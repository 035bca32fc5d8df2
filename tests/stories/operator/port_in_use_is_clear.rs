//! Another process has the port: one line that says so (exit code 1), and no server was started.

use crate::support::{FakeStdio, Proxy, Scratch, proxy};
use serde_json::json;

#[tokio::test]
async fn one_line_and_nothing_started() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("bound").to_string();
    let fake = FakeStdio::new(json!({}));
    let scratch = Scratch::new();
    let file =
        scratch.write("mcp.json", &json!({ "mcpServers": { "fake": fake.entry() } }).to_string());
    let file = file.to_str().expect("UTF-8");
    let output = proxy::run(&["serve", "--config", file, "--listen", &address]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let clear = format!("1mcp: cannot listen on {address}: the address is already in use");
    assert!(said.lines().any(|line| line == clear), "{said}");
    assert_eq!(fake.starts(), Vec::<u32>::new());
}

/// A port that was in use a moment ago can be used again at once.
#[tokio::test]
async fn a_restart_gets_its_port_back() {
    let config = json!({ "mcpServers": { "1mcp": { "type": "builtin" } } });
    let mut first = Proxy::with(&config).start().await;
    let url = first.url("/mcp");
    super::tools(&url).await;
    assert_eq!(first.terminate().await.code(), Some(0));
    let address = url.trim_start_matches("http://").trim_end_matches("/mcp").to_owned();
    let second = Proxy::with(&config).arg("--listen").arg(&address).start().await;
    second.logs.wait_for(&format!("listening on http://{address}")).await;
    super::tools(&url).await;
}
