//! A connection that a peer may fill without a pause, but whose reader lets others in between.
//!
//! One worker serves many connections. What comes in faster than it is read would keep it busy
//! with this one, since nothing in between (interim responses, comments of a stream) ever waits.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that may be read in one turn.
const TURN: usize = 256 * 1024;

/// A stream that is read in turns of [`TURN`] bytes.
#[derive(Debug)]
pub struct Fair<S> {
    stream: S,
    /// Bytes of this turn.
    read: usize,
}

impl<S> Fair<S> {
    /// Wraps a stream.
    pub fn new(stream: S) -> Self {
        Self { stream, read: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Fair<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read >= TURN {
            // a context that wakes nobody belongs to one who asks again before it waits
            if !cx.waker().will_wake(Waker::noop()) {
                self.read = 0;
                // to wake at once would come before the sockets of others are looked at
                let _ = pin!(tokio::task::yield_now()).poll(cx);
            }
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let more = buffer.filled().len().saturating_sub(before);
        self.read = if outcome.is_pending() { 0 } else { self.read.saturating_add(more) };
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Fair<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Scope;
    use tokio::io::AsyncReadExt;

    #[tokio::test(flavor = "current_thread")]
    async fn a_stream_without_a_pause_is_read_in_turns() {
        for asks_in_vain in [false, true] {
            read_until_others_had_a_turn(asks_in_vain).await;
        }
    }

    async fn read_until_others_had_a_turn(asks_in_vain: bool) {
        let scope = Scope::root("test");
        let others = scope.spawn("others", async {}); // it runs when the reader waits
        let mut stream = Fair::new(tokio::io::repeat(b'x'));
        let mut piece = vec![0; 16 * 1024];
        let mut read = 0;
        while !others.is_finished() {
            if asks_in_vain {
                let mut quiet = Context::from_waker(Waker::noop());
                let mut buffer = ReadBuf::new(&mut piece);
                let _ = Pin::new(&mut stream).poll_read(&mut quiet, &mut buffer);
            }
            read += stream.read(&mut piece).await.expect("there is always more");
            assert!(read <= 2 * TURN, "nobody else had a turn");
        }
    }
}
