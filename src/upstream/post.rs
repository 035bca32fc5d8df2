//! One request over streamable HTTP, from its POST to the end of its answer.
//!
//! The answer is one JSON object or an SSE stream. A legacy stream that broke off is resumed, if
//! the server gave its events ids (2025-11-25 basic/transports, "Resumability and Redelivery").

use crate::bridge::question::Declined;
use crate::mcp::{Era, Method, meta};
use crate::net::client::{ClientError, Response as HttpResponse};
use crate::upstream::CallError;
use crate::upstream::call::{Event, Outbound, Unrequested};
use crate::upstream::events::{EventStream, bad, pause};
use crate::upstream::http::{HttpLink, Sending, failed, has_type};
use crate::upstream::inbox::Inbox;
use crate::wire::jsonrpc::{Message, Notification, Response, batch};
use bytes::Bytes;
use http::StatusCode;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most times in a row that it is tried in vain to resume the stream of one request. A server that
/// closes its stream to be asked again later ("polling", 2025-11-25 basic/transports) may do so
/// for as long as the request may take.
const MAX_RESUMES: u32 = 8;

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
    /// To which of the servers it goes.
    at: usize,
    /// It was sent with the id of a session.
    names_session: bool,
    /// What comes on other streams; only calls of clients to legacy servers have one.
    inbox: Option<Arc<Inbox>>,
    /// See [`Outbound::becomes_task`].
    becomes_task: bool,
    /// The upstream is told nothing when this is dropped.
    quiet: bool,
}

impl fmt::Debug for HttpCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCall").field("id", &self.id).finish_non_exhaustive()
    }
}

impl HttpCall {
    pub(super) fn new(link: Arc<HttpLink>, id: u64) -> Self {
        let (stage, resume) = (Stage::Reserved, Resume::default());
        let (at, names_session, inbox, becomes_task, quiet) = (0, false, None, false, false);
        Self { link, id, stage, resume, at, names_session, inbox, becomes_task, quiet }
    }

    /// The id reserved for this request.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Prepares the request, which must carry [`Self::id`]; [`Self::next`] sends it.
    pub fn send(&mut self, outbound: Outbound) -> Result<(), CallError> {
        if outbound.of_client && self.link.era() == Some(Era::Legacy) {
            let inbox = self.inbox.insert(Arc::default());
            self.link.causes().begin(self.id, &outbound, inbox);
        }
        self.becomes_task = outbound.becomes_task;
        let (sending, at, names_session) = self.link.sending(outbound)?;
        (self.stage, self.at, self.names_session) = (Stage::Sending(sending), at, names_session);
        Ok(())
    }

    /// To which of the servers it went.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Sends the response to a request of the upstream.
    pub fn reply(&self, response: Bytes) {
        self.link.reply(response);
    }

    /// See [`crate::upstream::call::Call::next`].
    pub async fn next(&mut self) -> Result<Event, CallError> {
        let (link, inbox) = (Arc::clone(&self.link), self.inbox.clone());
        let aside = async {
            match inbox {
                Some(inbox) => inbox.next().await,
                None => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            biased;
            event = aside => event,
            outcome = self.advance() => outcome,
            given_up = link.is_given_up() => Err(given_up),
        };
        match &outcome {
            Ok(Event::Notification(_) | Event::Request(_)) => {}
            // the request may have been read, and goes on being carried out
            Err(CallError::Gone(_) | CallError::BadAnswer(_)) => self.end(false),
            _ => self.end(true),
        }
        outcome
    }

    /// It is given up and may still become a task: somebody else reads what is left of it.
    fn see_off(&mut self) {
        let Some(place) = self.link.late_place() else { return };
        let mut rest = Self::new(Arc::clone(&self.link), self.id);
        (rest.quiet, rest.names_session) = (true, self.names_session);
        rest.stage = std::mem::replace(&mut self.stage, Stage::Ended);
        rest.resume = std::mem::take(&mut self.resume);
        self.quiet = true;
        self.link.see_off(rest, place);
    }

    /// Nothing more will be read of it; whether the server is done with it.
    fn end(&mut self, done: bool) {
        self.stage = Stage::Ended;
        let Some(inbox) = self.inbox.take() else { return };
        match done {
            true => _ = self.link.causes().answered(self.id),
            false => self.link.causes().given_up(self.id, Instant::now()),
        }
        for question in inbox.questions() {
            self.link.decline(&question, Declined::failed("the call has ended"));
        }
    }

    async fn advance(&mut self) -> Result<Event, CallError> {
        loop {
            match &mut self.stage {
                Stage::Reserved | Stage::Ended => {
                    return Err(CallError::NotConnected("the request was not sent".into()));
                }
                Stage::Sending(sending) => {
                    let sent = sending.as_mut().await;
                    let response = sent.map_err(|error| self.link.failed_at(self.at, error))?;
                    self.stage = self.judge(response)?;
                }
                Stage::Json(status, body) => {
                    let (status, bytes) = (*status, body.as_mut().await.map_err(failed)?);
                    let response = self.read_json(status, bytes)?;
                    if status != StatusCode::BAD_REQUEST || !self.link.has_session() {
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
        self.link.arrived(response.status);
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
        if !batch::is_batch(&bytes) || !self.link.batches() {
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

    fn claim(&self, message: Message) -> Result<Option<Event>, CallError> {
        self.link.arrived(StatusCode::OK);
        match message {
            Message::Notification(notification) => Ok(self.sort(notification)),
            Message::Response(response) if self.answers(&response) => {
                Ok(Some(Event::Response(response)))
            }
            Message::Response(_) => {
                Err(CallError::BadAnswer("its stream answers another request".into()))
            }
            Message::Request(request) if request.call.method_name() == Method::Ping.name() => {
                self.link.pong(&request);
                Ok(None)
            }
            Message::Request(request) => {
                // its place on this stream says who caused it
                let asked = self.link.causes().ask_directly(self.id, &request);
                match asked {
                    Ok(()) => Ok(Some(Event::Request(request))),
                    Err(why) => {
                        self.link.decline(&request, why);
                        Ok(None)
                    }
                }
            }
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
            if ours || self.link.era() == Some(Era::Modern) {
                return ours.then_some(Event::Notification(notification));
            } // else it may be that of a task
        }
        let listens = self.link.era() == Some(Era::Modern);
        if listens || method == Some(Method::LogMessage) {
            return Some(Event::Notification(notification));
        }
        if method == Some(Method::Cancelled) && self.link.withdraw(&notification) {
            return None;
        }
        let notice = Unrequested::notice(&notification);
        if notice.is_none_or(|notice| self.link.unrequested.try_send(notice).is_err()) {
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
        let legacy = self.link.era() == Some(Era::Legacy);
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
        if sent && self.becomes_task {
            self.see_off();
        }
        if sent {
            self.end(false);
        }
        if sent && !self.quiet && self.link.era() == Some(Era::Legacy) {
            let cancelled = crate::upstream::pending::cancelled(self.id);
            self.link.notify_later("upstream cancellation", cancelled);
        }
    }
}
