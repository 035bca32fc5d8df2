//! One request through us: both ids, the progress token, the deadlines, the call upstream.
//!
//! Whoever owns the [`Exchange`] decides what a disconnect means: dropping it cancels the request
//! upstream and frees its slot.

use crate::bridge::notification;
use crate::bridge::question::{Question, Reply};
use crate::bridge::response::{Bridged, ResponseEdit, response};
use crate::mcp::{ClientCapabilities, Era, ListKind, LogLevel, Method, Revision};
use crate::relay::asking::{ANSWER_TIME, Answered, Asked, Asking};
use crate::relay::attempt::Attempt;
use crate::relay::rounds::{self, Rounds};
use crate::upstream::{CallError, Event, Link, Ticket, Upstream};
use crate::wire::jsonrpc::error::{result_json, result_pieces};
use crate::wire::jsonrpc::{Code, Notification, Rejected, Request, RequestId, Response};
use bytes::Bytes;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

/// Up to this size an answer is written in one piece; larger ones in slices, without a copy.
const COPY_BELOW: usize = 16 << 10;

/// Ends an exchange from outside (`notifications/cancelled` of a legacy client).
#[derive(Debug, Default)]
pub struct Cancel(Notify);

impl Cancel {
    /// Cancels; the exchange ends without an answer.
    pub fn cancel(&self) {
        self.0.notify_one();
    }

    /// Waits for it. One who waits is enough: a cancellation that was waited for is spent.
    pub async fn cancelled(&self) {
        self.0.notified().await;
    }
}

/// What the client gets next.
#[derive(Debug)]
pub enum Step {
    /// A notification that belongs to the request.
    Notification(Bytes),
    /// The upstream asks something of the client; dropping it declines.
    Ask(Asked),
    /// The upstream does not wait for the answer to this question any more.
    Withdraw(u64),
    /// The answer; nothing follows.
    Answer(Answer),
    /// The client has cancelled the request; nothing follows.
    Cancelled,
    /// Nothing came for as long as the caller wanted to wait.
    Quiet,
}

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// The JSON-RPC response, in pieces that belong together.
    pub body: Vec<Bytes>,
    /// Its error code, if it is an error.
    pub error: Option<i64>,
}

impl Answer {
    /// An error answer of our own.
    pub fn rejected(rejected: &Rejected) -> Self {
        Self { body: vec![rejected.to_json()], error: Some(rejected.code.number()) }
    }

    /// The body in one piece, copied if it is not.
    pub fn one_piece(self) -> Bytes {
        match <[Bytes; 1]>::try_from(self.body) {
            Ok([one]) => one,
            Err(pieces) => Bytes::from(pieces.concat()),
        }
    }

    /// A result of our own; `result` is a raw JSON object. A large one is not copied: a list is
    /// the same bytes for everybody who waits for it.
    pub fn result(id: &RequestId, result: impl Into<Bytes>) -> Self {
        let result = result.into();
        let body = match result.len() {
            0..COPY_BELOW => vec![result_json(id, &result)],
            _ => result_pieces(id, result).into(),
        };
        Self { body, error: None }
    }
}

/// How long an exchange may take, and its one timer.
#[derive(Debug)]
struct Deadline {
    idle: Duration,
    /// When it has taken too long: after an idle time, or in all.
    due: Instant,
    end: Instant,
    /// `None` until somebody waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn new(idle: Duration, total: Duration) -> Self {
        let now = Instant::now();
        let end = now + total;
        Self { idle, due: (now + idle).min(end), end, timer: None }
    }

    /// Progress was made: the idle time begins anew, the end stays.
    fn extend(&mut self) {
        self.due = (Instant::now() + self.idle).min(self.end);
    }

    /// A person is asked: that is no idle time.
    fn allow(&mut self, time: Duration) {
        self.due = (Instant::now() + time).min(self.end);
    }

    /// The timer, set to ring after `patience`, or when it has taken too long. To set it to a
    /// later time than before costs next to nothing.
    fn timer(&mut self, patience: Duration) -> Pin<&mut Sleep> {
        let patience = Instant::now().checked_add(patience);
        let ring = patience.map_or(self.due, |patience| patience.min(self.due));
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(ring)));
        if timer.deadline() != ring {
            timer.as_mut().reset(ring);
        }
        timer.as_mut()
    }

    fn has_passed(&self) -> bool {
        Instant::now() >= self.due
    }

    /// Whether it has taken too long in all.
    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }
}

/// What an exchange needs to know of its two ends.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) id: RequestId,
    /// The client's progress token, as it was written.
    pub(super) token: Option<Bytes>,
    pub(super) method: Method,
    pub(super) client: Revision,
    /// The revision of the upstream.
    pub(super) spoken: Revision,
    /// The connection it goes through, for telling which one failed.
    pub(super) link: Weak<Link>,
    pub(super) upstream: Arc<Upstream>,
    /// On `/mcp`, URIs in the answer get the slug of the upstream.
    pub(super) prefixed: bool,
    /// Log messages from this level on are wanted.
    pub(super) level: Option<LogLevel>,
    pub(super) personal: bool,
    /// What the client can be asked for.
    pub(super) capabilities: ClientCapabilities,
}

impl Ends {
    /// On `/mcp`, the slug of the upstream.
    pub(super) fn space(&self) -> Option<String> {
        self.prefixed.then(|| self.upstream.slug().to_owned())
    }
}

/// One request on its way.
#[derive(Debug)]
pub struct Exchange {
    ends: Ends,
    call: Option<Attempt>,
    deadline: Deadline,
    progress: Option<f64>,
    cancel: Arc<Cancel>,
    /// `None` until the upstream asks something.
    asking: Option<Box<Asking<RequestId>>>,
    /// Only where a modern upstream may ask a legacy client.
    rounds: Option<Box<Rounds>>,
    /// Its place among the requests under way at the upstream.
    _ticket: Ticket,
}

/// The next reply to a question of the upstream.
async fn replied(asking: &mut Option<Box<Asking<RequestId>>>) -> Answered<RequestId> {
    match asking {
        Some(asking) => asking.reply().await,
        None => std::future::pending().await,
    }
}

/// The next thing that the upstream says, while a call is under way there.
async fn said(call: &mut Option<Attempt>) -> Result<Event, CallError> {
    match call {
        Some(call) => call.next().await,
        None => std::future::pending().await,
    }
}

enum Turn {
    Event(Result<Event, CallError>),
    Reply(Answered<RequestId>),
    Round(rounds::Turn),
    Rings,
    Cancelled,
}

impl Exchange {
    pub(super) fn new(
        ends: Ends,
        call: Attempt,
        ticket: Ticket,
        rounds: Option<Box<Rounds>>,
    ) -> Self {
        let timeouts = &ends.upstream.entry.timeouts;
        let deadline = Deadline::new(timeouts.idle, timeouts.total);
        let (call, cancel) = (Some(call), Arc::default());
        let (progress, asking) = (None, None);
        Self { ends, call, deadline, progress, cancel, asking, rounds, _ticket: ticket }
    }

    /// The same exchange, which this ends.
    pub fn cancelled_by(self, cancel: Arc<Cancel>) -> Self {
        Self { cancel, ..self }
    }

    /// The next thing for the client. Cancel safe: the exchange can be given to another owner
    /// between two polls, and nothing is lost. [`Step::Quiet`] when nothing comes for `patience`.
    pub async fn next(&mut self, patience: Duration) -> Step {
        loop {
            if let Some(asked) = self.rounds.as_mut().and_then(|rounds| rounds.ask()) {
                self.deadline.allow(ANSWER_TIME);
                return Step::Ask(asked);
            }
            if self.call.is_none() && !self.is_in_a_round() {
                return Step::Cancelled;
            }
            let turn = tokio::select! {
                biased;
                event = said(&mut self.call) => Turn::Event(event),
                () = self.cancel.cancelled() => Turn::Cancelled,
                answered = replied(&mut self.asking) => Turn::Reply(answered),
                turn = rounds::next(&mut self.rounds) => Turn::Round(turn),
                () = self.deadline.timer(patience) => Turn::Rings,
            };
            let step = match turn {
                Turn::Event(event) => self.event(event),
                Turn::Reply((request, method, reply)) => {
                    self.reply(&request, method, &reply);
                    None
                }
                Turn::Round(turn) => self.round(turn).err().map(Step::Answer),
                Turn::Rings if !self.deadline.has_passed() => Some(Step::Quiet),
                Turn::Rings => Some(self.late()),
                Turn::Cancelled => Some(Step::Cancelled),
            };
            if let Some(step) = step {
                if matches!(step, Step::Answer(_) | Step::Cancelled) {
                    (self.call, self.rounds) = (None, None); // the drop cancels it upstream
                }
                return step;
            }
        }
    }

    fn event(&mut self, event: Result<Event, CallError>) -> Option<Step> {
        match event {
            Ok(Event::Notification(notification)) => self.notification(&notification),
            Ok(Event::Request(request)) => self.asked(&request).map(Step::Ask),
            Ok(Event::Response(response)) => {
                self.call = None;
                match self.rounds.as_mut().and_then(|rounds| rounds.begin(&response)) {
                    None => Some(Step::Answer(self.answer(&response))),
                    Some(Err(why)) => Some(Step::Answer(self.fail(&why))),
                    Some(Ok(pause)) => {
                        self.deadline.allow(pause + self.deadline.idle);
                        None
                    }
                }
            }
            Err(error) => {
                self.call = None; // before it is reported: nothing is left to be cancelled
                Some(Step::Answer(self.failed(&error)))
            }
        }
    }

    fn is_in_a_round(&self) -> bool {
        self.rounds.as_ref().is_some_and(|rounds| rounds.is_under_way())
    }

    /// What comes of a round, until the call is repeated.
    fn round(&mut self, turn: rounds::Turn) -> Result<(), Answer> {
        match turn {
            rounds::Turn::Answered((entry, method, reply)) => {
                let Some(rounds) = &mut self.rounds else { return Ok(()) };
                let all = rounds.answered(entry, method, &reply);
                if all.map_err(|why| self.fail(&why))? {
                    self.deadline.extend();
                }
            }
            rounds::Turn::Repeated(repeated) => {
                let (call, link) = repeated.map_err(|error| self.failed(&error))?;
                (self.call, self.ends.link) = (Some(call), link);
                self.deadline.extend();
            }
        }
        Ok(())
    }

    /// It has taken too long. If that is because a person did not answer, the upstream may go on
    /// without.
    fn late(&mut self) -> Step {
        let unanswered = self.rounds.as_mut().filter(|_| !self.deadline.is_over());
        match unanswered.and_then(|rounds| rounds.give_up()) {
            Some((number, Ok(all))) => {
                if all {
                    self.deadline.extend();
                }
                Step::Withdraw(number)
            }
            Some((_, Err(why))) => Step::Answer(self.fail(&why)),
            None => Step::Answer(self.failed(&CallError::TimedOut)),
        }
    }

    fn notification(&mut self, notification: &Notification) -> Option<Step> {
        match notification.call.method_name().as_ref() {
            "notifications/progress" => self.progress(notification).map(Step::Notification),
            "notifications/cancelled" => {
                let id = notification.call.param("requestId")?;
                let id = RequestId::from_token(notification.call.slice(id.span));
                self.asking.as_mut()?.withdraw(&id).map(Step::Withdraw)
            }
            "notifications/message" => {
                let level = notification.call.param_text("level");
                let level = level.and_then(|level| LogLevel::parse(&level))?;
                let wanted = self.ends.level.is_some_and(|least| level >= least);
                wanted.then(|| Step::Notification(notification.call.bytes.clone()))
            }
            _ => None,
        }
    }

    /// A request of the upstream, if this client can be asked; otherwise it is declined.
    fn asked(&mut self, request: &Request) -> Option<Asked> {
        let space = self.ends.space();
        let asked = match Question::of_request(request) {
            // MCP 2026-07-28 basic/patterns, "Server Requests": there are none in the modern era
            Some(question) if self.ends.spoken.era() == Era::Legacy => {
                self.put(question, request.id.detached(), space)
            }
            _ => Err("not a request that clients serve"),
        };
        match asked {
            Ok(asked) => {
                self.deadline.allow(ANSWER_TIME);
                Some(asked)
            }
            Err(why) => {
                self.reply(&request.id, Method::Ping, &Reply::Unanswered(why));
                None
            }
        }
    }

    fn put(
        &mut self,
        question: Question,
        request: RequestId,
        space: Option<String>,
    ) -> Result<Asked, &'static str> {
        let (capabilities, client) = (&self.ends.capabilities, self.ends.client);
        let question = question.for_client(capabilities, client, "")?;
        let asking = self.asking.get_or_insert_default();
        asking.ask(question, request, space).ok_or("too many questions wait")
    }

    fn reply(&mut self, request: &RequestId, method: Method, reply: &Reply) {
        if let Some(call) = &self.call {
            call.reply(reply.response(request, method, self.ends.spoken));
        }
        if self.asking.as_ref().is_none_or(|asking| asking.is_empty()) {
            self.deadline.extend();
        }
    }

    /// Progress goes to who asked for it, as long as it grows (MCP basic/patterns/progress).
    fn progress(&mut self, notification: &Notification) -> Option<Bytes> {
        self.deadline.extend();
        let token = self.ends.token.as_ref()?;
        let value = notification.call.param("progress")?;
        let value: f64 = std::str::from_utf8(notification.call.raw(value)).ok()?.parse().ok()?;
        if self.progress.is_some_and(|before| value <= before) {
            return None;
        }
        self.progress = Some(value);
        Some(notification::progress(notification, token).apply(&notification.call.bytes))
    }

    fn answer(&self, upstream: &Response) -> Answer {
        // the arguments that the tool wants in headers are others than those it was listed with
        // (MCP 2026-07-28 basic/transports/streamable-http, "Client Behavior")
        if self.ends.method == Method::ToolsCall
            && upstream.error_code() == Some(Code::HeaderMismatch.number())
        {
            self.ends.upstream.doubt(ListKind::Tools);
        }
        let edit = ResponseEdit {
            response: upstream,
            id: self.ends.id.token(),
            method: self.ends.method,
            client: self.ends.client,
            upstream: self.ends.spoken.era(),
            space: self.ends.prefixed.then(|| self.ends.upstream.slug()),
            private: self.ends.personal,
        };
        match response(&edit) {
            Bridged::Edited { splice, code } => {
                let body = match upstream.bytes.len() {
                    0..COPY_BELOW => vec![splice.apply(&upstream.bytes)],
                    _ => splice.chunks(&upstream.bytes),
                };
                Answer { body, error: code }
            }
            Bridged::Refused(why) => self.fail(why),
        }
    }

    fn failed(&self, error: &CallError) -> Answer {
        self.ends.upstream.report(error, &self.ends.link);
        self.fail(&error.to_string())
    }

    fn fail(&self, why: &str) -> Answer {
        let text = format!("upstream {:?}: {why}", self.ends.upstream.entry.key);
        let rejected = Rejected::new(Code::Internal, text).with_id(Some(self.ends.id.clone()));
        Answer::rejected(&rejected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_result_is_shared_by_all_its_answers() {
        let list = Bytes::from(vec![b' '; COPY_BELOW]);
        let answer = Answer::result(&RequestId::from_number(7), list.clone());
        assert_eq!(answer.body.get(1).map(|piece| piece.as_ptr()), Some(list.as_ptr()));
        let small = Answer::result(&RequestId::from_number(7), Bytes::from_static(b"{}"));
        assert_eq!(small.body, [&b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}"[..]]);
    }
}
