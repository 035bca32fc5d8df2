//! A response, and the connection its body still arrives on.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderMap;
use hyper::body::{Body as _, Incoming};
use tokio::sync::OwnedSemaphorePermit;

use super::super::body::{BodyError, Gather};
use super::Pool;
use super::circuit::Pass;
use super::error::ClientError;
use super::line::Line;
use crate::task::quiet::quiet;

/// A response whose body may still be arriving.
#[derive(Debug)]
pub struct Response {
    /// The status, redirects included.
    pub status: StatusCode,
    /// The headers, as they came.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
}

impl Response {
    pub(super) fn new(
        response: http::Response<Incoming>,
        line: Box<Line>,
        keep: Duration,
        pool: Arc<Pool>,
        place: (OwnedSemaphorePermit, Pass),
    ) -> Self {
        let (head, frames) = response.into_parts();
        let mut body = Body { frames, held: Some(Held { line, keep, pool, _place: place }) };
        body.release_if_complete();
        Self { status: head.status, headers: head.headers, body }
    }
}

/// A response's body, and the connection it arrives on.
///
/// Read to its end, the connection goes back to the pool; dropped before, it is closed.
pub struct Body {
    frames: Incoming,
    held: Option<Held>,
}

/// What a response holds until its body has ended.
struct Held {
    line: Box<Line>,
    /// How long the connection may idle afterwards.
    keep: Duration,
    pool: Arc<Pool>,
    // Released after the line went back, so that idle and used never exceed the limit.
    _place: (OwnedSemaphorePermit, Pass),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("frames", &self.frames).finish_non_exhaustive()
    }
}

impl Body {
    /// The next bytes as they arrive; `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// [`ClientError::Incomplete`]; the connection is closed.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// The whole body in one buffer, at most `max` bytes; without a copy if it came in one piece,
    /// which then keeps a read buffer of up to 64 KiB alive.
    ///
    /// # Errors
    /// [`ClientError::TooLarge`], [`ClientError::Incomplete`]; the connection is closed.
    pub async fn collect(mut self, max: usize) -> Result<Bytes, ClientError> {
        let too_large = |_: BodyError| ClientError::TooLarge { limit: max };
        let Some(mut gather) = Gather::new(&self.frames.size_hint(), max) else {
            return Err(ClientError::TooLarge { limit: max });
        };
        while let Some(piece) = self.chunk().await? {
            gather.push(piece).map_err(too_large)?;
        }
        Ok(gather.finish())
    }

    /// The length the peer declared and has not sent yet, if it declared one.
    pub fn remaining(&self) -> Option<u64> {
        self.frames.size_hint().exact()
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ClientError>> {
        let frames = &mut self.frames;
        let next = match (poll_piece(frames), &mut self.held) {
            (Poll::Pending, Some(held)) => held.line.poll_until(cx, || poll_piece(frames)),
            // Unreachable: without its connection a body has ended or failed.
            (Poll::Pending, None) => Poll::Ready(Err(ClientError::Incomplete(None))),
            (ready, _) => ready,
        };
        match &next {
            Poll::Ready(Ok(Some(_))) => self.release_if_complete(),
            Poll::Ready(Ok(None)) => self.release(),
            Poll::Ready(Err(_)) => self.held = None,
            Poll::Pending => {}
        }
        next
    }

    fn release_if_complete(&mut self) {
        if self.frames.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some(Held { line, keep, pool, _place }) = self.held.take() {
            pool.put_idle(line, keep);
        }
    }
}

/// The next piece that is there already; trailers and empty frames are passed over.
fn poll_piece(frames: &mut Incoming) -> Poll<Result<Option<Bytes>, ClientError>> {
    loop {
        let Poll::Ready(next) = Pin::new(&mut *frames).poll_frame(&mut quiet()) else {
            return Poll::Pending;
        };
        return Poll::Ready(match next {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) if !piece.is_empty() => Ok(Some(piece)),
                _ => continue,
            },
            Some(Err(error)) => Err(ClientError::Incomplete(Some(error))),
            None if frames.size_hint().lower() > 0 => Err(ClientError::Incomplete(None)),
            None => Ok(None),
        });
    }
}
