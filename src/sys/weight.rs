//! What a tree of processes weighs: how many there are, and the memory they hold together.
//!
//! The system's own limits are per process, or per user; so the keeper looks for itself. It walks
//! from parent to child, so that a look costs what the tree is worth, not the machine.

use std::collections::HashSet;
use std::fs;

use super::sandbox::Policy;
use super::spawn::Exit;

/// What a tree may weigh.
pub(super) struct Bounds {
    processes: u64,
    memory_mb: u64,
}

impl Bounds {
    pub(super) fn of(policy: &Policy) -> Self {
        Self { processes: policy.rules.processes, memory_mb: policy.rules.memory_mb }
    }

    /// How this process's descendants end if they weigh more than they may.
    pub(super) fn exceeded(&self) -> Option<Exit> {
        let most = usize::try_from(self.processes).unwrap_or(usize::MAX);
        let tree = descendants(most)?;
        if tree.len() > most {
            return Some(Exit::Processes(self.processes));
        }
        let most = self.memory_mb * 1024;
        let sum = |each: fn(&i32) -> u64| tree.iter().map(each).sum::<u64>();
        // The quick look counts what a process shares with its parent twice; the slow one does not.
        (sum(held) > most && sum(share) > most).then_some(Exit::Memory(self.memory_mb))
    }
}

/// The descendants of this process, though not many more than `most`; `None` if they cannot be
/// found.
fn descendants(most: usize) -> Option<HashSet<i32>> {
    let mut next = children("self")?;
    let mut found = HashSet::new();
    while let Some(pid) = next.pop() {
        if found.len() > most {
            break;
        }
        if found.insert(pid) {
            next.extend(children(&pid.to_string()).unwrap_or_default());
        }
    }
    Some(found)
}

/// The children of all threads of a process (proc_pid_task_children(5)): none on a kernel that is
/// built without that file.
fn children(pid: &str) -> Option<Vec<i32>> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let Ok(text) = fs::read_to_string(thread.path().join("children")) else { continue };
        found.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    Some(found)
}

/// What a process holds that is not the content of files, in KiB; nothing if it is gone.
fn held(pid: &i32) -> u64 {
    sum_of(&format!("/proc/{pid}/status"), &["RssAnon:", "RssShmem:", "VmSwap:"]).unwrap_or(0)
}

/// The same, with what several processes hold together divided among them.
fn share(pid: &i32) -> u64 {
    let file = format!("/proc/{pid}/smaps_rollup");
    sum_of(&file, &["Pss_Anon:", "Pss_Shmem:", "SwapPss:"]).unwrap_or_else(|| held(pid))
}

/// The sum of some fields of a file, in KiB; `None` if none of them is there.
fn sum_of(file: &str, fields: &[&str]) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let value = |line: &str| {
        let rest = fields.iter().find_map(|field| line.strip_prefix(field))?;
        rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    text.lines().filter_map(value).reduce(u64::saturating_add)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};

    #[test]
    fn a_tree_is_counted_and_weighed() {
        let script = "sleep 1000 & (sleep 1000 & echo up; wait) & wait";
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        let said = shell.stdout.take().expect("piped");
        BufReader::new(said).read_line(&mut line).expect("a line");
        let pid = i32::try_from(shell.id()).expect("a pid");
        let found = descendants(1000).expect("a /proc");
        assert!(found.contains(&pid) && found.len() >= 4, "{found:?}");
        assert!(descendants(2).expect("a /proc").len() <= 3, "no further than it must");
        let (held, share) = (held(&pid), share(&pid));
        assert!(held > 0 && share > 0 && share <= held, "{share} of {held}");
        let ends = |processes, memory_mb| Bounds { processes, memory_mb }.exceeded();
        assert_eq!(ends(1000, 1 << 20), None);
        assert_eq!(ends(2, 1 << 20), Some(Exit::Processes(2)));
        assert_eq!(ends(1000, 0), Some(Exit::Memory(0)));
        let group = rustix::process::Pid::from_raw(pid).expect("a pid");
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).expect("it ends");
        shell.wait().expect("it has ended");
    }

    #[test]
    fn fields_are_summed_and_absent_ones_are_none() {
        assert!(sum_of("/proc/self/status", &["VmRSS:"]).is_some_and(|kib| kib > 100));
        assert_eq!(sum_of("/proc/self/status", &["NoSuch:"]), None);
        assert_eq!(sum_of("/proc/none", &["VmRSS:"]), None);
        assert_eq!(held(&0), 0);
    }
}
