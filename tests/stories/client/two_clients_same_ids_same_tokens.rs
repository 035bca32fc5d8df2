//! Two clients choose their ids and progress tokens as they like. Each gets its own answer and
//! its own progress, also over one shared upstream.

use crate::stage::{Case, Client, Stage, progress};
use crate::support::{FakeStdio, Incoming, Legacy, Modern, Proxy};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;

fn working(who: &str) -> Value {
    let first = progress(1, &format!("one for {who}"));
    let second = progress(2, &format!("two for {who}"));
    json!([first, { "await": "go" }, second, { "usual": true }])
}

fn script() -> Value {
    json!({
        "tools": ["a", "b"],
        "on": { "tools/call:a": working("a"), "tools/call:b": working("b") },
    })
}

async fn begin(client: &Client, name: &str, id: &Value, token: &Value) -> Incoming {
    let params = json!({ "name": name, "arguments": {}, "_meta": { "progressToken": token } });
    client.open_as(id, "tools/call", params).await
}

fn assert_progress(message: &Value, token: &Value, text: &str) {
    assert_eq!(message["method"], "notifications/progress", "{message}");
    assert_eq!(message["params"]["message"], text);
    assert_eq!(&message["params"]["progressToken"], token, "the client's own token, its own type");
}

async fn tell(case: &Case<'_>, other: &Case<'_>, id: Value, token: Value) {
    let (one, two) = (case.client().await, other.client().await);
    let mut a = begin(&one, &case.name("a"), &id, &token).await;
    let mut b = begin(&two, &other.name("b"), &id, &token).await;
    assert_progress(&a.next().await.expect("progress"), &token, "one for a");
    assert_progress(&b.next().await.expect("progress"), &token, "one for b");
    case.upstream.reached("go").await;
    case.upstream.release("go");
    let replies = [("a", a.finish().await), ("b", b.finish().await)];
    for (who, reply) in replies {
        let [_, progress, answer] = reply.messages.as_slice() else {
            panic!("{case}: two progress notifications and an answer, not {reply:?}")
        };
        assert_progress(progress, &token, &format!("two for {who}"));
        assert_eq!(answer["id"], id, "{case}");
        assert_eq!(answer["result"]["content"][0]["text"], format!("called {who}"), "{case}");
    }
    case.upstream.shut("go");
}

#[tokio::test]
async fn whoever_they_are_and_wherever_they_come_in() {
    let stage = Stage::with(script()).await;
    let cases = stage.cases();
    for (at, case) in cases.iter().enumerate() {
        let mut others = cases.iter().filter(|other| other.kind == case.kind).cycle();
        let other = others.nth(at % 4 + 1).expect("four of a kind");
        let id = if at % 2 == 0 { json!(7) } else { json!("7") };
        let token = if at % 3 == 0 { json!("t") } else { json!(12) };
        tell(case, other, id, token).await;
    }
    for kind in ["sl", "sm", "hl", "hm"] {
        let calls = stage.upstream(kind).received_of("tools/call");
        let mut ids: Vec<String> = calls.iter().map(|call| call["id"].to_string()).collect();
        let tokens: Vec<_> = calls.iter().map(|c| &c["params"]["_meta"]["progressToken"]).collect();
        assert_eq!(calls.len(), 8);
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 8, "{kind}: no id twice on one connection");
        assert!(calls.iter().zip(tokens).all(|(c, t)| c["id"] == *t), "{kind}: our own tokens");
    }
}

#[tokio::test]
async fn two_sessions_of_one_endpoint() {
    let stage = Stage::of(&["sl"], script()).await;
    let cases = stage.cases();
    for id in [json!(1), json!("1"), json!(9_007_199_254_740_993_u64), json!("ü \" \\")] {
        for case in &cases {
            tell(case, case, id.clone(), json!("same")).await;
        }
    }
}

#[tokio::test]
async fn many_calls_at_once_over_one_pipe() {
    let fake = FakeStdio::new(json!({ "tools": ["echo"], "on": {
        "tools/call:echo": [{ "progress": 1 }, { "usual": true }],
    }}));
    let proxy = Proxy::with(json!({ "mcpServers": { "fake": fake.entry() } })).start().await;
    let url = proxy.url("/mcp/fake");
    let clients = [
        Client::Legacy(Legacy::connect(&url, "2025-06-18").await),
        Client::Legacy(Legacy::connect(&url, "2025-11-25").await),
        Client::Modern(Modern::new(&url)),
    ];
    let clients = Arc::new(clients);
    let mut calls = JoinSet::new();
    for number in 0..90_usize {
        let clients = Arc::clone(&clients);
        calls.spawn(async move {
            let which = number % 3;
            // 1 and "1" are two ids, and all three clients use both
            let id =
                if number % 2 == 0 { json!(number / 6) } else { json!((number / 6).to_string()) };
            let arguments = json!({ "client": which, "number": number });
            let params = json!({
                "name": "echo", "arguments": arguments, "_meta": { "progressToken": id },
            });
            let call = clients[which].open_as(&id, "tools/call", params).await;
            (id, arguments, call.finish().await)
        });
    }
    while let Some(call) = calls.join_next().await {
        let (id, arguments, reply) = call.expect("no call fails");
        assert_eq!(reply.response()["id"], id);
        let text = reply.result()["content"][0]["text"].as_str().expect("a text");
        assert_eq!(serde_json::from_str::<Value>(text).expect("JSON"), arguments);
        let progress = reply.notifications("notifications/progress");
        assert_eq!((progress.len(), &progress[0]["progressToken"]), (1, &id));
    }
    assert_eq!(fake.received_of("tools/call").len(), 90);
    assert_eq!(fake.starts().len(), 1, "one process serves them all");
}
