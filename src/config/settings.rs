//! What stands under `gateway`.
//!
//! Every fault here makes the file unusable: nobody else writes in this object, and a setting that
//! was misread could open what was meant to be closed.

use std::net::SocketAddr;

use super::document::{Member, Node, Value, find};
use super::entry;
use super::fault::Findings;
use super::model::{
    AuthMode, EntryTimeouts, GatewaySettings, LIMITS, Limits, LogFormat, LogLevel, LogSettings,
    MAX_SEPARATOR_BYTES,
};
use super::read;
use super::schema::{self, Unknown};

/// Most addresses to listen on.
pub const MAX_LISTEN: usize = 16;

/// Reads the members of `gateway`; also the timeouts that entries start from.
pub(super) fn read_gateway(
    members: &[Member],
    findings: &mut Findings,
) -> (GatewaySettings, EntryTimeouts) {
    schema::check_keys(members.iter(), schema::GATEWAY, Unknown::Error, findings);
    let mut settings = GatewaySettings::default();
    let mut timeouts = EntryTimeouts::default();
    for member in members {
        let node = &member.node;
        match member.key.as_str() {
            "listen" => settings.listen = listen(node, findings).unwrap_or(settings.listen),
            "allowedHosts" => settings.allowed_hosts = names(node, is_host, "a host", findings),
            "allowedOrigins" => {
                settings.allowed_origins = names(node, is_origin, "an origin", findings);
            }
            "auth" => settings.auth_mode = auth_mode(node, findings),
            "naming" => separator(node, &mut settings.separator, findings),
            "limits" => limits(node, &mut settings.limits, findings),
            "log" => settings.log = log(node, findings),
            "timeouts" => {
                let keys = (schema::GATEWAY_TIMEOUTS, Unknown::Error);
                timeouts = entry::read_timeouts(node, timeouts, keys, findings);
                let drain = node.get("drainMs").and_then(|node| read::duration(node, findings));
                settings.drain = drain.unwrap_or(settings.drain);
            }
            _ => {}
        }
    }
    (settings, timeouts)
}

/// Reads `host:port`, where the host is an address or `localhost` (127.0.0.1).
pub fn parse_listen(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
            port.parse().ok().map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        }
        _ => text.parse().ok(),
    }
}

fn listen(node: &Node, findings: &mut Findings) -> Option<Vec<SocketAddr>> {
    let nodes = match &node.value {
        Value::Array(elements) => elements.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if nodes.is_empty() || nodes.len() > MAX_LISTEN {
        let expected = format!("1 to {MAX_LISTEN} addresses");
        findings.expected(node.span.start, &expected, &nodes.len().to_string());
        return None;
    }
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for node in nodes {
        let Some(text) = read::string(node, findings) else { continue };
        match parse_listen(text) {
            Some(address) if addresses.contains(&address) && address.port() != 0 => {
                findings.error(node.span.start, "the address is here twice");
            }
            Some(address) => addresses.push(address),
            None => {
                let expected = "an address and a port such as \"127.0.0.1:3050\"";
                findings.expected(node.span.start, expected, "another text");
            }
        }
    }
    (!addresses.is_empty()).then_some(addresses)
}

fn names(
    node: &Node,
    accepts: fn(&str) -> bool,
    what: &str,
    findings: &mut Findings,
) -> Vec<String> {
    let mut names = Vec::new();
    for (node, text) in read::strings(node, findings).unwrap_or_default() {
        let name = text.to_ascii_lowercase();
        if accepts(&name) {
            names.push(name);
        } else {
            findings.expected(node.span.start, what, "another text");
        }
    }
    names
}

// Whoever answers to every host name has no protection against DNS rebinding: no wildcards.
fn is_host(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    !text.is_empty() && text.len() <= 262 && text.bytes().all(allowed)
}

// RFC 6454 §6.2: scheme, host and port, nothing behind them.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let is_scheme = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    !scheme.is_empty() && scheme.bytes().all(is_scheme) && is_host(host)
}

fn auth_mode(node: &Node, findings: &mut Findings) -> AuthMode {
    let Some(members) = read::members(node, findings) else { return AuthMode::OAuth };
    schema::check_keys(members.iter(), schema::AUTH, Unknown::Error, findings);
    let modes =
        [("oauth", AuthMode::OAuth), ("dangerously-disabled", AuthMode::DangerouslyDisabled)];
    let mode = node.get("mode").and_then(|node| read::one_of(node, &modes, findings));
    mode.unwrap_or(AuthMode::OAuth)
}

fn separator(node: &Node, separator: &mut String, findings: &mut Findings) {
    let Some(members) = read::members(node, findings) else { return };
    schema::check_keys(members.iter(), schema::NAMING, Unknown::Error, findings);
    let Some(node) = node.get("separator") else { return };
    let Some(text) = read::string(node, findings) else { return };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if (1..=MAX_SEPARATOR_BYTES).contains(&text.len()) && text.bytes().all(allowed) {
        text.clone_into(separator);
    } else {
        let expected = "1 to 8 of the characters A-Z a-z 0-9 _ -";
        findings.expected(node.span.start, expected, "another text");
    }
}

fn limits(node: &Node, limits: &mut Limits, findings: &mut Findings) {
    for member in read::members(node, findings).unwrap_or_default() {
        let Some(row) = LIMITS.iter().find(|row| row.key == member.key) else {
            let at = member.key_span.start;
            findings.error(at, format!("unknown limit `{}`", member.key));
            findings.hint(schema::nearest(&member.key, LIMITS.iter().map(|row| row.key)));
            continue;
        };
        let range = row.least as u64..=row.most as u64;
        let value = read::whole(&member.node, range, findings);
        if let Some(value) = value.and_then(|value| usize::try_from(value).ok()) {
            *(row.field)(limits) = value;
        }
    }
}

fn log(node: &Node, findings: &mut Findings) -> LogSettings {
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
    let Some(members) = read::members(node, findings) else { return LogSettings::default() };
    schema::check_keys(members.iter(), schema::LOG, Unknown::Error, findings);
    let member = |key| find(members, key).map(|member| &member.node);
    let level = member("level").and_then(|node| read::one_of(node, &levels, findings));
    let format = member("format").and_then(|node| read::one_of(node, &formats, findings));
    LogSettings { level: level.unwrap_or_default(), format: format.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_are_read() {
        let read = |text| parse_listen(text).map(|address| address.to_string());
        assert_eq!(read("localhost:3050").as_deref(), Some("127.0.0.1:3050"));
        assert_eq!(read("[::1]:0").as_deref(), Some("[::1]:0"));
        assert_eq!(read("0.0.0.0:80").as_deref(), Some("0.0.0.0:80"));
        for bad in ["", "3050", ":3050", "localhost", "localhost:+1", "localhost:70000", "a:1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn hosts_and_origins_have_no_wildcards_and_no_paths() {
        assert!(is_host("mcp.example.com:8443") && is_host("[::1]:80"));
        assert!(!is_host("*") && !is_host("") && !is_host("a/b") && !is_host("a b"));
        assert!(is_origin("https://a.example") && is_origin("vscode-webview://x"));
        assert!(!is_origin("null") && !is_origin("https://a/") && !is_origin("https://*"));
    }
}
