//! A session is found by its whole id on its own endpoint, and by nothing else: no guess, no
//! fixation, no "only active session" (CVE-2026-52869, byterover-cli, Repliers).

use super::{ACCEPT, JSON, Scene, refused};
use crate::support::{Legacy, RawHttp};
use serde_json::{Value, json};
use std::collections::HashSet;

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

/// What POST, GET and DELETE say to this session id.
async fn statuses(url: &str, id: &str) -> [u16; 3] {
    let headers = [ACCEPT, JSON, ("Mcp-Session-Id", id)];
    let post = RawHttp::once("POST", url, &headers, PING).await;
    let mut others = [0, 0];
    for (at, method) in ["GET", "DELETE"].into_iter().enumerate() {
        let mut http = RawHttp::connect(url).await;
        http.request(method, url, &headers, "").await;
        others[at] = http.head().await.status();
    }
    [post.status(), others[0], others[1]]
}

#[tokio::test]
async fn without_a_session_there_is_no_fallback() {
    let scene = Scene::new().await; // with the bystander's as the only active session
    refused("none", &scene.post(&[], PING).await, 400, -32600, "Mcp-Session-Id");
    refused("empty", &scene.post(&[("Mcp-Session-Id", "")], PING).await, 404, -32600, "initialize");
    scene.others_are_served().await;
}

#[tokio::test]
async fn guesses_and_variations_are_unknown() {
    let scene = Scene::new().await;
    let id = scene.legacy().await.session.expect("a session");
    let upper = id.to_ascii_uppercase();
    let mut last = id.clone().into_bytes();
    let end = last.pop().expect("not empty");
    last.push(if end == b'0' { b'1' } else { b'0' });
    let next = String::from_utf8(last).expect("hexadecimal");
    let guesses = [
        &id[..id.len() - 1],
        &id[1..],
        &next,
        &upper,
        &format!("{id}0"),
        &format!("{id},{id}"),
        &format!("\"{id}\""),
        &format!("{id}%00"),
        "*",
        "0",
        "null",
        "undefined",
        "../",
        &"f".repeat(32),
    ];
    for guess in guesses {
        if guess != id {
            assert_eq!(statuses(&scene.url(), guess).await, [404; 3], "{guess}");
        }
    }
    let long = "a".repeat(5000);
    assert_eq!(statuses(&scene.url(), &long).await, [404; 3]);
    // in a query, a cookie or the body it is no session id
    let cookie = format!("Mcp-Session-Id={id}");
    refused("a cookie", &scene.post(&[("Cookie", &cookie)], PING).await, 400, -32600, "header");
    let url = format!("{}?sessionId={id}&Mcp-Session-Id={id}", scene.url());
    assert_eq!(RawHttp::once("POST", &url, &[ACCEPT, JSON], PING).await.status(), 400);
    assert_eq!(statuses(&scene.url(), &id).await, [200, 200, 200], "the real one");
    scene.others_are_served().await;
}

#[tokio::test]
async fn ids_are_long_and_never_alike() {
    let scene = Scene::new().await;
    let mut seen = HashSet::new();
    for _ in 0..50 {
        let id = scene.legacy().await.session.expect("a session");
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        assert!(seen.insert(id[..16].to_owned()) && seen.insert(id[16..].to_owned()), "{id}");
    }
}

#[tokio::test]
async fn a_session_of_another_endpoint_is_unknown() {
    let scene = Scene::new().await;
    let here = scene.legacy().await;
    let whole = Legacy::connect(&scene.proxy.url("/mcp"), "2025-11-25").await;
    let (here, whole) = (here.session.expect("one"), whole.session.expect("one"));
    assert_eq!(statuses(&scene.proxy.url("/mcp"), &here).await, [404; 3]);
    assert_eq!(statuses(&scene.url(), &whole).await, [404; 3]);
    assert_eq!(statuses(&scene.url(), &here).await, [200; 3]);
    assert_eq!(statuses(&scene.proxy.url("/mcp"), &whole).await, [200; 3]);
    scene.others_are_served().await;
}

#[tokio::test]
async fn no_client_chooses_its_session() {
    let scene = Scene::new().await;
    let victim = scene.legacy().await.session.expect("a session");
    for chosen in ["chosen", victim.as_str()] {
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "x", "version": "1" } });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
        let response = scene.post(&[("Mcp-Session-Id", chosen)], body.to_string()).await;
        let fresh = response.head.header("mcp-session-id").expect("a session");
        assert_ne!(fresh, chosen);
        assert_eq!(statuses(&scene.url(), fresh).await, [200; 3]);
    }
    assert_eq!(statuses(&scene.url(), "chosen").await, [404; 3]);
    assert_eq!(statuses(&scene.url(), &victim).await, [200; 3], "not taken over, not ended");
}

#[tokio::test]
async fn an_ended_session_is_gone_with_its_stream() {
    let scene = Scene::new().await;
    let client = scene.legacy().await;
    let id = client.session.clone().expect("a session");
    let stream = client.get_stream().await;
    assert_eq!(stream.head.status(), 200);
    let second = client.get_stream().await;
    assert_eq!(stream.finish().await.messages, Vec::<Value>::new(), "the later one replaced it");
    assert_eq!(client.delete().await, 200);
    assert_eq!(second.finish().await.messages, Vec::<Value>::new());
    assert_eq!(statuses(&scene.url(), &id).await, [404; 3]);
    scene.others_are_served().await;
}

#[tokio::test]
async fn sessions_are_bounded_and_those_that_exist_go_on() {
    let limits = json!({ "limits": { "sessions": 3 } });
    let scene = Scene::with(json!({}), limits).await;
    let (one, _two) = (scene.legacy().await, scene.legacy().await);
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "x", "version": "1" } });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
    let response = scene.post(&[], body.to_string()).await;
    refused("one too many", &response, 503, -32603, "too many sessions");
    assert_eq!(response.head.header("mcp-session-id"), None);
    scene.others_are_served().await;
    assert_eq!(scene.modern().request("tools/list", json!({})).await.status, 200);
    assert_eq!(one.delete().await, 200);
    scene.legacy().await;
}
