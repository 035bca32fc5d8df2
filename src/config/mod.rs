//! The one configuration file: bytes in, a validated immutable value and a list of faults out (pure).
//!
//! The files of Claude Desktop, Claude Code, Cursor, VS Code and 1MCP load as they are; our own
//! settings stand under `gateway`. Reading takes three steps, so that nothing here touches the
//! outside: [`parse`] the bytes, gather the variables and files that the [`File`] wants into an
//! [`Environment`], and [`resolve`]. Every fault is reported at once with its place. An error inside
//! an entry costs that entry alone; one outside costs the file, and the caller keeps what it had.

mod child;
mod document;
mod dotenv;
mod entry;
mod environment;
mod fault;
mod formats;
#[doc(hidden)]
pub mod fuzz;
mod locate;
mod model;
mod parse;
mod read;
mod resolve;
mod sandbox;
mod schema;
mod settings;
mod substitute;
mod transport;
mod url;

pub use child::child_environment;
pub use document::{Document, Member, Node, Span, Value};
pub use dotenv::MAX_REFERENCED_FILE_BYTES;
pub use environment::Environment;
pub use fault::{Fault, MAX_FAULTS, Scope, Severity};
pub use formats::Format;
pub use locate::{CONFIG_VARIABLE, Candidate, SYSTEM_CONFIG, Source, candidates, workspace_folder};
pub use model::{
    AuthMode, Config, DEFAULT_PORT, Entry, EntryTimeouts, EnvPattern, GatewaySettings, Http,
    Isolation, LIMITS, LaneSettings, LimitRow, Limits, LogFormat, LogLevel, LogSettings,
    MAX_ENTRIES, MAX_LANES, MAX_SEPARATOR_BYTES, MAX_SLUG_BYTES, MAX_URLS, ProtocolPin,
    RejectedEntry, Restart, SecretText, Slug, Stdio, Transport,
};
pub use parse::{MAX_DEPTH, MAX_FILE_BYTES, MAX_KEY_BYTES, MAX_NODES};
pub use resolve::{File, Parsed, Resolved, parse, resolve};
pub use sandbox::{MAX_LISTED, Sandbox, SandboxProfile};
pub use schema::{Key, Standing};
pub use settings::{MAX_LISTEN, parse_listen};
pub use url::{Host, HttpUrl, MAX_URL_BYTES, Scheme, UrlError, is_loopback_ip};

#[cfg(test)]
mod tests;
