//! A tool that a legacy server runs only as a task of 2025-11-25 is not shown to modern clients,
//! every call of whom it would refuse; clients of the server's own era see it as it is.

use crate::support::{FakeStdio, Legacy, Modern, Proxy};
use serde_json::{Value, json};

fn names(listed: &Value) -> Vec<&str> {
    let tools = listed["tools"].as_array().expect("a list of tools");
    tools.iter().filter_map(|tool| tool["name"].as_str()).collect()
}

#[tokio::test]
async fn is_hidden_from_modern_clients_only() {
    let schema = json!({ "type": "object" });
    let tool = |name: &str, support: &str| json!({ "name": name, "inputSchema": schema, "execution": { "taskSupport": support } });
    let fake = FakeStdio::new(json!({
        "tools": [tool("first", "required"), tool("middle", "optional"), tool("last", "required")],
    }));
    let proxy = Proxy::with(json!({ "mcpServers": { "s": fake.entry() } })).start().await;
    for (path, prefix) in [("/mcp/s", ""), ("/mcp", "s__")] {
        let url = proxy.url(path);
        let modern = Modern::new(&url).request("tools/list", json!({})).await;
        assert_eq!(names(modern.result()), [format!("{prefix}middle")], "{path}");
        assert!(modern.result()["tools"][0].get("execution").is_none(), "{path}");
        let legacy = Legacy::connect(&url, "2025-11-25").await;
        let legacy = legacy.request("tools/list", json!({})).await;
        let all = ["first", "middle", "last"].map(|name| format!("{prefix}{name}"));
        assert_eq!(names(legacy.result()), all, "{path}");
        assert_eq!(legacy.result()["tools"][0]["execution"]["taskSupport"], "required", "{path}");
    }
}
