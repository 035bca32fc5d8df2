//! MCP clients as thin as they can be: legacy with a session, modern without.

use super::http::{Event, Head, RawHttp};
use base64::Engine;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const ACCEPT: (&str, &str) = ("Accept", "application/json, text/event-stream");
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Everything that came back for one request.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Head,
    pub(crate) messages: Vec<Value>,
    /// The same messages, byte for byte.
    pub(crate) texts: Vec<String>,
}

impl Reply {
    /// The last message, which must be a response.
    pub(crate) fn response(&self) -> &Value {
        let last = self.messages.last().filter(|m| m.get("method").is_none());
        last.unwrap_or_else(|| panic!("no response in {self:?}"))
    }

    pub(crate) fn result(&self) -> &Value {
        let result = self.response().get("result");
        result.unwrap_or_else(|| panic!("an error instead of a result: {self:?}"))
    }

    pub(crate) fn error(&self) -> &Value {
        let error = self.response().get("error");
        error.unwrap_or_else(|| panic!("a result instead of an error: {self:?}"))
    }

    pub(crate) fn error_code(&self) -> i64 {
        self.error()["code"].as_i64().expect("an error has a code")
    }

    /// The `params` of the notifications of this method, in their order.
    pub(crate) fn notifications(&self, method: &str) -> Vec<&Value> {
        self.messages.iter().filter(|m| m["method"] == method).map(|m| &m["params"]).collect()
    }
}

/// A response that is still coming in.
pub(crate) struct Incoming {
    http: RawHttp,
    pub(crate) head: Head,
    whole: bool,
    texts: Vec<String>,
}

impl Incoming {
    async fn begin(mut http: RawHttp) -> Incoming {
        let head = http.head().await;
        let stream =
            head.header("content-type").is_some_and(|t| t.starts_with("text/event-stream"));
        Incoming { http, head, whole: !stream, texts: Vec::new() }
    }

    /// The next message's bytes; `None` when the response ended. Dropping us disconnects.
    pub(crate) async fn next_text(&mut self) -> Option<String> {
        let text = if self.whole { self.whole_body().await? } else { self.next_data().await? };
        self.texts.push(text.clone());
        Some(text)
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        let text = self.next_text().await?;
        Some(serde_json::from_str(&text).unwrap_or_else(|e| panic!("not JSON ({e}): {text}")))
    }

    /// The next event of a stream, whatever it holds; comments are passed over.
    pub(crate) async fn event(&mut self) -> Option<Event> {
        self.http.next_event().await
    }

    async fn whole_body(&mut self) -> Option<String> {
        let body = self.http.body().await;
        (!body.is_empty()).then(|| String::from_utf8(body).expect("a UTF-8 body"))
    }

    async fn next_data(&mut self) -> Option<String> {
        loop {
            let data = self.http.next_event().await?.data.filter(|data| !data.is_empty());
            if data.is_some() {
                return data;
            }
        }
    }

    /// Reads to the end. A body that is not JSON gives no message.
    pub(crate) async fn finish(mut self) -> Reply {
        while self.next_text().await.is_some() {}
        let messages = self.texts.iter().filter_map(|t| serde_json::from_str(t).ok()).collect();
        Reply { status: self.head.status(), headers: self.head, messages, texts: self.texts }
    }
}

/// Sends one request over a connection of its own.
pub(crate) async fn open(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Incoming {
    let mut http = RawHttp::connect(url).await;
    http.request(method, url, headers, body).await;
    Incoming::begin(http).await
}

fn message(id: Option<&Value>, method: &str, params: Value) -> String {
    let mut message = json!({ "jsonrpc": "2.0" });
    if let Some(id) = id {
        message["id"] = id.clone();
    }
    message["method"] = method.into();
    if !params.is_null() {
        message["params"] = params;
    }
    message.to_string()
}

/// A client of a revision with sessions.
pub(crate) struct Legacy {
    url: String,
    pub(crate) revision: String,
    pub(crate) session: Option<String>,
    /// The result of `initialize`.
    pub(crate) initialized: Value,
    ids: AtomicU64,
}

impl Legacy {
    pub(crate) async fn connect(url: &str, revision: &str) -> Legacy {
        Legacy::connect_with(url, revision, json!({})).await
    }

    /// Shakes hands with these client capabilities.
    pub(crate) async fn connect_with(url: &str, revision: &str, capabilities: Value) -> Legacy {
        let mut client = Legacy {
            url: url.to_owned(),
            revision: revision.to_owned(),
            session: None,
            initialized: Value::Null,
            ids: AtomicU64::new(1),
        };
        let info = json!({ "name": "story", "version": "1" });
        let params = json!({ "protocolVersion": revision, "capabilities": capabilities, "clientInfo": info });
        let body = message(Some(&json!(0)), "initialize", params);
        let reply = open("POST", url, &[ACCEPT, JSON], &body).await.finish().await;
        client.initialized = reply.result().clone();
        client.session = reply.headers.header("mcp-session-id").map(str::to_owned);
        let agreed = client.initialized["protocolVersion"].as_str().expect("a version was agreed");
        client.revision = agreed.to_owned();
        let status = client.notify("notifications/initialized", Value::Null).await;
        assert_eq!(status, 202, "initialized is accepted");
        client
    }

    pub(crate) async fn request(&self, method: &str, params: Value) -> Reply {
        self.open(method, params).await.finish().await
    }

    /// A request of which messages are read one by one.
    pub(crate) async fn open(&self, method: &str, params: Value) -> Incoming {
        let id = json!(self.ids.fetch_add(1, Ordering::Relaxed));
        self.open_as(&id, method, params).await
    }

    /// The same with an id of one's own.
    pub(crate) async fn open_as(&self, id: &Value, method: &str, params: Value) -> Incoming {
        self.send("POST", &message(Some(id), method, params)).await
    }

    /// Returns the status.
    pub(crate) async fn notify(&self, method: &str, params: Value) -> u16 {
        self.send("POST", &message(None, method, params)).await.head.status()
    }

    /// Answers a request of the server; returns the status.
    pub(crate) async fn respond(&self, id: &Value, result: Value) -> u16 {
        let body = json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string();
        self.send("POST", &body).await.head.status()
    }

    /// Refuses a request of the server; returns the status.
    pub(crate) async fn refuse(&self, id: &Value, error: Value) -> u16 {
        let body = json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string();
        self.send("POST", &body).await.head.status()
    }

    /// The standalone stream.
    pub(crate) async fn get_stream(&self) -> Incoming {
        self.send("GET", "").await
    }

    /// Comes back to a stream after this event.
    pub(crate) async fn resume(&self, event_id: &str) -> Incoming {
        self.send_with("GET", &[("Last-Event-ID", event_id)], "").await
    }

    /// Ends the session; returns the status.
    pub(crate) async fn delete(&self) -> u16 {
        self.send("DELETE", "").await.head.status()
    }

    /// Any bytes as a body, with the headers of the session.
    pub(crate) async fn send(&self, method: &str, body: &str) -> Incoming {
        self.send_with(method, &[], body).await
    }

    async fn send_with(&self, method: &str, more: &[(&str, &str)], body: &str) -> Incoming {
        let mut headers = vec![ACCEPT];
        headers.extend(more);
        if method == "POST" {
            headers.push(JSON);
        }
        if let Some(session) = &self.session {
            headers.push(("Mcp-Session-Id", session));
        }
        if self.revision.as_str() > "2025-03-26" {
            headers.push(("MCP-Protocol-Version", &self.revision));
        }
        open(method, &self.url, &headers, body).await
    }
}

/// A client of 2026-07-28.
pub(crate) struct Modern {
    url: String,
    pub(crate) revision: String,
    pub(crate) capabilities: Value,
    /// More members of `_meta`.
    pub(crate) meta: Value,
    ids: AtomicU64,
}

impl Modern {
    pub(crate) fn new(url: &str) -> Modern {
        Modern {
            url: url.to_owned(),
            revision: "2026-07-28".to_owned(),
            capabilities: json!({}),
            meta: json!({}),
            ids: AtomicU64::new(1),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) async fn request(&self, method: &str, params: Value) -> Reply {
        self.open(method, params).await.finish().await
    }

    /// A request of which messages are read one by one. Dropping it cancels.
    pub(crate) async fn open(&self, method: &str, params: Value) -> Incoming {
        let id = json!(self.ids.fetch_add(1, Ordering::Relaxed));
        self.open_as(&id, method, params).await
    }

    /// The same with an id of one's own.
    pub(crate) async fn open_as(&self, id: &Value, method: &str, params: Value) -> Incoming {
        let params = self.with_meta(params);
        let member = |name| params.get(name);
        let name = member("name").or(member("uri")).or(member("taskId"));
        let name = name.and_then(Value::as_str).map(encode);
        let mut headers =
            vec![ACCEPT, JSON, ("MCP-Protocol-Version", &self.revision), ("Mcp-Method", method)];
        if let Some(name) = name.as_deref() {
            headers.push(("Mcp-Name", name));
        }
        open("POST", &self.url, &headers, &message(Some(id), method, params)).await
    }

    /// Opens `subscriptions/listen` and reads the acknowledgement.
    pub(crate) async fn listen(&self, notifications: Value) -> Incoming {
        let params = json!({ "notifications": notifications });
        let mut stream = self.open("subscriptions/listen", params).await;
        let first = stream.next().await.expect("an acknowledgement");
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
        stream
    }

    /// `params` with the `_meta` every modern request carries.
    pub(crate) fn with_meta(&self, params: Value) -> Value {
        let mut params = if params.is_null() { json!({}) } else { params };
        let mut meta = self.meta.clone();
        merge(&mut meta, params.get("_meta").cloned().unwrap_or_default());
        let ours = json!({
            VERSION: self.revision,
            "io.modelcontextprotocol/clientCapabilities": self.capabilities,
            "io.modelcontextprotocol/clientInfo": { "name": "story", "version": "1" },
        });
        merge(&mut meta, ours);
        params["_meta"] = meta;
        params
    }
}

fn merge(into: &mut Value, from: Value) {
    if let Value::Object(members) = from {
        for (name, value) in members {
            into[name] = value;
        }
    }
}

/// Header coding of a name: plain if it can be, else base64 in the sentinel.
/// MCP 2026-07-28 basic/transports/streamable-http
pub(crate) fn encode(name: &str) -> String {
    let plain = name.bytes().all(|b| (0x20..0x7f).contains(&b))
        && name.trim() == name
        && !name.is_empty()
        && !name.starts_with("=?base64?");
    if plain {
        return name.to_owned();
    }
    format!("=?base64?{}?=", base64::engine::general_purpose::STANDARD.encode(name))
}
