//! A scripted HTTP upstream inside the test: by a closure, or by the script of `script.rs`.

use super::bounded;
use super::http::{Head, HttpStream};
use super::script::{Act, Lane, Peer, readable};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{broadcast, watch};

/// One thing to do while answering.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Until the test releases the gate; ends early if the client disconnects.
    Await(String),
    Sleep(u64),
    /// Send what is published on this lane until the client disconnects.
    Follow(String),
    /// To those who follow the lane.
    Publish(String, String),
    /// Close the connection in the middle.
    Cut,
}

/// How a request is answered: steps before the head, the head, steps of the body.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    before: Vec<Step>,
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<Step>,
    chunked: bool,
}

impl Answer {
    /// With any body.
    pub(crate) fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Answer {
        let mut answer = Answer::empty(status).header("Content-Type", kind);
        answer.body.push(Step::Send(body.into()));
        answer
    }

    pub(crate) fn json(body: impl ToString) -> Answer {
        Answer::new(200, "application/json", body.to_string())
    }

    pub(crate) fn empty(status: u16) -> Answer {
        let (before, headers, body) = (Vec::new(), Vec::new(), Vec::new());
        Answer { before, status, headers, body, chunked: false }
    }

    /// An SSE stream; add events and other steps to it.
    pub(crate) fn sse() -> Answer {
        let mut answer = Answer::empty(200).header("Content-Type", "text/event-stream");
        answer.chunked = true;
        answer
    }

    pub(crate) fn status(mut self, status: u16) -> Answer {
        self.status = status;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn event(self, data: impl ToString) -> Answer {
        let lines: String = data.to_string().lines().map(|l| format!("data: {l}\n")).collect();
        self.send(format!("event: message\n{lines}\n"))
    }

    /// Bytes of the body as they are.
    pub(crate) fn send(self, bytes: impl Into<Vec<u8>>) -> Answer {
        self.step(Step::Send(bytes.into()))
    }

    pub(crate) fn step(mut self, step: Step) -> Answer {
        self.body.push(step);
        self
    }

    /// Wait at a gate, then go on with the body.
    pub(crate) fn wait(self, gate: &str) -> Answer {
        self.step(Step::Await(gate.to_owned()))
    }

    /// Wait at a gate before anything is sent.
    pub(crate) fn after(mut self, gate: &str) -> Answer {
        self.before.push(Step::Await(gate.to_owned()));
        self
    }
}

/// One request and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) head: Head,
    pub(crate) body: String,
    pub(crate) ended: Ended,
}

impl Recorded {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Still being answered.
    NotYet,
    Answered,
    /// The client went away first.
    Disconnected,
}

type Script = dyn Fn(&Head, &str) -> Answer + Send + Sync;

struct Shared {
    script: Box<Script>,
    recorded: Mutex<Vec<Recorded>>,
    changed: watch::Sender<u64>,
    open: watch::Sender<HashSet<String>>,
    reached: watch::Sender<HashSet<String>>,
    lanes: broadcast::Sender<(String, String)>,
}

/// A server on a loopback port; it ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct FakeHttp {
    address: String,
    shared: Arc<Shared>,
    sessions: Arc<Mutex<HashSet<String>>>,
    stopping: watch::Sender<bool>,
}

impl FakeHttp {
    /// Answers each request as the closure says.
    pub(crate) async fn serve(
        script: impl Fn(&Head, &str) -> Answer + Send + Sync + 'static,
    ) -> FakeHttp {
        FakeHttp::start(Box::new(script), Arc::default(), "127.0.0.1:0").await
    }

    /// An MCP server after the script of `script.rs`.
    pub(crate) async fn mcp(script: Value) -> FakeHttp {
        FakeHttp::mcp_at(script, "127.0.0.1:0").await
    }

    /// The same at an address where there may have been one before.
    pub(crate) async fn mcp_at(script: Value, address: &str) -> FakeHttp {
        let sessions: Arc<Mutex<HashSet<String>>> = Arc::default();
        let server =
            McpServer { peer: Mutex::new(Peer::new(script)), sessions: Arc::clone(&sessions) };
        let script = Box::new(move |head: &Head, body: &str| server.answer(head, body));
        FakeHttp::start(script, sessions, address).await
    }

    /// Not even HTTP: says these bytes to whoever says anything, and closes. Returns its URL.
    pub(crate) async fn babble(bytes: Vec<u8>) -> String {
        use tokio::io::AsyncReadExt;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                drop(stream.read(&mut [0; 4096]).await);
                drop(stream.write_all(&bytes).await);
                drop(stream.shutdown().await);
            }
        });
        format!("http://{address}/mcp")
    }

    #[allow(clippy::unused_async, reason = "it begins a task: only a runtime can do that")]
    async fn start(
        script: Box<Script>,
        sessions: Arc<Mutex<HashSet<String>>>,
        address: &str,
    ) -> FakeHttp {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("it can be bound again");
        // what it has written was read, but for little
        socket.set_send_buffer_size(32 << 10).expect("a size");
        socket.bind(address.parse().expect("an address")).expect("loopback has a free port");
        let listener = socket.listen(1024).expect("it is bound");
        let address = listener.local_addr().expect("it is bound").to_string();
        let shared = Arc::new(Shared {
            script,
            recorded: Mutex::default(),
            changed: watch::Sender::new(0),
            open: watch::Sender::default(),
            reached: watch::Sender::default(),
            lanes: broadcast::Sender::new(1024),
        });
        let server = Arc::clone(&shared);
        let (stopping, mut stop) = watch::channel(false);
        tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        connections.spawn(Arc::clone(&server).connection(stream));
                    }
                    Some(_) = connections.join_next() => {}
                    // whoever waits for the last receiver to go sees that all connections are gone
                    () = told(&mut stop) => {
                        drop(listener);
                        connections.shutdown().await;
                        return;
                    }
                }
            }
        });
        FakeHttp { address, shared, sessions, stopping }
    }

    /// Ends it as a crash does: no connection is left, and nobody listens.
    pub(crate) async fn crash(&self) {
        self.stopping.send_replace(true);
        bounded("the end of the server", self.stopping.closed()).await;
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// The entry of the configuration file.
    pub(crate) fn entry(&self) -> Value {
        json!({ "type": "http", "url": self.url() })
    }

    pub(crate) fn recorded(&self) -> Vec<Recorded> {
        self.shared.recorded.lock().expect("no panic while it is held").clone()
    }

    /// The recorded bodies of one MCP method.
    pub(crate) fn received_of(&self, method: &str) -> Vec<Value> {
        let bodies = self.recorded().into_iter().map(|r| r.json());
        bodies.filter(|m| m["method"] == method).collect()
    }

    /// The first recorded request like this, past or future.
    pub(crate) async fn wait_for(
        &self,
        what: &str,
        wanted: impl Fn(&Recorded) -> bool,
    ) -> Recorded {
        let mut changed = self.shared.changed.subscribe();
        let search = async {
            loop {
                changed.borrow_and_update();
                if let Some(found) = self.recorded().into_iter().find(&wanted) {
                    return found;
                }
                changed.changed().await.expect("the sender is ours");
            }
        };
        bounded(what, search).await
    }

    /// Opens a gate.
    pub(crate) fn release(&self, gate: &str) {
        self.shared.open.send_if_modified(|open| open.insert(gate.to_owned()));
    }

    /// Closes a gate again.
    pub(crate) fn shut(&self, gate: &str) {
        self.shared.open.send_if_modified(|open| open.remove(gate));
        self.shared.reached.send_if_modified(|reached| reached.remove(gate));
    }

    /// Waits until an answer waits at the gate.
    pub(crate) async fn reached(&self, gate: &str) {
        let mut reached = self.shared.reached.subscribe();
        let there = reached.wait_for(|names| names.contains(gate));
        bounded(&format!("the gate {gate}"), there).await.expect("the sender is ours");
    }

    /// Publishes a message on the standing stream.
    pub(crate) fn publish(&self, message: impl ToString) {
        drop(self.shared.lanes.send((STANDING.to_owned(), message.to_string())));
    }

    /// Forgets all sessions, as a restarted server does.
    pub(crate) fn expire_sessions(&self) {
        self.sessions.lock().expect("no panic while it is held").clear();
    }
}

impl Shared {
    async fn connection(self: Arc<Shared>, stream: TcpStream) {
        let mut http = HttpStream::new(stream);
        while let Some(head) = http.read_head().await {
            let body = String::from_utf8_lossy(&http.read_body().await).into_owned();
            // Whoever follows a lane from this answer on misses nothing published after it.
            let lanes = self.lanes.subscribe();
            let index = self.record(&head, &body);
            let answer = (self.script)(&head, &body);
            let ended = self.perform(&mut http, answer, lanes).await;
            self.end(index, ended);
            if ended == Ended::Disconnected {
                return;
            }
        }
    }

    fn record(&self, head: &Head, body: &str) -> usize {
        let mut recorded = self.recorded.lock().expect("no panic while it is held");
        recorded.push(Recorded { head: head.clone(), body: body.to_owned(), ended: Ended::NotYet });
        self.changed.send_modify(|n| *n += 1);
        recorded.len() - 1
    }

    fn end(&self, index: usize, ended: Ended) {
        self.recorded.lock().expect("no panic while it is held")[index].ended = ended;
        self.changed.send_modify(|n| *n += 1);
    }

    async fn perform(
        &self,
        http: &mut HttpStream,
        answer: Answer,
        mut lanes: broadcast::Receiver<(String, String)>,
    ) -> Ended {
        let chunked = answer.chunked;
        let head = [Step::Send(head_of(&answer))];
        let plain = answer.before.into_iter().chain(head).map(|step| (step, false));
        let body = answer.body.into_iter().map(|step| (step, chunked));
        for (step, chunked) in plain.chain(body) {
            if !self.step(http, step, chunked, &mut lanes).await {
                return Ended::Disconnected;
            }
        }
        if chunked && http.stream.write_all(b"0\r\n\r\n").await.is_err() {
            return Ended::Disconnected;
        }
        Ended::Answered
    }

    /// False if the connection is no more.
    async fn step(
        &self,
        http: &mut HttpStream,
        step: Step,
        chunked: bool,
        lanes: &mut broadcast::Receiver<(String, String)>,
    ) -> bool {
        match step {
            Step::Send(bytes) => send(http, &bytes, chunked).await,
            Step::Await(gate) => {
                self.reached.send_if_modified(|names| names.insert(gate.clone()));
                let mut open = self.open.subscribe();
                tokio::select! {
                    _ = open.wait_for(|names| names.contains(&gate)) => true,
                    () = disconnected(http) => false,
                }
            }
            Step::Sleep(ms) => {
                tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
                true
            }
            Step::Follow(lane) => loop {
                let published = tokio::select! {
                    published = lanes.recv() => published,
                    () = disconnected(http) => return false,
                };
                let (to, message) = published.expect("a test publishes less than the lane holds");
                if is_for(&lane, &to) && !send(http, &event(&message), chunked).await {
                    return false;
                }
            },
            Step::Publish(lane, message) => {
                drop(self.lanes.send((lane, message)));
                true
            }
            Step::Cut => false,
        }
    }
}

async fn send(http: &mut HttpStream, bytes: &[u8], chunked: bool) -> bool {
    if !chunked {
        return http.stream.write_all(bytes).await.is_ok();
    }
    let size = format!("{:x}\r\n", bytes.len());
    http.stream.write_all(&[size.as_bytes(), bytes, b"\r\n"].concat()).await.is_ok()
}

/// Returns when the client has closed its side.
async fn disconnected(http: &HttpStream) {
    if http.has_more() || matches!(http.stream.peek(&mut [0]).await, Ok(1..)) {
        std::future::pending::<()>().await;
    }
}

fn head_of(answer: &Answer) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let sent = |step: &Step| if let Step::Send(bytes) = step { bytes.len() } else { 0 };
    let length: usize = answer.body.iter().map(sent).sum();
    head += &match answer.chunked {
        true => "Transfer-Encoding: chunked\r\n\r\n".to_owned(),
        false => format!("Content-Length: {length}\r\n\r\n"),
    };
    head.into_bytes()
}

fn event(message: &str) -> Vec<u8> {
    format!("event: message\ndata: {message}\n\n").into_bytes()
}

const STANDING: &str = "standing";

/// The standing stream of one session.
fn standing(head: &Head) -> String {
    format!("{STANDING} {}", head.header("mcp-session-id").unwrap_or_default())
}

/// What is published on the standing stream without a session is for all sessions.
fn is_for(lane: &str, to: &str) -> bool {
    to == lane || to == STANDING && lane.starts_with(STANDING)
}

/// `script.rs` over streamable HTTP.
struct McpServer {
    peer: Mutex<Peer>,
    sessions: Arc<Mutex<HashSet<String>>>,
}

impl McpServer {
    fn answer(&self, head: &Head, body: &str) -> Answer {
        let mut peer = self.peer.lock().expect("no panic while it is held");
        let message: Value = serde_json::from_str(&readable(body)).unwrap_or_default();
        let modern = peer.modern(&message);
        if head.method() != "POST" {
            return self.other_method(&peer, head);
        }
        if modern && message.get("id").is_some() && !headers_match(head, &message) {
            let error = json!({ "code": -32020, "message": "headers and body differ" });
            let id = &message["id"];
            return Answer::json(json!({ "jsonrpc": "2.0", "id": id, "error": error })).status(400);
        }
        let initialize = message["method"] == "initialize";
        if let (false, false, Some(refused)) = (modern, initialize, self.refused(&peer, head)) {
            return refused;
        }
        let acts = peer.hear(body);
        if message.get("id").is_none() || message.get("method").is_none() {
            return Answer::empty(202);
        }
        let answer = by_acts(acts, modern, peer.flag("sse"), &standing(head));
        if initialize && peer.script["sessions"] != false {
            self.with_session(answer)
        } else {
            answer
        }
    }

    fn with_session(&self, answer: Answer) -> Answer {
        let mut sessions = self.sessions.lock().expect("no panic while it is held");
        let id = format!("fake-session-{:x}", std::process::id() as usize + sessions.len());
        sessions.insert(id.clone());
        answer.header("Mcp-Session-Id", &id)
    }

    /// Legacy requests name their session: none is 400, an unknown one is 404.
    fn refused(&self, peer: &Peer, head: &Head) -> Option<Answer> {
        if peer.script["sessions"] == false || !peer.legacy() {
            return None;
        }
        let known = self.sessions.lock().expect("no panic while it is held");
        match head.header("mcp-session-id") {
            None => Some(Answer::empty(400)),
            Some(id) if !known.contains(id) => Some(Answer::empty(404)),
            Some(_) => None,
        }
    }

    fn other_method(&self, peer: &Peer, head: &Head) -> Answer {
        if !peer.legacy() {
            return Answer::empty(405);
        }
        if let Some(refused) = self.refused(peer, head) {
            return refused;
        }
        match head.method() {
            "GET" => Answer::sse().step(Step::Follow(standing(head))),
            "DELETE" => {
                let mut sessions = self.sessions.lock().expect("no panic while it is held");
                sessions.remove(head.header("mcp-session-id").unwrap_or_default());
                Answer::empty(200)
            }
            _ => Answer::empty(405),
        }
    }
}

/// Returns when the test says so, and not because it has forgotten the server.
async fn told(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

/// Version, method and name in the headers must be those of the body.
fn headers_match(head: &Head, message: &Value) -> bool {
    let params = &message["params"];
    let version = &params["_meta"]["io.modelcontextprotocol/protocolVersion"];
    let name = match message["method"].as_str() {
        Some("tools/call" | "prompts/get") => params["name"].as_str(),
        Some("resources/read") => params["uri"].as_str(),
        _ => None,
    };
    head.header("mcp-protocol-version") == version.as_str()
        && head.header("mcp-method") == message["method"].as_str()
        && name.is_none_or(|n| head.header("mcp-name") == Some(&super::clients::encode(n)))
}

/// One message alone (after a wait or not) is answered as JSON, anything else as a stream; what is
/// said outside requests goes to the `standing` stream.
fn by_acts(acts: Vec<Act>, modern: bool, stream: bool, standing: &str) -> Answer {
    let alone = match acts.as_slice() {
        _ if stream => None,
        [Act::Say(Lane::Request, text)] => Some((None, text)),
        [Act::Await(gate), Act::Say(Lane::Request, text)] => Some((Some(gate), text)),
        _ => None,
    };
    if let Some((gate, text)) = alone {
        let status = if modern { status_of(text) } else { 200 };
        let answer = Answer::json(text).status(status);
        return gate.into_iter().fold(answer, |answer, gate| answer.after(gate));
    }
    acts.into_iter().fold(Answer::sse(), |answer, act| match act {
        Act::Say(Lane::Request, text) => answer.send(event(&text)),
        Act::Say(Lane::Standing, text) => answer.step(Step::Publish(standing.to_owned(), text)),
        Act::Say(Lane::Listen(id), text) => answer.step(Step::Publish(id, text)),
        Act::Raw(text) => answer.send(text),
        Act::Big(bytes) => answer.send(event(&"x".repeat(bytes))),
        Act::Await(gate) => answer.wait(&gate),
        Act::Sleep(ms) => answer.step(Step::Sleep(ms)),
        Act::Follow(id) => answer.step(Step::Follow(id)),
        Act::Exit(_) => answer.step(Step::Cut),
        Act::Stderr(_) | Act::Flood(_) | Act::Deaf | Act::CloseOutput => answer,
    })
}

/// MCP 2026-07-28 basic/transports/streamable-http: the status of an error.
fn status_of(message: &str) -> u16 {
    let message: Value = serde_json::from_str(message).unwrap_or_default();
    match message["error"]["code"].as_i64() {
        Some(-32601) => 404,
        Some(-32022..=-32020) => 400,
        _ => 200,
    }
}
