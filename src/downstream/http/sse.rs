//! HTTP+SSE, the transport of the first revision (MCP 2024-11-05 basic/transports): one stream
//! brings everything, and the client posts its messages beside it.
//!
//! The session is the stream. It cannot be come back to, so its end ends the session and cancels
//! what is under way: no answer could reach anybody. Clients of later revisions use it too, where
//! they fall back to it, so every legacy revision is negotiated.

use crate::control::admission::Limit;
use crate::downstream::http::Gate;
use crate::downstream::http::answer::{self, Accept, Answered, Refused};
use crate::downstream::http::flow::{KEEP_ALIVE, Sink, WAITING_FRAMES};
use crate::downstream::http::route::legacy_version;
use crate::downstream::legacy::{self, Served, invalid, notified};
use crate::downstream::replay::{Frame, frame};
use crate::downstream::session::Session;
use crate::mcp::Method;
use crate::net::body::{Disconnected, FrameSender, Outgoing};
use crate::oauth::Permit;
use crate::relay::{Answer, Endpoint};
use crate::sys::random::Random;
use crate::task::{Scope, within};
use crate::wire::jsonrpc::{Code, Message, Rejected, Request, RequestId, batch};
use crate::wire::sse::encode;
use bytes::Bytes;
use http::Method as Verb;
use http::request::Parts;
use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Most requests of one session that are under way.
pub const MOST_CALLS: usize = 64;

/// Messages that may wait for a client that does not read.
pub const MOST_WAITING: usize = 64;

/// Bytes of messages that may wait for it, a single larger one apart.
pub const MOST_WAITING_BYTES: usize = 4 << 20;

/// How long a stream may be open before its client has introduced itself, unless we are just
/// answering it.
pub const INTRODUCTION: Duration = Duration::from_secs(30);

/// A client that has read nothing for so long, though messages wait, is taken to be gone.
pub const STALLED: Duration = Duration::from_secs(60);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The open streams.
#[derive(Debug)]
pub struct Lines {
    table: Mutex<HashMap<String, Arc<Wire>>>,
    /// In all, and of one principal.
    most: (usize, usize),
    random: Arc<Random>,
    introduction: Duration,
}

/// One open stream.
#[derive(Debug)]
struct Wire {
    /// What stands in `sessionId`.
    id: String,
    endpoint: Endpoint,
    /// Who has opened it, and alone may post to it.
    permit: Permit,
    waiting: mpsc::Sender<Waiting>,
    /// Bytes that may wait there.
    room: Arc<Semaphore>,
    state: Mutex<State>,
    /// What is under way; ends with the stream.
    calls: Scope,
    /// Brings what comes outside requests; ends with the stream.
    notices: Scope,
}

/// A message that waits for the client, and its share of [`MOST_WAITING_BYTES`].
type Waiting = (Frame, OwnedSemaphorePermit);

#[derive(Debug, Default)]
struct State {
    /// `None` until the client has introduced itself.
    session: Option<Arc<Session>>,
    over: bool,
}

impl Lines {
    /// No streams yet, and at most so many of them in all and of one principal.
    pub fn new(most: (usize, usize), random: Arc<Random>) -> Self {
        Self { table: Mutex::default(), most, random, introduction: INTRODUCTION }
    }

    fn add(&self, wire: Wire) -> Result<Arc<Wire>, Limit> {
        let mut table = lock(&self.table);
        let (most, of_one) = self.most;
        let own = || table.values().filter(|known| known.permit == wire.permit).count();
        if table.len() >= of_one && own() >= of_one {
            return Err(Limit::SessionsPerClient);
        }
        if table.len() >= most {
            return Err(Limit::Sessions);
        }
        let wire = Arc::new(wire);
        table.insert(wire.id.clone(), Arc::clone(&wire));
        Ok(wire)
    }

    fn find(&self, id: &str, permit: &Permit) -> Option<Arc<Wire>> {
        lock(&self.table).get(id).filter(|wire| wire.permit == *permit).cloned()
    }
}

/// A way to the client of one stream.
#[derive(Clone)]
pub struct Line {
    gate: Arc<Gate>,
    wire: Arc<Wire>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl Line {
    /// Sends a message, waiting while the client is slower than we are, but not for ever.
    ///
    /// # Errors
    /// The stream has ended.
    pub async fn say(&self, message: Bytes) -> Result<(), Disconnected> {
        let sent = within(STALLED, self.wait(frame(message, None))).await;
        sent.flatten().ok_or_else(|| {
            self.end();
            Disconnected
        })
    }

    async fn wait(&self, frame: Frame) -> Option<()> {
        let size = frame.iter().map(Bytes::len).sum::<usize>().min(MOST_WAITING_BYTES);
        let room = Arc::clone(&self.wire.room).acquire_many_owned(u32::try_from(size).ok()?);
        self.wire.waiting.send((frame, room.await.ok()?)).await.ok()
    }

    async fn answer(&self, answer: Answer) {
        let _ = self.say(answer.one_piece()).await; // the stream's end has its own consequences
    }

    fn session(&self) -> Option<Arc<Session>> {
        lock(&self.wire.state).session.clone()
    }

    /// Ends the stream, its session, and what is under way.
    fn end(&self) {
        lock(&self.gate.lines.table).remove(&self.wire.id);
        let session = {
            let mut state = lock(&self.wire.state);
            state.over = true;
            state.session.take()
        };
        if let Some(session) = session {
            let (hub, world) = (&self.gate.front.relay.hub, self.gate.front.relay.world());
            self.gate.front.sessions.close(&session, hub, &world);
        }
        self.wire.calls.abort();
        self.wire.notices.abort();
    }

    /// Makes a session that of the stream; `false` when the stream has one, or has ended.
    fn bind(&self, session: &Arc<Session>) -> bool {
        let mut state = lock(&self.wire.state);
        let free = !state.over && state.session.is_none();
        if free {
            state.session = Some(Arc::clone(session));
        }
        free
    }

    /// `initialize`.
    async fn begin(&self, request: &Request) {
        let refuse =
            |rejected: Rejected| Answer::rejected(&rejected.with_id(Some(request.id.detached())));
        let again = || refuse(invalid("expected initialize once"));
        if self.session().is_some() {
            return self.answer(again()).await;
        }
        let (front, wire) = (&self.gate.front, &self.wire);
        match legacy::begin(front, &wire.permit, wire.endpoint, request).await {
            Ok((session, answer)) if self.bind(&session) => {
                self.answer(answer).await;
                wire.notices.spawn("notices of an http+sse session", self.clone().notice(session));
            }
            Ok((session, _)) => {
                front.sessions.close(&session, &front.relay.hub, &front.relay.world());
                self.answer(again()).await;
            }
            Err((_, rejected)) => self.answer(refuse(rejected)).await,
        }
    }

    /// Passes on what comes outside requests, until the session ends.
    async fn notice(self, session: Arc<Session>) {
        let _occupied = session.occupy();
        while let Some(notice) = session.outlet.next().await {
            if self.say(notice).await.is_err() {
                return;
            }
        }
        self.end();
    }

    async fn serve(self, request: Request) {
        let name = request.call.method_name();
        if name == Method::Initialize.name() {
            return self.begin(&request).await;
        }
        let id = request.id.detached();
        let answer = match self.session() {
            Some(session) => {
                let permit = &self.wire.permit;
                match legacy::serve(&self.gate.front, permit, &session, true, request).await {
                    Ok(Served::Now(answer)) => answer,
                    Ok(Served::Later(flow)) => return flow.bound().tell(Sink::Line(self)).await,
                    Ok(Served::Cancelled) => return,
                    Err(rejected) => Answer::rejected(&rejected.with_id(Some(id))),
                }
            }
            None if name == Method::Ping.name() => Answer::result(&id, Bytes::from_static(b"{}")),
            None => Answer::rejected(&invalid("expected initialize first").with_id(Some(id))),
        };
        self.answer(answer).await;
    }

    async fn serve_batch(self, session: Arc<Session>, messages: Vec<Bytes>) {
        let permit = &self.wire.permit;
        if let Some(body) = legacy::batch(&self.gate.front, permit, &session, messages).await {
            let _ = self.say(body).await; // as for any other answer
        }
    }

    /// Takes a message; what it is answered with comes on the stream.
    pub fn post(self, head: &Parts, bytes: Bytes) -> Answered {
        let refuse = |rejected: Rejected| answer::rejected(400, &rejected);
        legacy_version(&head.headers).map_err(refuse)?;
        if batch::is_batch(&bytes) {
            let messages = batch::split(&bytes).map_err(refuse)?;
            let session = self.session().filter(|session| session.revision.batches());
            let text =
                "expected one message: batches exist in sessions of revision 2025-03-26 only";
            let session = session.ok_or_else(|| refuse(invalid(text)))?;
            let line = self.clone();
            return self.start(None, line.serve_batch(session, messages));
        }
        let session = self.session();
        match (Message::parse(bytes).map_err(refuse)?, session) {
            (Message::Request(request), _) => {
                let id = request.id.kept(request.call.bytes.len());
                let line = self.clone();
                return self.start(Some(id), line.serve(request));
            }
            (Message::Notification(notification), Some(session)) => {
                notified(&session, &notification.call);
            }
            (Message::Response(response), Some(session)) => session.answered(&response),
            (_, None) => log::debug!("a message before initialize is passed over"),
        }
        Ok(answer::accepted())
    }

    fn start(
        &self,
        id: Option<RequestId>,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Answered {
        if self.wire.calls.live() >= MOST_CALLS {
            let text = "too many requests of this session are under way";
            return Err(answer::rejected(429, &Rejected::new(Code::Internal, text).with_id(id)));
        }
        self.wire.calls.spawn("request of an http+sse session", work);
        Ok(answer::accepted())
    }
}

/// The stream while its connection holds; dropping it ends it.
struct Hanging(Line);

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// GET: opens a stream.
pub fn get(gate: &Arc<Gate>, permit: Permit, endpoint: Endpoint, head: &Parts) -> Answered {
    if head.method != Verb::GET {
        return Err(answer::only("GET"));
    }
    if !Accept::read(&head.headers).is_some_and(|accept| accept.stream) {
        return Err(answer::not_acceptable());
    }
    gate.front.relay.tickets.unpressed().map_err(answer::beyond)?;
    let (waiting, messages) = mpsc::channel(MOST_WAITING);
    let wire = gate.lines.add(Wire {
        id: gate.lines.random.hex128(),
        endpoint,
        permit,
        waiting,
        room: Arc::new(Semaphore::new(MOST_WAITING_BYTES)),
        state: Mutex::default(),
        calls: gate.front.scope.child("http+sse session"),
        notices: gate.front.scope.child("notices of an http+sse session"),
    });
    let wire = wire.map_err(answer::beyond)?;
    let hanging = Hanging(Line { gate: Arc::clone(gate), wire });
    let body = Outgoing::driven(WAITING_FRAMES, |frames| deliver(hanging, messages, frames));
    Ok(answer::stream(body))
}

/// Waits until the client has had its time to introduce itself and has not.
async fn stranger(line: &Line) {
    loop {
        tokio::time::sleep(line.gate.lines.introduction).await;
        if line.session().is_some() {
            std::future::pending::<()>().await;
        }
        // its server may be starting, which takes its own time
        if line.wire.calls.live() == 0 {
            return log::debug!("an http+sse stream without a session is closed");
        }
    }
}

/// Waits until we are to stop and nothing of this stream is under way any more.
async fn drained(line: &Line) {
    line.gate.front.stopping.cancelled().await;
    line.wire.calls.idle().await;
}

async fn deliver(hanging: Hanging, mut messages: mpsc::Receiver<Waiting>, frames: FrameSender) {
    let wire = Arc::clone(&hanging.0.wire);
    let over = wire.calls.token();
    let mut stranger = pin!(stranger(&hanging.0));
    let mut drained = pin!(drained(&hanging.0));
    let mut frame = vec![encode::endpoint(&format!("/messages?sessionId={}", wire.id))];
    let mut room = None; // that the frame takes, until it is written
    loop {
        for piece in frame {
            if frames.send(piece).await.is_err() {
                return;
            }
        }
        drop(room);
        (frame, room) = tokio::select! {
            biased; // what was said before the end still goes out
            message = messages.recv() => match message {
                Some((frame, room)) => (frame, Some(room)),
                None => return,
            },
            () = over.cancelled() => return,
            () = &mut stranger => return,
            () = &mut drained => return,
            () = tokio::time::sleep(KEEP_ALIVE) => {
                (vec![Bytes::from_static(encode::KEEP_ALIVE)], None)
            }
        };
    }
}

/// The stream that a POST belongs to.
///
/// # Errors
/// Another method, no `sessionId` or several, or one that is of no open stream of this principal.
pub fn find(gate: &Arc<Gate>, permit: &Permit, head: &Parts) -> Result<Line, Refused> {
    if head.method != Verb::POST {
        return Err(answer::only("POST"));
    }
    let pairs = head.uri.query().unwrap_or_default().split('&');
    let mut ids = pairs.filter_map(|pair| pair.strip_prefix("sessionId="));
    let (Some(id), None) = (ids.next(), ids.next()) else {
        let text = "expected sessionId once, as the endpoint event gave it";
        return Err(answer::rejected(400, &invalid(text)));
    };
    let gone = || answer::rejected(404, &invalid("no such session: open a stream at /sse"));
    let wire = gate.lines.find(id, permit).ok_or_else(gone)?;
    Ok(Line { gate: Arc::clone(gate), wire })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::front::tests::bare;
    use crate::downstream::http::guard::Guard;
    use http_body_util::BodyExt;

    const LONG: Duration = Duration::from_secs(30);

    fn gate(introduction: Duration) -> Arc<Gate> {
        let random = Arc::new(Random::open().expect("a random device"));
        let lines = Lines { introduction, ..Lines::new((1, 1), random) };
        Arc::new(Gate::new(bare(), Guard::default(), lines))
    }

    fn open(gate: &Arc<Gate>) -> (Line, Outgoing) {
        let request = http::Request::get("/sse").header("accept", "text/event-stream").body(());
        let (head, ()) = request.expect("a request").into_parts();
        let permit = Permit::dangerously_for_anyone_on_this_machine();
        let body = get(gate, permit, Endpoint::Aggregate, &head).expect("a stream").into_body();
        let wire = lock(&gate.lines.table).values().next().map(Arc::clone).expect("one");
        (Line { gate: Arc::clone(gate), wire }, body)
    }

    fn request(method: &str) -> Bytes {
        let params = r#"{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{}}"#;
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        Bytes::from(text)
    }

    async fn read(body: &mut Outgoing) -> Option<Bytes> {
        let frame = within(LONG, body.frame()).await.expect("in time");
        frame.map(|frame| frame.expect("our own").into_data().expect("data"))
    }

    #[tokio::test]
    async fn who_never_introduces_itself_makes_room_and_who_does_stays() {
        let gate = gate(Duration::from_millis(50));
        let (line, mut body) = open(&gate);
        let (head, ()) = http::Request::post("/messages").body(()).expect("one").into_parts();
        line.post(&head, request("ping")).expect("accepted"); // which introduces nobody
        let mut read_all = Vec::new();
        let to_the_end = async {
            while let Some(frame) = read(&mut body).await {
                read_all.extend(frame);
            }
        };
        within(LONG, to_the_end).await.expect("it ends, though it says that it is alive");
        drop(body);
        assert!(String::from_utf8_lossy(&read_all).contains("\"result\":{}"));
        assert!(lock(&gate.lines.table).is_empty());

        let (line, mut body) = open(&gate);
        line.clone().post(&head, request("initialize")).expect("accepted");
        read(&mut body).await.expect("the endpoint");
        read(&mut body).await.expect("the answer");
        let longer = gate.lines.introduction * 4;
        assert!(within(longer, body.frame()).await.is_none(), "it stays open");
        assert!(line.session().is_some());
    }

    #[tokio::test]
    async fn what_waits_for_a_client_is_bounded_by_its_bytes() {
        let gate = gate(LONG);
        let (line, mut body) = open(&gate);
        let large = Bytes::from(vec![b'x'; MOST_WAITING_BYTES / 2 - 1000]);
        for _ in 0..2 {
            line.say(large.clone()).await.expect("there is room");
        }
        let third = within(Duration::from_millis(20), line.say(large.clone())).await;
        assert!(third.is_none(), "there is none for a third");
        while read(&mut body).await.expect("more").len() < large.len() {}
        while read(&mut body).await.expect("more").len() < large.len() {}
        let third = within(LONG, line.say(large)).await;
        third.expect("in time").expect("there is again");
        let huge = Bytes::from(vec![b'x'; 2 * MOST_WAITING_BYTES]);
        let (said, _) = tokio::join!(line.say(huge), async {
            while read(&mut body).await.expect("more").len() < 2 * MOST_WAITING_BYTES {}
        });
        said.expect("a single larger one passes");
    }
}
