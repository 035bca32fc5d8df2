//! On `/mcp` every resource URI says whose it is, in every place where a client may take it from,
//! and loses that again on its way to the upstream. Text, arguments and icons are nobody's business.
//! On `/mcp/{slug}` nothing is marked.

use crate::stage::{Case, Client, Stage};
use crate::support::Modern;
use serde_json::{Value, json};

const TAG: &str = "io.modelcontextprotocol/subscriptionId";

fn block_link() -> Value {
    json!({ "type": "resource_link", "uri": "mem:link", "name": "mem:link", "icons": [{ "src": "mem:icon" }] })
}

fn block_embedded() -> Value {
    json!({ "type": "resource", "resource": { "uri": "ui://app/x", "text": "mem:text" } })
}

fn block_text() -> Value {
    json!({ "type": "text", "text": "mem:text", "uri": "mem:not-a-uri-here" })
}

fn script() -> Value {
    let called = json!({
        "content": [block_link(), block_embedded(), block_text()],
        "structuredContent": { "uri": "mem:data", "resource": { "uri": "mem:data" } },
        "_meta": { "ui": { "resourceUri": "ui://app/ui" }, "ui/resourceUri": "ui://app/flat", "uri": "mem:meta" },
    });
    let got = json!({ "messages": [
        { "role": "user", "content": block_link() },
        { "role": "user", "content": [block_embedded(), block_text()] },
    ]});
    let read = json!({ "contents": [
        { "uri": "mem:a", "text": "mem:text" }, { "uri": "mcp-hl+mem:foreign", "blob": "" },
        { "uri": "notes/plain", "text": "" }, { "uri": "UI://App/x", "text": "" },
    ]});
    json!({
        "tools": ["call", "touch"], "prompts": ["get"],
        "on": {
            "tools/call:call": [{ "result": called }],
            "prompts/get": [{ "result": got }],
            "resources/read": [{ "result": read }],
            "tools/call:touch": [
                { "notify": ["notifications/resources/updated", { "uri": "mem:a", "title": "mem:a" }] },
                { "usual": true },
            ],
        },
    })
}

/// A `ui:` URI keeps its scheme: hosts of MCP Apps look for it.
fn ui(case: &Case<'_>, rest: &str) -> String {
    if case.aggregate { format!("ui://{}+{rest}", case.kind) } else { format!("ui://{rest}") }
}

fn link_as_seen(case: &Case<'_>) -> Value {
    let mut link = block_link();
    link["uri"] = json!(case.uri("mem:link"));
    link
}

fn embedded_as_seen(case: &Case<'_>) -> Value {
    let mut embedded = block_embedded();
    embedded["resource"]["uri"] = json!(ui(case, "app/x"));
    embedded
}

#[tokio::test]
async fn in_results_of_tools_and_prompts() {
    let stage = Stage::with(script()).await;
    for case in stage.cases() {
        let client = case.client().await;
        let arguments = json!({ "uri": case.uri("mem:a"), "list": [case.uri("mem:b")] });
        let params = json!({ "name": case.name("call"), "arguments": arguments });
        let reply = client.request("tools/call", params).await;
        let result = reply.result();
        let seen = json!([link_as_seen(&case), embedded_as_seen(&case), block_text()]);
        assert_eq!(result["content"], seen, "{case}");
        assert_eq!(
            result["structuredContent"],
            json!({ "uri": "mem:data", "resource": { "uri": "mem:data" } })
        );
        let meta = json!({
            "ui": { "resourceUri": ui(&case, "app/ui") }, "ui/resourceUri": ui(&case, "app/flat"), "uri": "mem:meta",
        });
        assert_eq!(result["_meta"], meta, "{case}");
        let received = case.upstream.received_of("tools/call").pop().expect("a call");
        assert_eq!(received["params"]["arguments"], arguments, "{case}: arguments are not ours");

        let reply = client.request("prompts/get", json!({ "name": case.name("get") })).await;
        let messages = json!([
            { "role": "user", "content": link_as_seen(&case) },
            { "role": "user", "content": [embedded_as_seen(&case), block_text()] },
        ]);
        assert_eq!(reply.result()["messages"], messages, "{case}");
    }
}

#[tokio::test]
async fn in_reads_and_back_again() {
    let stage = Stage::with(script()).await;
    for case in stage.cases() {
        let client = case.client().await;
        let reply = client.request("resources/read", json!({ "uri": case.uri("mem:a") })).await;
        let contents = reply.result()["contents"].as_array().expect("contents").clone();
        let uris: Vec<&str> = contents.iter().map(|c| c["uri"].as_str().expect("a uri")).collect();
        let plain =
            if case.aggregate { case.uri(":notes/plain") } else { "notes/plain".to_owned() };
        let app = if case.aggregate {
            format!("UI://{}+App/x", case.kind)
        } else {
            "UI://App/x".to_owned()
        };
        // even what looks like another's mark is marked as this one's
        let expected = [case.uri("mem:a"), case.uri("mcp-hl+mem:foreign"), plain, app];
        assert_eq!(uris, expected, "{case}");
        assert_eq!(contents[0]["text"], "mem:text", "{case}");
        for (seen, own) in
            expected.iter().zip(["mem:a", "mcp-hl+mem:foreign", "notes/plain", "UI://App/x"])
        {
            client.request("resources/read", json!({ "uri": seen })).await.result();
            let received = case.upstream.received_of("resources/read").pop().expect("a read");
            assert_eq!(received["params"]["uri"], own, "{case}: what was shown leads back");
            if let (crate::stage::Upstream::Http(fake), "modern") =
                (case.upstream, case.upstream_era())
            {
                let head = fake.recorded().pop().expect("a request").head;
                assert_eq!(head.header("mcp-name"), Some(own), "{case}: in the header, too");
            }
        }
    }
}

#[tokio::test]
async fn in_subscriptions_and_their_updates() {
    let stage = Stage::with(script()).await;
    for case in stage.cases() {
        case.upstream.heard().await;
        let (uri, below) = (case.uri("mem:a"), case.uri("mem:"));
        let mut stream = match case.client().await {
            Client::Legacy(client) => {
                let stream = client.get_stream().await;
                client.request("resources/subscribe", json!({ "uri": uri })).await.result();
                stream
            }
            Client::Modern(client) => {
                // on the merged endpoint an unmarked one is nobody's
                let wanted = match case.aggregate {
                    true => json!([uri, "mem:a", below]),
                    false => json!([uri, below]),
                };
                let params = json!({ "notifications": { "resourceSubscriptions": wanted } });
                let mut stream = client.open_as(&json!("s"), "subscriptions/listen", params).await;
                let first = stream.next().await.expect("an acknowledgement");
                let accepted = &first["params"]["notifications"]["resourceSubscriptions"];
                assert_eq!(accepted, &json!([uri, below]), "{case}: as the client knows them");
                stream
            }
        };
        let touch = json!({ "name": case.name("touch") });
        Modern::new(&case.url()).request("tools/call", touch).await.result();
        let update = stream.next().await.expect("an update");
        assert_eq!(update["params"]["uri"], uri, "{case}");
        assert_eq!(update["params"]["title"], "mem:a", "{case}: nothing else is marked");
        let tag = update["params"]["_meta"].get(TAG);
        assert_eq!(tag, (case.era == "modern").then_some(&json!("s")), "{case}");
        if case.upstream_era() == "legacy" {
            let asked = case.upstream.received_of("resources/subscribe");
            assert!(
                asked
                    .iter()
                    .all(|m| m["params"]["uri"].as_str().is_some_and(|u| u.starts_with("mem:")))
            );
        }
    }
}
