//! MCP 2025-11-25 basic/transports, "Resumability and Redelivery": a legacy client whose connection
//! broke comes back with the id of the last event it has, and misses nothing.

use crate::stage::{Case, Client, Stage, progress};
use crate::support::{Event, Incoming, Legacy, bounded};
use serde_json::{Value, json};

const REVISIONS: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];

/// Pieces of a flood: more than all queues and sockets hold between its upstream and a client that
/// does not read. Written whole, it was read.
const FLOOD: u64 = 200;

fn script() -> Value {
    let question = json!({ "message": "Your name?", "requestedSchema": { "type": "object", "properties": {} } });
    let mut flood: Vec<Value> = (1..=FLOOD).map(|n| progress(n, &"x".repeat(100_000))).collect();
    // it is answered when everything before it was read
    let ping = r#"{"jsonrpc":"2.0","id":"read-$token","method":"ping"}"#;
    flood.extend([
        json!({ "line": ping }),
        json!({ "await": "flooded" }),
        json!({ "usual": true }),
    ]);
    json!({ "tools": ["steps", "asks", "flood", "plain", "grow"], "on": {
        "tools/call:steps": [
            progress(1, "one"), progress(2, "two"), { "await": "go" }, progress(3, "three"),
            progress(4, "four"), { "usual": true },
        ],
        "tools/call:asks": [
            progress(1, "begun"), { "await": "ask" }, { "ask": ["elicitation/create", question] },
            { "await": "answered" }, { "usual": true },
        ],
        "tools/call:flood": flood,
        "tools/call:grow": [{ "notify": ["notifications/tools/list_changed", null] }, { "usual": true }],
    }})
}

async fn stage() -> Stage {
    Stage::of(&["sl", "hm"], script()).await
}

fn params(name: &str) -> Value {
    json!({ "name": name, "_meta": { "progressToken": "t" } })
}

/// An event that carries a message: its id and the message.
async fn said(stream: &mut Incoming) -> Option<(String, Value)> {
    loop {
        let event = stream.event().await?;
        let id = event.id.clone().expect("an id");
        let data = event.data.filter(|data| !data.is_empty());
        if let Some(data) = data {
            return Some((id, serde_json::from_str(&data).expect("JSON")));
        }
    }
}

async fn rest(mut stream: Incoming) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    while let Some(said) = said(&mut stream).await {
        all.push(said);
    }
    all
}

/// What was said, shortly: the progress, or the text of the answer.
fn gist(message: &Value) -> String {
    match message.get("params") {
        Some(params) => params["progress"].to_string(),
        None => message["result"]["content"][0]["text"].as_str().expect("a text").to_owned(),
    }
}

fn gists(said: &[(String, Value)]) -> Vec<String> {
    said.iter().map(|(_, message)| gist(message)).collect()
}

fn legacy<'a>(cases: &'a [Case<'a>]) -> impl Iterator<Item = &'a Case<'a>> {
    cases.iter().filter(|case| case.era == "legacy")
}

#[tokio::test]
async fn a_cut_in_the_middle_of_a_call_loses_nothing_and_repeats_nothing() {
    let stage = stage().await;
    for (case, revision) in legacy(&stage.cases()).zip(REVISIONS.iter().cycle()) {
        let client = Legacy::connect(&case.url(), revision).await;
        let mut stream = client.open("tools/call", params(&case.name("steps"))).await;
        let first = said(&mut stream).await.expect("progress");
        assert_eq!(gist(&first.1), "1", "{case}");
        drop(stream);
        // what was written and not read is said again, and what comes later too
        let mut stream = client.resume(&first.0).await;
        assert_eq!(stream.head.status(), 200);
        let second = said(&mut stream).await.expect("progress");
        assert_eq!(gist(&second.1), "2", "{case}");
        drop(stream);
        case.upstream.release("go");
        let third = rest(client.resume(&second.0).await).await;
        assert_eq!(gists(&third), ["3", "4", "called steps"], "{case}, {revision}");
        // the answer is kept for a while: its connection may have broken, too
        let again = rest(client.resume(&third[1].0).await).await;
        assert_eq!(again, third[2..], "{case}");
        assert!(rest(client.resume(&third[2].0).await).await.is_empty(), "{case}");
        let mut ids: Vec<_> = [first, second].into_iter().chain(third).map(|(id, _)| id).collect();
        ids.dedup();
        assert_eq!(ids.len(), 5, "{case}: ids go on");
        case.upstream.shut("go");
    }
}

#[tokio::test]
async fn only_the_newest_revision_is_given_a_place_before_the_first_message() {
    let stage = stage().await;
    stage.upstream("sl").release("go");
    for revision in REVISIONS {
        let client = Legacy::connect(&stage.proxy.url("/mcp/sl"), revision).await;
        let mut call = client.open("tools/call", params("steps")).await;
        let mut standing = client.get_stream().await;
        client.request("tools/call", json!({ "name": "grow" })).await;
        let mut first = call.event().await.expect("an event");
        let first_standing = standing.event().await.expect("an event");
        let is_place = |event: &Event| event.data.as_deref() == Some("");
        assert_eq!(is_place(&first), revision == "2025-11-25", "{revision}: {first:?}");
        assert_eq!(is_place(&first_standing), is_place(&first), "{revision}: {first_standing:?}");
        assert_eq!(first.retry.is_some(), is_place(&first), "{revision}: {first:?}");
        if is_place(&first) {
            let all = rest(client.resume(&first.id.expect("an id")).await).await;
            assert_eq!(gists(&all), ["1", "2", "3", "4", "called steps"]);
        } else {
            assert_ne!(first.data.take(), Some(String::new()), "{revision}");
            while let Some(event) = call.event().await {
                assert_ne!(event.data.as_deref(), Some(""), "{revision}");
            }
        }
    }
}

#[tokio::test]
async fn an_event_of_another_session_or_of_nobody_is_refused() {
    let stage = stage().await;
    let url = stage.proxy.url("/mcp/sl");
    let (one, two) =
        (Legacy::connect(&url, "2025-11-25").await, Legacy::connect(&url, "2025-11-25").await);
    let mut first = one.open("tools/call", params("steps")).await;
    let mut second = two.open("tools/call", params("steps")).await;
    let id = said(&mut first).await.expect("progress").0;
    said(&mut second).await.expect("progress");
    drop((first, second));
    let (stem, _) = id.rsplit_once('-').expect("a place");
    let long = "9".repeat(500);
    for forged in
        [&*format!("{stem}-99"), &*format!("{stem}-"), "0", "0-1-1", "-", "../1", &*long, "1-1"]
    {
        assert_eq!(one.resume(forged).await.head.status(), 400, "{forged}");
    }
    let refused = two.resume(&id).await;
    assert_eq!(refused.head.status(), 400, "not 404, which would say that the session is gone");
    let reply = refused.finish().await;
    let text = reply.error()["message"].as_str().expect("a text");
    assert!(text.contains("no such event"), "{text}");
    stage.upstream("sl").release("go");
    assert_eq!(rest(one.resume(&id).await).await.len(), 4, "its owner is served");
}

#[tokio::test]
async fn a_question_asked_meanwhile_is_asked_of_who_comes_back() {
    let stage = stage().await;
    for case in legacy(&stage.cases()).filter(|case| case.upstream_era() == "legacy") {
        let able = json!({ "elicitation": {} });
        let client = Legacy::connect_with(&case.url(), "2025-11-25", able).await;
        let mut stream = client.open("tools/call", params(&case.name("asks"))).await;
        let (id, _) = said(&mut stream).await.expect("progress");
        drop(stream);
        case.upstream.release("ask");
        case.upstream.reached("answered").await;
        let mut stream = client.resume(&id).await;
        let (_, question) = said(&mut stream).await.expect("a question");
        assert_eq!(question["method"], "elicitation/create", "{case}");
        let answer = json!({ "action": "accept", "content": { "name": format!("Ada {case}") } });
        assert_eq!(client.respond(&question["id"], answer.clone()).await, 202);
        case.upstream.wait_for(&format!("Ada {case}\"")).await;
        case.upstream.release("answered");
        assert_eq!(gists(&rest(stream).await), ["called asks"], "{case}");
        case.upstream.shut("ask");
        case.upstream.shut("answered");
    }
}

#[tokio::test]
async fn who_comes_back_takes_the_place_of_the_connection_before() {
    let stage = stage().await;
    let client = Legacy::connect(&stage.proxy.url("/mcp/sl"), "2025-11-25").await;
    let mut stream = client.open("tools/call", params("steps")).await;
    let (_, first) = said(&mut stream).await.expect("progress");
    let (id, _) = said(&mut stream).await.expect("progress");
    assert_eq!(gist(&first), "1");
    let mut newer = client.resume(&id).await;
    assert!(said(&mut stream).await.is_none(), "the old connection ends");
    stage.upstream("sl").release("go");
    assert_eq!(said(&mut newer).await.map(|(_, message)| gist(&message)), Some("3".to_owned()));
}

#[tokio::test]
async fn the_standing_stream_is_come_back_to() {
    let stage = stage().await;
    for revision in REVISIONS {
        let client = Legacy::connect(&stage.proxy.url("/mcp/sl"), revision).await;
        let mut stream = client.get_stream().await;
        let grow = || client.request("tools/call", json!({ "name": "grow" }));
        grow().await;
        let first = said(&mut stream).await.expect("a notification");
        grow().await;
        let second = said(&mut stream).await.expect("a notification");
        drop(stream);
        grow().await;
        let mut stream = client.resume(&first.0).await;
        assert_eq!(said(&mut stream).await.expect("it is kept"), second);
        let third = said(&mut stream).await.expect("and it goes on");
        assert_eq!(third.1["method"], "notifications/tools/list_changed", "{revision}");
    }
}

#[tokio::test]
async fn the_end_of_the_session_ends_its_streams() {
    let stage = stage().await;
    let client = Legacy::connect(&stage.proxy.url("/mcp/sl"), "2025-11-25").await;
    let mut stream = client.open("tools/call", params("steps")).await;
    let (id, _) = said(&mut stream).await.expect("progress");
    drop(stream);
    let mut resumed = client.resume(&id).await;
    assert_eq!(client.delete().await, 200);
    while said(&mut resumed).await.is_some() {}
    assert_eq!(client.resume(&id).await.head.status(), 404);
    stage.upstream("sl").wait_for("notifications/cancelled").await;
}

#[tokio::test]
async fn who_stops_reading_holds_up_nobody_and_gets_what_is_left() {
    let stage = stage().await;
    for case in legacy(&stage.cases()) {
        let Client::Legacy(client) = case.client().await else { unreachable!("legacy cases") };
        let mut deaf = client.open("tools/call", params(&case.name("flood"))).await;
        let (id, _) = said(&mut deaf).await.expect("progress");
        case.upstream.reached("flooded").await;
        let calls = case.upstream.received_of("tools/call");
        let flooding = calls.iter().rfind(|call| call["params"]["name"] == "flood");
        let token = &flooding.expect("the call")["params"]["_meta"]["progressToken"];
        match case.kind {
            "hm" => {} // its server could write it all, and keeps little of that back
            "sm" => {} // its next answer comes behind the flood
            _ => drop(case.upstream.wait_for(&format!("\"read-{token}\"")).await),
        }
        let neighbour = client.request("tools/call", json!({ "name": case.name("plain") })).await;
        assert_eq!(neighbour.result()["content"][0]["text"], "called plain", "{case}");
        case.upstream.release("flooded");
        let left = bounded("the rest", rest(client.resume(&id).await)).await;
        let bytes: usize = left.iter().map(|(_, message)| message.to_string().len()).sum();
        assert!(bytes < 5 << 20, "{case}: {bytes} bytes of twenty million were kept");
        assert_eq!(gist(&left.last().expect("an answer").1), "called flood", "{case}");
        drop(deaf);
        case.upstream.shut("flooded");
    }
}
