//! From an exchange to an HTTP response: JSON when the answer comes first, SSE as soon as a
//! notification does, and after [`DECIDE`] in any case. And to where its messages go otherwise.

use crate::bridge::notification;
use crate::downstream::Front;
use crate::downstream::http::answer::{self, Accept, Status};
use crate::downstream::http::deliver;
use crate::downstream::http::sse::Line;
use crate::downstream::replay::frame;
use crate::downstream::session::{Flight, Session, Speech};
use crate::downstream::stdio::Pen;
use crate::net::body::{Disconnected, FrameSender, Outgoing};
use crate::relay::{Answer, Asked, Exchange, Parting, Step};
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

/// A message for the client, and the id of the question that it puts, if it puts one.
type Said = (Bytes, Option<u64>);

/// Where the messages of an exchange go.
pub enum Sink {
    /// Into the response, and nowhere when its client is gone.
    Body(FrameSender),
    /// On a stream of the session, which its client can come back to.
    Speech(Speech),
    /// On the one stream of an HTTP+SSE session.
    Line(Line),
    /// To a client that has started us.
    Pen(Pen),
}

impl Sink {
    /// How long it may be silent.
    fn patience(&self) -> Duration {
        match self {
            Self::Body(_) => KEEP_ALIVE,
            // their connections see to it, and a pipe needs it not
            Self::Speech(_) | Self::Line(_) | Self::Pen(_) => Duration::MAX,
        }
    }

    /// Says that the exchange is alive.
    async fn rest(&self) -> Result<(), Disconnected> {
        match self {
            Self::Body(frames) => frames.send(Bytes::from_static(encode::KEEP_ALIVE)).await,
            Self::Speech(_) | Self::Line(_) | Self::Pen(_) => Ok(()),
        }
    }

    /// Passes a message on; `question` is the id of the question that it puts.
    async fn say(&self, message: Bytes, question: Option<u64>) -> Result<(), Disconnected> {
        match self {
            Self::Body(frames) => {
                for piece in frame(message, None) {
                    frames.send(piece).await?;
                }
                Ok(())
            }
            Self::Speech(speech) => {
                speech.say(message, question);
                Ok(())
            }
            Self::Line(line) => line.say(message).await,
            Self::Pen(pen) => pen.say(message).await,
        }
    }
}

/// An exchange and the rule for what a disconnect means: a modern one ends with its client, a
/// legacy one goes on in its session.
pub struct Flow {
    exchange: Option<Exchange>,
    /// What it is in its session, if it is of one.
    flight: Option<Flight>,
    /// Who goes on with it.
    adopter: Option<Arc<Front>>,
}

impl Flow {
    /// Ends with its client.
    pub fn modern(exchange: Exchange) -> Self {
        Self { exchange: Some(exchange), flight: None, adopter: None }
    }

    /// Goes on without its client.
    pub fn legacy(exchange: Exchange, front: Arc<Front>, flight: Flight) -> Self {
        Self { exchange: Some(exchange), flight: Some(flight), adopter: Some(front) }
    }

    /// Is of a session that ends with its connection, and ends with it.
    pub fn bound(mut self) -> Self {
        self.adopter = None;
        self
    }

    async fn next(&mut self, patience: Duration) -> Step {
        let step = loop {
            let Some(exchange) = &mut self.exchange else { return Step::Cancelled };
            match exchange.next(patience).await {
                // a modern client is asked by the end of its request
                Step::Ask(asked) if self.flight.is_none() => {
                    let Some(exchange) = self.exchange.take() else { return Step::Cancelled };
                    match Box::pin(exchange.park(asked)).await {
                        Parting::Answer(answer) => return Step::Answer(answer),
                        Parting::Onward(exchange) => self.exchange = Some(*exchange),
                    }
                }
                step => break step,
            }
        };
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
        let (Some(front), Some(session)) = (self.adopter.clone(), self.session()) else {
            let run = |frames| self.run(first, Sink::Body(frames));
            return answer::stream(Outgoing::driven(WAITING_FRAMES, run));
        };
        let speech = session.speak();
        let listening = speech.listen();
        front.sessions.carry_on(self.run(first, Sink::Speech(speech)));
        deliver::response(&front, listening, deliver::Opening::Fresh)
    }

    /// Tells everything where the client hears everything else, too.
    pub async fn tell(mut self, sink: Sink) {
        let first = self.next(Duration::MAX).await;
        self.run(first, sink).await;
    }

    /// Passes everything on, to the answer.
    async fn run(mut self, first: Step, sink: Sink) {
        let mut next = first;
        let mut open: HashMap<u64, u64> = HashMap::new();
        loop {
            let message = match next {
                Step::Notification(bytes) => Some((bytes, None)),
                Step::Quiet if sink.rest().await.is_err() => return,
                Step::Quiet => None,
                Step::Ask(asked) => self.ask(asked, &mut open),
                Step::Withdraw(number) => open.remove(&number).and_then(|id| self.withdraw(id)),
                step @ (Step::Answer(_) | Step::Cancelled) => {
                    for (message, _) in self.withdraw_all(open) {
                        let _ = sink.say(message, None).await; // the end of the stream will tell
                    }
                    if let Step::Answer(answer) = step {
                        let _ = sink.say(answer.one_piece(), None).await; // it was the last to say
                    }
                    return;
                }
            };
            if let Some((message, question)) = message
                && sink.say(message, question).await.is_err()
            {
                return;
            }
            next = self.next(sink.patience()).await;
        }
    }

    fn session(&self) -> Option<&Arc<Session>> {
        self.flight.as_ref().map(Flight::session)
    }

    /// What puts a question to the client; `None` when it is declined instead.
    fn ask(&self, asked: Asked, open: &mut HashMap<u64, u64>) -> Option<Said> {
        let session = self.session()?;
        let (question, number, space) = (asked.question.clone(), asked.number, asked.space.clone());
        let id = session.ask(asked)?;
        open.insert(number, id);
        Some((question.request(id, space.as_deref()), Some(id)))
    }

    /// What takes back whatever was not answered: the request has ended.
    fn withdraw_all(&self, open: HashMap<u64, u64>) -> Vec<Said> {
        open.into_values().filter_map(|id| self.withdraw(id)).collect()
    }

    /// What takes a question back, if it was not answered.
    fn withdraw(&self, id: u64) -> Option<Said> {
        let open = self.session()?.withdraw(id);
        open.then(|| (notification::cancelled(id), None))
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if let (Some(exchange), Some(front)) = (self.exchange.take(), &self.adopter) {
            front.sessions.adopt(exchange, self.flight.take());
        }
    }
}
