//! One request through us: both ids, the progress token, the deadlines, the call upstream.
//!
//! Whoever owns the [`Exchange`] decides what a disconnect means: dropping it cancels the request
//! upstream and frees its slot.

use crate::bridge::input::{Asks, Entry, URL_REQUIRED, elicitation_ids, input_required};
use crate::bridge::notification;
use crate::bridge::question::{self, Declined, Question, Reply};
use crate::bridge::request::progress_token;
use crate::bridge::response::{Bridged, ResponseEdit, response};
use crate::mcp::{ClientCapabilities, Era, ListKind, LogLevel, Method, Revision};
use crate::relay::answer::{Answer, Cancel};
use crate::relay::asking::{ANSWER_TIME, Answered, Asked, Asking};
use crate::relay::attempt::Attempt;
use crate::relay::deadline::Deadline;
use crate::relay::fault::{self, Fault};
use crate::relay::forward::Caller;
use crate::relay::outlet::Outlet;
use crate::relay::parking::{Origin, PARK_TIME, Paused, STATE_TIME};
use crate::relay::progress::grown;
use crate::relay::rounds::{self, Rounds};
use crate::relay::seal::{Held, MAX_INNER};
use crate::relay::tasks::Part;
use crate::upstream::{CallError, Event, Link, Ticket, Upstream};
use crate::wire::jsonrpc::{Code, Notification, Rejected, Request, RequestId, Response};
use crate::wire::splice::Splice;
use bytes::Bytes;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// How long before the end of a call nobody can be asked any more: its upstream is told.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Up to this size an answer is written in one piece; larger ones in slices, without a copy.
pub(super) const COPY_BELOW: usize = 16 << 10;

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
    /// Of a request that its client can repeat (MCP 2026-07-28 basic/patterns/mrtr).
    pub(super) origin: Option<Origin>,
    /// Where its session hears of what ends after it (legacy only).
    pub(super) outlet: Option<Arc<Outlet>>,
    /// Its two ends have extensions in common.
    pub(super) extended: bool,
    /// What it has to do with tasks; mostly nothing.
    pub(super) task: Option<Box<Part>>,
}

/// What came of a call while it was parked.
type Late = Box<Result<Response, CallError>>;
impl Ends {
    /// On `/mcp`, the slug of the upstream.
    pub(super) fn space(&self) -> Option<String> {
        self.prefixed.then(|| self.upstream.slug().to_owned())
    }

    /// The client is given elicitations by URL: it is to hear of their end.
    fn sent_elsewhere(&self, ids: impl IntoIterator<Item = String>) {
        if let Some(outlet) = self.outlet.as_ref().filter(|_| self.client.asks_in_full()) {
            ids.into_iter().for_each(|id| outlet.sent_elsewhere(&self.link, id));
        }
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
    /// What the upstream asked through its own requests; `None` until it does.
    asking: Option<Box<Asking<RequestId>>>,
    /// Questions that the client did not answer, and is asked again.
    again: Vec<Asked>,
    /// How often it was parked.
    pub(super) parked: u32,
    late: Option<Late>,
    /// Only where a modern upstream may ask a legacy client.
    rounds: Option<Box<Rounds>>,
    /// Its place among the requests under way at the upstream.
    ticket: Ticket,
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
        let idle = match ends.method {
            Method::TasksResult => timeouts.total, // it waits for the end of the task
            _ => timeouts.idle,
        };
        let deadline = Deadline::new(idle, timeouts.total);
        let (call, cancel) = (Some(call), Arc::default());
        let (progress, asking, again, parked, late) = (None, None, Vec::new(), 0, None);
        Self { ends, call, deadline, progress, cancel, asking, again, parked, late, rounds, ticket }
    }

    /// The same exchange, which this ends.
    pub fn cancelled_by(self, cancel: Arc<Cancel>) -> Self {
        Self { cancel, ..self }
    }

    /// The next thing for the client. Cancel safe: the exchange can be given to another owner
    /// between two polls, and nothing is lost. [`Step::Quiet`] when nothing comes for `patience`.
    pub async fn next(&mut self, patience: Duration) -> Step {
        loop {
            if let Some(asked) = self.again.pop() {
                match asked.question.check(&self.ends.capabilities) {
                    Ok(()) => return Step::Ask(asked),
                    Err(why) => asked.answer(Reply::Unanswered(why)),
                }
                continue;
            }
            if let Some(asked) = self.rounds.as_mut().and_then(|rounds| rounds.ask()) {
                self.deadline.allow(ANSWER_TIME);
                return Step::Ask(asked);
            }
            let step = match self.turn(patience).await {
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
                let call = self.call.take();
                if let (Some(part), Some(call)) = (&mut self.ends.task, &call) {
                    part.stays(|| call.hold());
                }
                drop(call);
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

    async fn turn(&mut self, patience: Duration) -> Turn {
        if let Some(late) = self.late.take() {
            return Turn::Event(late.map(Event::Response));
        }
        if self.call.is_none() && !self.is_in_a_round() {
            return Turn::Cancelled;
        }
        tokio::select! {
            biased;
            event = said(&mut self.call) => Turn::Event(event),
            () = self.cancel.cancelled() => Turn::Cancelled,
            answered = replied(&mut self.asking) => Turn::Reply(answered),
            turn = rounds::next(&mut self.rounds) => Turn::Round(turn),
            () = self.deadline.timer(patience) => Turn::Rings,
        }
    }

    /// What matters of a parked call: that its upstream asks more, or takes a question back. Its
    /// end is kept for later. Cancel safe.
    pub(super) async fn idle(&mut self) -> Step {
        loop {
            if self.late.is_some() || self.call.is_none() {
                std::future::pending::<()>().await;
            }
            let turn = self.turn(Duration::MAX).await;
            self.deadline.pause();
            let step = match turn {
                Turn::Event(Ok(Event::Notification(notification))) => {
                    self.notification(&notification)
                }
                Turn::Event(Ok(Event::Request(request))) => self.asked(&request).map(Step::Ask),
                Turn::Event(Ok(Event::Response(response))) => self.end(Ok(response)),
                Turn::Event(Err(error)) => self.end(Err(error)),
                Turn::Rings => self.end(Err(CallError::TimedOut)),
                Turn::Reply((request, method, reply)) => {
                    self.reply(&request, method, &reply);
                    None
                }
                Turn::Round(_) => None, // those are for legacy clients, which are never parked
                Turn::Cancelled => self.end(Err(CallError::TimedOut)),
            };
            self.deadline.pause();
            if let Some(step @ (Step::Ask(_) | Step::Withdraw(_))) = step {
                return step;
            }
        }
    }

    fn end(&mut self, late: Result<Response, CallError>) -> Option<Step> {
        self.call = None;
        self.late = Some(Box::new(late));
        None
    }

    /// Stops the clock of a call that is to be parked; what it needs for that. `None` for one that
    /// cannot be.
    pub(super) fn pause(&mut self) -> Option<Paused> {
        let origin = self.ends.origin.take()?;
        self.parked += 1;
        self.deadline.pause();
        let now = Instant::now();
        let last = self.deadline.end.checked_sub(LAST_WORDS).unwrap_or(now);
        Some((origin, self.ends.id.clone(), last.min(now + PARK_TIME)))
    }

    /// It is parked: another request may have its place meanwhile.
    pub(super) fn leave_place(&mut self) {
        self.ticket.park();
    }

    /// It has a place again.
    pub(super) fn take_place(&mut self, ticket: Ticket) {
        self.ticket = ticket;
    }

    /// The clock runs again.
    pub(super) fn go_on(&mut self) {
        self.deadline.extend();
    }

    /// A call that was parked belongs to this request now.
    ///
    /// # Errors
    /// -32603 when its upstream has gone meanwhile.
    pub(super) fn rebind(
        &mut self,
        request: &Request,
        caller: &Caller,
        origin: Origin,
    ) -> Result<(), Rejected> {
        if let Some(Err(error)) = self.late.as_deref() {
            self.ends.upstream.report(error, &self.ends.link);
            let mut lost = fault::rejected(&self.ends.upstream, self.fault(error));
            lost.message = format!("{}: call again without requestState", lost.message).into();
            return Err(lost);
        }
        self.ends.id = request.id.clone();
        let token = progress_token(&request.call);
        self.ends.token = token.map(|token| request.call.slice(token.span));
        // each request declares anew (MCP 2026-07-28 basic/patterns/mrtr, "Server Requirements")
        (self.ends.level, self.ends.capabilities) = (caller.hears(), caller.askable());
        (self.ends.origin, self.progress) = (Some(origin), None);
        self.go_on();
        Ok(())
    }

    /// These questions are asked once more.
    pub(super) fn ask_again(&mut self, questions: Vec<Asked>) {
        self.again = questions;
    }

    /// Ends a call whose client has not come back, as if the user had not answered.
    pub(super) fn give_up(mut self, open: impl Iterator<Item = Asked>) {
        for asked in open {
            let reply = asked.question.given_up();
            asked.answer(reply);
        }
        while let Some((request, method, reply)) = self.asking.as_mut().and_then(|a| a.ready()) {
            self.reply(&request, method, &reply);
        }
    }

    pub(super) fn origin(&self) -> Option<&Origin> {
        self.ends.origin.as_ref()
    }

    /// The lane that it keeps from others: of which upstream, and of how many.
    pub(super) fn lane(&self) -> Option<(String, usize)> {
        self.call.as_ref().filter(|call| call.holds_a_lane())?;
        Some((self.slug().to_owned(), self.ends.upstream.entry.lanes.max))
    }

    pub(super) fn slug(&self) -> &str {
        self.ends.upstream.slug()
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
            "notifications/tasks/status" => {
                self.ends.task.as_ref()?.tell(self.ends.upstream.slug(), notification);
                None
            }
            _ => None,
        }
    }

    /// A request of the upstream, if this client can be asked; otherwise it is declined.
    fn asked(&mut self, request: &Request) -> Option<Asked> {
        let space = self.ends.space();
        let ids = self.ends.task.as_ref().and_then(|task| task.ids());
        let question = Question::of_request(request).map(|question| match ids {
            Some((ours, _)) => question.of_task(&ours),
            None => question,
        });
        let asked = match question {
            // MCP 2026-07-28 basic/patterns, "Server Requests": there are none in the modern era
            Some(question) if self.ends.spoken.era() == Era::Legacy => {
                self.put(question, request.id.detached(), space)
            }
            _ => Err(Declined::unknown("not a request that clients serve")),
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
    ) -> Result<Asked, Declined> {
        let (capabilities, client) = (&self.ends.capabilities, self.ends.client);
        let question = question.for_client(capabilities, client, "")?;
        let id = question.elicitation_id();
        let asking = self.asking.get_or_insert_default();
        let asked = asking
            .ask(question, request, space)
            .ok_or(Declined::failed("too many questions wait"))?;
        self.ends.sent_elsewhere(id);
        Ok(asked)
    }

    fn reply(&mut self, request: &RequestId, method: Method, reply: &Reply) {
        let ids = self.ends.task.as_ref().and_then(|task| task.ids());
        let named = ids.map(|(_, theirs)| reply.clone().of_task(&theirs));
        let reply = named.as_ref().unwrap_or(reply);
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
        self.progress = Some(grown(notification, self.progress)?);
        Some(notification::progress(notification, token).apply(&notification.call.bytes))
    }

    fn answer(&mut self, upstream: &Response) -> Answer {
        // the arguments that the tool wants in headers are others than those it was listed with
        // (MCP 2026-07-28 basic/transports/streamable-http, "Client Behavior")
        if self.ends.method == Method::ToolsCall
            && upstream.error_code() == Some(Code::HeaderMismatch.number())
        {
            self.ends.upstream.doubt(ListKind::Tools);
        }
        if upstream.error_code() == Some(URL_REQUIRED) && self.ends.spoken.era() == Era::Legacy {
            self.ends.sent_elsewhere(elicitation_ids(upstream));
        }
        let (slug, method) = (self.ends.upstream.slug(), self.ends.method);
        let task = self.ends.task.as_mut();
        let task = match task
            .map(|task| task.id(upstream, self.ends.spoken.era(), slug, method))
            .transpose()
        {
            Ok(task) => task.flatten(),
            Err(why) => return self.fail(why),
        };
        let edit = ResponseEdit {
            response: upstream,
            id: self.ends.id.token(),
            method: self.ends.method,
            client: self.ends.client,
            upstream: self.ends.spoken,
            space: self.ends.prefixed.then(|| self.ends.upstream.slug()),
            private: self.ends.personal,
            task: task.as_deref(),
            extended: self.ends.extended,
        };
        match response(&edit) {
            Bridged::Edited { splice, code } => {
                let body = match upstream.bytes.len() {
                    0..COPY_BELOW => vec![splice.apply(&upstream.bytes)],
                    _ => splice.chunks(&upstream.bytes),
                };
                Answer { body, error: code }
            }
            Bridged::Asks { splice, asks } => self.asks(upstream, splice, &asks),
            Bridged::Urls(entries) => self.urls(&entries),
            Bridged::Refused(why) => self.fail(why),
        }
    }

    /// A modern upstream asks for input: its state becomes ours.
    fn asks(&self, upstream: &Response, mut splice: Splice, asks: &Asks) -> Answer {
        let Some(origin) = self.origin() else {
            return self.fail("it asks for input where nobody can be asked");
        };
        if let Some(missing) = question::missing(asks.questions.iter(), &self.ends.capabilities) {
            return self.reject(missing);
        }
        if let Some(state) = asks.state {
            if state.span.len() > MAX_INNER {
                return self.fail("it asks for input with a state that is too large");
            }
            let inner = Bytes::copy_from_slice(state.span.of(&upstream.bytes));
            let expires = Instant::now() + STATE_TIME;
            let sealed = origin.seal(Held::Wrapped(inner), self.slug(), expires);
            splice.replace(state.span, format!("\"{sealed}\"").as_bytes());
        }
        Answer { body: vec![splice.apply(&upstream.bytes)], error: None }
    }

    /// A legacy upstream wants URLs to be opened before it is called again.
    fn urls(&self, entries: &[Entry]) -> Answer {
        let questions = entries.iter().map(|(_, question)| question);
        if let Some(missing) = question::missing(questions, &self.ends.capabilities) {
            return self.reject(missing);
        }
        match self.origin() {
            Some(origin) => {
                let state = origin.seal(Held::Anew, self.slug(), Instant::now() + STATE_TIME);
                let entries: Vec<(&str, &Question)> =
                    entries.iter().map(|(key, question)| (key.as_str(), question)).collect();
                let space = self.ends.prefixed.then(|| self.slug());
                Answer::result(&self.ends.id, input_required(&entries, space, &state))
            }
            None => self.fail("it wants a url to be opened first"),
        }
    }

    fn failed(&self, error: &CallError) -> Answer {
        self.ends.upstream.report(error, &self.ends.link);
        self.reject(fault::rejected(&self.ends.upstream, self.fault(error)))
    }

    /// The same, and which time is over if one is.
    fn fault<'a>(&self, error: &'a CallError) -> Fault<'a> {
        match error {
            CallError::TimedOut if self.deadline.is_over() => {
                Fault::Total(self.ends.upstream.entry.timeouts.total)
            }
            CallError::TimedOut => Fault::Idle(self.deadline.patience()),
            error => Fault::Call(error),
        }
    }

    fn fail(&self, why: &str) -> Answer {
        self.reject(fault::rejected(&self.ends.upstream, Fault::Unfit(why)))
    }

    fn reject(&self, rejected: Rejected) -> Answer {
        Answer::rejected(&rejected.with_id(Some(self.ends.id.clone())))
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
