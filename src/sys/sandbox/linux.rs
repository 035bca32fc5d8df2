//! The steps by which the exec stage binds itself, in the order in which they can be taken.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _,
    RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::CapabilitySet;

use super::grants::{self, Access, Grant, Grants};
use super::{Fault, Policy, Subject, filter};
use crate::config::{Sandbox, SandboxProfile};
use crate::control::confine::{Kernel, Measures, NEWEST, Network, Sandboxed, measures};

/// What root may do that a server in a sandbox may not, even as root.
const CAPABILITIES: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::SYS_MODULE)
    .union(CapabilitySet::SYS_RAWIO)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_BOOT)
    .union(CapabilitySet::SYS_TIME)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SYS_PACCT)
    .union(CapabilitySet::SYS_RESOURCE)
    .union(CapabilitySet::SYS_TTY_CONFIG)
    .union(CapabilitySet::SYSLOG)
    .union(CapabilitySet::LINUX_IMMUTABLE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::MAC_ADMIN)
    .union(CapabilitySet::MAC_OVERRIDE)
    .union(CapabilitySet::AUDIT_CONTROL)
    .union(CapabilitySet::BPF)
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::CHECKPOINT_RESTORE);

/// Binds this process for ever, and says by what.
///
/// # Errors
/// [`Fault`]; the process must not become the server then.
pub(in crate::sys) fn confine(policy: &Policy, subject: &Subject<'_>) -> Result<Sandboxed, Fault> {
    let found = kernel();
    let kernel = policy.at_most.map_or(found, |most| Kernel {
        landlock: found.landlock.min(most.landlock),
        seccomp: found.seccomp && most.seccomp,
    });
    let measures = measures(policy.demand(), kernel).map_err(Fault::Lacking)?;
    let rules = &policy.rules;
    let user = becomes(rules)?;
    let grants = match measures.landlock {
        0 => Grants::default(),
        _ => grants::collect(policy, subject)?,
    };
    let limits = limit(rules)?;
    drop_capabilities();
    rustix::thread::set_no_new_privs(true).map_err(|e| step("no_new_privs", &e.into()))?;
    if measures.landlock > 0 {
        let enforced = enforce(rules, &measures, &grants.rules);
        enforced.map_err(|fault| fault.unwrap_or_else(|e| Fault::Step("landlock", e)))?;
    }
    if measures.seccomp {
        filter_calls(rules, measures.network)?;
    }
    Ok(Sandboxed {
        profile: rules.profile.as_str().to_owned(),
        landlock: measures.landlock,
        seccomp: measures.seccomp,
        network: measures.network,
        limits,
        user,
        missing: measures.missing,
        remarks: grants.remarks,
    })
}

fn step(what: &'static str, error: &io::Error) -> Fault {
    Fault::Step(what, error.to_string())
}

// ---- the kernel ----

fn kernel() -> Kernel {
    let filters = fs::exists("/proc/sys/kernel/seccomp/actions_avail").unwrap_or(false)
        || rustix::thread::secure_computing_mode().is_ok();
    let known = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
    let landlock = (1..=NEWEST).rev().find(|version| has(*version)).unwrap_or(0);
    Kernel { landlock, seccomp: filters && known }
}

/// Whether the kernel has what came with a version. Nothing is made and nothing is enforced.
fn has(version: u8) -> bool {
    let abi = ABI::from(i32::from(version));
    let hard = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    match version {
        4 => hard().handle_access(AccessNet::from_all(abi)).is_ok(),
        6 => hard().scope(Scope::from_all(abi)).is_ok(),
        _ => hard().handle_access(AccessFs::from_all(abi)).is_ok(),
    }
}

// ---- files, ports, signals ----

/// What failed: a fault of a named path, or what the library says.
type Failed = Result<Fault, String>;

fn library(error: impl std::fmt::Display) -> Failed {
    Err(error.to_string())
}

/// Makes and enforces the rules. What was decided is asked for as a hard requirement: a kernel
/// that cannot do it is an error, never a weaker sandbox.
fn enforce(rules: &Sandbox, measures: &Measures, grants: &[Grant]) -> Result<(), Failed> {
    let abi = ABI::from(i32::from(measures.landlock));
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))
        .map_err(library)?;
    let (connect, bind) = ports(rules, measures.network);
    for (listed, access) in [(connect, AccessNet::ConnectTcp), (bind, AccessNet::BindTcp)] {
        if listed.is_some() {
            ruleset = ruleset.handle_access(access).map_err(library)?;
        }
    }
    if measures.landlock >= 6 {
        ruleset = ruleset.scope(Scope::from_all(abi)).map_err(library)?;
    }
    let mut created = ruleset.create().map_err(library)?;
    for (listed, access) in [(connect, AccessNet::ConnectTcp), (bind, AccessNet::BindTcp)] {
        for port in listed.unwrap_or_default() {
            created = created.add_rule(NetPort::new(*port, access)).map_err(library)?;
        }
    }
    for grant in grants {
        created = allow(created, grant, abi)?;
    }
    let status = created.restrict_self().map_err(library)?;
    if status.ruleset == RulesetStatus::FullyEnforced {
        Ok(())
    } else {
        Err(library("not enforced"))
    }
}

/// The ports to connect to and to listen on that alone are left.
fn ports(rules: &Sandbox, network: Network) -> (Option<&[u16]>, Option<&[u16]>) {
    if network != Network::Ports {
        return (None, None);
    }
    let none: Option<&[u16]> = (rules.profile == SandboxProfile::Strict).then_some(&[]);
    (rules.connect.as_deref().or(none), rules.bind.as_deref().or(none))
}

fn allow(created: RulesetCreated, grant: &Grant, abi: ABI) -> Result<RulesetCreated, Failed> {
    let opened = PathFd::new(&grant.path);
    let (folder, path) = match (fs::metadata(&grant.path), opened) {
        (Ok(found), Ok(path)) => (found.is_dir(), path),
        _ if grant.named => {
            return Err(Ok(Fault::Path(grant.path.clone(), "it cannot be opened")));
        }
        // What is not there needs no rule.
        _ => return Ok(created),
    };
    let mut rights = rights(grant.access, abi);
    if !folder {
        rights &= AccessFs::from_file(abi);
    }
    created.add_rule(PathBeneath::new(path, rights)).map_err(library)
}

fn rights(access: Access, abi: ABI) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    let write = read | (AccessFs::from_write(abi) & !devices);
    match access {
        Access::Read => read,
        Access::Execute => read | AccessFs::Execute,
        Access::Write => write,
        Access::All => write | AccessFs::Execute,
        Access::Device => write | (AccessFs::from_write(abi) & AccessFs::IoctlDev),
    }
}

// ---- system calls ----

fn filter_calls(rules: &Sandbox, network: Network) -> Result<(), Fault> {
    // No Landlock of today's kernels tells which socket in a folder is connected to: the strict
    // profile has none of them.
    let unix = rules.profile != SandboxProfile::Strict;
    let fault = |error: &dyn std::fmt::Display| Fault::Step("seccomp", error.to_string());
    for program in filter::programs(network, unix).map_err(|e| fault(&e))? {
        seccompiler::apply_filter(&program).map_err(|e| fault(&e))?;
    }
    Ok(())
}

// ---- resources and privileges ----

/// The user that the process is to become.
fn becomes(rules: &Sandbox) -> Result<Option<u32>, Fault> {
    let me = rustix::process::geteuid().as_raw();
    match rules.user {
        Some((user, _)) if me != 0 && me != user => {
            Err(Fault::Step("user", "only root can start a server as another user".to_owned()))
        }
        user => Ok(user.map(|(user, _)| user)),
    }
}

/// The keeper counts a server's processes, once a second; this is what one can fork until then.
/// The system counts threads too, and all those of a user, though not root's: so it is generous.
const PER_PROCESS: u64 = 8;
const FURTHER: u64 = 1024;

/// Sets the limits; in words, what they are.
fn limit(rules: &Sandbox) -> Result<Vec<String>, Fault> {
    let mib = 1 << 20;
    set(Resource::Core, 0)?;
    // Not the address space: runtimes reserve far more of that than they use.
    set(Resource::Data, rules.memory_mb * mib)?;
    set(Resource::Nofile, rules.files)?;
    set(Resource::Fsize, rules.file_size_mb * mib)?;
    let mut said = vec![
        format!("{} MiB of memory", rules.memory_mb),
        format!("{} processes", rules.processes),
    ];
    if let Some(seconds) = rules.cpu_seconds {
        set(Resource::Cpu, seconds)?;
        said.push(format!("{seconds} s of cpu each"));
    }
    let user = rules.user.map_or_else(|| rustix::process::getuid().as_raw(), |(user, _)| user);
    set(Resource::Nproc, running(user) + rules.processes * PER_PROCESS + FURTHER)?;
    Ok(said)
}

/// Lowers a limit for good, as far as it is not lower already.
fn set(resource: Resource, most: u64) -> Result<(), Fault> {
    let most = getrlimit(resource).maximum.map_or(most, |now| now.min(most));
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(resource, limit).map_err(|e| step("limits", &e.into()))
}

/// How many processes and threads a user has: the system's limit counts them all.
fn running(user: u32) -> u64 {
    let Ok(all) = fs::read_dir("/proc") else { return 0 };
    let threads = all.flatten().filter_map(|entry| {
        let number = entry.file_name().to_str()?.bytes().all(|b| b.is_ascii_digit());
        let tasks = number.then(|| fs::metadata(entry.path().join("task")).ok())??;
        // A folder's links are its entries and two more.
        (tasks.uid() == user).then(|| tasks.nlink().saturating_sub(2))
    });
    threads.sum()
}

/// Only root has any; whoever has none cannot give them up, and need not.
fn drop_capabilities() {
    for capability in CAPABILITIES.iter() {
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
}
