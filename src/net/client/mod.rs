//! The HTTP/1.1 client for upstreams: one [`Client`] per origin, with its pool of connections.
//!
//! The pool keeps both halves of a connection, hyper's `SendRequest` and its `Connection`,
//! together as a [`Line`], and the future that waits for an answer polls the connection itself:
//! no connection task, no hop to another task and back, and a cancelled call closes its connection,
//! which is what cancels a request of the specification 2026-07-28 (basic/transports/streamable-http).
//!
//! A request is sent again only when it certainly was never written: an idle connection that
//! turned out to be dead. Everything else is the caller's to judge, see
//! [`ClientError::maybe_processed`]. This never follows a redirect, keeps no cookies, decodes no
//! content encoding and logs nothing.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Request, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::Outgoing;
use super::fair::Fair;
use crate::control::breaker::Outcome;
use crate::task::within::perhaps_within;
use circuit::Pass;
use line::{Failure, Line};

mod circuit;
mod error;
mod line;
mod response;
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "peers of a test need no owner and no bounds")]
mod tests;

pub use circuit::Circuit;
pub use error::ClientError;
pub use response::{Body, Response};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// How many of a name's addresses are tried.
const MAX_ADDRESSES: usize = 8;

/// The largest read buffer of one connection, in bytes; it bounds what an idle connection holds.
const MAX_READ_BUFFER: usize = 64 * 1024;

/// Where an upstream listens.
#[derive(Debug, Clone)]
pub struct Origin {
    /// A name or an address; an IPv6 address without its brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// Whether to speak TLS. Not supported yet: [`Client::new`] refuses it.
    pub tls: bool,
    /// What the `Host` header says: host and, unless it is the scheme's default, port.
    pub authority: String,
}

/// What one client may hold.
#[derive(Debug, Clone)]
pub struct ClientLimits {
    /// Connections kept open without a request on them.
    pub max_idle: usize,
    /// How long such a connection is trusted. Common servers close at 5 s, and a request that
    /// meets the close is ambiguous, so stay below; a peer's `Keep-Alive: timeout=` shortens it.
    pub max_idle_time: Duration,
    /// Connections open at once, those of streams included.
    pub max_connections: usize,
    /// Requests waiting for a connection at once; the next one is refused.
    pub max_waiting: usize,
    /// Bytes of a response's status line and headers.
    pub max_header_bytes: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            max_idle: 64,
            max_idle_time: Duration::from_secs(4),
            max_connections: 1024,
            max_waiting: 1024,
            max_header_bytes: 64 * 1024,
        }
    }
}

/// How long each step of one request may take; `None` leaves it to the caller's own deadline.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waits {
    /// For a free connection when `max_connections` are in use.
    pub slot: Option<Duration>,
    /// For name resolution and connecting, all addresses together.
    pub connect: Option<Duration>,
    /// From the request's first byte to the response's last header.
    pub head: Option<Duration>,
}

/// The connections to one origin. Clones share them.
#[derive(Clone)]
pub struct Client(Arc<Pool>);

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0.origin).finish()
    }
}

impl Client {
    /// A client without any connection yet. What is known of the origin is in `circuit`.
    ///
    /// # Errors
    /// [`ClientError::TlsUnsupported`], [`ClientError::Authority`].
    pub fn new(
        origin: Origin,
        limits: ClientLimits,
        circuit: Circuit,
    ) -> Result<Self, ClientError> {
        if origin.tls {
            return Err(ClientError::TlsUnsupported);
        }
        let host = HeaderValue::from_str(&origin.authority).map_err(ClientError::Authority)?;
        let mut protocol = http1::Builder::new();
        let buffer = limits.max_header_bytes.max(MAX_READ_BUFFER);
        protocol.max_buf_size(buffer).max_header_size(limits.max_header_bytes);
        Ok(Self(Arc::new(Pool {
            slots: Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            idle: Mutex::new(Vec::new()),
            origin,
            host,
            protocol,
            limits,
            circuit,
        })))
    }

    /// Sends one request and returns its response as soon as the headers are there.
    ///
    /// The target is reduced to path and query; `Host` is set. Dropping the future closes the
    /// connection.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::maybe_processed`] tells whether to send it again is safe.
    pub async fn send(
        &self,
        request: Request<Outgoing>,
        waits: Waits,
    ) -> Result<Response, ClientError> {
        self.send_with(self.0.circuit.pass()?, request, waits).await
    }

    /// The same for who waits between attempts by a rule of its own: no breaker holds it up.
    ///
    /// # Errors
    /// Those of [`Self::send`], but for [`ClientError::Open`].
    pub async fn attempt(
        &self,
        request: Request<Outgoing>,
        waits: Waits,
    ) -> Result<Response, ClientError> {
        self.send_with(self.0.circuit.attempt(), request, waits).await
    }

    /// What is known of the origin.
    pub fn circuit(&self) -> &Circuit {
        &self.0.circuit
    }

    async fn send_with(
        &self,
        mut pass: Pass,
        request: Request<Outgoing>,
        waits: Waits,
    ) -> Result<Response, ClientError> {
        let sent = self.exchange(request, waits).await;
        pass.note(match &sent {
            Ok((response, ..)) => outcome(response.status()),
            Err(error) => error.outcome(),
        });
        let (response, line, slot) = sent?;
        let keep = self.0.keep(response.headers());
        Ok(Response::new(response, line, keep, Arc::clone(&self.0), (slot, pass)))
    }

    async fn exchange(
        &self,
        mut request: Request<Outgoing>,
        waits: Waits,
    ) -> Result<(http::Response<Incoming>, Box<Line>, OwnedSemaphorePermit), ClientError> {
        self.0.address(&mut request);
        let slot = self.0.slot(waits.slot).await?;
        loop {
            let (mut line, is_new) = match self.0.take_idle() {
                Some(line) => (line, false),
                None => (self.0.connect(waits.connect).await?, true),
            };
            match line.exchange_within(request, waits.head).await {
                Ok(response) => return Ok((response, line, slot)),
                Err(Failure::Unsent(_)) if is_new => return Err(ClientError::Unsent),
                Err(Failure::Unsent(unsent)) => request = *unsent,
                Err(Failure::Sent(error)) => return Err(error),
            }
        }
    }

    /// Closes idle connections that are dead or have outlived their time. They are also closed
    /// when the next request comes by; call this now and then for an origin without traffic.
    pub fn prune(&self) {
        let now = Instant::now();
        self.0.idle().retain_mut(|idle| idle.expires > now && idle.line.is_settled());
    }

    /// How many connections are open without a request on them.
    pub fn idle_connections(&self) -> usize {
        self.0.idle().len()
    }
}

/// Who stands before a server answers with these when the server is not there.
fn outcome(status: StatusCode) -> Outcome {
    match status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Outcome::Failed
        }
        _ => Outcome::Answered,
    }
}

struct Pool {
    origin: Origin,
    host: HeaderValue,
    protocol: http1::Builder,
    limits: ClientLimits,
    circuit: Circuit,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// The one used last stands last and is taken first, so that a burst's surplus ages.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    line: Box<Line>,
    expires: Instant,
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        // A panic under this lock leaves a valid list.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Origin form (RFC 9112 §3.2.1), and `Host` is ours to say.
    fn address(&self, request: &mut Request<Outgoing>) {
        request.headers_mut().insert(HOST, self.host.clone());
        if request.uri().scheme().is_some() || request.uri().authority().is_some() {
            let target = request.uri().path_and_query().cloned();
            *request.uri_mut() = target.map_or_else(|| Uri::from_static("/"), Uri::from);
        }
    }

    async fn slot(&self, limit: Option<Duration>) -> Result<OwnedSemaphorePermit, ClientError> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(slot);
        }
        let _waiting = Waiting::enter(&self.waiting, self.limits.max_waiting)?;
        match perhaps_within(limit, Arc::clone(&self.slots).acquire_owned()).await {
            Some(slot) => slot.map_err(|_| ClientError::Busy),
            None => Err(ClientError::SlotTimeout),
        }
    }

    fn take_idle(&self) -> Option<Box<Line>> {
        let mut idle = self.idle();
        let newest = idle.pop()?;
        if newest.expires > Instant::now() {
            return Some(newest.line);
        }
        // Lifetimes differ only by what the peer said, so the others are as good as gone too.
        let expired = std::mem::take(&mut *idle);
        drop(idle);
        drop(expired);
        None
    }

    fn put_idle(&self, mut line: Box<Line>, keep: Duration) {
        if keep.is_zero() || !line.settles() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle();
        let oldest_expired = idle.first().is_some_and(|oldest| oldest.expires <= now);
        let closing = if oldest_expired { Some(idle.remove(0)) } else { None };
        if idle.len() < self.limits.max_idle {
            idle.push(Idle { line, expires: now + keep });
        }
        drop(idle);
        drop(closing);
    }

    /// How long a connection may idle after a response with these headers.
    fn keep(&self, headers: &HeaderMap) -> Duration {
        let most = self.limits.max_idle_time;
        let Some(hint) = headers.get(KEEP_ALIVE).and_then(keep_alive_timeout) else {
            return most;
        };
        // The peer's clock starts earlier than ours, by the time its bytes travel.
        most.min(hint.saturating_sub(Duration::from_secs(1)))
    }

    async fn connect(&self, limit: Option<Duration>) -> Result<Box<Line>, ClientError> {
        let opened = perhaps_within(limit, self.open(limit)).await;
        let stream = opened.unwrap_or(Err(ClientError::ConnectTimeout))?;
        let handshake = self.protocol.handshake(TokioIo::new(Fair::new(stream))).await;
        let (sender, connection) = handshake.map_err(|_| ClientError::Unsent)?;
        Ok(Box::new(Line::new(sender, connection)))
    }

    async fn open(&self, limit: Option<Duration>) -> Result<TcpStream, ClientError> {
        let found = lookup_host((self.origin.host.as_str(), self.origin.port)).await;
        let addresses: Vec<_> = found.map_err(ClientError::Resolve)?.take(MAX_ADDRESSES).collect();
        // A silent address must not use up the time of those after it.
        let share = limit.map(|all| all / u32::try_from(addresses.len().max(1)).unwrap_or(1));
        let mut failure = ClientError::Resolve(io::ErrorKind::NotFound.into());
        for address in addresses {
            match perhaps_within(share, TcpStream::connect(address)).await {
                Some(Ok(stream)) => {
                    stream.set_nodelay(true).map_err(ClientError::Connect)?;
                    return Ok(stream);
                }
                Some(Err(error)) => failure = ClientError::Connect(error),
                None => failure = ClientError::ConnectTimeout,
            }
        }
        Err(failure)
    }
}

/// One request among those waiting for a slot.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize, max: usize) -> Result<Self, ClientError> {
        let entered = Self(count);
        if count.fetch_add(1, Ordering::Relaxed) < max {
            Ok(entered)
        } else {
            Err(ClientError::Busy)
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The `timeout` parameter of a `Keep-Alive` header (RFC 2068 §19.7.1.1).
fn keep_alive_timeout(value: &HeaderValue) -> Option<Duration> {
    let parameters = value.to_str().ok()?;
    parameters.split(',').find_map(|parameter| {
        let (name, seconds) = parameter.split_once('=')?;
        let seconds = seconds.trim().trim_matches('"').parse().ok()?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| Duration::from_secs(seconds))
    })
}
