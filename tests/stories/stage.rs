//! One proxy before an upstream of every kind, and clients of both eras on every endpoint.
//!
//! A promise that must hold whoever talks to whom is told once, for every [`Case`].

use crate::support::script::readable;
use crate::support::{FakeHttp, FakeStdio, Incoming, Legacy, Modern, Proxy, Reply, clients};
use serde_json::{Value, json};

/// Everything `tests/support/script.rs` understands happens over either transport.
pub(crate) enum Upstream {
    Stdio(FakeStdio),
    Http(FakeHttp),
}

impl Upstream {
    pub(crate) fn entry(&self) -> Value {
        match self {
            Upstream::Stdio(fake) => fake.entry(),
            Upstream::Http(fake) => fake.entry(),
        }
    }

    /// The messages it received so far, byte for byte.
    pub(crate) fn received(&self) -> Vec<String> {
        match self {
            Upstream::Stdio(fake) => fake.received(),
            Upstream::Http(fake) => fake.recorded().into_iter().map(|r| r.body).collect(),
        }
    }

    pub(crate) fn received_of(&self, method: &str) -> Vec<Value> {
        match self {
            Upstream::Stdio(fake) => fake.received_of(method),
            Upstream::Http(fake) => fake.received_of(method),
        }
    }

    /// The last message with this in it, byte for byte.
    pub(crate) fn last_with(&self, part: &str) -> String {
        let found = self.received().into_iter().rfind(|text| text.contains(part));
        found.unwrap_or_else(|| panic!("nothing received with {part:?} in it"))
    }

    /// The first message with this in it, past or future.
    pub(crate) async fn wait_for(&self, part: &str) -> String {
        match self {
            Upstream::Stdio(fake) => fake.wait_for(part).await,
            Upstream::Http(fake) => {
                let what = format!("a message with {part:?}");
                fake.wait_for(&what, |recorded| recorded.body.contains(part)).await.body
            }
        }
    }

    /// Waits until what it has received so far is enough.
    pub(crate) async fn until(&self, what: &str, enough: impl Fn(&[String]) -> bool) {
        let end = std::time::Instant::now() + crate::support::BOUND;
        while !enough(&self.received()) {
            assert!(std::time::Instant::now() < end, "waited in vain for {what}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await; // a file gives no event
        }
    }

    /// Waits until whatever it announces outside requests finds its way to the proxy.
    pub(crate) async fn heard(&self) {
        match self {
            Upstream::Stdio(fake) => {
                fake.wait_for("resources/templates/list").await;
            }
            Upstream::Http(fake) => {
                let open = fake.wait_for("a standing stream", |recorded| {
                    recorded.head.method() == "GET"
                        || recorded.body.contains("subscriptions/listen")
                });
                open.await;
            }
        }
    }

    pub(crate) async fn reached(&self, gate: &str) {
        match self {
            Upstream::Stdio(fake) => fake.reached(gate).await,
            Upstream::Http(fake) => fake.reached(gate).await,
        }
    }

    pub(crate) fn release(&self, gate: &str) {
        match self {
            Upstream::Stdio(fake) => fake.release(gate),
            Upstream::Http(fake) => fake.release(gate),
        }
    }

    /// Closes a gate again.
    pub(crate) fn shut(&self, gate: &str) {
        match self {
            Upstream::Stdio(fake) => fake.shut(gate),
            Upstream::Http(fake) => fake.shut(gate),
        }
    }
}

/// A client of either era.
pub(crate) enum Client {
    Legacy(Legacy),
    Modern(Modern),
}

impl Client {
    pub(crate) async fn request(&self, method: &str, params: Value) -> Reply {
        self.open(method, params).await.finish().await
    }

    pub(crate) async fn open(&self, method: &str, params: Value) -> Incoming {
        match self {
            Client::Legacy(client) => client.open(method, params).await,
            Client::Modern(client) => client.open(method, params).await,
        }
    }

    pub(crate) async fn open_as(&self, id: &Value, method: &str, params: Value) -> Incoming {
        match self {
            Client::Legacy(client) => client.open_as(id, method, params).await,
            Client::Modern(client) => client.open_as(id, method, params).await,
        }
    }

    /// A request written by hand; a modern one must carry its `_meta`.
    pub(crate) async fn send(&self, body: &str) -> Reply {
        match self {
            Client::Legacy(client) => client.send("POST", body).await.finish().await,
            Client::Modern(client) => send_modern(client, body).await,
        }
    }
}

/// With the headers that mirror the body.
async fn send_modern(client: &Modern, body: &str) -> Reply {
    let message: Value = serde_json::from_str(&readable(body)).expect("a request");
    let method = message["method"].as_str().expect("a method");
    let params = &message["params"];
    let name = params.get("name").or(params.get("uri")).and_then(Value::as_str);
    let name = name.map(clients::encode);
    let mut headers = vec![
        ("Accept", "application/json, text/event-stream"),
        ("Content-Type", "application/json"),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", method),
    ];
    if let Some(name) = name.as_deref() {
        headers.push(("Mcp-Name", name));
    }
    clients::open("POST", client.url(), &headers, body).await.finish().await
}

/// A proxy with upstreams, which are told apart by their names.
pub(crate) struct Stage {
    pub(crate) proxy: Proxy,
    upstreams: Vec<(&'static str, Upstream)>,
}

/// Stdio and HTTP, legacy and modern.
pub(crate) const KINDS: [&str; 4] = ["sl", "sm", "hl", "hm"];

fn era(kind: &str) -> &'static str {
    if kind.ends_with('l') { "legacy" } else { "modern" }
}

impl Stage {
    /// All four kinds of upstream, after one script.
    pub(crate) async fn with(script: Value) -> Stage {
        Stage::of(&KINDS, script).await
    }

    /// Some of [`KINDS`].
    pub(crate) async fn of(kinds: &[&'static str], script: Value) -> Stage {
        let mut upstreams = Vec::new();
        for kind in kinds {
            let mut script = script.clone();
            script["era"] = era(kind).into();
            upstreams.push((
                *kind,
                match kind.starts_with('s') {
                    true => Upstream::Stdio(FakeStdio::new(script)),
                    false => Upstream::Http(FakeHttp::mcp(script).await),
                },
            ));
        }
        let entries =
            upstreams.iter().map(|(kind, upstream)| ((*kind).to_owned(), upstream.entry()));
        let entries: serde_json::Map<String, Value> = entries.collect();
        let proxy = Proxy::with(json!({ "mcpServers": entries })).start().await;
        for kind in kinds {
            // from here on nothing changes by itself
            proxy.logs.wait_for(&format!("{kind}: ready")).await;
        }
        Stage { proxy, upstreams }
    }

    pub(crate) fn upstream(&self, kind: &str) -> &Upstream {
        let found = self.upstreams.iter().find(|(name, _)| *name == kind);
        &found.expect("one of those on stage").1
    }

    /// Legacy and modern clients of every upstream, on both endpoints.
    pub(crate) fn cases(&self) -> Vec<Case<'_>> {
        let mut cases = Vec::new();
        for (kind, upstream) in &self.upstreams {
            for era in ["legacy", "modern"] {
                for aggregate in [false, true] {
                    cases.push(Case { stage: self, kind, upstream, era, aggregate });
                }
            }
        }
        cases
    }
}

/// One client era, one upstream, one endpoint.
pub(crate) struct Case<'a> {
    stage: &'a Stage,
    pub(crate) kind: &'static str,
    pub(crate) upstream: &'a Upstream,
    /// Of the client.
    pub(crate) era: &'static str,
    pub(crate) aggregate: bool,
}

impl Case<'_> {
    pub(crate) fn url(&self) -> String {
        let path = if self.aggregate { "/mcp".to_owned() } else { format!("/mcp/{}", self.kind) };
        self.stage.proxy.url(&path)
    }

    pub(crate) async fn client(&self) -> Client {
        match self.era {
            "legacy" => Client::Legacy(Legacy::connect(&self.url(), "2025-11-25").await),
            _ => Client::Modern(Modern::new(&self.url())),
        }
    }

    /// A tool or prompt as the client knows it.
    pub(crate) fn name(&self, own: &str) -> String {
        if self.aggregate { format!("{}__{own}", self.kind) } else { own.to_owned() }
    }

    /// A resource as the client knows it.
    pub(crate) fn uri(&self, own: &str) -> String {
        if self.aggregate { format!("mcp-{}+{own}", self.kind) } else { own.to_owned() }
    }

    /// The era of the upstream.
    pub(crate) fn upstream_era(&self) -> &'static str {
        era(self.kind)
    }

    pub(crate) fn is_stdio(&self) -> bool {
        self.kind.starts_with('s')
    }
}

impl std::fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let endpoint = if self.aggregate { "/mcp" } else { "/mcp/{slug}" };
        write!(f, "{} client, upstream {}, {endpoint}", self.era, self.kind)
    }
}

/// A step that writes a progress notification with the token of the request.
pub(crate) fn progress(value: impl std::fmt::Display, message: &str) -> Value {
    json!({ "line": format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":$token,"progress":{value},"message":"{message}"}}}}"#
    ) })
}
