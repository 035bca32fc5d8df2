//! Progress reaches the client while the upstream is still at work, in order, with the client's
//! own token, and never goes back.

use crate::stage::{Stage, progress};
use serde_json::json;

#[tokio::test]
async fn each_before_the_next_is_even_sent() {
    let stage = Stage::with(json!({ "tools": ["work"], "on": { "tools/call:work": [
        progress(1, "first"), { "await": "one" }, progress("1.5", "second"), { "await": "two" },
        progress(1, "goes back"), progress("1.5", "stays"), progress("2e0", "third"),
        { "usual": true },
    ]}}))
    .await;
    for (at, case) in stage.cases().iter().enumerate() {
        let client = case.client().await;
        let token = if at % 2 == 0 { json!("tök\n") } else { json!(-3) };
        let params = json!({ "name": case.name("work"), "_meta": { "progressToken": token } });
        let mut call = client.open("tools/call", params).await;
        assert_eq!(call.head.header("content-type"), Some("text/event-stream"), "{case}");
        let mut seen = Vec::new();
        for gate in ["one", "two"] {
            let message = call.next().await.expect("progress");
            assert_eq!(message["params"]["progressToken"], token, "{case}");
            seen.push(message["params"]["message"].clone());
            case.upstream.reached(gate).await;
            case.upstream.release(gate);
        }
        let reply = call.finish().await;
        seen.extend(
            reply.notifications("notifications/progress")[2..].iter().map(|p| p["message"].clone()),
        );
        assert_eq!(seen, ["first", "second", "third"], "{case}");
        assert!(reply.texts[2].contains(r#""progress":2e0"#), "as the upstream wrote it");
        assert_eq!(reply.result()["content"][0]["text"], "called work", "{case}");
        case.upstream.shut("one");
        case.upstream.shut("two");
    }
}

#[tokio::test]
async fn who_did_not_ask_gets_none() {
    let lies = json!({ "line": r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$id,"progress":1}}"# });
    let stage = Stage::with(
        json!({ "tools": ["work"], "on": { "tools/call:work": [lies, { "usual": true }] } }),
    )
    .await;
    for case in stage.cases() {
        let client = case.client().await;
        let reply = client.request("tools/call", json!({ "name": case.name("work") })).await;
        assert_eq!(reply.messages.len(), 1, "{case}: {reply:?}");
        assert_eq!(reply.result()["content"][0]["text"], "called work", "{case}");
    }
}
