//! A line connection: JSON-RPC messages as lines over a child's pipes, or over memory.
//!
//! MCP 2026-07-28 basic/transports/stdio, and the same framing in every earlier revision. Its
//! reader and its writer never share a `select!`: a child that stops reading does not keep us
//! from reading what it writes. An idle pipe is written by the caller itself; what does not fit
//! goes to the writer task whole, so that a dropped future never tears a line.

use crate::base::limits::Limits;
use crate::mcp::{Method, Revision};
use crate::task::Scope;
use crate::upstream::CallError;
use crate::upstream::call::Unrequested;
use crate::upstream::causes::{AMBIGUOUS, Verdict};
use crate::upstream::decline;
use crate::upstream::pending::{Pending, PipeCall};
use crate::wire::json::{Object, Span};
use crate::wire::jsonrpc::{
    Message, Notification, Rejected, Request, RequestId, Response, batch, torn,
};
use crate::wire::line::{LineDecoder, unfold};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, WriteHalf};
use tokio::net::unix::pipe;
use tokio::sync::{Notify, mpsc};

/// Most bytes that may wait for a child that does not read its input.
pub const MAX_QUEUED_BYTES: usize = 64 << 20;

/// Most messages outside requests that may wait to be looked at.
pub const MAX_UNREQUESTED: usize = 1024;

/// Most pieces that are written at once.
const MAX_SLICES: usize = 64;

/// Most pieces of messages that may wait before small messages of ours are left out.
const MAX_QUEUED_PIECES: usize = 16 << 10;

const READ_CHUNK: usize = 64 << 10;

/// The writing side, shared by all callers.
#[derive(Debug)]
pub struct LineSink {
    queue: Mutex<Queue>,
    work: Notify,
    room: Notify,
    end: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// The writer task is in the middle of the front piece.
    writing: bool,
    closed: Option<&'static str>,
    /// Closing it is how a child is asked to end, so nobody else holds it for long.
    pipe: Option<Arc<pipe::Sender>>,
}

impl LineSink {
    pub(super) fn new(pipe: Option<pipe::Sender>) -> Arc<Self> {
        let queue = Mutex::new(Queue { pipe: pipe.map(Arc::new), ..Queue::default() });
        let (work, room, end) = (Notify::new(), Notify::new(), Notify::new());
        Arc::new(Self { queue, work, room, end })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one message as one line, waiting while too much waits already.
    ///
    /// # Errors
    /// Why the connection does not take messages any more.
    pub async fn send(&self, body: Vec<Bytes>) -> Result<(), &'static str> {
        let length: usize = body.iter().map(Bytes::len).sum();
        loop {
            let room = self.room.notified();
            {
                let mut queue = self.lock();
                if let Some(why) = queue.closed {
                    return Err(why);
                }
                if queue.bytes == 0 || queue.bytes + length <= MAX_QUEUED_BYTES {
                    self.push(&mut queue, body);
                    return Ok(());
                }
            }
            room.await;
        }
    }

    /// Sends a small message of ours without waiting; it is dropped if far too much waits.
    pub fn send_later(&self, line: Bytes) {
        let mut queue = self.lock();
        let room = queue.bytes <= MAX_QUEUED_BYTES && queue.pieces.len() < MAX_QUEUED_PIECES;
        if queue.closed.is_none() && room {
            self.push(&mut queue, vec![line]);
        }
    }

    fn push(&self, queue: &mut Queue, mut body: Vec<Bytes>) {
        for piece in &mut body {
            if memchr::memchr2(b'\n', b'\r', piece).is_some() {
                *piece = Bytes::from(unfold(piece).into_owned());
            }
        }
        body.push(Bytes::from_static(b"\n"));
        let idle = queue.pieces.is_empty() && !queue.writing;
        let mut pieces = VecDeque::from(body);
        if let (true, Some(pipe)) = (idle, &queue.pipe) {
            write_now(pipe, &mut pieces);
        }
        if pieces.is_empty() {
            return;
        }
        queue.bytes += pieces.iter().map(Bytes::len).sum::<usize>();
        queue.pieces.append(&mut pieces);
        self.work.notify_one();
    }

    /// No more messages: what waits is dropped, and a child sees the end of its input.
    fn close(&self, why: &'static str) {
        let mut queue = self.lock();
        queue.closed.get_or_insert(why);
        queue.pieces.clear();
        queue.bytes = 0;
        queue.pipe = None;
        drop(queue);
        self.room.notify_waiters();
        self.end.notify_waiters();
        self.work.notify_one();
    }

    /// Returns when no more messages are taken.
    async fn closed(&self) {
        let end = self.end.notified();
        tokio::pin!(end);
        end.as_mut().enable();
        if self.lock().closed.is_none() {
            end.await;
        }
    }

    /// Waits for something to write and takes it, with the pipe that it goes to, if it is one;
    /// `None` when the connection is closed.
    async fn take(&self) -> Option<(Vec<Bytes>, Option<Arc<pipe::Sender>>)> {
        loop {
            {
                let mut queue = self.lock();
                queue.writing = false;
                if queue.closed.is_some() {
                    return None;
                }
                if !queue.pieces.is_empty() {
                    queue.writing = true;
                    queue.bytes = 0;
                    let taken = (queue.pieces.drain(..).collect(), queue.pipe.clone());
                    drop(queue);
                    self.room.notify_waiters();
                    return Some(taken);
                }
            }
            self.room.notify_waiters();
            self.work.notified().await;
        }
    }
}

/// Writes what the pipe takes at once, and leaves the rest.
fn write_now(pipe: &pipe::Sender, pieces: &mut VecDeque<Bytes>) {
    while !pieces.is_empty() {
        let first = pieces.iter().take(MAX_SLICES);
        let slices: Vec<IoSlice<'_>> = first.map(|piece| IoSlice::new(piece)).collect();
        let Ok(mut written) = pipe.try_write_vectored(&slices) else { return };
        if written == 0 {
            return;
        }
        while let Some(front) = pieces.front_mut() {
            let step = written.min(front.len());
            front.advance(step);
            written -= step;
            if !front.is_empty() {
                break;
            }
            pieces.pop_front();
        }
    }
}

/// Drains the queue into the pipe or the stream until the connection closes.
async fn write_all(sink: Arc<LineSink>, mut stream: Option<WriteHalf<DuplexStream>>) {
    while let Some((pieces, pipe)) = sink.take().await {
        let writing = async {
            match (pipe, &mut stream) {
                (Some(pipe), _) => write_pipe(&pipe, pieces.into()).await,
                (None, Some(stream)) => write_stream(stream, &pieces).await,
                (None, None) => Err(io::ErrorKind::BrokenPipe.into()),
            }
        };
        // a child that does not read must not keep its input open
        let written = tokio::select! {
            written = writing => written,
            () = sink.closed() => return,
        };
        if written.is_err() {
            sink.close("its input is closed");
        }
    }
}

async fn write_pipe(pipe: &pipe::Sender, mut pieces: VecDeque<Bytes>) -> io::Result<()> {
    loop {
        write_now(pipe, &mut pieces);
        if pieces.is_empty() {
            return Ok(());
        }
        pipe.writable().await?;
        // a closed pipe is writable and fails at once
        let first = pieces.front().map(|piece| pipe.try_write(piece));
        match first {
            Some(Ok(written)) => {
                if let Some(front) = pieces.front_mut() {
                    front.advance(written);
                }
                pieces.retain(|piece| !piece.is_empty());
            }
            Some(Err(e)) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
            _ => {}
        }
    }
}

async fn write_stream(stream: &mut WriteHalf<DuplexStream>, pieces: &[Bytes]) -> io::Result<()> {
    for piece in pieces {
        stream.write_all(piece).await?;
    }
    stream.flush().await
}

/// Where a line connection writes to.
#[derive(Debug)]
pub enum Output {
    /// A child's standard input.
    Pipe(pipe::Sender),
    /// A server inside this process.
    Memory(WriteHalf<DuplexStream>),
}

/// What a peer may send and what may be sent to it.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// Sizes, in bytes.
    pub limits: &'a Limits,
    /// Requests in flight.
    pub in_flight: usize,
}

/// A line connection.
#[derive(Debug)]
pub struct Lines {
    pending: Arc<Pending>,
    sink: Arc<LineSink>,
}

/// Who gives up a connection that was not closed in order still ends the input of the child.
impl Drop for Lines {
    fn drop(&mut self) {
        self.close();
    }
}

impl Lines {
    /// Starts the reader and the writer in `scope`. `unrequested` gets what belongs to no
    /// request; when the input ends, every pending request fails and `unrequested` is closed.
    pub fn open(
        scope: &Scope,
        input: impl AsyncRead + Unpin + Send + 'static,
        output: Output,
        bounds: Bounds<'_>,
        label: &str,
        unrequested: mpsc::Sender<Unrequested>,
    ) -> Self {
        let (pipe, stream) = match output {
            Output::Pipe(pipe) => (Some(pipe), None),
            Output::Memory(stream) => (None, Some(stream)),
        };
        let sink = LineSink::new(pipe);
        let pending = Arc::new(Pending::new(bounds.in_flight));
        scope.spawn("upstream writer", write_all(Arc::clone(&sink), stream));
        let reader = Reader {
            pending: Arc::clone(&pending),
            sink: Arc::clone(&sink),
            unrequested,
            label: label.to_owned(),
            faults: 0,
        };
        scope.spawn(
            "upstream reader",
            reader.run(input, LineDecoder::new(bounds.limits.line_bytes)),
        );
        Self { pending, sink }
    }

    /// Takes a slot for a request.
    pub fn reserve(&self) -> Result<PipeCall, CallError> {
        self.pending.reserve(&self.sink)
    }

    /// The revision that is spoken from now on, and whether the server was told that its client
    /// has roots.
    pub fn negotiate(&self, revision: Revision, roots: bool) {
        self.pending.negotiate(revision, roots);
    }

    /// Nothing is negotiated yet: a server may be of either era, and one of the old era may ping
    /// before the handshake is over (2025-11-25 basic/lifecycle, "Initialization").
    pub fn forget(&self) {
        self.pending.forget();
    }

    /// Sends a notification.
    pub async fn notify(&self, line: Bytes) -> Result<(), CallError> {
        self.sink.send(vec![line]).await.map_err(|why| CallError::Gone(why.to_owned()))
    }

    /// How often something was read.
    pub(super) fn arrivals(&self) -> u64 {
        self.pending.arrivals()
    }

    /// Ends every request in flight, and takes no more.
    pub(super) fn give_up(&self, why: &str) {
        self.pending.close(why);
    }

    /// Ends the connection: the child sees the end of its input.
    pub fn close(&self) {
        self.sink.close("it is being stopped");
    }
}

/// Faults of one connection that are logged; the rest is counted.
const MAX_LOGGED_FAULTS: u32 = 3;

struct Reader {
    pending: Arc<Pending>,
    sink: Arc<LineSink>,
    unrequested: mpsc::Sender<Unrequested>,
    label: String,
    faults: u32,
}

/// However the reader ends, nobody goes on waiting for what it would have read.
impl Drop for Reader {
    fn drop(&mut self) {
        let why = "the connection was ended";
        self.pending.close(why);
        self.sink.close(why);
    }
}

impl Reader {
    async fn run(mut self, mut input: impl AsyncRead + Unpin, mut lines: LineDecoder) {
        let mut buffer = BytesMut::with_capacity(READ_CHUNK);
        let why = loop {
            while let Some(line) = lines.next(&mut buffer) {
                match line {
                    Ok(line) if batch::is_batch(&line) && self.pending.batches() => {
                        self.batch(&line)
                    }
                    Ok(line) => self.line(line),
                    Err(e) => self.torn(lines.refused(), &e.to_string()),
                }
            }
            if buffer.capacity() - buffer.len() < READ_CHUNK / 4 {
                buffer.reserve(READ_CHUNK);
            }
            match input.read_buf(&mut buffer).await {
                Ok(0) => break "it closed its output",
                // whoever writes without a pause does not take the whole processor from the others
                Ok(read) if read >= READ_CHUNK / 4 => tokio::task::yield_now().await,
                Ok(_) => {}
                Err(_) => break "its output cannot be read",
            }
            self.pending.arrived();
        };
        if let Some(Err(e)) = lines.finish(&mut buffer) {
            self.fault(&e.to_string());
        }
        self.pending.close(why);
        self.sink.close(why);
        let _ = self.unrequested.send(Unrequested::Closed(why.to_owned())).await; // it may be gone
    }

    /// Several messages at once: one revision has them, and a client of it MUST take them
    /// (MCP 2025-03-26 basic, "Batching").
    fn batch(&mut self, line: &Bytes) {
        match batch::split(line) {
            Ok(messages) => messages.into_iter().for_each(|message| self.line(message)),
            Err(rejected) => self.fault(&rejected.message),
        }
    }

    fn line(&mut self, line: Bytes) {
        match Message::parse(line.clone()) {
            Ok(Message::Response(response)) => self.response(response),
            Ok(Message::Notification(notification)) => self.notification(notification),
            Ok(Message::Request(request)) => self.request(request),
            Err(rejected) => self.malformed(&line, rejected),
        }
    }

    /// A message of another shape still ends what it was meant for: as an answer our request,
    /// as a request the waiting of the server.
    fn malformed(&mut self, line: &Bytes, rejected: Rejected) {
        let Some(id) = &rejected.id else { return self.torn(line, &rejected.message) };
        self.fault(&rejected.message);
        let message = Object::read(line, Span::whole(line));
        if message.is_ok_and(|message| message.get(line, "method").is_some()) {
            if !self.pending.is_modern() {
                self.sink.send_later(rejected.to_json());
            }
        } else if let Some(id) = id.number() {
            self.pending.fail(id, CallError::BadAnswer(rejected.message.into_owned()));
        }
    }

    /// A line that cannot be read, of which `start` is known, still ends the request that it can
    /// be seen to answer.
    fn torn(&mut self, start: &[u8], why: &str) {
        self.fault(why);
        if let Some(id) = torn::answered(start) {
            self.pending.fail(id, CallError::BadAnswer(why.to_owned()));
        }
    }

    fn response(&mut self, response: Response) {
        let id = response.id.as_ref().and_then(RequestId::number);
        self.pending.late(&self.sink, &response);
        // a late answer to what was cancelled is to be ignored (basic/utilities/cancellation)
        let is_late = |pending: &Pending| id.is_some_and(|id| pending.was_asked(id));
        if !self.pending.complete(response) && !is_late(&self.pending) {
            self.fault("an answer to a request that is not in flight");
        }
    }

    fn notification(&mut self, notification: Notification) {
        match Method::parse(&notification.call.method_name()) {
            Some(Method::Progress) => {
                let token = notification.call.param("progressToken");
                let token = token.and_then(|t| t.integer(&notification.call.bytes));
                if let Some(token) = token.and_then(|t| u64::try_from(t).ok()) {
                    self.progress(token, notification);
                }
            }
            Some(Method::LogMessage) => {
                self.pending.log_message(notification);
            }
            Some(Method::Cancelled) if self.pending.withdraw(&notification) => {}
            Some(method) => self.pass_on(method, &notification),
            None => {} // whatever it means, nobody here waits for it
        }
    }

    /// Progress of a call that was answered may be that of the task which it has become
    /// (2025-11-25 basic/utilities/progress).
    fn progress(&mut self, token: u64, notification: Notification) {
        let late = self.pending.progress(token, notification);
        if let Some(notification) = late.filter(|_| !self.pending.is_modern()) {
            self.pass_on(Method::Progress, &notification);
        }
    }

    /// A server may ping at any time; what else it asks for goes to the one who caused it, or is
    /// declined. A modern one asks for nothing, and must get no responses (MCP 2026-07-28
    /// basic/transports/stdio, "Sending Messages").
    fn request(&self, request: Request) {
        if self.pending.is_modern() {
            return log::debug!("a request of a modern server is passed over");
        }
        if request.call.method_name() == Method::Ping.name() {
            let pong = crate::wire::jsonrpc::error::result_json(&request.id, b"{}");
            return self.sink.send_later(pong);
        }
        let declined = match self.pending.ask(&request, Instant::now()) {
            Verdict::Delivered => return,
            Verdict::Declined(declined) => declined,
            Verdict::Ambiguous => {
                let _ = self.unrequested.try_send(Unrequested::Ambiguous); // it will happen again
                AMBIGUOUS
            }
        };
        self.sink.send_later(decline(&request, declined));
    }

    /// What is announced once must not be lost because of what is repeated: updates of resources
    /// and progress leave half of the room to everything else.
    fn pass_on(&mut self, method: Method, notification: &Notification) {
        let Some(notice) = Unrequested::notice(notification) else {
            return self.fault("a notification larger than any has to be");
        };
        let crowded = self.unrequested.capacity() < MAX_UNREQUESTED / 2;
        if crowded && matches!(method, Method::ResourceUpdated | Method::Progress) {
            return self.fault("more updates than can be looked at");
        }
        if self.unrequested.try_send(notice).is_err() {
            self.fault("more notifications than can be looked at");
        }
    }

    fn fault(&mut self, what: &str) {
        self.faults = self.faults.saturating_add(1);
        let last = if self.faults == MAX_LOGGED_FAULTS { " (not logged any more)" } else { "" };
        if self.faults <= MAX_LOGGED_FAULTS {
            log::warn!("{}: ignored what it wrote: {what}{last}", self.label);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::call::Event;
    use std::time::Duration;

    #[tokio::test]
    async fn closing_it_ends_the_input_of_the_child() {
        let scope = Scope::root("test");
        let (output, mut input_of_child) = pipe::pipe().expect("a pipe");
        let (_output_of_child, input) = pipe::pipe().expect("a pipe");
        let (unrequested, _messages) = mpsc::channel(1);
        let bounds = Bounds { limits: &Limits::default(), in_flight: 1 };
        let lines = Lines::open(&scope, input, Output::Pipe(output), bounds, "x", unrequested);
        lines.notify(Bytes::from_static(b"{}")).await.expect("it is open");
        let mut line = [0; 3];
        input_of_child.read_exact(&mut line).await.expect("it was sent");
        assert_eq!(&line, b"{}\n");
        lines.close();
        let more = input_of_child.read(&mut line).await.expect("an end, though its output is open");
        assert_eq!(more, 0);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_flood_of_lines_lets_others_in_between() {
        let scope = Scope::root("test");
        let (output, _input_of_child) = pipe::pipe().expect("a pipe");
        let (unrequested, mut messages) = mpsc::channel(1);
        let bounds = Bounds { limits: &Limits::default(), in_flight: 1 };
        let flood = tokio::io::repeat(b'\n').take(1 << 20);
        let _lines = Lines::open(&scope, flood, Output::Pipe(output), bounds, "x", unrequested);
        let (tell, told) = tokio::sync::oneshot::channel();
        scope.spawn("others", async move {
            let _ = tell.send(messages.try_recv().is_err()); // the test waits for it
        });
        assert!(told.await.expect("it ends"), "it was read to its end before anybody else ran");
    }

    #[test]
    fn what_the_server_asks_without_reading_is_bounded() {
        let sink = LineSink::new(None);
        for _ in 0..MAX_QUEUED_PIECES {
            sink.send_later(Bytes::from_static(b"{}"));
        }
        assert!(sink.lock().pieces.len() <= MAX_QUEUED_PIECES + 1);
    }

    /// A connection over memory, and its other end.
    fn open(scope: &Scope) -> (Lines, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1 << 10);
        let (input, output) = tokio::io::split(ours);
        let bounds = Bounds { limits: &Limits::default(), in_flight: 8 };
        let (unrequested, _) = mpsc::channel(1);
        let output = Output::Memory(output);
        (Lines::open(scope, input, output, bounds, "test", unrequested), theirs)
    }

    #[tokio::test]
    async fn a_request_in_flight_ends_with_its_connection() {
        let scope = Scope::root("test");
        let (lines, _theirs) = open(&scope);
        let mut call = lines.reserve().expect("a slot");
        call.send(crate::upstream::Outbound {
            body: vec![Bytes::from_static(b"{}")],
            ..crate::upstream::Outbound::default()
        })
        .await
        .expect("it is open");
        drop(scope);
        assert!(matches!(call.next().await, Err(CallError::Gone(_))));
        assert!(matches!(lines.reserve(), Err(CallError::NotConnected(_))));
    }

    #[tokio::test]
    async fn only_an_answer_to_what_was_asked_can_be_late() {
        let scope = Scope::root("test");
        let (lines, _theirs) = open(&scope);
        let call = lines.reserve().expect("a slot");
        let id = call.id();
        assert!(!lines.pending.was_asked(id), "it still is");
        drop(call);
        assert!(lines.pending.was_asked(id));
        for never in [0, 1, id + 1, id + (1 << 16), u64::MAX] {
            assert!(!lines.pending.was_asked(never), "{never}");
        }
    }

    #[tokio::test]
    async fn an_answer_of_another_shape_ends_its_request_and_no_other() {
        let scope = Scope::root("test");
        let (lines, mut theirs) = open(&scope);
        let mut calls = [lines.reserve().expect("a slot"), lines.reserve().expect("a slot")];
        let [first, second] = [calls[0].id(), calls[1].id()];
        let answers = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{first},\"method\":\"ping\",\"params\":7}}\n\
             {{\"jsonrpc\":\"2.0\",\"id\":{first},\"result\":7}}\n\
             {{\"jsonrpc\":\"2.0\",\"id\":{second},\"result\":{{}}}}\n"
        );
        theirs.write_all(answers.as_bytes()).await.expect("it is read");
        assert!(matches!(calls[0].next().await, Err(CallError::BadAnswer(_))));
        assert!(matches!(calls[1].next().await, Ok(Event::Response(_))));
    }

    /// What cannot be read whole ends the request that it can be seen to answer.
    #[tokio::test]
    async fn an_answer_beyond_the_limits_ends_its_request_and_no_other() {
        let scope = Scope::root("test");
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        let (input, output) = tokio::io::split(ours);
        let limits = Limits { line_bytes: 4 << 10, ..Limits::default() };
        let bounds = Bounds { limits: &limits, in_flight: 8 };
        let (unrequested, _messages) = mpsc::channel(1);
        let output = Output::Memory(output);
        let lines = Lines::open(&scope, input, output, bounds, "test", unrequested);
        let mut calls = Vec::new();
        for _ in 0..5 {
            calls.push(lines.reserve().expect("a slot"));
        }
        let ids: Vec<u64> = calls.iter().map(|call| call.id()).collect();
        let long = "x".repeat(8 << 10);
        let deep = "[".repeat(1000);
        let answers = format!(
            "{{\"id\":{}, \"jsonrpc\":\"2.0\",\"result\":{{\"text\":\"{long}\"}}}}\n\
             {{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{deep}\n\
             {{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":NaN}}\n\
             {{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"m\",\"params\":{{\"result\":\"{long}\"}}}}\n\
             {{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"in time\":1}}}}\n",
            ids[0], ids[1], ids[2], ids[3], ids[4]
        );
        theirs.write_all(answers.as_bytes()).await.expect("it is read");
        assert!(matches!(calls[4].next().await, Ok(Event::Response(_))));
        for (at, said) in [(0, "longer than 4096 bytes"), (1, "nested"), (2, "json")] {
            let ended = crate::task::within(Duration::ZERO, calls[at].next()).await;
            let Some(Err(CallError::BadAnswer(why))) = ended else { panic!("{at}: {ended:?}") };
            assert!(why.contains(said), "{why}");
        }
        let other = crate::task::within(Duration::ZERO, calls[3].next()).await;
        assert!(other.is_none(), "a request of the server is no answer: {other:?}");
    }

    #[tokio::test]
    async fn closing_it_ends_the_input_of_a_child_that_does_not_read() {
        let scope = Scope::root("test");
        let (output, mut input_of_child) = pipe::pipe().expect("a pipe");
        let (_output_of_child, input) = pipe::pipe().expect("a pipe");
        let (unrequested, _messages) = mpsc::channel(1);
        let bounds = Bounds { limits: &Limits::default(), in_flight: 1 };
        let lines = Lines::open(&scope, input, Output::Pipe(output), bounds, "x", unrequested);
        let more_than_a_pipe_holds = Bytes::from(vec![b'x'; 1 << 20]);
        lines.notify(more_than_a_pipe_holds).await.expect("it is queued");
        lines.close();
        let mut read = Vec::new();
        input_of_child.read_to_end(&mut read).await.expect("an end");
        assert!(read.len() < 1 << 20, "what waited was dropped");
    }
}
