//! HTTP+SSE, the transport of the first revision (MCP 2024-11-05 basic/transports): one stream
//! brings everything, and the client posts its messages beside it.
//!
//! The session is the stream. It cannot be come back to, so its end ends the session and cancels
//! what is under way: no answer could reach anybody. Clients of later revisions use it too, where
//! they fall back to it, so every legacy revision is negotiated.

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
use crate::task::Scope;
use crate::wire::jsonrpc::{Code, Message, Rejected, Request, RequestId, batch};
use crate::wire::sse::encode;
use bytes::Bytes;
use http::request::Parts;
use http::{Method as Verb, StatusCode};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Most requests of one session that are under way.
pub const MOST_CALLS: usize = 64;

/// Messages that may wait for a client that does not read.
pub const MOST_WAITING: usize = 64;

/// A client that has read nothing for so long, though messages wait, is taken to be gone.
pub const STALLED: Duration = Duration::from_secs(60);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The open streams.
#[derive(Debug)]
pub struct Lines {
    table: Mutex<HashMap<String, Arc<Wire>>>,
    most: usize,
    random: Arc<Random>,
}

/// One open stream.
#[derive(Debug)]
struct Wire {
    /// What stands in `sessionId`.
    id: String,
    endpoint: Endpoint,
    /// Who has opened it, and alone may post to it.
    permit: Permit,
    waiting: mpsc::Sender<Frame>,
    state: Mutex<State>,
    /// What is under way; ends with the stream.
    calls: Scope,
}

#[derive(Debug, Default)]
struct State {
    /// `None` until the client has introduced itself.
    session: Option<Arc<Session>>,
    over: bool,
}

impl Lines {
    /// No streams yet, and at most `most` of them.
    pub fn new(most: usize, random: Arc<Random>) -> Self {
        Self { table: Mutex::default(), most, random }
    }

    fn add(&self, wire: Wire) -> Option<Arc<Wire>> {
        let mut table = lock(&self.table);
        if table.len() >= self.most {
            return None;
        }
        let wire = Arc::new(wire);
        table.insert(wire.id.clone(), Arc::clone(&wire));
        Some(wire)
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
        let sent = self.wire.waiting.send_timeout(frame(message, None), STALLED).await;
        sent.map_err(|_| {
            self.end();
            Disconnected
        })
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
                wire.calls.spawn("notices of an http+sse session", self.clone().notice(session));
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
        if self.wire.calls.live() > MOST_CALLS {
            let text = "too many requests of this session are under way";
            return Err(answer::rejected(503, &Rejected::new(Code::Internal, text).with_id(id)));
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
    let (waiting, messages) = mpsc::channel(MOST_WAITING);
    let wire = gate.lines.add(Wire {
        id: gate.lines.random.hex128(),
        endpoint,
        permit,
        waiting,
        state: Mutex::default(),
        calls: gate.front.scope.child("http+sse session"),
    });
    let full = || answer::text(StatusCode::SERVICE_UNAVAILABLE, "too many sessions are open");
    let hanging = Hanging(Line { gate: Arc::clone(gate), wire: wire.ok_or_else(full)? });
    let body = Outgoing::driven(WAITING_FRAMES, |frames| deliver(hanging, messages, frames));
    Ok(answer::stream(body))
}

async fn deliver(hanging: Hanging, mut messages: mpsc::Receiver<Frame>, frames: FrameSender) {
    let wire = Arc::clone(&hanging.0.wire);
    let over = wire.calls.token();
    let mut frame = vec![encode::endpoint(&format!("/messages?sessionId={}", wire.id))];
    loop {
        for piece in frame {
            if frames.send(piece).await.is_err() {
                return;
            }
        }
        frame = tokio::select! {
            biased; // what was said before the end still goes out
            message = messages.recv() => message.unwrap_or_default(),
            () = over.cancelled() => return,
            () = tokio::time::sleep(KEEP_ALIVE) => vec![Bytes::from_static(encode::KEEP_ALIVE)],
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
