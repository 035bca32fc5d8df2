//! One established connection to an upstream, and the handshake that establishes it.
//!
//! The era is found by `server/discover` and by nothing else: servers of the old era answer
//! other requests before `initialize`, and some servers lock themselves to the era of the first
//! message (MCP 2026-07-28 basic/transports/stdio and streamable-http, "Backward Compatibility").

use crate::bridge::initialize::{self, Peer, Verdict};
use crate::config::ProtocolPin;
use crate::mcp::{ClientCapabilities, Era, LogLevel, Revision};
use crate::upstream::CallError;
use crate::upstream::call::{Call, Outbound};
use crate::upstream::http::HttpLink;
use crate::upstream::lines::Lines;
use crate::wire::jsonrpc::Response;
use bytes::Bytes;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a server may take to answer the probe before `initialize` is sent as well. Cold
/// starts through npx and uvx take seconds.
pub const PROBE: Duration = Duration::from_secs(10);

/// A transport, with nothing said about the peer.
#[derive(Debug)]
pub enum Wire {
    /// Lines over pipes or memory.
    Lines(Lines),
    /// Streamable HTTP.
    Http(Arc<HttpLink>),
}

/// An established connection: a transport, and what its peer said of itself.
#[derive(Debug)]
pub struct Link {
    wire: Wire,
    /// Revision, capabilities, instructions.
    pub peer: Peer,
    level: Mutex<Option<LogLevel>>,
}

/// Why no connection came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandshakeError {
    /// The transport failed.
    Call(CallError),
    /// The peer refused, or speaks no revision that we speak.
    Refused(String),
    /// The peer ended on the probe: a fresh one is to be met with `initialize` at once.
    DiedOnProbe,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => write!(f, "{error}"),
            Self::Refused(why) => f.write_str(why),
            Self::DiedOnProbe => write!(f, "it ended when it was asked for its protocol version"),
        }
    }
}

impl std::error::Error for HandshakeError {}

impl From<CallError> for HandshakeError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl Wire {
    /// Takes an id for a request.
    pub fn reserve(&self) -> Result<Call, CallError> {
        match self {
            Self::Lines(lines) => lines.reserve().map(Call::pipe),
            Self::Http(link) => Ok(Call::http(link.reserve())),
        }
    }

    /// Whether its server has failed while there is another one that has not.
    pub(super) fn can_move(&self) -> bool {
        self.http().is_some_and(|link| link.replicas.can_move())
    }

    /// The link, if it is one over HTTP.
    pub(super) fn http(&self) -> Option<&Arc<HttpLink>> {
        match self {
            Self::Http(link) => Some(link),
            Self::Lines(_) => None,
        }
    }

    /// Sends a notification.
    pub async fn notify(&self, message: Bytes) -> Result<(), CallError> {
        match self {
            Self::Lines(lines) => lines.notify(message).await,
            Self::Http(link) => link.notify(message).await,
        }
    }

    /// How often something came from the peer.
    pub(super) fn arrivals(&self) -> u64 {
        match self {
            Self::Lines(lines) => lines.arrivals(),
            Self::Http(link) => link.arrivals(),
        }
    }

    /// Ends every request in flight, since the peer does not answer any more.
    pub(super) fn give_up(&self, why: &str) {
        match self {
            Self::Lines(lines) => lines.give_up(why),
            Self::Http(link) => link.give_up(why),
        }
    }

    /// The handshake is over.
    fn settle(&self, era: Era) {
        if let Self::Http(link) = self {
            link.replicas.settle(era);
        }
    }

    fn negotiate(&self, revision: Revision, roots: bool) {
        match self {
            Self::Http(link) => link.negotiate(revision, roots),
            Self::Lines(lines) => lines.negotiate(revision, roots),
        }
    }

    fn forget(&self) {
        match self {
            Self::Http(link) => link.forget(),
            Self::Lines(lines) => lines.forget(),
        }
    }

    async fn begin(
        &self,
        method: &'static str,
        message: impl FnOnce(u64) -> Bytes,
    ) -> Result<Call, CallError> {
        let mut call = self.reserve()?;
        let body = vec![message(call.id())];
        call.send(Outbound { body, method: method.into(), ..Outbound::default() }).await?;
        Ok(call)
    }
}

impl Link {
    /// Finds the era and shakes hands as it wants it.
    pub async fn establish(wire: Wire, pin: ProtocolPin) -> Result<Self, HandshakeError> {
        let peer = match pin {
            ProtocolPin::Legacy => initialize_only(&wire).await?,
            ProtocolPin::Modern => modern_only(&wire).await?,
            ProtocolPin::Auto => find_era(&wire).await?,
        };
        wire.negotiate(peer.revision, false);
        if peer.revision.era() == Era::Legacy {
            wire.notify(initialize::initialized_notification()).await?;
        }
        wire.settle(peer.revision.era());
        Ok(Self { wire, peer, level: Mutex::default() })
    }

    /// Shakes hands with a peer whose era is known from another connection. It is told what
    /// whoever is behind this one can be asked for.
    pub async fn again(
        wire: Wire,
        known: &Peer,
        declared: &ClientCapabilities,
    ) -> Result<Self, HandshakeError> {
        let level = Mutex::default();
        if known.revision.era() == Era::Modern {
            wire.negotiate(known.revision, false);
            wire.settle(Era::Modern);
            return Ok(Self { wire, peer: known.clone(), level });
        }
        let introduce = |id| initialize::initialize_request(id, declared);
        let peer = read_initialized(&wire.begin("initialize", introduce).await?.response().await?)?;
        wire.negotiate(peer.revision, declared.roots);
        wire.notify(initialize::initialized_notification()).await?;
        wire.settle(Era::Legacy);
        Ok(Self { wire, peer, level })
    }

    /// The era of the peer.
    pub fn era(&self) -> Era {
        self.peer.revision.era()
    }

    /// Whether the peer must be told that log messages from `level` on are wanted: only if it
    /// was never asked for as much.
    pub fn wants(&self, level: LogLevel) -> bool {
        let mut told = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let more = told.is_none_or(|told| level < told);
        if more {
            *told = Some(level);
        }
        more
    }

    /// The transport.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Sends a request of our own and waits for its response.
    pub async fn ask(
        &self,
        method: &'static str,
        message: impl FnOnce(u64) -> Bytes,
    ) -> Result<Response, CallError> {
        self.wire.begin(method, message).await?.response().await
    }

    /// Begins a request of our own whose notifications are wanted.
    pub async fn begin(
        &self,
        method: &'static str,
        message: impl FnOnce(u64) -> Bytes,
    ) -> Result<Call, CallError> {
        self.wire.begin(method, message).await
    }
}

async fn modern_only(wire: &Wire) -> Result<Peer, HandshakeError> {
    match probe(wire, Revision::MODERN).await? {
        Verdict::Modern(peer) => Ok(peer),
        Verdict::Incompatible(why) => Err(HandshakeError::Refused(why)),
        _ => Err(HandshakeError::Refused(
            "it does not speak protocol version 2026-07-28, which its entry demands".into(),
        )),
    }
}

async fn find_era(wire: &Wire) -> Result<Peer, HandshakeError> {
    wire.negotiate(Revision::MODERN, false);
    let begun = wire
        .begin("server/discover", |id| initialize::discover_request(id, Revision::MODERN))
        .await;
    let mut call = begun.map_err(died)?;
    let first = tokio::time::timeout(PROBE, answer(&mut call)).await;
    let verdict = match first {
        Ok(Ok(response)) => initialize::probe_verdict(&response),
        Ok(Err(e)) => judge_failure(e)?,
        Err(_) => return slow(wire, call).await,
    };
    settle(wire, verdict).await
}

/// HTTP servers of the old era refuse the probe with a status and no JSON-RPC body; server
/// errors, refused credentials and broken connections say nothing about the era.
fn judge_failure(error: CallError) -> Result<Verdict, HandshakeError> {
    match error {
        CallError::Status(status)
            if (400..500).contains(&status) && status != 401 && status != 403 =>
        {
            Ok(Verdict::Legacy)
        }
        CallError::BadAnswer(_) | CallError::SessionLost | CallError::SessionUnknown => {
            Ok(Verdict::Legacy)
        }
        other => Err(died(other)),
    }
}

fn died(error: CallError) -> HandshakeError {
    match error {
        CallError::Gone(_) => HandshakeError::DiedOnProbe,
        other => HandshakeError::Call(other),
    }
}

async fn answer(call: &mut Call) -> Result<Response, CallError> {
    loop {
        if let crate::upstream::call::Event::Response(response) = call.next().await? {
            return Ok(response);
        }
    }
}

async fn settle(wire: &Wire, verdict: Verdict) -> Result<Peer, HandshakeError> {
    match verdict {
        Verdict::Modern(peer) => Ok(peer),
        Verdict::RetryAt(revision) => match probe(wire, revision).await? {
            Verdict::Modern(peer) => Ok(peer),
            _ => Err(HandshakeError::Refused("it refused a protocol version that it named".into())),
        },
        Verdict::Legacy => initialize_only(wire).await,
        Verdict::Incompatible(why) => Err(HandshakeError::Refused(why)),
    }
}

async fn probe(wire: &Wire, revision: Revision) -> Result<Verdict, HandshakeError> {
    wire.negotiate(revision, false);
    let call =
        wire.begin("server/discover", |id| initialize::discover_request(id, revision)).await?;
    Ok(initialize::probe_verdict(&call.response().await?))
}

/// What a connection declares that serves several clients.
fn introduce(id: u64) -> Bytes {
    initialize::initialize_request(id, &ClientCapabilities::bridged())
}

async fn initialize_only(wire: &Wire) -> Result<Peer, HandshakeError> {
    wire.forget();
    let call = wire.begin("initialize", introduce).await?;
    read_initialized(&call.response().await?)
}

fn read_initialized(response: &Response) -> Result<Peer, HandshakeError> {
    initialize::read_initialize_result(response).map_err(HandshakeError::Refused)
}

/// No answer to the probe yet: an old server that is silent, or a cold start. `initialize` goes
/// out as well, and the probe stays open: a modern server that was only slow answers it, and
/// refuses the other.
async fn slow(wire: &Wire, mut probe: Call) -> Result<Peer, HandshakeError> {
    wire.forget();
    let initialize = wire.begin("initialize", introduce).await?;
    let response = initialize.response().await?;
    if response.error_code() != Some(-32022) {
        return read_initialized(&response);
    }
    let late = tokio::time::timeout(PROBE, answer(&mut probe)).await;
    match late {
        Ok(Ok(response)) => settle(wire, initialize::probe_verdict(&response)).await,
        _ => Err(HandshakeError::Refused("it refused initialize and answers no probe".into())),
    }
}
