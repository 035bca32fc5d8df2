//! A scripted MCP server without a transport: a message comes in, acts come out. The stdio program
//! and the HTTP server perform the acts, so one script can be told over either.
//!
//! The script is one JSON object; every member may be left out:
//!
//! | member | meaning |
//! |---|---|
//! | `era` | `"legacy"` (default), `"modern"` or `"both"` |
//! | `revision` | legacy revision it negotiates (default 2025-11-25) |
//! | `name`, `instructions`, `capabilities` | of the handshake; all capabilities by default |
//! | `tools` `prompts` `resources` `resourceTemplates` | entries, or pages (arrays of entries); a string is a minimal entry |
//! | `endless`, `stuck` | list methods that always have a next page, with a new cursor or the same one |
//! | `on` | steps by `"method"` or `"method:name"` (name, uri or task id), in place of the usual answer; for a request sent again also by `"method:name@state"` with its `requestState`, or `"method:name@"` if it has none |
//! | `start` | steps before anything was read |
//! | `ignoreEof` | stay when stdin closes (stdio) |
//! | `sessions`, `sse` | HTTP only: `false` for no session ids; `true` to answer all by SSE |
//!
//! Steps, planned when the message is heard and done in order; without `result` or `error` at the end the request is never answered:
//!
//! | step | meaning |
//! |---|---|
//! | `{"result": VALUE}` `{"resultText": "JSON"}` `{"error": {…}}` | the answer; `resultText` byte for byte |
//! | `{"usual": true}` | the answer there would be without steps |
//! | `{"progress": 3}` | so many progress notifications, if the request has a token |
//! | `{"log": "text"}` | `notifications/message` |
//! | `{"notify": ["method", params]}` | any notification: on the request's stream, or the standing one for `*list_changed` and `resources/updated` |
//! | `{"ask": ["method", params]}` | a request to the client with the id `"ask-1"`, `"ask-2"`, …; the answer is only recorded |
//! | `{"askAside": ["method", params]}` | the same on the standing stream |
//! | `{"foreign": ID}` | an answer to an id nobody asked |
//! | `{"say": VALUE}` `{"line": "text"}` | any message; any line; `$id` and `$token` stand for the request's, `$last` for the last token of any (`say` and `sayAside`), `$pid` for the process |
//! | `{"sayAside": VALUE}` | any message on the standing stream |
//! | `{"raw": "text"}` | bytes without a newline |
//! | `{"big": 1000}` | a line of so many bytes |
//! | `{"times": [32, STEP]}` | a step so many times |
//! | `{"await": "gate"}` | go on when the test releases the gate (the test can wait for us to reach it) |
//! | `{"sleep": 100}` | go on after so many milliseconds |
//! | `{"tools": […]}` | from now on these tools |
//! | `{"stderr": "text"}` `{"flood": 1000}` | a line, or so many bytes of lines, on stderr (stdio) |
//! | `{"exit": 1}` | end the process (stdio), cut the connection (HTTP) |
//! | `{"deaf": true}` | never read again (stdio) |
//! | `{"closeOutput": true}` | close stdout and live on (stdio) |

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub(crate) const MODERN: &str = "2026-07-28";
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// Which stream a message goes to; over stdio there is only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Request,
    Standing,
    /// The listen stream opened with this id (as JSON).
    Listen(String),
}

/// What the transport must do, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    Say(Lane, String),
    Raw(String),
    Big(usize),
    Await(String),
    Sleep(u64),
    Stderr(String),
    Flood(usize),
    Exit(i32),
    Deaf,
    CloseOutput,
    /// Keep this listen stream open.
    Follow(String),
}

/// The scripted server.
pub(crate) struct Peer {
    pub(crate) script: Value,
    listens: Vec<(Value, Value)>,
    asked: usize,
    /// The last progress token that came.
    token: Value,
}

/// A request or notification as the script sees it.
struct Heard<'a> {
    id: Option<Value>,
    method: &'a str,
    params: &'a Value,
    arguments: Option<String>,
    modern: bool,
}

impl Heard<'_> {
    fn name(&self) -> &str {
        let member = |name| self.params.get(name);
        let name = member("name").or(member("uri")).or(member("taskId"));
        name.and_then(Value::as_str).unwrap_or_default()
    }

    /// The state of a request that is sent again.
    fn again(&self) -> Option<&str> {
        let answered = self.params.get("inputResponses").map(|_| "");
        self.params.get("requestState").and_then(Value::as_str).or(answered)
    }

    fn token(&self) -> Option<&Value> {
        self.params.get("_meta")?.get("progressToken")
    }
}

impl Peer {
    pub(crate) fn new(script: Value) -> Peer {
        Peer { script, listens: Vec::new(), asked: 0, token: Value::Null }
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.script[name].as_bool().unwrap_or_default()
    }

    /// Does it speak the era with sessions?
    pub(crate) fn legacy(&self) -> bool {
        self.script["era"] != "modern"
    }

    /// Would this message be answered as a modern one?
    pub(crate) fn modern(&self, message: &Value) -> bool {
        let marked = message["params"]["_meta"].get(VERSION).is_some();
        match self.script["era"].as_str() {
            Some("modern") => true,
            Some("both") => marked,
            _ => false,
        }
    }

    /// What happens before anything is read.
    pub(crate) fn start(&mut self) -> Vec<Act> {
        let steps = self.script["start"].clone();
        let nothing = Heard {
            id: None,
            method: "",
            params: &Value::Null,
            arguments: None,
            modern: !self.legacy(),
        };
        self.steps(&steps, &nothing)
    }

    /// What happens on one message.
    pub(crate) fn hear(&mut self, line: &str) -> Vec<Act> {
        let Ok(message) = serde_json::from_str::<Value>(&readable(line)) else {
            let text =
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"not JSON"}}"#;
            return vec![Act::Say(Lane::Request, text.to_owned())];
        };
        let Some(method) = message["method"].as_str() else { return Vec::new() };
        let heard = Heard {
            id: message.get("id").cloned(),
            method,
            params: &message["params"],
            arguments: arguments(line),
            modern: self.modern(&message),
        };
        self.cancelled(&heard);
        self.token = heard.token().unwrap_or(&self.token).clone();
        let on = &self.script["on"];
        let named = on.get(format!("{method}:{}", heard.name()));
        let again =
            heard.again().and_then(|state| on.get(format!("{method}:{}@{state}", heard.name())));
        match again.or(named).or(on.get(method)).cloned() {
            Some(steps) => self.steps(&steps, &heard),
            None => self.usual(&heard),
        }
    }

    /// Over stdio a listen ends by being cancelled.
    fn cancelled(&mut self, heard: &Heard<'_>) {
        if heard.method == "notifications/cancelled" {
            let id = &heard.params["requestId"];
            self.listens.retain(|(listen, _)| listen != id);
        }
    }

    fn steps(&mut self, steps: &Value, heard: &Heard<'_>) -> Vec<Act> {
        let steps = steps.as_array().cloned().unwrap_or_default();
        steps.iter().flat_map(|step| self.step(step, heard)).collect()
    }

    fn step(&mut self, step: &Value, heard: &Heard<'_>) -> Vec<Act> {
        let (word, value) =
            step.as_object().and_then(|s| s.iter().next()).expect("a step has a word");
        let number = || usize::try_from(value.as_u64().expect("a number")).expect("a small number");
        match word.as_str() {
            "result" => answer(heard, &finished(heard, value.clone(), None).to_string()),
            "resultText" => answer(heard, text(value)),
            "error" => error(heard, value),
            "usual" => self.usual(heard),
            "progress" => progress(heard, number()),
            "log" => say(&notification("notifications/message", log(value))),
            "notify" => self.notify(text(&value[0]), &value[1]),
            "ask" => self.ask(Lane::Request, value),
            "askAside" => self.ask(Lane::Standing, value),
            "foreign" => say(&json!({ "jsonrpc": "2.0", "id": value, "result": {} })),
            "say" => vec![Act::Say(Lane::Request, self.last(&fill(&value.to_string(), heard)))],
            "sayAside" => {
                vec![Act::Say(Lane::Standing, self.last(&fill(&value.to_string(), heard)))]
            }
            "line" => vec![Act::Say(Lane::Request, fill(text(value), heard))],
            "raw" => vec![Act::Raw(fill(text(value), heard))],
            "big" => vec![Act::Big(number())],
            "times" => {
                let times = value[0].as_u64().expect("a number");
                (0..times).flat_map(|_| self.step(&value[1], heard)).collect()
            }
            "await" => vec![Act::Await(text(value).to_owned())],
            "sleep" => vec![Act::Sleep(value.as_u64().expect("milliseconds"))],
            "tools" => {
                self.script["tools"] = value.clone();
                Vec::new()
            }
            "stderr" => vec![Act::Stderr(text(value).to_owned())],
            "flood" => vec![Act::Flood(number())],
            "exit" => vec![Act::Exit(i32::try_from(value.as_i64().unwrap_or(1)).unwrap_or(1))],
            "deaf" => vec![Act::Deaf],
            "closeOutput" => vec![Act::CloseOutput],
            _ => panic!("unknown step {step}"),
        }
    }

    fn last(&self, text: &str) -> String {
        text.replace("\"$last\"", &self.token.to_string())
    }

    fn ask(&mut self, lane: Lane, value: &Value) -> Vec<Act> {
        self.asked += 1;
        let id = format!("ask-{}", self.asked);
        let ask = json!({ "jsonrpc": "2.0", "id": id, "method": value[0], "params": value[1] });
        vec![Act::Say(lane, ask.to_string())]
    }

    /// A notification goes to the standing stream or to the listens that wanted it.
    fn notify(&self, method: &str, params: &Value) -> Vec<Act> {
        let Some(filter) = filter_name(method) else {
            return say(&notification(method, params.clone()));
        };
        if self.listens.is_empty() && self.legacy() {
            let text = notification(method, params.clone()).to_string();
            return vec![Act::Say(Lane::Standing, text)];
        }
        let wanted = |wanted: &Value| match &wanted[filter] {
            Value::Array(uris) => uris.contains(&params["uri"]),
            flag => flag == true,
        };
        let listens = self.listens.iter().filter(|(_, filter)| wanted(filter));
        listens
            .map(|(id, _)| {
                Act::Say(Lane::Listen(id.to_string()), tagged(method, params, id).to_string())
            })
            .collect()
    }

    fn usual(&mut self, heard: &Heard<'_>) -> Vec<Act> {
        if heard.id.is_none() {
            return Vec::new();
        }
        match heard.method {
            "server/discover" if heard.modern => self.discover(heard),
            "subscriptions/listen" if heard.modern => self.listen(heard),
            "initialize" if !self.legacy() => {
                let asked = &heard.params["protocolVersion"];
                let data = json!({ "supported": [MODERN], "requested": asked });
                error(
                    heard,
                    &json!({ "code": -32022, "message": "unsupported version", "data": data }),
                )
            }
            "initialize" if !heard.modern => self.initialize(heard),
            "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe"
                if !heard.modern =>
            {
                answer(heard, "{}")
            }
            _ if heard.modern && heard.params["_meta"].get(VERSION).is_none() => {
                error(heard, &json!({ "code": -32602, "message": "_meta names no version" }))
            }
            _ => self.feature(heard),
        }
    }

    fn feature(&self, heard: &Heard<'_>) -> Vec<Act> {
        let result = match heard.method {
            "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" => {
                Ok(self.page(heard))
            }
            "tools/call" => self.call(heard),
            "prompts/get" => self.listed("prompts", "name", heard).map(|()| {
                let content = json!({ "type": "text", "text": format!("prompt {}", heard.name()) });
                json!({ "messages": [{ "role": "user", "content": content }] })
            }),
            "resources/read" => {
                let uri = heard.name();
                Ok(json!({ "contents": [{ "uri": uri, "text": format!("contents of {uri}") }] }))
            }
            "completion/complete" => {
                let value = heard.params["argument"]["value"].as_str().unwrap_or_default();
                Ok(json!({ "completion": { "values": [format!("{value}-completed")] } }))
            }
            _ => Err(json!({ "code": -32601, "message": "unknown method" })),
        };
        let cacheable = heard.method.ends_with("/list") || heard.method == "resources/read";
        match result {
            Ok(result) => {
                answer(heard, &finished(heard, result, cacheable.then_some(0)).to_string())
            }
            Err(e) => error(heard, &e),
        }
    }

    /// `echo` gives its arguments back byte for byte; any other tool says that it was called.
    fn call(&self, heard: &Heard<'_>) -> Result<Value, Value> {
        self.listed("tools", "name", heard)?;
        let text = match (heard.name(), &heard.arguments) {
            ("echo", Some(arguments)) => arguments.clone(),
            (name, _) => format!("called {name}"),
        };
        Ok(json!({ "content": [{ "type": "text", "text": text }] }))
    }

    fn listed(&self, list: &str, key: &str, heard: &Heard<'_>) -> Result<(), Value> {
        let known =
            pages(&self.script[list]).concat().iter().any(|e| entry(list, e)[key] == heard.name());
        known
            .then_some(())
            .ok_or(json!({ "code": -32602, "message": format!("unknown {}", heard.name()) }))
    }

    fn page(&self, heard: &Heard<'_>) -> Value {
        let list = match heard.method {
            "resources/templates/list" => "resourceTemplates",
            method => method.trim_end_matches("/list"),
        };
        let cursor = heard.params["cursor"].as_str().and_then(|c| c.strip_prefix("page-"));
        let number: usize = cursor.and_then(|n| n.parse().ok()).unwrap_or(0);
        let pages = pages(&self.script[list]);
        let has = |member: &str| {
            self.script[member].as_array().is_some_and(|m| m.contains(&json!(heard.method)))
        };
        let (endless, stuck) = (has("endless"), has("stuck"));
        let at = if endless || stuck { 0 } else { number };
        let entries = pages.get(at).cloned().unwrap_or_default();
        let entries: Vec<Value> = entries.iter().map(|e| entry(list, e)).collect();
        let mut result = json!({ list: entries });
        if stuck {
            result["nextCursor"] = json!("page-1");
        } else if endless || number + 1 < pages.len() {
            result["nextCursor"] = json!(format!("page-{}", number + 1));
        }
        result
    }

    fn capabilities(&self) -> Value {
        let all = json!({
            "tools": { "listChanged": true },
            "prompts": { "listChanged": true },
            "resources": { "listChanged": true, "subscribe": true },
            "completions": {},
            "logging": {},
        });
        self.script.get("capabilities").cloned().unwrap_or(all)
    }

    fn info(&self) -> Value {
        let name = self.script["name"].as_str().unwrap_or("fake");
        json!({ "name": name, "version": "1.0" })
    }

    fn with_instructions(&self, mut result: Value) -> Value {
        if let Some(text) = self.script.get("instructions") {
            result["instructions"] = text.clone();
        }
        result
    }

    fn initialize(&self, heard: &Heard<'_>) -> Vec<Act> {
        let revision = self.script["revision"].as_str().unwrap_or("2025-11-25");
        let result = json!({
            "protocolVersion": revision,
            "capabilities": self.capabilities(),
            "serverInfo": self.info(),
        });
        answer(heard, &self.with_instructions(result).to_string())
    }

    fn discover(&self, heard: &Heard<'_>) -> Vec<Act> {
        let result = json!({ "supportedVersions": [MODERN], "capabilities": self.capabilities() });
        let mut result = finished(heard, self.with_instructions(result), Some(0));
        result["_meta"] = json!({ "io.modelcontextprotocol/serverInfo": self.info() });
        answer(heard, &result.to_string())
    }

    fn listen(&mut self, heard: &Heard<'_>) -> Vec<Act> {
        let id = heard.id.clone().unwrap_or_default();
        let wanted = heard.params["notifications"].clone();
        let method = "notifications/subscriptions/acknowledged";
        let acknowledged = tagged(method, &json!({ "notifications": wanted }), &id);
        self.listens.push((id.clone(), wanted));
        vec![Act::Say(Lane::Request, acknowledged.to_string()), Act::Follow(id.to_string())]
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn say(message: &Value) -> Vec<Act> {
    vec![Act::Say(Lane::Request, message.to_string())]
}

fn notification(method: &str, params: Value) -> Value {
    let mut message = json!({ "jsonrpc": "2.0", "method": method });
    if !params.is_null() {
        message["params"] = params;
    }
    message
}

fn tagged(method: &str, params: &Value, subscription: &Value) -> Value {
    let mut params = if params.is_null() { json!({}) } else { params.clone() };
    params["_meta"] = json!({ SUBSCRIPTION: subscription });
    notification(method, params)
}

/// The member of a listen filter that opts in to this notification.
fn filter_name(method: &str) -> Option<&'static str> {
    match method {
        "notifications/tools/list_changed" => Some("toolsListChanged"),
        "notifications/prompts/list_changed" => Some("promptsListChanged"),
        "notifications/resources/list_changed" => Some("resourcesListChanged"),
        "notifications/resources/updated" => Some("resourceSubscriptions"),
        _ => None,
    }
}

fn answer(heard: &Heard<'_>, result: &str) -> Vec<Act> {
    let id = heard.id.clone().unwrap_or_default();
    vec![Act::Say(Lane::Request, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))]
}

fn error(heard: &Heard<'_>, error: &Value) -> Vec<Act> {
    say(&json!({ "jsonrpc": "2.0", "id": heard.id, "error": error }))
}

/// A modern result says what kind it is, and how long a cacheable one may be kept.
fn finished(heard: &Heard<'_>, mut result: Value, ttl: Option<u64>) -> Value {
    let Value::Object(members) = &mut result else { return result };
    if heard.modern {
        members.entry("resultType").or_insert_with(|| json!("complete"));
        if let Some(ttl) = ttl {
            members.entry("ttlMs").or_insert_with(|| json!(ttl));
            members.entry("cacheScope").or_insert_with(|| json!("private"));
        }
    }
    result
}

fn progress(heard: &Heard<'_>, count: usize) -> Vec<Act> {
    let Some(token) = heard.token() else { return Vec::new() };
    let step = |n: usize| {
        let params = json!({ "progressToken": token, "progress": n, "total": count });
        Act::Say(Lane::Request, notification("notifications/progress", params).to_string())
    };
    (1..=count).map(step).collect()
}

fn log(value: &Value) -> Value {
    if value.is_object() { value.clone() } else { json!({ "level": "info", "data": value }) }
}

fn fill(text: &str, heard: &Heard<'_>) -> String {
    let id = heard.id.clone().unwrap_or_default().to_string();
    let token = heard.token().cloned().unwrap_or_default().to_string();
    let quoted = text.replace("\"$id\"", &id).replace("\"$token\"", &token);
    let pid = std::process::id().to_string();
    quoted.replace("$id", &id).replace("$token", &token).replace("$pid", &pid)
}

fn pages(list: &Value) -> Vec<Vec<Value>> {
    let Some(entries) = list.as_array() else { return vec![Vec::new()] };
    if entries.first().is_some_and(Value::is_array) {
        return entries.iter().map(|page| page.as_array().cloned().unwrap_or_default()).collect();
    }
    vec![entries.clone()]
}

/// A string stands for a minimal entry.
fn entry(list: &str, entry: &Value) -> Value {
    let Some(name) = entry.as_str() else { return entry.clone() };
    match list {
        "tools" => json!({ "name": name, "inputSchema": { "type": "object" } }),
        "resources" => json!({ "uri": name, "name": name }),
        "resourceTemplates" => json!({ "uriTemplate": name, "name": name }),
        _ => json!({ "name": name }),
    }
}

/// For reading only: serde_json reads no lone surrogates, which are allowed in JSON all the same.
pub(crate) fn readable(text: &str) -> String {
    text.replace("\\ud", "\\u0").replace("\\uD", "\\u0")
}

/// `params.arguments` as it was written.
fn arguments(line: &str) -> Option<String> {
    type Members = BTreeMap<String, Box<RawValue>>;
    let message: Members = serde_json::from_str(line).ok()?;
    let params: Members = serde_json::from_str(message.get("params")?.get()).ok()?;
    Some(params.get("arguments")?.get().to_owned())
}

/// A script given in code, with members in place of what a command line says.
pub(crate) fn with(mut script: Value, members: &[(String, String)]) -> Value {
    if script.is_null() {
        script = Value::Object(Map::new());
    }
    for (name, value) in members {
        script[name] = json!(value);
    }
    script
}
