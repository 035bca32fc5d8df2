//! What holds a server from its first step on: files, ports, signals, system calls, resources.
//!
//! Applied in the exec stage ([`super::keeper`]) to that process itself, which then becomes the
//! server; all of it is inherited by whatever the server starts, and none of it can be taken off.
//! Landlock and seccomp need no root and no container. What a kernel can enforce, and whether that
//! is enough, is decided in [`crate::control::confine`]; which paths are granted, in `grants`.
//!
//! Never here: names of users, mounts, namespaces (hardened hosts switch them off), UDP ports and
//! Unix sockets in folders, which no Landlock of today's kernels can tell apart.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{MAX_LISTED, Sandbox, SandboxProfile};
use crate::control::confine::{Demand, Kernel, Lacking, Network};

#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
mod grants;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod places;
mod scratch;

#[cfg(target_os = "linux")]
pub(super) use linux::confine;
pub(super) use scratch::{Scratch, base, sweep};

/// What to hold a server to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What its entry says.
    pub rules: Sandbox,
    /// Paths that its arguments and variables name: see [`named_paths`].
    pub named: Vec<String>,
    /// Our own files: our configuration, what it refers to, our state.
    pub protected: Vec<PathBuf>,
    /// The home folder of whoever runs the gateway.
    pub home: Option<PathBuf>,
    /// Used instead of what the kernel offers, if that is more: to test what becomes of a policy
    /// on older kernels.
    pub at_most: Option<Kernel>,
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux has sandboxes"))]
/// Why a server was not held, and so not started.
#[derive(Debug)]
pub(super) enum Fault {
    /// The kernel lacks what was asked for by name.
    Lacking(Lacking),
    /// A named path cannot be granted.
    Path(PathBuf, &'static str),
    /// The system refused a step.
    Step(&'static str, String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lacking(lacking) => lacking.fmt(f),
            Self::Path(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Step(step, why) => write!(f, "{step}: {why}"),
        }
    }
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux has sandboxes"))]
/// The server as the exec stage is about to become it.
pub(super) struct Subject<'a> {
    /// The program, absolute.
    pub(super) file: &'a Path,
    pub(super) args: &'a [OsString],
    pub(super) env: &'a [(OsString, OsString)],
    pub(super) cwd: Option<&'a Path>,
    /// The command as its entry names it.
    pub(super) command: &'a Path,
    /// Its temporary folder.
    pub(super) scratch: Option<&'a Path>,
}

impl<'a> Subject<'a> {
    fn variable(&self, name: &str) -> Option<&'a OsStr> {
        let found = self.env.iter().rev().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_os_str()).filter(|value| !value.is_empty())
    }
}

impl Policy {
    fn demand(&self) -> Demand {
        let Sandbox { profile, read, write, execute, connect, bind, .. } = &self.rules;
        let strict = *profile == SandboxProfile::Strict;
        let none = |ports: &Option<Vec<u16>>| ports.as_ref().map_or(strict, Vec::is_empty);
        let network =
            match (none(connect) && none(bind), strict || connect.is_some() || bind.is_some()) {
                (true, _) => Network::Closed,
                (false, true) => Network::Ports,
                (false, false) => Network::Open,
            };
        let paths = [read, write, execute].iter().any(|paths| !paths.is_empty());
        Demand { strict, paths, network }
    }
}

/// The first [`MAX_LISTED`] absolute paths among arguments and values of variables; of `--option=/path`, the path.
#[must_use]
pub fn named_paths<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let path = |text: &'a str| match text.split_once('=') {
        Some((option, path)) if option.starts_with('-') => path,
        _ => text,
    };
    texts
        .map(path)
        .filter(|path| path.starts_with('/'))
        .take(MAX_LISTED)
        .map(str::to_owned)
        .collect()
}

/// On other systems there is no sandbox: what was asked for by name is refused.
#[cfg(not(target_os = "linux"))]
pub(super) fn confine(
    policy: &Policy,
    _subject: &Subject<'_>,
) -> Result<crate::control::confine::Sandboxed, Fault> {
    let none = Kernel { landlock: 0, seccomp: false };
    let measures =
        crate::control::confine::measures(policy.demand(), none).map_err(Fault::Lacking)?;
    Ok(crate::control::confine::Sandboxed {
        profile: policy.rules.profile.as_str().to_owned(),
        landlock: 0,
        seccomp: false,
        network: measures.network,
        limits: Vec::new(),
        user: None,
        missing: measures.missing,
        remarks: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_are_found_in_arguments() {
        let texts = ["-y", "@scope/server", "/data", "--db=/x/y.db", "a=/b", "--flag", "~/z", "/"];
        assert_eq!(named_paths(texts.into_iter()), ["/data", "/x/y.db", "/"]);
    }

    fn network(profile: SandboxProfile, connect: Option<&[u16]>, bind: Option<&[u16]>) -> Network {
        let ports = |ports: Option<&[u16]>| ports.map(<[u16]>::to_vec);
        let rules =
            Sandbox { profile, connect: ports(connect), bind: ports(bind), ..Sandbox::default() };
        let policy = Policy { rules, named: vec![], protected: vec![], home: None, at_most: None };
        policy.demand().network
    }

    #[test]
    fn the_network_is_what_the_profile_and_the_ports_leave() {
        use SandboxProfile::{Default, Strict};
        for (profile, connect, bind, left) in [
            (Default, None, None, Network::Open),
            (Default, Some(&[443][..]), None, Network::Ports),
            (Default, None, Some(&[][..]), Network::Ports),
            (Default, Some(&[][..]), Some(&[][..]), Network::Closed),
            (Strict, None, None, Network::Closed),
            (Strict, Some(&[443][..]), None, Network::Ports),
            (Strict, None, Some(&[3000][..]), Network::Ports),
        ] {
            assert_eq!(network(profile, connect, bind), left, "{profile:?} {connect:?} {bind:?}");
        }
    }
}
