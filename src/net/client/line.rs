//! One connection with both of its halves in one hand.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::super::body::Outgoing;
use super::super::fair::Fair;
use super::error::ClientError;
use crate::task::quiet::{is_quiet, quiet};
use crate::task::within::perhaps_within;

/// Both halves of one connection, and whoever holds it polls it.
pub(super) struct Line {
    sender: http1::SendRequest<Outgoing>,
    connection: Driven,
}

/// The half that moves bytes when it is polled.
struct Driven {
    /// `None` once it has ended.
    inner: Option<Connection>,
    /// The last poll was a quiet one of the caller's.
    asked_quietly: bool,
}

/// Why a [`Line`] has no response.
pub(super) enum Failure {
    /// Not a byte of the request was written: here it is again.
    Unsent(Box<Request<Outgoing>>),
    Sent(ClientError),
}

impl Line {
    pub(super) fn new(sender: http1::SendRequest<Outgoing>, connection: Connection) -> Self {
        let connection = Driven { inner: Some(connection), asked_quietly: false };
        Self { sender, connection }
    }

    pub(super) async fn exchange_within(
        &mut self,
        request: Request<Outgoing>,
        limit: Option<Duration>,
    ) -> Result<Response<Incoming>, Failure> {
        perhaps_within(limit, self.exchange(request))
            .await
            .unwrap_or(Err(Failure::Sent(ClientError::HeadTimeout)))
    }

    // On a reused connection hyper looks for an end or for stray bytes before it takes the
    // request; it is then handed back. This is the check at checkout.
    async fn exchange(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, Failure> {
        let mut response = pin!(self.sender.try_send_request(request));
        let connection = &mut self.connection;
        let mut is_sent = false;
        let answer = poll_fn(|cx| {
            let mut ready = || response.as_mut().poll(&mut quiet());
            if std::mem::replace(&mut is_sent, true) {
                return connection.poll_until(cx, ready);
            }
            connection.asked_quietly = is_quiet(cx);
            connection.drive(cx); // there cannot be an answer before this
            ready()
        });
        answer.await.map_err(|mut error| match error.take_message() {
            Some(unsent) => Failure::Unsent(Box::new(unsent)),
            None => Failure::Sent(error.into_error().into()),
        })
    }

    /// Moves the connection on, then asks `ready` whether that was enough.
    ///
    /// Whatever `ready` waits for comes from this connection alone, so `ready` need wake nobody.
    pub(super) fn poll_until<T>(
        &mut self,
        cx: &mut Context<'_>,
        ready: impl FnMut() -> Poll<T>,
    ) -> Poll<T> {
        self.connection.poll_until(cx, ready)
    }

    /// Whether the connection is alive and between requests.
    pub(super) fn is_settled(&mut self) -> bool {
        self.connection.drive(&mut quiet());
        self.connection.inner.is_some() && self.sender.is_ready()
    }

    /// The same, where the end of a response was just read from it: hyper asks for the next
    /// request only after it has looked for stray bytes.
    pub(super) fn settles(&mut self) -> bool {
        self.sender.is_ready() || self.is_settled()
    }
}

type Connection = http1::Connection<TokioIo<Fair<TcpStream>>, Outgoing>;

impl Driven {
    /// hyper's own channels wake the task that is just running, once per frame, so the connection
    /// is polled quietly first, unless the caller has just done so.
    fn poll_until<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut ready: impl FnMut() -> Poll<T>,
    ) -> Poll<T> {
        let was_asked = std::mem::replace(&mut self.asked_quietly, is_quiet(cx));
        if !self.asked_quietly && !was_asked {
            self.drive(&mut quiet());
            if let Poll::Ready(value) = ready() {
                return Poll::Ready(value);
            }
        }
        self.drive(cx);
        ready()
    }

    // A connection that ended is dropped: that tells whoever waits for an answer or a frame, with
    // the error hyper met, if it met one. So its result says nothing new.
    fn drive(&mut self, cx: &mut Context<'_>) {
        let connection = &mut self.inner;
        if connection.as_mut().is_some_and(|connection| Pin::new(connection).poll(cx).is_ready()) {
            *connection = None;
        }
    }
}
