//! MCP 2025-11-25 basic/transports: "Disconnection SHOULD NOT be interpreted as the client
//! cancelling its request." What a legacy client has begun is finished without it.

use crate::stage::{Case, Client, Stage, progress};
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
