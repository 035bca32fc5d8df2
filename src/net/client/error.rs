//! What can go wrong between a request and the end of its response.
//!
//! The question that matters to a gateway is one: may the upstream have acted on it?

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use http::header::InvalidHeaderValue;

use crate::control::breaker::Outcome;

/// Why a request has no (whole) response.
#[derive(Debug)]
pub enum ClientError {
    /// `https` upstreams are not supported yet.
    TlsUnsupported,
    /// The origin's authority is no header value.
    Authority(InvalidHeaderValue),
    /// It has failed so often in a row that nothing is sent there for a while.
    Open {
        /// How long.
        wait: Duration,
    },
    /// As many requests as may already wait for a connection.
    Busy,
    /// No connection became free in time.
    SlotTimeout,
    /// The name has no address.
    Resolve(io::Error),
    /// No address accepted a connection; the last one's error.
    Connect(io::Error),
    /// Connecting took too long.
    ConnectTimeout,
    /// The connection closed before the request was written.
    Unsent,
    /// The connection broke after the request may have been read.
    Ambiguous(hyper::Error),
    /// No response head in time.
    HeadTimeout,
    /// The response is not HTTP/1, or its head is over the limit.
    Malformed(hyper::Error),
    /// The response's body broke off.
    Incomplete(Option<hyper::Error>),
    /// The response's body is longer than `limit` bytes.
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

impl ClientError {
    /// What this says of the origin: whether anybody is there who answers.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Connect(error) if is_ours(error) => Outcome::Unknown,
            Self::Connect(_) | Self::ConnectTimeout | Self::Unsent | Self::Ambiguous(_) => {
                Outcome::Failed
            }
            Self::Malformed(_) | Self::Incomplete(_) | Self::TooLarge { .. } => Outcome::Answered,
            // the name server, the request or we ourselves; or it is slow, which others look at
            _ => Outcome::Unknown,
        }
    }

    /// Whether the upstream may have acted on the request; when not, it can be sent again.
    pub fn maybe_processed(&self) -> bool {
        match self {
            Self::TlsUnsupported
            | Self::Authority(_)
            | Self::Open { .. }
            | Self::Busy
            | Self::SlotTimeout
            | Self::Resolve(_)
            | Self::Connect(_)
            | Self::ConnectTimeout
            | Self::Unsent => false,
            Self::Ambiguous(_)
            | Self::HeadTimeout
            | Self::Malformed(_)
            | Self::Incomplete(_)
            | Self::TooLarge { .. } => true,
        }
    }
}

/// It is we who lack something: descriptors, memory or ports.
fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
    ours.iter().any(|ours| error.raw_os_error() == Some(ours.raw_os_error()))
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TlsUnsupported => "https upstreams are not supported yet",
            Self::Authority(_) => "the host is not a valid header value",
            Self::Busy => "too many requests wait for a connection",
            Self::SlotTimeout => "no connection became free in time",
            Self::Resolve(_) => "the host name could not be resolved",
            Self::Connect(_) => "the connection was not accepted",
            Self::ConnectTimeout => "connecting took too long",
            Self::Unsent => "the connection closed before the request was sent",
            Self::Ambiguous(_) => "the connection broke before the response",
            Self::HeadTimeout => "no response in time",
            Self::Malformed(_) => "the response is not valid http/1.1",
            Self::Incomplete(_) => "the response broke off",
            Self::Open { wait } => {
                let wait = wait.as_millis() + 1;
                return write!(f, "it has failed repeatedly and is tried again in {wait} ms");
            }
            Self::TooLarge { limit } => {
                return write!(f, "the response is longer than {limit} bytes");
            }
        })
    }
}

impl Error for ClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Authority(source) => Some(source),
            Self::Resolve(source) | Self::Connect(source) => Some(source),
            Self::Ambiguous(source) | Self::Malformed(source) | Self::Incomplete(Some(source)) => {
                Some(source)
            }
            _ => None,
        }
    }
}

impl From<hyper::Error> for ClientError {
    fn from(error: hyper::Error) -> Self {
        if error.is_parse() { Self::Malformed(error) } else { Self::Ambiguous(error) }
    }
}
