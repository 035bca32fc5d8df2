//! MCP 2025-11-25 basic/transports: "Disconnection SHOULD NOT be interpreted as the client
//! cancelling its request." What a legacy client has begun is finished without it.

use crate::stage::{Case, Client, Stage, progress};
use crate::support::{FakeStdio, Legacy, Proxy};
use serde_json::{Value, json};

async fn stage() -> Stage {
    let loud =
        json!([progress(1, "begun"), { "await": "go" }, progress(2, "more"), { "usual": true }]);
    let quiet = json!([{ "await": "go" }, { "usual": true }]);
    Stage::with(json!({ "tools": ["loud", "quiet"], "on": {
        "tools/call:loud": loud, "tools/call:quiet": quiet,
    }}))
    .await
}

fn calls(case: &Case<'_>) -> Vec<Value> {
    case.upstream.received_of("tools/call")
}

/// A modern client of the same upstream disconnects: when its cancellation has come in, one for an
/// earlier disconnect would have come in, too.
async fn overtaken(case: &Case<'_>, stage: &Stage) {
    let url = stage.proxy.url(&format!("/mcp/{}", case.kind));
    let client = Client::Modern(crate::support::Modern::new(&url));
    let params = json!({ "name": "loud", "_meta": { "progressToken": 1 } });
    let mut call = client.open("tools/call", params).await;
    call.next().await.expect("it has begun");
    let id = calls(case).last().expect("a call")["id"].clone();
    drop(call);
    if let crate::stage::Upstream::Http(fake) = case.upstream {
        let ended = crate::support::fake_http::Ended::Disconnected;
        fake.wait_for("the disconnect", |r| r.json()["id"] == id && r.ended == ended).await;
    }
    if case.kind != "hm" {
        case.upstream.wait_for(&format!(r#""requestId":{id},"#)).await;
    }
}

#[tokio::test]
async fn the_upstream_finishes_what_was_begun() {
    let stage = stage().await;
    for case in stage.cases().iter().filter(|case| case.era == "legacy") {
        let Client::Legacy(client) = case.client().await else { unreachable!("legacy cases") };
        let params = json!({ "name": case.name("loud"), "_meta": { "progressToken": 1 } });
        let mut streaming = client.open("tools/call", params).await;
        streaming.next().await.expect("it has begun");
        let first = calls(case).last().expect("a call")["id"].clone();
        drop(streaming);
        tokio::select! {
            _ = client.open("tools/call", json!({ "name": case.name("quiet") })) => unreachable!("it waits"),
            () = async {
                while calls(case).last().expect("a call")["id"] == first {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
        let second = calls(case).last().expect("a call")["id"].clone();
        overtaken(case, &stage).await;
        for id in [&first, &second] {
            let cancelled = case.upstream.received_of("notifications/cancelled");
            assert!(cancelled.iter().all(|c| c["params"]["requestId"] != *id), "{case}");
            if let crate::stage::Upstream::Http(fake) = case.upstream {
                let recorded = fake.recorded();
                let call = recorded.iter().find(|r| r.json()["id"] == *id).expect("it came in");
                assert_eq!(call.ended, crate::support::fake_http::Ended::NotYet, "{case}");
            }
        }
        case.upstream.release("go");
        if let crate::stage::Upstream::Http(fake) = case.upstream {
            for id in [first, second] {
                let answered = crate::support::fake_http::Ended::Answered;
                fake.wait_for("the answer", |r| r.json()["id"] == id && r.ended == answered).await;
            }
        }
        let after = client.request("tools/call", json!({ "name": case.name("quiet") })).await;
        assert_eq!(after.result()["content"][0]["text"], "called quiet", "{case}");
        case.upstream.shut("go");
    }
}

#[tokio::test]
async fn a_request_without_a_client_can_still_be_cancelled() {
    let stage = stage().await;
    for case in stage.cases().iter().filter(|case| case.era == "legacy" && case.is_stdio()) {
        let Client::Legacy(client) = case.client().await else { unreachable!("legacy cases") };
        let params = json!({ "name": case.name("loud"), "_meta": { "progressToken": 1 } });
        let mut call = client.open_as(&json!("left"), "tools/call", params).await;
        call.next().await.expect("it has begun");
        let theirs = calls(case).last().expect("a call")["id"].clone();
        drop(call);
        overtaken(case, &stage).await;
        client.notify("notifications/cancelled", json!({ "requestId": "left" })).await;
        case.upstream.wait_for(&format!(r#""requestId":{theirs},"#)).await;
    }
}

/// While its server is being started again, a request waits for it; so does one without a client.
#[tokio::test]
async fn a_request_that_waits_for_its_server_is_sent_without_its_client() {
    let fake = FakeStdio::new(json!({ "tools": ["echo", "die"], "on": {
        "server/discover": [{ "await": "gate" }, { "error": { "code": -32601, "message": "old" } }],
        "tools/call:die": [{ "exit": 1 }],
    }}));
    fake.release("gate");
    let servers = json!({ "fake": fake.entry(), "own": { "type": "builtin" } });
    let proxy = Proxy::with(json!({ "mcpServers": servers })).start().await;
    let client = Legacy::connect(&proxy.url("/mcp/fake"), "2025-11-25").await;
    let other = Legacy::connect(&proxy.url("/mcp/own"), "2025-11-25").await;
    fake.shut("gate");
    let died = client.request("tools/call", json!({ "name": "die" })).await;
    assert_eq!(died.error_code(), -32603);
    fake.reached("gate").await;
    tokio::select! {
        _ = client.open("tools/call", json!({ "name": "echo" })) => unreachable!("it waits"),
        // what is answered after it was sent was read after it
        () = async {
            for _ in 0..20 {
                other.request("ping", json!({})).await.result();
            }
        } => {}
    }
    assert_eq!(fake.received_of("tools/call").len(), 1, "only the one it died of");
    // the client has disconnected; this is answered after that was noticed
    for _ in 0..20 {
        other.request("ping", json!({})).await.result();
    }
    fake.release("gate");
    fake.wait_for("\"echo\"").await;
}
