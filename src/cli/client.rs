//! A small MCP client of revision 2026-07-28, for the commands that ask an endpoint.

use crate::base::limits::Limits;
use crate::base::text::terminal_safe;
use crate::cli::Failure;
use crate::mcp::{Method, Revision, meta};
use crate::net::body::Outgoing;
use crate::net::client::{Circuit, Client, ClientLimits, Origin, Waits};
use crate::wire::header;
use crate::wire::json;
use crate::wire::jsonrpc::{Message, Response};
use crate::wire::sse::decode::EventDecoder;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Request, Uri};
use std::time::Duration;

/// An endpoint.
pub(crate) struct Endpoint {
    client: Client,
    target: Uri,
    url: String,
}

impl Endpoint {
    /// From a URL like `http://127.0.0.1:3050/mcp`.
    pub(crate) fn new(url: &str) -> Result<Self, Failure> {
        let expected = || Failure::usage(format!("--url {url:?}: expected http://HOST:PORT/mcp"));
        let target: Uri = url.parse().map_err(|_| expected())?;
        let authority = target.authority().ok_or_else(expected)?;
        if target.scheme_str() != Some("http") {
            return Err(expected());
        }
        let origin = Origin {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            tls: false,
            authority: authority.to_string(),
        };
        let client = Client::new(origin, ClientLimits::default(), Circuit::default());
        let client = client.map_err(|e| Failure::failed(e.to_string()))?;
        Ok(Self { client, target, url: url.to_owned() })
    }

    /// Sends one request and returns its result as raw JSON. `headers` mirror arguments of a
    /// tool, `members` are raw members of `params`.
    pub(crate) async fn request(
        &self,
        method: Method,
        name: Option<&str>,
        headers: &[(String, String)],
        members: &str,
    ) -> Result<Bytes, Failure> {
        let comma = if members.is_empty() { "" } else { "," };
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{}\",\"params\":{{\"_meta\":{{\"{}\":\"{}\",\"{}\":{},\"{}\":{{}}}}{comma}{members}}}}}",
            method.name(),
            meta::PROTOCOL_VERSION,
            Revision::MODERN.as_str(),
            meta::CLIENT_INFO,
            meta::OURSELVES,
            meta::CLIENT_CAPABILITIES,
        );
        let request = self.http_request(method, name, headers, body)?;
        let waits = Waits { connect: Some(Duration::from_secs(5)), ..Waits::default() };
        let response = self.client.send(request, waits).await.map_err(|e| self.unreachable(&e))?;
        let is_stream = response
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let status = response.status;
        let limits = Limits::default();
        let body = response.body.collect(limits.event_bytes).await;
        let body = body.map_err(|e| self.unreachable(&e))?;
        let answer = match is_stream {
            true => last_message(body.clone(), &limits),
            false => Message::parse(body.clone()).ok(),
        };
        match answer {
            Some(Message::Response(response)) => result(response),
            _ => {
                let text = String::from_utf8_lossy(&body);
                let said = terminal_safe(text.lines().next().unwrap_or_default());
                Err(Failure::failed(format!(
                    "{}: http status {status}, no answer: {said}",
                    self.url
                )))
            }
        }
    }

    fn http_request(
        &self,
        method: Method,
        name: Option<&str>,
        headers: &[(String, String)],
        body: String,
    ) -> Result<Request<Outgoing>, Failure> {
        let mut request = Request::post(self.target.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", Revision::MODERN.as_str())
            .header("mcp-method", method.name());
        if let Some(name) = name {
            let value = HeaderValue::from_str(&header::encode(name));
            let value = value.map_err(|_| Failure::usage("the name cannot be sent"))?;
            request = request.header("mcp-name", value);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.body(Outgoing::full(body)).map_err(|e| Failure::failed(e.to_string()))
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Failure {
        let source = error.source().map(|source| format!(" ({source})")).unwrap_or_default();
        let hint = "is the gateway running? start it with: 1mcp serve";
        Failure::failed(format!("{}: {error}{source}\n{hint}", self.url))
    }
}

fn last_message(body: Bytes, limits: &Limits) -> Option<Message> {
    let mut events = EventDecoder::new(limits.event_bytes);
    events.push(body);
    let data = events.filter_map(Result::ok).map(|event| event.data);
    data.filter(|data| !data.is_empty()).last().and_then(|data| Message::parse(data).ok())
}

fn result(response: Response) -> Result<Bytes, Failure> {
    match response.result() {
        Some(object) => Ok(response.bytes.slice(object.span.range())),
        None => {
            let text = response.error_message().unwrap_or_default();
            let code = response.error_code().unwrap_or_default();
            Err(Failure::failed(format!("{} ({code})", terminal_safe(&text))))
        }
    }
}

/// A string as a raw JSON value.
pub(crate) fn quoted(text: &str) -> String {
    String::from_utf8(json::string_token(text)).unwrap_or_default()
}
