//! A server over HTTP that answers with anything at all: its own calls get a proper error or their
//! proper answer, nothing it says leads anywhere else, and the others notice nothing.

use super::Scene;
use crate::support::fake_http::{Ended, Recorded};
use crate::support::http::Head;
use crate::support::process::resident;
use crate::support::{Answer, FakeHttp, Legacy, Modern, Reply, Step};
use serde_json::{Value, json};

/// A server that shakes hands, lists nothing, and answers calls of a tool as the closure says.
async fn liar(calls: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static) -> FakeHttp {
    FakeHttp::serve(move |head, body| {
        let message: Value = serde_json::from_str(body).unwrap_or_default();
        match (head.method(), message["method"].as_str()) {
            ("POST", Some("tools/call")) => {
                calls(message["params"]["name"].as_str().unwrap_or_default(), &message)
            }
            _ => honest(head, &message),
        }
    })
    .await
}

/// Modern, with tools and nothing in them.
fn honest(head: &Head, message: &Value) -> Answer {
    if head.method() != "POST" {
        return Answer::empty(405);
    }
    let result = match message["method"].as_str() {
        Some("server/discover") => json!({ "supportedVersions": ["2026-07-28"],
            "capabilities": { "tools": {} }, "ttlMs": 0, "cacheScope": "private" }),
        Some("tools/list") => json!({ "tools": [], "ttlMs": 0, "cacheScope": "private" }),
        _ => return Answer::empty(202),
    };
    answer(message, result)
}

fn response(message: &Value, mut result: Value) -> Value {
    result["resultType"] = json!("complete");
    json!({ "jsonrpc": "2.0", "id": message["id"], "result": result })
}

fn answer(message: &Value, result: Value) -> Answer {
    Answer::json(response(message, result))
}

async fn scene(liar: &FakeHttp) -> (Scene, Modern) {
    let mut entry = liar.entry();
    entry["timeouts"] = json!({ "listMs": 1000, "idleMs": 1500 });
    let scene = Scene::with(json!({ "liar": entry }), json!({})).await;
    let client = Modern::new(&scene.proxy.url("/mcp/liar"));
    (scene, client)
}

async fn call(client: &Modern, name: &str) -> Reply {
    client.request("tools/call", json!({ "name": name })).await
}

/// An error of ours that names the upstream.
fn refused(case: &str, reply: &Reply) {
    assert_eq!(reply.error_code(), -32603, "{case}: {reply:?}");
    let message = reply.error()["message"].as_str().unwrap_or_default();
    assert!(message.contains("\"liar\""), "{case}: {message}");
}

#[tokio::test]
async fn bodies_and_types_that_are_no_answer_are_errors() {
    let fake = liar(|name, message| {
        let good = response(message, json!({ "content": [] })).to_string();
        match name {
            "html" => Answer::new(200, "text/html", "<script>alert(1)</script>"),
            "wrong type" => Answer::new(200, "text/plain", good),
            "no type" => Answer::empty(200).send(good),
            "empty" => Answer::new(200, "application/json", ""),
            "accepted" => Answer::empty(202),
            "no content" => Answer::empty(204),
            "not json" => Answer::new(200, "application/json", "{\"jsonrpc\":"),
            "array" => Answer::json(format!("[{good}]")),
            "another id" => Answer::json(json!({ "jsonrpc": "2.0", "id": 999_999, "result": {} })),
            "no id" => Answer::json(json!({ "jsonrpc": "2.0", "result": {} })),
            "a request" => Answer::json(json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" })),
            "a notification" => Answer::json(json!({ "jsonrpc": "2.0", "method": "x" })),
            "result 7" => {
                Answer::json(json!({ "jsonrpc": "2.0", "id": message["id"], "result": 7 }))
            }
            "bad utf-8" => Answer::new(200, "application/json", b"{\"a\":\"\xff\"}".to_vec()),
            "no events" => Answer::sse(),
            "events of another" => {
                Answer::sse().event(json!({ "jsonrpc": "2.0", "id": 999_999, "result": {} }))
            }
            "event not json" => Answer::sse().event("nonsense"),
            "half an event" => Answer::sse().send(format!("data: {}", &good[..20])),
            "cut in an event" => {
                Answer::sse().send(format!("data: {}", &good[..20])).step(Step::Cut)
            }
            "cut in the body" => Answer::new(200, "application/json", good)
                .header("Content-Length", "5000")
                .step(Step::Cut),
            "cut before the head" => Answer::empty(200).after("never opened, cut instead"),
            _ => Answer::empty(418),
        }
    })
    .await;
    let (scene, client) = scene(&fake).await;
    for case in [
        "html",
        "wrong type",
        "no type",
        "empty",
        "accepted",
        "no content",
        "not json",
        "array",
        "another id",
        "no id",
        "a request",
        "a notification",
        "result 7",
        "bad utf-8",
        "no events",
        "events of another",
        "event not json",
        "half an event",
        "cut in an event",
        "teapot",
    ] {
        refused(case, &call(&client, case).await);
        scene.others_are_served().await;
    }
}

#[tokio::test]
async fn a_status_is_named_and_its_body_is_not_shown() {
    let fake = liar(|name, _| {
        let status = name.parse().unwrap_or(418);
        Answer::new(status, "text/html", "<html>internal-secret stack trace</html>")
            .header("WWW-Authenticate", "Bearer realm=\"internal-secret\"")
            .header("Set-Cookie", "session=internal-secret")
    })
    .await;
    let (scene, client) = scene(&fake).await;
    for status in
        ["400", "401", "403", "404", "405", "406", "409", "415", "429", "500", "502", "503"]
    {
        let reply = call(&client, status).await;
        refused(status, &reply);
        let message = reply.error()["message"].as_str().unwrap_or_default();
        assert!(message.contains(status), "{message}");
        assert!(!format!("{reply:?}").contains("internal-secret"), "{reply:?}");
        scene.others_are_served().await;
    }
    scene.proxy.logs.assert_no_secret(&["internal-secret"]);
}

/// SSRF: where an upstream points to is nobody we talk to.
#[tokio::test]
async fn redirects_are_not_followed() {
    let target = FakeHttp::serve(|_, _| Answer::empty(200)).await;
    let elsewhere = target.url();
    let fake = liar(move |name, _| {
        let status = name.parse().unwrap_or(302);
        Answer::empty(status)
            .header("Location", &elsewhere)
            .header("Refresh", &format!("0; url={elsewhere}"))
            .header("Alt-Svc", "h2=\":443\"")
    })
    .await;
    let (scene, client) = scene(&fake).await;
    for status in ["301", "302", "303", "307", "308", "300", "304"] {
        refused(status, &call(&client, status).await);
    }
    assert_eq!(target.recorded().len(), 0);
    scene.others_are_served().await;
}

#[tokio::test]
async fn a_header_flood_is_cut_off() {
    let fake = liar(|name, message| {
        let mut answer = answer(message, json!({ "content": [] }));
        let (count, length) = if name == "many" { (5000, 10) } else { (1, 200_000) };
        for n in 0..count {
            answer = answer.header(&format!("X-Flood-{n}"), &"y".repeat(length));
        }
        answer
    })
    .await;
    let (scene, client) = scene(&fake).await;
    for case in ["many", "long"] {
        refused(case, &call(&client, case).await);
        scene.others_are_served().await;
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off_at_the_limit() {
    let fake = liar(|name, _| {
        let piece = "x".repeat(1 << 20);
        let start = match name {
            "event" => Answer::sse().send("data: \""),
            "comments" => Answer::sse().send(":"),
            _ => Answer::sse(),
        };
        let mut answer = start;
        for _ in 0..40 {
            answer = answer.send(piece.clone());
        }
        if name == "json" { answer.header("Content-Type", "application/json") } else { answer }
    })
    .await;
    let (scene, client) = scene(&fake).await;
    let before = resident(scene.proxy.pid());
    for case in ["event", "comments", "fields"] {
        refused(case, &call(&client, case).await);
        scene.others_are_served().await;
    }
    let grown = resident(scene.proxy.pid()).peak.saturating_sub(before.peak);
    assert!(grown < 96 << 20, "grew by {grown} bytes");
}

/// A head or a stream that never comes to an end is bounded by the idle time of the entry, and the
/// connection is closed then.
#[tokio::test]
async fn a_server_that_stalls_is_given_up_in_time() {
    let fake = liar(|name, message| {
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/message",
            "params": { "level": "info", "data": "still here" } });
        match name {
            "no head" => Answer::empty(200).after("never"),
            "no body" => Answer::sse().wait("never"),
            "half a body" => Answer::sse().send("data: {\"json").wait("never"),
            // log messages are no progress
            _ => Answer::sse().event(note).wait("never").event(response(message, json!({}))),
        }
    })
    .await;
    let (scene, client) = scene(&fake).await;
    let all = ["no head", "no body", "half a body", "only notes"];
    let calls = all.map(|name| call(&client, name));
    let [a, b, c, d] = calls;
    let (a, b, c, d, ()) = tokio::join!(a, b, c, d, scene.others_are_served());
    for (case, reply) in all.iter().zip([a, b, c, d]) {
        refused(case, &reply);
        let message = reply.error()["message"].as_str().unwrap_or_default();
        assert!(message.contains("in time"), "{case}: {message}");
        let gone =
            |r: &Recorded| r.json()["params"]["name"] == *case && r.ended == Ended::Disconnected;
        fake.wait_for("the disconnect", gone).await;
    }
}

#[tokio::test]
async fn what_it_asks_of_clients_is_declined_and_ping_is_answered() {
    let fake = FakeHttp::mcp(json!({ "tools": ["ask"], "on": { "tools/call:ask": [
        { "ask": ["ping", {}] },
        { "ask": ["sampling/createMessage", { "messages": [], "maxTokens": 1 }] },
        { "ask": ["roots/list", {}] },
        { "usual": true },
    ]}}))
    .await;
    let (scene, client) = scene(&fake).await;
    let reply = call(&client, "ask").await;
    assert_eq!(reply.messages.len(), 1, "nothing of it reaches the client: {reply:?}");
    for (id, expected) in [("ask-1", None), ("ask-2", Some(-32601)), ("ask-3", Some(-32601))] {
        let answered = fake.wait_for(id, |r| r.json()["id"] == id).await.json();
        assert_eq!(answered["error"]["code"].as_i64(), expected, "{answered}");
    }
    scene.others_are_served().await;
}

#[tokio::test]
async fn progress_of_others_and_second_answers_reach_nobody() {
    let fake = liar(|_, message| {
        let id = message["id"].clone();
        let progress = |token: Value| {
            json!({ "jsonrpc": "2.0", "method": "notifications/progress",
                "params": { "progressToken": token, "progress": 1 } })
        };
        Answer::sse()
            .event(progress(json!("foreign")))
            .event(progress(json!(424_242)))
            .event(response(message, json!({ "content": [], "first": 1 })))
            .event(json!({ "jsonrpc": "2.0", "id": id, "result": { "second": 1 } }))
            .event(progress(id))
    })
    .await;
    let (scene, client) = scene(&fake).await;
    let params = json!({ "name": "x", "_meta": { "progressToken": "mine" } });
    for _ in 0..5 {
        let reply = client.request("tools/call", params.clone()).await;
        assert_eq!(reply.result()["first"], 1);
        assert_eq!(reply.notifications("notifications/progress"), Vec::<&Value>::new());
    }
    scene.others_are_served().await;
}

/// MCP 2025-11-25 basic/transports, "Session Management": 404 means that a new session begins. What
/// met it was not carried out, so it is sent once more, and nobody notices.
#[tokio::test]
async fn a_lost_session_is_begun_anew() {
    let fake = FakeHttp::mcp(json!({ "tools": ["echo"] })).await;
    let scene = Scene::with(json!({ "liar": fake.entry() }), json!({})).await;
    let client = Legacy::connect(&scene.proxy.url("/mcp/liar"), "2025-11-25").await;
    let echo = json!({ "name": "echo", "arguments": { "a": 1 } });
    assert!(client.request("tools/call", echo.clone()).await.result().is_object());
    fake.expire_sessions();
    let again = client.request("tools/call", echo).await;
    assert_eq!(again.result()["content"][0]["text"], r#"{"a":1}"#);
    assert_eq!(fake.received_of("initialize").len(), 2);
    assert_eq!(fake.received_of("tools/call").len(), 3, "the second one twice");
    scene.others_are_served().await;
    scene.proxy.logs.assert_no_secret(&["fake-session-"]);
}

/// Only a 404 to a request that names the session says that it was not carried out.
#[tokio::test]
async fn what_may_have_been_carried_out_is_sent_once() {
    let fake = FakeHttp::serve(|head, body| {
        let message: Value = serde_json::from_str(body).unwrap_or_default();
        let id = &message["id"];
        let plain = |result: Value| json!({ "jsonrpc": "2.0", "id": id, "result": result });
        let name = message["params"]["name"].as_str().unwrap_or_default();
        match (head.method(), message["method"].as_str().unwrap_or_default(), name) {
            ("POST", "initialize", _) => Answer::json(plain(json!({
                "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
                "serverInfo": { "name": "x", "version": "1" },
            })))
            .header("Mcp-Session-Id", "known"),
            ("POST", "tools/list", _) => Answer::json(plain(json!({ "tools": [] }))),
            (_, _, "a result") => Answer::json(plain(json!({ "content": [] }))).status(404),
            (_, _, "no method") => Answer::json(
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": "" } }),
            )
            .status(404),
            (_, _, "400") => Answer::empty(400),
            (_, _, "410") => Answer::empty(410),
            (_, _, "cut") => Answer::sse().send("data: {").step(Step::Cut),
            (_, _, "always 404") => Answer::empty(404),
            ("POST", "notifications/initialized", _) => Answer::empty(202),
            _ => Answer::empty(405),
        }
    })
    .await;
    let (scene, client) = scene(&fake).await;
    for (name, times) in
        [("always 404", 2), ("no method", 1), ("400", 1), ("410", 1), ("cut", 1), ("a result", 1)]
    {
        assert!(call(&client, name).await.response().get("error").is_some(), "{name}");
        let calls = fake.received_of("tools/call");
        let sent = calls.iter().filter(|call| call["params"]["name"] == name).count();
        assert_eq!(sent, times, "{name}");
    }
    scene.others_are_served().await;
}

#[tokio::test]
async fn handshakes_that_fail_are_one_line_and_show_nothing() {
    for (case, said) in
        [("401", "401"), ("403", "403"), ("500", "500"), ("302", "302"), ("html", ""), ("cut", "")]
    {
        let fake = FakeHttp::serve(move |_, _| match case {
            "html" => Answer::new(200, "text/html", "internal-secret"),
            "cut" => Answer::sse().send("data: {").step(Step::Cut),
            status => Answer::new(status.parse().unwrap_or(418), "text/html", "internal-secret")
                .header("Location", "http://127.0.0.1:1/"),
        })
        .await;
        let (scene, client) = scene(&fake).await;
        let line = scene.proxy.logs.wait_for("liar: ").await;
        assert!(line.contains(said) && line.contains("\"warn\""), "{case}: {line}");
        refused(case, &call(&client, "x").await);
        let all = Modern::new(&scene.proxy.url("/mcp"));
        let listed = all.request("tools/list", json!({})).await;
        assert_eq!(listed.result()["tools"].as_array().map(Vec::len), Some(1), "{case}");
        scene.others_are_served().await;
        scene.proxy.logs.assert_no_secret(&["internal-secret"]);
    }
}

/// Nobody listens there: an error at once, and the server is used when it is there.
#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_at_once() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = closed.local_addr().expect("bound");
    drop(closed);
    let entry = json!({ "type": "http", "url": format!("http://{address}/mcp") });
    let scene = Scene::with(json!({ "liar": entry }), json!({})).await;
    scene.proxy.logs.wait_for("liar: ").await;
    let client = Modern::new(&scene.proxy.url("/mcp/liar"));
    refused("nobody", &call(&client, "x").await);
    scene.others_are_served().await;
}

/// Bytes that are no HTTP at all.
#[tokio::test]
async fn what_is_not_http_is_an_error() {
    for lie in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
          Content-Type: application/json\r\n\r\nzz\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 999999 Odd\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
          Content-Length: 18446744073709551615\r\n\r\n{",
    ] {
        let entry = json!({ "type": "http", "url": FakeHttp::babble(lie.to_vec()).await });
        let scene = Scene::with(json!({ "liar": entry }), json!({})).await;
        scene.proxy.logs.wait_for("liar: ").await;
        let client = Modern::new(&scene.proxy.url("/mcp/liar"));
        refused(&String::from_utf8_lossy(lie), &call(&client, "x").await);
        scene.others_are_served().await;
    }
}

#[tokio::test]
async fn a_flood_of_pings_is_answered_as_far_as_it_is_bounded() {
    let pings = "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n\n".repeat(20_000);
    let fake = liar(move |_, message| {
        let end = response(message, json!({ "content": [] }));
        Answer::sse().send(pings.clone()).event(end)
    })
    .await;
    let (scene, client) = scene(&fake).await;
    let before = resident(scene.proxy.pid());
    assert!(call(&client, "run").await.result().is_object());
    scene.others_are_served().await;
    let grown = resident(scene.proxy.pid()).peak.saturating_sub(before.peak);
    assert!(grown < 32 << 20, "grew by {grown} bytes");
}
