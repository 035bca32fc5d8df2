//! The bodies we write and how we read a whole one.
//!
//! [`Outgoing`] is the one body type of our answers and of our requests to upstreams: nothing, one
//! piece, several pieces written vectored under one `Content-Length`, or a bounded stream (SSE).
//! [`read_bounded`] reads a request body (specification 2026-07-28, basic/transports/streamable-http)
//! without a copy where the peer's bytes arrived in one piece.
//! Never looks into the bytes and never buffers more than the limit it was given.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::task;

/// What a declared `Content-Length` may make us reserve before that much has arrived: 1 MiB.
const MAX_PRESIZE: usize = 1 << 20;

/// Most bytes that wait in a stream in frames over [`SMALL_FRAME`], a single larger one apart.
pub const WAITING_BYTES: usize = 1 << 20;

/// A frame of up to so many bytes is bounded well enough by the number of frames.
const SMALL_FRAME: usize = 16 << 10;

/// A frame, and its share of [`WAITING_BYTES`] if it has one.
type Waiting = (Bytes, Option<OwnedSemaphorePermit>);

/// A body of ours, on its way to a peer.
pub struct Outgoing(Kind);

enum Kind {
    Empty,
    Full(Bytes),
    Parts { pieces: std::vec::IntoIter<Bytes>, left: u64 },
    Stream { frames: mpsc::Receiver<Waiting>, driver: Option<Driver> },
}

/// Work that a streamed body carries with it; dropping the body drops the work.
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Outgoing {
    /// No body.
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// One piece with its length declared.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Full(bytes.into()))
    }

    /// Several pieces that follow each other without a gap, written vectored, with the length of
    /// them all declared. For messages of which only a few bytes were replaced.
    pub fn parts(pieces: Vec<Bytes>) -> Self {
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self(Kind::Parts { pieces: pieces.into_iter(), left })
    }

    /// A body of unknown length that ends when every [`FrameSender`] is dropped; at most
    /// `capacity` frames (at least one) of [`WAITING_BYTES`] wait in it.
    pub fn stream(capacity: usize) -> (FrameSender, Self) {
        let (sender, frames) = FrameSender::new(capacity);
        (sender, Self(Kind::Stream { frames, driver: None }))
    }

    /// A stream that is produced by `produce`, polled by whoever polls the body: no task of its
    /// own, and when the peer disconnects, the body and with it the future are dropped at the
    /// await they stand at. The body ends with the last [`FrameSender`], finished or not.
    pub fn driven<F, D>(capacity: usize, produce: F) -> Self
    where
        F: FnOnce(FrameSender) -> D,
        D: Future<Output = ()> + Send + 'static,
    {
        let (sender, frames) = FrameSender::new(capacity);
        let driver: Driver = Box::pin(produce(sender));
        Self(Kind::Stream { frames, driver: Some(driver) })
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, length) = match &self.0 {
            Kind::Empty => ("Empty", Some(0)),
            Kind::Full(bytes) => ("Full", Some(bytes.len() as u64)),
            Kind::Parts { left, .. } => ("Parts", Some(*left)),
            Kind::Stream { .. } => ("Stream", None),
        };
        f.debug_tuple(kind).field(&length).finish()
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut self.0 {
            Kind::Empty => None,
            Kind::Full(bytes) => Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty()),
            Kind::Parts { pieces, left } => {
                let piece = pieces.find(|piece| !piece.is_empty());
                *left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
                piece
            }
            Kind::Stream { frames, driver } => {
                if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
                    *driver = None;
                }
                match frames.poll_recv(cx) {
                    Poll::Ready(frame) => frame.map(|(frame, _)| frame),
                    Poll::Pending => return Poll::Pending,
                }
            }
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Parts { left, .. } => SizeHint::with_exact(*left),
            Kind::Stream { .. } => SizeHint::default(),
        }
    }
}

/// Feeds one streamed [`Outgoing`].
#[derive(Clone, Debug)]
pub struct FrameSender {
    frames: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
}

/// Nobody reads the body any more: the peer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnected;

impl fmt::Display for Disconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer closed its connection")
    }
}

impl Error for Disconnected {}

/// Why a frame was not taken at once.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// The stream holds as many frames as it may; the frame is handed back.
    Full(Bytes),
    /// Nobody reads the body any more.
    Disconnected,
}

impl FrameSender {
    fn new(capacity: usize) -> (Self, mpsc::Receiver<Waiting>) {
        let (frames, waiting) = mpsc::channel(capacity.max(1));
        (Self { frames, room: Arc::new(Semaphore::new(WAITING_BYTES)) }, waiting)
    }

    /// The room that a frame takes up.
    fn size(frame: &Bytes) -> Option<u32> {
        let large = frame.len() > SMALL_FRAME;
        u32::try_from(frame.len().min(WAITING_BYTES)).ok().filter(|_| large)
    }

    /// Writes one frame, waiting while the peer is slower than we are.
    ///
    /// # Errors
    /// [`Disconnected`] when the body was dropped.
    pub async fn send(&self, frame: Bytes) -> Result<(), Disconnected> {
        let room = match Self::size(&frame) {
            Some(size) => Arc::clone(&self.room).acquire_many_owned(size).await.ok(),
            None => None,
        };
        self.frames.send((frame, room)).await.map_err(|_| Disconnected)
    }

    /// Writes one frame if there is room now.
    ///
    /// # Errors
    /// [`Refused`]: no room, or nobody reads.
    pub fn try_send(&self, frame: Bytes) -> Result<(), Refused> {
        let room = match Self::size(&frame) {
            Some(size) => match Arc::clone(&self.room).try_acquire_many_owned(size) {
                Ok(room) => Some(room),
                Err(_) => return Err(Refused::Full(frame)),
            },
            None => None,
        };
        self.frames.try_send((frame, room)).map_err(|error| match error {
            mpsc::error::TrySendError::Full((frame, _)) => Refused::Full(frame),
            mpsc::error::TrySendError::Closed(_) => Refused::Disconnected,
        })
    }

    /// Waits until nobody reads the body any more.
    pub async fn closed(&self) {
        self.frames.closed().await;
    }
}

/// Why a body could not be read whole.
#[derive(Debug)]
pub enum BodyError {
    /// The body is, or says it is, longer than `limit` bytes (HTTP 413).
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// There is no room for more of it now (HTTP 503).
    NoRoom,
    /// The body did not arrive within its time (HTTP 408).
    TimedOut,
    /// The peer broke the body off or framed it wrongly.
    Incomplete(Box<dyn Error + Send + Sync>),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "the body is longer than {limit} bytes"),
            Self::NoRoom => f.write_str("too much is being received"),
            Self::TimedOut => f.write_str("the body did not arrive in time"),
            Self::Incomplete(_) => f.write_str("the body broke off"),
        }
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Incomplete(source) => Some(source.as_ref()),
            Self::TooLarge { .. } | Self::NoRoom | Self::TimedOut => None,
        }
    }
}

/// Reads a whole body of at most `max` bytes, all of it within `time`.
///
/// A body that declares more than `max` is refused before a byte of it is read (and before a
/// `100 Continue` is sent), so that 413 can be answered at once. A body of one frame is returned
/// as it is: it keeps the read buffer it came in alive (up to 64 KiB), so whoever stores a small
/// body for long should copy it. `admit` is asked for every piece, by its bytes, and ends the
/// reading when it says no.
///
/// # Errors
/// [`BodyError`]; nothing of the body is kept.
pub async fn read_bounded<B>(
    body: B,
    max: usize,
    time: Duration,
    admit: impl FnMut(usize) -> bool,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Some(gather) = Gather::new(&body.size_hint(), max) else {
        return Err(BodyError::TooLarge { limit: max });
    };
    let whole = task::within(time, gather_all(body, gather, admit)).await;
    whole.unwrap_or(Err(BodyError::TimedOut))
}

async fn gather_all<B>(
    mut body: B,
    mut gather: Gather,
    mut admit: impl FnMut(usize) -> bool,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    while !body.is_end_stream() {
        match std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            None => break,
            Some(Err(error)) => return Err(BodyError::Incomplete(error.into())),
            Some(Ok(frame)) => {
                // Trailers carry nothing that MCP knows.
                if let Ok(piece) = frame.into_data() {
                    if !admit(piece.len()) {
                        return Err(BodyError::NoRoom);
                    }
                    gather.push(piece)?;
                }
            }
        }
    }
    Ok(gather.finish())
}

/// Pieces becoming one contiguous buffer: no copy for one piece, one copy for more.
pub(super) struct Gather {
    only: Bytes,
    joined: Vec<u8>,
    expected: usize,
    max: usize,
}

impl Gather {
    /// Starts with what the peer declared; `None` when it declared more than `max` bytes.
    pub(super) fn new(declared: &SizeHint, max: usize) -> Option<Self> {
        let expected = usize::try_from(declared.lower()).ok().filter(|size| *size <= max)?;
        Some(Self { only: Bytes::new(), joined: Vec::new(), expected, max })
    }

    /// Adds a piece; an error when the whole would exceed the limit.
    pub(super) fn push(&mut self, piece: Bytes) -> Result<(), BodyError> {
        let have = self.only.len() + self.joined.len();
        if piece.len() > self.max - have {
            return Err(BodyError::TooLarge { limit: self.max });
        }
        if have == 0 {
            self.only = piece;
            return Ok(());
        }
        self.make_room(have + piece.len());
        self.joined.extend_from_slice(&std::mem::take(&mut self.only));
        self.joined.extend_from_slice(&piece);
        Ok(())
    }

    // A declared length is believed for a mebibyte, and beyond that only once the peer has sent
    // that much. Without one the buffer doubles, so the cost stays linear.
    fn make_room(&mut self, wanted: usize) {
        if wanted <= self.joined.capacity() {
            return;
        }
        let target = if wanted <= MAX_PRESIZE { MAX_PRESIZE } else { self.expected };
        let target = target.min(self.expected).max(wanted);
        let more = target - self.joined.len();
        if target == self.expected {
            self.joined.reserve_exact(more);
        } else {
            self.joined.reserve(more);
        }
    }

    /// The whole, contiguous.
    pub(super) fn finish(self) -> Bytes {
        if self.joined.is_empty() { self.only } else { Bytes::from(self.joined) }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    async fn next(body: &mut Outgoing) -> Option<Bytes> {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
        let Ok(frame) = frame;
        Some(frame.into_data().expect("our bodies have no trailers"))
    }

    #[tokio::test]
    async fn known_lengths_are_exact_until_the_end() {
        assert!(Outgoing::empty().is_end_stream());
        assert!(Outgoing::full("").is_end_stream());
        let mut body = Outgoing::parts(vec!["ab".into(), Bytes::new(), "cde".into()]);
        assert_eq!(body.size_hint().exact(), Some(5));
        assert_eq!(next(&mut body).await.expect("a first piece"), "ab");
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(next(&mut body).await.expect("empty pieces are passed over"), "cde");
        assert!(body.is_end_stream());
        assert!(next(&mut body).await.is_none());
        let mut body = Outgoing::full("xyz");
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(next(&mut body).await.expect("the piece"), "xyz");
        assert!(body.is_end_stream() && next(&mut body).await.is_none());
    }

    #[tokio::test]
    async fn a_stream_holds_no_more_than_its_capacity() {
        let (sender, mut body) = Outgoing::stream(1);
        sender.send("1".into()).await.expect("room for one");
        assert_eq!(sender.try_send("2".into()), Err(Refused::Full("2".into())));
        assert_eq!(next(&mut body).await.expect("the frame"), "1");
        sender.try_send("2".into()).expect("room again");
        drop(sender);
        assert_eq!(next(&mut body).await.expect("the frame"), "2");
        assert!(next(&mut body).await.is_none());
    }

    #[tokio::test]
    async fn a_dropped_body_is_noticed_by_its_sender() {
        let (sender, body) = Outgoing::stream(1);
        drop(body);
        sender.closed().await;
        assert_eq!(sender.send("1".into()).await, Err(Disconnected));
        assert_eq!(sender.try_send("1".into()), Err(Refused::Disconnected));
    }

    #[tokio::test]
    async fn a_driven_body_runs_its_producer_under_backpressure() {
        let mut body = Outgoing::driven(1, |sender| async move {
            for n in 0..5u8 {
                sender.send(Bytes::copy_from_slice(&[n])).await.expect("the body lives");
            }
        });
        let mut seen = Vec::new();
        while let Some(frame) = next(&mut body).await {
            seen.extend_from_slice(&frame);
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn dropping_a_driven_body_drops_its_producer() {
        struct Guard(Arc<AtomicBool>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let gone = Arc::new(AtomicBool::new(false));
        let guard = Guard(gone.clone());
        let mut body = Outgoing::driven(1, |sender| async move {
            let _guard = guard;
            let _ = sender.send("1".into()).await;
            std::future::pending::<()>().await;
        });
        assert_eq!(next(&mut body).await.expect("the frame"), "1");
        assert!(!gone.load(Ordering::SeqCst));
        drop(body);
        assert!(gone.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn one_piece_is_not_copied() {
        let piece = Bytes::from(vec![7u8; 100]);
        let at = piece.as_ptr();
        let read = read_bounded(Outgoing::full(piece), 100, SOON, |_| true)
            .await
            .expect("within the limit");
        assert_eq!(read.as_ptr(), at);
    }

    #[tokio::test]
    async fn many_pieces_become_one() {
        let pieces: Vec<Bytes> =
            (0..40).map(|n| Bytes::from(vec![n; 100_000])).chain([Bytes::new()]).collect();
        let whole = pieces.concat();
        let read = read_bounded(Outgoing::parts(pieces.clone()), whole.len(), SOON, |_| true).await;
        assert_eq!(read.expect("exactly the limit"), whole);
        let (sender, body) = Outgoing::stream(1);
        let said = async {
            for piece in pieces {
                sender.send(piece).await.expect("it is read");
            }
            drop(sender);
        };
        let read = tokio::join!(read_bounded(body, whole.len(), SOON, |_| true), said).0;
        assert_eq!(read.expect("undeclared"), whole);
    }

    #[tokio::test]
    async fn a_declared_length_beyond_the_limit_is_refused_unread() {
        let refused = read_bounded(Outgoing::parts(vec!["abc".into()]), 2, SOON, |_| true).await;
        assert!(matches!(refused, Err(BodyError::TooLarge { limit: 2 })));
    }

    #[tokio::test]
    async fn an_undeclared_length_is_cut_at_the_limit() {
        let (sender, body) = Outgoing::stream(4);
        sender.try_send("ab".into()).expect("room");
        sender.try_send("c".into()).expect("room");
        let refused = read_bounded(body, 2, SOON, |_| true).await;
        assert!(matches!(refused, Err(BodyError::TooLarge { limit: 2 })));
        assert_eq!(sender.try_send("d".into()), Err(Refused::Disconnected));
    }

    #[tokio::test]
    async fn a_stalled_body_times_out() {
        let (_sender, body) = Outgoing::stream(1);
        let late = read_bounded(body, 2, Duration::from_millis(1), |_| true).await;
        assert!(matches!(late, Err(BodyError::TimedOut)));
    }

    #[test]
    fn a_lie_about_the_length_reserves_little() {
        let declared = SizeHint::with_exact(1 << 30);
        let mut gather = Gather::new(&declared, 1 << 30).expect("within the limit");
        gather.push("a".into()).expect("room");
        gather.push("b".into()).expect("room");
        assert!(gather.joined.capacity() <= MAX_PRESIZE);
        assert!(Gather::new(&declared, (1 << 30) - 1).is_none());
    }

    #[tokio::test]
    async fn what_waits_in_a_stream_is_bounded_by_its_bytes() {
        let (sender, mut body) = Outgoing::stream(64);
        let large = Bytes::from(vec![b'x'; WAITING_BYTES / 2]);
        for _ in 0..2 {
            sender.try_send(large.clone()).expect("there is room");
        }
        assert!(matches!(sender.try_send(large.clone()), Err(Refused::Full(_))));
        sender.try_send("small".into()).expect("it takes none");
        poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.expect("a frame").expect("ours");
        sender.send(large.clone()).await.expect("there is again");
        let waits = sender.send(Bytes::from(vec![b'x'; 2 * WAITING_BYTES]));
        let (sent, ()) = tokio::join!(waits, async {
            for _ in 0..4 {
                poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.expect("one").expect("ours");
            }
        });
        sent.expect("a single larger one passes");
        let waits = sender.send(large);
        drop(body);
        waits.await.expect_err("nobody reads it");
    }
}
