//! The system calls that no MCP server needs, and that reach beyond a process.
//!
//! A list of what is refused (EPERM), not of what is allowed: nothing that a program could miss is
//! killed. Container engines refuse about the same by default.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::control::confine::Network;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Fault = seccompiler::BackendError;

/// Refused whatever the arguments.
const REFUSED: &[c_long] = &[
    // other processes
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    // the kernel itself
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_syslog,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    // what a ring does, no filter sees
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // keys of the user
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // another view of the files
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_unshare,
    libc::SYS_setns,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// The flags of clone(2) that make a new view of the system.
const NAMESPACES: [i32; 8] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    // CLONE_NEWTIME; to clone(2) it is a part of the signal number that nobody uses.
    0x80,
];

/// Families of sockets that reach the kernel's own parts or a hypervisor, and carry TCP past the
/// rules about it.
const FAMILIES: [i32; 9] = [
    libc::AF_ALG,
    libc::AF_VSOCK,
    libc::AF_KEY,
    libc::AF_PACKET,
    libc::AF_BLUETOOTH,
    libc::AF_CAN,
    libc::AF_TIPC,
    libc::AF_RDS,
    AF_SMC,
];
const AF_SMC: i32 = 43;

/// Streams to TCP peers that Landlock's rules about TCP do not see.
const PROTOCOLS: [i32; 2] = [libc::IPPROTO_MPTCP, libc::IPPROTO_SCTP];

/// With this flag, sending connects, and Landlock is not asked.
const FASTOPEN: u64 = 0x2000_0000;

/// On x86-64, every call has a second number, whose bit 30 is set (the x32 ABI), and a few have a
/// third.
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;
#[cfg(target_arch = "x86_64")]
const X32_OWN: [i64; 4] = [521, 528, 539, 540]; // ptrace, kexec_load, process_vm_readv and _writev

/// The filters of a policy, to be applied one after the other; none for a processor that the
/// compiler does not know.
pub(super) fn programs(network: Network, unix: bool) -> Result<Vec<BpfProgram>, Fault> {
    let mut refused = BTreeMap::from_iter(REFUSED.iter().map(|call| (*call, vec![])));
    refused.insert(
        libc::SYS_clone,
        masked(0, &NAMESPACES.map(|flag| u64::from(flag.cast_unsigned())))?,
    );
    let mut sockets: Vec<SeccompRule> = Vec::new();
    for family in FAMILIES {
        sockets.push(equal(0, family)?);
    }
    for protocol in PROTOCOLS {
        sockets.push(equal(2, protocol)?);
    }
    if network == Network::Closed {
        sockets.extend([equal(0, libc::AF_INET)?, equal(0, libc::AF_INET6)?]);
    }
    if !unix {
        sockets.push(equal(0, libc::AF_UNIX)?);
    }
    refused.insert(libc::SYS_socket, sockets);
    for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        refused.insert(call, masked(flags, &[FASTOPEN])?);
    }
    // Its flags are in memory, where no filter looks: absent, every C library takes clone(2).
    let absent: Rules = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    Ok(vec![compile(absent, libc::ENOSYS)?, compile(refused, libc::EPERM)?])
}

fn equal(argument: u8, value: i32) -> Result<SeccompRule, Fault> {
    let value = u64::from(value.cast_unsigned());
    let equal = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?;
    SeccompRule::new(vec![equal])
}

/// One rule for each flag: matches when any of them is set.
fn masked(argument: u8, flags: &[u64]) -> Result<Vec<SeccompRule>, Fault> {
    let rule = |flag: &u64| {
        let set = SeccompCmpOp::MaskedEq(*flag);
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, set, *flag)?;
        SeccompRule::new(vec![condition])
    };
    flags.iter().map(rule).collect()
}

fn compile(rules: Rules, errno: i32) -> Result<BpfProgram, Fault> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let action = SeccompAction::Errno(errno.cast_unsigned());
    SeccompFilter::new(twice(rules), SeccompAction::Allow, action, architecture)?.try_into()
}

#[cfg(target_arch = "x86_64")]
fn twice(mut rules: Rules) -> Rules {
    let own = rules.contains_key(&libc::SYS_ptrace);
    let again: Rules = rules.iter().map(|(call, rules)| (call | X32, rules.clone())).collect();
    rules.extend(again);
    if own {
        rules.extend(X32_OWN.map(|call| (call | X32, vec![])));
    }
    rules
}

#[cfg(not(target_arch = "x86_64"))]
fn twice(rules: Rules) -> Rules {
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel takes no longer program (BPF_MAXINSNS).
    const MOST: usize = 4096;

    #[test]
    fn every_filter_compiles_and_fits() {
        for network in [Network::Open, Network::Ports, Network::Closed] {
            for unix in [true, false] {
                let programs = programs(network, unix).expect("they compile");
                assert_eq!(programs.len(), 2);
                assert!(programs.iter().all(|program| (1..MOST).contains(&program.len())));
            }
        }
    }
}
