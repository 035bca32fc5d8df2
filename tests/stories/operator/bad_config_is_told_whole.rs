//! A file with mistakes: all of them at once, each with its place; a mistake in one entry switches
//! off that entry and no other, a mistake elsewhere makes the file unusable (exit code 2).

use super::tools;
use crate::support::{FakeStdio, Proxy, RawHttp, Scratch, proxy};
use serde_json::json;

/// Where each of the mistakes stands, and a word of what is said of it.
const MISTAKES: [(&str, &str); 10] = [
    ("/mcpServers/github/args", "array"),
    ("/mcpServers/mistyped", "command"),
    ("/mcpServers/both", "url"),
    ("/mcpServers/unset/env/T", "NOT_SET"),
    ("/mcpServers/GitHub", "github"),
    ("/gateway/listen", "127.0.0.1:3050"),
    ("/gateway/naming/separator", "characters"),
    ("/gateway/limitz", "limits"),
    ("/gateway/log/level", "info"),
    ("/gatway", "gateway"),
];

#[tokio::test]
async fn ten_mistakes_are_told_at_once() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/config/ten-mistakes.json");
    for command in ["check", "serve"] {
        let output = proxy::run(&[command, "--config", file]).await;
        assert_eq!(output.status.code(), Some(2), "{command}");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).expect("UTF-8");
        for (pointer, said) in MISTAKES {
            let line = text.lines().find(|line| line.contains(pointer));
            let line = line.unwrap_or_else(|| panic!("{command}: no {pointer} in:\n{text}"));
            assert!(line.contains(said), "{command}: {line:?} does not say {said:?}");
            assert!(line.contains("ten-mistakes.json:"), "it names the place: {line}");
        }
    }
}

#[tokio::test]
async fn a_bad_entry_switches_off_itself_alone() {
    let good = FakeStdio::new(json!({ "tools": ["echo"] }));
    let proxy = Proxy::with(json!({ "mcpServers": {
        "bad": { "command": ["a", "list"] },
        "worse": { "command": "x", "env": { "K": "${NOT_SET_ANYWHERE}" } },
        "good": good.entry(),
    }}))
    .start()
    .await;
    assert_eq!(tools(&proxy.url("/mcp")).await, ["good__echo"]);
    assert_eq!(tools(&proxy.url("/mcp/good")).await, ["echo"]);
    for key in ["bad", "worse"] {
        let line = proxy.logs.wait_for(&format!("/mcpServers/{key}/")).await;
        assert!(line.contains("\"error\""), "the operator must act: {line}");
        let gone = RawHttp::once("POST", &proxy.url(&format!("/mcp/{key}")), &[], "").await;
        assert_eq!(gone.status(), 404);
    }
}

#[tokio::test]
async fn files_that_are_no_configuration_are_refused() {
    let scratch = Scratch::new();
    for (n, (text, said)) in [
        ("", "expected"),
        ("{", "never closed"),
        ("[]", "object"),
        ("{\"mcpServers\": []}", "object"),
        ("{\"mcpServers\": {}, \"mcpServers\": {}}", "twice"),
        ("\u{0}", "expected"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = scratch.write(&format!("{n}.json"), text);
        let path = path.to_str().expect("UTF-8");
        for command in ["check", "serve"] {
            let output = proxy::run(&[command, "--config", path]).await;
            let printed =
                String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
            assert_eq!(output.status.code(), Some(2), "{command} {text:?}: {printed}");
            assert!(printed.contains(said) && printed.contains(path), "{text:?}: {printed}");
            assert!(!printed.contains("panicked") && !printed.contains("RUST_BACKTRACE"));
        }
    }
    let folder = scratch.path().to_str().expect("UTF-8").to_owned();
    for path in [folder.as_str(), "/no/such/file.json", "/dev/zero"] {
        let output = proxy::run(&["serve", "--config", path]).await;
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{printed}");
        assert!(printed.contains(path) && printed.lines().count() <= 2, "{printed}");
    }
}
