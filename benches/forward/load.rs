//! The clients: keep-alive connections that send one prepared request after the other, each as
//! soon as the answer before it is there, and check every answer.

use crate::upstream::NOTIFICATIONS;
use memchr::memmem::{find, find_iter};
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The protocol that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// 2025-11-25, with a session.
    Legacy,
    /// 2026-07-28, without.
    Modern,
}

impl Era {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

/// What every call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A text of so many bytes, which comes back.
    Echo(usize),
    /// [`NOTIFICATIONS`] notifications before the answer.
    Progress,
}

/// Where requests go.
#[derive(Clone, Debug)]
pub struct Place {
    /// Address and port.
    pub address: String,
    /// The path.
    pub path: String,
    /// What stands before the names of tools.
    pub prefix: String,
}

const DIGITS: usize = 9;
const FIRST_ID: u64 = 100_000_000;

/// A prepared request; the digits of its id are written anew for every call.
#[derive(Clone)]
struct Template {
    bytes: Vec<u8>,
    ids: Vec<usize>,
    shape: Shape,
    next: u64,
}

impl Template {
    fn new(place: &Place, era: Era, session: Option<&str>, shape: Shape) -> Self {
        let (tool, text) = match shape {
            Shape::Echo(size) => ("echo", "x".repeat(size)),
            Shape::Progress => ("progress", "x".repeat(100)),
        };
        let name = format!("{}{tool}", place.prefix);
        let id = "#".repeat(DIGITS);
        let mut meta = Vec::new();
        if era == Era::Modern {
            meta.push(MODERN_META.to_owned());
        }
        if shape == Shape::Progress {
            meta.push(format!("\"progressToken\":{id}"));
        }
        let meta = if meta.is_empty() {
            String::new()
        } else {
            format!("\"_meta\":{{{}}},", meta.join(","))
        };
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":\
             {{{meta}\"name\":\"{name}\",\"arguments\":{{\"text\":\"{text}\"}}}}}}"
        );
        let more = match era {
            Era::Legacy => String::new(),
            Era::Modern => format!("mcp-method: tools/call\r\nmcp-name: {name}\r\n"),
        };
        let bytes = post(place, era, session, &more, &body);
        let ids = find_iter(&bytes, id.as_bytes()).collect();
        Self { bytes, ids, shape, next: FIRST_ID }
    }

    /// Writes the next id; its digits.
    fn renew(&mut self) -> [u8; DIGITS] {
        self.next += 1;
        let mut digits = [0; DIGITS];
        let mut rest = self.next;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        for at in &self.ids {
            self.bytes[*at..*at + DIGITS].copy_from_slice(&digits);
        }
        digits
    }
}

const MODERN_META: &str = "\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\
    \"io.modelcontextprotocol/clientInfo\":{\"name\":\"bench\",\"version\":\"1\"},\
    \"io.modelcontextprotocol/clientCapabilities\":{}";

fn post(place: &Place, era: Era, session: Option<&str>, more: &str, body: &str) -> Vec<u8> {
    let version = match era {
        Era::Legacy => "2025-11-25",
        Era::Modern => "2026-07-28",
    };
    let session = session.map(|id| format!("mcp-session-id: {id}\r\n")).unwrap_or_default();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: {version}\r\n\
         {session}{more}content-length: {}\r\n\r\n",
        place.path,
        place.address,
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

/// One keep-alive connection.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    body: Vec<u8>,
}

/// What was read of a response.
struct Head {
    status: u16,
    session: Option<String>,
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Connection {
    async fn open(address: &str, room: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let room = room + (64 << 10);
        Ok(Self { stream, buffer: Vec::with_capacity(room), body: Vec::with_capacity(room) })
    }

    /// Sends a request and reads its answer; the body is in `self.body`.
    async fn exchange(&mut self, request: &[u8]) -> io::Result<Head> {
        self.stream.write_all(request).await?;
        self.body.clear();
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let (head, length) = read_head(self.buffer.get(..end).unwrap_or_default())?;
        self.buffer.drain(..end);
        match length {
            Some(length) => {
                while self.buffer.len() < length {
                    self.more().await?;
                }
                self.body.extend_from_slice(self.buffer.get(..length).unwrap_or_default());
                self.buffer.drain(..length);
            }
            None => while self.chunk().await? {},
        }
        Ok(head)
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(bad("the connection closed")),
            _ => Ok(()),
        }
    }

    /// Reads one chunk; false after the last.
    async fn chunk(&mut self) -> io::Result<bool> {
        let line = loop {
            match find(&self.buffer, b"\r\n") {
                Some(line) => break line,
                None => self.more().await?,
            }
        };
        let size = std::str::from_utf8(self.buffer.get(..line).unwrap_or_default());
        let size = usize::from_str_radix(size.unwrap_or_default(), 16);
        let size = size.map_err(|_| bad("not a chunk"))?;
        let all = line + 2 + size + 2;
        while self.buffer.len() < all {
            self.more().await?;
        }
        self.body.extend_from_slice(self.buffer.get(line + 2..all - 2).unwrap_or_default());
        self.buffer.drain(..all);
        Ok(size > 0)
    }
}

fn read_head(head: &[u8]) -> io::Result<(Head, Option<usize>)> {
    let head = std::str::from_utf8(head).map_err(|_| bad("not a head"))?;
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    let mut read = Head { status: status.ok_or_else(|| bad("no status"))?, session: None };
    let mut length = Some(0);
    for (name, value) in head.lines().filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse().map_err(|_| bad("not a length"))?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            length = None;
        } else if name.eq_ignore_ascii_case("mcp-session-id") {
            read.session = Some(value.trim().to_owned());
        }
    }
    Ok((read, length))
}

/// Clients that are connected and introduced.
pub struct Clients {
    all: Vec<(Connection, Template)>,
}

impl Clients {
    /// Connects so many clients to a place; legacy ones share one session.
    pub async fn connect(place: &Place, era: Era, shape: Shape, count: usize) -> io::Result<Self> {
        let session = match era {
            Era::Legacy => initialize(place).await?,
            Era::Modern => None,
        };
        let template = Template::new(place, era, session.as_deref(), shape);
        let mut all = Vec::new();
        for at in 0..count {
            let mut template = template.clone();
            template.next += (at * 1_000_000) as u64;
            let room = template.bytes.len();
            all.push((Connection::open(&place.address, room).await?, template));
        }
        Ok(Self { all })
    }

    /// Lets every client call until the time is over. The latency of each call, unsorted.
    pub async fn run(&mut self, duration: Duration) -> io::Result<Vec<Duration>> {
        let end = Instant::now() + duration;
        self.each(move |done| done == 0 || Instant::now() < end).await
    }

    /// Lets every client make so many calls.
    pub async fn calls(&mut self, calls: usize) -> io::Result<()> {
        self.each(move |done| done < calls).await.map(drop)
    }

    async fn each(
        &mut self,
        goes_on: impl Fn(usize) -> bool + Copy + Send + 'static,
    ) -> io::Result<Vec<Duration>> {
        let mut running = JoinSet::new();
        for (connection, template) in self.all.drain(..) {
            running.spawn(repeat(connection, template, goes_on));
        }
        let mut latencies = Vec::new();
        while let Some(ended) = running.join_next().await {
            let (connection, template, mut took) = ended.map_err(io::Error::other)??;
            latencies.append(&mut took);
            self.all.push((connection, template));
        }
        Ok(latencies)
    }
}

async fn repeat(
    mut connection: Connection,
    mut template: Template,
    goes_on: impl Fn(usize) -> bool,
) -> io::Result<(Connection, Template, Vec<Duration>)> {
    let mut latencies = Vec::with_capacity(1 << 12);
    while goes_on(latencies.len()) {
        let id = template.renew();
        let begun = Instant::now();
        let head = connection.exchange(&template.bytes).await?;
        latencies.push(begun.elapsed());
        if head.status != 200 || !is_answer(&connection.body, &id, template.shape) {
            let body = String::from_utf8_lossy(&connection.body);
            let text: String = body.chars().take(300).collect();
            return Err(bad(&format!("wrong answer: {} {text}", head.status)));
        }
    }
    Ok((connection, template, latencies))
}

/// Whether this is the answer to the call with this id, whole, and after its own notifications.
fn is_answer(body: &[u8], id: &[u8], shape: Shape) -> bool {
    match shape {
        Shape::Echo(size) => {
            let head = body.get(..body.len().min(64)).unwrap_or_default();
            body.len() > size && body.ends_with(b"\"}]}}") && find(head, id).is_some()
        }
        Shape::Progress => {
            let mut from = 0;
            let mut after = |what: &[u8]| {
                let found = find(body.get(from..).unwrap_or_default(), what);
                from += found.unwrap_or(0);
                found.is_some()
            };
            (1..=NOTIFICATIONS).all(|n| after(id) && after(format!("\"progress\":{n},").as_bytes()))
                && after(b"\"result\"")
        }
    }
}

async fn initialize(place: &Place) -> io::Result<Option<String>> {
    let mut connection = Connection::open(&place.address, 0).await?;
    let hello = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":\
        {\"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\
        \"clientInfo\":{\"name\":\"bench\",\"version\":\"1\"}}}";
    let head = connection.exchange(&post(place, Era::Legacy, None, "", hello)).await?;
    if head.status != 200 {
        return Err(bad(&format!("initialize: status {}", head.status)));
    }
    let session = head.session;
    let done = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}";
    connection.exchange(&post(place, Era::Legacy, session.as_deref(), "", done)).await?;
    Ok(session)
}
