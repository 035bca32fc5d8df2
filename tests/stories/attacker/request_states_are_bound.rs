//! A `requestState` is good for one request of one principal, once, and only if we have given it;
//! before that is sure, nothing reaches an upstream (MCP 2026-07-28 basic/patterns/mrtr).

use crate::stage::{Client, Stage};
use crate::support::{Modern, Reply};
use serde_json::{Value, json};

fn script() -> Value {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
    let form = json!({ "message": "How many?", "requestedSchema": schema });
    json!({ "tools": ["ask", "other"], "on": {
        "tools/call:ask": [{ "ask": ["elicitation/create", form] }, { "await": "never" }],
    }})
}

fn able(url: &str) -> Modern {
    let mut client = Modern::new(url);
    client.capabilities = json!({ "elicitation": {} });
    client
}

fn call(state: &Value) -> Value {
    json!({
        "name": "ask", "arguments": { "a": 1 },
        "requestState": state, "inputResponses": { "k1_1": { "action": "decline" } },
    })
}

async fn refused(client: &Modern, params: Value) -> Reply {
    let reply = client.request("tools/call", params).await;
    assert_eq!(reply.error_code(), -32602, "{reply:?}");
    reply
}

#[tokio::test]
async fn a_state_that_is_not_ours_or_not_for_this_is_refused_with_one_text_and_nothing_is_sent() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    for case in stage.cases().iter().filter(|case| !case.aggregate) {
        let Client::Modern(_) = case.client().await else { continue };
        let client = able(&case.url());
        let first = json!({ "name": "ask", "arguments": { "a": 1 } });
        let asked = client.request("tools/call", first).await;
        let state = asked.result()["requestState"].as_str().expect("a state").to_owned();
        let before = case.upstream.received().len();
        let mut texts = std::collections::HashSet::new();
        let flipped = if state.starts_with('A') { "B" } else { "A" };
        for forged in [
            json!(format!("{flipped}{}", &state[1..])),
            json!(&state[..state.len() - 1]),
            json!(format!("{state}{state}")),
            json!("x".repeat(300_000)),
            json!("\u{1f600}"),
            json!(""),
            json!(7),
            json!(null),
            json!({}),
        ] {
            let reply = refused(&client, call(&forged)).await;
            texts.insert(reply.error()["message"].to_string());
        }
        for (member, other) in [
            ("arguments", json!({ "a": 1.0 })),
            ("arguments", json!({ "a": 1, "b": 2 })),
            ("name", json!("other")),
        ] {
            let mut params = call(&json!(state));
            params[member] = other;
            let reply = refused(&client, params).await;
            texts.insert(reply.error()["message"].to_string());
        }
        assert_eq!(texts.len(), 1, "{case}: {texts:?}");
        assert_eq!(case.upstream.received().len(), before, "{case}: nothing was sent");
    }
    stage.proxy.logs.wait_for("security: a request state is not one that was given").await;
    stage.proxy.logs.wait_for("security: a request state is given for another request").await;
}

#[tokio::test]
async fn who_shows_wrong_states_does_not_fill_the_log() {
    let stage = Stage::of(&["sl"], script()).await;
    let client = able(&stage.proxy.url("/mcp/sl"));
    let begun = std::time::Instant::now();
    for _ in 0..100 {
        refused(&client, call(&json!("forged"))).await;
    }
    let seconds = usize::try_from(begun.elapsed().as_secs()).expect("not so long");
    let lines = stage.proxy.logs.lines();
    let said = lines.iter().filter(|line| line.contains("security: a request state")).count();
    assert!((1..=10 * (seconds + 2)).contains(&said), "{said} lines in {seconds} s");
}

#[tokio::test]
async fn a_state_of_one_server_is_worth_nothing_at_another() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    let path = |slug: &str| stage.proxy.url(&format!("/mcp/{slug}"));
    let client = able(&path("sl"));
    let asked =
        client.request("tools/call", json!({ "name": "ask", "arguments": { "a": 1 } })).await;
    let before = stage.upstream("hl").received().len();
    refused(&able(&path("hl")), call(&asked.result()["requestState"])).await;
    assert_eq!(stage.upstream("hl").received().len(), before);
}

/// Sends a request that is not going to be answered, until the server has heard this.
async fn heard(stage: &Stage, kind: &str, client: &Modern, params: Value, part: &str) {
    tokio::select! {
        reply = client.request("tools/call", params) => panic!("the call has ended: {reply:?}"),
        _ = stage.upstream(kind).wait_for(part) => {}
    }
}

#[tokio::test]
async fn a_state_is_good_for_once() {
    let stage = Stage::of(&["sl"], script()).await;
    let client = able(&stage.proxy.url("/mcp/sl"));
    let first = json!({ "name": "ask", "arguments": { "a": 1 } });
    let asked = client.request("tools/call", first).await;
    let state = &asked.result()["requestState"];
    heard(&stage, "sl", &client, call(state), "decline").await;
    refused(&client, call(state)).await;
    stage.proxy.logs.wait_for("security: a request state is used before, or given up").await;
}

#[tokio::test]
async fn an_answer_of_the_wrong_shape_is_refused_and_the_right_one_still_taken() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    for case in stage.cases().iter().filter(|case| !case.aggregate) {
        let Client::Modern(_) = case.client().await else { continue };
        let client = able(&case.url());
        let first = json!({ "name": "ask", "arguments": { "a": 1 } });
        let asked = client.request("tools/call", first).await;
        let before = case.upstream.received().len();
        for wrong in [
            json!({ "k1_1": { "action": "accept", "content": { "n": "many" } } }),
            json!({ "k1_1": { "role": "assistant", "model": "m", "content": {} } }),
            json!({ "k1_1": null }),
            json!([]),
        ] {
            let mut params = call(&asked.result()["requestState"]);
            params["inputResponses"] = wrong;
            refused(&client, params).await;
        }
        assert_eq!(case.upstream.received().len(), before, "{case}: nothing was sent");
        let mut params = call(&asked.result()["requestState"]);
        let right = json!({ "action": "accept", "content": { "n": 4711 } });
        params["inputResponses"] = json!({ "k1_1": right });
        tokio::select! {
            _ = client.request("tools/call", params) => panic!("{case}: the call has ended"),
            _ = case.upstream.wait_for("4711") => {}
        }
    }
}

#[tokio::test]
async fn of_a_hundred_parked_calls_of_one_client_the_oldest_make_room() {
    // over HTTP each question comes on the stream of its call
    let stage = Stage::of(&["hl"], script()).await;
    let client = able(&stage.proxy.url("/mcp/hl"));
    let first = json!({ "name": "ask", "arguments": { "a": 1 } });
    let oldest = client.request("tools/call", first.clone()).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 1..100 {
        let (client, first) = (able(client.url()), first.clone());
        calls.spawn(async move { client.request("tools/call", first).await });
    }
    let asked = calls.join_all().await;
    assert!(asked.iter().all(|reply| reply.result()["resultType"] == "input_required"));
    let is_cancel = |body: &String| body.contains(r#""action":"cancel""#);
    stage
        .upstream("hl")
        .until("68 calls given up", |received| {
            received.iter().filter(|body| is_cancel(body)).count() == 68
        })
        .await;
    refused(&client, call(&oldest.result()["requestState"])).await;
}
