//! A legacy server asks something in the middle of a call: the client that made the call gets the
//! question on the call's own stream, with an id of ours, and its answer goes back.

use crate::stage::{Case, Client, Stage};
use crate::support::{Incoming, Legacy};
use serde_json::{Value, json};

fn able() -> Value {
    json!({ "sampling": {}, "elicitation": {}, "roots": {} })
}

fn script() -> Value {
    let form = json!({ "message": "Your name?", "requestedSchema": { "type": "object", "properties": {} } });
    let url = json!({ "mode": "url", "elicitationId": "e", "url": "https://x", "message": "Go" });
    let with = |member: &str, value: Value| {
        let mut params = json!({ "messages": [], "maxTokens": 5 });
        params[member] = value;
        json!([{ "ask": ["sampling/createMessage", params] }, { "await": "answered" }, { "usual": true }])
    };
    json!({ "tools": ["form", "sample", "plain", "url", "tools", "context", "roots"], "on": {
        "tools/call:url": [{ "ask": ["elicitation/create", url] }, { "await": "answered" }, { "usual": true }],
        "tools/call:roots": [{ "ask": ["roots/list", {}] }, { "await": "answered" }, { "usual": true }],
        "tools/call:tools": with("tools", json!([])),
        "tools/call:context": with("includeContext", json!("thisServer")),
        "tools/call:form": [{ "ask": ["elicitation/create", form] }, { "await": "answered" }, { "usual": true }],
        "tools/call:sample": [
            { "ask": ["sampling/createMessage", { "messages": [], "maxTokens": 5, "x": 1.0e0 }] },
            { "await": "answered" }, { "usual": true },
        ],
    }})
}

async fn call(client: &Legacy, tool: &str) -> Incoming {
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

fn url(id: &str) -> Value {
    json!({ "mode": "url", "elicitationId": id, "url": "https://example.org/", "message": "Go" })
}

fn over(id: &str, n: u32) -> Value {
    let news = json!({ "elicitationId": id, "n": n });
    json!([{ "notify": ["notifications/elicitation/complete", news] }, { "usual": true }])
}

/// Whoever listens hears of a change, and knows by it that nothing else has come before.
async fn nothing_else(case: &Case<'_>, caller: &Legacy, streams: &mut [&mut Incoming]) {
    caller.request("tools/call", json!({ "name": case.name("change") })).await.result();
    for stream in streams {
        let next = stream.next().await.expect("a notification");
        assert_eq!(next["method"], "notifications/tools/list_changed", "{case}");
    }
}

#[tokio::test]
async fn the_end_of_an_elicitation_by_url_is_told_to_who_was_given_it_and_to_nobody_else() {
    let error =
        json!({ "code": -32042, "message": "Go", "data": { "elicitations": [url("e-2")] } });
    let script = json!({
        "tools": ["visit", "first", "over1", "over2", "over3", "change"],
        "on": {
            "tools/call:visit": [{ "ask": ["elicitation/create", url("e-1")] }, { "await": "answered" }, { "usual": true }],
            "tools/call:first": [{ "error": error }],
            "tools/call:over1": over("e-1", 1),
            "tools/call:over2": over("e-2", 2),
            "tools/call:over3": over("e-3", 3),
            "tools/call:change": [{ "notify": ["notifications/tools/list_changed", {}] }, { "usual": true }],
        },
    });
    let stage = Stage::of(&["sl", "hl"], script).await;
    for case in stage.cases().iter().filter(|case| case.era == "legacy") {
        let able = || json!({ "elicitation": { "form": {}, "url": {} } });
        let ada = Legacy::connect_with(&case.url(), "2025-11-25", able()).await;
        let bob = Legacy::connect_with(&case.url(), "2025-11-25", able()).await;
        let (mut adas, mut bobs) = (ada.get_stream().await, bob.get_stream().await);
        let finish = async |tool| {
            bob.request("tools/call", json!({ "name": case.name(tool) })).await.result();
        };
        let mut stream = call(&ada, &case.name("visit")).await;
        let question = stream.next().await.expect("a question");
        assert_eq!(question["params"]["elicitationId"], "e-1", "{case}");
        ada.respond(&question["id"], json!({ "action": "accept" })).await;
        case.upstream.release("answered");
        stream.finish().await.result();
        let first = ada.request("tools/call", json!({ "name": case.name("first") })).await;
        assert_eq!(first.error_code(), -32042, "{case}");
        for (tool, id, n) in [("over1", "e-1", 1), ("over2", "e-2", 2)] {
            finish(tool).await;
            let told = adas.next().await.expect("news");
            assert_eq!(told["method"], "notifications/elicitation/complete", "{case}");
            assert_eq!(told["params"], json!({ "elicitationId": id, "n": n }), "{case}");
        }
        for tool in ["over1", "over2", "over3"] {
            finish(tool).await; // it was told before, or was never begun
        }
        nothing_else(case, &bob, &mut [&mut adas, &mut bobs]).await;
        case.upstream.shut("answered");
    }
}

/// 2025-11-25 client/elicitation and client/roots, "Error Handling"; schema, `tools` of sampling.
#[tokio::test]
async fn what_was_not_declared_is_declined_with_the_code_of_its_page() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    let forms = json!({ "elicitation": {}, "sampling": {} });
    let urls = json!({ "elicitation": { "url": {} } });
    for case in stage.cases().iter().filter(|case| case.era == "legacy") {
        for (declared, tool, why, code) in [
            (&forms, "url", "cannot be sent to a url", -32602),
            (&urls, "form", "cannot fill in forms", -32602),
            (&forms, "tools", "cannot be sampled with tools", -32602),
            (&urls, "sample", "cannot be sampled", -32601),
            (&forms, "roots", "no roots", -32601),
        ] {
            let client = Legacy::connect_with(&case.url(), "2025-11-25", declared.clone()).await;
            let name = case.name(tool);
            let is_error = |text: &&String| text.contains("\"error\"");
            let before = case.upstream.received().iter().filter(is_error).count();
            let declined = async {
                let more = |all: &[String]| all.iter().filter(is_error).count() > before;
                case.upstream.until("an error", more).await;
                case.upstream.release("answered");
                case.upstream.last_with("\"error\"")
            };
            let (stream, declined) = tokio::join!(call(&client, &name), declined);
            let declined: Value = serde_json::from_str(&declined).expect("json");
            assert_eq!(declined["error"]["code"], code, "{case}, {tool}: {declined}");
            assert!(declined["error"]["message"].to_string().contains(why), "{case}: {declined}");
            assert_eq!(stream.finish().await.messages.len(), 1, "{case}: nothing but the answer");
            case.upstream.shut("answered");
        }
    }
}

/// 2025-11-25 client/sampling, "Capabilities": the connection is shared, and says that there may be
/// somebody who includes context; who has not declared that is not asked to.
#[tokio::test]
async fn context_is_only_asked_of_who_has_declared_it() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    for case in stage.cases().iter().filter(|case| case.era == "legacy") {
        for (sampling, expected) in
            [(json!({}), Value::Null), (json!({ "context": {} }), json!("thisServer"))]
        {
            let declared = json!({ "sampling": sampling });
            let client = Legacy::connect_with(&case.url(), "2025-11-25", declared).await;
            let mut stream = call(&client, &case.name("context")).await;
            let question = stream.next().await.expect("a question");
            assert_eq!(question["method"], "sampling/createMessage", "{case}");
            assert_eq!(question["params"]["includeContext"], expected, "{case}");
            case.upstream.release("answered");
            let all = stream.finish().await.messages;
            assert!(all.last().expect("the answer")["result"].is_object(), "{case}: {all:?}");
            case.upstream.shut("answered");
        }
    }
}
