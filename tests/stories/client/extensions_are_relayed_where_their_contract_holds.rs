//! MCP 2026-07-28 basic/versioning, "Extension Negotiation": what an upstream says that it supports
//! holds for a client that speaks to it alone and in its era. MCP Apps are older than the modern era
//! and known in both. Several upstreams as one promise nothing, but their apps can be read there.

use crate::stage::{Client, Stage, progress};
use crate::support::{FakeStdio, Legacy, Modern, Proxy};
use serde_json::{Value, json};

const UI: &str = "io.modelcontextprotocol/ui";

fn script() -> Value {
    let settings = json!({ "mimeTypes": ["text/html;profile=mcp-app"], "n": 1.50 });
    json!({
        "capabilities": {
            "tools": {}, "resources": {},
            "extensions": {
                UI: settings, "com.example/x": { "a": [1] }, "com.example/bad": 7, "bare": {},
                "io.modelcontextprotocol/oauth-client-credentials": {},
            },
        },
        "tools": [{
            "name": "chart", "inputSchema": { "type": "object" },
            "_meta": { "ui": { "resourceUri": "ui://chart/v", "visibility": ["model"] }, "ui/resourceUri": "ui://chart/v" },
        }],
    })
}

/// The capabilities that a client is told.
async fn told(client: &Client) -> Value {
    match client {
        Client::Legacy(client) => client.initialized["capabilities"].clone(),
        Client::Modern(client) => {
            let reply = client.request("server/discover", Value::Null).await;
            reply.result()["capabilities"].clone()
        }
    }
}

#[tokio::test]
async fn alone_and_in_its_era() {
    let stage = Stage::with(script()).await;
    let own = &script()["capabilities"]["extensions"];
    for case in stage.cases() {
        let told = told(&case.client().await).await;
        let expected = match (case.aggregate, case.era == case.upstream_era()) {
            (true, _) => None,
            (false, true) => Some(json!({ UI: own[UI], "com.example/x": own["com.example/x"] })),
            (false, false) => Some(json!({ UI: own[UI] })),
        };
        assert_eq!(told.get("extensions"), expected.as_ref(), "{case}");
    }
    let older = Legacy::connect(&stage.proxy.url("/mcp/sl"), "2025-06-18").await;
    assert_eq!(older.initialized["capabilities"].get("extensions"), None, "it knows none");
}

#[tokio::test]
async fn an_app_is_found_from_its_tool() {
    let stage = Stage::with(script()).await;
    for case in stage.cases() {
        let client = case.client().await;
        let listed = client.request("tools/list", Value::Null).await;
        let tools = listed.result()["tools"].as_array().expect("a list");
        let tool = tools.iter().find(|tool| tool["name"] == case.name("chart")).expect("the tool");
        let uri = if case.aggregate {
            format!("ui://{}+chart/v", case.kind)
        } else {
            "ui://chart/v".into()
        };
        let meta =
            json!({ "ui": { "resourceUri": uri, "visibility": ["model"] }, "ui/resourceUri": uri });
        assert_eq!(tool["_meta"], meta, "{case}");

        let read = client.request("resources/read", json!({ "uri": uri })).await;
        assert_eq!(read.result()["contents"][0]["uri"], uri, "{case}");
        let asked = case.upstream.received_of("resources/read").pop().expect("it was read");
        assert_eq!(asked["params"]["uri"], "ui://chart/v", "{case}");
    }
}

/// What a session began with is said to a modern upstream with each request, and to nobody else: the
/// connection to a legacy one is shared.
#[tokio::test]
async fn what_a_legacy_client_supports_is_said_where_it_holds_for_it_alone() {
    let stage = Stage::with(script()).await;
    let apps = json!({ "mimeTypes": ["a/b"], "n": 1.0 });
    let declared = json!({ "extensions": { UI: apps, "com.example/x": {} } });
    for case in stage.cases().iter().filter(|case| case.era == "legacy") {
        let url = case.url();
        let client = Legacy::connect_with(&url, "2025-11-25", declared.clone()).await;
        let silent = Legacy::connect(&url, "2025-11-25").await;
        let older = Legacy::connect_with(&url, "2025-06-18", declared.clone()).await;
        for (client, expected) in
            [(&client, json!({ UI: apps })), (&silent, json!(null)), (&older, json!(null))]
        {
            client.request("tools/call", json!({ "name": case.name("chart") })).await.result();
            let call = case.upstream.received_of("tools/call").pop().expect("a call");
            let meta = &call["params"]["_meta"];
            let said = &meta["io.modelcontextprotocol/clientCapabilities"]["extensions"];
            let holds = case.upstream_era() == "modern";
            assert_eq!(said, if holds { &expected } else { &Value::Null }, "{case}");
        }
        for begun in case.upstream.received_of("initialize") {
            assert_eq!(begun["params"]["capabilities"].get("extensions"), None, "{case}");
        }
    }
}

#[tokio::test]
async fn what_a_modern_client_supports_is_said_with_its_requests() {
    let stage = Stage::of(&["sm", "hm"], script()).await;
    for case in stage.cases() {
        let Client::Modern(mut client) = case.client().await else { continue };
        let apps = json!({ "mimeTypes": ["a/b"] });
        client.capabilities = json!({ "extensions": { UI: apps, "com.example/x": {} } });
        client.request("tools/call", json!({ "name": case.name("chart") })).await.result();
        let call = case.upstream.received_of("tools/call").pop().expect("a call");
        let said = &call["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
        let expected = match case.aggregate {
            true => json!({ "extensions": { UI: apps } }), // several keep no more
            false => client.capabilities.clone(),
        };
        assert_eq!(said, &expected, "{case}");
    }
}

/// MCP 2026-07-28 basic, "Result Type": an extension that both sides support may add some.
#[tokio::test]
async fn a_kind_of_result_of_an_extension_is_for_who_supports_it() {
    let mut script = script();
    let odd = json!({ "resultType": "com.example/odd", "n": 1.0 });
    script["on"]["tools/call"] = json!([{ "resultText": odd.to_string() }]);
    let stage = Stage::of(&["sm", "hm"], script).await;
    for case in stage.cases() {
        let Client::Modern(mut client) = case.client().await else { continue };
        for (declared, supported) in [
            (json!({}), false),
            (json!({ "extensions": { "com.example/other": {} } }), false),
            (json!({ "extensions": { "com.example/x": {} } }), true),
        ] {
            client.capabilities = declared;
            let reply = client.request("tools/call", json!({ "name": case.name("chart") })).await;
            match supported && !case.aggregate {
                true => assert_eq!(*reply.result(), odd, "{case}"),
                false => assert_eq!(reply.error_code(), -32603, "{case}: {:?}", reply.texts),
            }
        }
    }
}

const ANSWER: &str = r#"{"resultType":"complete","n":1.50,"uri":"file:\/\/x","nextCursor":"c"}"#;

fn with_methods() -> Value {
    let mut script = script();
    script["on"] = json!({
        "com.example/do": [progress(1, "half"), { "resultText": ANSWER }],
        "com.example/hang": [progress(1, "begun"), { "await": "never" }, { "usual": true }],
        "tasks/list": [{ "result": {} }],
    });
    script
}

/// An extension may have methods, of which nothing is known but that they are requests.
#[tokio::test]
async fn its_methods_can_be_called_where_it_was_declared() {
    let stage = Stage::with(with_methods()).await;
    for case in stage.cases() {
        let client = case.client().await;
        let count = || case.upstream.received_of("com.example/do").len();
        let before = count();
        let params = json!({ "a": [1], "_meta": { "progressToken": "mine" } });
        let reply = client.request("com.example/do", params).await;
        if case.aggregate || case.era != case.upstream_era() {
            assert_eq!(reply.error_code(), -32601, "{case}");
            assert_eq!(count(), before, "{case}: it is never asked");
            continue;
        }
        assert!(reply.texts.last().expect("an answer").contains(ANSWER), "{case}: {reply:?}");
        assert_eq!(reply.messages[0]["params"]["progressToken"], "mine", "{case}");
        let asked = case.upstream.received_of("com.example/do").pop().expect("it was asked");
        assert_eq!(asked["params"]["a"], json!([1]), "{case}");
        let listed = client.request("tasks/list", json!({})).await;
        assert_eq!(listed.error_code(), -32601, "{case}: it would list what belongs to others");

        let params = json!({ "_meta": { "progressToken": "mine" } });
        let id = json!("give up");
        let mut hanging = client.open_as(&id, "com.example/hang", params).await;
        hanging.next().await.expect("it has begun");
        let theirs = case.upstream.received_of("com.example/hang").pop().expect("it was asked");
        drop(hanging);
        if let Client::Legacy(client) = &client {
            let cancelled = json!({ "requestId": id });
            assert_eq!(client.notify("notifications/cancelled", cancelled).await, 202);
        }
        if case.kind != "hm" {
            case.upstream.wait_for(&format!(r#""requestId":{},"#, theirs["id"])).await;
        } // else the disconnect is all that is said
    }
}

/// Nobody knows what a foreign method calls.
#[tokio::test]
async fn its_methods_cannot_be_called_where_some_tools_must_not_be() {
    for (era, limits) in [
        ("legacy", json!({ "disabledTools": ["x"] })),
        ("modern", json!({ "enabledTools": ["chart"] })),
    ] {
        let mut limited = with_methods();
        limited["era"] = era.into();
        let upstream = FakeStdio::new(limited);
        let mut entry = upstream.entry();
        entry
            .as_object_mut()
            .expect("an entry")
            .extend(limits.as_object().expect("limits").clone());
        let proxy = Proxy::with(json!({ "mcpServers": { "a": entry } })).start().await;
        proxy.logs.wait_for("a: ready").await;
        let url = proxy.url("/mcp/a");
        let client = match era {
            "legacy" => Client::Legacy(Legacy::connect(&url, "2025-11-25").await),
            _ => Client::Modern(Modern::new(&url)),
        };
        let told = told(&client).await;
        let own = &script()["capabilities"]["extensions"];
        assert_eq!(told["extensions"], json!({ UI: own[UI] }), "{era}");
        let reply = client.request("com.example/do", json!({})).await;
        assert_eq!(reply.error_code(), -32601, "{era}");
        assert!(upstream.received_of("com.example/do").is_empty(), "{era}");
    }
}
