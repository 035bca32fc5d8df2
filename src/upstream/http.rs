//! Streamable HTTP towards an upstream (MCP 2026-07-28 basic/transports/streamable-http, and its
//! earlier shape with sessions, 2025-03-26 to 2025-11-25).
//!
//! One request is one POST; its answer is one JSON object or an SSE stream. Nothing of a client's
//! own HTTP headers is ever sent here: every header is made from the message that is sent.

use crate::base::limits::Limits;
use crate::bridge::question::Declined;
use crate::bridge::{initialize, task};
use crate::mcp::{Era, Method, Revision};
use crate::net::body::Outgoing;
use crate::net::client::{Body, ClientError, Response as HttpResponse, Waits};
use crate::task::{Scope, within};
use crate::upstream::CallError;
use crate::upstream::call::{Call, Outbound, Unrequested};
use crate::upstream::causes::{AMBIGUOUS, Causes, Verdict};
use crate::upstream::events::EventStream;
use crate::upstream::mirror::mirror;
use crate::upstream::post::HttpCall;
use crate::upstream::replicas::Replicas;
use crate::wire::jsonrpc::{Notification, Request};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method as Verb, StatusCode};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

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

/// Most calls that were given up and are still read, because they may become tasks; others are
/// cancelled as if they could not.
const MAX_LATE: usize = 64;

/// How long such a call is read.
const LATE: Duration = Duration::from_secs(60);

/// Most bytes that are read of the answer to a notification, which should have none.
const NOTIFY_BODY: usize = 64 << 10;

/// How long a notification of ours may wait for its status.
const NOTIFY: Duration = Duration::from_secs(10);

/// Where requests go, and with which headers of the entry's own.
pub struct Endpoint {
    /// The servers, each as good as the others.
    pub replicas: Replicas,
    /// What the entry wants sent with every request.
    pub configured: HeaderMap,
}

/// An MCP endpoint reached over HTTP, with what was negotiated there.
pub struct HttpLink {
    pub(super) replicas: Replicas,
    configured: HeaderMap,
    negotiated: Mutex<Negotiated>,
    /// Who may have caused what comes on the stream that belongs to no request.
    causes: Mutex<Causes>,
    next_id: AtomicU64,
    /// Counts what came, but for errors of the server.
    arrivals: AtomicU64,
    /// Why nothing more is to be waited for.
    given_up: watch::Sender<Option<String>>,
    pub(super) limits: Limits,
    scope: Arc<Scope>,
    pub(super) label: String,
    pub(super) unrequested: mpsc::Sender<Unrequested>,
    /// Places for answers to what the server asks.
    answers: Arc<Semaphore>,
    /// Places for calls that were given up and may still become tasks.
    late: Arc<Semaphore>,
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
        endpoint: Endpoint,
        limits: Limits,
        scope: Arc<Scope>,
        label: String,
        unrequested: mpsc::Sender<Unrequested>,
        first_id: u64,
    ) -> Arc<Self> {
        let Endpoint { replicas, configured } = endpoint;
        let (negotiated, next_id) = (Mutex::default(), AtomicU64::new(first_id));
        Arc::new(Self {
            replicas,
            configured,
            negotiated,
            causes: Mutex::default(),
            next_id,
            arrivals: AtomicU64::new(0),
            given_up: watch::Sender::new(None),
            limits,
            scope,
            label,
            unrequested,
            answers: Arc::new(Semaphore::new(MAX_ANSWERS)),
            late: Arc::new(Semaphore::new(MAX_LATE)),
        })
    }

    /// Something came, with this status.
    pub(super) fn arrived(&self, status: StatusCode) {
        if !status.is_server_error() {
            self.arrivals.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often something came.
    pub(super) fn arrivals(&self) -> u64 {
        self.arrivals.load(Ordering::Relaxed)
    }

    /// Ends every request in flight.
    pub(super) fn give_up(&self, why: &str) {
        self.replicas.blame();
        self.given_up.send_replace(Some(why.to_owned()));
    }

    /// Returns when nothing more is to be waited for.
    pub(super) async fn is_given_up(&self) -> CallError {
        let mut given_up = self.given_up.subscribe();
        let why = given_up.wait_for(Option::is_some).await;
        CallError::Gone(why.ok().and_then(|why| why.clone()).unwrap_or_default())
    }

    /// From now on requests carry this version, and in the modern era the mirrored headers. The
    /// server was told of `roots`, or not.
    pub fn negotiate(&self, revision: Revision, roots: bool) {
        self.causes().negotiated(revision.era(), roots);
        self.lock().revision = Some(revision);
    }

    /// Forgets era, version and session, before a new handshake.
    pub fn forget(&self) {
        *self.lock() = Negotiated::default();
    }

    /// Whether each request may go to another server.
    pub fn roams(&self) -> bool {
        self.replicas.roams()
    }

    /// Turns to another of the servers for a new handshake; `false` when all were tried.
    pub(super) fn elsewhere(&self) -> bool {
        self.forget();
        self.replicas.next_home()
    }

    fn lock(&self) -> MutexGuard<'_, Negotiated> {
        self.negotiated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn negotiated(&self) -> Negotiated {
        self.lock().clone()
    }

    pub(super) fn era(&self) -> Option<Era> {
        self.lock().era()
    }

    /// Whether several messages may come in one array.
    pub(super) fn batches(&self) -> bool {
        self.lock().batches()
    }

    pub(super) fn has_session(&self) -> bool {
        self.lock().session.is_some()
    }

    pub(super) fn causes(&self) -> MutexGuard<'_, Causes> {
        self.causes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an id for a request.
    pub fn reserve(self: &Arc<Self>) -> HttpCall {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        HttpCall::new(Arc::clone(self), id)
    }

    fn request(
        &self,
        verb: Verb,
        negotiated: &Negotiated,
        body: Outgoing,
    ) -> http::Request<Outgoing> {
        let mut request = http::Request::new(body);
        *request.method_mut() = verb;
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
            mirror(headers, &outbound.method, outbound.name.as_deref(), &outbound.params)?;
        }
        Ok(request)
    }

    /// Sends a notification, or a response to a request of the upstream.
    pub async fn notify(&self, body: Bytes) -> Result<(), CallError> {
        let outbound = Outbound { body: vec![body], ..Outbound::default() };
        let waits = Waits { slot: Some(NOTIFY), connect: Some(CONNECT), head: Some(NOTIFY) };
        let sent = self.replicas.send(self.post(outbound)?, waits).await;
        let response = sent.map_err(failed)?;
        // the body, if any, is read so that the connection can serve again
        let _ = tokio::time::timeout(NOTIFY, response.body.collect(NOTIFY_BODY)).await;
        Ok(())
    }

    /// Sends a notification in a task of its own.
    pub(super) fn notify_later(self: &Arc<Self>, name: &'static str, body: Bytes) {
        let link = Arc::clone(self);
        self.scope.spawn(name, async move {
            if let Err(e) = link.notify(body).await {
                log::debug!("{}: a notification was not delivered: {e}", link.label);
            }
        });
    }

    /// A place for reading on what is left of a call, if there is one.
    pub(super) fn late_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.late).try_acquire_owned().ok()
    }

    /// Reads on what is left of a call that was given up: the task that it becomes is cancelled.
    pub(super) fn see_off(self: &Arc<Self>, rest: HttpCall, place: OwnedSemaphorePermit) {
        let (link, id) = (Arc::clone(self), rest.id());
        self.scope.spawn("upstream late task", async move {
            let response = within(LATE, Call::http(rest).response()).await;
            drop(place);
            let Some(Ok(response)) = response else { return };
            link.causes().answered(id);
            if let Some(task) = task::created(&response, Era::Legacy).filter(|task| !task.over) {
                let cancel = link.next_id.fetch_add(1, Ordering::Relaxed);
                // its answer says nothing to anybody
                let _ = link.notify(task::cancel_request(cancel, &task.id)).await;
            }
        });
    }

    /// Opens the stream for messages outside requests (legacy: GET). `None` when the upstream
    /// offers none.
    pub async fn stream(&self, last_event: Option<&str>) -> Result<Option<EventStream>, CallError> {
        let response = self.get(last_event).await?;
        self.arrived(response.status);
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

    pub(super) fn read_stream(&self, body: Body) -> EventStream {
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
        self.replicas.send(request, waits).await.map_err(failed)
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
        let _ = self.replicas.send(request, waits).await; // best effort: it may be gone already
    }

    pub(super) fn keep_session(&self, headers: &HeaderMap) {
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
    pub(super) async fn has_lost_session(self: Arc<Self>) -> bool {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = vec![initialize::ping_request(id)];
        let outbound = Outbound { body, method: Method::Ping.name().into(), ..Outbound::default() };
        let Ok(request) = self.post(outbound) else { return false };
        let waits = Waits { slot: Some(NOTIFY), connect: Some(CONNECT), head: Some(NOTIFY) };
        let status = self.replicas.send(request, waits).await.map(|response| response.status);
        matches!(status, Ok(StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND))
    }

    /// Sends a request; also to which of the servers, and whether it names a session.
    pub(super) fn sending(
        self: &Arc<Self>,
        outbound: Outbound,
    ) -> Result<(Sending, usize, bool), CallError> {
        let at = self.replicas.choose(outbound.avoid);
        let request = self.post(outbound)?;
        let names_session = request.headers().contains_key(&SESSION);
        let waits = Waits { slot: Some(CONNECT), connect: Some(CONNECT), head: None };
        let link = Arc::clone(self);
        let sending = async move { link.replicas.send_to(at, request, waits).await };
        Ok((Box::pin(sending), at, names_session))
    }

    /// What a request has met at one of the servers. Where it could go to another one, that says
    /// nothing about the connection; a connection that is bound to one which is down is lost.
    pub(super) fn failed_at(&self, at: usize, error: ClientError) -> CallError {
        match failed(error) {
            CallError::NotConnected(why) if self.replicas.has_other(at) => CallError::Unsent(why),
            CallError::Unsent(why) if self.replicas.is_stranded() => CallError::NotConnected(why),
            error => error,
        }
    }

    /// Answers a ping of the upstream.
    pub(super) fn pong(self: &Arc<Self>, request: &Request) {
        let answer = crate::wire::jsonrpc::error::result_json(&request.id, b"{}");
        self.reply(answer);
    }

    /// Declines a request of the upstream.
    pub(super) fn decline(self: &Arc<Self>, request: &Request, declined: Declined) {
        self.reply(crate::upstream::decline(request, declined));
    }

    /// Takes a request of the upstream that came outside the stream of any call to the call that
    /// can have caused it.
    pub fn ask(self: &Arc<Self>, request: &Request) {
        if request.call.method_name() == Method::Ping.name() {
            return self.pong(request);
        }
        let verdict = self.causes().ask(request, Instant::now());
        match verdict {
            Verdict::Delivered => {}
            Verdict::Declined(declined) => self.decline(request, declined),
            Verdict::Ambiguous => {
                let _ = self.unrequested.try_send(Unrequested::Ambiguous); // it will happen again
                self.decline(request, AMBIGUOUS);
            }
        }
    }

    /// The upstream takes a question back, on whatever stream; `false` when nobody was asked
    /// anything.
    pub fn withdraw(&self, notification: &Notification) -> bool {
        self.causes().withdraw(notification)
    }

    /// Sends an answer in a task of its own, as long as there are not too many. A modern server gets
    /// none, whatever it asks (MCP 2026-07-28 basic/transports/streamable-http, "Sending Messages").
    pub(super) fn reply(self: &Arc<Self>, answer: Bytes) {
        if self.era() == Some(Era::Modern) {
            return log::debug!("{}: a request of a modern server is passed over", self.label);
        }
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

pub(super) fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) else { return false };
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes())
}

pub(super) type Sending = Pin<Box<dyn Future<Output = Result<HttpResponse, ClientError>> + Send>>;
