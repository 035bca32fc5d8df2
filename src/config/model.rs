//! The validated, immutable configuration: what the rest of the program may rely on.
//!
//! Nothing in here needs checking again. Two equal values mean that nothing has to change on a
//! reload. `Debug` never shows a secret.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::sandbox::Sandbox;
use super::url::{HttpUrl, is_loopback_ip};
use crate::base::limits;
use crate::base::secret::Secret;

/// Most entries of one file.
pub const MAX_ENTRIES: usize = 512;
/// Most addresses of one HTTP entry.
pub const MAX_URLS: usize = 16;
/// Longest slug, in bytes.
pub const MAX_SLUG_BYTES: usize = 32;
/// Longest separator between a slug and a name, in bytes.
pub const MAX_SEPARATOR_BYTES: usize = 8;

/// Everything one file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// What stands under `gateway`, with defaults filled in.
    pub gateway: GatewaySettings,
    /// The usable entries, in the order of the file; no two share a key or a slug.
    pub entries: Vec<Entry>,
    /// The entries that could not be used; their faults say why.
    pub rejected: Vec<RejectedEntry>,
}

/// An entry of the file that has an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedEntry {
    /// Its key, verbatim.
    pub key: String,
    /// Its place among all entries of the file, from 0.
    pub position: usize,
}

/// One upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Verbatim, for logs and status; untrusted text.
    pub key: String,
    /// What stands in paths, prefixes, URIs and scopes.
    pub slug: Slug,
    /// Its place among all entries of the file, from 0.
    pub position: usize,
    /// False: known, shown, never started.
    pub enabled: bool,
    /// How it is reached.
    pub transport: Transport,
    /// Which era is spoken.
    pub protocol: ProtocolPin,
    /// For filters; free text.
    pub tags: Vec<String>,
    /// If present, only these tools exist; named as the upstream names them.
    pub enabled_tools: Option<Vec<String>>,
    /// These tools do not exist; named as the upstream names them. Wins over `enabled_tools`.
    pub disabled_tools: Vec<String>,
    /// Who shares a connection to it.
    pub isolation: Isolation,
    /// Its connections besides the one that all share.
    pub lanes: LaneSettings,
    /// How long it may take.
    pub timeouts: EntryTimeouts,
    /// What happens when it ends by itself.
    pub restart: Restart,
    /// Whether calls may be repeated of tools that say that this does no harm.
    pub repeats_idempotent_tools: bool,
}

impl Entry {
    /// Whether a tool, named as the upstream names it, exists for anyone.
    pub fn allows_tool(&self, name: &str) -> bool {
        let listed = |list: &[String]| list.iter().any(|tool| tool == name);
        self.enabled_tools.as_deref().is_none_or(listed) && !listed(&self.disabled_tools)
    }
}

/// The short name of an entry: `a-z0-9` and single inner `-`, 1 to [`MAX_SLUG_BYTES`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(String);

impl Slug {
    /// Derives the slug of a key: lower case, every other run one `-`, trimmed; nothing if nothing
    /// remains. Only ASCII letters are lowered, so that no letter from elsewhere becomes one.
    pub fn from_key(key: &str) -> Option<Slug> {
        let mut slug = String::new();
        for c in key.chars().map(|c| c.to_ascii_lowercase()) {
            match c {
                'a'..='z' | '0'..='9' => slug.push(c),
                _ if slug.ends_with('-') || slug.is_empty() => {}
                _ => slug.push('-'),
            }
            if slug.len() == MAX_SLUG_BYTES {
                break;
            }
        }
        slug.truncate(slug.trim_end_matches('-').len());
        (!slug.is_empty()).then_some(Slug(slug))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How an upstream is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// A child process.
    Stdio(Stdio),
    /// Streamable HTTP.
    Http(Http),
    /// The server inside this process.
    Builtin,
}

/// A child process that speaks on its standard streams.
#[derive(Clone, PartialEq, Eq)]
pub struct Stdio {
    /// Looked up on PATH by whoever starts it, unless it has a `/`.
    pub command: String,
    /// May hold secrets: never logged.
    pub args: Vec<String>,
    /// Working directory; absolute wherever the place of the file was known.
    pub cwd: Option<PathBuf>,
    /// Set (or, with nothing, removed) after everything inherited, in this order.
    pub env: Vec<(String, Option<SecretText>)>,
    /// Whether the whole environment of the gateway is inherited, not only the safe list.
    pub inherit_all: bool,
    /// Narrows what is inherited.
    pub filter: Vec<EnvPattern>,
    /// What it may touch.
    pub sandbox: Box<Sandbox>,
}

impl fmt::Debug for Stdio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdio")
            .field("command", &self.command)
            .field("args", &format_args!("({} not shown)", self.args.len()))
            .field("cwd", &self.cwd)
            .field("env", &self.env)
            .field("inherit_all", &self.inherit_all)
            .field("filter", &self.filter)
            .field("sandbox", &self.sandbox)
            .finish()
    }
}

/// One element of `envFilter`: `NAME`, `PREFIX*`, and either with `!` in front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvPattern {
    /// Whether a match is left out rather than let through.
    pub deny: bool,
    /// The name, or its beginning.
    pub name: String,
    /// Whether `name` is only the beginning.
    pub prefix: bool,
}

/// An upstream over streamable HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// 1 to [`MAX_URLS`] addresses of the same server, in order of preference.
    pub urls: Vec<HttpUrl>,
    /// Sent with every request; names in lower case, valid (RFC 9110 §5.1), none of our own.
    pub headers: Vec<(String, SecretText)>,
}

/// Which era is spoken with an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProtocolPin {
    /// Found out by asking.
    #[default]
    Auto,
    /// 2026-07-28 and later.
    Modern,
    /// Up to 2025-11-25.
    Legacy,
}

/// Who shares a connection to an upstream, and with it the state that the upstream keeps for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Everybody. Calls during which clients can be asked run on connections of their own once
    /// the upstream has asked something that several calls can have caused.
    #[default]
    Shared,
    /// The clients of one principal.
    Principal,
    /// One legacy session; clients without sessions are taken by their principal.
    Session,
    /// One call, and no other.
    Call,
}

impl Isolation {
    /// As it is written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Principal => "principal",
            Self::Session => "session",
            Self::Call => "call",
        }
    }
}

/// Connections to one upstream besides the one that all share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneSettings {
    /// Most at one time, from 1 to [`MAX_LANES`].
    pub max: usize,
    /// How long one is kept that nobody uses.
    pub idle: Duration,
}

/// Most additional connections to one upstream that can be set.
pub const MAX_LANES: usize = 1024;

impl Default for LaneSettings {
    fn default() -> Self {
        LaneSettings { max: 8, idle: Duration::from_secs(300) }
    }
}

/// How long an upstream may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryTimeouts {
    /// From start to the end of the handshake.
    pub start: Duration,
    /// A request: since it was sent or its last progress.
    pub idle: Duration,
    /// A request: in all.
    pub total: Duration,
    /// One page of a list.
    pub list: Duration,
    /// Nothing arrived for so long: it is asked for a sign of life.
    pub probe: Duration,
}

impl Default for EntryTimeouts {
    fn default() -> Self {
        EntryTimeouts {
            start: Duration::from_secs(60),
            idle: Duration::from_secs(300),
            total: Duration::from_secs(3600),
            list: Duration::from_secs(10),
            probe: Duration::from_secs(30),
        }
    }
}

/// What happens when an upstream ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// Quick attempts in a row; from then on, and with 0 at once, there is one a minute.
    pub max: u32,
    /// Wait before the second attempt (the first comes at once); it doubles each time.
    pub delay: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Restart { max: 5, delay: Duration::from_millis(1000) }
    }
}

/// What stands under `gateway`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Where to listen; at least one address.
    pub listen: Vec<SocketAddr>,
    /// Host header values accepted besides those of the listen addresses; lower case.
    pub allowed_hosts: Vec<String>,
    /// Origin header values accepted; lower case.
    pub allowed_origins: Vec<String>,
    /// Between slug and name; 1 to [`MAX_SEPARATOR_BYTES`] of `A-Za-z0-9_-`.
    pub separator: String,
    /// Who may come in.
    pub auth_mode: AuthMode,
    /// Bounds.
    pub limits: Limits,
    /// How long requests under way may take to finish when the gateway is told to stop.
    pub drain: Duration,
    /// What is written to the log.
    pub log: LogSettings,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        GatewaySettings {
            listen: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_PORT)],
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            separator: "__".to_owned(),
            auth_mode: AuthMode::OAuth,
            limits: Limits::default(),
            drain: Duration::from_secs(10),
            log: LogSettings::default(),
        }
    }
}

/// The port that is listened on unless another is named.
pub const DEFAULT_PORT: u16 = 3050;

impl GatewaySettings {
    /// Whether every listen address can only be reached from this machine.
    pub fn is_loopback(&self) -> bool {
        self.listen.iter().all(|address| is_loopback_ip(address.ip()))
    }
}

/// Who may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// Every request carries an access token.
    OAuth,
    /// Everyone who can connect.
    DangerouslyDisabled,
}

/// What is written to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogSettings {
    /// The least important lines that are written.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// The operator must act.
    Error,
    /// Something is degraded.
    Warn,
    /// Lifecycle.
    #[default]
    Info,
    /// One or more lines for each request.
    Debug,
    /// Everything.
    Trace,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Named bounds; every one can be set under `gateway.limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest JSON-RPC message in either direction, in bytes.
    pub message_bytes: usize,
    /// Largest set of header fields of one HTTP request or response, in bytes.
    pub header_bytes: usize,
    /// Most downstream connections at one time.
    pub connections: usize,
    /// Most downstream sessions at one time.
    pub sessions: usize,
    /// Most downstream sessions of one principal.
    pub sessions_per_client: usize,
    /// Most requests under way at one upstream.
    pub in_flight: usize,
    /// Most requests under way at all upstreams together.
    pub in_flight_total: usize,
    /// Most requests of one principal that are under way.
    pub in_flight_per_client: usize,
    /// Our own memory from which on no new work is begun, in MiB; 0 for half of what there is.
    pub memory_mib: usize,
    /// Most pages of one list that are followed.
    pub list_pages: usize,
}

impl Limits {
    /// Those on what a peer may send, with what follows from them.
    pub fn peer(&self) -> limits::Limits {
        let header_bytes = self.header_bytes;
        limits::Limits { header_bytes, ..limits::Limits::for_messages(self.message_bytes) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let peer = limits::Limits::default();
        Limits {
            message_bytes: peer.message_bytes,
            header_bytes: peer.header_bytes,
            connections: 1024,
            sessions: 2048,
            sessions_per_client: 1024,
            in_flight: 1024,
            in_flight_total: 4096,
            in_flight_per_client: 2048,
            memory_mib: 0,
            list_pages: 100,
        }
    }
}

/// How one limit is set and what it may be.
pub struct LimitRow {
    /// The key under `gateway.limits`.
    pub key: &'static str,
    /// Smallest value accepted.
    pub least: usize,
    /// Largest value accepted.
    pub most: usize,
    /// The field it sets.
    pub field: fn(&mut Limits) -> &mut usize,
}

/// Every limit that can be set; the README's table is checked against it.
pub const LIMITS: &[LimitRow] = &[
    LimitRow {
        key: "messageBytes",
        least: 4096,
        most: 1024 * 1024 * 1024,
        field: |limits| &mut limits.message_bytes,
    },
    LimitRow {
        key: "headerBytes",
        least: 8192,
        most: 1024 * 1024,
        field: |limits| &mut limits.header_bytes,
    },
    LimitRow {
        key: "connections",
        least: 1,
        most: 1_000_000,
        field: |limits| &mut limits.connections,
    },
    LimitRow { key: "sessions", least: 1, most: 1_000_000, field: |limits| &mut limits.sessions },
    LimitRow {
        key: "sessionsPerClient",
        least: 1,
        most: 1_000_000,
        field: |limits| &mut limits.sessions_per_client,
    },
    LimitRow { key: "inFlight", least: 1, most: 65_536, field: |limits| &mut limits.in_flight },
    LimitRow {
        key: "inFlightTotal",
        least: 1,
        most: 1_000_000,
        field: |limits| &mut limits.in_flight_total,
    },
    LimitRow {
        key: "inFlightPerClient",
        least: 1,
        most: 1_000_000,
        field: |limits| &mut limits.in_flight_per_client,
    },
    LimitRow {
        key: "memoryMb",
        least: 0,
        most: 1024 * 1024,
        field: |limits| &mut limits.memory_mib,
    },
    LimitRow { key: "listPages", least: 1, most: 10_000, field: |limits| &mut limits.list_pages },
];

/// A text from `env`, `headers` or a secret file. Unlike a bare [`Secret`] it can be compared,
/// because a reload must see that it changed; both sides are the operator's own, so the time that
/// takes tells nobody anything.
#[derive(Debug, Clone)]
pub struct SecretText(Secret<String>);

impl SecretText {
    /// Wraps a value.
    pub fn new(text: String) -> Self {
        SecretText(Secret::new(text))
    }

    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl PartialEq for SecretText {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for SecretText {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_follow_the_rule() {
        let slug = |key: &str| Slug::from_key(key).map(|s| s.to_string());
        for (key, expected) in [
            ("GitHub", "github"),
            ("my  server__one", "my-server-one"),
            ("--a--", "a"),
            ("1mcp", "1mcp"),
            ("@scope/pkg.name", "scope-pkg-name"),
            ("é", ""),
            ("", ""),
            ("\u{212a}elvin", "elvin"),
            ("caf\u{e9} bar", "caf-bar"),
        ] {
            assert_eq!(slug(key), (!expected.is_empty()).then(|| expected.to_owned()), "{key}");
        }
        assert_eq!(slug(&"a".repeat(40)).map(|s| s.len()), Some(32));
        assert_eq!(slug(&format!("{}-b", "a".repeat(31))), Some("a".repeat(31)));
    }

    #[test]
    fn secrets_and_arguments_are_not_printed() {
        let stdio = Stdio {
            command: "x".to_owned(),
            args: vec!["--token=s3cret".to_owned()],
            cwd: None,
            env: vec![("TOKEN".to_owned(), Some(SecretText::new("s3cret".to_owned())))],
            inherit_all: false,
            filter: Vec::new(),
            sandbox: Box::default(),
        };
        let shown = format!("{stdio:?}");
        assert!(!shown.contains("s3cret") && shown.contains("TOKEN"), "{shown}");
    }

    #[test]
    fn every_default_limit_is_within_its_bounds_and_has_its_own_field() {
        let mut limits = Limits::default();
        for (index, row) in LIMITS.iter().enumerate() {
            let field = (row.field)(&mut limits);
            assert!((row.least..=row.most).contains(field), "{}", row.key);
            *field = index;
        }
        for (index, row) in LIMITS.iter().enumerate() {
            assert_eq!(*(row.field)(&mut limits), index, "{}", row.key);
        }
    }
}
