//! What is too large is refused as soon as that is known, unread (413, 431); what is slow makes
//! nobody else wait; what is framed in two ways is one request or none.

use super::{ACCEPT, JSON, MODERN, Scene, modern_body, refused};
use crate::support::process::resident;
use crate::support::{FakeStdio, Legacy, RawHttp};
use serde_json::json;

const LIMIT: usize = 64 * 1024;
const LIST: (&str, &str) = ("Mcp-Method", "tools/list");

async fn scene() -> Scene {
    let limits = json!({ "messageBytes": LIMIT, "headerBytes": 8192 });
    Scene::with(json!({}), json!({ "limits": limits })).await
}

#[tokio::test]
async fn an_oversize_body_is_refused_before_it_is_sent() {
    let scene = scene().await;
    for extra in [None, Some(("Expect", "100-continue"))] {
        let mut http = RawHttp::connect(&scene.url()).await;
        let mut headers = vec![ACCEPT, JSON, MODERN, LIST, ("Content-Length", "1073741824")];
        headers.extend(extra);
        // not one byte of the body is ever sent
        http.request("POST", &scene.url(), &headers, "").await;
        let response = http.response().await;
        refused("1 GiB", &response, 413, -32600, &LIMIT.to_string());
        http.closed().await;
        scene.others_are_served().await;
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_is_cut_off_at_the_limit() {
    let scene = scene().await;
    let mut http = RawHttp::connect(&scene.url()).await;
    let headers = [ACCEPT, JSON, MODERN, LIST, ("Transfer-Encoding", "chunked")];
    http.request("POST", &scene.url(), &headers, "").await;
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    for _ in 0..5 {
        http.send(&chunk).await;
    }
    refused("chunked", &http.response().await, 413, -32600, &LIMIT.to_string());
    scene.others_are_served().await;
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_read() {
    let scene = scene().await;
    let body = modern_body(1, "tools/list", json!({}));
    let padded = format!("{body}{}", " ".repeat(LIMIT - body.len()));
    assert_eq!(scene.post(&[MODERN, LIST], &padded).await.status(), 200);
    let response = scene.post(&[MODERN, LIST], format!("{padded} ")).await;
    refused("one more", &response, 413, -32600, &LIMIT.to_string());
}

#[tokio::test]
async fn oversize_headers_are_431() {
    let scene = scene().await;
    let long = "x".repeat(20_000);
    let body = modern_body(1, "tools/list", json!({}));
    let response = scene.post(&[MODERN, LIST, ("X-Long", &long)], &body).await;
    assert_eq!(response.status(), 431);
    let many: Vec<_> = (0..500).map(|n| (format!("X-{n}"), "y".to_owned())).collect();
    let mut headers = vec![MODERN, LIST];
    headers.extend(many.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    assert_eq!(scene.post(&headers, &body).await.status(), 431);
    // a head that never ends is refused at the limit as well
    let mut http = RawHttp::connect(&scene.url()).await;
    http.send(format!("POST /mcp/good HTTP/1.1\r\nX-Endless: {}", "z".repeat(9000))).await;
    assert_eq!(http.head().await.status(), 431);
    let mut http = RawHttp::connect(&scene.url()).await;
    http.send(format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000))).await;
    assert!([414, 431].contains(&http.head().await.status()));
    scene.others_are_served().await;
}

#[tokio::test]
async fn slow_heads_and_bodies_make_nobody_wait() {
    let scene = scene().await;
    let body = modern_body(1, "tools/list", json!({}));
    let length = body.len().to_string();
    let mut heads = Vec::new();
    let mut bodies = Vec::new();
    for _ in 0..100 {
        let mut head = RawHttp::connect(&scene.url()).await;
        head.send("POST /mcp/good HTTP/1.1\r\nHost: loc").await;
        heads.push(head);
        let mut slow = RawHttp::connect(&scene.url()).await;
        let headers = [ACCEPT, JSON, MODERN, LIST, ("Content-Length", &length)];
        slow.request("POST", &scene.url(), &headers, &body[..10]).await;
        bodies.push(slow);
    }
    scene.others_are_served().await;
    // who is only slow is served in the end
    let mut last = bodies.pop().expect("one of them");
    last.send(&body[10..]).await;
    assert_eq!(last.response().await.status(), 200);
    // and who gives up in the middle has asked for nothing
    let call = json!({ "name": "echo", "arguments": { "half": "sent" } });
    let body = modern_body(2, "tools/call", call);
    let mut half = RawHttp::connect(&scene.url()).await;
    let headers = [ACCEPT, JSON, MODERN, ("Mcp-Method", "tools/call"), ("Mcp-Name", "echo")];
    let headers = [&headers[..], &[("Content-Length", "5000")]].concat();
    half.request("POST", &scene.url(), &headers, &body).await;
    drop((half, heads, bodies));
    scene.others_are_served().await;
    scene.never_forwarded("half");
}

/// Request smuggling: two framings never become two requests.
#[tokio::test]
async fn ambiguous_framing_is_not_two_requests() {
    let scene = scene().await;
    let call = json!({ "name": "echo", "arguments": { "smuggled": true } });
    let body = modern_body(9, "tools/call", call);
    let inner = format!(
        "POST /mcp/good HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\
         Content-Type: application/json\r\nMCP-Protocol-Version: 2026-07-28\r\n\
         Mcp-Method: tools/call\r\nMcp-Name: echo\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let head = "POST /mcp/good HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    for framing in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 7\r\n\r\n",
        "Content-Length: 0, 7\r\n\r\n",
        "Content-Length: +0\r\n\r\n",
        "Content-Length: 0x0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 0\r\n Transfer-Encoding: chunked\r\n\r\n",
    ] {
        let mut http = RawHttp::connect(&scene.url()).await;
        http.send(format!("{head}{framing}{inner}")).await;
        let response = http.response().await;
        assert!((400..500).contains(&response.status()), "{framing:?}: {}", response.text());
        http.closed().await;
        scene.never_forwarded("smuggled");
    }
    scene.others_are_served().await;
}

#[tokio::test]
async fn what_is_not_http_ends_its_connection_alone() {
    let scene = scene().await;
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /mcp/good\r\n\r\n",
        b"GET /mcp/good HTTP/3.0\r\n\r\n",
        b"GE\0T /mcp/good HTTP/1.1\r\n\r\n",
        b"POST /mcp/good HTTP/1.1\r\nHost: a\0b\r\n\r\n",
        b"\r\n\r\n\r\n\r\nx\r\n\r\n",
    ] {
        let mut http = RawHttp::connect(&scene.url()).await;
        http.send(bytes).await;
        http.send(b"\r\n\r\n").await;
        // HTTP/2 without being asked is closed without a word
        let status = http.head_or_end().await.map(|head| head.status());
        assert!(status.is_none_or(|status| (400..600).contains(&status)), "{bytes:?}: {status:?}");
        scene.others_are_served().await;
    }
}

/// Room is taken by what has arrived, not by what was announced.
#[tokio::test]
async fn bodies_that_never_come_leave_room_for_others() {
    let scene = Scene::new().await;
    let mut waiting = Vec::new();
    for framing in [("Content-Length", "16777216"), ("Transfer-Encoding", "chunked")] {
        for _ in 0..20 {
            let mut http = RawHttp::connect(&scene.url()).await;
            http.request("POST", &scene.url(), &[ACCEPT, JSON, MODERN, LIST, framing], "").await;
            waiting.push(http);
        }
    }
    let padded = format!("{}{}", modern_body(1, "tools/list", json!({})), " ".repeat(1 << 20));
    assert_eq!(scene.post(&[MODERN, LIST], &padded).await.status(), 200);
    scene.others_are_served().await;
}

/// A legacy request goes on without its client, but what it carried was sent and is let go.
#[tokio::test]
async fn what_was_sent_is_not_kept_while_its_answer_is_waited_for() {
    let fake = FakeStdio::new(json!({ "tools": ["run"], "on": { "tools/call:run": [] } }));
    let scene = Scene::with(json!({ "slow": fake.entry() }), json!({})).await;
    let client = Legacy::connect(&scene.proxy.url("/mcp/slow"), "2025-11-25").await;
    let before = resident(scene.proxy.pid());
    for number in 0..4 {
        let arguments = json!({ "pad": "x".repeat(8 << 20), "number": format!("n{number}") });
        let call = json!({ "jsonrpc": "2.0", "id": number, "method": "tools/call",
            "params": { "name": "run", "arguments": arguments, "_meta": { "progressToken": "t" } } });
        let session = client.session.as_deref().expect("a session");
        let mut http = RawHttp::connect(&scene.url()).await;
        let url = scene.proxy.url("/mcp/slow");
        let headers = [ACCEPT, JSON, ("Mcp-Session-Id", session)];
        http.request("POST", &url, &headers, call.to_string()).await;
        fake.wait_for(&format!("n{number}\"")).await;
    }
    scene.others_are_served().await;
    let grown = resident(scene.proxy.pid()).now.saturating_sub(before.now);
    assert!(grown < 20 << 20, "{grown} bytes are kept");
}
