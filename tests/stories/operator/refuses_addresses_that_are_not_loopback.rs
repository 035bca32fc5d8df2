//! Until clients are authenticated, only this machine may connect: any other address is refused
//! before anything is started (exit code 2), wherever it was written.

use crate::support::{FakeStdio, Proxy, RawHttp, Scratch, proxy};
use serde_json::json;

#[tokio::test]
async fn no_open_door_is_ever_opened() {
    let fake = FakeStdio::new(json!({}));
    let scratch = Scratch::new();
    let open = [
        "0.0.0.0:0",
        "[::]:0",
        "192.168.1.1:0",
        "10.0.0.1:0",
        "[2001:db8::1]:0",
        "169.254.0.1:0",
        "[fe80::1]:0",
        "[::ffff:0.0.0.0]:0",
        "128.0.0.1:0",
        "255.255.255.255:0",
        "0.0.0.1:0",
    ];
    for address in open {
        let servers = json!({ "fake": fake.entry() });
        let flag = scratch.write("flag.json", &json!({ "mcpServers": servers }).to_string());
        let listen = json!({ "listen": ["127.0.0.1:0", address] });
        let file = json!({ "mcpServers": servers, "gateway": listen }).to_string();
        let file = scratch.write("file.json", &file);
        let (flag, file) = (flag.to_str().expect("UTF-8"), file.to_str().expect("UTF-8"));
        for arguments in [
            &["serve", "--config", flag, "--listen", address][..],
            &["serve", "--config", flag, "--listen", "127.0.0.1:0", "--listen", address],
            &["serve", "--config", file],
        ] {
            let output = proxy::run(arguments).await;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
            assert!(said.contains(address) && said.contains("loopback"), "{said}");
            assert!(!said.contains("listening on"), "{said}");
        }
    }
    assert_eq!(fake.starts(), Vec::<u32>::new(), "no server was started");
}

#[tokio::test]
async fn what_is_no_address_is_named() {
    let scratch = Scratch::new();
    let file = scratch.write("mcp.json", "{\"mcpServers\":{}}");
    let file = file.to_str().expect("UTF-8");
    for address in
        ["", "3050", "example.com:80", "localhost", "127.0.0.1", "127.0.0.1:99999", "unix:/x"]
    {
        let output = proxy::run(&["serve", "--config", file, "--listen", address]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{address}: {said}");
        assert!(said.contains("--listen") && said.contains("expected"), "{said}");
    }
}

#[tokio::test]
async fn every_loopback_address_is_served() {
    let setup = Proxy::with(json!({ "mcpServers": { "1mcp": { "type": "builtin" } } }));
    let proxy =
        setup.arg("--listen").arg("localhost:0").arg("--listen").arg("[::1]:0").start().await;
    proxy.logs.wait_for("listening on http://[::1]:").await;
    assert_eq!(proxy.logs.count("listening on http://127.0.0.1:"), 2);
    for line in proxy.logs.lines().iter().filter(|line| line.contains("listening on")) {
        let url = line.split("listening on ").nth(1).unwrap_or_default();
        let url: String = url.chars().take_while(|c| !c.is_whitespace() && *c != '"').collect();
        assert_eq!(RawHttp::once("GET", &url, &[], "").await.status(), 405, "{url}");
    }
}
