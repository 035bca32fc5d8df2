//! Upstreams may page their lists as they like: clients see all of every list, in its order.

use crate::stage::Stage;
use serde_json::{Value, json};

#[tokio::test]
async fn all_of_every_list() {
    let stage = Stage::with(json!({
        "tools": [["t1", "t2"], [], ["t3"], ["t4"]],
        "prompts": [["p1"], ["p2"]],
        "resources": [["mem:r1"], ["mem:r2"], ["mem:r3"]],
        "resourceTemplates": [["mem:{a}"], ["mem:{b}/x"]],
    }))
    .await;
    for case in stage.cases() {
        let client = case.client().await;
        let expected = [
            ("tools/list", "tools", "name", vec!["t1", "t2", "t3", "t4"]),
            ("prompts/list", "prompts", "name", vec!["p1", "p2"]),
            ("resources/list", "resources", "uri", vec!["mem:r1", "mem:r2", "mem:r3"]),
            (
                "resources/templates/list",
                "resourceTemplates",
                "uriTemplate",
                vec!["mem:{a}", "mem:{b}/x"],
            ),
        ];
        for (method, list, key, names) in expected {
            let reply = client.request(method, Value::Null).await;
            let result = reply.result();
            assert!(result.get("nextCursor").is_none(), "{case}: it is all of it");
            let seen: Vec<&str> = result[list]
                .as_array()
                .expect("a list")
                .iter()
                .map(|entry| entry[key].as_str().expect("a text"))
                .collect();
            let seen: Vec<&str> = match case.aggregate {
                false => seen,
                true => seen.into_iter().filter(|name| name.contains(case.kind)).collect(),
            };
            let names: Vec<String> = names
                .into_iter()
                .map(|name| match key {
                    "name" => case.name(name),
                    _ => case.uri(name),
                })
                .collect();
            assert_eq!(seen, names, "{case}: {method}");
        }
    }
    for kind in crate::stage::KINDS {
        let cursors = |method| {
            let asked = stage.upstream(kind).received_of(method);
            asked.iter().map(|m| m["params"]["cursor"].clone()).take(4).collect::<Vec<_>>()
        };
        assert_eq!(
            cursors("tools/list"),
            [Value::Null, json!("page-1"), json!("page-2"), json!("page-3")]
        );
    }
}

#[tokio::test]
async fn an_empty_cursor_is_a_cursor() {
    let first = r#"{"tools":[{"name":"one","inputSchema":{"type":"object"}}],"nextCursor":"","resultType":"complete","ttlMs":0,"cacheScope":"private"}"#;
    let fake = crate::support::FakeHttp::serve(move |_, body| {
        let message: Value = serde_json::from_str(body).unwrap_or_default();
        let id = &message["id"];
        let answer = |result: &str| {
            crate::support::Answer::json(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
        };
        let cursor = message["params"].get("cursor");
        match (message["method"].as_str(), cursor) {
            (Some("server/discover"), _) => answer(r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}"#),
            (Some("tools/list"), None) => answer(first),
            (Some("tools/list"), Some(cursor)) if cursor == "" => answer(&first.replace("one", "two").replace(r#""nextCursor":"","#, "")),
            _ => crate::support::Answer::empty(202),
        }
    }).await;
    let config = json!({ "mcpServers": { "fake": fake.entry() } });
    let proxy = crate::support::Proxy::with(config).start().await;
    let reply = crate::support::Modern::new(&proxy.url("/mcp/fake"))
        .request("tools/list", Value::Null)
        .await;
    let names: Vec<&Value> =
        reply.result()["tools"].as_array().expect("a list").iter().map(|t| &t["name"]).collect();
    assert_eq!(names, ["one", "two"]);
}

#[tokio::test]
async fn a_cursor_of_nobody_is_refused() {
    let stage = Stage::of(&["sl", "hm"], json!({ "tools": ["t"] })).await;
    for case in stage.cases() {
        let client = case.client().await;
        let reply = client.request("tools/list", json!({ "cursor": "made up" })).await;
        assert_eq!(reply.error_code(), -32602, "{case}");
    }
}
