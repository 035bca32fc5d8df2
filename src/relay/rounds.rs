//! A modern upstream asks a legacy client: its demand for input becomes requests to the client,
//! and the answers go back with the same request sent again (MCP 2026-07-28
//! basic/patterns/mrtr, "Client Requirements").
//!
//! The client sees one call of its own era. Never here: a look into `requestState`, or a question
//! to a client that has not said that it can be asked.

use crate::bridge::question::{Declined, Question, Reply};
use crate::bridge::request::Retry;
use crate::bridge::required::{Required, may_require};
use crate::control::backoff::Backoff;
use crate::mcp::{Era, Method};
use crate::relay::asking::{Answered, Asked, Asking, MOST_ASKED};
use crate::relay::attempt::{Again, Attempt};
use crate::relay::exchange::Ends;
use crate::upstream::{CallError, Link};
use crate::wire::jsonrpc::Response;
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Most times that the client is asked because of one request.
pub const MOST_ROUNDS: u32 = 10;

/// Most times that a request is sent again without asking the client: the upstream waits for
/// something that happens elsewhere. With the pauses between them that is about a quarter of an
/// hour.
pub const MOST_REPEATS: u32 = 32;

/// The request sent again, and the connection it went through.
type Repeated = Result<(Attempt, Weak<Link>), CallError>;

/// The rounds of one exchange.
pub(super) struct Rounds {
    again: Again,
    /// On `/mcp`, the slug of the upstream.
    space: Option<String>,
    asked: u32,
    repeated: u32,
    pauses: Backoff,
    /// What the user was sent to a URL for, and has agreed to.
    accepted: Vec<Question>,
    now: Now,
}

enum Now {
    /// The upstream is at work.
    Waiting,
    /// The client is being asked.
    Asking(Box<Round>),
    /// The request goes to the upstream again.
    Repeating(Pin<Box<dyn Future<Output = Repeated> + Send>>),
}

struct Round {
    entries: Vec<Entry>,
    /// Entries that the client was not asked for yet.
    unasked: VecDeque<usize>,
    asking: Asking<usize>,
    state: Option<Bytes>,
}

struct Entry {
    /// The raw key.
    key: Bytes,
    /// As the upstream asks.
    question: Question,
    /// As the client is asked.
    fitting: Question,
    answer: Option<Bytes>,
}

/// What happens next in a round.
pub(super) enum Turn {
    /// The client has answered the question with this index.
    Answered(Answered<usize>),
    /// The request was sent again, or could not be.
    Repeated(Repeated),
}

impl fmt::Debug for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rounds").field("asked", &self.asked).finish_non_exhaustive()
    }
}

/// The next thing that happens in a round; never, while there is none. Cancel safe.
pub(super) async fn next(rounds: &mut Option<Box<Rounds>>) -> Turn {
    match rounds.as_mut().map(|rounds| &mut rounds.now) {
        Some(Now::Asking(round)) => Turn::Answered(round.asking.reply().await),
        Some(now @ Now::Repeating(_)) => {
            let Now::Repeating(repeating) = now else { return std::future::pending().await };
            let repeated = repeating.await;
            *now = Now::Waiting;
            Turn::Repeated(repeated)
        }
        Some(Now::Waiting) | None => std::future::pending().await,
    }
}

impl Rounds {
    /// Whether the upstream may demand input of a client that knows no such answer.
    pub(super) fn may_come(ends: &Ends) -> bool {
        let (client, upstream) = (ends.client.era(), ends.spoken.era());
        client == Era::Legacy && upstream == Era::Modern && may_require(ends.method)
    }

    pub(super) fn new(again: Again, space: Option<String>) -> Self {
        let (pauses, accepted, now) = (Backoff::default(), Vec::new(), Now::Waiting);
        Self { again, space, asked: 0, repeated: 0, pauses, accepted, now }
    }

    /// Whether the exchange goes on without a call at the upstream.
    pub(super) fn is_under_way(&self) -> bool {
        !matches!(self.now, Now::Waiting)
    }

    /// Begins a round, if a response demands one; how long the next call may be in coming.
    ///
    /// # Errors
    /// Why the request cannot go on, in words for the client; it was asked nothing then.
    pub(super) fn begin(&mut self, response: &Response) -> Option<Result<Duration, String>> {
        let required = Required::read(response)?;
        Some(required.map_err(str::to_owned).and_then(|required| self.require(required)))
    }

    fn require(&mut self, required: Required) -> Result<Duration, String> {
        let original = Arc::clone(&self.again.original);
        let caller = &original.caller;
        let Required { questions, state } = required;
        if !questions.is_empty() && !caller.streams {
            return Err("it asks for input, and the client takes no event stream".into());
        }
        if questions.len() > MOST_ASKED {
            return Err(format!("it asks for more than {MOST_ASKED} inputs at once"));
        }
        let mut entries = Vec::with_capacity(questions.len());
        let mut unasked = VecDeque::new();
        for (at, (key, question)) in questions.into_iter().enumerate() {
            let known = self.accepted.contains(&question);
            let answer = known.then(|| Bytes::from_static(b"{\"action\":\"accept\"}"));
            let fitting =
                question.clone().for_client(&caller.capabilities, caller.revision, &unique());
            let fitting =
                fitting.map_err(|d| format!("it asks for what it must not: {}", d.why))?;
            if !known {
                unasked.push_back(at);
            }
            entries.push(Entry { key, question, fitting, answer });
        }
        if unasked.is_empty() {
            return self.wait(&entries, state.as_deref());
        }
        self.asked += 1;
        if self.asked > MOST_ROUNDS {
            return Err(format!("it has asked for input {MOST_ROUNDS} times"));
        }
        let asking = Asking::default();
        self.now = Now::Asking(Box::new(Round { entries, unasked, asking, state }));
        Ok(Duration::ZERO)
    }

    /// The upstream waits for something that is not asked of the client (again).
    fn wait(&mut self, entries: &[Entry], state: Option<&[u8]>) -> Result<Duration, String> {
        self.repeated += 1;
        if self.repeated > MOST_REPEATS {
            return Err(format!("it was not done after {MOST_REPEATS} repeated requests"));
        }
        let dice = RandomState::new().hash_one(self.repeated);
        let pause = self.pauses.after(u32::try_from(dice >> 32).unwrap_or(0));
        self.repeat(entries, state, pause);
        Ok(pause)
    }

    fn repeat(&mut self, entries: &[Entry], state: Option<&[u8]>, pause: Duration) {
        let answers = entries.iter().map(|entry| {
            let answer = entry.answer.as_deref().unwrap_or_default();
            (entry.key.as_ref(), answer)
        });
        let retry = Retry::new(answers, state);
        let again = self.again.answering(retry);
        self.now = Now::Repeating(Box::pin(async move {
            tokio::time::sleep(pause).await;
            again.repeat().await
        }));
    }

    /// The next question for the client.
    pub(super) fn ask(&mut self) -> Option<Asked> {
        let Now::Asking(round) = &mut self.now else { return None };
        let at = round.unasked.pop_front()?;
        let question = round.entries.get(at)?.fitting.clone();
        round.asking.ask(question, at, self.space.clone())
    }

    /// Notes an answer; whether it was the last one, and the request goes out again.
    ///
    /// # Errors
    /// Why the request cannot go on: an answer is missing for which there is no other.
    pub(super) fn answered(
        &mut self,
        at: usize,
        method: Method,
        reply: &Reply,
    ) -> Result<bool, String> {
        let Now::Asking(round) = &mut self.now else { return Ok(false) };
        let Some(entry) = round.entries.get_mut(at) else { return Ok(false) };
        entry.answer = Some(reply.input(method)?);
        if entry.question.is_by_url() && reply.is_accepted() {
            self.accepted.push(entry.question.clone());
        }
        let all = round.entries.iter().all(|entry| entry.answer.is_some());
        if all && let Now::Asking(round) = std::mem::replace(&mut self.now, Now::Waiting) {
            self.repeat(&round.entries, round.state.as_deref(), Duration::ZERO);
        }
        Ok(all)
    }

    /// Nobody has answered in time: the number of one open question, and what comes of that.
    pub(super) fn give_up(&mut self) -> Option<(u64, Result<bool, String>)> {
        let Now::Asking(round) = &mut self.now else { return None };
        let open = |at: &usize| round.entries.get(*at).is_some_and(|e| e.answer.is_none());
        let at = (0..round.entries.len()).find(open)?;
        let method = round.entries.get(at)?.question.method;
        let number = round.asking.withdraw(&at)?;
        let late = Reply::Unanswered(Declined::failed("the client has not answered in time"));
        Some((number, self.answered(at, method, &late)))
    }
}

/// An id that no other elicitation of any client has.
fn unique() -> String {
    let [first, second] = [0, 1].map(|half: u8| RandomState::new().hash_one(half));
    format!("{first:016x}{second:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Environment};
    use crate::mcp::{ClientCapabilities, Extensions, Revision};
    use crate::relay::attempt::Original;
    use crate::relay::forward::Caller;
    use crate::relay::route::Route;
    use crate::upstream::Upstream;
    use crate::wire::jsonrpc::Message;

    fn parse<T>(text: &str, of: fn(Message) -> Option<T>) -> T {
        of(Message::parse(Bytes::copy_from_slice(text.as_bytes())).expect("json")).expect("is one")
    }

    fn response(message: Message) -> Option<Response> {
        if let Message::Response(response) = message { Some(response) } else { None }
    }

    fn rounds() -> Rounds {
        let file = config::parse(br#"{"mcpServers":{"x":{"command":"none"}}}"#).file;
        let config = config::resolve(&file, &Environment::default()).config.expect("a config");
        let entry = config.entries.first().expect("an entry").clone();
        let (upstream, _commands) = Upstream::new(0, Arc::new(entry), 1);
        let capabilities = ClientCapabilities { roots: true, ..ClientCapabilities::bridged() };
        let revision = Revision::V2025_11_25;
        let original = Original {
            route: Route {
                upstream,
                merged: false,
                rename: None,
                target: None,
                state: None,
                task: None,
            },
            caller: Caller {
                revision,
                level: None,
                streams: true,
                capabilities,
                session: None,
                outlet: None,
                extensions: Extensions::default(),
            },
            method: Method::ToolsCall,
            message: Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#),
            retry: None,
            lane: None,
        };
        Rounds::new(Again::over_nothing(original), None)
    }

    fn demand(requests: &str) -> Response {
        let result = format!(
            r#"{{"resultType":"input_required","requestState":"s","inputRequests":{{{requests}}}}}"#
        );
        parse(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#), response)
    }

    const FORM: &str = r#"{"method":"elicitation/create","params":{"message":"m"}}"#;
    const ROOTS: &str = r#"{"method":"roots/list"}"#;

    #[test]
    fn who_does_not_answer_in_time_has_cancelled_a_form_but_has_no_roots() {
        let mut rounds = rounds();
        let both = demand(&format!(r#""a":{FORM},"b":{FORM},"c":{ROOTS}"#));
        assert_eq!(rounds.begin(&both), Some(Ok(Duration::ZERO)));
        let asked: Vec<Asked> = std::iter::from_fn(|| rounds.ask()).collect();
        assert_eq!(asked.iter().map(|asked| asked.number).collect::<Vec<_>>(), [1, 2, 3]);
        let accepted = Reply::Result(Bytes::from_static(b"{\"action\":\"accept\"}"));
        assert_eq!(rounds.answered(0, Method::Elicit, &accepted), Ok(false));
        assert_eq!(rounds.give_up(), Some((2, Ok(false))));
        let why = "the client has not answered in time";
        assert_eq!(rounds.give_up(), Some((3, Err(why.into()))));
        let mut rounds = self::rounds();
        assert_eq!(rounds.begin(&demand(&format!(r#""a":{FORM}"#))), Some(Ok(Duration::ZERO)));
        let _asked = rounds.ask();
        assert_eq!(rounds.give_up(), Some((1, Ok(true))), "it goes on without");
        assert!(matches!(rounds.now, Now::Repeating(_)));
        assert_eq!(rounds.give_up(), None, "nothing is open");
    }

    #[test]
    fn an_upstream_that_waits_is_asked_again_more_and_more_seldom_and_not_for_ever() {
        let (mut rounds, waits) = (rounds(), demand(""));
        let mut begin = || rounds.begin(&waits).expect("it demands");
        let pauses: Vec<Duration> = (0..MOST_REPEATS).map_while(|_| begin().ok()).collect();
        assert_eq!(pauses.len(), 32);
        assert!(pauses.is_sorted_by(|a, b| a.mul_f64(0.75) <= *b));
        let all: Duration = pauses.iter().sum();
        assert!((550..900).contains(&all.as_secs()), "{all:?}");
        assert!(begin().expect_err("enough").contains("32 repeated requests"));
    }

    #[test]
    fn nothing_is_asked_of_who_is_asked_too_much_at_once() {
        let many = |count: usize| {
            let entries: Vec<_> = (0..count).map(|key| format!("\"{key}\":{ROOTS}")).collect();
            demand(&entries.join(","))
        };
        let mut rounds = rounds();
        assert!(rounds.begin(&many(MOST_ASKED + 1)).expect("demands").is_err());
        assert!(rounds.ask().is_none());
        assert!(rounds.begin(&many(MOST_ASKED)).expect("demands").is_ok());
        assert_eq!(std::iter::from_fn(|| rounds.ask()).count(), MOST_ASKED);
    }
}
