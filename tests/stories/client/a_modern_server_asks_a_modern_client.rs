//! A modern server asks by the end of a request; its state becomes ours on the way to the client,
//! and its own again on the way back, byte for byte. A legacy server that wants a URL to be opened
//! asks the same way.

use crate::stage::{Case, Client, Stage};
use crate::support::{Modern, Reply};
use serde_json::{Value, json};

/// Every escape here has a shorter form.
const STATE: &str = r#""\u0073tate \/ \"x\" \ud83d\ude00 \ud800""#;

fn script() -> Value {
    let form =
        r#"{"message":"Your name?","requestedSchema":{"type":"object","properties":{}},"n":1.0e0}"#;
    let ask = format!(
        r#"{{"resultType":"input_required","inputRequests":{{"a b":{{"params":{form},"method":"elicitation/create"}}}},"requestState":{STATE},"x":[ 1]}}"#
    );
    let stateless = ask.replace(&format!(r#""requestState":{STATE},"#), "");
    let state_alone = format!(r#"{{"resultType":"input_required","requestState":{STATE}}}"#);
    let url = json!({ "mode": "url", "elicitationId": "e", "url": "https://a.example/b?c", "message": "Go there" });
    let large = json!({ "resultType": "input_required", "requestState": "x".repeat(70_000) });
    json!({
        "tools": ["ask", "stateless", "later", "large", "url", "other"],
        "prompts": ["ask"], "resources": ["a:ask"],
        "on": {
            "tools/call:ask": [{ "resultText": ask }],
            "prompts/get:ask": [{ "resultText": ask }],
            "resources/read:a:ask": [{ "resultText": ask }],
            "tools/call:stateless": [{ "resultText": stateless }],
            "tools/call:later": [{ "resultText": state_alone }],
            "tools/call:large": [{ "result": large }],
            "tools/call:url": [{ "error": { "code": -32042, "message": "m", "data": { "elicitations": [url] } } }],
        },
    })
}

async fn client(case: &Case<'_>) -> Option<Modern> {
    let Client::Modern(mut client) = case.client().await else { return None };
    client.capabilities = json!({ "elicitation": { "form": {}, "url": {} } });
    Some(client)
}

fn state(reply: &Reply) -> &str {
    assert_eq!(reply.result()["resultType"], "input_required", "{reply:?}");
    reply.result()["requestState"].as_str().expect("a state")
}

#[tokio::test]
async fn the_state_of_a_server_comes_back_to_it_byte_for_byte_and_nothing_else_changes() {
    let stage = Stage::of(&["sm", "hm"], script()).await;
    for case in stage.cases() {
        let Some(client) = client(&case).await else { continue };
        let requests = [
            ("tools/call", json!({ "name": case.name("ask"), "arguments": { "a": 1 } })),
            ("prompts/get", json!({ "name": case.name("ask") })),
            ("resources/read", json!({ "uri": case.uri("a:ask") })),
        ];
        for (method, request) in requests {
            let asked = client.request(method, request.clone()).await;
            let text = &asked.texts[0];
            assert!(
                !text.contains("tate \\/") && !state(&asked).contains("tate"),
                "{case}: {text}"
            );
            assert!(
                text.contains(r#""n":1.0e0}"#) && text.contains(r#""x":[ 1]"#),
                "{case}: {text}"
            );
            let message = &asked.result()["inputRequests"]["a b"]["params"]["message"];
            let shown = if case.aggregate {
                format!("[{}] Your name?", case.kind)
            } else {
                "Your name?".into()
            };
            assert_eq!(*message, shown, "{case}");
            let mut again = request.clone();
            again["requestState"] = json!(state(&asked));
            let answer = format!("{case} {method}");
            again["inputResponses"] = json!({ "a b": { "action": "decline", "why": answer } });
            client.request(method, again).await;
            let received = case.upstream.last_with(&answer);
            assert!(received.contains(&format!(r#""requestState":{STATE}"#)), "{case}: {received}");
        }
    }
}

#[tokio::test]
async fn a_server_without_a_state_gets_none_and_one_with_nothing_but_a_state_gets_it() {
    let stage = Stage::of(&["sm", "hm"], script()).await;
    for case in stage.cases() {
        let Some(client) = client(&case).await else { continue };
        let asked = client.request("tools/call", json!({ "name": case.name("stateless") })).await;
        assert!(asked.result().get("requestState").is_none(), "{case}: {asked:?}");
        let answers = json!({ "a b": { "action": "cancel", "why": case.to_string() } });
        let again = json!({ "name": case.name("stateless"), "inputResponses": answers });
        client.request("tools/call", again).await;
        let received = case.upstream.last_with(&case.to_string());
        assert!(!received.contains("requestState"), "{case}: {received}");
        let later = json!({ "name": case.name("later"), "arguments": { "of": case.to_string() } });
        let asked = client.request("tools/call", later.clone()).await;
        let mut again = later;
        again["requestState"] = json!(state(&asked));
        client.request("tools/call", again).await;
        let received = case.upstream.last_with(&format!(r#""of":"{case}""#));
        assert!(received.contains(&format!(r#""requestState":{STATE}"#)), "{case}: {received}");
    }
}

#[tokio::test]
async fn a_state_is_for_the_request_it_was_given_for() {
    let stage = Stage::of(&["sm", "hm"], script()).await;
    for case in stage.cases() {
        let Some(client) = client(&case).await else { continue };
        let request = json!({ "name": case.name("ask"), "arguments": { "a": 1 } });
        let asked = client.request("tools/call", request.clone()).await;
        let prompted = client.request("prompts/get", request.clone()).await;
        let elsewhere = if case.kind == "sm" { "hm" } else { "sm" };
        let before = [case.kind, elsewhere].map(|kind| stage.upstream(kind).received().len());
        let mut others = vec![
            json!({ "name": case.name("other"), "arguments": { "a": 1 } }),
            json!({ "name": case.name("ask"), "arguments": { "a": 2 } }),
            json!({ "name": case.name("ask") }),
        ];
        if case.aggregate {
            others.push(json!({ "name": format!("{elsewhere}__ask"), "arguments": { "a": 1 } }));
        }
        for mut other in others {
            other["requestState"] = json!(state(&asked));
            let refused = client.request("tools/call", other).await;
            assert_eq!(refused.error_code(), -32602, "{case}: {refused:?}");
        }
        let mut other = request.clone();
        other["requestState"] = json!(state(&prompted));
        let refused = client.request("tools/call", other).await;
        assert_eq!(refused.error_code(), -32602, "{case}: of another method: {refused:?}");
        let mut raw = request.clone();
        raw["requestState"] = json!("state of a server");
        assert_eq!(client.request("tools/call", raw).await.error_code(), -32602, "{case}");
        let after = [case.kind, elsewhere].map(|kind| stage.upstream(kind).received().len());
        assert_eq!(before, after, "{case}: nothing was sent");
    }
}

#[tokio::test]
async fn what_a_client_has_not_declared_is_not_asked_and_no_state_is_too_large() {
    let stage = Stage::of(&["sm", "hm"], script()).await;
    for case in stage.cases() {
        let Client::Modern(client) = case.client().await else { continue };
        for tool in ["ask", "large"] {
            let refused = client.request("tools/call", json!({ "name": case.name(tool) })).await;
            let code = if tool == "ask" { -32021 } else { -32603 };
            assert_eq!(refused.error_code(), code, "{case}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn a_legacy_server_that_wants_a_url_to_be_opened_is_called_again_when_it_was() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    for case in stage.cases() {
        let Some(mut client) = client(&case).await else { continue };
        let request = json!({ "name": case.name("url"), "arguments": { "of": case.to_string() } });
        let asked = client.request("tools/call", request.clone()).await;
        let entry = &asked.result()["inputRequests"]["u1"];
        assert_eq!(entry["method"], "elicitation/create", "{case}");
        assert_eq!(entry["params"]["url"], "https://a.example/b?c", "{case}");
        assert!(entry["params"].get("elicitationId").is_none(), "{case}: {entry}");
        let count = || case.upstream.received_of("tools/call").len();
        let before = count();
        let mut again = request.clone();
        again["requestState"] = json!(state(&asked));
        again["inputResponses"] = json!({ "u1": { "action": "decline" } });
        let declined = client.request("tools/call", again.clone()).await;
        for wrong in [json!({ "action": "perhaps" }), json!("accept"), Value::Null] {
            let mut wrongly = again.clone();
            wrongly["inputResponses"] = json!({ "u1": wrong });
            let refused = client.request("tools/call", wrongly).await;
            assert_eq!((refused.error_code(), count()), (-32602, before), "{case}: {refused:?}");
        }
        assert_eq!((declined.error_code(), count()), (-32603, before), "{case}");
        again["inputResponses"] = json!({ "u1": { "action": "accept" } });
        assert!(!state(&client.request("tools/call", again).await).is_empty(), "{case}");
        assert_eq!(count(), before + 1, "{case}");
        let received = case.upstream.last_with(&format!(r#""of":"{case}""#));
        assert!(!received.contains("requestState"), "{case}: {received}");
        assert!(!received.contains("inputResponses"), "{case}: {received}");
        client.capabilities = json!({ "elicitation": {} });
        let refused = client.request("tools/call", request).await;
        assert_eq!((refused.status, refused.error_code()), (400, -32021), "{case}");
        let data = &refused.error()["data"];
        assert_eq!(data, &json!({ "requiredCapabilities": { "elicitation": { "url": {} } } }));
    }
}
