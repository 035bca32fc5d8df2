//! On `/mcp` a name carries its upstream's slug, at most 64 characters in all; on `/mcp/{slug}` it
//! is the upstream's own. Every name that is shown can be called.

use crate::stage::Stage;
use crate::support::{FakeStdio, Legacy, Modern, Proxy};
use serde_json::{Value, json};

async fn names(url: &str, method: &str, member: &str) -> Vec<String> {
    let reply = Modern::new(url).request(method, Value::Null).await;
    let entries = reply.result()[member].as_array().expect("a list").clone();
    entries.iter().map(|entry| entry["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn every_shown_name_can_be_called() {
    let long = "l".repeat(70);
    let twin = format!("{}x", "l".repeat(69));
    let own = ["echo", "a.b-c_D", "with space", "näme/世", "sl__echo", &long, &twin];
    let script = json!({ "tools": own, "prompts": own });
    let stage = Stage::with(script).await;
    let all = stage.proxy.url("/mcp");
    for (list, member, call) in
        [("tools/list", "tools", "tools/call"), ("prompts/list", "prompts", "prompts/get")]
    {
        let merged = names(&all, list, member).await;
        assert_eq!(merged.len(), 4 * own.len());
        assert!(merged.iter().all(|name| name.chars().count() <= 64), "{merged:?}");
        for (at, kind) in crate::stage::KINDS.into_iter().enumerate() {
            let alone = stage.proxy.url(&format!("/mcp/{kind}"));
            assert_eq!(names(&alone, list, member).await, own, "{kind}: verbatim");
            let shown = &merged[at * own.len()..(at + 1) * own.len()];
            for (name, own) in shown.iter().zip(own) {
                if own.len() < 60 {
                    assert_eq!(*name, format!("{kind}__{own}"));
                } else {
                    assert!(name.starts_with(&format!("{kind}__lll")), "{name}");
                }
                for reply in [
                    Legacy::connect(&all, "2025-11-25")
                        .await
                        .request(call, json!({ "name": name }))
                        .await,
                    Modern::new(&all).request(call, json!({ "name": name })).await,
                    Modern::new(&alone).request(call, json!({ "name": own })).await,
                ] {
                    reply.result();
                    let received = stage.upstream(kind).received_of(call).pop().expect("a call");
                    assert_eq!(received["params"]["name"], own);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_shortened_name_is_the_same_tomorrow() {
    let long = "a-tool-whose-name-is-far-too-long-for-what-most-model-interfaces-take";
    let fake = FakeStdio::new(json!({ "tools": [long] }));
    let config = json!({ "mcpServers": { "My Server!": fake.entry() } });
    for _ in 0..2 {
        let proxy = Proxy::with(&config).start().await;
        let seen = names(&proxy.url("/mcp"), "tools/list", "tools").await;
        // a change here renames the tools of everyone
        assert_eq!(seen, ["my-server__a-tool-whose-name-is-far-too-long-for-what-m_0f1812c3"]);
        proxy.logs.wait_for(&seen[0]).await;
    }
}

#[tokio::test]
async fn the_first_in_the_file_has_a_name_that_two_would_have() {
    let early = FakeStdio::new(json!({ "tools": ["c"], "name": "early" }));
    let late =
        FakeStdio::new(json!({ "start": [{ "await": "go" }], "tools": ["b-c"], "name": "late" }));
    let config = json!({
        "mcpServers": { "a": late.entry(), "a-b": early.entry() },
        "gateway": { "naming": { "separator": "-" } },
    });
    let proxy = Proxy::with(&config).start().await;
    let url = proxy.url("/mcp");
    let call = json!({ "name": "a-b-c" });
    Modern::new(&proxy.url("/mcp/a-b")).request("tools/list", Value::Null).await.result();
    late.release("go");
    Modern::new(&proxy.url("/mcp/a")).request("tools/list", Value::Null).await.result();
    let finding = proxy.logs.wait_for("a-b-c").await;
    assert!(finding.contains(r#""level":"warn""#), "{finding}");
    assert_eq!(names(&url, "tools/list", "tools").await, ["a-b-c"], "shown once");
    Modern::new(&url).request("tools/call", call.clone()).await.result();
    assert_eq!(
        (late.received_of("tools/call").len(), early.received_of("tools/call").len()),
        (1, 0)
    );
    let own = json!({ "name": "c" });
    Modern::new(&proxy.url("/mcp/a-b")).request("tools/call", own).await.result();
    assert_eq!(early.received_of("tools/call").len(), 1, "and can be called where it is alone");
}

#[tokio::test]
async fn a_name_twice_in_one_list_is_the_first_one() {
    let twice = json!([
        { "name": "t", "title": "first", "inputSchema": { "type": "object" } },
        { "name": "t", "title": "second", "inputSchema": { "type": "object" } },
    ]);
    let stage = Stage::of(&["sl", "hm"], json!({ "tools": twice })).await;
    let listed = Modern::new(&stage.proxy.url("/mcp")).request("tools/list", Value::Null).await;
    let tools = listed.result()["tools"].as_array().expect("a list");
    let seen: Vec<_> = tools
        .iter()
        .map(|t| (t["name"].as_str().expect("a name"), t["title"].as_str().expect("a title")))
        .collect();
    assert_eq!(seen, [("sl__t", "first"), ("hm__t", "first")]);
}
