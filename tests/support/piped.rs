//! `1mcp stdio` as the client sees it that has started it: lines out, lines in.

use super::{BOUND, Proxy, bounded};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, ExitStatus};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// A client of a gateway of its own. Every line that comes must be one JSON object or array.
pub(crate) struct Piped {
    pub(crate) proxy: Proxy,
    input: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<String>,
    /// Messages that were passed over while another was waited for.
    pub(crate) passed: Vec<Value>,
    /// Lets the reader begin.
    read: Option<oneshot::Sender<()>>,
    reader: Option<JoinHandle<()>>,
}

impl Piped {
    pub(super) fn new(proxy: Proxy, input: ChildStdin, output: ChildStdout) -> Piped {
        let (lines, received) = mpsc::unbounded_channel();
        let (read, begin) = oneshot::channel();
        let reader = std::thread::spawn(move || {
            if begin.blocking_recv().is_err() {
                return;
            }
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { return };
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        let (input, passed, read, reader) = (Some(input), Vec::new(), Some(read), Some(reader));
        Piped { proxy, input, lines: received, passed, read, reader }
    }

    /// Writes bytes as they are; on a thread, because nobody may read them.
    pub(crate) async fn write(&mut self, bytes: impl Into<Vec<u8>>) {
        let (mut input, bytes) = (self.input.take().expect("open"), bytes.into());
        let write = tokio::task::spawn_blocking(move || {
            input.write_all(&bytes).expect("it reads");
            input
        });
        self.input = Some(bounded("our input to be read", write).await.expect("no panic"));
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.write(format!("{message}\n")).await;
    }

    /// A request of a legacy client.
    pub(crate) async fn ask(&mut self, id: Value, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await;
    }

    /// A request of 2026-07-28.
    pub(crate) async fn ask_modern(&mut self, id: Value, method: &str, params: Value) {
        self.ask(id, method, modern(params)).await;
    }

    pub(crate) async fn notify(&mut self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params })).await;
    }

    pub(crate) async fn cancel(&mut self, id: Value) {
        self.notify("notifications/cancelled", json!({ "requestId": id })).await;
    }

    /// Shakes hands; the result of `initialize`.
    pub(crate) async fn initialize(&mut self, revision: &str, capabilities: Value) -> Value {
        let info = json!({ "name": "story", "version": "1" });
        let params = json!({ "protocolVersion": revision, "capabilities": capabilities, "clientInfo": info });
        self.ask(json!("init"), "initialize", params).await;
        let answer = self.answer(json!("init")).await;
        self.notify("notifications/initialized", json!({})).await;
        answer["result"].clone()
    }

    /// The next line; `None` at the end.
    pub(crate) async fn next_line(&mut self) -> Option<String> {
        if let Some(read) = self.read.take() {
            let _ = read.send(()); // it has gone when the output is broken
        }
        bounded("a line", self.lines.recv()).await
    }

    /// The next message, which may be long in coming.
    pub(crate) async fn late(&mut self) -> Value {
        self.read.take().map(|read| read.send(()));
        let line = tokio::time::timeout(2 * BOUND, self.lines.recv()).await;
        parse(&line.expect("in time").expect("not the end"))
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Value {
        let line = self.next_line().await.unwrap_or_else(|| panic!("the output has ended"));
        parse(&line)
    }

    /// The next message, for which more patience than usual is needed.
    pub(crate) async fn next_within(&mut self, patience: Duration) -> Value {
        if let Some(read) = self.read.take() {
            let _ = read.send(()); // as in `next_line`
        }
        let line = tokio::time::timeout(patience, self.lines.recv()).await;
        parse(&line.expect("a line in time").expect("the output has not ended"))
    }

    /// The response to this request; what comes before it is kept in `passed`.
    pub(crate) async fn answer(&mut self, id: Value) -> Value {
        loop {
            let message = self.next().await;
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
            self.passed.push(message);
        }
    }

    /// The next message of this method.
    pub(crate) async fn heard(&mut self, method: &str) -> Value {
        loop {
            let message = self.next().await;
            if message["method"] == method {
                return message;
            }
            self.passed.push(message);
        }
    }

    /// Nobody reads its standard output from now on.
    pub(crate) fn break_output(&mut self) {
        self.read = None; // the reader ends, and the pipe with it
        self.reader.take().expect("nobody has read").join().expect("no panic");
    }

    /// Closes its standard input.
    pub(crate) fn close_input(&mut self) {
        self.proxy.note_children();
        self.input = None;
    }

    /// Everything it still says.
    pub(crate) async fn rest(&mut self) -> Vec<Value> {
        let mut rest = Vec::new();
        while let Some(line) = self.next_line().await {
            rest.push(parse(&line));
        }
        rest
    }

    /// Waits until it ends of its own accord.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.proxy.ended().await
    }
}

/// With the `_meta` of a request of 2026-07-28.
pub(crate) fn modern(mut params: Value) -> Value {
    params["_meta"][VERSION] = json!("2026-07-28");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({ "elicitation": {} });
    params
}

fn parse(line: &str) -> Value {
    let message = serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"));
    assert!(matches!(message, Value::Object(_) | Value::Array(_)), "no message: {line}");
    message
}
