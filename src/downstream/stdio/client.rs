//! The client that has started us: one legacy session at most, and any number of modern requests
//! beside it. Each message says by its `_meta` which era it is of; on a pipe there are no headers.

use crate::bridge::notification;
use crate::downstream::Front;
use crate::downstream::http::flow::{Flow, Sink};
use crate::downstream::legacy::{self, invalid};
use crate::downstream::modern::{self, Listener};
use crate::downstream::session::Session;
use crate::downstream::stdio::flights::Flight;
use crate::downstream::stdio::{Flights, Pen};
use crate::mcp::{Method, Revision};
use crate::oauth::Permit;
use crate::relay::{Answer, Endpoint};
use crate::task::Token;
use crate::wire::jsonrpc::{Call, Rejected, Request, RequestId, Response};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::watch;

/// How far the client has introduced itself, as clients up to 2025-11-25 do.
#[derive(Debug, Clone, Default)]
enum Introduction {
    /// It has not, and a modern client never does.
    #[default]
    None,
    /// `initialize` is being answered.
    Begun,
    /// Its session.
    Made(Arc<Session>),
}

/// What all requests of the client have in common.
#[derive(Debug)]
pub struct Client {
    pub(super) front: Arc<Front>,
    permit: Permit,
    endpoint: Endpoint,
    pen: Pen,
    introduction: watch::Sender<Introduction>,
    /// What can be cancelled.
    pub(super) flights: Arc<Flights>,
}

impl Client {
    /// A client of which nothing is known yet.
    pub fn new(front: Arc<Front>, permit: Permit, endpoint: Endpoint, pen: Pen) -> Arc<Self> {
        let (introduction, flights) = (watch::Sender::default(), Arc::default());
        Arc::new(Self { front, permit, endpoint, pen, introduction, flights })
    }

    async fn say(&self, message: Bytes) {
        let _ = self.pen.say(message).await; // that nobody reads has its own consequences
    }

    async fn answer(&self, answer: Answer) {
        self.say(answer.one_piece()).await;
    }

    /// Says that a message cannot be served.
    pub async fn refuse(self: Arc<Self>, rejected: Rejected) {
        self.answer(Answer::rejected(&rejected)).await;
    }

    /// Notes that `initialize` has come, so that what follows it waits for its outcome.
    ///
    /// # Errors
    /// It is not the first.
    pub fn introduce(&self) -> Result<(), Rejected> {
        let first = self.introduction.send_if_modified(|known| {
            let first = matches!(known, Introduction::None);
            if first {
                *known = Introduction::Begun;
            }
            first
        });
        first.then_some(()).ok_or_else(|| invalid("expected initialize once"))
    }

    /// `initialize`.
    pub async fn begin(self: Arc<Self>, request: Request) {
        match legacy::begin(&self.front, &self.permit, self.endpoint, &request).await {
            Ok((session, answer)) => {
                self.answer(answer).await;
                self.introduction.send_replace(Introduction::Made(session));
            }
            Err((_, rejected)) => {
                self.introduction.send_replace(Introduction::None);
                self.refuse(rejected.with_id(Some(request.id))).await;
            }
        }
    }

    /// The session, once `initialize` is answered; `None` if there was none.
    async fn session(&self) -> Option<Arc<Session>> {
        let mut known = self.introduction.subscribe();
        let settled = known.wait_for(|known| !matches!(known, Introduction::Begun)).await;
        match settled.as_deref() {
            Ok(Introduction::Made(session)) => Some(Arc::clone(session)),
            _ => None,
        }
    }

    /// The session, if there is one already.
    fn present(&self) -> Option<Arc<Session>> {
        match &*self.introduction.borrow() {
            Introduction::Made(session) => Some(Arc::clone(session)),
            _ => None,
        }
    }

    /// A request without a version of its own.
    pub async fn legacy(self: Arc<Self>, request: Request, flight: Flight) {
        let id = request.id.detached();
        // once it is on its way, its session cancels it: the client may have been asked something
        // because of it, which is taken back then
        let Some(served) = flight.fly(self.serve_legacy(request)).await else { return };
        match served {
            Ok(legacy::Served::Now(answer)) => self.answer(answer).await,
            Ok(legacy::Served::Later(flow)) => {
                flow.bound().tell(Sink::Pen(self.pen.clone())).await;
            }
            Ok(legacy::Served::Cancelled) => {}
            Err(rejected) => self.refuse(rejected.with_id(Some(id))).await,
        }
    }

    async fn serve_legacy(&self, request: Request) -> Result<legacy::Served, Rejected> {
        if request.call.method_name() == Method::Ping.name() {
            let pong = Answer::result(&request.id.detached(), b"{}".as_slice());
            return Ok(legacy::Served::Now(pong));
        }
        let Some(session) = self.session().await else {
            return Err(invalid("expected initialize first, or a protocolVersion in _meta"));
        };
        legacy::serve(&self.front, &self.permit, &session, true, request).await
    }

    /// Several messages at once.
    pub async fn batch(self: Arc<Self>, messages: Vec<Bytes>) {
        let session = self.session().await.filter(|session| session.revision.batches());
        let text = "expected one message: batches exist in sessions of revision 2025-03-26 only";
        let Some(session) = session else { return self.refuse(invalid(text)).await };
        let answers = legacy::batch(&self.front, &self.permit, &session, messages).await;
        if let Some(answers) = answers {
            self.say(answers).await;
        }
    }

    /// A request of 2026-07-28, or of a version that we do not know.
    pub async fn modern(self: Arc<Self>, request: Request, stopping: Token) {
        match self.serve_modern(&request).await {
            Ok(modern::Served::Now(answer)) => self.answer(answer).await,
            Ok(modern::Served::Later(exchange)) => {
                drop(request); // it may be large, and is on its way
                Flow::modern(exchange).tell(Sink::Pen(self.pen.clone())).await;
            }
            Ok(modern::Served::Listening(listener, first)) => {
                drop(request);
                self.listen(listener, first, stopping).await;
            }
            Err(rejected) => self.refuse(rejected.with_id(Some(request.id))).await,
        }
    }

    async fn serve_modern(&self, request: &Request) -> Result<modern::Served, Rejected> {
        let version = modern::required_meta(request)?;
        let name = request.call.method_name();
        let (front, permit, endpoint) = (&self.front, &self.permit, self.endpoint);
        let method = front.relay.method(endpoint, Revision::MODERN, &name).await;
        let method = modern::known(&version, &name, method).map_err(|(_, rejected)| rejected)?;
        modern::serve(front, permit, endpoint, true, method, request).await
    }

    /// Passes on what a subscription brings, until it is cancelled or we stop.
    async fn listen(&self, listener: Listener, first: Bytes, stopping: Token) {
        let mut next = Some(first);
        while let Some(message) = next {
            self.say(message).await;
            next = tokio::select! {
                notification = listener.next() => notification,
                () = stopping.cancelled() => None,
            };
        }
        // a stream that ends is cancelled, and its request answered: the cancellation comes first,
        // while the request is still open (basic/patterns/cancellation and subscriptions)
        self.say(notification::ended(listener.id().token())).await;
        self.say(listener.end()).await;
    }

    /// A notification, of either era.
    pub fn notified(&self, call: &Call) {
        if call.method_name() == Method::Cancelled.name()
            && let Some(id) = call.param("requestId")
        {
            self.flights.cancel(&RequestId::from_token(call.slice(id.span)));
        }
        match self.present() {
            Some(session) => legacy::notified(&session, call),
            None => log::debug!("a notification outside a session is passed over"),
        }
    }

    /// An answer of the client.
    pub fn answered(&self, response: &Response) {
        match self.present() {
            Some(session) => session.answered(response),
            None => log::debug!("a client answers what it was not asked"),
        }
    }

    /// Passes on what comes outside requests, once there is a session.
    pub async fn notices(self: Arc<Self>, stopping: Token) {
        let mut known = self.introduction.subscribe();
        let made = known.wait_for(|known| matches!(known, Introduction::Made(_)));
        tokio::select! {
            _ = made => {}
            () = stopping.cancelled() => return,
        }
        let Some(session) = self.present() else { return };
        let _occupied = session.occupy(); // it lasts as long as the pipe
        loop {
            tokio::select! {
                notice = session.outlet.next() => match notice {
                    Some(notice) => self.say(notice).await,
                    None => return,
                },
                () = stopping.cancelled() => return,
            }
        }
    }

    /// The client is gone: its session ends.
    pub fn end(&self) {
        if let Some(session) = self.present() {
            let (hub, world) = (&self.front.relay.hub, self.front.relay.world());
            self.front.sessions.close(&session, hub, &world);
        }
    }
}
