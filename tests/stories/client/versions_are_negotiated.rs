//! Client and proxy agree on a revision that both speak, whatever the upstreams speak.

use crate::stage::{Stage, Upstream};
use crate::support::{FakeHttp, FakeStdio, Legacy, Modern, Proxy, RawHttp};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[tokio::test]
async fn each_legacy_client_gets_what_it_asked_for_or_the_newest() {
    let stage = Stage::with(json!({ "tools": ["echo"] })).await;
    for (asked, agreed) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("2099-12-31", "2025-11-25"),
        ("DRAFT", "2025-11-25"),
        ("", "2025-11-25"),
    ] {
        for path in ["/mcp", "/mcp/sl", "/mcp/sm", "/mcp/hl", "/mcp/hm"] {
            let client = Legacy::connect(&stage.proxy.url(path), asked).await;
            assert_eq!(client.revision, agreed, "{asked} on {path}");
            assert_eq!(client.initialized["serverInfo"]["name"], "1mcp");
            client.request("tools/list", Value::Null).await.result();
        }
    }
}

#[tokio::test]
async fn a_handshake_without_its_parts_is_refused() {
    let stage = Stage::of(&["sl"], json!({})).await;
    let url = stage.proxy.url("/mcp");
    let whole = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" } });
    for (member, value) in [
        ("protocolVersion", Value::Null),
        ("protocolVersion", json!(20251125)),
        ("capabilities", Value::Null),
        ("clientInfo", json!("x")),
    ] {
        let mut params = whole.clone();
        params[member] = value;
        let body = json!({ "jsonrpc": "2.0", "id": 3, "method": "initialize", "params": params });
        let reply = RawHttp::once("POST", &url, &[JSON], body.to_string()).await;
        let answer: Value = serde_json::from_str(&reply.text()).expect("JSON");
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&json!(3), &json!(-32602)),
            "{answer}"
        );
        assert_eq!(reply.head.header("mcp-session-id"), None, "no session begins");
        assert!(
            answer["error"]["message"].as_str().is_some_and(|text| text.contains(member)),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn modern_clients_discover_one_version_and_refusals_name_the_same() {
    let stage = Stage::with(json!({})).await;
    for path in ["/mcp", "/mcp/sl", "/mcp/hm"] {
        let mut client = Modern::new(&stage.proxy.url(path));
        let reply = client.request("server/discover", Value::Null).await;
        let supported = reply.result()["supportedVersions"].clone();
        assert_eq!(supported, json!(["2026-07-28"]));
        assert_eq!(reply.result()["resultType"], "complete");
        for other in ["2025-11-25", "2026-07-29", "garbage", ""] {
            client.revision = other.to_owned();
            let reply = client.request("tools/list", Value::Null).await;
            if other.starts_with("2025") || other.is_empty() {
                continue; // told apart by the eras' own table
            }
            assert_eq!((reply.status, reply.error_code()), (400, -32022), "{other}");
            let data = &reply.error()["data"];
            assert_eq!((&data["supported"], &data["requested"]), (&supported, &json!(other)));
        }
    }
}

#[tokio::test]
async fn upstreams_of_every_revision_are_met_in_their_own() {
    let mut fakes = Vec::new();
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let script = json!({ "revision": revision, "tools": ["echo"] });
        fakes.push((revision, "s", Upstream::Stdio(FakeStdio::new(script.clone()))));
        fakes.push((revision, "h", Upstream::Http(FakeHttp::mcp(script).await)));
    }
    let both = json!({ "era": "both", "tools": ["echo"] });
    fakes.push(("2026-07-28", "s", Upstream::Stdio(FakeStdio::new(both.clone()))));
    fakes.push(("2026-07-28", "h", Upstream::Http(FakeHttp::mcp(both).await)));
    let entries =
        fakes.iter().map(|(revision, kind, fake)| (format!("{kind}{revision}"), fake.entry()));
    let entries: serde_json::Map<String, Value> = entries.collect();
    let proxy = Proxy::with(json!({ "mcpServers": entries })).start().await;
    for (revision, kind, fake) in &fakes {
        let url = proxy.url(&format!("/mcp/{kind}{revision}"));
        let call = json!({ "name": "echo", "arguments": { "a": 1 } });
        for reply in [
            Legacy::connect(&url, "2025-06-18").await.request("tools/call", call.clone()).await,
            Modern::new(&url).request("tools/call", call.clone()).await,
        ] {
            assert_eq!(reply.result()["content"][0]["text"], r#"{"a":1}"#, "{kind} {revision}");
        }
        let handshakes = fake.received_of("initialize").len();
        assert_eq!(handshakes, usize::from(*revision < "2026"), "{kind} {revision}");
        if let Upstream::Http(fake) = fake {
            let call = fake.recorded().into_iter().rfind(|r| r.body.contains("tools/call"));
            let head = call.expect("it was called").head;
            assert_eq!(head.header("mcp-protocol-version"), Some(*revision));
        }
    }
}

#[tokio::test]
async fn what_is_offered_is_what_the_upstreams_have() {
    let tools_only = json!({ "capabilities": { "tools": {} }, "tools": ["echo"] });
    let stage = Stage::with(tools_only).await;
    for case in stage.cases() {
        let capabilities = match case.client().await {
            crate::stage::Client::Legacy(client) => client.initialized["capabilities"].clone(),
            crate::stage::Client::Modern(client) => {
                client.request("server/discover", Value::Null).await.result()["capabilities"]
                    .clone()
            }
        };
        let expected = if case.aggregate { json!({ "listChanged": true }) } else { json!({}) };
        assert_eq!(capabilities, json!({ "tools": expected }), "{case}");
        let client = case.client().await;
        for method in ["prompts/list", "resources/list", "resources/templates/list"] {
            assert_eq!(client.request(method, Value::Null).await.error_code(), -32601, "{case}");
        }
    }
}
