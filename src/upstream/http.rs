//! Streamable HTTP towards an upstream (MCP 2026-07-28 basic/transports/streamable-http, and its
//! earlier shape with sessions, 2025-03-26 to 2025-11-25).
//!
//! One request is one POST; its answer is one JSON object or an SSE stream. Nothing of a client's
//! own HTTP headers is ever sent here: every header is made from the message that is sent.

use crate::base::limits::Limits;
use crate::bridge::initialize;
use crate::mcp::{Era, Method, Revision, meta};
use crate::net::body::Outgoing;
use crate::net::client::{Body, Client, ClientError, Response as HttpResponse, Waits};
use crate::task::Scope;
use crate::upstream::CallError;
use crate::upstream::call::{Event, Outbound, Unrequested};
use crate::upstream::events::{EventStream, bad, pause};
use crate::upstream::mirror::mirror;
use crate::wire::jsonrpc::{Message, Notification, Request, Response, batch};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method as Verb, StatusCode, Uri};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Headers that we usually add to those of the entry.
const MOST_HEADERS: usize = 9;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Most requests of the server that are answered at once; of more, it gets no answer.
const MAX_ANSWERS: usize = 256;

/// Most bytes that are read of the answer to a notification, which should have none.
const NOTIFY_BODY: usize = 64 << 10;

/// How long a notification of ours may wait for its status.
const NOTIFY: Duration = Duration::from_secs(10);

/// Most times in a row that it is tried in vain to resume the stream of one request. A server that
/// closes its stream to be asked again later ("polling", 2025-11-25 basic/transports) may do so
/// for as long as the request may take.
const MAX_RESUMES: u32 = 8;

/// Where requests go, and with which headers of the entry's own.
pub struct Destination {
    /// Connects there.
    pub client: Client,
    /// Path and query.
    pub target: Uri,
    /// What the entry wants sent with every request.
    pub configured: HeaderMap,
}

/// An MCP endpoint reached over HTTP, with what was negotiated there.
pub struct HttpLink {
    client: Client,
    target: Uri,
    configured: HeaderMap,
    negotiated: Mutex<Negotiated>,
    next_id: AtomicU64,
    limits: Limits,
    scope: Arc<Scope>,
    label: String,
    unrequested: mpsc::Sender<Unrequested>,
    /// Places for answers to what the server asks.
    answers: Arc<Semaphore>,
}

#[derive(Clone, Default)]
struct Negotiated {
    revision: Option<Revision>,
    session: Option<HeaderValue>,
}

impl Negotiated {
    fn era(&self) -> Option<Era> {
        self.revision.map(Revision::era)
    }

    /// Whether several messages may come in one array.
    fn batches(&self) -> bool {
        self.revision.is_some_and(Revision::batches)
    }
}

impl fmt::Debug for HttpLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpLink").field("label", &self.label).finish_non_exhaustive()
    }
}

impl HttpLink {
    /// A link with nothing negotiated yet. `unrequested` gets what belongs to no request. Ids begin at `first_id`: a server without
    /// sessions must not take one of this connection for one of the last.
    pub fn new(
        destination: Destination,
        limits: Limits,
        scope: Arc<Scope>,
        label: String,
        unrequested: mpsc::Sender<Unrequested>,
        first_id: u64,
    ) -> Arc<Self> {
        let Destination { client, target, configured } = destination;
        let (negotiated, next_id) = (Mutex::default(), AtomicU64::new(first_id));
        Arc::new(Self {
            client,
            target,
            configured,
            negotiated,
            next_id,
            limits,
            scope,
            label,
            unrequested,
            answers: Arc::new(Semaphore::new(MAX_ANSWERS)),
        })
    }

    /// From now on requests carry this version, and in the modern era the mirrored headers.
    pub fn negotiate(&self, revision: Revision) {
        self.lock().revision = Some(revision);
    }

    /// Forgets era, version and session, before a new handshake.
    pub fn forget(&self) {
        *self.lock() = Negotiated::default();
    }

    fn lock(&self) -> MutexGuard<'_, Negotiated> {
        self.negotiated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn negotiated(&self) -> Negotiated {
        self.lock().clone()
    }

    /// Takes an id for a request.
    pub fn reserve(self: &Arc<Self>) -> HttpCall {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (link, stage, resume) = (Arc::clone(self), Stage::Reserved, Resume::default());
        HttpCall { link, id, stage, resume, names_session: false }
    }

    fn request(
        &self,
        verb: Verb,
        negotiated: &Negotiated,
        body: Outgoing,
    ) -> http::Request<Outgoing> {
        let mut request = http::Request::new(body);
        *request.method_mut() = verb;
        *request.uri_mut() = self.target.clone();
        let headers = request.headers_mut();
        headers.reserve(self.configured.len() + MOST_HEADERS);
        headers.extend(self.configured.clone());
        if let Some(revision) = negotiated.revision {
            headers.insert(VERSION, HeaderValue::from_static(revision.as_str()));
        }
        if let Some(session) = &negotiated.session {
            headers.insert(SESSION, session.clone());
        }
        request
    }

    fn post(&self, outbound: Outbound) -> Result<http::Request<Outgoing>, CallError> {
        let negotiated = self.negotiated();
        let body = Outgoing::parts(outbound.body);
        let mut request = self.request(Verb::POST, &negotiated, body);
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(ACCEPT, BOTH);
        if negotiated.era() == Some(Era::Modern) {
            mirror(headers, outbound.method, outbound.name.as_deref(), &outbound.params)?;
        }
        Ok(request)
    }

    /// Sends a notification, or a response to a request of the upstream.
    pub async fn notify(&self, body: Bytes) -> Result<(), CallError> {
        let outbound = Outbound { body: vec![body], ..Outbound::default() };
        let waits = Waits { slot: Some(NOTIFY), connect: Some(CONNECT), head: Some(NOTIFY) };
        let response = self.client.send(self.post(outbound)?, waits).await.map_err(failed)?;
        // the body, if any, is read so that the connection can serve again
        let _ = tokio::time::timeout(NOTIFY, response.body.collect(NOTIFY_BODY)).await;
        Ok(())
    }

    /// Sends a notification in a task of its own.
    fn notify_later(self: &Arc<Self>, name: &'static str, body: Bytes) {
        let link = Arc::clone(self);
        self.scope.spawn(name, async move {
            if let Err(e) = link.notify(body).await {
                log::debug!("{}: a notification was not delivered: {e}", link.label);
            }
        });
    }

    /// Opens the stream for messages outside requests (legacy: GET). `None` when the upstream
    /// offers none.
    pub async fn stream(&self, last_event: Option<&str>) -> Result<Option<EventStream>, CallError> {
        let response = self.get(last_event).await?;
        match response.status {
            StatusCode::OK if has_type(&response.headers, "text/event-stream") => {
                Ok(Some(self.read_stream(response.body)))
            }
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST
                if self.negotiated().session.is_some() =>
            {
                Err(CallError::SessionLost)
            }
            status if status.is_server_error() => Err(CallError::Status(status.as_u16())),
            _ => Ok(None),
        }
    }

    fn read_stream(&self, body: Body) -> EventStream {
        EventStream::new(body, self.limits.event_bytes, self.lock().batches())
    }

    async fn get(&self, last_event: Option<&str>) -> Result<HttpResponse, CallError> {
        let mut request = self.request(Verb::GET, &self.negotiated(), Outgoing::empty());
        request.headers_mut().insert(ACCEPT, STREAM);
        // the empty id says that there is nothing to resume from (WHATWG HTML §9.2.4)
        let last_event = last_event.filter(|id| !id.is_empty());
        if let Some(id) = last_event.and_then(|id| HeaderValue::from_str(id).ok()) {
            request.headers_mut().insert(LAST_EVENT, id);
        }
        let waits = Waits { slot: Some(NOTIFY), connect: Some(CONNECT), head: None };
        self.client.send(request, waits).await.map_err(failed)
    }

    /// Ends the legacy session, if there is one.
    pub async fn end_session(&self) {
        let negotiated = self.negotiated();
        if negotiated.session.is_none() {
            return;
        }
        let request = self.request(Verb::DELETE, &negotiated, Outgoing::empty());
        let second = Some(Duration::from_secs(1));
        let waits = Waits { slot: second, connect: second, head: second };
        let _ = self.client.send(request, waits).await; // best effort: it may be gone already
    }

    fn keep_session(&self, headers: &HeaderMap) {
        let mut negotiated = self.lock();
        if negotiated.era() == Some(Era::Modern) {
            return; // there are no sessions any more
        }
        if let Some(session) = headers.get(&SESSION) {
            negotiated.session = Some(session.clone());
        }
    }

    /// Whether the server does not know our session any more. Some say so with a 400, which can
    /// mean anything, so it is asked for something that cannot fail otherwise.
    async fn has_lost_session(self: Arc<Self>) -> bool {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = vec![initialize::ping_request(id)];
        let outbound = Outbound { body, method: Method::Ping.name(), ..Outbound::default() };
        let Ok(request) = self.post(outbound) else { return false };
        let waits = Waits { slot: Some(NOTIFY), connect: Some(CONNECT), head: Some(NOTIFY) };
        let status = self.client.send(request, waits).await.map(|response| response.status);
        matches!(status, Ok(StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND))
    }

    /// Answers a request of the upstream. What cannot be attributed to a caller is declined.
    pub fn answer(self: &Arc<Self>, request: &Request) {
        let answer = if request.call.method_name() == "ping" {
            crate::wire::jsonrpc::error::result_json(&request.id, b"{}")
        } else {
            crate::upstream::decline(request)
        };
        self.reply(answer);
    }

    /// Sends an answer in a task of its own, as long as there are not too many.
    fn reply(self: &Arc<Self>, answer: Bytes) {
        let Ok(place) = Arc::clone(&self.answers).try_acquire_owned() else {
            return log::debug!("{}: asks more than can be answered at once", self.label);
        };
        let link = Arc::clone(self);
        self.scope.spawn("upstream answer", async move {
            if let Err(e) = link.notify(answer).await {
                log::debug!("{}: an answer was not delivered: {e}", link.label);
            }
            drop(place);
        });
    }
}

pub(super) fn failed(error: ClientError) -> CallError {
    let source = std::error::Error::source(&error).map(|e| format!(" ({e})")).unwrap_or_default();
    let text = format!("{error}{source}");
    let refused = std::io::ErrorKind::ConnectionRefused;
    match &error {
        ClientError::Busy | ClientError::SlotTimeout => CallError::Busy,
        ClientError::Connect(e) if e.kind() == refused => CallError::NotConnected(text),
        _ if error.maybe_processed() => CallError::Gone(text),
        // it may be us who lack a descriptor or a name server: no verdict on the connection
        _ => CallError::Unsent(text),
    }
}

fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) else { return false };
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes())
}

type Sending = Pin<Box<dyn Future<Output = Result<HttpResponse, ClientError>> + Send>>;

type Reading = Pin<Box<dyn Future<Output = Result<Bytes, ClientError>> + Send>>;
type Opening = Pin<Box<dyn Future<Output = Result<Option<EventStream>, CallError>> + Send>>;
type Asking = Pin<Box<dyn Future<Output = bool> + Send>>;

enum Stage {
    Reserved,
    Sending(Sending),
    Json(StatusCode, Reading),
    Stream(Box<EventStream>),
    /// The stream broke off; it is being resumed, and why it must be.
    Resuming(CallError, Opening),
    /// The answer could mean that the session is gone; the session is being asked for.
    Doubting(Box<Response>, Asking),
    Ended,
}

/// What is known for resuming a legacy stream that broke off.
#[derive(Debug, Default)]
struct Resume {
    /// Tries in a row that the server did not answer with a stream.
    failures: u32,
    /// Tries since the last event.
    idle: u32,
    last_event: Option<String>,
    retry: Option<Duration>,
}

/// A request over HTTP. Dropping it closes its connection, which is the cancellation of the
/// modern era; a legacy upstream is told besides, as a disconnect means nothing to it.
pub struct HttpCall {
    link: Arc<HttpLink>,
    id: u64,
    stage: Stage,
    resume: Resume,
    /// It was sent with the id of a session.
    names_session: bool,
}

impl fmt::Debug for HttpCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCall").field("id", &self.id).finish_non_exhaustive()
    }
}

impl HttpCall {
    /// The id reserved for this request.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Prepares the request, which must carry [`Self::id`]; [`Self::next`] sends it.
    pub fn send(&mut self, outbound: Outbound) -> Result<(), CallError> {
        let request = self.link.post(outbound)?;
        self.names_session = request.headers().contains_key(&SESSION);
        let client = self.link.client.clone();
        let waits = Waits { slot: Some(CONNECT), connect: Some(CONNECT), head: None };
        self.stage = Stage::Sending(Box::pin(async move { client.send(request, waits).await }));
        Ok(())
    }

    /// Sends the response to a request of the upstream.
    pub fn reply(&self, response: Bytes) {
        self.link.reply(response);
    }

    /// See [`crate::upstream::call::Call::next`].
    pub async fn next(&mut self) -> Result<Event, CallError> {
        let outcome = self.advance().await;
        if !matches!(outcome, Ok(Event::Notification(_) | Event::Request(_))) {
            self.stage = Stage::Ended;
        }
        outcome
    }

    async fn advance(&mut self) -> Result<Event, CallError> {
        loop {
            match &mut self.stage {
                Stage::Reserved | Stage::Ended => {
                    return Err(CallError::NotConnected("the request was not sent".into()));
                }
                Stage::Sending(sending) => {
                    let response = sending.as_mut().await.map_err(failed)?;
                    self.stage = self.judge(response)?;
                }
                Stage::Json(status, body) => {
                    let (status, bytes) = (*status, body.as_mut().await.map_err(failed)?);
                    let response = self.read_json(status, bytes)?;
                    if status != StatusCode::BAD_REQUEST || !self.has_session() {
                        return Ok(Event::Response(response));
                    }
                    let asking = Arc::clone(&self.link).has_lost_session();
                    self.stage = Stage::Doubting(Box::new(response), Box::pin(asking));
                }
                Stage::Doubting(response, asking) => {
                    return match asking.as_mut().await {
                        true => Err(CallError::SessionLost),
                        false => Ok(Event::Response((**response).clone())),
                    };
                }
                Stage::Resuming(why, opening) => match opening.as_mut().await {
                    Ok(Some(stream)) => {
                        self.resume.failures = 0;
                        self.stage = Stage::Stream(Box::new(stream));
                    }
                    Ok(None) => return Err(why.clone()),
                    Err(CallError::SessionLost) => return Err(CallError::SessionLost),
                    Err(_) => {
                        let why = why.clone();
                        self.resume.failures += 1;
                        self.stage = self.resumed(why)?;
                    }
                },
                Stage::Stream(stream) => match stream.next().await {
                    Ok(Some(message)) => {
                        if let Some(event) = self.claim(message)? {
                            return Ok(event);
                        }
                    }
                    Ok(None) => {
                        self.note_position();
                        self.stage = self.resumed(CallError::Gone("its stream ended".into()))?;
                    }
                    Err(e @ CallError::Gone(_)) => {
                        self.note_position();
                        self.stage = self.resumed(e)?;
                    }
                    Err(e) => return Err(e),
                },
            }
        }
    }

    fn judge(&self, response: HttpResponse) -> Result<Stage, CallError> {
        self.link.keep_session(&response.headers);
        let status = response.status;
        let is_json = has_type(&response.headers, "application/json");
        if !is_json && status == StatusCode::OK && has_type(&response.headers, "text/event-stream")
        {
            return Ok(Stage::Stream(Box::new(self.link.read_stream(response.body))));
        }
        if is_json {
            let limit = self.link.limits.message_bytes;
            return Ok(Stage::Json(status, Box::pin(response.body.collect(limit))));
        }
        Err(self.status(status))
    }

    fn status(&self, status: StatusCode) -> CallError {
        match status == StatusCode::NOT_FOUND && self.names_session {
            true => CallError::SessionUnknown,
            false => CallError::Status(status.as_u16()),
        }
    }

    /// An error answer may come with a status of its own, and, from servers that failed before
    /// they read the id, without it: on this connection it can only mean this request.
    fn read_json(&self, status: StatusCode, bytes: Bytes) -> Result<Response, CallError> {
        match Message::parse(self.sole(bytes)) {
            Ok(Message::Response(response)) if self.answers(&response) => {
                let lost = status == StatusCode::NOT_FOUND && self.names_session;
                match response.error_code() {
                    Some(-32601) => Ok(response),
                    Some(_) if lost => Err(CallError::SessionUnknown),
                    None if lost => Err(CallError::SessionLost), // it says that it was carried out
                    _ => Ok(response),
                }
            }
            Ok(_) if status.is_success() => {
                Err(CallError::BadAnswer("the body does not answer the request".into()))
            }
            Err(e) if status.is_success() => Err(bad(e)),
            _ => Err(self.status(status)),
        }
    }

    /// The one response of a batch, from a server whose revision has them.
    fn sole(&self, bytes: Bytes) -> Bytes {
        if !batch::is_batch(&bytes) || !self.link.lock().batches() {
            return bytes;
        }
        match batch::split(&bytes).as_deref() {
            Ok([one]) => one.clone(),
            _ => bytes,
        }
    }

    fn answers(&self, response: &Response) -> bool {
        let ours = response.id.as_ref().and_then(|id| id.number()) == Some(self.id);
        ours || response.error_code().is_some()
    }

    fn has_session(&self) -> bool {
        self.link.lock().session.is_some()
    }

    fn claim(&self, message: Message) -> Result<Option<Event>, CallError> {
        match message {
            Message::Notification(notification) => Ok(self.sort(notification)),
            Message::Response(response) if self.answers(&response) => {
                Ok(Some(Event::Response(response)))
            }
            Message::Response(_) => {
                Err(CallError::BadAnswer("its stream answers another request".into()))
            }
            Message::Request(request) if request.call.method_name() == Method::Ping.name() => {
                self.link.answer(&request);
                Ok(None)
            }
            // its place on this stream says who caused it
            Message::Request(request) => Ok(Some(Event::Request(request))),
        }
    }

    /// What belongs to this request stays; what a legacy server says besides on its stream goes
    /// where it would have gone on a stream of its own (2025-11-25 basic/transports).
    fn sort(&self, notification: Notification) -> Option<Event> {
        let method = Method::parse(&notification.call.method_name());
        if method == Some(Method::Progress) {
            let token = notification.call.param(meta::PROGRESS_TOKEN);
            let token = token.and_then(|token| token.integer(&notification.call.bytes));
            let ours = token.and_then(|token| u64::try_from(token).ok()) == Some(self.id);
            return ours.then_some(Event::Notification(notification));
        }
        let listens = self.link.lock().era() == Some(Era::Modern);
        if listens || method == Some(Method::LogMessage) {
            return Some(Event::Notification(notification));
        }
        let message = Unrequested::Message(Message::Notification(notification));
        if self.link.unrequested.try_send(message).is_err() {
            log::debug!("{}: more notifications than can be looked at", self.link.label);
        }
        None
    }

    fn note_position(&mut self) {
        if let Stage::Stream(stream) = &mut self.stage {
            if let Some(last_event) = stream.last_event.take() {
                self.resume.idle = 0;
                self.resume.last_event = Some(last_event);
            }
            self.resume.retry = stream.retry.or(self.resume.retry);
        }
    }

    /// A legacy stream that gave its events ids can be resumed; the request is not sent again.
    fn resumed(&mut self, why: CallError) -> Result<Stage, CallError> {
        let legacy = self.link.lock().era() == Some(Era::Legacy);
        let last_event = self.resume.last_event.clone().filter(|id| !id.is_empty());
        let Some(last_event) = last_event else { return Err(why) };
        if !legacy || self.resume.failures == MAX_RESUMES {
            return Err(why);
        }
        let pause = pause(self.resume.retry, self.resume.idle);
        self.resume.idle += 1;
        let link = Arc::clone(&self.link);
        let opening = async move {
            tokio::time::sleep(pause).await;
            link.stream(Some(&last_event)).await
        };
        Ok(Stage::Resuming(why, Box::pin(opening)))
    }
}

impl Drop for HttpCall {
    fn drop(&mut self) {
        let sent = !matches!(self.stage, Stage::Reserved | Stage::Ended);
        if sent && self.link.negotiated().era() == Some(Era::Legacy) {
            let cancelled = crate::upstream::pending::cancelled(self.id);
            self.link.notify_later("upstream cancellation", cancelled);
        }
    }
}
