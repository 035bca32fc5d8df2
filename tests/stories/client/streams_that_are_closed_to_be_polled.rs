//! MCP 2025-11-25 basic/transports: a server may close its stream after an event with an id, and the
//! client comes back with that id, for as long as the request takes.

use crate::support::{Answer, FakeHttp, Head, Modern, Proxy};
use serde_json::{Value, json};
use std::sync::Mutex;

/// How often the stream of the call is closed before the answer comes.
const CLOSED: usize = 12;

fn polled(head: &Head, body: &str, call: &Mutex<Value>) -> Answer {
    let message: Value = serde_json::from_str(body).unwrap_or_default();
    let respond =
        |result: Value| json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
    match message["method"].as_str().unwrap_or(head.method()) {
        "initialize" => Answer::json(respond(json!({
            "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
            "serverInfo": { "name": "polled", "version": "1" },
        })))
        .header("Mcp-Session-Id", "s"),
        "tools/list" => Answer::json(respond(
            json!({ "tools": [{ "name": "t", "inputSchema": { "type": "object" } }] }),
        )),
        "tools/call" => {
            *call.lock().expect("no panic while it is held") = message["id"].clone();
            Answer::sse().send("id: call-0\nretry: 1\ndata:\n\n")
        }
        "GET" => match head.header("last-event-id").unwrap_or_default() {
            "" => Answer::sse().send("id: standing\nretry: 1\ndata:\n\n"),
            "standing" => Answer::sse(),
            id => {
                let at: usize = id.trim_start_matches("call-").parse().expect("one of ours");
                let id = call.lock().expect("no panic while it is held").clone();
                let result = json!({ "content": [{ "type": "text", "text": "done" }] });
                match at {
                    CLOSED => {
                        Answer::sse().event(json!({ "jsonrpc": "2.0", "id": id, "result": result }))
                    }
                    _ => Answer::sse().send(format!("id: call-{}\ndata:\n\n", at + 1)),
                }
            }
        },
        "server/discover" => Answer::empty(400),
        _ => Answer::empty(202),
    }
}

#[tokio::test]
async fn are_asked_again_until_the_answer_comes() {
    let call = Mutex::new(Value::Null);
    let fake = FakeHttp::serve(move |head, body| polled(head, body, &call)).await;
    let proxy = Proxy::with(json!({ "mcpServers": { "p": fake.entry() } })).start().await;
    let client = Modern::new(&proxy.url("/mcp/p"));
    let reply = client.request("tools/call", json!({ "name": "t" })).await;
    assert_eq!(reply.result()["content"][0]["text"], "done");
    assert_eq!(fake.received_of("tools/call").len(), 1, "it was not asked anew");
}

#[tokio::test]
async fn a_stream_without_news_is_resumed_where_the_last_one_was() {
    let call = Mutex::new(Value::Null);
    let fake = FakeHttp::serve(move |head, body| polled(head, body, &call)).await;
    let _proxy = Proxy::with(json!({ "mcpServers": { "p": fake.entry() } })).start().await;
    let gets = || {
        let gets = fake.recorded().into_iter().filter(|r| r.head.method() == "GET");
        gets.map(|r| r.head.header("last-event-id").map(str::to_owned)).collect::<Vec<_>>()
    };
    fake.wait_for("a third stream", |_| gets().len() >= 3).await;
    assert_eq!(gets()[..3], [None, Some("standing".to_owned()), Some("standing".to_owned())]);
}
