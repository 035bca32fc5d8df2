//! The older transport has the same walls as the newer one: who may talk to us at all, what may be
//! posted, and by whom.

use super::{JSON, Scene};
use crate::stage::progress;
use crate::support::http::Response;
use crate::support::{FakeStdio, Legacy, RawHttp, Sse};
use serde_json::{Value, json};

const STREAM: (&str, &str) = ("Accept", "text/event-stream");

fn ping(id: u64) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": "ping" }).to_string()
}

async fn post(url: &str, headers: &[(&str, &str)], body: &str) -> Response {
    RawHttp::once("POST", url, headers, body).await
}

#[tokio::test]
async fn only_this_machine_and_its_pages() {
    let scene = Scene::new().await;
    let client = Sse::connect(&scene.proxy.url("/sse/good"), "2024-11-05", json!({})).await;
    for hostile in [
        ("Host", "evil.com"),
        ("Origin", "https://evil.com"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
    ] {
        for path in ["/sse", "/sse/good"] {
            let url = scene.proxy.url(path);
            let response = RawHttp::once("GET", &url, &[STREAM, hostile], "").await;
            assert_eq!(response.status(), 403, "{path} {hostile:?}");
        }
        let response = post(&client.post_url, &[JSON, hostile], &ping(1)).await;
        assert_eq!(response.status(), 403, "{hostile:?}");
    }
    assert_eq!(post(&client.post_url, &[JSON], &ping(1)).await.status(), 202);
}

#[tokio::test]
async fn only_bounded_json_is_posted_to_a_session_that_exists() {
    let config = json!({ "limits": { "messageBytes": 65_536 } });
    let scene = Scene::with(json!({}), config).await;
    let mut client = Sse::connect(&scene.proxy.url("/sse/good"), "2024-11-05", json!({})).await;
    let url = client.post_url.clone();
    let base = scene.proxy.url("/messages");
    for (url, status) in [
        (base.clone(), 400),
        (format!("{base}?sessionId="), 404),
        (format!("{base}?sessionId={}", "0".repeat(32)), 404),
        (format!("{base}?sessionid={}", "0".repeat(32)), 400),
        (format!("{url}&sessionId=1"), 400),
        (format!("{url}0"), 404),
    ] {
        assert_eq!(post(&url, &[JSON], &ping(1)).await.status(), status, "{url}");
    }
    for kind in [&[][..], &[("Content-Type", "text/plain")], &[JSON, JSON]] {
        assert_eq!(post(&url, kind, &ping(1)).await.status(), 415, "{kind:?}");
    }
    for body in [
        "",
        "{",
        "1",
        "{\"jsonrpc\":\"2.0\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}",
    ] {
        assert_eq!(post(&url, &[JSON], body).await.status(), 400, "{body}");
    }
    let version = ("MCP-Protocol-Version", "1999-01-01");
    assert_eq!(post(&url, &[JSON, version], &ping(1)).await.status(), 400);
    let large = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping", "params": { "x": "x".repeat(70_000) } });
    assert_eq!(post(&url, &[JSON], &large.to_string()).await.status(), 413);
    for method in ["GET", "DELETE", "PUT"] {
        let response = RawHttp::once(method, &url, &[STREAM], "").await;
        assert_eq!((response.status(), response.head.header("allow")), (405, Some("POST")));
    }
    let only_json = [("Accept", "application/json")];
    let response = RawHttp::once("GET", &scene.proxy.url("/sse"), &only_json, "").await;
    assert_eq!(response.status(), 406);
    let filtered = scene.proxy.url("/sse?tags=a");
    assert_eq!(RawHttp::once("GET", &filtered, &[STREAM], "").await.status(), 400);
    let answer = client.request(&json!("still"), "ping", json!({})).await;
    assert_eq!(answer["id"], "still", "nothing of it was answered on the stream: {answer}");
}

#[tokio::test]
async fn a_session_of_one_transport_is_none_of_the_other() {
    let scene = Scene::new().await;
    let old = Sse::connect(&scene.proxy.url("/sse/good"), "2025-11-25", json!({})).await;
    let mut new = Legacy::connect(&scene.proxy.url("/mcp/good"), "2025-11-25").await;
    let id = new.session.clone().expect("a session");
    let url = scene.proxy.url(&format!("/messages?sessionId={id}"));
    assert_eq!(post(&url, &[JSON], &ping(1)).await.status(), 404);
    new.session = old.post_url.split_once("sessionId=").map(|(_, id)| id.to_owned());
    assert_eq!(new.get_stream().await.head.status(), 404);
    assert_eq!(new.request("ping", Value::Null).await.status, 404);
}

#[tokio::test]
async fn what_ended_takes_no_room() {
    let scene = Scene::with(json!({}), json!({ "limits": { "sessions": 3 } })).await;
    let url = scene.proxy.url("/sse/good");
    for _ in 0..10 {
        // the bystander of the scene has one of the three
        let one = Sse::connect(&url, "2024-11-05", json!({})).await;
        let two = Sse::connect(&url, "2024-11-05", json!({})).await;
        let mut third = Sse::open(&url).await;
        let hello = json!({ "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" } });
        let full = third.request(&json!(1), "initialize", hello).await;
        assert!(
            full["error"]["message"].as_str().expect("an error").contains("too many sessions"),
            "{full}"
        );
        let fourth = RawHttp::once("GET", &url, &[STREAM], "").await;
        assert_eq!(fourth.status(), 503);
        let urls = [one.post_url.clone(), two.post_url.clone(), third.post_url.clone()];
        drop((one, two, third));
        for url in urls {
            Sse::is_gone(&url).await;
        }
    }
}

/// As long as a server is starting, handshakes wait for it.
#[tokio::test]
async fn of_two_handshakes_at_once_one_makes_a_session() {
    let late = FakeStdio::new(json!({ "tools": ["a"], "start": [{ "await": "go" }] }));
    let limits = json!({ "limits": { "sessions": 3 } });
    let scene = Scene::with(json!({ "late": late.entry() }), limits).await;
    let mut client = Sse::open(&scene.proxy.url("/sse/late")).await;
    let hello = json!({ "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" } });
    for id in [1, 2] {
        client.send(&json!(id), "initialize", hello.clone()).await;
    }
    late.release("go");
    let answers = [client.next().await, client.next().await].map(|answer| answer.expect("one"));
    let refused = answers.iter().filter(|answer| answer["error"]["code"] == -32600).count();
    let begun = answers.iter().filter(|answer| answer["result"].is_object()).count();
    assert_eq!((begun, refused), (1, 1), "{answers:?}");
    // with the bystander's it is two of three
    Sse::connect(&scene.proxy.url("/sse/good"), "2024-11-05", json!({})).await;
}

async fn slow() -> (Scene, FakeStdio) {
    let flood = (1..=100).map(|n| progress(n, &"x".repeat(100_000)));
    let flood: Vec<_> = flood.chain([json!({ "await": "flooded" })]).collect();
    let slow = FakeStdio::new(json!({ "tools": ["waits", "flood"], "on": {
        "tools/call:waits": [{ "await": "never" }], "tools/call:flood": flood,
    }}));
    let scene = Scene::with(json!({ "slow": slow.entry() }), json!({})).await;
    scene.proxy.logs.wait_for("slow: ready").await;
    (scene, slow)
}

#[tokio::test]
async fn who_asks_without_end_is_stopped() {
    let (scene, _slow) = slow().await;
    let client = Sse::connect(&scene.proxy.url("/sse/slow"), "2024-11-05", json!({})).await;
    let mut refused = 0;
    for id in 0..80 {
        let params = json!({ "name": "waits" });
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        let response = client.post(&call.to_string()).await;
        match response.status() {
            202 => assert_eq!(refused, 0, "{id}"),
            status => {
                assert_eq!(status, 429, "{id}");
                assert!(id >= 60 && response.text().contains(&format!("\"id\":{id}")), "{id}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
    scene.others_are_served().await;
}

#[tokio::test]
async fn who_does_not_read_holds_up_nobody() {
    let (scene, slow) = slow().await;
    let deaf = Sse::connect(&scene.proxy.url("/sse/slow"), "2024-11-05", json!({})).await;
    let params = json!({ "name": "flood", "_meta": { "progressToken": 1 } });
    deaf.send(&json!(1), "tools/call", params).await;
    slow.reached("flooded").await;
    let mut neighbour = Sse::connect(&scene.proxy.url("/sse/slow"), "2024-11-05", json!({})).await;
    let answer = neighbour.request(&json!(1), "tools/list", json!({})).await;
    assert_eq!(answer["result"]["tools"].as_array().map(Vec::len), Some(2), "{answer}");
    scene.others_are_served().await;
    deaf.send(&json!(2), "ping", json!({})).await;
}
