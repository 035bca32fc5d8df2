//! One connection from its transport to its end in order, whoever keeps it.

use crate::bridge::initialize::Peer;
use crate::config::{Entry, ProtocolPin};
use crate::control::confine::Sandboxed;
use crate::mcp::{ClientCapabilities, Era};
use crate::sys::spawn::{Exit, Process};
use crate::task::{Scope, Token};
use crate::upstream::call::Unrequested;
use crate::upstream::lines::MAX_UNREQUESTED;
use crate::upstream::link::{HandshakeError, Link, Wire};
use crate::upstream::replicas::Pacing;
use crate::upstream::tools::Tools;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a child may take to end after the end of its input, and again after SIGTERM.
pub const STOP_GRACE: Duration = Duration::from_secs(2);

/// A connection while it is being used, and what must be stopped after it.
pub(super) struct Connection {
    pub(super) link: Arc<Link>,
    pub(super) scope: Arc<Scope>,
    pub(super) process: Option<Process>,
    pub(super) sandboxed: Option<Sandboxed>,
    pub(super) unrequested: mpsc::Receiver<Unrequested>,
    pub(super) back: mpsc::Sender<Unrequested>,
}

/// How a new connection is met.
#[derive(Clone, Copy)]
pub(super) enum Greeting<'a> {
    /// The era is found out.
    Find(ProtocolPin),
    /// The era is that of another connection; these are the capabilities of whoever is behind
    /// this one.
    Again(&'a Peer, &'a ClientCapabilities),
}

/// Why no connection came to be.
pub(super) struct Failure {
    pub(super) why: String,
    /// The child ended on the probe: the next one is to be met with `initialize`.
    pub(super) on_probe: bool,
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self { why, on_probe: false }
    }
}

impl Connection {
    /// Opens the transport of an entry and shakes hands; all of it lives in `scope`.
    pub(super) async fn open(
        tools: &Tools,
        entry: &Entry,
        scope: Arc<Scope>,
        stop: &Token,
        greeting: Greeting<'_>,
    ) -> Result<Self, Failure> {
        let (back, unrequested) = mpsc::channel(MAX_UNREQUESTED);
        let pacing = match greeting {
            Greeting::Find(_) => Pacing::Own,
            Greeting::Again(..) => Pacing::Breaker,
        };
        let opened = tools.open(entry, &scope, back.clone(), pacing).await?;
        let bound = entry.timeouts.start;
        let http = opened.wire.http().map(Arc::clone);
        let shake = shake(opened.wire, greeting);
        let established = tokio::select! {
            established = tokio::time::timeout(bound, shake) => established,
            () = stop.cancelled() => return Err("the gateway is stopping".to_owned().into()),
        };
        let (process, sandboxed) = (opened.process, opened.sandboxed);
        match established {
            Ok(Ok(link)) => {
                let link = Arc::new(link);
                Ok(Self { link, scope, process, sandboxed, unrequested, back })
            }
            Ok(Err(e)) => {
                let on_probe = process.is_some() && e == HandshakeError::DiedOnProbe;
                Err(Failure { why: explain(e, process).await, on_probe })
            }
            Err(_) => {
                if let Some(http) = http {
                    http.replicas.blame(); // it has failed by doing nothing
                }
                halt(process).await;
                Err(format!("did not become ready within {} ms", bound.as_millis()).into())
            }
        }
    }

    /// Ends it in order: its input, then the child, then what waits on it. Says why it ended.
    pub(super) async fn end(self, why: String) -> String {
        let Self { link, scope, process, .. } = self;
        link.wire().give_up(&why); // whoever waits is told before anything else is waited for
        match link.wire() {
            Wire::Lines(lines) => lines.close(),
            Wire::Http(http) if link.era() == Era::Legacy => http.end_session().await,
            Wire::Http(_) => {}
        }
        drop(link);
        let exit = halt(process).await;
        scope.abort();
        match exit {
            Some(exit) => format!("{why} ({exit})"),
            None => why,
        }
    }
}

/// Shakes hands. Of several servers, those that are not there are passed over.
async fn shake(mut wire: Wire, greeting: Greeting<'_>) -> Result<Link, HandshakeError> {
    loop {
        let http = wire.http().map(Arc::clone);
        let shaken = match greeting {
            Greeting::Find(pin) => Link::establish(wire, pin).await,
            Greeting::Again(peer, declared) => Link::again(wire, peer, declared).await,
        };
        let is_down = matches!(shaken, Err(HandshakeError::Call(_) | HandshakeError::DiedOnProbe));
        match http.filter(|http| is_down && http.elsewhere()) {
            Some(http) => wire = Wire::Http(http),
            None => return shaken,
        }
    }
}

/// A child that has ended says more by its exit than by its closed pipe.
async fn explain(error: HandshakeError, process: Option<Process>) -> String {
    let Some(mut process) = process else { return error.to_string() };
    if matches!(error, HandshakeError::Refused(_)) {
        halt(Some(process)).await;
        return error.to_string();
    }
    match tokio::time::timeout(Duration::from_millis(200), process.wait()).await {
        Ok(exit) => format!("{exit} before it was ready"),
        Err(_) => {
            halt(Some(process)).await;
            match error {
                HandshakeError::DiedOnProbe => {
                    "it closed its output before it was ready".to_owned()
                }
                error => error.to_string(),
            }
        }
    }
}

/// How long what a child has written last may take to be read once it has ended.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Returns when a child has ended but its pipes are open, and says why that is the end: what it has
/// started can hold them open.
pub(super) async fn exited(process: &mut Option<Process>) -> String {
    let Some(process) = process else { return std::future::pending().await };
    if process.wait().await == Exit::Lost {
        return "its keeper was killed".to_owned();
    }
    tokio::time::sleep(LAST_WORDS).await;
    "it ended".to_owned()
}

async fn halt(process: Option<Process>) -> Option<String> {
    match process {
        Some(process) => Some(process.stop(STOP_GRACE).await.to_string()),
        None => None,
    }
}
