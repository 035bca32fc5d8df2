//! The address of an HTTP upstream, read once into a form that cannot be wrong (RFC 3986, `http` and
//! `https` only).
//!
//! Neither `Debug` nor `Display` shows path or query: many services carry the caller's key there.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest address, in bytes.
pub const MAX_URL_BYTES: usize = 2048;

/// How the connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

/// `http://host[:port]/path?query`
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl {
    scheme: Scheme,
    host: Host,
    port: u16,
    target: String,
}

/// The host of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name, in lower case.
    Name(String),
    /// An address.
    Ip(IpAddr),
}

/// Why a text is no address we connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlError {
    /// Longer than [`MAX_URL_BYTES`].
    TooLong,
    /// Does not start with `http://` or `https://`.
    Scheme,
    /// Has `user:password@`.
    Credentials,
    /// No host, or none that could exist.
    Host,
    /// The port is no number from 1 to 65535.
    Port,
    /// Has a `#fragment`.
    Fragment,
    /// A character that must be percent-encoded.
    Character,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UrlError::TooLong => write!(f, "the address is longer than {MAX_URL_BYTES} bytes"),
            UrlError::Scheme => {
                f.write_str("expected an address that starts with http:// or https://")
            }
            UrlError::Credentials => {
                f.write_str("credentials do not belong in an address; use `headers`")
            }
            UrlError::Host => f.write_str("the host of the address is missing or malformed"),
            UrlError::Port => f.write_str("the port of the address is no number from 1 to 65535"),
            UrlError::Fragment => f.write_str("an address for requests has no #fragment"),
            UrlError::Character => {
                f.write_str("the address has a character that must be percent-encoded")
            }
        }
    }
}

impl std::error::Error for UrlError {}

impl HttpUrl {
    /// Reads an absolute address.
    ///
    /// # Errors
    /// Says which part is wrong, never what it is.
    pub fn parse(text: &str) -> Result<HttpUrl, UrlError> {
        if text.len() > MAX_URL_BYTES {
            return Err(UrlError::TooLong);
        }
        let (scheme, rest) = split_scheme(text).ok_or(UrlError::Scheme)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(UrlError::Credentials);
        }
        if target.contains('#') {
            return Err(UrlError::Fragment);
        }
        // RFC 3986 §2 leaves these out; a space or a line break would split the request line.
        let allowed = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b);
        if !target.bytes().all(allowed) {
            return Err(UrlError::Character);
        }
        let (host, port) = split_port(authority)?;
        let host = Host::parse(host).ok_or(UrlError::Host)?;
        let port = match (port, scheme) {
            (Some(port), _) => port,
            (None, Scheme::Http) => 80,
            (None, Scheme::Https) => 443,
        };
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(HttpUrl { scheme, host, port, target })
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host to connect to.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, as they stand in the request line; may be secret.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The value of the Host header: the port is left out where it is the scheme's own.
    pub fn authority(&self) -> String {
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => self.host.to_string(),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    /// Whether the host can only be this machine.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Name(name) => name == "localhost",
            Host::Ip(ip) => is_loopback_ip(*ip),
        }
    }

    /// Whether a connection to this address would arrive at a socket bound to `listen`.
    pub fn reaches(&self, listen: SocketAddr) -> bool {
        if self.port != listen.port() {
            return false;
        }
        let bound = canonical(listen.ip());
        match &self.host {
            Host::Name(_) => self.is_loopback() && (bound.is_loopback() || bound.is_unspecified()),
            Host::Ip(ip) => {
                let ip = canonical(*ip);
                // Connecting to 0.0.0.0 or :: reaches this machine.
                let here = ip.is_loopback() || ip.is_unspecified();
                ip == bound
                    || (bound.is_unspecified() && here)
                    || (ip.is_unspecified() && bound.is_loopback())
            }
        }
    }
}

/// Whether an address can only be this machine.
pub fn is_loopback_ip(ip: IpAddr) -> bool {
    canonical(ip).is_loopback()
}

// ::ffff:127.0.0.1 is 127.0.0.1.
fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

impl Host {
    fn parse(text: &str) -> Option<Host> {
        if let Some(inner) = text.strip_prefix('[') {
            let ip: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Host::Ip(IpAddr::V6(ip)));
        }
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        let labels = text.strip_suffix('.').unwrap_or(text);
        if labels.split('.').any(|label| label.is_empty() || label.len() > 63) {
            return None;
        }
        if text.len() > 253 || !text.bytes().all(is_name) {
            return None;
        }
        // Resolvers read `127.1` and `0x7f000001` as addresses: only the full form is accepted.
        let last = labels.rsplit('.').next().unwrap_or_default();
        if last.starts_with(|c: char| c.is_ascii_digit()) {
            return text.parse::<Ipv4Addr>().ok().map(|ip| Host::Ip(IpAddr::V4(ip)));
        }
        Some(Host::Name(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

fn split_scheme(text: &str) -> Option<(Scheme, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Some((Scheme::Http, rest)),
        "https" => Some((Scheme::Https, rest)),
        _ => None,
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), UrlError> {
    let after_host = match authority.starts_with('[') {
        true => authority.find(']').ok_or(UrlError::Host)? + 1,
        false => 0,
    };
    let Some(colon) = authority.get(after_host..).and_then(|rest| rest.find(':')) else {
        return Ok((authority, None));
    };
    let (host, port) = authority.split_at(after_host + colon);
    let digits = port.get(1..).unwrap_or_default();
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(UrlError::Port);
    }
    match digits.parse::<u16>() {
        Ok(port) if port > 0 => Ok((host, Some(port))),
        _ => Err(UrlError::Port),
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let rest = if self.target == "/" { "/" } else { "/…" };
        write!(f, "{scheme}://{}{rest}", self.authority())
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> HttpUrl {
        HttpUrl::parse(text).expect(text)
    }

    #[test]
    fn the_parts_are_found() {
        let parsed = url("HTTP://Example.COM:8080/mcp?key=s3cret");
        assert_eq!(parsed.scheme(), Scheme::Http);
        assert_eq!(parsed.host(), &Host::Name("example.com".to_owned()));
        assert_eq!((parsed.port(), parsed.target()), (8080, "/mcp?key=s3cret"));
        assert_eq!(parsed.authority(), "example.com:8080");
        assert_eq!(url("http://a?x").target(), "/?x");
        assert_eq!(url("https://a").port(), 443);
        assert_eq!(url("http://[::1]:80/").authority(), "[::1]");
    }

    #[test]
    fn what_is_printed_has_no_path() {
        let parsed = url("http://a:1/s3cret?key=s3cret");
        assert_eq!(format!("{parsed} {parsed:?}"), "http://a:1/… HttpUrl(http://a:1/…)");
    }

    #[test]
    fn malformed_addresses_are_refused() {
        for (text, error) in [
            ("ftp://a/", UrlError::Scheme),
            ("a.example/mcp", UrlError::Scheme),
            ("http://user:pw@a/", UrlError::Credentials),
            ("http:///mcp", UrlError::Host),
            ("http://a..b/", UrlError::Host),
            ("http://[::1/", UrlError::Host),
            ("http://127.1/", UrlError::Host),
            ("http://2130706433/", UrlError::Host),
            ("http://0x7f.0.0.0x1/", UrlError::Host),
            ("http://bücher.example/", UrlError::Host),
            ("http://a:0/", UrlError::Port),
            ("http://a:65536/", UrlError::Port),
            ("http://a:+80/", UrlError::Port),
            ("http://a:/", UrlError::Port),
            ("http://a/#x", UrlError::Fragment),
            ("http://a/ b", UrlError::Character),
            ("http://a/\r\nHost: b", UrlError::Character),
        ] {
            assert_eq!(HttpUrl::parse(text).err(), Some(error), "{text}");
        }
        assert_eq!(
            HttpUrl::parse(&format!("http://a/{}", "x".repeat(3000))),
            Err(UrlError::TooLong)
        );
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        for text in [
            "http://localhost/",
            "http://127.8.9.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
        ] {
            assert!(url(text).is_loopback(), "{text}");
        }
        for text in
            ["http://0.0.0.0/", "http://10.0.0.1/", "http://localhost.example/", "http://[::]/"]
        {
            assert!(!url(text).is_loopback(), "{text}");
        }
    }

    #[test]
    fn it_knows_which_sockets_it_reaches() {
        let cases = [
            ("http://127.0.0.1:3050/mcp", "127.0.0.1:3050", true),
            ("http://localhost:3050/mcp", "127.0.0.1:3050", true),
            ("http://localhost:3050/mcp", "[::1]:3050", true),
            ("http://localhost:3050/mcp", "0.0.0.0:3050", true),
            ("http://127.0.0.1:3050/", "[::]:3050", true),
            ("http://[::ffff:127.0.0.1]:3050/", "127.0.0.1:3050", true),
            ("http://0.0.0.0:3050/", "127.0.0.1:3050", true),
            ("http://127.0.0.1:3051/mcp", "127.0.0.1:3050", false),
            ("http://127.0.0.2:3050/mcp", "127.0.0.1:3050", false),
            ("http://10.0.0.1:3050/mcp", "127.0.0.1:3050", false),
            ("http://a.example:3050/", "0.0.0.0:3050", false),
        ];
        for (text, listen, reached) in cases {
            let listen: SocketAddr = listen.parse().expect("an address");
            assert_eq!(url(text).reaches(listen), reached, "{text} {listen}");
        }
    }
}
