//! Who is asked: which call of a client can have caused what a legacy server asks.
//!
//! A request of a server that does not come on the stream of a call says nothing about its cause
//! (2025-11-25 basic/transports). It goes to the one call that can have caused it, or to nobody: a
//! guess could show one person what concerns another. A call that was given up and never answered
//! can still be the cause; it is a **ghost** until its late answer comes, or for [`HAUNTS`].
//!
//! What a task asks belongs to whoever has the task, and says which one it is: it goes to a call about
//! that task (2025-11-25 basic/utilities/tasks), however many others there are.
//!
//! Servers of the modern era send no requests (2026-07-28 basic/patterns).

use crate::bridge::question::{Declined, askable};
use crate::mcp::{Era, Method, meta};
use crate::upstream::call::{Event, Outbound};
use crate::upstream::inbox::Inbox;
use crate::wire::json::{Kind, Object};
use crate::wire::jsonrpc::{Notification, Request};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a call that was given up without an answer counts as a possible cause.
pub const HAUNTS: Duration = Duration::from_secs(3600);

/// Most such calls that are told apart; when there are more, any of them may be the cause.
pub const MAX_GHOSTS: usize = 1024;

/// Most requests for roots that wait for a client to ask.
pub const MAX_HELD: usize = 4;

/// What became of a request of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its cause has it, or the next call will.
    Delivered,
    /// Nobody can be asked, and why.
    Declined(Declined),
    /// Several calls can have caused it, some of them of clients that could have been asked.
    Ambiguous,
}

/// Why nobody was asked where several could have been.
pub(super) const AMBIGUOUS: Declined = Declined::failed(
    "nobody was asked: several calls can have caused this, and the connection does not tell \
     which; try the call again",
);

const MODERN: Declined = Declined::unknown("a server of this revision asks by input_required");

const NO_ROOTS: Declined = Declined::unknown("no roots: several clients share this connection");

const NO_CALL: Declined = Declined::failed("no call is under way that can have caused this");

const NO_TASK: Declined = Declined::failed("no call about its task is under way");

const NO_SUCH: Declined = Declined::unknown("not a request that clients serve");

/// A call in flight.
#[derive(Debug)]
struct Cause {
    inbox: Arc<Inbox>,
    /// Its client can be asked something.
    interactive: bool,
    /// It was asked something.
    asked: bool,
    /// The task that it is about, by the server's id.
    task: Option<String>,
    becomes_task: bool,
}

/// A call that was given up.
#[derive(Debug)]
struct Ghost {
    /// It counts no more then.
    until: Instant,
    becomes_task: bool,
}

/// The task because of which a server asks something.
fn task(request: &Request) -> Option<String> {
    let (call, related) = (&request.call, request.call.meta_value(meta::RELATED_TASK)?);
    let related = Some(related).filter(|related| related.kind == Kind::Object)?;
    let related = Object::read(&call.bytes, related.span).ok()?;
    Some(related.text(&call.bytes, "taskId")?.into_owned())
}

/// The calls of clients on one connection, under way or given up.
#[derive(Debug, Default)]
pub(super) struct Causes {
    /// Nothing is asked until the handshake has shown a legacy server.
    legacy: bool,
    /// The one client behind this connection has roots, and the server was told so.
    roots: bool,
    live: HashMap<u64, Cause>,
    ghosts: HashMap<u64, Ghost>,
    /// Until then there are more ghosts than are told apart.
    crowded: Option<Instant>,
    /// Requests for roots that came before any call.
    held: Vec<Request>,
}

impl Causes {
    /// The handshake is over: what the server is, and whether it was told of roots.
    pub(super) fn negotiated(&mut self, era: Era, roots: bool) {
        (self.legacy, self.roots) = (era == Era::Legacy, roots);
    }

    /// A call is about to be sent.
    pub(super) fn begin(&mut self, id: u64, outbound: &Outbound, inbox: &Arc<Inbox>) {
        if !self.legacy || !outbound.of_client {
            return;
        }
        let (inbox, interactive) = (Arc::clone(inbox), outbound.interactive);
        let task = outbound.task.clone();
        let asked = !self.held.is_empty();
        for request in self.held.drain(..) {
            inbox.note(Event::Request(request)); // it is empty: there is room
        }
        let becomes_task = outbound.becomes_task;
        self.live.insert(id, Cause { inbox, interactive, asked, task, becomes_task });
    }

    /// Whether the late answer to a call can be a task that nobody has.
    pub(super) fn is_orphan(&self, id: u64) -> bool {
        self.ghosts.get(&id).is_some_and(|ghost| ghost.becomes_task)
    }

    /// A call was answered, now or late; whether anybody thought of it.
    pub(super) fn answered(&mut self, id: u64) -> bool {
        self.live.remove(&id).is_some() || self.ghosts.remove(&id).is_some()
    }

    /// A call was given up after it was sent.
    pub(super) fn given_up(&mut self, id: u64, now: Instant) {
        let Some(Cause { becomes_task, .. }) = self.live.remove(&id) else { return };
        self.bury(now);
        if self.ghosts.len() < MAX_GHOSTS {
            self.ghosts.insert(id, Ghost { until: now + HAUNTS, becomes_task });
        } else {
            self.crowded = Some(now + HAUNTS);
        }
    }

    /// Forgets the ghosts whose time is over.
    fn bury(&mut self, now: Instant) {
        self.ghosts.retain(|_, ghost| ghost.until > now);
        self.crowded.take_if(|until| *until <= now);
    }

    /// Hands a request of the server to the one call that can have caused it.
    pub(super) fn ask(&mut self, request: &Request, now: Instant) -> Verdict {
        if !self.legacy {
            return Verdict::Declined(MODERN);
        }
        let Some(method) = askable(&request.call.method_name()) else {
            return Verdict::Declined(NO_SUCH);
        };
        if method == Method::RootsList {
            return self.ask_for_roots(request);
        }
        if let Some(task) = task(request) {
            return self.ask_of_task(&task, request);
        }
        self.bury(now);
        let haunted = !self.ghosts.is_empty() || self.crowded.is_some();
        let interactive = self.live.values().any(|cause| cause.interactive);
        let mut causes = self.live.values_mut();
        match (causes.next(), causes.next()) {
            (Some(only), None) if !haunted => only.ask(request),
            (Some(_), _) if interactive => Verdict::Ambiguous,
            (Some(_), _) => {
                Verdict::Declined(Declined::undeclared(method, "no client can be asked"))
            }
            (None, _) => Verdict::Declined(NO_CALL),
        }
    }

    /// The call that has made the task was answered long ago: whoever has a call under way now may
    /// have nothing to do with it.
    fn ask_of_task(&mut self, task: &str, request: &Request) -> Verdict {
        let about = |(_, cause): &(&u64, &mut Cause)| cause.task.as_deref() == Some(task);
        match self.live.iter_mut().filter(about).min_by_key(|(id, _)| **id) {
            Some((_, cause)) => cause.ask(request),
            None => Verdict::Declined(NO_TASK),
        }
    }

    /// Roots belong to the client, not to a call: any call of the one client behind this
    /// connection can fetch them, the next one if none is under way. Behind a shared connection
    /// there is no such client.
    fn ask_for_roots(&mut self, request: &Request) -> Verdict {
        if !self.roots {
            return Verdict::Declined(NO_ROOTS);
        }
        let eldest = self.live.iter_mut().min_by_key(|(id, _)| **id);
        match eldest {
            Some((_, cause)) => cause.ask(request),
            None if self.held.len() < MAX_HELD => {
                self.held.push(request.clone());
                Verdict::Delivered
            }
            None => Verdict::Declined(Declined::failed("too many requests for roots wait")),
        }
    }

    /// A question came on the stream of its call: it is clear whom it concerns.
    ///
    /// # Errors
    /// Why it is not asked all the same.
    pub(super) fn ask_directly(&mut self, id: u64, request: &Request) -> Result<(), Declined> {
        if !self.legacy {
            return Err(MODERN);
        }
        if !self.roots && request.call.method_name() == Method::RootsList.name() {
            return Err(NO_ROOTS);
        }
        if let Some(cause) = self.live.get_mut(&id) {
            cause.asked = true;
        }
        Ok(())
    }

    /// The server takes a question back: each call that was asked anything gets to know, and
    /// knows its own by their ids. Whether there is any.
    pub(super) fn withdraw(&self, notification: &Notification) -> bool {
        let mut any = false;
        for cause in self.live.values().filter(|cause| cause.asked) {
            any |= cause.inbox.note(Event::Notification(notification.clone()));
        }
        any
    }

    /// The connection is over.
    pub(super) fn clear(&mut self) {
        (self.live, self.ghosts, self.crowded) = Default::default();
        self.held.clear();
    }
}

impl Cause {
    fn ask(&mut self, request: &Request) -> Verdict {
        self.asked = true;
        match self.inbox.note(Event::Request(request.clone())) {
            true => Verdict::Delivered,
            false => Verdict::Declined(Declined::failed("too much waits for the client already")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::jsonrpc::Message;
    use bytes::Bytes;

    fn request(method: &str) -> Request {
        let text = format!(r#"{{"jsonrpc":"2.0","id":"q","method":"{method}","params":{{}}}}"#);
        match Message::parse(Bytes::from(text)) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn causes(roots: bool) -> Causes {
        let mut causes = Causes::default();
        causes.negotiated(Era::Legacy, roots);
        causes
    }

    fn begin(causes: &mut Causes, id: u64, interactive: bool) -> Arc<Inbox> {
        let inbox = Arc::new(Inbox::default());
        let outbound = Outbound { of_client: true, interactive, ..Outbound::default() };
        causes.begin(id, &outbound, &inbox);
        inbox
    }

    #[test]
    fn a_ghost_fades_at_its_answer_and_with_time() {
        let (now, form) = (Instant::now(), request("elicitation/create"));
        let mut causes = causes(false);
        begin(&mut causes, 1, true);
        begin(&mut causes, 2, true);
        assert_eq!(causes.ask(&form, now), Verdict::Ambiguous);
        causes.given_up(1, now);
        assert_eq!(causes.ask(&form, now), Verdict::Ambiguous);
        assert!(causes.answered(1), "a late answer is an answer");
        assert_eq!(causes.ask(&form, now), Verdict::Delivered);
        begin(&mut causes, 3, true);
        causes.given_up(3, now);
        let just_before = now + HAUNTS - Duration::from_millis(1);
        assert_eq!(causes.ask(&form, just_before), Verdict::Ambiguous);
        assert_eq!(causes.ask(&form, now + HAUNTS), Verdict::Delivered);
    }

    #[test]
    fn more_ghosts_than_are_told_apart_still_haunt() {
        let (now, form) = (Instant::now(), request("elicitation/create"));
        let mut causes = causes(false);
        let ids = 1..=MAX_GHOSTS as u64 + 1;
        for id in ids.clone() {
            begin(&mut causes, id, true);
            causes.given_up(id, now);
        }
        for id in ids {
            causes.answered(id);
        }
        begin(&mut causes, 0, true);
        assert_eq!(causes.ask(&form, now), Verdict::Ambiguous, "one answer is unaccounted for");
        assert_eq!(causes.ask(&form, now + HAUNTS), Verdict::Delivered);
    }

    #[test]
    fn a_call_of_somebody_who_cannot_be_asked_is_a_cause_like_others() {
        let (now, form) = (Instant::now(), request("elicitation/create"));
        let (sampling, other) = (request("sampling/createMessage"), request("tools/list"));
        let declined = |causes: &mut Causes, request| match causes.ask(request, now) {
            Verdict::Declined(declined) => Some(declined.code.number()),
            _ => None,
        };
        let mut causes = causes(false);
        assert_eq!(declined(&mut causes, &form), Some(-32603), "nobody is there");
        begin(&mut causes, 1, false);
        begin(&mut causes, 2, false);
        assert_eq!(declined(&mut causes, &form), Some(-32602), "no remedy would help");
        assert_eq!(declined(&mut causes, &sampling), Some(-32601));
        begin(&mut causes, 3, true);
        assert_eq!(causes.ask(&form, now), Verdict::Ambiguous);
        assert_eq!(declined(&mut causes, &other), Some(-32601), "whoever has caused it");
    }

    #[test]
    fn roots_wait_for_the_next_call_of_their_one_client_and_are_declined_where_there_are_several() {
        let (now, roots) = (Instant::now(), request("roots/list"));
        let mut shared = causes(false);
        begin(&mut shared, 1, true);
        assert_eq!(shared.ask(&roots, now), Verdict::Declined(NO_ROOTS));
        assert_eq!(shared.ask_directly(1, &roots), Err(NO_ROOTS));
        let mut own = causes(true);
        for _ in 0..MAX_HELD {
            assert_eq!(own.ask(&roots, now), Verdict::Delivered);
        }
        assert!(matches!(own.ask(&roots, now), Verdict::Declined(_)), "it is bounded");
        let (first, second) = (begin(&mut own, 1, true), begin(&mut own, 2, true));
        assert_eq!(first.questions().len(), MAX_HELD);
        assert_eq!(own.ask(&roots, now), Verdict::Delivered);
        assert_eq!((first.questions().len(), second.questions().len()), (1, 0));
    }

    #[test]
    fn a_modern_server_asks_nobody() {
        let mut causes = Causes::default();
        causes.negotiated(Era::Modern, false);
        begin(&mut causes, 1, true);
        let form = request("elicitation/create");
        assert_eq!(causes.ask(&form, Instant::now()), Verdict::Declined(MODERN));
        assert_eq!(causes.ask_directly(1, &form), Err(MODERN));
    }
}
