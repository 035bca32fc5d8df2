//! What is not JSON is -32700, what is not a message -32600, what is not a method -32601; each says
//! what was expected, and none reaches an upstream.

use super::{MODERN, Scene, modern_body, refusal, refused};
use crate::support::Legacy;
use serde_json::{Value, json};

#[tokio::test]
async fn what_is_not_json_is_a_parse_error() {
    let scene = Scene::new().await;
    for body in [
        "",
        "{",
        "nonsense",
        "{'jsonrpc':'2.0'}",
        r#"{"jsonrpc":"2.0","id":1,"method":"ping",}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"} trailing"#,
        r#"{"jsonrpc":"2.0","id":01,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":NaN,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"pi"#,
        r#"{"jsonrpc":"2.0" "id":1}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\nb\"}",
        r#"{"jsonrpc":"2.0","id":1,"method":"\x"}"#,
        "[{}",
        "/* comment */ {}",
    ] {
        for headers in [&[][..], &[MODERN]] {
            refused(body, &scene.post(headers, body).await, 400, -32700, "invalid json");
        }
    }
    scene.others_are_served().await;
}

#[tokio::test]
async fn wrong_shapes_are_invalid_requests() {
    let scene = Scene::new().await;
    let long = "x".repeat(128 << 10);
    let long_id = format!(r#"{{"jsonrpc":"2.0","id":"{long}","method":"ping"}}"#);
    for (body, expected) in [
        (long_id.as_str(), "id to have at most 131072 bytes"),
        ("\"text\"", "an object"),
        ("42", "an object"),
        ("null", "an object"),
        ("{}", "jsonrpc"),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, "\"2.0\""),
        (r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, "\"2.0\""),
        (r#"{"jsonrpc":"2.0","id":1}"#, "expected a method"),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, "method to be a string"),
        (r#"{"jsonrpc":"2.0","id":1,"method":null}"#, "method to be a string"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"\ud800\u0041"}"#, "method to be a string"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#, "params to be an object"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}"#, "params to be an object"),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, "id to be a string or an integer"),
        (r#"{"jsonrpc":"2.0","id":1e2,"method":"ping"}"#, "id to be a string or an integer"),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, "id to be a string or an integer"),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#, "id to be a string or an integer"),
        (r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, "id to be a string or an integer"),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, "not null"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, "not both"),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#, "expected"),
        (r#"{"jsonrpc":"2.0","id":1,"result":7}"#, "expected"),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":"x"}}"#, "error.code"),
        ("[]", "batch"),
        ("[1]", "batch"),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, "2025-03-26"),
    ] {
        for headers in [&[][..], &[MODERN]] {
            refused(body, &scene.post(headers, body).await, 400, -32600, expected);
        }
    }
    scene.others_are_served().await;
}

#[tokio::test]
async fn a_readable_id_comes_back_with_the_error() {
    let scene = Scene::new().await;
    let wrong = r#"{"jsonrpc":"1.0","id":"mine","method":"ping"}"#;
    let body: Value = serde_json::from_slice(&scene.post(&[], wrong).await.body).expect("JSON");
    assert_eq!(body["id"], "mine");
    let unreadable = r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#;
    let response = scene.post(&[], unreadable).await;
    let body: Value = serde_json::from_slice(&response.body).expect("JSON");
    assert!(body.get("id").is_none_or(Value::is_null), "{body}");
}

#[tokio::test]
async fn batches_belong_to_one_revision_and_are_bounded() {
    let scene = Scene::new().await;
    let newer = scene.legacy().await;
    let ping = |id: usize| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    let reply = newer.send("POST", &format!("[{}]", ping(1))).await.finish().await;
    assert_eq!((reply.status, reply.error_code()), (400, -32600));
    let old = Legacy::connect(&scene.url(), "2025-03-26").await;
    let many = format!("[{}]", (0..1000).map(ping).collect::<Vec<_>>().join(","));
    let reply = old.send("POST", &many).await.finish().await;
    assert_eq!((reply.status, reply.error_code()), (400, -32600));
    // initialize within a batch opens no session: it is refused in its place
    let initialize = json!({ "jsonrpc": "2.0", "id": 7, "method": "initialize", "params": {
        "protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" },
    }});
    let mixed = old.send("POST", &format!("[{},{initialize}]", ping(3))).await.finish().await;
    let answers = mixed.messages[0].as_array().expect("a batch").clone();
    assert_eq!((mixed.status, answers.len()), (200, 2));
    assert!(mixed.headers.header("mcp-session-id").is_none());
    let refused = answers.iter().find(|answer| answer["id"] == 7).expect("an answer");
    assert!(refused["error"]["code"].is_i64(), "{refused}");
    scene.others_are_served().await;
}

#[tokio::test]
async fn versions_nobody_speaks_are_named() {
    let scene = Scene::new().await;
    let mut client = scene.modern();
    for version in ["2099-01-01", "1.0", "2025-11-25", ""] {
        client.revision = version.to_owned();
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list",
            "params": client.with_meta(json!({})) });
        let headers = [("MCP-Protocol-Version", version), ("Mcp-Method", "tools/list")];
        let response = scene.post(&headers, body.to_string()).await;
        refused(version, &response, 400, -32022, "version");
        let body: Value = serde_json::from_slice(&response.body).expect("JSON");
        assert_eq!(body["error"]["data"]["supported"], json!(["2026-07-28"]), "{body}");
        assert_eq!(body["error"]["data"]["requested"], version, "{body}");
    }
    let legacy = scene.legacy().await;
    let session = legacy.session.as_deref().expect("a session");
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for version in ["1999-01-01", "nonsense", "2026-07-28"] {
        let headers = [("Mcp-Session-Id", session), ("MCP-Protocol-Version", version)];
        assert_eq!(refusal(&scene.post(&headers, ping).await).0, 400, "{version}");
    }
    // initialize with a version from the future: the server names its own latest
    let future = Legacy::connect(&scene.url(), "2199-01-01").await;
    assert_eq!(future.revision, "2025-11-25");
    scene.others_are_served().await;
}

#[tokio::test]
async fn handshakes_of_another_shape_open_no_session() {
    let scene = Scene::new().await;
    let good = json!({ "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "x", "version": "1" } });
    for (member, value) in [
        ("protocolVersion", Value::Null),
        ("protocolVersion", json!(20251125)),
        ("capabilities", json!([])),
        ("clientInfo", json!("x")),
    ] {
        let mut params = good.clone();
        params[member] = value;
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
        let response = scene.post(&[], body.to_string()).await;
        let (_, code, message) = refusal(&response);
        assert_eq!(code, -32602, "{member}: {message}");
        assert!(message.contains(member), "{message}");
        assert!(response.head.header("mcp-session-id").is_none());
    }
    scene.others_are_served().await;
}

#[tokio::test]
async fn unknown_methods_are_not_found_and_not_forwarded() {
    let scene = Scene::new().await;
    let (modern, legacy) = (scene.modern(), scene.legacy().await);
    let gone = ["initialize", "ping", "logging/setLevel", "resources/subscribe"];
    let foreign = ["sampling/createMessage", "roots/list", "elicitation/create"];
    let odd = ["nobody/knows", "", "tools/call ", "Tools/Call", "rpc.discover", "tools\u{0}/call"];
    for method in gone.iter().chain(&foreign).chain(&odd) {
        let body = modern_body(1, method, json!({}));
        let response = scene.post(&[MODERN, ("Mcp-Method", method)], &body).await;
        if method.trim() == *method && !method.contains('\0') {
            refused(method, &response, 404, -32601, "method not found");
        } else {
            assert!(response.status() >= 400, "{method:?}"); // such a header cannot be sent as it is
        }
    }
    for method in foreign.iter().chain(&odd) {
        let reply = legacy.request(method, json!({})).await;
        assert_eq!((reply.status, reply.error_code()), (200, -32601), "{method:?}");
    }
    let reply = modern.request("notifications/initialized", json!({})).await;
    assert_eq!((reply.status, reply.error_code()), (404, -32601));
    for method in foreign.iter().chain(&odd).filter(|method| !method.is_empty()) {
        scene.never_forwarded(&json!(method).to_string());
    }
    scene.others_are_served().await;
}

/// CVE-2026-47427: a parameter that is missing or of another type is no crash.
#[tokio::test]
async fn parameters_of_another_type_are_named() {
    let scene = Scene::new().await;
    let (modern, legacy) = (scene.modern(), scene.legacy().await);
    let wrong = [Value::Null, json!(7), json!(true), json!([]), json!({}), json!({ "x": "y" })];
    for value in &wrong {
        for (method, member) in
            [("tools/call", "name"), ("prompts/get", "name"), ("resources/read", "uri")]
        {
            let reply = legacy.request(method, json!({ member: value })).await;
            assert_eq!(reply.error_code(), -32602, "{method} {value}: {reply:?}");
            let message = reply.error()["message"].as_str().unwrap_or_default();
            assert!(message.contains(member), "{method} {value}: {message}");
        }
        for method in ["resources/subscribe", "resources/unsubscribe"] {
            let reply = legacy.request(method, json!({ "uri": value })).await;
            assert_eq!(reply.error_code(), -32602, "{method} {value}");
        }
        for reference in [
            value.clone(),
            json!({ "type": value }),
            json!({ "type": "ref/prompt", "name": value }),
        ] {
            for params in
                [json!({ "ref": reference }), json!({ "ref": reference, "argument": value })]
            {
                let reply = legacy.request("completion/complete", params.clone()).await;
                assert_eq!(reply.error_code(), -32602, "legacy {params}");
                let reply = modern.request("completion/complete", params.clone()).await;
                assert_eq!(reply.error_code(), -32602, "modern {params}");
            }
        }
        let reply = legacy.request("logging/setLevel", json!({ "level": value })).await;
        assert_eq!(reply.error_code(), -32602, "level {value}");
        if !value.is_object() {
            let params = json!({ "notifications": value });
            let reply = modern.request("subscriptions/listen", params).await;
            assert_eq!(reply.error_code(), -32602, "listen {value}");
        }
        let meta = json!({ "io.modelcontextprotocol/logLevel": value });
        let reply = modern.request("tools/call", json!({ "name": "echo", "_meta": meta })).await;
        assert_eq!(reply.error_code(), -32602, "log level {value}");
    }
    for method in ["tools/call", "prompts/get", "resources/read", "completion/complete"] {
        let reply = legacy.request(method, Value::Null).await;
        assert_eq!(reply.error_code(), -32602, "{method} without params");
    }
    scene.others_are_served().await;
}
