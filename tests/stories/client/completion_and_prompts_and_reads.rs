//! Prompts, resources and completions find their upstream as tools do.

use crate::stage::Stage;
use crate::support::{Modern, Proxy};
use serde_json::{Value, json};

fn script() -> Value {
    json!({
        "prompts": ["greet"],
        "resources": ["mem:note", "notes/plain"],
        "resourceTemplates": ["mem:{id}"],
    })
}

#[tokio::test]
async fn everybody_gets_what_the_upstream_says() {
    let stage = Stage::with(script()).await;
    for case in stage.cases() {
        let client = case.client().await;
        let greet = json!({ "name": case.name("greet"), "arguments": { "who": "me" } });
        let reply = client.request("prompts/get", greet).await;
        assert_eq!(reply.result()["messages"][0]["content"]["text"], "prompt greet", "{case}");
        assert_eq!(
            case.upstream.received_of("prompts/get").last().expect("one")["params"]["arguments"],
            json!({ "who": "me" })
        );

        // listed, unlisted, made from a template: the upstream decides
        for own in ["mem:note", "mem:never-listed", "mem:a%20b?c=d#e"] {
            let reply = client.request("resources/read", json!({ "uri": case.uri(own) })).await;
            let contents = &reply.result()["contents"][0];
            assert_eq!(contents["text"], format!("contents of {own}"), "{case}");
            assert_eq!(contents["uri"], case.uri(own), "{case}: as the client knows it");
        }

        for reference in [
            json!({ "type": "ref/prompt", "name": case.name("greet") }),
            json!({ "type": "ref/resource", "uri": case.uri("mem:{id}") }),
        ] {
            let params = json!({
                "ref": reference,
                "argument": { "name": "who", "value": "wo" },
                "context": { "arguments": { "a": "b" } },
            });
            let reply = client.request("completion/complete", params).await;
            assert_eq!(reply.result()["completion"]["values"], json!(["wo-completed"]), "{case}");
            let asked = case.upstream.received_of("completion/complete").pop().expect("one");
            let own = json!(match reference["type"] == "ref/prompt" {
                true => ("name", "greet"),
                false => ("uri", "mem:{id}"),
            });
            assert_eq!(asked["params"]["ref"][own[0].as_str().expect("a key")], own[1], "{case}");
            assert_eq!(asked["params"]["context"], json!({ "arguments": { "a": "b" } }), "{case}");
        }
    }
}

#[tokio::test]
async fn what_is_incomplete_or_nobodys_is_refused() {
    let stage = Stage::with(script()).await;
    let sent = |kind| {
        let upstream = stage.upstream(kind);
        ["prompts/get", "resources/read", "completion/complete"]
            .map(|m| upstream.received_of(m).len())
    };
    for case in stage.cases().iter().filter(|case| case.aggregate) {
        let before = sent(case.kind);
        let client = case.client().await;
        for (method, params) in [
            ("prompts/get", json!({ "name": "greet" })),
            ("prompts/get", json!({ "name": "nobody__greet" })),
            ("resources/read", json!({ "uri": "mem:note" })),
            ("resources/read", json!({ "uri": "mcp-nobody+mem:note" })),
            (
                "completion/complete",
                json!({ "ref": { "type": "ref/prompt", "name": "greet" }, "argument": { "name": "a", "value": "" } }),
            ),
            (
                "completion/complete",
                json!({ "ref": { "type": "ref/resource", "uri": "mem:{id}" }, "argument": { "name": "a", "value": "" } }),
            ),
        ] {
            let reply = client.request(method, params.clone()).await;
            assert_eq!(reply.status, 200, "{case}");
            let wanted = match (case.era, method) {
                ("legacy", "resources/read") => -32002,
                _ => -32602,
            };
            assert_eq!(reply.error_code(), wanted, "{case}: {method} {params}");
        }
        assert_eq!(sent(case.kind), before, "{case}: no upstream was asked");
    }
    for case in stage.cases() {
        let client = case.client().await;
        for (method, params) in [
            ("prompts/get", json!({})),
            ("resources/read", json!({ "uri": 7 })),
            ("completion/complete", json!({ "ref": "greet" })),
            ("completion/complete", json!({ "ref": { "type": "ref/nothing", "name": "greet" } })),
        ] {
            let reply = client.request(method, params.clone()).await;
            // what a modern client must mirror in a header is missed there first
            let mirrored = case.era == "modern" && method != "completion/complete";
            let code = if mirrored { -32020 } else { -32602 };
            assert_eq!(reply.error_code(), code, "{case}: {method} {params}");
        }
    }
}

/// What no upstream has is not implemented here: the capability, the list and the requests agree
/// (MCP 2026-07-28 basic/transports/streamable-http: 404 and -32601).
#[tokio::test]
async fn what_nobody_offers_is_no_method_of_the_shared_endpoint() {
    let proxy =
        Proxy::with(json!({ "mcpServers": { "1mcp": { "type": "builtin" } } })).start().await;
    let client = Modern::new(&proxy.url("/mcp"));
    let capabilities = client.request("server/discover", json!({})).await;
    let capabilities = capabilities.result()["capabilities"].clone();
    assert_eq!(capabilities, json!({ "tools": { "listChanged": true } }));
    let argument = json!({ "name": "a", "value": "" });
    for (method, params) in [
        ("prompts/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("prompts/get", json!({ "name": "x" })),
        ("resources/read", json!({ "uri": "x:y" })),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": "x" }, "argument": argument }),
        ),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/resource", "uri": "x:y" }, "argument": argument }),
        ),
    ] {
        let reply = client.request(method, params).await;
        assert_eq!((reply.status, reply.error_code()), (404, -32601), "{method}: {reply:?}");
    }
    let unknown = client.request("tools/call", json!({ "name": "x" })).await;
    assert_eq!((unknown.status, unknown.error_code()), (200, -32602));
}
