//! A stream of a legacy session on its way through one connection, which may break: what was said
//! is kept by the session.

use crate::downstream::Front;
use crate::downstream::http::answer;
use crate::downstream::http::flow::{KEEP_ALIVE, WAITING_FRAMES};
use crate::downstream::session::Listening;
use crate::net::body::{FrameSender, Outgoing};
use crate::task::Token;
use crate::wire::sse::encode;
use bytes::Bytes;
use http::Response;
use std::time::Duration;

/// How long a client should wait before it comes back to a stream.
pub const RETRY: Duration = Duration::from_secs(1);

/// How a connection to a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// The client has no event of this stream to come back to.
    Fresh,
    /// It has come back.
    Resumed,
}

/// What is written first, whatever was said: the headers alone are not always passed on.
fn first(listening: &Listening, opening: Opening) -> Bytes {
    if opening == Opening::Fresh && listening.session().revision.primes_streams() {
        let retry = u64::try_from(RETRY.as_millis()).ok();
        return encode::prime(&listening.event_id(), retry);
    }
    Bytes::from_static(encode::KEEP_ALIVE)
}

/// The response that brings a stream; without one, it ends at once.
pub fn response(
    front: &Front,
    listening: Option<Listening>,
    opening: Opening,
) -> Response<Outgoing> {
    let stopping = front.stopping.clone();
    let body = Outgoing::driven(WAITING_FRAMES, |frames| async move {
        let Some(listening) = listening else { return };
        let first = first(&listening, opening);
        deliver(listening, first, stopping, frames).await;
    });
    answer::stream(body)
}

async fn deliver(mut listening: Listening, first: Bytes, stopping: Token, frames: FrameSender) {
    let stands = listening.stands();
    let mut frame = vec![first];
    loop {
        for piece in frame {
            if frames.send(piece).await.is_err() {
                return;
            }
        }
        frame = tokio::select! {
            biased; // what was said before the end still goes out
            event = listening.next() => match event {
                Some(event) => event,
                None => return,
            },
            // the stream of a request ends with its answer
            () = stopping.cancelled(), if stands => return,
            () = tokio::time::sleep(KEEP_ALIVE) => vec![Bytes::from_static(encode::KEEP_ALIVE)],
        };
    }
}
