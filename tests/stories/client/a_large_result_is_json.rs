//! A result that comes alone is one JSON body, however large; notifications before it make the
//! answer a stream. Either way every byte of it arrives.

use crate::stage::{Stage, progress};
use serde_json::json;

#[tokio::test]
async fn a_mebibyte_alone_and_after_progress() {
    let text = "0123456789abcdef".repeat(1 << 16);
    let result =
        format!(r#"{{"content":[{{"type":"text","text":"{text}"}}],"resultType":"complete"}}"#);
    let stage = Stage::with(json!({ "tools": ["large", "loud"], "on": {
        "tools/call:large": [{ "resultText": result }],
        "tools/call:loud": [progress(1, "here it comes"), { "resultText": result }],
    }}))
    .await;
    for case in stage.cases().iter().filter(|case| !case.aggregate) {
        let client = case.client().await;
        let meta = json!({ "progressToken": "t" });
        let large = json!({ "name": case.name("large"), "_meta": meta });
        let reply = client.request("tools/call", large).await;
        assert_eq!(reply.headers.header("content-type"), Some("application/json"), "{case}");
        assert_eq!(reply.messages.len(), 1, "{case}");
        assert!(reply.result()["content"][0]["text"] == text, "{case}: every byte of it");

        let loud = json!({ "name": case.name("loud"), "_meta": meta });
        let reply = client.request("tools/call", loud).await;
        assert_eq!(reply.headers.header("content-type"), Some("text/event-stream"), "{case}");
        assert_eq!(reply.messages.len(), 2, "{case}");
        assert!(reply.result()["content"][0]["text"] == text, "{case}: every byte of it");
        assert!(reply.texts[1].contains(&result), "{case}: as it was written");
    }
}

#[tokio::test]
async fn so_is_a_large_request() {
    let text = "é\\u0041".repeat(1 << 14);
    let stage = Stage::with(json!({ "tools": ["echo"] })).await;
    for case in stage.cases() {
        let client = case.client().await;
        let arguments = json!({ "text": text });
        let written = arguments.to_string();
        let params = json!({ "name": case.name("echo"), "arguments": arguments });
        let reply = client.request("tools/call", params).await;
        let echoed = reply.result()["content"][0]["text"].as_str().expect("a text");
        assert!(echoed == written, "{case}: every byte of it");
    }
}
