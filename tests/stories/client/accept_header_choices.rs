//! A client gets its answer in a form it takes: JSON, a stream of events, or neither, and is told.

use crate::stage::Stage;
use crate::support::{Legacy, Modern, RawHttp, http::Response};
use serde_json::{Value, json};

const LEVEL: &str = "io.modelcontextprotocol/logLevel";

fn script() -> Value {
    json!({ "tools": ["loud", "echo"], "on": {
        "tools/call:loud": [{ "log": "busy" }, { "progress": 2 }, { "usual": true }],
    }})
}

struct Asking {
    url: String,
    session: Option<String>,
}

impl Asking {
    async fn send(&self, accept: Option<&str>, method: &str, mut params: Value) -> Response {
        let mut headers = vec![("Content-Type", "application/json")];
        let name = params["name"].as_str().unwrap_or_default().to_owned();
        match &self.session {
            Some(id) => headers.push(("Mcp-Session-Id", id)),
            None => {
                params = Modern::new(&self.url).with_meta(params);
                headers.extend([("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method)]);
                if !name.is_empty() {
                    headers.push(("Mcp-Name", &name));
                }
            }
        }
        headers.extend(accept.map(|accept| ("Accept", accept)));
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        RawHttp::once("POST", &self.url, &headers, body.to_string()).await
    }
}

async fn each(stage: &Stage) -> Vec<(String, Asking)> {
    let mut all = Vec::new();
    for case in stage.cases() {
        let url = case.url();
        let session = match case.era {
            "legacy" => Legacy::connect(&url, "2025-11-25").await.session,
            _ => None,
        };
        all.push((case.name(""), Asking { url, session }));
    }
    all
}

fn kind(response: &Response) -> (u16, &str) {
    (response.status(), response.head.header("content-type").unwrap_or_default())
}

fn events(response: &Response) -> Vec<Value> {
    let text = response.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let data = data.filter(|data| !data.is_empty()); // the event to come back to has none
    data.map(|data| serde_json::from_str(data).expect("JSON")).collect()
}

#[tokio::test]
async fn absent_and_anything_are_both() {
    let stage = Stage::of(&["sl", "hm"], script()).await;
    for (prefix, asking) in each(&stage).await {
        for accept in [
            None,
            Some("*/*"),
            Some("text/html, */*;q=0.1"),
            Some("Application/JSON;q=1, TEXT/event-stream"),
        ] {
            let echo = json!({ "name": format!("{prefix}echo") });
            let reply = asking.send(accept, "tools/call", echo).await;
            assert_eq!(kind(&reply), (200, "application/json"), "{accept:?}");
            let meta = json!({ "progressToken": 1, LEVEL: "debug" });
            let loud = json!({ "name": format!("{prefix}loud"), "_meta": meta });
            let reply = asking.send(accept, "tools/call", loud).await;
            assert_eq!(kind(&reply), (200, "text/event-stream"), "{accept:?}");
            assert_eq!(events(&reply).len(), 4, "{accept:?}");
        }
    }
}

#[tokio::test]
async fn json_alone_drops_notifications() {
    let stage = Stage::of(&["sl", "hm"], script()).await;
    for (prefix, asking) in each(&stage).await {
        let meta = json!({ "progressToken": 1, LEVEL: "debug" });
        let loud = json!({ "name": format!("{prefix}loud"), "_meta": meta });
        let reply = asking.send(Some("application/json"), "tools/call", loud).await;
        assert_eq!(kind(&reply), (200, "application/json"));
        let answer: Value = serde_json::from_str(&reply.text()).expect("JSON");
        assert_eq!(answer["result"]["content"][0]["text"], "called loud");
    }
}

/// A modern client is asked by the answer itself, for which it needs no stream (MCP 2026-07-28
/// basic/patterns/mrtr); a legacy one has nowhere to be asked.
#[tokio::test]
async fn json_alone_is_enough_to_be_asked_something_in_the_modern_era() {
    let form =
        json!({ "message": "Who?", "requestedSchema": { "type": "object", "properties": {} } });
    let asks = json!([{ "ask": ["elicitation/create", form] }, { "usual": true }]);
    let waits = json!([{ "ask": ["elicitation/create", form] }, { "await": "answered" }]);
    let on = json!({ "tools/call:asks": asks, "tools/call:waits": waits });
    let stage = Stage::of(&["sl"], json!({ "tools": ["asks", "waits"], "on": on })).await;
    for case in stage.cases().iter().filter(|case| !case.aggregate) {
        let url = case.url();
        let declared = json!({ "elicitation": {} });
        let reply = match case.era {
            "legacy" => {
                let client = Legacy::connect_with(&url, "2025-11-25", declared).await;
                let asking = Asking { url, session: client.session };
                let call = json!({ "name": case.name("asks") });
                asking.send(Some("application/json"), "tools/call", call).await
            }
            _ => {
                let (mut client, name) = (Modern::new(&url), case.name("waits"));
                client.capabilities = declared;
                let params = client.with_meta(json!({ "name": name }));
                let body =
                    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
                let headers = [
                    ("Content-Type", "application/json"),
                    ("Accept", "application/json"),
                    ("MCP-Protocol-Version", "2026-07-28"),
                    ("Mcp-Method", "tools/call"),
                    ("Mcp-Name", &name),
                ];
                RawHttp::once("POST", &url, &headers, body.to_string()).await
            }
        };
        assert_eq!(kind(&reply), (200, "application/json"), "{case}: {}", reply.text());
        let answer: Value = serde_json::from_str(&reply.text()).expect("JSON");
        let asked = answer["result"]["inputRequests"].is_object();
        assert_eq!(asked, case.era == "modern", "{case}: {answer}");
    }
}

#[tokio::test]
async fn events_alone_are_events_whatever_is_asked() {
    let stage = Stage::of(&["sl", "hm"], script()).await;
    for (prefix, asking) in each(&stage).await {
        let echo = json!({ "name": format!("{prefix}echo") });
        let nobody = json!({ "name": format!("{prefix}nobody") });
        let own = if asking.session.is_some() { "ping" } else { "server/discover" };
        for (method, params) in [
            ("tools/call", echo),
            ("tools/call", nobody),
            ("tools/list", json!({})),
            (own, json!({})),
        ] {
            let reply = asking.send(Some("text/event-stream"), method, params).await;
            assert_eq!(kind(&reply), (200, "text/event-stream"), "{method}: {}", reply.text());
            let events = events(&reply);
            assert_eq!((events.len(), &events[0]["id"]), (1, &json!(1)), "{method}");
        }
    }
}

#[tokio::test]
async fn neither_is_refused() {
    let stage = Stage::of(&["sl"], script()).await;
    for (_, asking) in each(&stage).await {
        for accept in ["text/html", "application/xml, image/*", ""] {
            let reply = asking.send(Some(accept), "tools/list", json!({})).await;
            assert_eq!(reply.status(), 406, "{accept:?}");
        }
    }
}

#[tokio::test]
async fn the_stream_of_a_session_is_events_only() {
    let stage = Stage::of(&["sl"], script()).await;
    let url = stage.proxy.url("/mcp");
    let id = Legacy::connect(&url, "2025-11-25").await.session.expect("a session");
    let session = ("Mcp-Session-Id", id.as_str());
    let reply = RawHttp::once("GET", &url, &[session, ("Accept", "application/json")], "").await;
    assert_eq!(reply.status(), 406);
}
