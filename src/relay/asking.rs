//! Questions of an upstream in the middle of an exchange, until its client has answered them.
//!
//! Whoever holds an [`Asked`] can answer it once; dropping it says that nobody will.

use crate::bridge::question::{Declined, Question, Reply};
use crate::mcp::Method;
use bytes::Bytes;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::mpsc;

/// Most questions of one exchange that wait for an answer at once.
pub const MOST_ASKED: usize = 16;

/// Most bytes of such questions; a single larger one may wait alone.
pub const MOST_ASKED_BYTES: usize = 4 << 20;

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
        self.send(Reply::Unanswered(Declined::failed("the client cannot be asked")));
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
    waiting: HashMap<u64, Waits<K>>,
}

/// What a question came with, what it asks for, and how large it is.
type Waits<K> = (K, Method, usize);

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
        let size = question.params.as_ref().map_or(0, Bytes::len);
        let bytes: usize = self.waiting.values().map(|(_, _, size)| size).sum();
        let large = bytes > 0 && bytes + size > MOST_ASKED_BYTES;
        if large || self.waiting.len() >= MOST_ASKED {
            return None;
        }
        self.asked += 1;
        self.waiting.insert(self.asked, (cause, question.method, size));
        let replies = Some(self.sender.clone());
        Some(Asked { question, number: self.asked, space, replies })
    }

    /// The next answer. Cancel safe.
    pub(super) async fn reply(&mut self) -> Answered<K> {
        loop {
            // a sender is kept here, so there is no end
            let Some((number, reply)) = self.receiver.recv().await else { continue };
            if let Some((cause, method, _)) = self.waiting.remove(&number) {
                return (cause, method, reply);
            }
        }
    }

    /// A reply that is there already, with what it answers.
    pub(super) fn ready(&mut self) -> Option<Answered<K>> {
        loop {
            let (number, reply) = self.receiver.try_recv().ok()?;
            if let Some((cause, method, _)) = self.waiting.remove(&number) {
                return Some((cause, method, reply));
            }
        }
    }

    /// Nobody waits for an answer any more; the number of the question.
    pub(super) fn withdraw(&mut self, cause: &K) -> Option<u64> {
        let found = self.waiting.iter().find(|(_, (waiting, ..))| waiting == cause);
        let number = found.map(|(number, _)| *number)?;
        self.waiting.remove(&number);
        Some(number)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(size: usize) -> Question {
        Question { method: Method::Elicit, params: Some(Bytes::from(vec![b' '; size])) }
    }

    #[test]
    fn questions_that_wait_are_bounded_by_their_bytes() {
        let mut asking = Asking::default();
        let huge = asking.ask(question(2 * MOST_ASKED_BYTES), 1, None);
        assert!(huge.is_some(), "a single one may be larger");
        assert!(asking.ask(question(1), 2, None).is_none());
        assert_eq!(asking.withdraw(&1), Some(1));
        let first = asking.ask(question(MOST_ASKED_BYTES - 1), 3, None);
        let second = asking.ask(question(1), 4, None);
        assert!(first.is_some() && second.is_some());
        assert!(asking.ask(question(1), 5, None).is_none());
    }
}
