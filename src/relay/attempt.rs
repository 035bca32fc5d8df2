//! One request on its way to its upstream, sent once more where the first is known not to have
//! been carried out.
//!
//! A legacy HTTP server answers 404 to a request whose session it does not know, and the client
//! MUST begin a new session (MCP 2025-11-25 basic/transports, "Session Management"). A modern one
//! refuses headers that do not match its present schema, and the client SHOULD read the list of
//! tools and try again (2026-07-28 basic/transports/streamable-http, "Client Behavior"). Whatever
//! else happens to a request may have happened after it was carried out: it is never sent twice.

use crate::bridge::request::Retry;
use crate::mcp::{Era, ListKind, Method, Routing};
use crate::relay::forward::{Caller, make_verbose, mirrored_name, param_headers, prepare};
use crate::relay::route::Route;
use crate::upstream::link::Wire;
use crate::upstream::{Call, CallError, Event, Hold, Link, Party};
use crate::wire::jsonrpc::{Code, Request};
use bytes::Bytes;
use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Weak};

/// What is needed to send a request once more.
#[derive(Clone)]
pub(super) struct Again {
    pub(super) route: Route,
    pub(super) caller: Caller,
    pub(super) method: Method,
    pub(super) message: Request,
    /// What it carries because its upstream has asked for it.
    pub(super) retry: Option<Retry>,
    /// The connection that it was sent through.
    pub(super) link: Weak<Link>,
    /// For whom, if that was a lane.
    pub(super) lane: Option<Party>,
}

/// What a call brings, or how it ended.
type Outcome = Result<Event, CallError>;

type Renewal = Pin<Box<dyn Future<Output = Result<Call, Outcome>> + Send>>;

enum Course {
    Sent(Call),
    /// It is being sent once more; when it cannot be, what the first ended with stands.
    Renewing(Renewal),
}

/// A request that was sent.
pub(super) struct Attempt {
    course: Course,
    again: Option<Box<Again>>,
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").finish_non_exhaustive()
    }
}

impl Attempt {
    pub(super) fn new(call: Call, again: Option<Box<Again>>) -> Self {
        Self { course: Course::Sent(call), again }
    }

    /// See [`Call::next`].
    pub(super) async fn next(&mut self) -> Outcome {
        loop {
            match &mut self.course {
                Course::Sent(call) => {
                    let outcome = call.next().await;
                    let Some(again) = self.again.take() else { return outcome };
                    match again.after(outcome) {
                        ControlFlow::Continue(renewal) => self.course = Course::Renewing(renewal),
                        ControlFlow::Break(outcome) => return outcome,
                    }
                }
                Course::Renewing(renewal) => match renewal.await {
                    Ok(call) => self.course = Course::Sent(call),
                    Err(outcome) => return outcome,
                },
            }
        }
    }

    /// See [`Call::holds_a_lane`].
    pub(super) fn holds_a_lane(&self) -> bool {
        matches!(&self.course, Course::Sent(call) if call.holds_a_lane())
    }

    /// See [`Call::hold`].
    pub(super) fn hold(&self) -> Option<Hold> {
        match &self.course {
            Course::Sent(call) => call.hold(),
            Course::Renewing(_) => None,
        }
    }

    /// See [`Call::reply`].
    pub(super) fn reply(&self, response: Bytes) {
        if let Course::Sent(call) = &self.course {
            call.reply(response);
        }
    }
}

impl Again {
    /// Whether there is anything that a request through this connection could be sent again for.
    pub(super) fn is_of_use(link: &Link, method: Method) -> bool {
        let is_tool = method.route() == Routing::Tool;
        matches!(link.wire(), Wire::Http(_)) && (link.era() == Era::Legacy || is_tool)
    }

    /// Sends it once more, if this says that it was not carried out.
    fn after(self: Box<Self>, outcome: Outcome) -> ControlFlow<Outcome, Renewal> {
        let mismatch = Some(Code::HeaderMismatch.number());
        match outcome {
            Err(CallError::SessionUnknown) => {
                ControlFlow::Continue(Box::pin(self.in_a_new_session()))
            }
            Ok(Event::Response(response)) if response.error_code() == mismatch => {
                let refusal = Ok(Event::Response(response));
                ControlFlow::Continue(Box::pin(self.with_new_headers(refusal)))
            }
            other => ControlFlow::Break(other),
        }
    }

    async fn in_a_new_session(self: Box<Self>) -> Result<Call, Outcome> {
        let upstream = &self.route.upstream;
        upstream.report(&CallError::SessionUnknown, &self.link);
        let link = match self.lane {
            None => upstream.connection_after(&self.link).await,
            Some(_) => upstream.connection().await,
        };
        // what reads the answer expects it to be of the era that it was when it was asked
        match link.filter(|link| link.era() == Era::Legacy) {
            Some(link) => self.send(link).await,
            None => Err(Err(CallError::SessionUnknown)),
        }
    }

    async fn with_new_headers(mut self: Box<Self>, refusal: Outcome) -> Result<Call, Outcome> {
        let link = match self.lane {
            None => self.link.upgrade(),
            Some(_) => self.route.upstream.connection().await,
        };
        let Some(link) = link.filter(|link| link.era() == Era::Modern) else {
            return Err(refusal);
        };
        let before = param_headers(&self.route, &self.message);
        self.route.upstream.renew(ListKind::Tools).await;
        self.look_up();
        match param_headers(&self.route, &self.message) == before {
            true => Err(refusal),
            false => self.send(link).await,
        }
    }

    /// Finds the tool as it is listed now.
    fn look_up(&mut self) {
        let name = mirrored_name(&self.route, self.method, &self.message);
        if let Some(listing) = self.route.upstream.listing(ListKind::Tools) {
            self.route.target = name.and_then(|name| listing.tool(&name));
        }
    }

    /// Sends it to a modern upstream again, with what the upstream has asked for; the connection
    /// may be another than before.
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub(super) async fn repeat(mut self: Box<Self>) -> Result<(Attempt, Weak<Link>), CallError> {
        let upstream = &self.route.upstream;
        let gone = || CallError::NotConnected(format!("it is {}", upstream.state()));
        let link = upstream.connection().await.ok_or_else(gone)?;
        if link.era() != Era::Modern {
            let why = "it has come back with a protocol that knows no such request";
            return Err(CallError::NotConnected(why.into()));
        }
        if self.method.route() == Routing::Tool {
            self.look_up();
        }
        let (call, link) = self.transmit(link).await?;
        self.link = Arc::downgrade(&link);
        let is_of_use = Self::is_of_use(&link, self.method);
        Ok((Attempt::new(call, is_of_use.then_some(self)), Arc::downgrade(&link)))
    }

    async fn send(&self, link: Arc<Link>) -> Result<Call, Outcome> {
        self.transmit(link).await.map(|(call, _)| call).map_err(Err)
    }

    /// Sends it through the connection that all share, or through a lane again.
    async fn transmit(&self, link: Arc<Link>) -> Result<(Call, Arc<Link>), CallError> {
        let Self { route, caller, method, message, retry, lane, .. } = self;
        let (link, seat) = match lane {
            None => (link, None),
            Some(party) => route.upstream.way(link, party).await?,
        };
        if let Some(level) = caller.level {
            make_verbose(&route.upstream, &link, level).await; // a modern one is told each time
        }
        let mut call = link.wire().reserve()?.seated(seat);
        let retry = retry.as_ref();
        call.send(prepare(route, &link, caller, *method, message, retry, call.id())).await?;
        Ok((call, link))
    }
}
