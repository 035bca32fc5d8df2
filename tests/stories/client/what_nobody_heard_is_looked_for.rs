//! What a server announces while its stream is down is lost: a legacy one without event ids does not
//! say it again (MCP 2025-11-25 basic/transports, "Resumability and Redelivery"). So its lists are read
//! when the stream is back, but not each time that it was gone if that brings nothing.

use crate::support::{Answer, FakeHttp, Head, Modern, Proxy};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A server whose standing stream ends at once, and which has another tool from the stream with
/// this number on.
fn forgetful(head: &Head, body: &str, streams: &AtomicUsize, grows: usize) -> Answer {
    let message: Value = serde_json::from_str(body).unwrap_or_default();
    let respond =
        |result: Value| json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
    match message["method"].as_str().unwrap_or(head.method()) {
        "initialize" => Answer::json(respond(json!({
            "protocolVersion": "2025-11-25", "capabilities": { "tools": { "listChanged": true }, "prompts": {} },
            "serverInfo": { "name": "forgetful", "version": "1" },
        })))
        .header("Mcp-Session-Id", "s"),
        "tools/list" => {
            let count = if streams.load(Ordering::SeqCst) >= grows { 2 } else { 1 };
            let tool = |n| json!({ "name": format!("t{n}"), "inputSchema": { "type": "object" } });
            let tools: Vec<Value> = (0..count).map(tool).collect();
            Answer::json(respond(json!({ "tools": tools })))
        }
        "prompts/list" => Answer::json(respond(json!({ "prompts": [] }))),
        "GET" => {
            streams.fetch_add(1, Ordering::SeqCst);
            Answer::sse().send("retry: 1\n\n")
        }
        "server/discover" => Answer::empty(400),
        _ => Answer::empty(202),
    }
}

async fn started(grows: usize) -> (FakeHttp, Proxy) {
    let streams = Arc::new(AtomicUsize::new(0));
    let fake = FakeHttp::serve(move |head, body| forgetful(head, body, &streams, grows)).await;
    let proxy = Proxy::with(json!({ "mcpServers": { "f": fake.entry() } })).start().await;
    proxy.logs.wait_for("f: ready").await;
    (fake, proxy)
}

fn reads(fake: &FakeHttp, method: &str) -> usize {
    fake.received_of(method).len()
}

#[tokio::test]
async fn and_told() {
    let (_fake, proxy) = started(5).await;
    let client = Modern::new(&proxy.url("/mcp/f"));
    let mut stream = client.listen(json!({ "toolsListChanged": true })).await;
    let told = stream.next().await.expect("a message");
    assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
    let listed = client.request("tools/list", Value::Null).await;
    assert_eq!(listed.result()["tools"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn but_not_again_and_again_in_vain() {
    let (fake, _proxy) = started(usize::MAX).await;
    let gets = || fake.recorded().iter().filter(|r| r.head.method() == "GET").count();
    fake.wait_for("twenty streams", |_| gets() >= 20).await;
    let reads = (reads(&fake, "tools/list"), reads(&fake, "prompts/list"));
    assert!((2..=4).contains(&reads.0), "once at first and then ever more rarely: {reads:?}");
    assert_eq!(reads.1, 1, "changes of this one are not announced, so none was missed");
}
