//! A client that has started us as its server and speaks over our standard input and output (MCP
//! 2026-07-28 and 2025-11-25 basic/transports, "stdio").
//!
//! Reading never waits for writing, nor for what a message asks for: an answer to a question of
//! ours, or a cancellation, can stand behind any number of requests. When too much is under way,
//! reading pauses for a while and then refuses.

pub mod client;
pub mod flights;
pub mod pen;

pub use client::Client;
pub use flights::Flights;
pub use pen::Pen;

use crate::downstream::Front;
use crate::mcp::{Method, meta};
use crate::oauth::Permit;
use crate::relay::Endpoint;
use crate::task::{Scope, within};
use crate::wire::jsonrpc::{Code, Message, Rejected, Request, RequestId, batch};
use crate::wire::line::{LineDecoder, LineError};
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most requests that are under way.
pub const MOST_CALLS: usize = 1024;

/// Most subscriptions that are open.
pub const MOST_LISTENS: usize = 64;

/// Bytes of messages that may be under way.
pub const MOST_BYTES: usize = 256 << 20;

/// How long reading pauses for room before it refuses: what makes room may be yet to be read.
pub const PAUSE: Duration = Duration::from_secs(5);

/// How long requests under way may take to end when their client has said its last word.
pub const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How long the last messages may take to be written.
pub const LAST_WORDS: Duration = Duration::from_secs(1);

/// Bytes that are read at once.
const READ_CHUNK: usize = 64 << 10;

/// Why serving has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client has closed our input.
    Input,
    /// It does not read our output any more.
    Output,
    /// We were told to stop.
    Stopped,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "the client has closed our input",
            Self::Output => "the client does not read our output",
            Self::Stopped => "as told",
        })
    }
}

/// Serves one client until it is gone, or until `stop` resolves; everything that it has asked for
/// has ended then.
pub async fn serve(
    front: Arc<Front>,
    permit: Permit,
    endpoint: Endpoint,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin + Send + 'static,
    stop: impl Future<Output = ()>,
) -> End {
    let scope = front.scope.child("stdio client");
    let (pen, waiting) = Pen::new();
    scope.spawn("standard output", pen::write(output, waiting));
    let max_line = front.limits.line_bytes;
    let reader = Reader {
        calls: scope.child("requests"),
        standing: scope.child("subscriptions"),
        room: [MOST_CALLS, MOST_LISTENS, MOST_BYTES >> 10]
            .map(|most| Arc::new(Semaphore::new(most))),
        in_vain: AtomicBool::new(false),
        client: Client::new(front, permit, endpoint, pen.clone()),
    };
    reader.standing.spawn("notices", Arc::clone(&reader.client).notices(reader.standing.token()));
    let end = tokio::select! {
        () = reader.read(input, max_line) => End::Input,
        () = pen.broken() => End::Output,
        () = stop => End::Stopped,
    };
    log::info!("stopping ({end})");
    drop(pen);
    reader.finish(end).await;
    scope.shutdown(LAST_WORDS).await; // the writer ends when it has written everything
    end
}

/// Takes what the client sends.
struct Reader {
    client: Arc<Client>,
    calls: Scope,
    /// What lasts until we end.
    standing: Scope,
    /// For calls, for subscriptions, and for KiB of both.
    room: [Arc<Semaphore>; 3],
    /// Room was waited for in vain, and there was none since.
    in_vain: AtomicBool,
}

/// What a message under way takes up.
type Place = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Reader {
    async fn read(&self, mut input: impl AsyncRead + Unpin, max_line: usize) {
        let mut lines = LineDecoder::new(max_line);
        let mut buffer = BytesMut::with_capacity(READ_CHUNK);
        loop {
            while let Some(line) = lines.next(&mut buffer) {
                self.take(line).await;
            }
            buffer.reserve(READ_CHUNK);
            match input.read_buf(&mut buffer).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) => {
                    log::warn!("standard input: {e}");
                    break;
                }
            }
        }
        if let Some(Err(e)) = lines.finish(&mut buffer) {
            log::warn!("standard input: {e}");
        }
    }

    async fn take(&self, line: Result<Bytes, LineError>) {
        let (client, size) = (&self.client, line.as_ref().map_or(0, Bytes::len));
        let message = match line {
            Err(e) => Err(Rejected::new(Code::InvalidRequest, e.to_string())),
            Ok(line) if batch::is_batch(&line) => match batch::split(&line) {
                Ok(messages) => {
                    let work = Box::pin(Arc::clone(client).batch(messages));
                    return self.start(None, size, work).await;
                }
                Err(rejected) => Err(rejected),
            },
            Ok(line) => Message::parse(line),
        };
        match message {
            Ok(Message::Request(request)) => self.request(request, size).await,
            Ok(Message::Notification(notification)) => client.notified(&notification.call),
            Ok(Message::Response(response)) => client.answered(&response),
            Err(rejected) => {
                let refusal = Arc::clone(client).refuse(rejected);
                self.start(None, size, refusal).await;
            }
        }
    }

    async fn request(&self, request: Request, size: usize) {
        let (client, id) = (Arc::clone(&self.client), request.id.clone());
        let is_modern = request.call.meta_value(meta::PROTOCOL_VERSION).is_some();
        let is = |method: Method| request.call.method_name() == method.name();
        if is_modern && is(Method::Listen) {
            return self.listen(request).await;
        }
        if !is_modern && is(Method::Initialize) {
            return match client.introduce() {
                // it cannot be cancelled (2025-11-25 basic/utilities/cancellation)
                Ok(()) => self.start(Some(id), size, client.begin(request)).await,
                Err(rejected) => {
                    self.start(None, 0, client.refuse(rejected.with_id(Some(id)))).await;
                }
            };
        }
        let flight = client.flights.take_off(&id);
        // boxed, because what is large would be moved several times on its way to its task
        if is_modern {
            let work = Box::pin(client.modern(request, self.standing.token()));
            self.start(Some(id), size, async move {
                flight.fly(work).await;
            })
            .await;
        } else {
            self.start(Some(id), size, Box::pin(client.legacy(request, flight))).await;
        }
    }

    /// Opens a subscription. They stay, so to wait for a place would be in vain.
    async fn listen(&self, request: Request) {
        let (client, id) = (Arc::clone(&self.client), request.id.clone());
        let [_, listens, _] = &self.room;
        let Ok(place) = Arc::clone(listens).try_acquire_owned() else {
            let text = "too many subscriptions are open";
            let rejected = Rejected::new(Code::Internal, text).with_id(Some(id));
            return self.start(None, 0, client.refuse(rejected)).await;
        };
        let flight = client.flights.take_off(&id);
        let work = Box::pin(flight.fly(client.modern(request, self.standing.token())));
        self.standing.spawn("subscription over stdio", async move {
            work.await;
            drop(place);
        });
    }

    /// Begins work for a message, as soon as there is room for it.
    async fn start(
        &self,
        id: Option<RequestId>,
        size: usize,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        // what made no room while reading paused will not while it pauses again for each message
        let patience = if self.in_vain.load(Relaxed) { Duration::ZERO } else { PAUSE };
        let place = within(patience, self.place(size)).await;
        self.in_vain.store(place.is_none(), Relaxed);
        let Some(place) = place else {
            let rejected = Rejected::new(Code::Internal, "too many requests are under way");
            return Arc::clone(&self.client).refuse(rejected.with_id(id)).await;
        };
        self.calls.spawn("request over stdio", async move {
            work.await;
            drop(place);
        });
    }

    async fn place(&self, size: usize) -> Option<Place> {
        let [calls, _, bytes] = &self.room;
        let kib = u32::try_from(size.min(MOST_BYTES) >> 10).unwrap_or(u32::MAX);
        let call = Arc::clone(calls).acquire_owned().await.ok()?;
        Some((call, Arc::clone(bytes).acquire_many_owned(kib).await.ok()?))
    }

    /// Lets what is under way finish, but for subscriptions and what the client would be asked.
    async fn drain(&self) {
        let front = &self.client.front;
        front.sessions.fall_silent();
        if within(front.drain, self.calls.idle()).await.is_none() {
            log::warn!("requests did not finish within {:?} and are given up", front.drain);
        }
    }

    /// Ends everything in its order: what is nearly done is done, then the subscriptions say that
    /// they end, then the session does.
    async fn finish(self, end: End) {
        if end == End::Output {
            self.calls.abort(); // nobody hears of them
            self.standing.abort();
        }
        if end == End::Stopped {
            self.drain().await; // its client is there and waits
        }
        self.calls.shutdown(LAST_ANSWERS).await;
        self.standing.shutdown(LAST_WORDS).await;
        self.client.end();
    }
}
