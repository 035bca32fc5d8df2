//! At the most talkative level, through every kind of failure: no configured secret, no session id,
//! no argument and no result is ever in the log, in an error answer or on a command line.

use super::{ACCEPT, JSON, Scene};
use crate::support::{FakeHttp, FakeStdio, Legacy, Modern, RawHttp, process, proxy};
use serde_json::{Value, json};

const ENV: &str = "secret-of-the-environment";
const HEADER: &str = "secret-of-a-header";
const ARGUMENT: &str = "secret-of-an-argument";
const RESULT: &str = "secret-of-a-result";
const QUERY: &str = "secret-of-a-query";
const TOKEN: &str = "secret-of-a-client";

fn result() -> Value {
    json!({ "content": [{ "type": "text", "text": RESULT }] })
}

/// What each server does with a call, in good and in bad ways.
fn behaviour() -> Value {
    json!({
        "tools": ["echo", "good", "bad", "die"],
        "on": {
            "tools/call:good": [{ "progress": 2 }, { "log": RESULT }, { "result": result() }],
            "tools/call:bad": [{ "error": { "code": -32000, "message": RESULT, "data": RESULT } }],
            "tools/call:die": [{ "line": format!("not json {RESULT}") }, { "foreign": RESULT },
                { "raw": format!("{{\"{RESULT}") }, { "exit": 1 }],
            "resources/list": [{ "error": { "code": -32603, "message": "no list" } }],
        },
    })
}

#[tokio::test]
async fn nothing_configured_and_nothing_forwarded_is_logged() {
    let (stdio, http) = (FakeStdio::new(behaviour()), FakeHttp::mcp(behaviour()).await);
    let mut first = stdio.entry();
    first["env"] = json!({ "API_KEY": ENV });
    let mut second = http.entry();
    second["headers"] = json!({ "Authorization": format!("Bearer {HEADER}"), "X-Key": HEADER });
    let missing = json!({ "command": "no-such-command", "env": { "API_KEY": ENV } });
    let refused = json!({ "type": "http", "url": "http://127.0.0.1:1/mcp",
        "headers": { "Authorization": HEADER } });
    let servers = json!({ "stdio": first, "http": second, "missing": missing, "refused": refused });
    let log = json!({ "log": { "level": "trace", "format": "text" } });
    let scene = Scene::with(servers, log).await;

    let mut secrets: Vec<String> =
        [ENV, HEADER, ARGUMENT, RESULT, QUERY, TOKEN].map(str::to_owned).to_vec();
    let authorization = ("Authorization", format!("Bearer {TOKEN}"));
    for path in ["/mcp/stdio", "/mcp/http"] {
        let url = scene.proxy.url(path);
        let (legacy, modern) = (Legacy::connect(&url, "2025-11-25").await, Modern::new(&url));
        secrets.push(legacy.session.clone().expect("a session"));
        legacy.request("logging/setLevel", json!({ "level": "debug" })).await;
        let meta =
            json!({ "io.modelcontextprotocol/logLevel": "debug", "progressToken": ARGUMENT });
        for name in ["good", "bad", "echo", ARGUMENT] {
            let call = json!({ "name": name, "arguments": { "k": ARGUMENT }, "_meta": meta });
            legacy.request("tools/call", call.clone()).await;
            modern.request("tools/call", call).await;
            let read = json!({ "uri": format!("file:///{ARGUMENT}") });
            legacy.request("resources/read", read.clone()).await;
            modern.request("resources/subscribe", read).await;
        }
        let die = json!({ "name": "die", "arguments": { "k": ARGUMENT } });
        let reply = legacy.request("tools/call", die).await;
        assert!(!format!("{reply:?}").contains(RESULT), "{reply:?}");
        // what is malformed is refused without being quoted
        let bodies = [
            format!("{{\"{ARGUMENT}"),
            format!(r#"{{"jsonrpc":"{ARGUMENT}","id":1,"method":"tools/call"}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{ARGUMENT}"}}"#),
        ];
        for body in bodies {
            let session = ("Mcp-Session-Id", legacy.session.as_deref().unwrap_or_default());
            let headers = [ACCEPT, JSON, session, (authorization.0, authorization.1.as_str())];
            let with_query = format!("{url}?token={QUERY}");
            RawHttp::once("POST", &with_query, &headers, body).await;
        }
        let unknown = [ACCEPT, JSON, ("Mcp-Session-Id", TOKEN), ("Cookie", TOKEN)];
        RawHttp::once("POST", &url, &unknown, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await;
        RawHttp::once("DELETE", &url, &unknown, "").await;
        legacy.delete().await;
    }
    http.expire_sessions();
    let session = http
        .recorded()
        .into_iter()
        .find_map(|r| r.head.header("mcp-session-id").map(str::to_owned));
    secrets.push(session.expect("the upstream has a session, too"));
    stdio.started(2).await;
    let all = Modern::new(&scene.proxy.url("/mcp"));
    let reply = all.request("tools/list", json!({})).await;
    scene.proxy.logs.wait_for("missing: ").await;
    scene.proxy.logs.wait_for("refused: ").await;
    scene.others_are_served().await;

    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    scene.proxy.logs.assert_no_secret(&secrets);
    assert!(!format!("{reply:?}").contains("secret-of-the-environment"));
    // the upstream did get what was meant for it
    assert!(http.recorded().iter().all(|r| r.head.header("x-key") == Some(HEADER)));
    assert!(!http.recorded().iter().any(|r| format!("{:?}", r.head).contains(TOKEN)));
    for pid in process::descendants(scene.proxy.pid()).into_iter().chain([scene.proxy.pid()]) {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        assert!(!line.contains(ENV) && !line.contains(HEADER), "{line}");
    }
}

/// Also not when it is the secret that is wrong.
#[tokio::test]
async fn a_fault_in_a_secret_does_not_quote_it() {
    let servers = json!({
        "a": { "url": "http://127.0.0.1:1/mcp", "headers": { "X-Key": format!("{HEADER}\nX: y") } },
        "b": { "url": "http://127.0.0.1:1/mcp", "headers": { "X-Key": [HEADER] } },
        "c": { "command": "x", "env": { "K": [ENV] } },
        "d": { "command": "x", "env": { "K": format!("{ENV}\u{0}") } },
        "e": { "command": "x", "env": [format!("K={ENV}\u{0}"), ENV] },
        "f": { "url": format!("http://user:{HEADER}@127.0.0.1:1/mcp") },
        "g": { "command": "x", "env": { "K": format!("{ENV}${{NOT_THERE}}") } },
        "h": { "url": format!("http://127.0.0.1:1/mcp?key={HEADER}#x") },
    });
    let config = json!({ "mcpServers": servers, "gateway": { "log": { "level": "trace" } } });
    let scratch = crate::support::Scratch::new();
    let path = scratch.write("mcp.json", &config.to_string());
    let output = proxy::run(&["check", "--config", path.to_str().expect("UTF-8")]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(!text.contains(ENV) && !text.contains(HEADER), "{text}");
    let proxy = crate::support::Proxy::with(config).start().await;
    proxy.logs.assert_no_secret(&[ENV, HEADER]);
}
