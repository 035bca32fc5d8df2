//! SIGTERM while requests are under way: nobody new is let in, what is under way is finished, and
//! what does not finish within `gateway.timeouts.drainMs` is answered, too. Nobody is left without
//! a word.

use crate::stage::Client;
use crate::support::{
    BOUND, FakeStdio, Incoming, Legacy, Modern, Piped, Proxy, RawHttp, Reply, Sse, process,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn script() -> Value {
    let form = json!({ "message": "?", "requestedSchema": { "type": "object", "properties": {} } });
    json!({ "tools": ["slow", "form", "hang"], "on": {
        "tools/call:slow": [{ "progress": 1 }, { "await": "go" }, { "usual": true }],
        "tools/call:hang": [{ "progress": 1 }, { "await": "never" }],
        "tools/call:form": [{ "ask": ["elicitation/create", form] }, { "await": "asked" }, { "usual": true }],
    }})
}

async fn clients(url: &str) -> [Client; 2] {
    [Client::Legacy(Legacy::connect(url, "2025-11-25").await), Client::Modern(Modern::new(url))]
}

/// Calls a tool and waits until it is under way.
async fn begin(client: &Client, tool: &str) -> Incoming {
    let params = json!({ "name": tool, "_meta": { "progressToken": 1 } });
    let mut call = client.open("tools/call", params).await;
    assert_eq!(call.next().await.expect("progress")["method"], "notifications/progress");
    call
}

async fn told_to_stop(proxy: &mut Proxy) {
    proxy.note_children();
    process::terminate(proxy.pid());
    proxy.logs.wait_for("\"stopping").await;
}

fn data(reply: &Reply) -> &Value {
    assert_eq!(reply.error_code(), -32603);
    &reply.error()["data"]
}

#[tokio::test]
async fn what_is_under_way_is_finished_and_nobody_new_is_let_in() {
    let fake = FakeStdio::new(script());
    let mut proxy = Proxy::with(json!({ "mcpServers": { "x": fake.entry() } })).start().await;
    let url = proxy.url("/mcp/x");
    let mut calls = Vec::new();
    for client in &clients(&url).await {
        calls.push(begin(client, "slow").await);
    }
    let mut old = Sse::connect(&proxy.url("/sse/x"), "2024-11-05", json!({})).await;
    old.send(&json!(7), "tools/call", json!({ "name": "slow" })).await;
    while fake.received_of("tools/call").len() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await; // a file gives no event
    }
    let standing = Legacy::connect(&url, "2025-11-25").await.get_stream().await;
    // one that has begun to ask, and one that has nothing to do
    let (mut late, mut idle) = (RawHttp::connect(&url).await, RawHttp::connect(&url).await);
    late.send("POST /mcp/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le").await;
    idle.send("GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
    idle.response().await;
    told_to_stop(&mut proxy).await;

    idle.closed().await;
    assert_eq!(standing.finish().await.messages, Vec::<Value>::new());
    late.send("ngth: 2\r\nContent-Type: application/json\r\n\r\n{}").await;
    let refused = late.response().await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.head.header("retry-after"), Some("1"));
    assert_eq!(refused.head.header("connection"), Some("close"));
    let address = url.trim_start_matches("http://").split('/').next().expect("an address");
    let newcomer = tokio::net::TcpStream::connect(address).await;
    assert_eq!(newcomer.expect_err("closed").kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(fake.ended().is_empty(), "the server is needed still");

    fake.release("go");
    for call in calls {
        assert!(call.finish().await.result()["content"].is_array());
    }
    let answer = old.next().await.expect("an answer");
    assert!(answer["id"] == 7 && answer["result"].is_object(), "{answer}");
    assert_eq!(old.next().await, None);
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert_eq!(fake.ended(), ["eof"]);
    assert_eq!(proxy.logs.count("given up"), 0, "{}", proxy.logs.text());
    assert_eq!(proxy.logs.count("x: stopped: the gateway is stopping"), 1);
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_answered() {
    let (fake, mute) = (
        FakeStdio::new(script()),
        FakeStdio::new(json!({ "on": {
        "server/discover": [], "initialize": [] } })),
    );
    let mut proxy = Proxy::with(json!({ "gateway": { "timeouts": { "drainMs": 300 } },
        "mcpServers": { "x": fake.entry(), "mute": mute.entry() } }))
    .start()
    .await;
    let mut calls = Vec::new();
    for client in &clients(&proxy.url("/mcp/x")).await {
        calls.push(begin(client, "hang").await);
    }
    mute.wait_for("server/discover").await;
    // one that waits for its server to start; the 100 says that its head was taken
    let mut waits = RawHttp::connect(&proxy.url("/mcp/mute")).await;
    let meta = "io.modelcontextprotocol";
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "a", "_meta": { format!("{meta}/protocolVersion"): "2026-07-28",
            format!("{meta}/clientCapabilities"): {},
            format!("{meta}/clientInfo"): { "name": "n", "version": "1" } } } })
    .to_string();
    let head = format!(
        "POST /mcp/mute HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n\
         Mcp-Method: tools/call\r\nMcp-Name: a\r\nExpect: 100-continue\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    waits.send(head).await;
    assert_eq!(waits.head_or_end().await.expect("an interim one").status(), 100);
    told_to_stop(&mut proxy).await;
    let told = Instant::now();
    waits.send(body).await;
    let answer: Value = serde_json::from_slice(&waits.response().await.body).expect("json");
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    let data_of = |answer: &Value| answer["error"]["data"].clone();
    let state = data_of(&answer)["state"].clone();
    assert!(["draining", "stopped"].map(Value::from).contains(&state), "{answer}");
    let expected = json!({ "reason": "unavailable", "upstream": "mute", "carriedOut": "no",
        "state": state });
    assert_eq!(data_of(&answer), expected);
    for call in calls {
        let reply = call.finish().await;
        let lost = json!({ "reason": "lost", "upstream": "x", "carriedOut": "maybe" });
        assert_eq!(data(&reply), &lost, "{reply:?}");
        assert!(reply.error()["message"].as_str().is_some_and(|m| m.contains("is stopping")));
    }
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert!(told.elapsed() < BOUND / 2, "{:?}", told.elapsed());
    assert_eq!(proxy.logs.count("did not finish within 300ms and are given up"), 1);
}

/// Nobody can answer a question any more: the servers that put one are told, and may finish.
#[tokio::test]
async fn what_clients_were_asked_is_given_up() {
    let fakes = [FakeStdio::new(script()), FakeStdio::new(script())];
    let servers = json!({ "x": fakes[0].entry(), "y": fakes[1].entry() });
    let mut proxy = Proxy::with(json!({ "mcpServers": servers })).start().await;
    let able = json!({ "elicitation": { "form": {} } });
    let mut modern = Modern::new(&proxy.url("/mcp/x"));
    modern.capabilities = able.clone();
    let parked = modern.request("tools/call", json!({ "name": "form" })).await;
    assert_eq!(parked.result()["resultType"], "input_required");
    let legacy = Legacy::connect_with(&proxy.url("/mcp/y"), "2025-11-25", able).await;
    let mut asked = legacy.open("tools/call", json!({ "name": "form" })).await;
    assert_eq!(asked.next().await.expect("a question")["method"], "elicitation/create");
    told_to_stop(&mut proxy).await;
    for fake in &fakes {
        let answer = fake.wait_for("\"id\":\"ask-1\"").await;
        let answer: Value = serde_json::from_str(&answer).expect("json");
        assert!(answer.get("result").or(answer.get("error")).is_some(), "{answer}");
    }
    fakes[1].release("asked");
    let reply = asked.finish().await;
    assert!(reply.response()["result"]["content"].is_array(), "{reply:?}");
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn over_stdin_and_stdout_it_is_the_same() {
    let fake = FakeStdio::new(script());
    let config = json!({ "mcpServers": { "x": fake.entry() } });
    let mut client: Piped = Proxy::with(&config).stdio();
    client.ask_modern(json!(1), "tools/call", json!({ "name": "x__slow" })).await;
    fake.reached("go").await;
    told_to_stop(&mut client.proxy).await;
    // longer than a client that is gone is waited for
    tokio::time::sleep(Duration::from_millis(1200)).await;
    fake.release("go");
    let answer = client.answer(json!(1)).await;
    assert!(answer["result"]["content"].is_array(), "{answer}");
    assert_eq!(client.ended().await.code(), Some(0));
    assert_eq!(fake.ended(), ["eof"]);

    let fake = FakeStdio::new(script());
    let mut client = Proxy::with(json!({ "mcpServers": { "x": fake.entry() } })).stdio();
    client.ask_modern(json!(1), "tools/call", json!({ "name": "x__hang" })).await;
    fake.reached("never").await;
    told_to_stop(&mut client.proxy).await;
    let begun = Instant::now();
    process::terminate(client.proxy.pid());
    assert_eq!(client.ended().await.code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(2), "a second signal means at once");
    fake.gone().await;
}

#[tokio::test]
async fn a_hangup_is_heard_and_ends_nothing() {
    let mut proxy =
        Proxy::with(json!({ "mcpServers": { "1mcp": { "type": "builtin" } } })).start().await;
    process::signal(proxy.pid(), rustix::process::Signal::HUP);
    proxy.logs.wait_for("SIGHUP: the file is not read again while running yet").await;
    let tools = super::tools(&proxy.url("/mcp")).await;
    assert!(tools.contains(&"1mcp__list_servers".to_owned()), "{tools:?}");
    assert_eq!(proxy.terminate().await.code(), Some(0));
}
