//! A path is what it says, byte for byte: no normalisation, no decoding, no other case. A query
//! that asks for fewer servers is refused, because to ignore it would show more.

use super::{ACCEPT, JSON, MODERN, Scene, modern_body};
use crate::support::RawHttp;
use serde_json::json;

async fn post(scene: &Scene, target: &str) -> (u16, String) {
    let body = modern_body(1, "tools/list", json!({}));
    let mut head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in [ACCEPT, JSON, MODERN, ("Mcp-Method", "tools/list")] {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    let mut http = RawHttp::connect(&scene.url()).await;
    http.send(head).await;
    let response = http.response().await;
    (response.status(), response.text())
}

#[tokio::test]
async fn other_spellings_of_a_path_are_other_paths() {
    let scene = Scene::new().await;
    for target in ["/mcp", "/mcp/", "/mcp/good", "/mcp/good?x=1", "/mcp?"] {
        assert_eq!(post(&scene, target).await.0, 200, "{target}");
    }
    for target in [
        "/",
        "//mcp",
        "//mcp/good",
        "/mcp//good",
        "/mcp/good/",
        "/mcp/good//",
        "/mcp/../mcp/good",
        "/mcp/./good",
        "/mcp/other/../good",
        "/x/../mcp/good",
        "/mcp/%67ood",
        "/mcp/good%00",
        "/mcp/good%20",
        "/mcp/%2e%2e/mcp/good",
        "/mcp/..%2fgood",
        "/mcp%2fgood",
        "/%6dcp",
        "/mcp/good;x=1",
        "/mcp;/good",
        "/mcp/GOOD",
        "/MCP",
        "/mcp/unknown",
        "/mcp/goo",
        "/mcp/good2",
        "/mcpgood",
        "/mcp.json",
        "/mcp/good.json",
        "/api/mcp",
        "/sse//good",
        "/sse/good/",
        "/sse/unknown",
        "/ssegood",
        "/SSE",
        "/messages/",
        "/messages/good",
        "/message",
        "/health",
        "/.well-known/oauth-protected-resource",
    ] {
        let (status, text) = post(&scene, target).await;
        assert_eq!(status, 404, "{target}");
        assert!(text.contains("/mcp"), "{target}: {text}");
        assert!(!text.contains("good"), "who is there is not told: {text}");
    }
    for target in ["/mcp\\good", "mcp/good", "/mcp/good\u{7f}", "/mcp/gööd", "/mcp/good\t"] {
        let (status, _) = post(&scene, target).await;
        assert!((400..500).contains(&status), "{target:?}: {status}");
    }
    scene.others_are_served().await;
}

#[tokio::test]
async fn filters_that_would_be_ignored_are_refused() {
    let scene = Scene::new().await;
    for query in [
        "tags=a",
        "tags",
        "tags=",
        "tag-filter=not%20good",
        "preset=x",
        "x=1&tags=a",
        "tags=a&x=1",
        "x&preset",
        "t%61gs=a",
        "%70reset=a",
    ] {
        for path in ["/mcp", "/mcp/", "/mcp/good"] {
            let (status, text) = post(&scene, &format!("{path}?{query}")).await;
            assert_eq!(status, 400, "{path}?{query}");
            assert!(text.contains("filters"), "{text}");
        }
    }
    for query in ["x=tags", "tagss=1", "x=1&y=tags"] {
        assert_eq!(post(&scene, &format!("/mcp?{query}")).await.0, 200, "{query}");
    }
    scene.others_are_served().await;
}
