//! One request on its way to its upstream, sent once more where that can do no harm.
//!
//! The law, which [`Again::allows`] is: a request is sent again only if nothing of its answer has
//! come, and one of these is so.
//! - It was not carried out. It never left us; or a legacy HTTP server answered 404 to a session
//!   that it does not know, and the client MUST begin a new one (MCP 2025-11-25 basic/transports,
//!   "Session Management"); or a modern one refused headers that do not match its present schema,
//!   and the client SHOULD read the list of tools and try again (2026-07-28
//!   basic/transports/streamable-http, "Client Behavior").
//! - Nobody knows whether it was carried out, and to do it twice is as good as once: its method is a
//!   read, or the operator trusts what tools say of themselves and this one says so.
//!
//! Whatever else happens to a request may have happened after it was carried out: it is never sent
//! twice. The deadline is that of the exchange, which none of this moves.

use crate::bridge::request::Retry;
use crate::mcp::{Era, ListKind, Method, Routing};
use crate::relay::forward::{Caller, make_verbose, mirrored_name, param_headers, prepare};
use crate::relay::route::Route;
use crate::upstream::link::Wire;
use crate::upstream::{Call, CallError, Event, Hold, Link, Outbound, Party};
use crate::wire::jsonrpc::{Code, Message, Request};
use bytes::Bytes;
use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Weak};

/// Most times that a request is sent again: once where it was before or elsewhere, and once more
/// when that has shown that a connection is lost.
pub const MOST_REPEATS: u32 = 2;

/// A request as it was sent first. It is made for most calls and needed for few.
#[derive(Clone)]
pub(super) struct Original {
    pub(super) route: Route,
    pub(super) caller: Caller,
    pub(super) method: Method,
    /// The whole message.
    pub(super) message: Bytes,
    /// What it carries because its upstream has asked for it.
    pub(super) retry: Option<Retry>,
    /// For whom, if it was sent through a lane.
    pub(super) lane: Option<Party>,
}

/// What is needed to send a request once more.
#[derive(Clone)]
pub(super) struct Again {
    pub(super) original: Arc<Original>,
    /// The connection that it was sent through.
    link: Weak<Link>,
    era: Era,
    /// Servers that have failed it, one bit each.
    avoid: u16,
    /// How often it can still be sent.
    left: u32,
    /// What it has met, if it may have been carried out then.
    doubt: Option<CallError>,
}

/// What a call brings, or how it ended.
type Outcome = Result<Event, CallError>;

type Renewal = Pin<Box<dyn Future<Output = Result<(Call, Again), Outcome>> + Send>>;

enum Course {
    Sent(Call),
    /// It is being sent once more; when it cannot be, what the first ended with stands.
    Renewing(Renewal),
}

/// A request that was sent.
pub(super) struct Attempt {
    course: Course,
    /// Until anything of the answer has come.
    again: Option<Again>,
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").finish_non_exhaustive()
    }
}

impl Attempt {
    pub(super) fn new(call: Call, again: Option<Again>) -> Self {
        Self { course: Course::Sent(call), again }
    }

    /// See [`Call::next`].
    pub(super) async fn next(&mut self) -> Outcome {
        loop {
            match &mut self.course {
                Course::Sent(call) => {
                    let outcome = call.next().await;
                    let Some(again) = self.again.take() else { return outcome };
                    match again.after(outcome, call.server()) {
                        ControlFlow::Continue(renewal) => self.course = Course::Renewing(renewal),
                        ControlFlow::Break(outcome) => return outcome,
                    }
                }
                Course::Renewing(renewal) => match renewal.await {
                    Ok((call, again)) => {
                        (self.course, self.again) = (Course::Sent(call), Some(again));
                    }
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
    pub(super) fn new(original: Arc<Original>, link: &Arc<Link>) -> Self {
        let (era, avoid, left) = (link.era(), 0, MOST_REPEATS);
        Self { original, link: Arc::downgrade(link), era, avoid, left, doubt: None }
    }

    #[cfg(test)]
    pub(super) fn over_nothing(original: Original) -> Self {
        let (original, link) = (Arc::new(original), Weak::new());
        Self { original, link, era: Era::Modern, avoid: 0, left: MOST_REPEATS, doubt: None }
    }

    /// The same request with what its upstream has asked for.
    pub(super) fn answering(&self, retry: Retry) -> Self {
        let original = Original { retry: Some(retry), ..Original::clone(&self.original) };
        let (original, left) = (Arc::new(original), MOST_REPEATS);
        Self { original, avoid: 0, left, doubt: None, ..self.clone() }
    }

    /// Whether there is anything that a request through this connection could be sent again for.
    /// Of a child that has died the answer is due at once.
    pub(super) fn is_of_use(link: &Link) -> bool {
        matches!(link.wire(), Wire::Http(_))
    }

    /// Sends it once more, if that can do no harm.
    fn after(mut self, outcome: Outcome, server: u16) -> ControlFlow<Outcome, Renewal> {
        let mismatch = Some(Code::HeaderMismatch.number());
        let Some(left) = self.left.checked_sub(1) else {
            return ControlFlow::Break(self.tell(outcome));
        };
        self.left = left;
        self.avoid |= server;
        match outcome {
            Err(error) if self.allows(&error) => {
                if matches!(error, CallError::SessionUnknown | CallError::SessionLost) {
                    self.left = 0; // if the new session is lost at once, so is the next one
                }
                ControlFlow::Continue(Box::pin(self.once_more(error)))
            }
            Ok(Event::Response(response)) if response.error_code() == mismatch => {
                self.left = 0; // what does not fit what was read just now never will
                let refusal = Ok(Event::Response(response));
                ControlFlow::Continue(Box::pin(self.with_new_headers(refusal)))
            }
            other => ControlFlow::Break(self.tell(other)),
        }
    }

    /// Whether a request that has met this may be sent again.
    fn allows(&self, error: &CallError) -> bool {
        match error {
            // it never left us, or was refused unread
            CallError::NotConnected(_) | CallError::SessionUnknown => true,
            CallError::Unsent(_) => self.has_others(),
            // it may have been carried out
            CallError::Gone(_) | CallError::SessionLost => self.is_safe(),
            CallError::Status(502..=504) => self.has_others() && self.is_safe(),
            // an answer, a bound of ours, or the end of all patience
            CallError::Status(_)
            | CallError::Busy
            | CallError::Crowded
            | CallError::BadAnswer(_)
            | CallError::TimedOut => false,
        }
    }

    /// Whether to do it twice is as good as once.
    fn is_safe(&self) -> bool {
        self.original.method.is_read() || self.original.is_idempotent()
    }

    /// Whether it could go to another server through the same connection.
    fn has_others(&self) -> bool {
        let link = self.link.upgrade();
        link.is_some_and(|link| matches!(link.wire(), Wire::Http(http) if http.roams()))
    }

    /// The supervisor hears that the connection that it went through last is lost. Of a server that
    /// knows no session for this request alone, it was heard before.
    fn tell(&self, outcome: Outcome) -> Outcome {
        if let Err(error @ CallError::NotConnected(_)) = &outcome {
            self.original.route.upstream.report(error, &self.link);
        }
        outcome.map_err(|error| self.all_told(error))
    }

    /// That the last time did nothing does not say that no time did anything.
    fn all_told(&self, error: CallError) -> CallError {
        match &self.doubt {
            Some(doubt) if !error.maybe_processed() => doubt.clone(),
            _ => error,
        }
    }

    async fn once_more(mut self, error: CallError) -> Result<(Call, Self), Outcome> {
        use CallError::{NotConnected, SessionLost, SessionUnknown};
        let upstream = &self.original.route.upstream;
        upstream.report(&error, &self.link);
        if error.maybe_processed() {
            self.doubt = Some(error.clone());
        }
        let upstream = &self.original.route.upstream;
        let is_lost = matches!(error, NotConnected(_) | SessionLost | SessionUnknown);
        let link = match self.original.lane {
            None if is_lost => upstream.connection_after(&self.link).await,
            _ => upstream.connection().await,
        };
        // what reads the answer expects it to be of the era that it was when it was asked
        match link.filter(|link| link.era() == self.era) {
            Some(link) => {
                let before = self.clone();
                self.transmit(link).await.map_err(|error| Err(before.all_told(error)))
            }
            None => Err(Err(self.all_told(error))),
        }
    }

    async fn with_new_headers(mut self, refusal: Outcome) -> Result<(Call, Self), Outcome> {
        let link = match self.original.lane {
            None => self.link.upgrade(),
            Some(_) => self.original.route.upstream.connection().await,
        };
        let (Some(link), Some(message)) =
            (link.filter(|link| link.era() == Era::Modern), self.original.request())
        else {
            return Err(refusal);
        };
        let before = param_headers(&self.original.route, &message);
        self.original.route.upstream.renew(ListKind::Tools).await;
        self.look_up(&message);
        match param_headers(&self.original.route, &message) == before {
            true => Err(refusal),
            false => self.transmit(link).await.map_err(Err),
        }
    }

    /// Finds the tool as it is listed now.
    fn look_up(&mut self, message: &Request) {
        let original = Arc::make_mut(&mut self.original);
        let name = mirrored_name(&original.route, original.method, message);
        if let Some(listing) = original.route.upstream.listing(ListKind::Tools) {
            original.route.target = name.and_then(|name| listing.tool(&name));
        }
    }

    /// Sends it to a modern upstream again, with what the upstream has asked for; the connection
    /// may be another than before.
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub(super) async fn repeat(mut self) -> Result<(Attempt, Weak<Link>), CallError> {
        let upstream = &self.original.route.upstream;
        let gone = || CallError::NotConnected(format!("it is {}", upstream.state()));
        let link = upstream.connection().await.ok_or_else(gone)?;
        if link.era() != Era::Modern {
            let why = "it has come back with a protocol that knows no such request";
            return Err(CallError::NotConnected(why.into()));
        }
        if self.original.method.route() == Routing::Tool
            && let Some(message) = self.original.request()
        {
            self.look_up(&message);
        }
        let (call, again) = self.transmit(link).await?;
        let (link, is_of_use) = (Weak::clone(&again.link), again.is_over_http());
        Ok((Attempt::new(call, is_of_use.then_some(again)), link))
    }

    fn is_over_http(&self) -> bool {
        self.link.upgrade().is_some_and(|link| Self::is_of_use(&link))
    }

    /// Sends it through the connection that all share, or through a lane again.
    async fn transmit(mut self, link: Arc<Link>) -> Result<(Call, Self), CallError> {
        let original = Arc::clone(&self.original);
        let Original { route, caller, method, retry, lane, .. } = &*original;
        let message = original.request();
        let message = message.ok_or_else(|| CallError::Unsent("it cannot be read".into()))?;
        let (link, seat) = match lane {
            None => (link, None),
            Some(party) => route.upstream.way(link, party).await?,
        };
        if let Some(level) = caller.level {
            make_verbose(&route.upstream, &link, level).await; // a modern one is told each time
        }
        let mut call = link.wire().reserve()?.seated(seat);
        let retry = retry.as_ref();
        let outbound = prepare(route, &link, caller, *method, &message, retry, call.id());
        call.send(Outbound { avoid: self.avoid, ..outbound }).await?;
        self.link = Arc::downgrade(&link);
        Ok((call, self))
    }
}

impl Original {
    /// The message, read once more; it was read before.
    fn request(&self) -> Option<Request> {
        match Message::parse(self.message.clone()) {
            Ok(Message::Request(request)) => Some(request),
            _ => None,
        }
    }

    /// Whether the operator trusts what tools say of themselves, and this one says that a second
    /// call changes nothing.
    fn is_idempotent(&self) -> bool {
        let upstream = &self.route.upstream;
        if self.method != Method::ToolsCall || !upstream.entry.repeats_idempotent_tools {
            return false;
        }
        let name = self.request();
        let name = name.and_then(|message| mirrored_name(&self.route, self.method, &message));
        let listing = upstream.listing(ListKind::Tools);
        let (Some(name), Some(listing)) = (name, listing) else { return false };
        listing.get(&name).is_some_and(|tool| tool.is_idempotent())
    }
}
