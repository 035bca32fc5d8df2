//! One entry of the file: the keys that every transport has, and which transport it is.
//!
//! Every fault of an entry is found before the entry is given up.

use std::net::SocketAddr;
use std::time::Duration;

use super::document::{Member, Node, find};
use super::environment::Environment;
use super::fault::Findings;
use super::formats::Format;
use super::model::{
    Entry, EntryTimeouts, Isolation, LaneSettings, MAX_LANES, ProtocolPin, Restart, Slug,
};
use super::schema::{self, Unknown};
use super::{read, substitute, transport};

/// What an entry is read against.
pub(super) struct Surroundings<'a> {
    pub(super) format: Format,
    /// The members of `serverDefaults`.
    pub(super) defaults: &'a [Member],
    pub(super) environment: &'a Environment,
    /// Our own addresses.
    pub(super) listen: &'a [SocketAddr],
    /// `gateway.timeouts`.
    pub(super) timeouts: EntryTimeouts,
}

/// The members of one entry, with the defaults behind them.
pub(super) struct Fields<'a> {
    pub(super) entry: &'a Member,
    pub(super) around: &'a Surroundings<'a>,
}

impl<'a> Fields<'a> {
    /// The entry's own value, else the default.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.own(key).or_else(|| self.default(key))
    }

    pub(super) fn own(&self, key: &str) -> Option<&'a Node> {
        self.entry.node.get(key)
    }

    pub(super) fn default(&self, key: &str) -> Option<&'a Node> {
        find(self.around.defaults, key).map(|member| &member.node)
    }

    /// Reads a key if it is there.
    pub(super) fn read<T>(
        &self,
        key: &str,
        findings: &mut Findings,
        how: impl FnOnce(&'a Node, &mut Findings) -> Option<T>,
    ) -> Option<T> {
        self.get(key).and_then(|node| how(node, findings))
    }

    /// A text with its references replaced; a fault for each that could not be.
    pub(super) fn expand(
        &self,
        node: &Node,
        text: &str,
        findings: &mut Findings,
    ) -> Option<String> {
        match substitute::expand(text, self.around.format, self.around.environment) {
            // An argument, a path or a variable with a NUL would be cut off there.
            Ok(text) if text.contains('\0') => {
                findings.error(node.span.start, "a NUL character is not possible here");
                None
            }
            Ok(text) => Some(text),
            Err(sentences) => {
                for sentence in sentences {
                    findings.error(node.span.start, sentence);
                }
                None
            }
        }
    }

    /// A string value with its references replaced.
    pub(super) fn text(&self, node: &Node, findings: &mut Findings) -> Option<String> {
        let text = read::string(node, findings)?;
        self.expand(node, text, findings)
    }
}

/// Reads one entry. Nothing is returned if it cannot be used; the findings say why.
pub(super) fn read_entry(
    entry: &Member,
    position: usize,
    around: &Surroundings<'_>,
) -> (Option<Entry>, Findings) {
    let mut findings = Findings::default();
    let f = &mut findings;
    let Some(members) = read::members(&entry.node, f) else { return (None, findings) };
    // VS Code's sandbox is another than ours; it is passed over.
    let passed_over = |m: &Member| around.format == Format::VsCode && m.key.starts_with("sandbox");
    let checked = members.iter().filter(|member| !passed_over(member));
    schema::check_keys(checked, schema::ENTRY, Unknown::Warning, f);

    let fields = Fields { entry, around };
    let enabled = enabled(&fields, f);
    let slug = slug(entry, f);
    let transport = transport::read(&fields, f);
    let protocol = fields.read("protocol", f, protocol);
    let isolation = fields.read("isolation", f, isolation);
    let lanes = fields.read("lanes", f, lanes);
    let tags = fields.read("tags", f, read::words);
    let enabled_tools = fields.read("enabledTools", f, read::words);
    let disabled_tools = fields.read("disabledTools", f, read::words);
    let timeouts = timeouts(&fields, f);
    let restart = restart(&fields, f);
    let repeats = fields.read("retry", f, retry);
    if !enabled {
        // What is switched off is never started: its mistakes can wait.
        findings.soften();
    }
    let (Some(slug), Some(transport), false) = (slug, transport, findings.has_error()) else {
        return (None, findings);
    };
    let entry = Entry {
        key: entry.key.clone(),
        slug,
        position,
        enabled,
        transport,
        protocol: protocol.unwrap_or_default(),
        isolation: isolation.unwrap_or_default(),
        lanes: lanes.unwrap_or_default(),
        tags: tags.unwrap_or_default(),
        enabled_tools,
        disabled_tools: disabled_tools.unwrap_or_default(),
        timeouts,
        restart,
        repeats_idempotent_tools: repeats.unwrap_or(false),
    };
    (Some(entry), findings)
}

fn slug(entry: &Member, findings: &mut Findings) -> Option<Slug> {
    let slug = Slug::from_key(&entry.key);
    if slug.is_none() {
        let message = "the key has no letter a-z and no digit to make a short name of";
        findings.error(entry.key_span.start, message);
    }
    slug
}

fn enabled(fields: &Fields<'_>, findings: &mut Findings) -> bool {
    let enabled = fields.read("enabled", findings, read::boolean);
    let disabled = fields.read("disabled", findings, read::boolean);
    if let (Some(true), Some(true), Some(node)) = (enabled, disabled, fields.get("disabled")) {
        findings.error(node.span.start, "both `enabled` and `disabled` are true");
        return true;
    }
    enabled.unwrap_or(true) && !disabled.unwrap_or(false)
}

fn protocol(node: &Node, findings: &mut Findings) -> Option<ProtocolPin> {
    let pins = [
        ("auto", ProtocolPin::Auto),
        ("modern", ProtocolPin::Modern),
        ("legacy", ProtocolPin::Legacy),
    ];
    read::one_of(node, &pins, findings)
}

fn isolation(node: &Node, findings: &mut Findings) -> Option<Isolation> {
    let modes = [Isolation::Shared, Isolation::Principal, Isolation::Session, Isolation::Call];
    read::one_of(node, &modes.map(|mode| (mode.as_str(), mode)), findings)
}

fn lanes(node: &Node, findings: &mut Findings) -> Option<LaneSettings> {
    let (before, members) = (LaneSettings::default(), read::members(node, findings)?);
    schema::check_keys(members.iter(), schema::LANES, Unknown::Warning, findings);
    let max = node.get("max").and_then(|node| read::whole(node, 1..=MAX_LANES as u64, findings));
    let idle = node.get("idleMs").and_then(|node| read::duration(node, findings));
    Some(LaneSettings {
        max: max.and_then(|max| usize::try_from(max).ok()).unwrap_or(before.max),
        idle: idle.unwrap_or(before.idle),
    })
}

fn retry(node: &Node, findings: &mut Findings) -> Option<bool> {
    let members = read::members(node, findings)?;
    schema::check_keys(members.iter(), schema::RETRY, Unknown::Warning, findings);
    node.get("idempotentTools").and_then(|node| read::boolean(node, findings))
}

/// Our own `timeouts` win over the single keys that other programs write.
fn timeouts(fields: &Fields<'_>, findings: &mut Findings) -> EntryTimeouts {
    let mut times = fields.around.timeouts;
    if let Some(start) = fields.read("connectionTimeout", findings, read::duration) {
        times.start = start;
    }
    // Both are the whole time that a request may take there, with or without progress.
    let general = fields.read("timeout", findings, read::duration);
    if let Some(time) = fields.read("requestTimeout", findings, read::duration).or(general) {
        times.idle = time;
        times.total = time;
    }
    match fields.get("timeouts") {
        Some(node) => read_timeouts(node, times, (schema::TIMEOUTS, Unknown::Warning), findings),
        None => times,
    }
}

/// Reads a `timeouts` object over what held before.
pub(super) fn read_timeouts(
    node: &Node,
    before: EntryTimeouts,
    (keys, unknown): (&[schema::Key], Unknown),
    findings: &mut Findings,
) -> EntryTimeouts {
    let Some(members) = read::members(node, findings) else { return before };
    schema::check_keys(members.iter(), keys, unknown, findings);
    let mut time = |key: &str, before: Duration| {
        node.get(key).and_then(|node| read::duration(node, findings)).unwrap_or(before)
    };
    EntryTimeouts {
        start: time("startMs", before.start),
        idle: time("idleMs", before.idle),
        total: time("totalMs", before.total),
        list: time("listMs", before.list),
        probe: time("probeMs", before.probe),
    }
}

/// Most restarts that can be set.
const MAX_RESTARTS: u64 = 1_000_000;

fn restart(fields: &Fields<'_>, findings: &mut Findings) -> Restart {
    let mut restart = Restart::default();
    let count = |node: &Node, findings: &mut Findings| {
        let count = read::whole(node, 0..=MAX_RESTARTS, findings)?;
        u32::try_from(count).ok()
    };
    // 1MCP writes 0 for "no wait"; that is within what its users expect of us too.
    let delay = |node: &Node, findings: &mut Findings| {
        let most = u64::try_from(read::MAX_DURATION.as_millis()).unwrap_or(u64::MAX);
        read::whole(node, 0..=most, findings).map(Duration::from_millis)
    };
    restart.max = fields.read("maxRestarts", findings, count).unwrap_or(restart.max);
    restart.delay = fields.read("restartDelay", findings, delay).unwrap_or(restart.delay);
    if fields.read("restartOnExit", findings, read::boolean) == Some(false) {
        restart.max = 0;
    }
    let Some(node) = fields.get("restart") else { return restart };
    let Some(members) = read::members(node, findings) else { return restart };
    schema::check_keys(members.iter(), schema::RESTART, Unknown::Warning, findings);
    let max = node.get("max").and_then(|node| count(node, findings));
    let wait = node.get("delayMs").and_then(|node| delay(node, findings));
    Restart { max: max.unwrap_or(restart.max), delay: wait.unwrap_or(restart.delay) }
}
