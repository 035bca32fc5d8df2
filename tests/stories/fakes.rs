//! The fakes do what the stories think they do.

use crate::support::{Answer, FakeHttp, FakeStdio, Legacy, Logs, Modern, RawHttp};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};

/// The fake spoken to over its pipes.
struct Pipes {
    child: Child,
    input: Option<ChildStdin>,
    lines: Logs,
    errors: Logs,
}

impl Pipes {
    fn open(fake: &FakeStdio) -> Pipes {
        let line = fake.command();
        let mut command = Command::new(&line[0]);
        command
            .args(&line[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the fake was built");
        let (lines, errors) = (Logs::new(), Logs::new());
        lines.collect(child.stdout.take().expect("piped"));
        errors.collect(child.stderr.take().expect("piped"));
        let input = child.stdin.take();
        Pipes { child, input, lines, errors }
    }

    fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("still open");
        input.write_all(format!("{line}\n").as_bytes()).expect("the fake reads");
    }

    async fn answer(&self, id: u64) -> Value {
        let line = self.lines.wait_for(&format!("\"id\":{id},")).await;
        serde_json::from_str(&line).expect("the fake speaks JSON")
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn request(id: u64, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

#[tokio::test]
async fn legacy_stdio_pages_echoes_and_records() {
    let fake =
        FakeStdio::new(json!({ "tools": [["echo"], ["second"]], "instructions": "be kind" }));
    let mut pipes = Pipes::open(&fake);
    pipes.say(&request(1, "server/discover", "{}"));
    assert_eq!(pipes.answer(1).await["error"]["code"], -32601);
    pipes.say(&request(2, "initialize", r#"{"protocolVersion":"2025-11-25"}"#));
    assert_eq!(pipes.answer(2).await["result"]["instructions"], "be kind");
    pipes.say(&request(3, "tools/list", "{}"));
    let page = pipes.answer(3).await;
    assert_eq!(page["result"]["tools"][0]["name"], "echo");
    assert_eq!(page["result"]["nextCursor"], "page-1");
    pipes.say(&request(4, "tools/list", r#"{"cursor":"page-1"}"#));
    let page = pipes.answer(4).await;
    assert_eq!(page["result"]["tools"][0]["name"], "second");
    assert!(page["result"].get("nextCursor").is_none());
    let exact = r#"{"n": 12345678901234567890123, "e":"\u00e9"}"#;
    let call = request(5, "tools/call", &format!(r#"{{"name":"echo","arguments":{exact}}}"#));
    pipes.say(&call);
    assert_eq!(pipes.answer(5).await["result"]["content"][0]["text"], exact);
    assert_eq!(fake.received().last(), Some(&call));
    pipes.input = None;
    fake.gone().await;
    assert_eq!(fake.ended(), ["eof"]);
}

#[tokio::test]
async fn stdio_steps_wait_lie_and_crash() {
    let fake = FakeStdio::new(json!({
        "start": [{ "line": "not json" }, { "stderr": "hello" }],
        "on": {
            "tools/call:slow": [{ "progress": 2 }, { "await": "gate" }, { "result": {} }],
            "tools/call:liar": [{ "foreign": 99 }, { "say": { "id": "$id", "odd": true } }],
            "tools/call:crash": [{ "raw": "{\"half" }, { "exit": 3 }],
            "tools/call:grow": [
                { "tools": ["new"] },
                { "notify": ["notifications/tools/list_changed", null] },
                { "usual": true }
            ],
        }
    }));
    let mut pipes = Pipes::open(&fake);
    pipes.lines.wait_for("not json").await;
    pipes.errors.wait_for("hello").await;
    pipes.say(&request(1, "tools/call", r#"{"name":"slow","_meta":{"progressToken":"t"}}"#));
    fake.reached("gate").await;
    pipes.lines.wait_for("\"progress\":2").await;
    assert_eq!(pipes.lines.count("notifications/progress"), 2);
    pipes.say(&request(2, "tools/call", r#"{"name":"liar"}"#));
    pipes.lines.wait_for(r#"{"id":2,"odd":true}"#).await;
    assert_eq!(pipes.lines.count(r#""id":99"#), 1);
    pipes.say(&request(3, "tools/call", r#"{"name":"grow"}"#));
    pipes.lines.wait_for("list_changed").await;
    pipes.say(&request(4, "tools/list", "{}"));
    assert_eq!(pipes.answer(4).await["result"]["tools"][0]["name"], "new");
    assert_eq!(pipes.lines.count(r#""id":1,"#), 0, "the slow call still waits");
    fake.release("gate");
    pipes.answer(1).await;
    pipes.say(&request(5, "tools/call", r#"{"name":"crash"}"#));
    fake.gone().await;
    pipes.lines.wait_for("{\"half").await;
    assert_eq!(fake.ended(), ["exit"]);
}

#[tokio::test]
async fn modern_stdio_listens_and_ignores_term_if_told() {
    let fake = FakeStdio::new(json!({ "era": "modern", "ignoreTerm": true, "on": {
        "tools/call:touch": [{ "notify": ["notifications/resources/updated", { "uri": "a:b" }] }]
    }}));
    let mut pipes = Pipes::open(&fake);
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
    pipes.say(&request(1, "initialize", r#"{"protocolVersion":"2025-11-25"}"#));
    assert_eq!(pipes.answer(1).await["error"]["code"], -32022);
    pipes.say(&request(2, "server/discover", &format!("{{{meta}}}")));
    assert_eq!(pipes.answer(2).await["result"]["resultType"], "complete");
    let filter = r#""notifications":{"resourceSubscriptions":["a:b"]}"#;
    pipes.say(&request(3, "subscriptions/listen", &format!("{{{filter},{meta}}}")));
    pipes.lines.wait_for("acknowledged").await;
    crate::support::process::terminate(fake.started(1).await);
    pipes.say(&request(4, "tools/call", &format!(r#"{{"name":"touch",{meta}}}"#)));
    let updated = pipes.lines.wait_for("resources/updated").await;
    assert!(updated.contains(r#""io.modelcontextprotocol/subscriptionId":3"#), "{updated}");
}

#[tokio::test]
async fn an_http_script_stalls_streams_and_sees_disconnects() {
    let fake = FakeHttp::serve(|head, _| match head.path() {
        "/slow" => Answer::json("{}").after("gate"),
        "/stream" => Answer::sse().event("one").wait("never").event("two"),
        _ => Answer::empty(404).header("X-Odd", "yes"),
    })
    .await;
    let base = fake.url().replace("/mcp", "");
    let missing = RawHttp::once("GET", &format!("{base}/x"), &[("X-Twice", "1")], "").await;
    assert_eq!((missing.status(), missing.head.header("x-odd")), (404, Some("yes")));
    assert_eq!(fake.recorded()[0].head.header("x-twice"), Some("1"));

    let mut slow = RawHttp::connect(&base).await;
    slow.request("POST", "/slow", &[], "body").await;
    fake.reached("gate").await;
    fake.release("gate");
    assert_eq!(slow.response().await.text(), "{}");

    let mut stream = RawHttp::connect(&base).await;
    stream.request("GET", "/stream", &[], "").await;
    assert_eq!(stream.head().await.status(), 200);
    let first = stream.next_event().await.expect("an event");
    assert_eq!((first.event.as_deref(), first.data.as_deref()), (Some("message"), Some("one")));
    drop(stream);
    let gone = |r: &crate::support::fake_http::Recorded| {
        r.ended == crate::support::fake_http::Ended::Disconnected
    };
    let recorded = fake.wait_for("the disconnect", gone).await;
    assert_eq!(recorded.head.path(), "/stream");
}

#[tokio::test]
async fn a_legacy_client_talks_to_a_legacy_http_fake() {
    let fake = FakeHttp::mcp(json!({ "tools": ["echo"], "on": {
        "tools/call:work": [{ "progress": 2 }, { "log": "busy" }, { "result": { "content": [] } }],
    }}))
    .await;
    let client = Legacy::connect(&fake.url(), "2025-06-18").await;
    assert_eq!(client.revision, "2025-11-25");
    let reply =
        client.request("tools/call", json!({ "name": "echo", "arguments": { "a": 1 } })).await;
    assert_eq!(reply.result()["content"][0]["text"], r#"{"a":1}"#);
    let work = json!({ "name": "work", "_meta": { "progressToken": 7 } });
    let reply = client.request("tools/call", work).await;
    assert_eq!(reply.notifications("notifications/progress")[1]["progress"], 2);
    assert_eq!(reply.notifications("notifications/message").len(), 1);

    let mut standing = client.get_stream().await;
    fake.publish(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    assert_eq!(
        standing.next().await.expect("a message")["method"],
        "notifications/tools/list_changed"
    );
    fake.expire_sessions();
    assert_eq!(client.request("ping", Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_modern_client_talks_to_a_modern_http_fake() {
    let fake = FakeHttp::mcp(json!({ "era": "modern", "tools": ["näme"], "on": {
        "tools/call:grow": [
            { "tools": ["echo"] },
            { "notify": ["notifications/tools/list_changed", null] },
            { "usual": true }
        ],
    }}))
    .await;
    let client = Modern::new(&fake.url());
    let reply = client.request("tools/call", json!({ "name": "näme" })).await;
    assert_eq!(reply.result()["resultType"], "complete");
    let unknown = client.request("nobody/knows", Value::Null).await;
    assert_eq!((unknown.status, unknown.error_code()), (404, -32601));
    let mut listen = client.listen(json!({ "toolsListChanged": true })).await;
    client.request("tools/call", json!({ "name": "grow" })).await;
    let changed = listen.next().await.expect("a notification");
    assert_eq!(changed["method"], "notifications/tools/list_changed");
    let forged = RawHttp::once(
        "POST",
        &fake.url(),
        &[("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "tools/list")],
        request(9, "tools/call", &client.with_meta(json!({ "name": "echo" })).to_string()),
    )
    .await;
    assert_eq!(forged.status(), 400);
}

#[tokio::test]
async fn logs_know_secrets() {
    let logs = Logs::new();
    logs.collect(std::io::Cursor::new("a token: s3cr3t\n"));
    assert_eq!(logs.wait_for("token").await, "a token: s3cr3t");
    logs.assert_no_secret(&["other"]);
    let caught = std::panic::catch_unwind(|| logs.assert_no_secret(&["s3cr3t"]));
    assert!(caught.is_err(), "a logged secret is noticed");
}
