//! Looking at processes: who descends from whom, and waiting until one is gone.

use super::BOUND;
use rustix::process::Pid;

/// Children, their children and so on (Linux; empty elsewhere).
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let parents = parents();
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(child, _)| *child));
        at += 1;
    }
    found.split_off(1)
}

/// (process, parent) of all processes that are not zombies.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z").then_some(parent)
}

/// Does the process still run? Waits for its end, at most [`BOUND`]. Blocks.
pub(crate) fn outlives(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    wait_for_end(pid)
}

#[cfg(target_os = "linux")]
fn wait_for_end(pid: Pid) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{PidfdFlags, pidfd_open};
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    let bound = Timespec { tv_sec: BOUND.as_secs().cast_signed(), tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&bound));
    matches!(ready, Ok(0))
}

#[cfg(not(target_os = "linux"))]
fn wait_for_end(pid: Pid) -> bool {
    // No event for the end of a process that is not our child.
    let end = std::time::Instant::now() + BOUND;
    while std::time::Instant::now() < end {
        if rustix::process::test_kill_process(pid).is_err() {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    true
}

/// Fails unless the process ends, within [`BOUND`].
pub(crate) async fn ends(pid: u32) {
    let outlives = tokio::task::spawn_blocking(move || outlives(pid)).await;
    assert!(!outlives.expect("waiting does not panic"), "the process {pid} still runs");
}

/// Asks a process to end.
pub(crate) fn terminate(pid: u32) {
    signal(pid, rustix::process::Signal::TERM);
}

/// Sends any signal.
pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    // It may have ended meanwhile; whoever cares waits for that.
    let _ = rustix::process::kill_process(pid, signal);
}

/// Memory of a process in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Resident {
    pub(crate) now: usize,
    /// The most it ever was.
    pub(crate) peak: usize,
}

/// What a process holds (Linux; zero elsewhere).
pub(crate) fn resident(pid: u32) -> Resident {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
        kib.unwrap_or_default() * 1024
    };
    Resident { now: field("VmRSS:"), peak: field("VmHWM:") }
}
