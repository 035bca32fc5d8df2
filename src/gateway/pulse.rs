//! Whether the gateway is alive, for whoever restarts it when it is not.
//!
//! A timer alone would tick on while nothing is served. So a sign of life is a round trip through
//! the publisher, which every change of an upstream needs, on the workers that serve all requests;
//! and no listener has ended. Clients and upstreams, however many and slow, have no part in it.

use crate::task::{Scope, Token};
use crate::upstream::Announcement;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Feels the pulse of a gateway.
#[derive(Debug, Clone)]
pub struct Pulse {
    /// Weak, or the publisher would wait for us at the end.
    pub(super) announce: mpsc::WeakSender<Announcement>,
    pub(super) doors: Arc<Scope>,
    /// How many listeners there are.
    pub(super) listeners: usize,
    pub(super) stopping: Token,
}

impl Pulse {
    /// Waits for a sign of life, for ever if there is none; `false` when something has ended that
    /// clients need.
    pub async fn beats(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        let Some(announce) = self.announce.upgrade() else { return false };
        let sent = announce.send(Announcement::Pulse(answer)).await;
        drop(announce);
        let listening = self.stopping.is_cancelled() || self.doors.live() >= self.listeners;
        sent.is_ok() && answered.await.is_ok() && listening
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::within;
    use std::time::Duration;

    #[tokio::test]
    async fn who_does_not_answer_is_not_alive() {
        let (announce, mut announcements) = mpsc::channel(1);
        let doors = Arc::new(Scope::root("doors"));
        let door = doors.spawn("listener", std::future::pending());
        let (weak, stopping) = (announce.downgrade(), doors.token());
        let pulse = Pulse { announce: weak, doors: Arc::clone(&doors), listeners: 1, stopping };
        let answer = async |announcements: &mut mpsc::Receiver<Announcement>| {
            let Some(Announcement::Pulse(answer)) = announcements.recv().await else { return };
            answer.send(()).expect("it waits");
        };
        let (beats, ()) = tokio::join!(pulse.beats(), answer(&mut announcements));
        assert!(beats);
        let moment = Duration::from_millis(20);
        assert_eq!(within(moment, pulse.beats()).await, None, "nobody answers");
        drop(announcements.recv().await);
        door.abort();
        doors.idle().await;
        let (beats, ()) = tokio::join!(pulse.beats(), answer(&mut announcements));
        assert!(!beats, "nobody can connect any more");
        doors.cancel();
        let (beats, ()) = tokio::join!(pulse.beats(), answer(&mut announcements));
        assert!(beats, "nobody is to");
        drop(announce);
        assert!(!pulse.beats().await, "there is no publisher");
    }
}
