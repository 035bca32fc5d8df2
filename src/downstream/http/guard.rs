//! Who may talk to us at all: Host and Origin, against DNS rebinding and web pages
//! (MCP 2026-07-28 basic/transports/streamable-http, "Security & Endpoint").

use crate::oauth::Permit;
use http::header::{HOST, HeaderName, ORIGIN};
use http::{HeaderMap, StatusCode, request::Parts};
use std::fmt;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The hosts and origins that are let in, besides those of this machine.
#[derive(Debug, Default)]
pub struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
}

/// Why a request is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No Host, several, or one that does not match the request target.
    BadHost,
    /// A Host that is not ours.
    ForeignHost(String),
    /// An Origin that is not ours, or several.
    ForeignOrigin(String),
    /// A browser says that another site is behind the request.
    CrossSite,
}

impl Refusal {
    /// The status to answer with.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadHost => StatusCode::BAD_REQUEST,
            _ => StatusCode::FORBIDDEN,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadHost => write!(f, "expected exactly one host header that fits the request"),
            Self::ForeignHost(host) => {
                write!(f, "host {host:?} is not served here (gateway.allowedHosts)")
            }
            Self::ForeignOrigin(origin) => {
                write!(f, "origin {origin:?} may not use this endpoint (gateway.allowedOrigins)")
            }
            Self::CrossSite => write!(f, "requests from other sites are not served"),
        }
    }
}

impl Guard {
    /// Lets in these hosts (with or without a port) and origins, in lower case.
    pub fn new(hosts: Vec<String>, origins: Vec<String>) -> Self {
        Self { hosts, origins }
    }

    /// Lets a request in, or says why not.
    pub fn check(&self, head: &Parts) -> Result<Permit, Refusal> {
        let host = one(&head.headers, &HOST).ok_or(Refusal::BadHost)?;
        let target = head.uri.authority().map(http::uri::Authority::as_str);
        if target.is_some_and(|target| !target.eq_ignore_ascii_case(host)) {
            return Err(Refusal::BadHost);
        }
        if !self.is_our_host(host) {
            return Err(Refusal::ForeignHost(printable(host)));
        }
        self.check_origin(&head.headers)?;
        Ok(Permit::dangerously_for_anyone_on_this_machine())
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if headers.contains_key(&ORIGIN) {
            let origin = one(headers, &ORIGIN).unwrap_or("several").to_ascii_lowercase();
            if !self.is_our_origin(&origin) {
                return Err(Refusal::ForeignOrigin(printable(&origin)));
            }
            return Ok(());
        }
        match one(headers, &FETCH_SITE) {
            Some("cross-site" | "same-site") => Err(Refusal::CrossSite),
            _ => Ok(()),
        }
    }

    fn is_our_host(&self, host: &str) -> bool {
        let name = without_port(host);
        let is = |ours: &String| ours.eq_ignore_ascii_case(host) || ours.eq_ignore_ascii_case(name);
        is_this_machine(name) || self.hosts.iter().any(is)
    }

    fn is_our_origin(&self, origin: &str) -> bool {
        let local = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let local = local.is_some_and(|host| is_this_machine(without_port(host)));
        local || self.origins.iter().any(|ours| ours == origin)
    }
}

/// The value of a header that stands there exactly once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Without the port; a port that is no number makes the whole host foreign.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.ends_with(':') && port.bytes().all(|b| b.is_ascii_digit()) => {
            name
        }
        _ => host,
    }
}

fn is_this_machine(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || matches!(name, "127.0.0.1" | "[::1]")
}

/// Bounded and harmless, for a log line and an answer.
fn printable(text: &str) -> String {
    crate::base::label::Label::new(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn check(guard: &Guard, target: &str, headers: &[(&str, &str)]) -> Result<Permit, Refusal> {
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        guard.check(&head)
    }

    #[test]
    fn only_this_machine_by_its_own_names() {
        let guard = Guard::default();
        for host in ["localhost", "LOCALHOST:3050", "127.0.0.1:1", "[::1]:3050", "[::1]"] {
            assert!(check(&guard, "/mcp", &[("host", host)]).is_ok(), "{host}");
        }
        for host in [
            "evil.com",
            "127.0.0.1.evil.com",
            "localhost.",
            "localhost:3050:1",
            "127.0.0.2",
            "::1",
            "[::1].evil",
            "0.0.0.0:3050",
            "2130706433",
            "localhost:x",
            "a@localhost",
            "",
        ] {
            let refused = check(&guard, "/mcp", &[("host", host)]);
            assert!(matches!(refused, Err(Refusal::ForeignHost(_))), "{host}: {refused:?}");
        }
        assert_eq!(check(&guard, "/mcp", &[]), Err(Refusal::BadHost));
        let twice = [("host", "localhost"), ("host", "evil.com")];
        assert_eq!(check(&guard, "/mcp", &twice), Err(Refusal::BadHost));
        let absolute = check(&guard, "http://evil.com/mcp", &[("host", "localhost")]);
        assert_eq!(absolute, Err(Refusal::BadHost));
    }

    #[test]
    fn an_origin_must_be_ours() {
        let guard = Guard::new(vec!["mcp.example".into()], vec!["https://app.example".into()]);
        let with =
            |origin| check(&guard, "/mcp", &[("host", "mcp.example:80"), ("origin", origin)]);
        for origin in ["http://localhost:6274", "https://127.0.0.1", "https://APP.example"] {
            assert!(with(origin).is_ok(), "{origin}");
        }
        for origin in ["null", "http://evil.com", "https://app.example.evil.com", "file://", ""] {
            assert!(matches!(with(origin), Err(Refusal::ForeignOrigin(_))), "{origin}");
        }
        let two =
            [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://evil")];
        assert!(matches!(check(&guard, "/mcp", &two), Err(Refusal::ForeignOrigin(_))));
    }

    #[test]
    fn a_browser_that_names_another_site_is_refused() {
        let guard = Guard::default();
        let site = |site| check(&guard, "/mcp", &[("host", "localhost"), ("sec-fetch-site", site)]);
        assert_eq!(site("cross-site"), Err(Refusal::CrossSite));
        assert!(site("same-origin").is_ok());
        assert!(site("none").is_ok());
    }
}
