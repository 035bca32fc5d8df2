//! A web page may send a POST of a simple content type without asking (CVE-2026-33252), and may
//! open a WebSocket to anywhere (CVE-2026-59950): neither has any effect here.

use super::{ACCEPT, MODERN, Scene, modern_body};
use crate::support::RawHttp;
use serde_json::json;

#[tokio::test]
async fn only_json_is_read() {
    let scene = Scene::new().await;
    let call = json!({ "name": "echo", "arguments": { "effect": "none" } });
    let body = modern_body(1, "tools/call", call);
    let usual = [ACCEPT, MODERN, ("Mcp-Method", "tools/call"), ("Mcp-Name", "echo")];
    for kind in [
        "text/plain",
        "text/plain;charset=UTF-8",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/json-patch+json",
        "text/json",
        "application/json, text/plain",
        "application",
        "",
    ] {
        let headers = [&usual[..], &[("Content-Type", kind)]].concat();
        let response = RawHttp::once("POST", &scene.url(), &headers, &body).await;
        assert_eq!(response.status(), 415, "{kind:?}");
        assert!(response.text().contains("application/json"), "{}", response.text());
    }
    let response = RawHttp::once("POST", &scene.url(), &usual, &body).await;
    assert_eq!(response.status(), 415, "no type at all");
    let json = ("Content-Type", "application/json");
    let two = [&usual[..], &[json, ("Content-Type", "text/plain")]].concat();
    assert_eq!(RawHttp::once("POST", &scene.url(), &two, &body).await.status(), 415);
    scene.never_forwarded("effect");
    for kind in ["application/json", "Application/JSON; charset=utf-8"] {
        let headers = [&usual[..], &[("Content-Type", kind)]].concat();
        assert_eq!(RawHttp::once("POST", &scene.url(), &headers, &body).await.status(), 200);
    }
    scene.others_are_served().await;
}

#[tokio::test]
async fn a_preflight_allows_nothing() {
    let scene = Scene::new().await;
    let headers = [
        ("Origin", "http://evil.com"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type"),
    ];
    let response = RawHttp::once("OPTIONS", &scene.url(), &headers, "").await;
    assert_eq!(response.status(), 403);
    assert!(response.head.headers.iter().all(|(n, _)| !n.starts_with("access-control-")));
}

#[tokio::test]
async fn no_upgrade_is_granted() {
    let scene = Scene::new().await;
    let session = scene.legacy().await.session.expect("a session");
    let websocket = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for path in ["/mcp", "/mcp/good", "/ws", "/"] {
        let url = scene.proxy.url(path);
        let response = RawHttp::once("GET", &url, &websocket, "").await;
        assert!((400..500).contains(&response.status()), "{path}: {}", response.head.start);
        assert_eq!(response.head.header("upgrade"), None);
    }
    let h2c = [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ("Mcp-Session-Id", session.as_str()),
        ("Accept", "text/event-stream"),
    ];
    // with a session it is an ordinary stream, and still HTTP/1.1
    let mut http = RawHttp::connect(&scene.url()).await;
    http.request("GET", &scene.url(), &h2c, "").await;
    let head = http.head().await;
    assert!(head.start.starts_with("HTTP/1.1 200"), "{}", head.start);
    assert_eq!(head.header("upgrade"), None);
    scene.others_are_served().await;
}

#[tokio::test]
async fn other_verbs_are_not_allowed() {
    let scene = Scene::new().await;
    for method in ["PUT", "PATCH", "OPTIONS", "HEAD", "TRACE", "GET", "DELETE", "BREW", "post"] {
        let mut http = RawHttp::connect(&scene.url()).await;
        http.request(method, &scene.url(), &[ACCEPT], "").await;
        let head = http.head().await;
        assert_eq!((head.status(), head.header("allow")), (405, Some("POST")), "{method}");
    }
    scene.others_are_served().await;
}
