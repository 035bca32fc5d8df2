//! MCP 2024-11-05 basic/transports, "HTTP with SSE": an old client gets one stream, posts beside
//! it, and has everything that a session has.

use crate::stage::{Stage, progress};
use crate::support::{Event, Legacy, RawHttp, Sse};
use serde_json::{Value, json};

fn script() -> Value {
    let question = json!({ "messages": [], "maxTokens": 5 });
    json!({ "tools": ["steps", "asks", "waits", "grow"], "on": {
        "tools/call:steps": [progress(1, "one"), progress(2, "two"), { "usual": true }],
        "tools/call:asks": [
            { "ask": ["sampling/createMessage", question] }, { "await": "answered" }, { "usual": true },
        ],
        "tools/call:waits": [progress(1, "begun"), { "await": "never" }, { "usual": true }],
        "tools/call:grow": [{ "notify": ["notifications/tools/list_changed", null] }, { "usual": true }],
    }})
}

fn call(name: &str) -> Value {
    json!({ "name": name, "_meta": { "progressToken": "t" } })
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {answer}"))
}

#[tokio::test]
async fn everything_comes_on_the_one_stream() {
    let stage = Stage::with(script()).await;
    let slugs: Vec<String> = crate::stage::KINDS.iter().map(|kind| format!("/{kind}")).collect();
    for slug in ["", "/"].into_iter().chain(slugs.iter().map(String::as_str)) {
        let url = stage.proxy.url(&format!("/sse{slug}"));
        for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
            let mut client = Sse::connect(&url, revision, json!({})).await;
            assert_eq!(client.initialized["protocolVersion"], revision);
            let listed = client.request(&json!(1), "tools/list", json!({})).await;
            let tools = listed["result"]["tools"].as_array().expect("tools").clone();
            let named = |tool: &&Value| tool["name"].as_str().expect("a name").ends_with("steps");
            let tool =
                tools.iter().find(named).expect("the tool")["name"].as_str().expect("a name");
            client.send(&json!("two"), "tools/call", call(tool)).await;
            for progress in [1, 2] {
                let message = client.next().await.expect("progress");
                assert_eq!(message["params"]["progress"], progress, "{slug} {revision}: {message}");
            }
            let event = client.event().await.expect("the answer");
            let data = event.data.clone().expect("data");
            assert_eq!(
                event,
                Event {
                    event: Some("message".into()),
                    data: event.data.clone(),
                    ..Event::default()
                }
            );
            let answer: Value = serde_json::from_str(&data).expect("JSON");
            assert_eq!((&answer["id"], text(&answer)), (&json!("two"), "called steps"));
            assert_eq!(client.request(&json!(3), "ping", json!({})).await["result"], json!({}));
        }
    }
}

#[tokio::test]
async fn equal_ids_of_two_clients_are_two_requests() {
    let stage = Stage::of(&["sl"], script()).await;
    let url = stage.proxy.url("/sse/sl");
    let mut one = Sse::connect(&url, "2024-11-05", json!({})).await;
    let mut two = Sse::connect(&url, "2024-11-05", json!({})).await;
    assert_ne!(one.post_url, two.post_url);
    let id = one.post_url.split_once("sessionId=").expect("an id").1;
    assert!(id.len() >= 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    one.send(&json!(1), "tools/call", json!({ "name": "waits" })).await;
    let answer = two.request(&json!(1), "tools/call", json!({ "name": "grow" })).await;
    let changed = "notifications/tools/list_changed";
    let (answer, notice) = match answer.get("method") {
        Some(_) => (two.next().await.expect("the answer"), answer),
        None => (answer, two.next().await.expect("the announcement")),
    };
    assert_eq!((text(&answer), &notice["method"]), ("called grow", &json!(changed)));
    assert_eq!(one.next().await.expect("the announcement")["method"], changed);
    stage.upstream("sl").release("never");
    assert_eq!(text(&one.next().await.expect("the answer")), "called waits");
}

#[tokio::test]
async fn a_question_comes_on_the_stream_and_its_answer_is_posted() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    for kind in ["sl", "hl"] {
        let upstream = stage.upstream(kind);
        let url = stage.proxy.url(&format!("/sse/{kind}"));
        let mut client = Sse::connect(&url, "2024-11-05", json!({ "sampling": {} })).await;
        let question = client.request(&json!(1), "tools/call", json!({ "name": "asks" })).await;
        assert_eq!(question["method"], "sampling/createMessage", "{question}");
        let result = json!({ "role": "assistant", "model": kind, "content": { "type": "text", "text": "so" } });
        client.say(json!({ "jsonrpc": "2.0", "id": question["id"], "result": result })).await;
        upstream.wait_for(&format!(r#""model":"{kind}""#)).await;
        upstream.release("answered");
        assert_eq!(text(&client.next().await.expect("the answer")), "called asks");
    }
}

#[tokio::test]
async fn the_end_of_the_stream_ends_the_session_and_what_is_under_way() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    for kind in ["sl", "hl"] {
        let url = stage.proxy.url(&format!("/sse/{kind}"));
        let mut client = Sse::connect(&url, "2024-11-05", json!({})).await;
        client.request(&json!(1), "tools/call", call("waits")).await;
        let theirs = stage.upstream(kind).received_of("tools/call")[0]["id"].clone();
        let post_url = client.post_url.clone();
        drop(client);
        stage.upstream(kind).wait_for(&format!(r#""requestId":{theirs},"#)).await;
        Sse::is_gone(&post_url).await;
    }
}

#[tokio::test]
async fn a_request_is_cancelled_by_its_id() {
    let stage = Stage::of(&["sl"], script()).await;
    let mut client = Sse::connect(&stage.proxy.url("/sse/sl"), "2024-11-05", json!({})).await;
    client.request(&json!("it"), "tools/call", call("waits")).await;
    let cancelled = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "it" } });
    client.say(cancelled).await;
    stage.upstream("sl").wait_for("notifications/cancelled").await;
    let after = client.request(&json!("next"), "ping", json!({})).await;
    assert_eq!(after["id"], "next", "a cancelled request has no answer: {after}");
}

#[tokio::test]
async fn a_session_begins_once() {
    let stage = Stage::of(&["sl"], script()).await;
    let mut client = Sse::open(&stage.proxy.url("/sse/sl")).await;
    assert_eq!(client.request(&json!(0), "ping", json!({})).await["result"], json!({}));
    let early = client.request(&json!(1), "tools/list", json!({})).await;
    assert_eq!((&early["id"], &early["error"]["code"]), (&json!(1), &json!(-32600)), "{early}");
    let hello = json!({ "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" } });
    let bad = client.request(&json!(2), "initialize", json!({})).await;
    assert!(bad["error"]["code"].is_i64(), "{bad}");
    assert!(client.request(&json!(3), "initialize", hello.clone()).await["result"].is_object());
    let again = client.request(&json!(4), "initialize", hello).await;
    assert_eq!((&again["id"], &again["error"]["code"]), (&json!(4), &json!(-32600)), "{again}");
    assert!(client.request(&json!(5), "tools/list", json!({})).await["result"].is_object());
}

#[tokio::test]
async fn batches_exist_in_their_revision_only() {
    let stage = Stage::of(&["sl"], script()).await;
    let batch = json!([
        { "jsonrpc": "2.0", "id": 1, "method": "ping" },
        { "jsonrpc": "2.0", "method": "notifications/initialized" },
        { "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "steps" } },
    ]);
    for revision in ["2024-11-05", "2025-03-26", "2025-11-25"] {
        let mut client = Sse::connect(&stage.proxy.url("/sse/sl"), revision, json!({})).await;
        let status = client.post(&batch.to_string()).await.status();
        assert_eq!(status, if revision == "2025-03-26" { 202 } else { 400 }, "{revision}");
        if status == 202 {
            let answers = client.next().await.expect("the answers");
            assert_eq!(answers.as_array().map(Vec::len), Some(2), "{answers}");
        }
    }
}

/// What clients do that try the newer transport first (2025-03-26 basic/transports, "Backwards
/// Compatibility").
#[tokio::test]
async fn who_tries_the_newer_transport_there_is_told_to_fall_back() {
    let stage = Stage::of(&["sl"], script()).await;
    let json = ("Content-Type", "application/json");
    let response = RawHttp::once("POST", &stage.proxy.url("/sse/sl"), &[json], "{}").await;
    assert_eq!((response.status(), response.head.header("allow")), (405, Some("GET")));
    let client = Legacy::connect(&stage.proxy.url("/mcp/sl"), "2024-11-05").await;
    assert_eq!(client.revision, "2024-11-05", "and the other way round it works, too");
}
