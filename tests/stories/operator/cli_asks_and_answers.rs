//! `1mcp tools` and `1mcp call`: against a running gateway and against a file, for people and for
//! programs, with exit codes that can be relied on and nothing that steers a terminal.

use crate::support::{FakeStdio, Proxy, Scratch, proxy};
use serde_json::{Value, json};
use std::process::Output;

const EVIL: &str = "\u{1b}]0;pwned\u{7}\u{1b}[2J\u{202e}\u{200b}\u{9b}31m";

fn fake() -> FakeStdio {
    let text = |text: &str| json!({ "content": [{ "type": "text", "text": text }] });
    let mut failing = text("it went wrong");
    failing["isError"] = json!(true);
    let tool = |name: &str, description: &str| json!({ "name": name, "description": description, "inputSchema": { "type": "object" } });
    FakeStdio::new(json!({
        "tools": [
            tool("echo", "Gives its arguments back.\nA second line."),
            tool("fail", "Fails."),
            tool("evil", &format!("first {EVIL} line")),
            tool("odd", &"0123456789".repeat(30)),
        ],
        "on": {
            "tools/call:fail": [{ "result": failing }],
            "tools/call:evil": [{ "result": text(&format!("{EVIL}\r\nsecond line")) }],
            "tools/call:refuse": [{ "error": { "code": -32000, "message": EVIL } }],
            "tools/call:odd": [{ "resultText": "{\"content\":[{\"type\":\"image\",\"data\":\"AA==\",\"mimeType\":\"image/png\"},{\"type\":\"resource_link\",\"uri\":\"file:///x\",\"name\":\"x\"},{\"type\":\"text\",\"text\":\"t\"}],  \"n\": 1e400}" }],
        },
    }))
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn harmless(text: &str) {
    let harmful = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
    };
    assert!(!text.contains(harmful), "{text:?}");
    assert!(!text.contains("panicked") && !text.contains("stack backtrace"), "{text}");
}

/// The same questions to a running gateway and to one that is started for the question.
#[tokio::test]
async fn an_endpoint_and_a_file_answer_alike() {
    let fake = fake();
    let config = json!({ "mcpServers": { "fake": fake.entry() } });
    let proxy = Proxy::with(&config).start().await;
    let scratch = Scratch::new();
    let file = scratch.write("mcp.json", &config.to_string());
    let (url, file) = (proxy.url("/mcp"), file.to_str().expect("UTF-8"));
    for target in [["--url", url.as_str()], ["--config", file]] {
        let ask = |words: &[&str]| {
            let words: Vec<String> = words.iter().chain(&target).map(|w| (*w).to_owned()).collect();
            async move {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                proxy::run(&words).await
            }
        };
        let listed = ask(&["tools"]).await;
        assert_eq!(listed.status.code(), Some(0), "{}", err(&listed));
        let text = out(&listed);
        assert!(text.contains("fake__echo\n    Gives its arguments back.\n"), "{text}");
        assert!(!text.contains("A second line") && text.ends_with("4 tools\n"), "{text}");
        assert!(text.contains(&"0123456789".repeat(30)), "not cut for a program: {text}");
        harmless(&text);

        let raw = ask(&["tools", "--json"]).await;
        let value: Value = serde_json::from_slice(&raw.stdout).expect("JSON");
        let evil = &value["tools"][2]["description"];
        assert_eq!(evil, &format!("first {EVIL} line"), "raw is raw");

        let echo = ask(&["call", "fake__echo", r#"{"a": [1, 2.50]}"#]).await;
        assert_eq!((echo.status.code(), out(&echo)), (Some(0), "{\"a\": [1, 2.50]}\n".to_owned()));
        let none = ask(&["call", "fake__echo"]).await;
        assert_eq!((none.status.code(), out(&none)), (Some(0), "{}\n".to_owned()));

        let failed = ask(&["call", "fake__fail"]).await;
        assert_eq!((failed.status.code(), out(&failed)), (Some(3), "it went wrong\n".to_owned()));
        let failed = ask(&["call", "fake__fail", "{}", "--json"]).await;
        assert_eq!(failed.status.code(), Some(3));
        let value: Value = serde_json::from_slice(&failed.stdout).expect("JSON");
        assert_eq!(value["isError"], true);

        let evil = ask(&["call", "fake__evil"]).await;
        assert_eq!(evil.status.code(), Some(0));
        assert!(out(&evil).contains("\\u{1b}]0;pwned"), "made visible: {}", out(&evil));
        harmless(&out(&evil));

        let odd = ask(&["call", "fake__odd"]).await;
        assert_eq!(out(&odd), "[image; use --json to see it]\n[resource: mcp-fake+file:///x]\nt\n");
        let odd = ask(&["call", "fake__odd", "--json"]).await;
        assert!(out(&odd).contains(r#""n": 1e400"#), "byte for byte: {}", out(&odd));

        let unknown = ask(&["call", "fake__nothing"]).await;
        assert_eq!(unknown.status.code(), Some(1));
        assert!(err(&unknown).contains("unknown tool") && err(&unknown).contains("fake__nothing"));
        let hostile = ask(&["call", &format!("x{EVIL}")]).await;
        assert_eq!(hostile.status.code(), Some(1));
        harmless(&err(&hostile));
        for arguments in ["{", "[]", "7", "", "{\"a\":1} x"] {
            let wrong = ask(&["call", "fake__echo", arguments]).await;
            assert_eq!(wrong.status.code(), Some(2), "{arguments}");
            assert!(err(&wrong).contains("arguments"), "{}", err(&wrong));
        }
    }
    drop(proxy);
    fake.gone().await;
}

#[tokio::test]
async fn one_server_alone_can_be_asked() {
    let fake = fake();
    let proxy = Proxy::with(json!({ "mcpServers": { "fake": fake.entry() } })).start().await;
    let url = proxy.url("/mcp/fake");
    let listed = proxy::run(&["tools", "--url", &url]).await;
    assert!(out(&listed).starts_with("echo\n"), "{}", out(&listed));
    let refused = proxy::run(&["call", "refuse", "--url", &url]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("-32000"), "{}", err(&refused));
    harmless(&err(&refused));
}

#[tokio::test]
async fn what_cannot_be_done_is_said_in_a_line_or_two() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = closed.local_addr().expect("bound");
    drop(closed);
    let nobody = format!("http://{address}/mcp");
    let plain = crate::support::FakeHttp::serve(|_, _| {
        crate::support::Answer::new(200, "text/html", "<html>\u{1b}[31m</html>")
    })
    .await;
    for (arguments, code, said) in [
        (vec!["tools", "--url", &nobody], 1, "is the gateway running?"),
        (vec!["tools", "--url", &plain.url()], 1, "no answer"),
        (vec!["tools", "--url", "https://127.0.0.1/mcp"], 2, "expected http://"),
        (vec!["tools", "--url", "nonsense"], 2, "expected http://"),
        (vec!["tools", "--url", "a", "--config", "b"], 2, "not both"),
        (vec!["tools", "--config", "/no/such/file"], 2, "/no/such/file"),
        (vec!["call"], 2, "NAME"),
        (vec!["call", "a", "{}", "extra"], 2, "extra"),
        (vec!["nonsense"], 2, "nonsense"),
        (vec!["serve", "--json"], 2, "--json"),
        (vec!["--nonsense"], 2, "--nonsense"),
        (vec![], 2, "expected a command"),
    ] {
        let output = proxy::run(&arguments).await;
        let text = err(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(said), "{arguments:?}: {text}");
        assert!(text.starts_with("1mcp: ") && text.lines().count() <= 2, "{text}");
        assert_eq!(out(&output), "", "an error is not a result");
        harmless(&text);
    }
}

#[tokio::test]
async fn help_and_version_are_worth_reading() {
    for arguments in [&["--help"][..], &["-h"], &["serve", "--help"], &["call", "-h"]] {
        let output = proxy::run(arguments).await;
        assert_eq!(output.status.code(), Some(0));
        for part in [
            "serve",
            "check",
            "tools",
            "call NAME [JSON]",
            "--config",
            "--listen",
            "--json",
            "Exit codes",
        ] {
            assert!(out(&output).contains(part), "{part}");
        }
        assert!(out(&output).lines().all(|line| line.chars().count() <= 80));
    }
    let version = proxy::run(&["--version"]).await;
    assert_eq!(out(&version), concat!("1mcp ", env!("CARGO_PKG_VERSION"), "\n"));
}

/// A reader that goes away (`| head`) is no error.
#[tokio::test]
async fn a_closed_pipe_is_no_stack_trace() {
    let fake = fake();
    let proxy = Proxy::with(json!({ "mcpServers": { "fake": fake.entry() } })).start().await;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_1mcp"));
    command.args(["tools", "--url", &proxy.url("/mcp")]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let child = command.stdout(writer).stderr(std::process::Stdio::piped()).spawn();
    let output = child.and_then(|child| child.wait_with_output()).expect("it runs");
    assert_eq!(err(&output), "");
}

/// A tool may want arguments in headers as well; whoever calls it MUST send them (MCP 2026-07-28
/// basic/transports/streamable-http, "Custom Headers from Tool Parameters").
#[tokio::test]
async fn a_tool_that_wants_arguments_in_headers_can_be_called() {
    let schema = json!({ "type": "object", "properties": {
        "region": { "type": "string", "x-mcp-header": "Region" },
    }});
    let tools = json!([{ "name": "echo", "inputSchema": schema }]);
    let fake = FakeStdio::new(json!({ "tools": tools }));
    let proxy = Proxy::with(json!({ "mcpServers": { "fake": fake.entry() } })).start().await;
    let url = proxy.url("/mcp");
    for arguments in [r#"{"region":"München "}"#, r#"{"region":null}"#, "{}"] {
        let called = proxy::run(&["call", "fake__echo", arguments, "--url", &url]).await;
        assert_eq!(out(&called), format!("{arguments}\n"), "{}", err(&called));
    }
}

#[tokio::test]
async fn one_is_not_many() {
    let scratch = Scratch::new();
    let entry = json!({ "type": "builtin", "unheardOf": 1 });
    let file = scratch.write("mcp.json", &json!({ "mcpServers": { "1mcp": entry } }).to_string());
    let checked = proxy::run(&["check", "--config", file.to_str().expect("UTF-8")]).await;
    assert!(out(&checked).ends_with("good, 1 warning\n"), "{}", out(&checked));
    let entry = json!({ "command": "${NOT_SET_HERE}" });
    let file = scratch.write("mcp.json", &json!({ "mcpServers": { "one": entry } }).to_string());
    let checked = proxy::run(&["check", "--config", file.to_str().expect("UTF-8")]).await;
    assert!(out(&checked).ends_with("1 error, 0 warnings\n"), "{}", out(&checked));
    let one = FakeStdio::new(json!({ "tools": ["only"] }));
    let servers = json!({ "mcpServers": { "one": one.entry() } });
    let file = scratch.write("mcp.json", &servers.to_string());
    let listed = proxy::run(&["tools", "--config", file.to_str().expect("UTF-8")]).await;
    assert!(out(&listed).ends_with("1 tool\n"), "{}", out(&listed));
}

/// A short list must not be taken for all there is.
#[tokio::test]
async fn servers_whose_tools_are_missing_are_named() {
    let late = FakeStdio::new(json!({ "tools": ["late"], "on": {
        "server/discover": [{ "await": "gate" }, { "error": { "code": -32601, "message": "old" } }],
    }}));
    let good = FakeStdio::new(json!({ "tools": ["echo"] }));
    let servers = json!({
        "late": late.entry(), "good": good.entry(), "own": { "type": "builtin" },
        "none": { "command": "/no/such/file" }, "off": { "command": "x", "disabled": true },
    });
    let proxy = Proxy::with(json!({ "mcpServers": servers })).start().await;
    let (whole, alone) = (proxy.url("/mcp"), proxy.url("/mcp/good"));
    let listed = proxy::run(&["tools", "--url", &whole]).await;
    assert!(out(&listed).ends_with("3 tools\n"), "{}", out(&listed));
    let told = err(&listed);
    assert!(told.contains("1mcp: late: starting\n"), "{told}");
    assert!(told.contains("1mcp: none: down: ") && told.lines().count() == 2, "{told}");
    let listed = proxy::run(&["tools", "--url", &alone]).await;
    assert_eq!((err(&listed), listed.status.code()), (String::new(), Some(0)));
    late.release("gate");
    proxy.logs.wait_for("late: ready").await;
    let listed = proxy::run(&["tools", "--url", &whole]).await;
    assert!(out(&listed).ends_with("4 tools\n"), "{}", out(&listed));
    assert!(!err(&listed).contains("late"), "{}", err(&listed));
}
