//! From an exchange to an HTTP response: JSON when the answer comes first, SSE as soon as a
//! notification does, and after [`DECIDE`] in any case.

use crate::bridge::notification;
use crate::downstream::http::Front;
use crate::downstream::http::answer::{self, Accept, Status};
use crate::downstream::session::{Flight, Session};
use crate::net::body::{FrameSender, Outgoing};
use crate::relay::{Answer, Asked, Exchange, Step};
use crate::wire::sse::encode;
use bytes::Bytes;
use http::Response;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How long the choice between JSON and SSE may stay open.
pub const DECIDE: Duration = Duration::from_secs(10);

/// How often an SSE stream says that it is alive.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Frames that may wait for a client that does not read.
pub const WAITING_FRAMES: usize = 64;

/// An exchange and the rule for what a disconnect means: a modern one ends with its client, a
/// legacy one is adopted by its session.
pub struct Flow {
    exchange: Option<Exchange>,
    adopter: Option<(Arc<Front>, Option<Flight>)>,
}

impl Flow {
    /// Ends with its client.
    pub fn modern(exchange: Exchange) -> Self {
        Self { exchange: Some(exchange), adopter: None }
    }

    /// Goes on without its client.
    pub fn legacy(exchange: Exchange, front: Arc<Front>, flight: Flight) -> Self {
        Self { exchange: Some(exchange), adopter: Some((front, Some(flight))) }
    }

    async fn next(&mut self, patience: Duration) -> Step {
        let Some(exchange) = &mut self.exchange else { return Step::Cancelled };
        let step = exchange.next(patience).await;
        if matches!(step, Step::Answer(_) | Step::Cancelled) {
            self.exchange = None;
        }
        step
    }

    /// The answer alone, passing over notifications; `None` when it was cancelled.
    pub async fn answer(mut self) -> Option<Answer> {
        loop {
            match self.next(Duration::MAX).await {
                Step::Notification(_) | Step::Quiet | Step::Withdraw(_) => {}
                Step::Ask(_) => {} // to drop it declines: there is no stream to ask on
                Step::Answer(answer) => return Some(answer),
                Step::Cancelled => return None,
            }
        }
    }

    /// The response to the POST.
    pub async fn respond(mut self, accept: Accept, status: Status) -> Response<Outgoing> {
        if !accept.stream {
            return match self.answer().await {
                Some(answer) => answer::complete(answer, accept, status),
                None => answer::accepted(),
            };
        }
        let first = match self.next(DECIDE).await {
            Step::Answer(answer) => return answer::complete(answer, accept, status),
            Step::Cancelled => return answer::accepted(),
            step => step,
        };
        answer::stream(Outgoing::driven(WAITING_FRAMES, |frames| self.run(first, frames)))
    }

    /// Writes the stream, with a comment whenever nothing came for [`KEEP_ALIVE`].
    async fn run(mut self, first: Step, frames: FrameSender) {
        let mut next = first;
        let mut open: HashMap<u64, u64> = HashMap::new();
        loop {
            let frame = match next {
                Step::Notification(bytes) => Some(encode::event(&bytes, None)),
                Step::Quiet => Some(Bytes::from_static(encode::KEEP_ALIVE)),
                Step::Ask(asked) => self.ask(asked, &mut open),
                Step::Withdraw(number) => open.remove(&number).and_then(|id| self.withdraw(id)),
                Step::Answer(answer) => {
                    for id in open.into_values() {
                        if let Some(frame) = self.withdraw(id) {
                            let _ = frames.send(frame).await; // the answer will tell
                        }
                    }
                    return send_answer(&frames, answer).await;
                }
                Step::Cancelled => return,
            };
            if let Some(frame) = frame
                && frames.send(frame).await.is_err()
            {
                return;
            }
            next = self.next(KEEP_ALIVE).await;
        }
    }

    fn session(&self) -> Option<&Arc<Session>> {
        self.adopter.as_ref()?.1.as_ref().map(Flight::session)
    }

    /// The event that puts a question to the client; `None` when it is declined instead.
    fn ask(&self, asked: Asked, open: &mut HashMap<u64, u64>) -> Option<Bytes> {
        let session = self.session()?;
        let (question, number, space) = (asked.question.clone(), asked.number, asked.space.clone());
        let id = session.ask(asked)?;
        open.insert(number, id);
        let request = question.request(id, session.revision, space.as_deref());
        Some(encode::event(&request, None))
    }

    /// The event that takes a question back, if it was not answered.
    fn withdraw(&self, id: u64) -> Option<Bytes> {
        let open = self.session()?.withdraw(id);
        open.then(|| encode::event(&notification::cancelled(id), None))
    }
}

async fn send_answer(frames: &FrameSender, answer: Answer) {
    let (prefix, data, suffix) = encode::event_parts(answer.one_piece(), None);
    for piece in [prefix, data, suffix] {
        if frames.send(piece).await.is_err() {
            return; // the client is gone, and with it the last thing it was waiting for
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if let (Some(exchange), Some((front, flight))) = (self.exchange.take(), &mut self.adopter) {
            front.sessions.adopt(exchange, flight.take());
        }
    }
}
