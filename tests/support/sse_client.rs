//! A client of the HTTP+SSE transport of 2024-11-05: one stream, and posts beside it.

use super::RawHttp;
use super::http::{Event, Response};
use serde_json::{Value, json};

/// One open stream. Dropping it disconnects.
pub(crate) struct Sse {
    stream: RawHttp,
    /// Where it posts to.
    pub(crate) post_url: String,
    /// The result of `initialize`.
    pub(crate) initialized: Value,
}

impl Sse {
    /// Opens the stream and reads the endpoint event; does not introduce itself.
    pub(crate) async fn open(url: &str) -> Sse {
        let mut stream = RawHttp::connect(url).await;
        stream.request("GET", url, &[("Accept", "text/event-stream")], "").await;
        let head = stream.head().await;
        assert_eq!(head.status(), 200);
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        let first = stream.next_event().await.expect("an endpoint event");
        assert_eq!(first.event.as_deref(), Some("endpoint"), "{first:?}");
        let path = first.data.expect("a uri");
        assert!(path.starts_with("/messages?sessionId="), "{path}");
        let origin = url.match_indices('/').nth(2).map_or(url, |(at, _)| &url[..at]);
        Sse { stream, post_url: format!("{origin}{path}"), initialized: Value::Null }
    }

    /// Opens the stream and shakes hands.
    pub(crate) async fn connect(url: &str, revision: &str, capabilities: Value) -> Sse {
        let mut client = Sse::open(url).await;
        let info = json!({ "name": "story", "version": "1" });
        let params = json!({ "protocolVersion": revision, "capabilities": capabilities, "clientInfo": info });
        let answer = client.request(&json!("hello"), "initialize", params).await;
        client.initialized = answer["result"].clone();
        assert!(client.initialized.is_object(), "{answer}");
        client.say(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        client
    }

    /// Posts any bytes.
    pub(crate) async fn post(&self, body: &str) -> Response {
        RawHttp::once("POST", &self.post_url, &[("Content-Type", "application/json")], body).await
    }

    /// Posts a message, which must be accepted.
    pub(crate) async fn say(&self, message: Value) {
        let response = self.post(&message.to_string()).await;
        assert_eq!((response.status(), response.text().as_str()), (202, ""), "{message}");
    }

    /// Sends a request and does not wait for its answer.
    pub(crate) async fn send(&self, id: &Value, method: &str, params: Value) {
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.say(message).await;
    }

    /// Sends a request; what comes next on the stream.
    pub(crate) async fn request(&mut self, id: &Value, method: &str, params: Value) -> Value {
        self.send(id, method, params).await;
        self.next().await.expect("an answer")
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> Option<Event> {
        self.stream.next_event().await
    }

    /// The next message; `None` when the stream ends.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        let event = self.event().await?;
        assert_eq!(event.event.as_deref(), Some("message"), "{event:?}");
        let data = event.data.expect("events have data");
        Some(serde_json::from_str(&data).unwrap_or_else(|e| panic!("not JSON ({e}): {data}")))
    }

    /// Waits until the gateway knows no such session any more.
    pub(crate) async fn is_gone(post_url: &str) {
        let gone = async {
            let json = [("Content-Type", "application/json")];
            while RawHttp::once("POST", post_url, &json, "{}").await.status() != 404 {
                tokio::task::yield_now().await;
            }
        };
        super::bounded("the end of a session", gone).await;
    }
}
