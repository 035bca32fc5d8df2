//! HTTP/1.1 by hand: exact bytes out, heads, bodies and SSE events in, one step at a time. The
//! fake HTTP upstream reads requests with the same code.

use super::bounded;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The first line and the headers of a request or a response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) start: String,
    /// Names in lower case, in their order.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    fn parse(text: &str) -> Head {
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect();
        Head { start, headers }
    }

    /// Of a response.
    pub(crate) fn status(&self) -> u16 {
        let status = self.start.split(' ').nth(1).and_then(|s| s.parse().ok());
        status.unwrap_or_else(|| panic!("not a status line: {:?}", self.start))
    }

    /// Of a request.
    pub(crate) fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// Of a request, with its query.
    pub(crate) fn path(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The first header of that name (any case).
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        self.headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    fn framing(&self) -> Framing {
        if self.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
            return Framing::Chunked;
        }
        match self.header("content-length").map(|v| v.parse().expect("a length in digits")) {
            Some(length) => Framing::Length(length),
            None if self.start.starts_with("HTTP/") => self.unframed(),
            None => Framing::Length(0),
        }
    }

    fn unframed(&self) -> Framing {
        match self.status() {
            100..200 | 204 | 304 => Framing::Length(0),
            _ => Framing::UntilClose,
        }
    }
}

enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// One connection, read step by step.
pub(crate) struct HttpStream {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
    framing: Framing,
}

impl HttpStream {
    pub(crate) fn new(stream: TcpStream) -> HttpStream {
        drop(stream.set_nodelay(true));
        HttpStream { stream, buffer: Vec::new(), framing: Framing::Length(0) }
    }

    /// The next head; `None` if the peer closed (or reset) instead.
    pub(crate) async fn read_head(&mut self) -> Option<Head> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            self.fill().await?;
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = Head::parse(&String::from_utf8_lossy(&head[..end]));
        self.framing = head.framing();
        Some(head)
    }

    /// The next bytes of the body; `None` at its end.
    pub(crate) async fn read_piece(&mut self) -> Option<Vec<u8>> {
        match self.framing {
            Framing::Length(0) => None,
            Framing::Length(left) => {
                if self.buffer.is_empty() {
                    self.fill().await?;
                }
                let taken = left.min(self.buffer.len());
                self.framing = Framing::Length(left - taken);
                Some(self.buffer.drain(..taken).collect())
            }
            Framing::UntilClose => {
                if self.buffer.is_empty() {
                    self.fill().await?;
                }
                Some(std::mem::take(&mut self.buffer))
            }
            Framing::Chunked => self.read_chunk().await,
        }
    }

    async fn read_chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.take_until_newline().await?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).expect("a chunk size in hexadecimal digits");
        while self.buffer.len() < size + 2 {
            self.fill().await?;
        }
        let chunk = self.buffer.drain(..size).collect();
        self.buffer.drain(..2);
        if size == 0 {
            self.framing = Framing::Length(0);
            return None;
        }
        Some(chunk)
    }

    async fn take_until_newline(&mut self) -> Option<String> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.fill().await?;
        }
    }

    pub(crate) async fn read_body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(piece) = self.read_piece().await {
            body.extend(piece);
        }
        body
    }

    /// Bytes of the next message that have already come in.
    pub(crate) fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }

    async fn fill(&mut self) -> Option<()> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

/// A whole response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.head.status()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) event: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) retry: Option<String>,
    /// Lines joined by `\n`; `None` if there was no data field at all.
    pub(crate) data: Option<String>,
    pub(crate) comments: Vec<String>,
}

impl Event {
    fn parse(block: &str) -> Event {
        let mut out = Event::default();
        for line in block.lines() {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match name {
                "" => out.comments.push(value),
                "event" => out.event = Some(value),
                "id" => out.id = Some(value),
                "retry" => out.retry = Some(value),
                "data" => out.data = Some(out.data.map_or(value.clone(), |d| d + "\n" + &value)),
                _ => panic!("unknown field in an event: {line}"),
            }
        }
        out
    }
}

/// A client that says exactly what it is told to.
pub(crate) struct RawHttp {
    http: HttpStream,
    address: String,
    events: Vec<u8>,
}

impl RawHttp {
    /// Connects to `http://host:port/…` or `host:port`.
    pub(crate) async fn connect(url: &str) -> RawHttp {
        let (address, _) = split(url);
        let stream = bounded("a connection", TcpStream::connect(&address)).await;
        let stream = stream.unwrap_or_else(|e| panic!("cannot connect to {address}: {e}"));
        RawHttp { http: HttpStream::new(stream), address, events: Vec::new() }
    }

    /// One request over a connection of its own, the whole response back.
    pub(crate) async fn once(
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Response {
        let mut http = RawHttp::connect(url).await;
        http.request(method, url, headers, body).await;
        http.response().await
    }

    /// Sends these bytes and no others.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = bounded("the peer to read", self.http.stream.write_all(bytes.as_ref())).await;
        sent.expect("the peer reads what we send");
    }

    /// Sends a request; `Host` and `Content-Length` are added unless given.
    pub(crate) async fn request(
        &mut self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) {
        let given = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let body = body.as_ref();
        let mut head = format!("{method} {} HTTP/1.1\r\n", split(url).1);
        if !given("host") {
            head += &format!("Host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !given("content-length") && !given("transfer-encoding") && !body.is_empty() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        self.send([head.as_bytes(), b"\r\n", body].concat()).await;
    }

    /// The head of the response (interim ones are skipped).
    pub(crate) async fn head(&mut self) -> Head {
        loop {
            let head = bounded("a response", self.http.read_head()).await;
            let head = head.expect("a response before the connection closes");
            if head.status() >= 200 {
                return head;
            }
        }
    }

    /// The head of a response; `None` if the peer closes without one.
    pub(crate) async fn head_or_end(&mut self) -> Option<Head> {
        bounded("a response or the end", self.http.read_head()).await
    }

    /// The rest of the body.
    pub(crate) async fn body(&mut self) -> Vec<u8> {
        bounded("the end of the body", self.http.read_body()).await
    }

    pub(crate) async fn response(&mut self) -> Response {
        let head = self.head().await;
        Response { head, body: self.body().await }
    }

    /// The next event that has data; `None` when the stream ends.
    pub(crate) async fn next_event(&mut self) -> Option<Event> {
        loop {
            let event = self.next_frame().await?;
            if event.data.is_some() {
                return Some(event);
            }
        }
    }

    /// The next event or comment.
    pub(crate) async fn next_frame(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = find(&self.events, b"\n\n") {
                let block: Vec<u8> = self.events.drain(..end + 2).collect();
                let text = String::from_utf8(block).expect("events are UTF-8");
                return Some(Event::parse(text.trim_end_matches('\n')));
            }
            let piece = bounded("an event", self.http.read_piece()).await?;
            self.events.extend(piece.into_iter().filter(|b| *b != b'\r'));
        }
    }

    /// The next event or comment, where it may take longer than anything else.
    pub(crate) async fn next_frame_within(&mut self, bound: Duration) -> Event {
        if find(&self.events, b"\n\n").is_none() {
            let piece = tokio::time::timeout(bound, self.http.read_piece()).await;
            let piece =
                piece.unwrap_or_else(|_| panic!("waited {bound:?} in vain for a sign of life"));
            self.events
                .extend(piece.expect("the stream goes on").into_iter().filter(|b| *b != b'\r'));
        }
        self.next_frame().await.expect("the stream goes on")
    }

    /// Waits until the peer closes the connection and sends nothing before.
    pub(crate) async fn closed(&mut self) {
        let rest = bounded("the peer to close", self.http.read_head()).await;
        assert!(rest.is_none(), "the peer sent {rest:?} instead of closing");
    }
}

/// The address and the path of a URL.
fn split(url: &str) -> (String, &str) {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    match rest.find('/') {
        Some(0) => (String::new(), rest),
        Some(at) => (rest[..at].to_owned(), &rest[at..]),
        None => (rest.to_owned(), "/"),
    }
}
