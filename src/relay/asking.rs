//! Questions of an upstream in the middle of an exchange, until its client has answered them.
//!
//! Whoever holds an [`Asked`] can answer it once; dropping it says that nobody will.

use crate::bridge::question::{Question, Reply};
use crate::mcp::Method;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::mpsc;

/// Most questions of one exchange that wait for an answer at once.
pub const MOST_ASKED: usize = 16;

/// How long a question may wait for its answer: people are asked.
pub const ANSWER_TIME: Duration = Duration::from_secs(600);

/// A question on its way to the client.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub question: Question,
    /// Counts the questions of its exchange.
    pub number: u64,
    /// On `/mcp`, the slug of the upstream that asks.
    pub space: Option<String>,
    replies: Option<mpsc::Sender<(u64, Reply)>>,
}

impl Asked {
    /// Gives the answer to the exchange.
    pub fn answer(mut self, reply: Reply) {
        self.send(reply);
    }

    fn send(&mut self, reply: Reply) {
        if let Some(replies) = self.replies.take() {
            let _ = replies.try_send((self.number, reply)); // the exchange may have ended
        }
    }

    /// Nobody waits for the answer any more.
    pub fn is_over(&self) -> bool {
        self.replies.as_ref().is_none_or(mpsc::Sender::is_closed)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.send(Reply::Unanswered("the client cannot be asked"));
    }
}

/// An answer: what it is for, what was asked, and what came of it.
pub(super) type Answered<K> = (K, Method, Reply);

/// The questions of one exchange that wait for their answers, each with what it came with.
#[derive(Debug)]
pub(super) struct Asking<K> {
    sender: mpsc::Sender<(u64, Reply)>,
    receiver: mpsc::Receiver<(u64, Reply)>,
    asked: u64,
    waiting: HashMap<u64, (K, Method)>,
}

impl<K> Default for Asking<K> {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(2 * MOST_ASKED);
        Self { sender, receiver, asked: 0, waiting: HashMap::new() }
    }
}

impl<K: PartialEq> Asking<K> {
    /// Notes a question; `None` when too many wait already.
    pub(super) fn ask(
        &mut self,
        question: Question,
        cause: K,
        space: Option<String>,
    ) -> Option<Asked> {
        if self.waiting.len() >= MOST_ASKED {
            return None;
        }
        self.asked += 1;
        self.waiting.insert(self.asked, (cause, question.method));
        let replies = Some(self.sender.clone());
        Some(Asked { question, number: self.asked, space, replies })
    }

    /// The next answer. Cancel safe.
    pub(super) async fn reply(&mut self) -> Answered<K> {
        loop {
            // a sender is kept here, so there is no end
            let Some((number, reply)) = self.receiver.recv().await else { continue };
            if let Some((cause, method)) = self.waiting.remove(&number) {
                return (cause, method, reply);
            }
        }
    }

    /// A reply that is there already, with what it answers.
    pub(super) fn ready(&mut self) -> Option<Answered<K>> {
        loop {
            let (number, reply) = self.receiver.try_recv().ok()?;
            if let Some((cause, method)) = self.waiting.remove(&number) {
                return Some((cause, method, reply));
            }
        }
    }

    /// Nobody waits for an answer any more; the number of the question.
    pub(super) fn withdraw(&mut self, cause: &K) -> Option<u64> {
        let found = self.waiting.iter().find(|(_, (waiting, _))| waiting == cause);
        let number = found.map(|(number, _)| *number)?;
        self.waiting.remove(&number);
        Some(number)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
