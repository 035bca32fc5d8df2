//! MCP 2026-07-28 basic/transports/streamable-http, "Sending Messages": clients send requests and
//! notifications. A response is refused, whatever it would answer, and reaches no upstream.

use crate::stage::Stage;
use crate::support::RawHttp;
use serde_json::{Value, json};

#[tokio::test]
async fn it_is_refused() {
    let stage = Stage::with(json!({ "tools": ["t"] })).await;
    let headers = [
        ("Accept", "application/json, text/event-stream"),
        ("Content-Type", "application/json"),
        ("MCP-Protocol-Version", "2026-07-28"),
    ];
    for case in stage.cases().iter().filter(|case| case.era == "modern") {
        for outcome in [
            json!({ "result": {} }),
            json!({ "result": { "action": "accept", "content": {} } }),
            json!({ "error": { "code": -32000, "message": "m" } }),
        ] {
            let mut message = json!({ "jsonrpc": "2.0", "id": 1 });
            let members = outcome.as_object().expect("an outcome").clone();
            message.as_object_mut().expect("a message").extend(members);
            let reply = RawHttp::once("POST", &case.url(), &headers, message.to_string()).await;
            assert_eq!(reply.status(), 400, "{case}: {message}");
            let body: Value = serde_json::from_slice(&reply.body).expect("json");
            assert_eq!(body["error"]["code"], -32600, "{case}: {body}");
        }
        let params = json!({ "name": case.name("t") });
        case.client().await.request("tools/call", params).await.result();
        for text in case.upstream.received() {
            let message: Value = serde_json::from_str(&text).unwrap_or_default();
            let answers = message.get("result").or(message.get("error"));
            assert_eq!(answers, None, "{case}: the upstream asked nothing");
        }
    }
}

#[tokio::test]
async fn nor_do_we_to_a_modern_server_that_asks_like_an_old_one() {
    let ask =
        ["ping", "roots/list", "elicitation/create", "no/such"].map(|m| json!({ "ask": [m, {}] }));
    let steps = [ask.to_vec(), vec![json!({ "usual": true })]].concat();
    let script = json!({ "tools": ["t", "asks"], "on": { "tools/call:asks": steps } });
    let stage = Stage::of(&["sm", "hm"], script).await;
    for case in stage.cases() {
        let client = case.client().await;
        for tool in ["asks", "t", "asks", "t"] {
            let params = json!({ "name": case.name(tool), "arguments": {} });
            client.request("tools/call", params).await.result();
        }
    }
    for kind in ["sm", "hm"] {
        for text in stage.upstream(kind).received() {
            let message: Value = serde_json::from_str(&text).unwrap_or_default();
            assert!(message.get("method").is_some(), "{kind}: {message}");
        }
    }
}
