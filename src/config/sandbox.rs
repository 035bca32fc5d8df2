//! `sandbox` of an entry: what its process may touch.
//!
//! Every fault here costs the entry: a line that was misread could open what was meant to be
//! closed.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::document::{Node, Value};
use super::entry::Fields;
use super::fault::Findings;
use super::schema::{self, Unknown};
use super::{formats::Format, read};

/// Most paths in one list, and most ports.
pub const MAX_LISTED: usize = 256;

/// What a child process may touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// What holds besides what is named.
    pub profile: SandboxProfile,
    /// May be read.
    pub read: Vec<PathBuf>,
    /// May be read and written.
    pub write: Vec<PathBuf>,
    /// May be read and executed.
    pub execute: Vec<PathBuf>,
    /// The TCP ports it may connect to; if absent, what the profile says.
    pub connect: Option<Vec<u16>>,
    /// The TCP ports it may listen on; if absent, what the profile says.
    pub bind: Option<Vec<u16>>,
    /// Memory of the server with all that it starts, and writable memory of each, in MiB.
    pub memory_mb: u64,
    /// Processes at one time: the server with all that it starts.
    pub processes: u64,
    /// Open files of each process.
    pub files: u64,
    /// The largest file that is written, in MiB.
    pub file_size_mb: u64,
    /// Processor time of each process, in seconds.
    pub cpu_seconds: Option<u64>,
    /// The user and group it becomes.
    pub user: Option<(u32, u32)>,
}

/// What holds for a child process besides what its entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SandboxProfile {
    /// What `npx` and `uvx` need, all that the kernel can enforce.
    #[default]
    Default,
    /// The least, all of it or no process.
    Strict,
    /// Nothing.
    DangerouslyOff,
}

impl SandboxProfile {
    /// As it is written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Strict => "strict",
            Self::DangerouslyOff => "dangerously-off",
        }
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Sandbox {
            profile: SandboxProfile::Default,
            read: Vec::new(),
            write: Vec::new(),
            execute: Vec::new(),
            connect: None,
            bind: None,
            memory_mb: 4096,
            processes: 512,
            files: 4096,
            file_size_mb: 4096,
            cpu_seconds: None,
            user: None,
        }
    }
}

/// Reads it; VS Code's `sandbox` is another than ours.
pub(super) fn read(fields: &Fields<'_>, findings: &mut Findings) -> Sandbox {
    let mut sandbox = Sandbox::default();
    let node = fields.get("sandbox").filter(|_| fields.around.format != Format::VsCode);
    let Some((node, members)) = node.and_then(|n| Some((n, read::members(n, findings)?))) else {
        return sandbox;
    };
    schema::check_keys(members.iter(), schema::SANDBOX, Unknown::Error, findings);
    for member in members {
        let node = &member.node;
        let whole = |least, most, findings: &mut Findings, field: &mut u64| {
            *field = read::whole(node, least..=most, findings).unwrap_or(*field);
        };
        match member.key.as_str() {
            "profile" => sandbox.profile = profile(node, findings).unwrap_or_default(),
            "read" => sandbox.read = paths(fields, node, findings),
            "write" => sandbox.write = paths(fields, node, findings),
            "execute" => sandbox.execute = paths(fields, node, findings),
            "connect" => sandbox.connect = ports(node, findings),
            "bind" => sandbox.bind = ports(node, findings),
            "memoryMb" => whole(16, 1 << 24, findings, &mut sandbox.memory_mb),
            "processes" => whole(1, 1 << 22, findings, &mut sandbox.processes),
            "files" => whole(16, 1 << 20, findings, &mut sandbox.files),
            "fileSizeMb" => whole(1, 1 << 24, findings, &mut sandbox.file_size_mb),
            "cpuSeconds" => sandbox.cpu_seconds = read::whole(node, 1..=1 << 31, findings),
            "user" => sandbox.user = user(node, findings),
            _ => {}
        }
    }
    if sandbox.profile == SandboxProfile::DangerouslyOff && members.len() > 1 {
        let message = "with \"dangerously-off\" nothing else here has a meaning";
        findings.error(node.span.start, message);
    }
    sandbox
}

fn profile(node: &Node, findings: &mut Findings) -> Option<SandboxProfile> {
    use SandboxProfile::{DangerouslyOff, Default, Strict};
    let profiles = [Default, Strict, DangerouslyOff].map(|profile| (profile.as_str(), profile));
    read::one_of(node, &profiles, findings)
}

fn paths(fields: &Fields<'_>, node: &Node, findings: &mut Findings) -> Vec<PathBuf> {
    let environment = fields.around.environment;
    let home = environment.variable("HOME").filter(|home| !home.is_empty());
    let mut paths = Vec::new();
    let texts = read::strings(node, findings).unwrap_or_default();
    if texts.len() > MAX_LISTED {
        findings.expected(node.span.start, "at most 256 paths", &texts.len().to_string());
    }
    for (node, text) in texts {
        let Some(text) = fields.expand(node, text, findings) else { continue };
        let text = if text == "~" { "~/" } else { &text };
        let path = PathBuf::from(environment.absolute(text));
        if !path.is_absolute() {
            findings.expected(
                node.span.start,
                "an absolute path, or one that begins with ~/",
                "another text",
            );
        } else if path.components().any(|part| part.as_os_str() == "..") {
            findings.error(node.span.start, "`..` is not possible here");
        } else if home.is_some_and(|home| Path::new(home).starts_with(&path)) {
            let message = "the whole home folder is never granted: name the folders in it";
            findings.error(node.span.start, message);
        } else {
            paths.push(path);
        }
    }
    paths
}

fn ports(node: &Node, findings: &mut Findings) -> Option<Vec<u16>> {
    let Value::Array(elements) = &node.value else {
        findings.expected(node.span.start, "an array of ports", node.kind());
        return None;
    };
    if elements.len() > MAX_LISTED {
        findings.expected(node.span.start, "at most 256 ports", &elements.len().to_string());
    }
    let port = |node| read::whole(node, 0..=65_535, findings);
    let ports: Vec<u64> = elements.iter().filter_map(port).collect();
    Some(ports.into_iter().filter_map(|port| u16::try_from(port).ok()).collect())
}

/// `1001` is user and group; `"1001:100"` both. Numbers alone: names are looked up in files that a
/// static program should not read.
fn user(node: &Node, findings: &mut Findings) -> Option<(u32, u32)> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|id| (1..u32::MAX).contains(id));
    let ids = match &node.value {
        Value::Number(text) => number(text).map(|id| (id, id)),
        Value::String(text) => match text.split_once(':') {
            Some((user, group)) => number(user).zip(number(group)),
            None => number(text).map(|id| (id, id)),
        },
        _ => None,
    };
    if ids.is_none() {
        let expected = "a user number other than 0, or \"user:group\" in numbers";
        findings.expected(node.span.start, expected, "something else");
    }
    ids
}
