//! MCP 2026-07-28 basic/transports/streamable-http: a stream asks proxies on its way not to hold it
//! back (`X-Accel-Buffering: no`), and says with a comment that it is alive when there is nothing else
//! to say, so that nobody on the way takes it for dead. Those of the older revisions do so as well.

use crate::stage::Stage;
use crate::support::RawHttp;
use serde_json::{Value, json};
use std::time::Duration;

/// Proxies on the way give up a silent connection after a minute, some after 30 seconds.
const BOUND: Duration = Duration::from_secs(20);

/// A stream from its first event on.
async fn opened(method: &str, url: &str, headers: &[(&str, &str)], body: &Value) -> RawHttp {
    let mut http = RawHttp::connect(url).await;
    let headers = [&[("Accept", "text/event-stream, application/json")], headers].concat();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    http.request(method, url, &headers, body).await;
    let head = http.head().await;
    assert_eq!(head.header("content-type"), Some("text/event-stream"), "{head:?}");
    assert_eq!(head.header("x-accel-buffering"), Some("no"), "{head:?}");
    http
}

#[tokio::test]
async fn all_of_them() {
    let script = json!({
        "tools": ["slow"], "on": { "tools/call": [{ "progress": 1 }, { "await": "end" }, { "usual": true }] },
    });
    let stage = Stage::of(&["sl"], script).await;
    let url = stage.proxy.url("/mcp/sl");
    let client = crate::support::Modern::new(&url);
    let request = |id: u64, method: &str, params: Value| {
        let params = client.with_meta(params);
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
    };
    let headers = |method, name| {
        let mut headers = vec![
            ("Content-Type", "application/json"),
            ("MCP-Protocol-Version", "2026-07-28"),
            ("Mcp-Method", method),
        ];
        headers.extend(name);
        headers
    };
    let call = request(1, "tools/call", json!({ "name": "slow", "_meta": { "progressToken": 1 } }));
    let call_headers = headers("tools/call", Some(("Mcp-Name", "slow")));
    let listen = request(2, "subscriptions/listen", json!({ "notifications": {} }));
    let listen_headers = headers("subscriptions/listen", None);
    let legacy = crate::support::Legacy::connect(&url, "2025-11-25").await;
    let session = legacy.session.clone().expect("a session");
    let session_headers =
        [("Mcp-Session-Id", session.as_str()), ("MCP-Protocol-Version", "2025-11-25")];
    let streams = [
        opened("POST", &url, &call_headers, &call).await,
        opened("POST", &url, &listen_headers, &listen).await,
        opened("GET", &url, &session_headers, &Value::Null).await,
        opened("GET", &stage.proxy.url("/sse/sl"), &[], &Value::Null).await,
    ];
    let alive = streams.map(|mut stream| async move {
        while stream.next_frame_within(BOUND).await.comments.is_empty() {}
    });
    let [one, two, three, four] = alive;
    tokio::join!(one, two, three, four);
    stage.upstream("sl").release("end");
}
