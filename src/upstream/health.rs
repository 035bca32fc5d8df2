//! Signs of life of a connection: when nothing has arrived for a while, the server is asked for one.
//!
//! `ping` before 2026-07-28 (basic/utilities/ping: an unanswered one may end the connection),
//! `server/discover` since. Whatever arrives is a sign of life, an error too. What follows from a
//! missing sign is decided by [`crate::control::lifecycle`].

use crate::bridge::initialize;
use crate::mcp::Era;
use crate::upstream::call::Unrequested;
use crate::upstream::{CallError, Link, Upstream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long a server may take to answer, unless it is asked more often.
pub const ANSWER: Duration = Duration::from_secs(10);

/// What asking has brought.
enum Sign {
    Alive,
    /// It says nothing about the server.
    Unknown,
    Missed,
    /// The connection is of no use.
    Lost(CallError),
}

/// Looks after a connection for as long as it lasts.
pub(super) async fn look_after(
    link: Arc<Link>,
    upstream: Arc<Upstream>,
    back: mpsc::Sender<Unrequested>,
) {
    let interval = upstream.entry.timeouts.probe;
    let bound = ANSWER.min(interval);
    let (mut seen, mut since) = (link.wire().arrivals(), Instant::now());
    let (mut pause, mut missed) = (interval, false);
    loop {
        tokio::time::sleep(pause).await;
        let asked = Instant::now();
        let sign = match link.wire().arrivals() == seen {
            true => ask(&link, bound).await,
            false => Sign::Alive,
        };
        let arrivals = link.wire().arrivals();
        let said = match sign {
            Sign::Lost(error) => return upstream.report(&error, &Arc::downgrade(&link)),
            Sign::Missed if arrivals == seen => {
                // the next one follows at once, but not sooner than this one could have been answered
                (pause, missed) = (bound.saturating_sub(asked.elapsed()), true);
                let working = upstream.is_busy() && since.elapsed() < upstream.entry.timeouts.idle;
                Unrequested::Silent { working }
            }
            Sign::Unknown if arrivals == seen => {
                pause = interval;
                continue;
            }
            _ => {
                (seen, since, pause) = (arrivals, Instant::now(), interval);
                if !std::mem::take(&mut missed) {
                    continue;
                }
                Unrequested::Alive
            }
        };
        if back.send(said).await.is_err() {
            return;
        }
    }
}

async fn ask(link: &Link, bound: Duration) -> Sign {
    let asking = async {
        match link.era() {
            Era::Legacy => link.ask("ping", initialize::ping_request).await,
            Era::Modern => {
                let revision = link.peer.revision;
                let discover = |id| initialize::discover_request(id, revision);
                link.ask("server/discover", discover).await
            }
        }
    };
    match tokio::time::timeout(bound, asking).await {
        Err(_) | Ok(Err(CallError::TimedOut | CallError::Gone(_) | CallError::Unsent(_))) => {
            Sign::Missed
        }
        Ok(Err(CallError::Status(status))) if status >= 500 => Sign::Missed,
        // whatever it means, somebody is there
        Ok(Ok(_) | Err(CallError::Status(_) | CallError::BadAnswer(_))) => Sign::Alive,
        Ok(Err(CallError::Busy | CallError::Crowded)) => Sign::Unknown,
        Ok(Err(
            error @ (CallError::NotConnected(_)
            | CallError::SessionLost
            | CallError::SessionUnknown),
        )) => Sign::Lost(error),
    }
}
