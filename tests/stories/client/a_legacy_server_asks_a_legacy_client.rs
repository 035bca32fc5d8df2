//! A legacy server asks something in the middle of a call: the client that made the call gets the
//! question on the call's own stream, with an id of ours, and its answer goes back.

use crate::stage::{Client, Stage};
use crate::support::Legacy;
use serde_json::{Value, json};

fn able() -> Value {
    json!({ "sampling": {}, "elicitation": {}, "roots": {} })
}

fn script() -> Value {
    let form = json!({ "message": "Your name?", "requestedSchema": { "type": "object", "properties": {} } });
    json!({ "tools": ["form", "sample", "plain"], "on": {
        "tools/call:form": [{ "ask": ["elicitation/create", form] }, { "await": "answered" }, { "usual": true }],
        "tools/call:sample": [
            { "ask": ["sampling/createMessage", { "messages": [], "maxTokens": 5, "x": 1.0e0 }] },
            { "await": "answered" }, { "usual": true },
        ],
    }})
}

async fn call(client: &Legacy, tool: &str) -> crate::support::Incoming {
    client.open("tools/call", json!({ "name": tool })).await
}

#[tokio::test]
async fn the_question_comes_on_the_stream_of_the_call_and_the_answer_goes_back() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    for case in stage.cases() {
        let Client::Legacy(_) = case.client().await else { continue };
        let client = Legacy::connect_with(&case.url(), "2025-11-25", able()).await;
        let mut stream = call(&client, &case.name("form")).await;
        let question = stream.next().await.expect("a question");
        assert_eq!(question["method"], "elicitation/create", "{case}");
        let message = question["params"]["message"].as_str().expect("a message");
        assert!(message.ends_with("Your name?"), "{case}: {message}");
        assert_eq!(message.starts_with('['), case.aggregate, "{case}: who asks is shown on /mcp");
        assert_ne!(question["id"], json!("ask-1"), "{case}: the id is ours");
        let name = format!("Ada {case}");
        let answer = json!({ "action": "accept", "content": { "name": name } });
        assert_eq!(client.respond(&question["id"], answer.clone()).await, 202);
        let answered = case.upstream.wait_for(&format!("{name}\"")).await;
        let answered: Value = serde_json::from_str(&answered).expect("json");
        assert_eq!(answered["result"], answer);
        case.upstream.release("answered");
        assert!(stream.next().await.expect("the answer")["result"].is_object(), "{case}");
        case.upstream.shut("answered");
    }
}

#[tokio::test]
async fn who_has_not_said_that_it_can_be_asked_is_not_asked() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    for case in stage.cases() {
        let Client::Legacy(_) = case.client().await else { continue };
        let client = Legacy::connect_with(&case.url(), "2025-11-25", json!({ "roots": {} })).await;
        let told = async {
            case.upstream.reached("answered").await;
            case.upstream.wait_for("the client cannot be sampled").await;
            case.upstream.release("answered");
        };
        let name = case.name("sample");
        let (stream, ()) = tokio::join!(call(&client, &name), told);
        let reply = stream.finish().await;
        assert_eq!(reply.messages.len(), 1, "{case}: nothing but the answer");
        case.upstream.shut("answered");
    }
}
