//! Log messages reach who asked for them, from the level on that was asked for, on the stream of
//! the request they belong to. Nobody else ever sees them.

use crate::stage::{Client, Stage, progress};
use crate::support::{Legacy, Modern};
use serde_json::{Value, json};

const MESSAGE: &str = "notifications/message";
const LEVEL: &str = "io.modelcontextprotocol/logLevel";

fn log(level: &str) -> Value {
    json!({ "log": { "level": level, "logger": "l", "data": { "said": level, "n": 1.0 } } })
}

fn script() -> Value {
    json!({ "tools": ["talk", "held", "echo"], "on": {
        "tools/call:talk": [log("debug"), log("info"), log("warning"), log("emergency"), { "usual": true }],
        "tools/call:held": [progress(1, "begun"), { "await": "go" }, { "usual": true }],
    }})
}

fn levels(messages: &[&Value]) -> Vec<String> {
    messages.iter().map(|m| m["level"].as_str().expect("a level").to_owned()).collect()
}

#[tokio::test]
async fn from_the_level_on_that_was_asked_for() {
    let stage = Stage::with(script()).await;
    for case in stage.cases() {
        for (level, wanted) in [
            ("emergency", &["emergency"][..]),
            ("warning", &["warning", "emergency"]),
            ("notice", &["warning", "emergency"]),
            ("debug", &["debug", "info", "warning", "emergency"]),
            ("error", &["emergency"]),
        ] {
            let mut params = json!({ "name": case.name("talk") });
            let reply = match case.client().await {
                Client::Legacy(client) => {
                    let set = client.request("logging/setLevel", json!({ "level": level })).await;
                    assert_eq!(set.result(), &json!({}), "{case}");
                    client.request("tools/call", params).await
                }
                Client::Modern(client) => {
                    params["_meta"] = json!({ LEVEL: level });
                    client.request("tools/call", params).await
                }
            };
            assert_eq!(levels(&reply.notifications(MESSAGE)), wanted, "{case}, {level}");
            assert!(reply.texts[0].contains(r#""n":1.0"#), "as the upstream wrote it");
            reply.result();
        }
    }
}

#[tokio::test]
async fn legacy_upstreams_are_told_once_what_anybody_wants() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    for case in stage.cases() {
        let told = || {
            let told = case.upstream.received_of("logging/setLevel");
            told.iter()
                .map(|m| m["params"]["level"].as_str().expect("a level").to_owned())
                .collect::<Vec<_>>()
        };
        for level in ["error", "debug", "warning"] {
            let client = case.client().await;
            let mut params = json!({ "name": case.name("talk") });
            if let Client::Legacy(client) = &client {
                client.request("logging/setLevel", json!({ "level": level })).await.result();
            } else {
                params["_meta"] = json!({ LEVEL: level });
            }
            client.request("tools/call", params).await.result();
        }
        // it is shared: it is only told to say more, and never less than who has not asked hears
        assert_eq!(told(), ["info", "debug"], "{case}");
    }
}

#[tokio::test]
async fn modern_clients_of_legacy_upstreams_need_nobody_else_to_ask_first() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    for kind in ["sl", "hl"] {
        let client = Modern::new(&stage.proxy.url(&format!("/mcp/{kind}")));
        let params = json!({ "name": "talk", "_meta": { LEVEL: "info" } });
        client.request("tools/call", params).await.result();
        let told = stage.upstream(kind).received_of("logging/setLevel");
        assert_eq!(told.len(), 1, "{kind}");
        assert_eq!(told[0]["params"]["level"], "info", "{kind}");
        assert!(stage.upstream(kind).last_with("tools/call").contains("talk"));
    }
}

#[tokio::test]
async fn never_to_who_did_not_ask() {
    let stage = Stage::with(script()).await;
    for case in stage.cases().iter().filter(|case| case.era == "modern") {
        let client = case.client().await;
        let reply = client.request("tools/call", json!({ "name": case.name("talk") })).await;
        assert_eq!(reply.messages.len(), 1, "{case}: {reply:?}");
    }
}

#[tokio::test]
async fn of_two_on_one_pipe_the_one_that_asked() {
    let stage = Stage::of(&["sl", "sm"], script()).await;
    for case in stage.cases().iter().filter(|case| case.era == "modern") {
        let quiet = case.client().await;
        let held = json!({ "name": case.name("held"), "_meta": { "progressToken": 1 } });
        let mut other = quiet.open("tools/call", held).await;
        other.next().await.expect("it is in flight");
        let asking = case.client().await;
        let talk = json!({ "name": case.name("talk"), "_meta": { LEVEL: "debug" } });
        let reply = asking.request("tools/call", talk).await;
        // a legacy server logs whatever was asked for: either of the two can have caused it
        let heard = if case.upstream_era() == "legacy" { 0 } else { 4 };
        assert_eq!(reply.notifications(MESSAGE).len(), heard, "{case}");
        case.upstream.release("go");
        let reply = other.finish().await;
        assert!(reply.notifications(MESSAGE).is_empty(), "{case}: {reply:?}");
        case.upstream.shut("go");
    }
}

#[tokio::test]
async fn of_two_on_one_pipe_that_both_asked_neither() {
    let stage = Stage::of(&["sl", "sm"], script()).await;
    for case in stage.cases().iter().filter(|case| case.era == "modern") {
        let client = case.client().await;
        let meta = json!({ LEVEL: "debug", "progressToken": 1 });
        let mut other =
            client.open("tools/call", json!({ "name": case.name("held"), "_meta": meta })).await;
        other.next().await.expect("it is in flight");
        let talk = json!({ "name": case.name("talk"), "_meta": { LEVEL: "debug" } });
        let reply = case.client().await.request("tools/call", talk).await;
        case.upstream.release("go");
        let other = other.finish().await;
        // whose it is cannot be known, and a guess could show one client what is another's
        assert!(reply.notifications(MESSAGE).is_empty(), "{case}: {reply:?}");
        assert!(other.notifications(MESSAGE).is_empty(), "{case}: {other:?}");
        case.upstream.shut("go");
    }
}

#[tokio::test]
async fn over_http_each_stream_has_its_own() {
    let stage = Stage::of(&["hl", "hm"], script()).await;
    for case in stage.cases().iter().filter(|case| case.era == "modern") {
        let meta = json!({ LEVEL: "debug", "progressToken": 1 });
        let held = json!({ "name": case.name("held"), "_meta": meta });
        let client = case.client().await;
        let mut other = client.open("tools/call", held).await;
        other.next().await.expect("it is in flight");
        let talk = json!({ "name": case.name("talk"), "_meta": { LEVEL: "debug" } });
        let reply = case.client().await.request("tools/call", talk).await;
        assert_eq!(reply.notifications(MESSAGE).len(), 4, "{case}");
        case.upstream.release("go");
        assert!(other.finish().await.notifications(MESSAGE).is_empty(), "{case}");
        case.upstream.shut("go");
    }
}

#[tokio::test]
async fn what_is_no_level_is_refused() {
    let stage = Stage::of(&["sl", "hm"], script()).await;
    for case in stage.cases().iter().filter(|case| case.era == "legacy") {
        let client = Legacy::connect(&case.url(), "2025-11-25").await;
        for level in [json!("loud"), json!(3), Value::Null] {
            let reply = client.request("logging/setLevel", json!({ "level": level })).await;
            assert_eq!(reply.error_code(), -32602, "{case}");
        }
    }
    let silent = Stage::of(&["sl"], json!({ "capabilities": { "tools": {} } })).await;
    let client = Legacy::connect(&silent.proxy.url("/mcp/sl"), "2025-11-25").await;
    let reply = client.request("logging/setLevel", json!({ "level": "info" })).await;
    assert_eq!(reply.error_code(), -32601, "where nothing logs");
}
