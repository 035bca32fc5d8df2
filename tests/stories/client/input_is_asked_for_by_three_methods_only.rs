//! MCP 2026-07-28 basic/patterns/mrtr: only tools/call, prompts/get and resources/read may be answered
//! with `input_required`. On any other method it is no result, and is not relayed as one.

use crate::stage::{Client, Stage};
use serde_json::{Value, json};

const ASKS: &str = r#"{"resultType":"input_required","requestState":"s"}"#;

fn script() -> Value {
    let asks = json!([{ "resultText": ASKS }]);
    json!({
        "tools": ["t"], "prompts": ["p"], "resources": ["mem:a"],
        "on": {
            "tools/call": asks, "prompts/get": asks, "resources/read": asks,
            "completion/complete": asks,
        },
    })
}

#[tokio::test]
async fn others_fail() {
    let stage = Stage::of(&["sm", "hm"], script()).await;
    for case in stage.cases() {
        let client = case.client().await;
        if let Client::Modern(client) = &client {
            for (method, params) in [
                ("tools/call", json!({ "name": case.name("t") })),
                ("prompts/get", json!({ "name": case.name("p") })),
                ("resources/read", json!({ "uri": case.uri("mem:a") })),
            ] {
                let reply = client.request(method, params).await;
                assert_eq!(reply.result()["resultType"], "input_required", "{case}: {method}");
            }
        }
        let reference = json!({ "type": "ref/prompt", "name": case.name("p") });
        let params = json!({ "ref": reference, "argument": { "name": "a", "value": "" } });
        let reply = client.request("completion/complete", params).await;
        assert_eq!(reply.error_code(), -32603, "{case}: {:?}", reply.texts);
    }
}

/// A list that is asked for input is no list.
#[tokio::test]
async fn lists_are_not_there() {
    let on = json!({ "tools/list": [{ "resultText": ASKS }] });
    let stage = Stage::of(&["sm", "hm"], json!({ "prompts": ["p"], "on": on })).await;
    for case in stage.cases().iter().filter(|case| !case.aggregate) {
        let reply = case.client().await.request("tools/list", Value::Null).await;
        assert_eq!(reply.error_code(), -32603, "{case}: {:?}", reply.texts);
    }
}
