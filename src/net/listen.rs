//! Listening for downstream connections and serving HTTP/1.1 on them.
//!
//! One connection is one task, spawned by the caller's closure (only `task` spawns, and it contains
//! a panic). What hyper
//! answers by itself is part of our contract: 400 to what is not HTTP, 431 to a head over the
//! limit. A client that disconnects has its handler's future dropped at its await, which is how a
//! request of the specification 2026-07-28 is cancelled (basic/transports/streamable-http).
//! Never looks at a request; TLS, authentication and routes belong to others.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::body::Outgoing;
use super::patient::Patient;
use super::seats::{Answering, Seats, Taken};
use crate::task::quiet::poll_twice;
use crate::task::within;

/// Connections the kernel holds until we accept them.
const BACKLOG: u32 = 1024;

/// The largest read buffer of one connection, in bytes; it bounds what an idle connection holds.
const MAX_READ_BUFFER: usize = 64 * 1024;

/// How long and how much a client may go on sending after an answer that closes the connection,
/// so that it reads the answer (413, 431) instead of a reset.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 32 * 1024 * 1024);

/// More connections than any machine has descriptors for; keeps the semaphore in its range.
const MAX_SLOTS: u32 = 1 << 24;

/// Pauses after a failed accept: the first, and the most it doubles to.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// The same complaint is logged at most this often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// How long a connection that is to make room for another may take to let go.
const LEAVE_TIME: Duration = Duration::from_millis(100);

/// How long dropped connections may take to let go.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// What one listener allows.
#[derive(Debug, Clone)]
pub struct ListenLimits {
    /// Connections open at once; for the next one an idle one is closed, or it is closed unserved.
    pub max_connections: usize,
    /// Bytes of a request line and its headers (431).
    pub max_header_bytes: usize,
    /// For one whole head, and for how long a connection may idle between two requests.
    pub header_timeout: Duration,
    /// How long a client may take none of what is written to it.
    pub write_patience: Duration,
    /// How long requests may take to finish once the listener stops.
    pub drain: Duration,
}

impl Default for ListenLimits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_header_bytes: 64 * 1024,
            header_timeout: Duration::from_secs(30),
            write_patience: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

/// What happened on one listener, for metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections served.
    pub accepted: AtomicU64,
    /// Connections closed unserved because of `max_connections`.
    pub refused: AtomicU64,
    /// Accepts that failed (file descriptors exhausted, most likely).
    pub failed: AtomicU64,
}

/// An address that could not be listened on.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        match self.source.kind() {
            io::ErrorKind::AddrInUse => {
                write!(f, "cannot listen on {address}: the address is already in use")
            }
            io::ErrorKind::AddrNotAvailable => {
                write!(f, "cannot listen on {address}: this machine does not have the address")
            }
            io::ErrorKind::PermissionDenied => {
                write!(f, "cannot listen on {address}: permission denied")
            }
            _ => write!(f, "cannot listen on {address}: {}", self.source),
        }
    }
}

impl Error for BindError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// A socket that accepts connections.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    local: SocketAddr,
    counts: Arc<Counts>,
}

/// Listens on every address, or on none. Call it inside a runtime.
///
/// # Errors
/// [`BindError`] names the first address that failed.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<Listener>, BindError> {
    addresses.iter().copied().map(Listener::bind).collect()
}

/// The task of one connection; it ends with the connection.
pub type Attendant = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining,
    Closing,
}

impl Listener {
    fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let open = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            }?;
            // A restart must not wait for the old process's connections to be forgotten.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let socket = socket.listen(BACKLOG)?;
            Ok((socket.local_addr()?, socket))
        };
        let (local, socket) = open().map_err(|source| BindError { address, source })?;
        Ok(Self { socket, local, counts: Arc::default() })
    }

    /// Accepts on a socket that listens already and does not block. Call it inside a runtime.
    ///
    /// # Errors
    /// The system's, for one that cannot be waited on.
    pub fn adopt(socket: std::net::TcpListener) -> io::Result<Self> {
        let socket = TcpListener::from_std(socket)?;
        Ok(Self { local: socket.local_addr()?, socket, counts: Arc::default() })
    }

    /// Where it really listens, with the port the system chose for port 0.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The listener's counters, which go on counting while it serves.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Accepts and serves until `stop` resolves, then lets requests in flight finish for at most
    /// `limits.drain` and drops the rest. `answer` answers a request; `spawn` runs a named task.
    /// Dropping this future drops every connection.
    pub async fn serve<F>(
        self,
        limits: ListenLimits,
        stop: impl Future<Output = ()>,
        spawn: impl Fn(&'static str, Attendant),
        answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    ) where
        F: Future<Output = Response<Outgoing>> + Send + 'static,
    {
        let protocol = protocol(&limits);
        let most = u32::try_from(limits.max_connections).unwrap_or(u32::MAX).min(MAX_SLOTS);
        let slots = Arc::new(Semaphore::new(most as usize));
        let (phase, phases) = watch::channel(Phase::Serving);
        let (pause, complaint) = (ACCEPT_PAUSE.0, Complaint::default());
        let mut door = Door { listener: self, seats: Arc::default(), pause, complaint };
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = door.accept(&slots) => accepted,
            };
            let Some((stream, taken)) = accepted else { continue };
            let (answer, bell) = (answer.clone(), taken.bell());
            let service = service_fn(move |request| {
                let (busy, answering) = (bell.ring(), answer(request));
                async {
                    let response = answering.await;
                    Ok::<_, Infallible>(response.map(|body| Answering { body, _busy: busy }))
                }
            });
            let stream = TokioIo::new(Patient::new(stream, limits.write_patience));
            let connection = protocol.serve_connection(stream, service);
            let attendant = attend(connection, phases.clone(), taken);
            spawn("http connection", Box::pin(attendant));
        }
        drop(door);
        phase.send_replace(Phase::Draining);
        let all_ended = slots.acquire_many(most);
        if tokio::time::timeout(limits.drain, all_ended).await.is_err() {
            phase.send_replace(Phase::Closing);
            let _ = tokio::time::timeout(CLOSE_TIME, slots.acquire_many(most)).await;
        }
    }
}

fn protocol(limits: &ListenLimits) -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(limits.max_header_bytes)
        .max_buf_size(limits.max_header_bytes.max(MAX_READ_BUFFER))
        .half_close(false)
        .keep_alive(true);
    protocol
}

/// The accepting side of a listener.
struct Door {
    listener: Listener,
    seats: Arc<Seats>,
    pause: Duration,
    complaint: Complaint,
}

impl Door {
    /// The next connection with its seat; `None` when there was one that is not served.
    async fn accept(&mut self, slots: &Arc<Semaphore>) -> Option<(TcpStream, Taken)> {
        let counts = &self.listener.counts;
        let local = self.listener.local;
        let (stream, _) = match self.listener.socket.accept().await {
            Ok(accepted) => accepted,
            // The connection failed, not the listener.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => return None,
            Err(error) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
                if let Some(times) = self.complaint.raise(Instant::now()) {
                    log::error!("cannot accept on {local}: {error} ({times} times)");
                }
                tokio::time::sleep(self.pause).await;
                // whoever does nothing gives a descriptor back; as long as somebody does, the
                // pause need not grow
                if !self.seats.make_room() {
                    self.pause = (self.pause * 2).min(ACCEPT_PAUSE.1);
                }
                return None;
            }
        };
        self.pause = ACCEPT_PAUSE.0;
        let Some(slot) = self.slot(slots).await else {
            let counts = &self.listener.counts;
            counts.refused.fetch_add(1, Ordering::Relaxed);
            if let Some(times) = self.complaint.raise(Instant::now()) {
                log::warn!("too many connections on {local}: {times} closed unserved");
            }
            return None;
        };
        // Without it answers wait for the peer's delayed acknowledgement. A failure means that the
        // peer is gone already, which serving it will tell.
        let _ = stream.set_nodelay(true);
        self.listener.counts.accepted.fetch_add(1, Ordering::Relaxed);
        Some((stream, self.seats.take(slot)))
    }

    /// A free slot, or that of a connection which is idle.
    async fn slot(&self, slots: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
            return Some(slot);
        }
        if !self.seats.make_room() {
            return None;
        }
        let freed = within(LEAVE_TIME, Arc::clone(slots).acquire_owned()).await;
        freed.and_then(Result::ok)
    }
}

/// A log line that would repeat itself.
#[derive(Default)]
struct Complaint {
    last: Option<Instant>,
    silent: u64,
}

impl Complaint {
    /// How often it happened since the last line, if a line is due.
    fn raise(&mut self, now: Instant) -> Option<u64> {
        self.silent += 1;
        if self.last.is_some_and(|last| now.duration_since(last) < LOG_INTERVAL) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.silent))
    }
}

async fn attend<S>(
    mut connection: http1::Connection<TokioIo<Patient<TcpStream>>, S>,
    mut phases: watch::Receiver<Phase>,
    taken: Taken,
) where
    S: Service<Request<Incoming>, Response = Response<Answering>, Error = Infallible>,
{
    let ended = loop {
        tokio::select! {
            biased;
            // hyper's body channel wakes whoever polls it, which is the task that is just running
            ended = poll_fn(|cx| poll_twice(Pin::new(&mut connection), cx)) => break ended,
            phase = next_phase(&mut phases) => match phase {
                Phase::Serving => {}
                Phase::Draining => Pin::new(&mut connection).graceful_shutdown(),
                Phase::Closing => return,
            },
            () = taken.unwanted() => return,
        }
    };
    // An error other than of parsing means that the peer is gone, or silent for too long.
    let answered = ended.is_ok() || ended.is_err_and(|error| error.is_parse());
    if answered && *phases.borrow() == Phase::Serving {
        let stream = connection.into_parts().io.into_inner();
        tokio::select! {
            _ = tokio::time::timeout(LINGER.0, linger(stream)) => {}
            _ = next_phase(&mut phases) => {}
            () = taken.unwanted() => {}
        }
    }
}

async fn next_phase(phases: &mut watch::Receiver<Phase>) -> Phase {
    match phases.changed().await {
        Ok(()) => *phases.borrow_and_update(),
        // The listener's future was dropped, and its connections with it.
        Err(_) => Phase::Closing,
    }
}

// To close with unread bytes waiting resets the connection, and the reset overtakes our answer
// (RFC 9112 §9.6).
async fn linger(mut stream: Patient<TcpStream>) {
    let _ = stream.shutdown().await;
    let mut scrap = vec![0; 8 * 1024];
    let mut left = LINGER.1;
    while let Ok(read) = stream.read(&mut scrap).await {
        left = left.saturating_sub(read);
        if read == 0 || left == 0 {
            break;
        }
    }
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a handler that panics is one of the cases")]
#[allow(clippy::disallowed_methods, reason = "peers of a test need no owner and no bounds")]
mod tests {
    use hyper::body::Body as _;
    use tokio::sync::{mpsc, oneshot};
    use tokio::task::JoinHandle;

    use super::super::body::{BodyError, FrameSender, read_bounded};
    use super::*;

    const LONG: Duration = Duration::from_secs(30);
    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    /// A listener being served, and the handle to stop it.
    struct Served {
        address: SocketAddr,
        counts: Arc<Counts>,
        stop: Option<oneshot::Sender<()>>,
        task: JoinHandle<()>,
        events: mpsc::UnboundedReceiver<&'static str>,
        /// The sender of every stream begun at `/stream`.
        streams: mpsc::UnboundedReceiver<FrameSender>,
    }

    impl Served {
        async fn event(&mut self) -> &'static str {
            tokio::time::timeout(LONG, self.events.recv()).await.expect("in time").expect("one")
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.expect("it listens")
        }

        fn stop(&mut self) {
            let _ = self.stop.take().expect("once").send(());
        }

        async fn stopped(self) {
            tokio::time::timeout(LONG, self.task).await.expect("in time").expect("no panic");
        }
    }

    struct Dropped(mpsc::UnboundedSender<&'static str>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }

    fn serve(limits: ListenLimits) -> Served {
        let listener = bind(&["127.0.0.1:0".parse().expect("an address")])
            .expect("loopback")
            .pop()
            .expect("one listener for one address");
        let (address, counts) = (listener.local_address(), listener.counts());
        let (stop, stopped) = oneshot::channel::<()>();
        let (event, events) = mpsc::unbounded_channel();
        let (begun, streams) = mpsc::unbounded_channel();
        let serving = listener.serve(
            limits,
            async { drop(stopped.await) },
            |_, attendant| drop(tokio::spawn(attendant)),
            move |request| answer(request, event.clone(), begun.clone()),
        );
        let task = tokio::spawn(serving);
        Served { address, counts, stop: Some(stop), task, events, streams }
    }

    async fn answer(
        request: Request<Incoming>,
        event: mpsc::UnboundedSender<&'static str>,
        begun: mpsc::UnboundedSender<FrameSender>,
    ) -> Response<Outgoing> {
        let path = request.uri().path().to_owned();
        let body = match path.as_str() {
            "/stream" => {
                let (sender, body) = Outgoing::stream(1);
                begun.send(sender).expect("the test listens");
                body
            }
            "/hang" => {
                let _dropped = Dropped(event.clone());
                event.send("hangs").expect("the test listens");
                std::future::pending().await
            }
            "/driven" => {
                let dropped = Dropped(event.clone());
                Outgoing::driven(1, |sender| async move {
                    let _dropped = dropped;
                    let _ = sender.send("first".into()).await;
                    std::future::pending::<()>().await;
                })
            }
            "/panic" => panic!("the handler's own bug"),
            "/small" => match read_bounded(request.into_body(), 10, LONG, |_| true).await {
                Ok(body) => Outgoing::full(body),
                Err(BodyError::TooLarge { .. }) => {
                    let mut refused = Response::new(Outgoing::empty());
                    *refused.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE;
                    return refused;
                }
                Err(error) => panic!("{error}"),
            },
            "/length" => {
                let length = request.body().size_hint().exact();
                Outgoing::full(format!("{length:?}"))
            }
            _ => Outgoing::parts(vec!["he".into(), "llo".into()]),
        };
        Response::new(body)
    }

    async fn read_to_end(stream: &mut TcpStream) -> String {
        let mut text = Vec::new();
        let read = stream.read_to_end(&mut text);
        tokio::time::timeout(LONG, read).await.expect("in time").expect("no reset");
        String::from_utf8(text).expect("our answers are text")
    }

    async fn read_until(stream: &mut TcpStream, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            let byte = tokio::time::timeout(LONG, stream.read_u8()).await.expect("in time");
            text.push(byte.expect("not the end yet"));
        }
        String::from_utf8(text).expect("our answers are text")
    }

    #[tokio::test]
    async fn a_connection_serves_many_requests() {
        let mut served = serve(ListenLimits::default());
        let mut stream = served.connect().await;
        for _ in 0..3 {
            stream.write_all(GET).await.expect("open");
            let answer = read_until(&mut stream, "hello").await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.contains("content-length: 5\r\n"), "{answer}");
        }
        assert_eq!(served.counts.accepted.load(Ordering::Relaxed), 1);
        served.stop();
        assert_eq!(read_to_end(&mut stream).await, "");
        served.stopped().await;
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let first = bind(&["127.0.0.1:0".parse().expect("an address")]).expect("loopback");
        let taken = first[0].local_address();
        let error = bind(&[taken]).expect_err("it is taken");
        assert_eq!(
            error.to_string(),
            format!("cannot listen on {taken}: the address is already in use")
        );
        assert_eq!(error.address, taken);
    }

    #[tokio::test]
    async fn a_client_that_leaves_drops_the_handler_and_the_body() {
        let mut served = serve(ListenLimits::default());
        let mut stream = served.connect().await;
        stream.write_all(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
        assert_eq!(served.event().await, "hangs");
        drop(stream);
        assert_eq!(served.event().await, "dropped");

        let mut stream = served.connect().await;
        stream.write_all(b"GET /driven HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
        read_until(&mut stream, "first\r\n").await;
        drop(stream);
        assert_eq!(served.event().await, "dropped");

        let mut stream = served.connect().await;
        stream.write_all(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
        let sender = served.streams.recv().await.expect("a stream");
        sender.send("event".into()).await.expect("the client reads");
        read_until(&mut stream, "event\r\n").await;
        drop(stream);
        tokio::time::timeout(LONG, sender.closed()).await.expect("in time");
    }

    #[tokio::test]
    async fn an_oversize_head_is_answered_431_and_read_by_a_client_that_still_sends() {
        let served = serve(ListenLimits::default());
        let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(12_000_000));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(200));
        for head in [long, many] {
            let mut stream = served.connect().await;
            stream.write_all(head.as_bytes()).await.expect("it reads on");
            let answer = read_to_end(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        }
    }

    #[tokio::test]
    async fn what_is_not_http_is_answered_400() {
        let served = serve(ListenLimits::default());
        for nonsense in ["SSH-2.0-OpenSSH_9.9\r\n\r\n", "GET / HTTP/1.1\r\nbad header\r\n\r\n"] {
            let mut stream = served.connect().await;
            stream.write_all(nonsense.as_bytes()).await.expect("open");
            let answer = read_to_end(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_large_body_can_be_refused_unread_and_the_answer_arrives() {
        let served = serve(ListenLimits::default());
        let mut stream = served.connect().await;
        let head = b"POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n";
        stream.write_all(head).await.expect("open");
        stream.write_all(&vec![b'x'; 4_000_000]).await.expect("it reads on");
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

        let mut stream = served.connect().await;
        let head = b"POST /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head).await.expect("open");
        stream.write_all(b"b\r\nhello world\r\n0\r\n\r\n").await.expect("open");
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }

    #[tokio::test]
    async fn a_body_arrives_whole_whatever_its_framing() {
        let served = serve(ListenLimits::default());
        let mut stream = served.connect().await;
        let declared = b"POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n";
        stream.write_all(declared).await.expect("open");
        stream.write_all(b"abc").await.expect("open");
        stream.write_all(b"def").await.expect("open");
        read_until(&mut stream, "\r\n\r\nabcdef").await;
        let chunked = b"POST /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(chunked).await.expect("open");
        stream.write_all(b"3\r\nabc\r\n3\r\nxyz\r\n0\r\n\r\n").await.expect("open");
        read_until(&mut stream, "\r\n\r\nabcxyz").await;
        // Of two framings at once, chunked is the one that counts (RFC 9112 §6.3).
        let both = b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\
            Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        stream.write_all(both).await.expect("open");
        read_until(&mut stream, "None").await;
    }

    #[tokio::test]
    async fn a_slow_head_is_cut_off() {
        let limits =
            ListenLimits { header_timeout: Duration::from_millis(20), ..ListenLimits::default() };
        let served = serve(limits);
        let mut stream = served.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nX: ").await.expect("open");
        assert_eq!(read_to_end(&mut stream).await, "");
        // So is a connection that says nothing after a request.
        let mut stream = served.connect().await;
        stream.write_all(GET).await.expect("open");
        assert!(read_to_end(&mut stream).await.ends_with("hello"));
    }

    #[tokio::test]
    async fn connections_over_the_limit_are_closed_and_counted() {
        let mut served = serve(ListenLimits { max_connections: 1, ..ListenLimits::default() });
        let mut first = served.connect().await;
        first.write_all(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
        let sender = served.streams.recv().await.expect("a stream");
        assert_eq!(read_to_end(&mut served.connect().await).await, "");
        assert_eq!(served.counts.refused.load(Ordering::Relaxed), 1);
        sender.send("event".into()).await.expect("undisturbed");
        drop(sender);
        read_until(&mut first, "event\r\n0\r\n\r\n").await;
        first.shutdown().await.expect("open");
        assert_eq!(read_to_end(&mut first).await, "");
        let mut next = served.connect().await;
        next.write_all(GET).await.expect("open");
        read_until(&mut next, "hello").await;
    }

    #[tokio::test]
    async fn who_has_been_idle_for_longest_makes_room_and_who_is_busy_does_not() {
        let mut served = serve(ListenLimits { max_connections: 4, ..ListenLimits::default() });
        let mut asks = served.connect().await;
        asks.write_all(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
        assert_eq!(served.event().await, "hangs");
        let mut listens = served.connect().await;
        listens.write_all(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
        let sender = served.streams.recv().await.expect("a stream");
        let mut served_once = served.connect().await;
        let mut begins = served.connect().await;
        begins.write_all(b"GET / HTTP/1.1\r\nX: ").await.expect("open");
        while served.counts.accepted.load(Ordering::Relaxed) < 4 {
            tokio::task::yield_now().await;
        }
        served_once.write_all(GET).await.expect("open"); // idle since later than the other
        read_until(&mut served_once, "hello").await;
        let mut newcomers = Vec::new(); // who leaves makes room too
        for idle in [&mut begins, &mut served_once] {
            let mut newcomer = served.connect().await;
            newcomer.write_all(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
            let begun = tokio::time::timeout(LONG, served.streams.recv()).await;
            newcomers.push((newcomer, begun.expect("in time").expect("it is served")));
            assert_eq!(read_to_end(idle).await, "");
        }
        sender.send("still".into()).await.expect("undisturbed");
        read_until(&mut listens, "still\r\n").await;
        drop(asks);
        assert_eq!(served.event().await, "dropped", "and not before");
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_connection_only() {
        let served = serve(ListenLimits { max_connections: 2, ..ListenLimits::default() });
        let mut other = served.connect().await;
        for _ in 0..3 {
            let mut stream = served.connect().await;
            stream.write_all(b"GET /panic HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
            assert_eq!(read_to_end(&mut stream).await, "");
        }
        other.write_all(GET).await.expect("open");
        read_until(&mut other, "hello").await;
    }

    #[tokio::test]
    async fn stopping_lets_what_is_in_flight_finish() {
        let mut served = serve(ListenLimits::default());
        let mut idle = served.connect().await;
        let mut busy = served.connect().await;
        busy.write_all(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
        let sender = served.streams.recv().await.expect("a stream");
        idle.write_all(GET).await.expect("open");
        read_until(&mut idle, "hello").await;
        served.stop();
        assert_eq!(read_to_end(&mut idle).await, "");
        assert!(TcpStream::connect(served.address).await.is_err());
        assert!(!served.task.is_finished());
        sender.send("late".into()).await.expect("the client reads");
        drop(sender);
        assert!(read_to_end(&mut busy).await.ends_with("late\r\n0\r\n\r\n"));
        served.stopped().await;
    }

    #[tokio::test]
    async fn what_does_not_finish_in_time_is_dropped() {
        let limits = ListenLimits { drain: Duration::from_millis(20), ..ListenLimits::default() };
        let mut served = serve(limits);
        let mut stream = served.connect().await;
        stream.write_all(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
        assert_eq!(served.event().await, "hangs");
        served.stop();
        assert_eq!(served.event().await, "dropped");
        assert_eq!(read_to_end(&mut stream).await, "");
        served.stopped().await;
    }

    #[tokio::test]
    async fn dropping_the_listener_drops_its_connections() {
        let mut served = serve(ListenLimits::default());
        let mut stream = served.connect().await;
        stream.write_all(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
        assert_eq!(served.event().await, "hangs");
        served.task.abort();
        assert_eq!(served.event().await, "dropped");
        assert_eq!(read_to_end(&mut stream).await, "");
    }

    #[test]
    fn a_complaint_is_logged_now_and_then_with_its_count() {
        let (mut complaint, begun) = (Complaint::default(), Instant::now());
        assert_eq!(complaint.raise(begun), Some(1));
        assert_eq!(complaint.raise(begun), None);
        assert_eq!(complaint.raise(begun + LOG_INTERVAL / 2), None);
        assert_eq!(complaint.raise(begun + LOG_INTERVAL), Some(3));
        assert_eq!(complaint.raise(begun + LOG_INTERVAL), None);
    }
}
