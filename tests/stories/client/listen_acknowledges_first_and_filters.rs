//! MCP 2026-07-28 basic/patterns/subscriptions: a listen begins with what of it is honoured, then
//! brings that and nothing else, and ends with a result when we end it.

use crate::stage::Stage;
use crate::support::{Modern, RawHttp};
use serde_json::{Value, json};

const TAG: &str = "io.modelcontextprotocol/subscriptionId";
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

async fn acknowledged(url: &str, id: &Value, wanted: Value) -> Value {
    let params = json!({ "notifications": wanted });
    let mut stream = Modern::new(url).open_as(id, "subscriptions/listen", params).await;
    assert_eq!(stream.head.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.head.header("x-accel-buffering"), Some("no"));
    let first = stream.next().await.expect("an acknowledgement");
    assert_eq!(first["method"], ACKNOWLEDGED, "{first}");
    assert!(first.get("id").is_none());
    assert_eq!(first["params"]["_meta"][TAG], *id, "in the type the client chose");
    first["params"]["notifications"].clone()
}

#[tokio::test]
async fn what_can_be_honoured_and_no_more() {
    let stage = Stage::with(json!({ "resources": ["mem:a"] })).await;
    for case in stage.cases().iter().filter(|case| case.era == "modern") {
        let url = case.url();
        let all = json!({
            "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
            "resourceSubscriptions": [case.uri("mem:a")],
        });
        assert_eq!(acknowledged(&url, &json!(1), all.clone()).await, all, "{case}");
        let some =
            json!({ "toolsListChanged": true, "promptsListChanged": false, "unknown": { "x": 1 } });
        assert_eq!(
            acknowledged(&url, &json!("1"), some).await,
            json!({ "toolsListChanged": true })
        );
        assert_eq!(acknowledged(&url, &json!(-7), json!({})).await, json!({}), "{case}");
        let nobody = json!({ "resourceSubscriptions": ["mcp-nobody+mem:a"] });
        if case.aggregate {
            assert_eq!(acknowledged(&url, &json!("x y"), nobody).await, json!({}), "{case}");
        }
    }
}

#[tokio::test]
async fn what_the_upstream_cannot_do_is_left_out() {
    let stage = Stage::with(json!({ "capabilities": { "tools": {}, "resources": {} } })).await;
    for case in stage.cases().iter().filter(|case| case.era == "modern") {
        let all = json!({
            "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
            "resourceSubscriptions": [case.uri("mem:a")],
        });
        // changes of the aggregate are found by comparison, so it announces them itself
        let honoured = match case.aggregate {
            true => json!({ "toolsListChanged": true, "resourcesListChanged": true }),
            false => json!({}),
        };
        assert_eq!(acknowledged(&case.url(), &json!(1), all).await, honoured, "{case}");
    }
}

#[tokio::test]
async fn one_that_cannot_be_read_is_refused() {
    let stage = Stage::of(&["sl"], json!({})).await;
    let client = Modern::new(&stage.proxy.url("/mcp"));
    for params in [
        json!({}),
        json!({ "notifications": [] }),
        json!({ "notifications": { "toolsListChanged": "yes" } }),
        json!({ "notifications": { "resourceSubscriptions": "mem:a" } }),
        json!({ "notifications": { "resourceSubscriptions": [1] } }),
    ] {
        let reply = client.request("subscriptions/listen", params.clone()).await;
        assert_eq!(reply.error_code(), -32602, "{params}");
    }
}

#[tokio::test]
async fn it_needs_a_client_that_takes_streams() {
    let stage = Stage::of(&["sl"], json!({})).await;
    let url = stage.proxy.url("/mcp");
    let params = Modern::new(&url).with_meta(json!({ "notifications": {} }));
    let body =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params });
    let headers = [
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "subscriptions/listen"),
        ("Content-Type", "application/json"),
        ("Accept", "application/json"),
    ];
    assert_eq!(RawHttp::once("POST", &url, &headers, body.to_string()).await.status(), 406);
}

#[tokio::test]
async fn a_graceful_end_says_so() {
    let mut stage = Stage::of(&["sl"], json!({})).await;
    let client = Modern::new(&stage.proxy.url("/mcp/sl"));
    let params = json!({ "notifications": { "toolsListChanged": true } });
    let mut stream = client.open_as(&json!("end"), "subscriptions/listen", params).await;
    stream.next().await.expect("an acknowledgement");
    stage.proxy.terminate().await;
    let last = stream.next().await.expect("a result");
    assert_eq!((&last["id"], &last["result"]["resultType"]), (&json!("end"), &json!("complete")));
    assert_eq!(last["result"]["_meta"][TAG], "end");
    assert!(stream.next().await.is_none());
}
