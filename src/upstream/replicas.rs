//! The servers behind one entry: several addresses of the same thing.
//!
//! Whom a request goes to is decided by [`breaker::best`] from what is known of each. A modern
//! server keeps nothing between requests, so each request may go to another one; a legacy session
//! lives where it began (MCP 2025-11-25 basic/transports, "Session Management"). Never here: a
//! request sent twice.

use crate::control::breaker::{self, Standing};
use crate::mcp::Era;
use crate::net::body::Outgoing;
use crate::net::client::{Client, ClientError, Response, Waits};
use http::{Request, Uri};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

/// How long connecting to one server may take where there are others.
const CONNECT: Duration = Duration::from_secs(2);

/// One server.
pub struct Destination {
    /// Connects there.
    pub client: Client,
    /// Path and query.
    pub target: Uri,
}

/// What spaces attempts to shake hands with a server that has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pacing {
    /// Whoever attempts it: it is not to wait for the breaker as well.
    Own,
    /// The breaker.
    Breaker,
}

/// All of them, at least one, and who of them is asked.
pub struct Replicas {
    all: Vec<Destination>,
    pacing: Pacing,
    /// Whom the handshake, and what belongs to a session, goes to.
    home: AtomicUsize,
    /// Those that were home, one bit each.
    tried: AtomicU16,
    /// Hands were shaken.
    settled: AtomicBool,
    /// Each request may go to another.
    roams: AtomicBool,
}

impl Replicas {
    /// All of the servers of an entry, of which the best is chosen for the handshake.
    pub fn new(all: Vec<Destination>, pacing: Pacing) -> Self {
        let (settled, roams) = (AtomicBool::new(false), AtomicBool::new(false));
        let (home, tried) = (AtomicUsize::new(0), AtomicU16::new(0));
        let replicas = Self { all, pacing, home, tried, settled, roams };
        replicas.move_to(replicas.best(0));
        replicas
    }

    fn best(&self, avoid: u16) -> usize {
        breaker::best(self.standings(), avoid)
    }

    fn standings(&self) -> impl Iterator<Item = Standing> {
        self.all.iter().map(|one| one.client.circuit().standing())
    }

    fn move_to(&self, home: usize) {
        self.home.store(home, Ordering::Relaxed);
        self.tried.fetch_or(bit(home), Ordering::Relaxed);
    }

    /// Another one becomes home; `false` when all were.
    pub(super) fn next_home(&self) -> bool {
        let tried = self.tried.load(Ordering::Relaxed);
        let next = self.best(tried);
        let is_new = tried & bit(next) == 0;
        if is_new {
            self.move_to(next);
        }
        is_new
    }

    /// Hands were shaken: from now on the breakers say whether a request goes out, and modern ones
    /// go to any of the servers.
    pub(super) fn settle(&self, era: Era) {
        self.settled.store(true, Ordering::Relaxed);
        self.roams.store(era == Era::Modern && self.all.len() > 1, Ordering::Relaxed);
    }

    /// Whom the next request goes to; those of `avoid`, one bit each, only if there is no other.
    pub(super) fn choose(&self, avoid: u16) -> usize {
        match self.roams() {
            true => self.best(avoid),
            false => self.home.load(Ordering::Relaxed),
        }
    }

    /// Whether what one of them did not take can go to another one.
    pub(super) fn has_other(&self, at: usize) -> bool {
        self.roams() && self.is_other_open(at)
    }

    /// Home has failed by doing nothing.
    pub(super) fn blame(&self) {
        let home = self.all.get(self.home.load(Ordering::Relaxed));
        if let (Some(home), false) = (home, self.roams()) {
            home.client.circuit().blame();
        }
    }

    /// Whether each request may go to another one.
    pub(super) fn roams(&self) -> bool {
        self.roams.load(Ordering::Relaxed)
    }

    /// Whether home is shut while another one is not: it is to be left.
    pub(super) fn is_stranded(&self) -> bool {
        let home = self.home.load(Ordering::Relaxed);
        let is_shut = self.all.get(home).is_some_and(|home| !home.client.circuit().is_closed());
        !self.roams() && is_shut && self.is_other_open(home)
    }

    /// Whether home has failed just now, and another one can be asked.
    pub(super) fn can_move(&self) -> bool {
        let home = self.home.load(Ordering::Relaxed);
        let has_failed = |standing: Standing| standing.suspect || standing.wait > Duration::ZERO;
        !self.roams()
            && self.standings().nth(home).is_some_and(has_failed)
            && self.is_other_open(home)
    }

    fn is_other_open(&self, at: usize) -> bool {
        let mut others = self.standings().enumerate().filter(|(other, _)| *other != at);
        others.any(|(_, standing)| standing.wait == Duration::ZERO)
    }

    pub(super) async fn send(
        &self,
        request: Request<Outgoing>,
        waits: Waits,
    ) -> Result<Response, ClientError> {
        self.send_to(self.choose(0), request, waits).await
    }

    pub(super) async fn send_to(
        &self,
        at: usize,
        mut request: Request<Outgoing>,
        mut waits: Waits,
    ) -> Result<Response, ClientError> {
        let one = self.all.get(at).ok_or(ClientError::Unsent)?;
        *request.uri_mut() = one.target.clone();
        if self.all.len() > 1 {
            waits.connect = Some(waits.connect.map_or(CONNECT, |wait| wait.min(CONNECT)));
        }
        match self.pacing == Pacing::Own && !self.settled.load(Ordering::Relaxed) {
            true => one.client.attempt(request, waits).await,
            false => one.client.send(request, waits).await,
        }
    }
}

fn bit(at: usize) -> u16 {
    u32::try_from(at).map_or(0, |at| 1_u16.wrapping_shl(at))
}
