//! The servers that are forwarded to: MCP over HTTP and over stdio, both eras, as little work as
//! possible, so that what stands before them is what is measured. Not a model for a real server.

use memchr::memmem::{find, rfind};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Progress notifications of one call of the tool `progress`.
pub const NOTIFICATIONS: usize = 10;

/// Where in a message the method, the id and the era are looked for.
const HEAD: usize = 512;

const READ: usize = 256 << 10;

/// What is written for one message.
enum Reply {
    Nothing,
    Message(Vec<u8>),
    /// Notifications, each written on its own, and the response.
    Stream(Vec<Vec<u8>>),
}

/// Serves HTTP on a port that it prints, until it is killed.
pub fn serve_http() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut out = io::stdout().lock();
        writeln!(out, "{}", listener.local_addr()?)?;
        out.flush()?;
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            connections.spawn(connection(stream));
            while connections.try_join_next().is_some() {}
        }
    })
}

/// One connection; it ends with any fault, as a bench needs no better.
async fn connection(mut stream: TcpStream) {
    let mut buffer: Vec<u8> = Vec::with_capacity(READ);
    loop {
        let Some((head, length)) = request_head(&buffer) else {
            buffer.reserve(READ / 2);
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            }
        };
        while buffer.len() < head + length {
            buffer.reserve(head + length - buffer.len());
            if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
        }
        let is_post = buffer.starts_with(b"POST");
        let body = buffer.get(head..head + length).unwrap_or_default();
        let written = match is_post.then(|| reply(body)) {
            None => stream.write_all(b"HTTP/1.1 405 No\r\ncontent-length: 0\r\n\r\n").await,
            Some(Reply::Nothing) => {
                stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await
            }
            Some(Reply::Message(message)) => write_json(&mut stream, message).await,
            Some(Reply::Stream(messages)) => write_events(&mut stream, messages).await,
        };
        if written.is_err() {
            return;
        }
        buffer.drain(..head + length);
    }
}

/// Where the body begins, and its length; `None` while the head is not there.
fn request_head(buffer: &[u8]) -> Option<(usize, usize)> {
    let end = find(buffer, b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(buffer.get(..end)?).ok()?;
    let lengths = head.lines().filter_map(|line| line.split_once(':'));
    let length = lengths.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.filter_map(|(_, value)| value.trim().parse().ok()).next();
    Some((end, length.unwrap_or(0)))
}

async fn write_json(stream: &mut TcpStream, message: Vec<u8>) -> io::Result<()> {
    let mut out = Vec::with_capacity(message.len() + 128);
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n");
    out.extend_from_slice(format!("content-length: {}\r\n\r\n", message.len()).as_bytes());
    out.extend_from_slice(&message);
    stream.write_all(&out).await
}

async fn write_events(stream: &mut TcpStream, messages: Vec<Vec<u8>>) -> io::Result<()> {
    // the last header is what tells nginx not to wait for more
    let head: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
        transfer-encoding: chunked\r\nx-accel-buffering: no\r\n\r\n";
    stream.write_all(head).await?;
    let last = messages.len() - 1;
    for (at, message) in messages.iter().enumerate() {
        let mut out = format!("{:x}\r\ndata: ", message.len() + 8).into_bytes();
        out.extend_from_slice(message);
        out.extend_from_slice(if at == last { b"\n\n\r\n0\r\n\r\n" } else { b"\n\n\r\n" });
        stream.write_all(&out).await?;
    }
    Ok(())
}

/// Serves lines on standard input and output until the input ends.
pub fn serve_stdio() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut buffer: Vec<u8> = vec![0; READ];
    let (mut from, mut to) = (0, 0);
    let mut out = Vec::new();
    loop {
        if to == buffer.len() {
            buffer.copy_within(from..to, 0);
            (from, to) = (0, to - from);
            if to * 2 > buffer.len() {
                buffer.resize(buffer.len() * 4, 0);
            }
        }
        let fresh = to;
        match input.read(buffer.get_mut(to..).unwrap_or_default())? {
            0 => return Ok(()),
            read => to += read,
        }
        let mut looked = fresh;
        while let Some(end) = memchr::memchr(b'\n', buffer.get(looked..to).unwrap_or_default()) {
            let line = buffer.get(from..looked + end).unwrap_or_default();
            match reply(line) {
                Reply::Nothing => {}
                Reply::Message(message) => {
                    out.extend_from_slice(&message);
                    out.push(b'\n');
                }
                Reply::Stream(messages) => {
                    for mut message in messages {
                        message.push(b'\n');
                        output.write_all(&message)?;
                        output.flush()?;
                    }
                }
            }
            from = looked + end + 1;
            looked = from;
        }
        output.write_all(&out)?;
        output.flush()?;
        out.clear();
    }
}

/// Answers one message.
fn reply(message: &[u8]) -> Reply {
    let head = message.get(..HEAD.min(message.len())).unwrap_or_default();
    if find(head, b"\"method\":\"tools/call\"").is_none() {
        return introduce(message);
    }
    let id = token(head, b"\"id\":");
    let modern = find(head, b"io.modelcontextprotocol/protocolVersion").is_some();
    let kind: &[u8] = if modern { b"\"resultType\":\"complete\"," } else { b"" };
    let mut answer = Vec::with_capacity(message.len() + 128);
    answer.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    answer.extend_from_slice(id);
    answer.extend_from_slice(b",\"result\":{");
    answer.extend_from_slice(kind);
    answer.extend_from_slice(b"\"content\":[{\"type\":\"text\",\"text\":\"");
    answer.extend_from_slice(text(message));
    answer.extend_from_slice(b"\"}]}}");
    if find(head, b"\"name\":\"progress\"").is_none() {
        return Reply::Message(answer);
    }
    let token = String::from_utf8_lossy(token(head, b"\"progressToken\":")).into_owned();
    let mut messages: Vec<Vec<u8>> = (1..=NOTIFICATIONS).map(|n| progress(&token, n)).collect();
    messages.push(answer);
    Reply::Stream(messages)
}

/// The text of the arguments, which stands last in every message of the load.
fn text(message: &[u8]) -> &[u8] {
    let start = find(message, b"\"text\":\"").map(|at| at + 8);
    let end = rfind(message.get(message.len().saturating_sub(16)..).unwrap_or_default(), b"\"");
    let end = end.map(|at| message.len().saturating_sub(16) + at);
    message.get(start.unwrap_or(0)..end.unwrap_or(0)).unwrap_or_default()
}

/// The number or string after a key.
fn token<'a>(head: &'a [u8], key: &[u8]) -> &'a [u8] {
    let Some(at) = find(head, key) else { return b"null" };
    let rest = head.get(at + key.len()..).unwrap_or_default();
    let end = memchr::memchr2(b',', b'}', rest).unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

fn progress(token: &str, n: usize) -> Vec<u8> {
    let mut out = String::with_capacity(128);
    let _ = write!(
        out,
        "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\
         \"params\":{{\"progressToken\":{token},\"progress\":{n},\"total\":{NOTIFICATIONS}}}}}"
    ); // writing to a string cannot fail
    out.into_bytes()
}

/// Everything but calls: slow, and outside the measured time.
fn introduce(message: &[u8]) -> Reply {
    let Ok(message) = serde_json::from_slice::<Value>(message) else { return Reply::Nothing };
    let Some(id) = message.get("id") else { return Reply::Nothing };
    let result = match message.get("method").and_then(Value::as_str) {
        Some("initialize") => json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "bench", "version": "1"},
        }),
        Some("server/discover") => json!({
            "resultType": "complete",
            "supportedVersions": ["2026-07-28", "2025-11-25"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "bench", "version": "1"},
        }),
        Some("tools/list") => json!({
            "resultType": "complete",
            "tools": [{"name": "echo", "inputSchema": {"type": "object"}},
                      {"name": "progress", "inputSchema": {"type": "object"}}],
        }),
        _ => json!({}),
    };
    Reply::Message(json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string().into_bytes())
}
