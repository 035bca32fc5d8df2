//! What somebody hostile on either side can do to the others: nothing. Every attack gets the status
//! and the error that the specification gives it, names what was expected, and a second client is
//! served while it lasts.

mod bodies_are_bounded;
mod crowds_shut_nobody_out;
mod cursors_and_listens_are_bounded;
mod headers_must_agree_with_the_body;
mod hostile_host_and_origin;
mod http_and_sse_is_guarded;
mod ids_of_others_are_out_of_reach;
mod lying_http_upstreams;
mod lying_stdio_upstreams;
mod malformed_messages_are_refused;
mod names_cannot_inject;
mod no_secret_in_the_log;
mod paths_and_queries_are_exact;
mod sessions_cannot_be_forged;
mod simple_posts_and_upgrades_are_refused;
mod smuggled_members_are_refused;

use crate::support::http::Response;
use crate::support::{FakeStdio, Legacy, Modern, Proxy, RawHttp};
use serde_json::{Value, json};

pub(crate) const ACCEPT: (&str, &str) = ("Accept", "application/json, text/event-stream");
pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json");
pub(crate) const MODERN: (&str, &str) = ("MCP-Protocol-Version", "2026-07-28");

/// A gateway with one honest upstream, `/mcp/good`, and a client of it that must notice nothing.
pub(crate) struct Scene {
    pub(crate) proxy: Proxy,
    pub(crate) good: FakeStdio,
    bystander: Legacy,
}

impl Scene {
    pub(crate) async fn new() -> Scene {
        Scene::with(json!({}), json!({})).await
    }

    /// With more servers, and with this under `gateway`.
    pub(crate) async fn with(servers: Value, gateway: Value) -> Scene {
        let resources = json!(["file:///a"]);
        let good = FakeStdio::new(json!({ "tools": ["echo"], "resources": resources }));
        let mut all = servers;
        all["good"] = good.entry();
        let proxy = Proxy::with(json!({ "mcpServers": all, "gateway": gateway })).start().await;
        let bystander = Legacy::connect(&proxy.url("/mcp/good"), "2025-11-25").await;
        Scene { proxy, good, bystander }
    }

    /// The bystander gets its own answer.
    pub(crate) async fn others_are_served(&self) {
        let call = json!({ "name": "echo", "arguments": { "by": "stander" } });
        let reply = self.bystander.request("tools/call", call).await;
        assert_eq!(reply.result()["content"][0]["text"], r#"{"by":"stander"}"#);
    }

    /// The honest upstream never saw this.
    pub(crate) fn never_forwarded(&self, part: &str) {
        let received = self.good.received();
        assert!(!received.iter().any(|line| line.contains(part)), "{part:?} in {received:?}");
    }

    pub(crate) fn url(&self) -> String {
        self.proxy.url("/mcp/good")
    }

    /// A client of the attacker's own, with a session.
    pub(crate) async fn legacy(&self) -> Legacy {
        Legacy::connect(&self.url(), "2025-11-25").await
    }

    pub(crate) fn modern(&self) -> Modern {
        Modern::new(&self.url())
    }

    /// A POST with the headers that every client sends, and these.
    pub(crate) async fn post(&self, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Response {
        let headers = [&[ACCEPT, JSON], headers].concat();
        RawHttp::once("POST", &self.url(), &headers, body).await
    }
}

/// The JSON-RPC error of a response: status, code, message.
pub(crate) fn refusal(response: &Response) -> (u16, i64, String) {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_else(|e| {
        panic!("not JSON ({e}): {} {:?}", response.head.start, response.text())
    });
    assert_eq!(body["jsonrpc"], "2.0", "{body}");
    let error = &body["error"];
    let code = error["code"].as_i64().unwrap_or_else(|| panic!("no error in {body}"));
    (response.status(), code, error["message"].as_str().unwrap_or_default().to_owned())
}

/// Asserts status and code, and that the message says what was expected.
pub(crate) fn refused(case: &str, response: &Response, status: u16, code: i64, expected: &str) {
    let (got_status, got_code, message) = refusal(response);
    assert_eq!((got_status, got_code), (status, code), "{case}: {message}");
    assert!(message.contains(expected), "{case}: {message:?} does not say {expected:?}");
}

/// A modern request as text, with its metadata.
pub(crate) fn modern_body(id: u64, method: &str, params: Value) -> String {
    let params = Modern::new("").with_meta(params);
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}
mod request_states_are_bound;
