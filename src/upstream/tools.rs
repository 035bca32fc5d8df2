//! What supervisors share, and how the transport of an entry is opened with it.

use crate::base::limits::Limits;
use crate::config::{Entry, Http, HttpUrl, Scheme, Stdio, Transport};
use crate::control::confine::Sandboxed;
use crate::net::client::{Circuit, Client, ClientLimits, Origin};
use crate::sys::random::Random;
use crate::sys::spawn::{Process, Spawner};
use crate::task::Scope;
use crate::upstream::call::Unrequested;
use crate::upstream::http::{Endpoint, HttpLink};
use crate::upstream::lines::{Bounds, Lines, Output};
use crate::upstream::link::Wire;
use crate::upstream::replicas::{Destination, Pacing, Replicas};
use crate::upstream::state::Announcement;
use crate::upstream::stdio::{self, Fence, Repeats};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

/// What supervisors share.
#[derive(Clone)]
pub struct Tools {
    /// Starts child processes.
    pub spawner: Spawner,
    /// Bounds on what upstreams may send.
    pub limits: Limits,
    /// Most requests in flight at one upstream.
    pub in_flight: usize,
    /// Most pages of one list.
    pub list_pages: usize,
    /// Where announcements go.
    pub announce: mpsc::Sender<Announcement>,
    /// For jitter.
    pub random: Arc<Random>,
    /// The environment that children may inherit from.
    pub environment: Arc<BTreeMap<String, String>>,
    /// What children have said before they failed; each supervisor has its own.
    pub repeats: Arc<Repeats>,
    /// What is known of each url of the entry; each supervisor has its own.
    pub circuits: Arc<[Circuit]>,
    /// What the sandboxes of children keep from them.
    pub fence: Arc<Fence>,
    /// Connects to the server inside this process.
    pub builtin: Arc<dyn Fn(&Scope) -> DuplexStream + Send + Sync>,
}

impl Tools {
    fn bounds(&self) -> Bounds<'_> {
        Bounds { limits: &self.limits, in_flight: self.in_flight + STREAMS }
    }

    /// Opens the transport of an entry; nothing has been said on it.
    pub(super) async fn open(
        &self,
        entry: &Entry,
        scope: &Arc<Scope>,
        unrequested: mpsc::Sender<Unrequested>,
        pacing: Pacing,
    ) -> Result<Opened, String> {
        match &entry.transport {
            Transport::Stdio(stdio) => self.open_stdio(&entry.key, scope, stdio, unrequested).await,
            Transport::Http(http) => self.open_http(&entry.key, scope, http, unrequested, pacing),
            Transport::Builtin => {
                let stream = (self.builtin)(scope);
                let (input, output) = tokio::io::split(stream);
                let output = Output::Memory(output);
                let bounds = self.bounds();
                let lines = Lines::open(scope, input, output, bounds, &entry.key, unrequested);
                Ok(Opened { wire: Wire::Lines(lines), process: None, sandboxed: None })
            }
        }
    }

    async fn open_stdio(
        &self,
        key: &str,
        scope: &Arc<Scope>,
        stdio: &Stdio,
        unrequested: mpsc::Sender<Unrequested>,
    ) -> Result<Opened, String> {
        let environment = crate::config::child_environment(stdio, &self.environment);
        let child = stdio::start(&self.spawner, key, stdio, environment, &self.fence).await?;
        scope.spawn(
            "upstream stderr",
            stdio::drain_stderr(key.to_owned(), Arc::clone(&self.repeats), child.stderr),
        );
        let output = Output::Pipe(child.stdin);
        let bounds = self.bounds();
        let lines = Lines::open(scope, child.stdout, output, bounds, key, unrequested);
        let (process, sandboxed) = (Some(child.process), child.sandboxed);
        Ok(Opened { wire: Wire::Lines(lines), process, sandboxed })
    }

    fn open_http(
        &self,
        key: &str,
        scope: &Arc<Scope>,
        http: &Http,
        unrequested: mpsc::Sender<Unrequested>,
        pacing: Pacing,
    ) -> Result<Opened, String> {
        let limits = ClientLimits {
            max_connections: self.in_flight + STREAMS,
            max_header_bytes: self.limits.header_bytes,
            ..ClientLimits::default()
        };
        let circuits = self.circuits.iter().cloned();
        let destinations = http.urls.iter().zip(circuits);
        let destinations = destinations.map(|(url, circuit)| destination(url, &limits, circuit));
        let replicas = Replicas::new(destinations.collect::<Result<_, _>>()?, pacing);
        let mut headers = HeaderMap::new();
        for (name, value) in &http.headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_str(value.expose());
            let (Ok(name), Ok(mut value)) = (name, value) else {
                return Err("a configured header is not valid".into());
            };
            value.set_sensitive(true);
            headers.append(name, value);
        }
        let label = key.to_owned();
        let limits = self.limits;
        // ids do not begin anew with a connection: a server without sessions could mistake them
        let first = u64::from(dice(&self.random)) << 16;
        let scope = Arc::clone(scope);
        let endpoint = Endpoint { replicas, configured: headers };
        let link = HttpLink::new(endpoint, limits, scope, label, unrequested, first);
        Ok(Opened { wire: Wire::Http(link), process: None, sandboxed: None })
    }
}

fn destination(
    url: &HttpUrl,
    limits: &ClientLimits,
    circuit: Circuit,
) -> Result<Destination, String> {
    let origin = Origin {
        host: url.host().to_string().trim_matches(['[', ']']).to_owned(),
        port: url.port(),
        tls: url.scheme() == Scheme::Https,
        authority: url.authority(),
    };
    let client = Client::new(origin, limits.clone(), circuit).map_err(|e| e.to_string())?;
    let target = url.target().parse().map_err(|_| "the url is not valid".to_owned())?;
    Ok(Destination { client, target })
}

/// Connections besides those of clients' requests: streams, lists, notifications.
const STREAMS: usize = 16;

/// A transport before the handshake.
pub(super) struct Opened {
    pub(super) wire: Wire,
    pub(super) process: Option<Process>,
    pub(super) sandboxed: Option<Sandboxed>,
}

/// Any number.
pub(super) fn dice(random: &Random) -> u32 {
    let mut bytes = [0; 4];
    random.fill(&mut bytes);
    u32::from_le_bytes(bytes)
}
