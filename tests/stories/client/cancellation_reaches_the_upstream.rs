//! What a client gives up, its upstream may give up too: a legacy client says so, a modern one
//! disconnects; the upstream is told as its own era and transport have it.

use crate::stage::{Case, Client, Stage, Upstream, progress};
use crate::support::fake_http::Ended;
use crate::support::{FakeStdio, Legacy, Modern, Proxy};
use serde_json::{Value, json};

async fn stage() -> Stage {
    let hang = json!([progress(1, "begun"), { "await": "never" }, { "usual": true }]);
    let quiet = json!([{ "await": "never" }, { "usual": true }]);
    Stage::with(json!({
        "tools": ["hang", "quiet", "echo"],
        "on": { "tools/call:hang": hang, "tools/call:quiet": quiet },
    }))
    .await
}

/// The upstream's own id of the last call.
fn last_id(case: &Case<'_>) -> Value {
    let calls = case.upstream.received_of("tools/call");
    calls.last().expect("a call came in")["id"].clone()
}

/// Waits until the upstream knows, in its own way.
async fn told(case: &Case<'_>, id: &Value) {
    if case.is_stdio() || case.upstream_era() == "legacy" {
        let line = case.upstream.wait_for(&format!(r#""requestId":{id},"#)).await;
        let message: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(message["method"], "notifications/cancelled", "{case}");
        assert!(message.get("id").is_none(), "{case}: a notification");
    }
    if let Upstream::Http(fake) = case.upstream {
        let gone = fake.wait_for("the end of the connection", |recorded| {
            recorded.json()["id"] == *id && recorded.ended == Ended::Disconnected
        });
        gone.await;
    }
    if case.kind == "hm" {
        let sent = case.upstream.received_of("notifications/cancelled");
        assert!(sent.is_empty(), "{case}: the disconnect is all that is said");
    }
}

#[tokio::test]
async fn a_legacy_client_says_so() {
    let stage = stage().await;
    for case in stage.cases().iter().filter(|case| case.era == "legacy") {
        let client = case.client().await;
        let Client::Legacy(client) = client else { unreachable!("legacy cases") };
        let id = json!("give up");
        let params = json!({ "name": case.name("hang"), "_meta": { "progressToken": 1 } });
        let mut call = client.open_as(&id, "tools/call", params).await;
        call.next().await.expect("it has begun");
        let theirs = last_id(case);
        // somebody else's id, an unknown one and one of the upstream's do nothing
        for foreign in [json!("give"), theirs.clone(), json!(null)] {
            let params = json!({ "requestId": foreign });
            assert_eq!(client.notify("notifications/cancelled", params).await, 202);
        }
        let other = case.client().await;
        let Client::Legacy(other) = other else { unreachable!("legacy cases") };
        other.notify("notifications/cancelled", json!({ "requestId": id })).await;
        other.request("tools/call", json!({ "name": case.name("echo") })).await.result();
        let cancelled = case.upstream.received_of("notifications/cancelled");
        let about_it = cancelled.iter().filter(|c| c["params"]["requestId"] == theirs).count();
        assert_eq!(about_it, 0, "{case}: {cancelled:?}");
        let params = json!({ "requestId": id, "reason": "enough" });
        assert_eq!(client.notify("notifications/cancelled", params).await, 202);
        told(case, &theirs).await;
        assert!(call.next().await.is_none(), "{case}: there is no answer any more");
        let echo = client.request("tools/call", json!({ "name": case.name("echo") })).await;
        echo.result();
    }
}

#[tokio::test]
async fn a_modern_client_disconnects() {
    let stage = stage().await;
    for case in stage.cases().iter().filter(|case| case.era == "modern") {
        let client = case.client().await;
        let params = json!({ "name": case.name("hang"), "_meta": { "progressToken": 1 } });
        let mut call = client.open("tools/call", params).await;
        call.next().await.expect("it has begun");
        let theirs = last_id(case);
        drop(call);
        told(case, &theirs).await;
        client.request("tools/call", json!({ "name": case.name("echo") })).await.result();
    }
}

#[tokio::test]
async fn even_before_anything_was_answered() {
    let stage = stage().await;
    for case in stage.cases() {
        let client = case.client().await;
        let params = json!({ "name": case.name("quiet") });
        let id = json!(31);
        let call = client.open_as(&id, "tools/call", params);
        let meanwhile = async {
            case.upstream.reached("never").await;
            let theirs = last_id(&case);
            if let Client::Legacy(client) = &client {
                client.notify("notifications/cancelled", json!({ "requestId": 31 })).await;
            }
            theirs
        };
        let theirs = match case.era {
            "legacy" => {
                let (call, theirs) = tokio::join!(call, meanwhile);
                let reply = call.finish().await;
                assert!(reply.messages.is_empty(), "{case}: {reply:?}");
                theirs
            }
            // the request is dropped, and its connection with it
            _ => tokio::select! {
                _ = call => unreachable!("nothing answers it"),
                theirs = meanwhile => theirs,
            },
        };
        told(&case, &theirs).await;
        case.upstream.shut("never");
    }
}

/// A request may wait for its upstream to start; given up meanwhile, it is never sent.
#[tokio::test]
async fn what_was_given_up_before_it_could_be_sent_is_not_sent() {
    let fake = FakeStdio::new(json!({ "start": [{ "await": "go" }], "tools": ["echo"] }));
    let other = FakeStdio::new(json!({}));
    let config = json!({ "mcpServers": { "late": fake.entry(), "there": other.entry() } });
    let proxy = Proxy::with(config).start().await;
    let url = proxy.url("/mcp");
    let client = Legacy::connect(&url, "2025-11-25").await;
    let id = json!(1);
    let read = client.open_as(&id, "resources/read", json!({ "uri": "mcp-late+mem:a" }));
    let cancel = async {
        fake.reached("go").await;
        // until the request is known, its cancellation is about nothing
        loop {
            client.notify("notifications/cancelled", json!({ "requestId": 1 })).await;
            tokio::task::yield_now().await;
        }
    };
    let reply = tokio::select! {
        reply = read => reply.finish().await,
        () = cancel => unreachable!("it goes on until the request ends"),
    };
    assert!(reply.messages.is_empty(), "{reply:?}");
    fake.release("go");
    Modern::new(&proxy.url("/mcp/late")).request("tools/list", Value::Null).await.result();
    assert!(fake.received_of("resources/read").is_empty());
}

/// MCP 2025-11-25 basic/utilities/cancellation: `initialize` MUST NOT be cancelled.
#[tokio::test]
async fn but_never_of_an_initialize_that_takes_too_long() {
    let fake = FakeStdio::new(json!({ "on": { "initialize": [] } }));
    let mut entry = fake.entry();
    entry["timeouts"] = json!({ "startMs": 500 });
    let proxy = Proxy::with(json!({ "mcpServers": { "mute": entry } })).start().await;
    proxy.logs.wait_for("did not become ready within 500 ms").await;
    assert_eq!(fake.received_of("initialize").len(), 1);
    assert_eq!(fake.received_of("notifications/cancelled").len(), 0, "{:?}", fake.received());
}

/// What becomes a task is not cancelled but ended as one (2025-11-25 basic/utilities/cancellation).
#[tokio::test]
async fn a_task_that_comes_when_nobody_waits_for_it_is_ended() {
    let task = json!({ "task": { "taskId": "t-1", "status": "working", "ttl": null } });
    let stage = Stage::of(
        &["sl", "hl"],
        json!({
            "capabilities": { "tools": {}, "tasks": { "cancel": {}, "requests": { "tools": { "call": {} } } } },
            "tools": ["job"],
            "on": { "tools/call:job": [{ "await": "late" }, { "result": task }] },
        }),
    )
    .await;
    for case in stage.cases().iter().filter(|case| case.era == "legacy") {
        let client = Legacy::connect(&case.url(), "2025-11-25").await;
        let wish = json!({ "name": case.name("job"), "task": {} });
        let before = case.upstream.received_of("tasks/cancel").len();
        let calls = case.upstream.received_of("tools/call").len();
        let id = json!("job");
        let given_up = async {
            let came = |all: &[String]| {
                all.iter().filter(|text| text.contains("\"tools/call\"")).count() > calls
            };
            case.upstream.until("the call", came).await;
            case.upstream.reached("late").await;
            client.notify("notifications/cancelled", json!({ "requestId": id })).await;
        };
        let (call, ()) = tokio::join!(client.open_as(&id, "tools/call", wish), given_up);
        assert!(call.finish().await.messages.is_empty(), "{case}: there is no answer");
        case.upstream.release("late");
        let cancels = |all: &[String]| {
            all.iter().filter(|text| text.contains("\"tasks/cancel\"")).count() > before
        };
        case.upstream.until("the end of the task", cancels).await;
        let sent = case.upstream.received_of("tasks/cancel");
        assert_eq!(sent.last().expect("one")["params"], json!({ "taskId": "t-1" }), "{case}");
        let cancelled = case.upstream.received_of("notifications/cancelled");
        assert!(cancelled.is_empty(), "{case}: {cancelled:?}");
        case.upstream.shut("late");
    }
}
