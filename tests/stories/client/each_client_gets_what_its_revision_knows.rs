//! Both sides speak what they agreed on with us, and what the client's revision has no form for is
//! said in another: content and schemas are those of its own revision, whichever the upstream's is.

use crate::stage::Stage;
use crate::support::Legacy;
use serde_json::{Value, json};

fn script() -> Value {
    let result = json!({
        "content": [
            { "type": "text", "text": "t" },
            { "type": "resource_link", "uri": "mem:a", "name": "a", "title": "A" },
            { "type": "audio", "data": "AA==", "mimeType": "audio/wav" },
        ],
        "structuredContent": { "a": 1 },
    });
    json!({
        "tools": [{
            "name": "tool", "title": "T", "icons": [], "inputSchema": { "type": "object" },
            "outputSchema": { "type": "object" },
        }],
        "on": { "tools/call": [{ "result": result }] },
    })
}

#[tokio::test]
async fn in_content_and_in_schemas() {
    let stage = Stage::with(script()).await;
    for case in stage.cases().iter().filter(|case| case.era == "legacy") {
        for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
            let client = Legacy::connect(&case.url(), revision).await;
            let has = |since: &str| revision >= since;
            let listed = client.request("tools/list", Value::Null).await;
            let tools = listed.result()["tools"].as_array().expect("a list").clone();
            let tool = tools.into_iter().find(|t| t["name"] == case.name("tool")).expect("it");
            assert_eq!(tool.get("outputSchema").is_some(), has("2025-06-18"), "{case} {revision}");
            assert_eq!((&tool["title"], &tool["icons"]), (&json!("T"), &json!([])), "harmless");

            let reply = client.request("tools/call", json!({ "name": case.name("tool") })).await;
            let result = reply.result();
            let kinds: Vec<_> = result["content"].as_array().expect("blocks").iter().collect();
            let types: Vec<_> = kinds.iter().filter_map(|block| block["type"].as_str()).collect();
            let expected = [
                "text",
                if has("2025-06-18") { "resource_link" } else { "text" },
                if has("2025-03-26") { "audio" } else { "text" },
            ];
            assert_eq!(types, expected, "{case} {revision}");
            if !has("2025-06-18") {
                assert_eq!(kinds[1]["text"], case.uri("mem:a"), "a link is said by its uri");
            }
            let structured = result.get("structuredContent").is_some();
            assert_eq!(structured, has("2025-06-18"), "{case} {revision}: with its schema");
        }
    }
}

/// A client that checks what it reads refuses a whole list for one property that is no object.
#[tokio::test]
async fn a_property_is_an_object() {
    let tools = json!([{ "name": "tool", "inputSchema": { "type": "object", "properties": { "any": true, "none": false } } }]);
    let stage = Stage::of(&["sm", "hm"], json!({ "tools": tools })).await;
    for case in stage.cases() {
        let listed = case.client().await.request("tools/list", Value::Null).await;
        let tools = listed.result()["tools"].as_array().expect("a list").clone();
        let tool = tools.into_iter().find(|t| t["name"] == case.name("tool")).expect("it");
        let properties = match case.era {
            "legacy" => json!({ "any": {}, "none": { "not": {} } }),
            _ => json!({ "any": true, "none": false }),
        };
        assert_eq!(tool["inputSchema"]["properties"], properties, "{case}");
    }
}

/// Where nothing is mirrored into headers an invalid annotation means nothing; a client of ours
/// would have to leave the tool out.
#[tokio::test]
async fn annotations_are_judged_by_the_transport() {
    let tools = json!([
        { "name": "bad", "inputSchema": { "type": "object", "properties": {
            "n": { "type": "number", "x-mcp-header": "N" }, "s": { "type": "string", "x-mcp-header": "S" } } } },
        { "name": "good", "inputSchema": { "type": "object" } },
    ]);
    let stage = Stage::with(json!({ "tools": tools })).await;
    for case in stage.cases() {
        let listed = case.client().await.request("tools/list", Value::Null).await;
        let tools = listed.result()["tools"].as_array().expect("a list").clone();
        let tool = tools.iter().find(|tool| tool["name"] == case.name("bad"));
        if case.kind == "hm" {
            assert_eq!(tool, None, "{case}: over HTTP it is left out");
            continue;
        }
        let properties = &tool.expect("the tool")["inputSchema"]["properties"];
        assert_eq!(properties["s"]["x-mcp-header"], "S", "{case}: a valid one stays");
        let stripped = properties["n"].get("x-mcp-header").is_none();
        assert_eq!(stripped, case.era == "modern", "{case}: others do not look");
    }
    assert!(stage.proxy.logs.text().contains(r#"tool \"bad\" of upstream \"hm\" is left out"#));
}
