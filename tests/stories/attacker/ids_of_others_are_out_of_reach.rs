//! Request ids belong to their connection (CVE-2026-25536): whoever uses another's id, answers what
//! nobody asked, or names the ids that upstreams see, reaches nobody.

use super::{ACCEPT, JSON, MODERN, Scene};
use crate::support::{FakeStdio, Legacy, Modern, RawHttp};
use serde_json::{Value, json};

/// Two tools that wait, each for a gate of its name.
fn waiting() -> FakeStdio {
    let steps = |name: &str| json!([{ "await": name }, { "result": text(name) }]);
    FakeStdio::new(json!({ "tools": ["a", "b"], "on": {
        "tools/call:a": steps("a"), "tools/call:b": steps("b"),
    }}))
}

fn text(text: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": format!("for {text}") }] })
}

fn got(reply: &crate::support::Reply) -> &str {
    reply.result()["content"][0]["text"].as_str().unwrap_or_default()
}

async fn cancel(client: &Legacy, id: &Value) {
    let status = client.notify("notifications/cancelled", json!({ "requestId": id })).await;
    assert_eq!(status, 202);
}

/// The measured failure of two current gateways: B gets what was meant for A, A hangs.
#[tokio::test]
async fn an_id_in_flight_twice_gets_two_answers() {
    let slow = waiting();
    let scene = Scene::with(json!({ "slow": slow.entry() }), json!({})).await;
    let url = scene.proxy.url("/mcp/slow");
    let (legacy, modern) = (Legacy::connect(&url, "2025-11-25").await, Modern::new(&url));
    let id = json!(1);
    let first = legacy.open_as(&id, "tools/call", json!({ "name": "a" }));
    let second = legacy.open_as(&id, "tools/call", json!({ "name": "b" }));
    let third = modern.open_as(&id, "tools/call", json!({ "name": "b" }));
    let release = async {
        slow.reached("a").await;
        slow.reached("b").await;
        // which of the two is meant cannot be known, so neither is
        cancel(&legacy, &id).await;
        slow.release("b");
        slow.release("a");
    };
    let (first, second, third, ()) = tokio::join!(first, second, third, release);
    let (first, second, third) = tokio::join!(first.finish(), second.finish(), third.finish());
    assert_eq!([got(&first), got(&second), got(&third)], ["for a", "for b", "for b"]);
    for reply in [&first, &second, &third] {
        assert_eq!(reply.response()["id"], 1);
    }
    scene.others_are_served().await;
}

#[tokio::test]
async fn nobody_cancels_or_answers_the_requests_of_others() {
    let slow = waiting();
    let scene = Scene::with(json!({ "slow": slow.entry() }), json!({})).await;
    let url = scene.proxy.url("/mcp/slow");
    let victim = Legacy::connect(&url, "2025-11-25").await;
    let attacker = Legacy::connect(&url, "2025-11-25").await;
    let id = json!("victim's");
    let call = json!({ "name": "a", "_meta": { "progressToken": "victim's" } });
    let call = victim.open_as(&id, "tools/call", call);
    let attack = async {
        slow.reached("a").await;
        let sent = slow.received_of("tools/call").pop().expect("the call");
        let upstream_id = sent["id"].clone();
        for id in [&id, &upstream_id] {
            cancel(&attacker, id).await;
            assert_eq!(attacker.respond(id, text("the attacker")).await, 202);
            let progress = json!({ "progressToken": id, "progress": 50 });
            assert_eq!(attacker.notify("notifications/progress", progress).await, 202);
            let params = json!({ "requestId": id });
            let body =
                json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
            let modern =
                RawHttp::once("POST", &url, &[ACCEPT, JSON, MODERN], body.to_string()).await;
            assert_eq!(modern.status(), 202);
            let body = json!({ "jsonrpc": "2.0", "id": id, "result": text("the attacker") });
            let modern =
                RawHttp::once("POST", &url, &[ACCEPT, JSON, MODERN], body.to_string()).await;
            assert_eq!(modern.status(), 400, "modern clients send no responses");
        }
        // a round trip of the attacker's own: whatever was going to reach the upstream has
        assert_eq!(attacker.request("tools/list", json!({})).await.status, 200);
        slow.release("b");
        attacker.request("tools/call", json!({ "name": "b" })).await;
        assert_eq!(slow.received_of("notifications/cancelled"), Vec::<Value>::new());
        slow.release("a");
    };
    let (reply, ()) = tokio::join!(async { call.await.finish().await }, attack);
    assert_eq!(got(&reply), "for a");
    assert_eq!(reply.notifications("notifications/progress"), Vec::<&Value>::new());
    assert!(!slow.received().join("\n").contains("the attacker"));
    scene.others_are_served().await;
}

#[tokio::test]
async fn ids_come_back_as_they_were_written() {
    let scene = Scene::new().await;
    let client = scene.legacy().await;
    for id in [
        "9007199254740993",
        "-7",
        "123456789012345678901234567890",
        r#""""#,
        r#""1""#,
        r#""\u0061\"\\""#,
    ] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo"}}}}"#
        );
        let reply = client.send("POST", &body).await.finish().await;
        assert!(reply.texts[0].contains(&format!(r#""id":{id}"#)), "{id}: {}", reply.texts[0]);
    }
    let long = "x".repeat(100_000);
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":"{long}","method":"tools/call","params":{{"name":"echo"}}}}"#
    );
    let reply = client.send("POST", &body).await.finish().await;
    assert_eq!(reply.response()["id"], long);
    scene.never_forwarded(&long[..1000]);
    scene.others_are_served().await;
}
