//! What was checked is what is forwarded (GHSA-4gph-2hhr-5mwg, CVE-2026-27896, GHSA-q382-vc8q-7jhj):
//! a member that stands there twice, however it is written, is refused where we read it; names are
//! compared exactly; bytes that parsers read differently do not pass.

use super::{ACCEPT, JSON, MODERN, Scene, refused};
use crate::support::RawHttp;
use serde_json::json;

const CALL: (&str, &str) = ("Mcp-Method", "tools/call");
const NAME: (&str, &str) = ("Mcp-Name", "echo");
const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

#[tokio::test]
async fn doubled_members_are_refused_however_they_are_written() {
    let scene = Scene::new().await;
    let call = |params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{META},{params}}}}}"#)
    };
    let bodies = [
        call(r#""name":"echo","name":"smuggled""#),
        call(r#""name":"smuggled","name":"echo""#),
        call(r#""name":"echo","n\u0061me":"smuggled""#),
        call(r#""\u006e\u0061\u006d\u0065":"smuggled","name":"echo""#),
        call(r#""name":"echo","arguments":{},"arguments":{"smuggled":1}"#),
        call(r#""name":"echo","_meta":{"smuggled":1}"#),
        call(r#""name":"echo","\u005fmeta":{"smuggled":1}"#),
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{"name":"smuggled"}}"#.into(),
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"smuggled"}}"#.into(),
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","\u006dethod":"tools/call","params":{"name":"smuggled"}}"#.into(),
        r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"tools/call"}"#.into(),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"},"params":{"name":"smuggled"}}"#.into(),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","_meta":{"progressToken":1,"progressToken":2}}}"#.into(),
    ];
    let legacy = scene.legacy().await;
    for body in &bodies {
        refused(body, &scene.post(&[MODERN, CALL, NAME], body).await, 400, -32600, "twice");
        let reply = legacy.send("POST", body).await.finish().await;
        assert_eq!((reply.status, reply.error_code()), (400, -32600), "{body}");
    }
    scene.never_forwarded("smuggled");
    scene.others_are_served().await;
}

/// `Name` is not `name`: it is an unknown member, and passes as one, in its place.
#[tokio::test]
async fn members_in_other_cases_are_other_members() {
    let scene = Scene::new().await;
    let params = r#""name":"echo","Name":"other","NAME":1,"arguments":{"a":1,"a":2,"A":3}"#;
    let body =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{params},{META}}}}}"#);
    let response = scene.post(&[MODERN, CALL, NAME], &body).await;
    assert_eq!(response.status(), 200);
    let sent = scene.good.wait_for(r#""Name":"other""#).await;
    assert!(sent.contains(params), "what was checked is what was sent: {sent}");
    let only = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"Name":"echo"}}"#;
    let reply = scene.legacy().await.send("POST", only).await.finish().await;
    assert_eq!(reply.error_code(), -32602);
    scene.never_forwarded(r#"{"Name":"echo"}"#);
}

#[tokio::test]
async fn bytes_that_parsers_read_differently_do_not_pass() {
    let scene = Scene::new().await;
    let legacy = scene.legacy().await;
    let version = ("MCP-Protocol-Version", "2025-11-25");
    let session = ("Mcp-Session-Id", legacy.session.as_deref().expect("a session"));
    let around = |bytes: &[u8]| {
        let (head, tail) = (
            &br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"mark":""#[..],
            &br#""}}}"#[..],
        );
        [head, bytes, tail].concat()
    };
    for bytes in [
        &b"\0"[..],
        b"\x1f",
        b"\xff",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf5\x80\x80\x80",
        b"\xe2\x82",
        b"\\u00",
        b"\\u00g0",
    ] {
        let response = scene.post(&[session, version], around(bytes)).await;
        refused(&format!("{bytes:?}"), &response, 400, -32700, "invalid json");
    }
    let bom = [b"\xef\xbb\xbf", &around(b"x")[..]].concat();
    refused("a BOM", &scene.post(&[session, version], bom).await, 400, -32700, "invalid json");
    let utf16: Vec<u8> = r#"{"id":1}"#.bytes().flat_map(|b| [b, 0]).collect();
    refused("UTF-16", &scene.post(&[session, version], utf16).await, 400, -32700, "invalid json");
    scene.never_forwarded("mark");
    scene.others_are_served().await;
}

/// Half a surrogate pair is valid JSON but no text: it is no name, and in arguments it is not ours
/// to judge.
#[tokio::test]
async fn lone_surrogates_are_no_names() {
    let scene = Scene::new().await;
    let legacy = scene.legacy().await;
    for method in ["tools/call", "prompts/get"] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"name":"echo\ud800"}}}}"#
        );
        let reply = legacy.send("POST", &body).await.finish().await;
        assert_eq!(reply.error_code(), -32602, "{reply:?}");
    }
    scene.never_forwarded("ud800");
    let arguments = r#"{"half":"\udc00 \ud800"}"#;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{arguments}}}}}"#
    );
    let version = ("MCP-Protocol-Version", "2025-11-25");
    let session = ("Mcp-Session-Id", legacy.session.as_deref().expect("a session"));
    let mut http = RawHttp::connect(&scene.url()).await;
    http.request("POST", &scene.url(), &[ACCEPT, JSON, session, version], body).await;
    scene.good.wait_for(arguments).await;
    scene.others_are_served().await;
}

/// An escaped NUL is valid JSON: it passes as it is where it means nothing to us, and makes
/// another name where it does.
#[tokio::test]
async fn an_escaped_nul_is_part_of_the_name() {
    let scene = Scene::new().await;
    let reply = scene.legacy().await.request("tools/call", json!({ "name": "echo\u{0}" })).await;
    assert!(reply.response()["error"].is_object(), "{reply:?}");
    let aggregate = crate::support::Legacy::connect(&scene.proxy.url("/mcp"), "2025-11-25").await;
    for name in ["good__echo\u{0}", "good__ech\u{0}o", "\u{0}good__echo", "good__echo "] {
        let reply = aggregate.request("tools/call", json!({ "name": name })).await;
        assert_eq!(reply.error_code(), -32602, "{name:?}");
    }
    let arguments = r#"{"k\u0000":"v\u0000"}"#;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{{"name":"good__echo","arguments":{arguments}}}}}"#
    );
    let reply = aggregate.send("POST", &body).await.finish().await;
    assert_eq!(reply.result()["content"][0]["text"], arguments);
}

#[tokio::test]
async fn deep_nesting_and_huge_objects_are_refused() {
    let scene = Scene::new().await;
    let legacy = scene.legacy().await;
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let call = |arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"deep":{arguments}}}}}}}"#
        )
    };
    for depth in [200, 10_000, 1_000_000] {
        let reply = legacy.send("POST", &call(&nested(depth))).await.finish().await;
        assert_eq!((reply.status, reply.error_code()), (400, -32700), "depth {depth}");
        let message = reply.error()["message"].as_str().unwrap_or_default();
        assert!(message.contains("128"), "names the limit: {message}");
        let open = "[".repeat(depth);
        let reply = legacy.send("POST", &open).await.finish().await;
        assert_eq!((reply.status, reply.error_code()), (400, -32700), "only opened {depth}");
    }
    assert_eq!(legacy.send("POST", &call(&nested(100))).await.finish().await.status, 200);
    // so many members where we look at names would cost time squared somewhere
    let many: String = (0..200_000).map(|n| format!(r#","x{n}":{n}"#)).collect();
    let params = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo"{many}}}}}"#
    );
    let envelope = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping"{many}}}"#);
    for body in [&params, &envelope] {
        let reply = legacy.send("POST", body).await.finish().await;
        assert_eq!((reply.status, reply.error_code()), (400, -32600), "{reply:?}");
    }
    scene.never_forwarded("x199999");
    // in arguments they are not ours to judge
    let arguments = format!(r#"{{"first":1{many}}}"#);
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{arguments}}}}}"#
    );
    let reply = legacy.send("POST", &body).await.finish().await;
    assert_eq!(reply.result()["content"][0]["text"].as_str().map(str::len), Some(arguments.len()));
    scene.others_are_served().await;
}
