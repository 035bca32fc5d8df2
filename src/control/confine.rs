//! What a sandbox can be on a kernel: what is enforced, what is missing, and whether that is enough.
//!
//! The versions are those of Landlock's ABI (kernel documentation, userspace-api/landlock). The
//! default profile takes all there is and says what is missing; whoever asked by name (a path, a
//! port, the strict profile) gets it or no process at all.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The newest Landlock version whose rights are used; a newer kernel is taken as this one.
pub const NEWEST: u8 = 6;

/// What the kernel offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// The Landlock version; 0 is none.
    pub landlock: u8,
    /// Whether system calls can be filtered.
    pub seccomp: bool,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Nothing may be missing.
    pub strict: bool,
    /// Paths were named.
    pub paths: bool,
    /// What of the network is left.
    pub network: Network,
}

/// What of the network is left to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// All of it.
    Open,
    /// Of TCP, the ports that were named; the rest is open.
    Ports,
    /// No socket of IP at all.
    Closed,
}

/// What is done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measures {
    /// The Landlock version whose rights are enforced; 0 is none.
    pub landlock: u8,
    /// Whether system calls are filtered.
    pub seccomp: bool,
    /// What is enforced of the network.
    pub network: Network,
    /// What is not enforced.
    pub missing: Vec<Missing>,
}

/// Something that a kernel cannot enforce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missing {
    /// Which files are read, written and executed.
    Files,
    /// That files elsewhere are not emptied.
    Truncation,
    /// Control of devices.
    Devices,
    /// Which TCP ports are used.
    Ports,
    /// That no network is used.
    Network,
    /// Signals and abstract sockets to processes outside.
    Scope,
    /// Dangerous system calls.
    SystemCalls,
}

impl Missing {
    /// The first Linux version that has it.
    #[must_use]
    pub fn since(self) -> &'static str {
        match self {
            Self::Files => "5.13",
            Self::Truncation => "6.2",
            Self::Ports => "6.7",
            Self::Devices => "6.10",
            Self::Scope => "6.12",
            Self::Network | Self::SystemCalls => "3.17",
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Files => "files",
            Self::Truncation => "truncation of files elsewhere",
            Self::Devices => "device control",
            Self::Ports => "tcp ports",
            Self::Network => "no network",
            Self::Scope => "signals and abstract sockets",
            Self::SystemCalls => "system calls",
        })
    }
}

/// What was asked for by name, and this kernel does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking(pub Vec<Missing>);

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this kernel cannot enforce {}", listed(&self.0))
    }
}

fn listed(missing: &[Missing]) -> String {
    let each = missing.iter().map(|one| format!("{one} (since Linux {})", one.since()));
    each.collect::<Vec<_>>().join(", ")
}

/// What is enforced of a demand on a kernel.
///
/// # Errors
/// [`Lacking`] when something that must not be missing is.
pub fn measures(demand: Demand, kernel: Kernel) -> Result<Measures, Lacking> {
    let network = match demand.network {
        Network::Closed => (kernel.seccomp, Missing::Network),
        Network::Ports => (kernel.landlock >= 4, Missing::Ports),
        Network::Open => (true, Missing::Ports),
    };
    // In the order of what they are worth.
    let asked = [
        (kernel.landlock >= 1, Missing::Files, demand.paths),
        (kernel.landlock >= 3, Missing::Truncation, false),
        (kernel.landlock >= 5, Missing::Devices, false),
        (network.0, network.1, true),
        (kernel.landlock >= 6, Missing::Scope, false),
        (kernel.seccomp, Missing::SystemCalls, false),
    ];
    let gaps = asked.iter().filter(|(there, ..)| !there);
    let needed = gaps.clone().filter(|(_, _, named)| *named || demand.strict);
    let lacking: Vec<Missing> = needed.map(|(_, missing, _)| *missing).collect();
    if !lacking.is_empty() {
        return Err(Lacking(lacking));
    }
    Ok(Measures {
        landlock: kernel.landlock.min(NEWEST),
        seccomp: kernel.seccomp,
        network: demand.network,
        missing: gaps.map(|(_, missing, _)| *missing).collect(),
    })
}

/// What holds a server that runs, as its last step before it became the server found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandboxed {
    /// The profile.
    pub profile: String,
    /// The Landlock version that is enforced; 0 is none.
    pub landlock: u8,
    /// Whether dangerous system calls are refused.
    pub seccomp: bool,
    /// What is left of the network.
    pub network: Network,
    /// Limits of resources, in words.
    pub limits: Vec<String>,
    /// The user it runs as, if another.
    pub user: Option<u32>,
    /// What could not be enforced.
    pub missing: Vec<Missing>,
    /// Paths granted because the entry names them, and paths that were not, with the reason.
    pub remarks: Vec<String>,
}

impl Sandboxed {
    /// What is missing, in one line; nothing if nothing is.
    #[must_use]
    pub fn gaps(&self) -> Option<String> {
        (!self.missing.is_empty()).then(|| listed(&self.missing))
    }
}

impl fmt::Display for Sandboxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.landlock > 0 {
            parts.push(format!("files (landlock {})", self.landlock));
        }
        match self.network {
            Network::Open => {}
            Network::Ports => parts.push("tcp ports".to_owned()),
            Network::Closed => parts.push("no network".to_owned()),
        }
        if self.landlock >= 6 {
            parts.push("signals".to_owned());
        }
        if self.seccomp {
            parts.push("system calls".to_owned());
        }
        parts.extend(self.limits.iter().cloned());
        parts.extend(self.user.map(|user| format!("user {user}")));
        write!(f, "{}: {}", self.profile, parts.join(", "))?;
        match self.gaps() {
            Some(gaps) => write!(f, "; not enforced: {gaps}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Missing::{Devices, Files, Ports, Scope, SystemCalls, Truncation};
    use super::*;

    const PLAIN: Demand = Demand { strict: false, paths: false, network: Network::Open };

    fn kernel(landlock: u8) -> Kernel {
        Kernel { landlock, seccomp: true }
    }

    #[test]
    fn the_default_takes_what_there_is_and_says_what_is_missing() {
        let table: [(u8, &[Missing]); 8] = [
            (0, &[Files, Truncation, Devices, Scope]),
            (1, &[Truncation, Devices, Scope]),
            (2, &[Truncation, Devices, Scope]),
            (3, &[Devices, Scope]),
            (4, &[Devices, Scope]),
            (5, &[Scope]),
            (6, &[]),
            (9, &[]),
        ];
        for (landlock, missing) in table {
            let got = measures(PLAIN, kernel(landlock)).expect("the default never refuses");
            assert_eq!(got.landlock, landlock.min(NEWEST));
            assert_eq!(got.missing, missing, "landlock {landlock}");
        }
        let none = Kernel { landlock: 0, seccomp: false };
        let got = measures(PLAIN, none).expect("not even with nothing at all");
        assert_eq!(got.missing, [Files, Truncation, Devices, Scope, SystemCalls]);
    }

    #[test]
    fn what_was_named_is_enforced_or_refused() {
        let paths = Demand { paths: true, ..PLAIN };
        let ports = Demand { network: Network::Ports, ..PLAIN };
        let closed = Demand { network: Network::Closed, ..PLAIN };
        for (demand, least, missing) in [(paths, 1, Files), (ports, 4, Ports)] {
            for landlock in 0..=7 {
                let got = measures(demand, kernel(landlock));
                assert_eq!(got.is_ok(), landlock >= least, "{demand:?} {landlock}");
                assert!(got.is_ok_and(|m| !m.missing.contains(&missing)) || landlock < least);
            }
        }
        // No network is a matter of system calls, whatever Landlock can do.
        assert!(measures(closed, kernel(0)).is_ok());
        let without = Kernel { landlock: 6, seccomp: false };
        assert_eq!(measures(closed, without), Err(Lacking(vec![Missing::Network])));
    }

    #[test]
    fn strict_refuses_whatever_is_missing() {
        let strict = Demand { strict: true, paths: false, network: Network::Closed };
        for landlock in 0..6 {
            assert!(measures(strict, kernel(landlock)).is_err(), "landlock {landlock}");
        }
        assert!(measures(strict, kernel(6)).is_ok_and(|m| m.missing.is_empty()));
        assert!(measures(strict, Kernel { landlock: 6, seccomp: false }).is_err());
        let said = measures(strict, kernel(5)).expect_err("no scope").to_string();
        assert_eq!(
            said,
            "this kernel cannot enforce signals and abstract sockets (since Linux 6.12)"
        );
    }

    #[test]
    fn one_line_says_what_holds() {
        let sandboxed = Sandboxed {
            profile: "default".to_owned(),
            landlock: 5,
            seccomp: true,
            network: Network::Ports,
            limits: vec!["4096 MiB".to_owned()],
            user: Some(1001),
            missing: vec![Scope],
            remarks: Vec::new(),
        };
        assert_eq!(
            sandboxed.to_string(),
            "default: files (landlock 5), tcp ports, system calls, 4096 MiB, user 1001; \
             not enforced: signals and abstract sockets (since Linux 6.12)"
        );
    }
}
