//! MCP 2026-07-28 basic, "Result Type": a result without one is complete, one of a kind that we do
//! not know is no result. The legacy era has no such word.

use crate::stage::Stage;
use serde_json::{Value, json};

fn script(result: Value) -> Value {
    let answer = |result: &Value| json!([{ "resultText": result.to_string() }]);
    json!({ "tools": ["t"], "resources": ["mem:a"], "on": { "tools/call": answer(&result) } })
}

#[tokio::test]
async fn absent_is_complete() {
    let stage = Stage::with(script(json!({ "content": [] }))).await;
    for case in stage.cases() {
        let params = json!({ "name": case.name("t") });
        let reply = case.client().await.request("tools/call", params).await;
        let kind = reply.result().get("resultType");
        // what a modern upstream leaves out a modern client reads as complete
        let expected = (case.era, case.upstream_era()) == ("modern", "legacy");
        assert_eq!(kind, expected.then_some(&json!("complete")), "{case}");
    }
}

#[tokio::test]
async fn an_unknown_one_is_an_error() {
    let stage = Stage::with(script(json!({ "content": [], "resultType": "later" }))).await;
    for case in stage.cases() {
        let params = json!({ "name": case.name("t") });
        let reply = case.client().await.request("tools/call", params).await;
        match (case.era, case.upstream_era()) {
            (_, "modern") => {
                assert_eq!(reply.error_code(), -32603, "{case}: {:?}", reply.texts);
            }
            ("modern", _) => assert_eq!(reply.result()["resultType"], "complete", "{case}"),
            _ => assert_eq!(reply.result()["resultType"], "later", "{case}: a word like another"),
        }
    }
}
