//! Finding and signalling every descendant of this process.
//!
//! A process group misses those that left it. As a subreaper, the keeper inherits every orphan
//! of its tree, so that "descendants of the keeper" stays the whole tree, whatever a server does
//! (`PR_SET_CHILD_SUBREAPER`). Without `/proc`, and on systems other than Linux, the server's
//! process group is signalled instead.
//!
//! The gateway is a subreaper too, for the day that a keeper is killed: its tree is then found as
//! what the gateway adopts.

use std::io;

use rustix::process::{Pid, Signal, kill_process_group};

/// More descendants than this are stopped before they are killed.
#[cfg(target_os = "linux")]
const HANDFUL: usize = 16;

/// How often what was forked meanwhile is stopped too.
#[cfg(target_os = "linux")]
const STOP_ROUNDS: usize = 16;

/// Makes this process the parent of whatever its descendants leave behind.
///
/// # Errors
/// The system's, if it refuses.
pub(super) fn adopt() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// Sends `signal` to every descendant of this process, parents before their children.
pub(super) fn signal_all(server: Pid, signal: Signal) {
    #[cfg(target_os = "linux")]
    if let Some(descendants) = proc::descendants() {
        for one in descendants {
            one.signal(signal);
        }
        return;
    }
    let _ = kill_process_group(server, signal);
}

/// Kills every descendant of this process.
pub(super) fn kill_all(server: Pid) {
    #[cfg(target_os = "linux")]
    if proc::kill(proc::descendants).is_some() {
        return;
    }
    let _ = kill_process_group(server, Signal::KILL);
}

/// Kills what a lost keeper has left to this process, and takes its exit status; `true` if there
/// is no more of it. To be called until then: what forks while it is killed is found the next time.
///
/// A keeper is in a session of its own, and so is whatever descends from it. What is in our own
/// session was not left by one, nor was one of `keepers`.
pub(super) fn kill_adopted(keepers: &[Pid]) -> bool {
    #[cfg(target_os = "linux")]
    if let Some(killed) = proc::kill(|| proc::adopted(keepers)) {
        killed.iter().for_each(|one| one.reap());
        return killed.is_empty();
    }
    let _ = keepers;
    true
}

#[cfg(target_os = "linux")]
mod proc {
    use std::collections::{HashMap, HashSet};
    use std::fs;

    use rustix::process::{
        Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, pidfd_open, pidfd_send_signal,
        waitpid,
    };

    use super::{HANDFUL, STOP_ROUNDS};

    /// One process as `/proc/PID/stat` shows it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) struct Seen {
        pid: Pid,
        parent: i32,
        session: i32,
        /// In clock ticks since boot: with the pid, it names one process for ever.
        start: u64,
    }

    impl Seen {
        /// Signals this very process, not one that got its number since.
        pub(super) fn signal(self, signal: Signal) {
            let Ok(exact) = pidfd_open(self.pid, PidfdFlags::empty()) else {
                // Gone, or a kernel before 5.3: there, signal the number if it is still the same.
                if read(self.pid.as_raw_pid()).is_some_and(|now| now.start == self.start) {
                    let _ = kill_process(self.pid, signal);
                }
                return;
            };
            if read(self.pid.as_raw_pid()).is_some_and(|now| now.start == self.start) {
                let _ = pidfd_send_signal(exact, signal);
            }
        }

        /// Takes its exit status, if it has ended and is our child.
        pub(super) fn reap(self) {
            let _ = waitpid(Some(self.pid), WaitOptions::NOHANG);
        }
    }

    /// Kills all that `find` finds; `None` if it cannot look.
    ///
    /// Many are stopped first: what stands still forks no more, and keeps its place within the
    /// system's limit, while one that is killed makes room for another.
    pub(super) fn kill(find: impl Fn() -> Option<Vec<Seen>>) -> Option<Vec<Seen>> {
        let mut found = find()?;
        let mut stopped = HashSet::new();
        for _ in 0..STOP_ROUNDS {
            let before = stopped.len();
            for one in found.iter().filter(|_| found.len() > HANDFUL) {
                if stopped.insert((one.pid, one.start)) {
                    one.signal(Signal::STOP);
                }
            }
            if stopped.len() == before {
                break;
            }
            found = find()?;
        }
        found.iter().for_each(|one| one.signal(Signal::KILL));
        Some(found)
    }

    /// All descendants of this process, zombies included; `None` if `/proc` does not show us.
    pub(super) fn descendants() -> Option<Vec<Seen>> {
        let (me, all) = look()?;
        Some(below(all, |seen| seen.parent == me.pid.as_raw_pid()))
    }

    /// What this process has adopted, with all descendants; `None` if `/proc` does not show us.
    pub(super) fn adopted(keepers: &[Pid]) -> Option<Vec<Seen>> {
        let (me, all) = look()?;
        Some(below(all, |seen| is_adopted(seen, &me, keepers)))
    }

    fn is_adopted(seen: &Seen, me: &Seen, keepers: &[Pid]) -> bool {
        seen.parent == me.pid.as_raw_pid()
            && seen.session != me.session
            && !keepers.contains(&seen.pid)
    }

    /// This process, and all there are.
    fn look() -> Option<(Seen, impl Iterator<Item = Seen>)> {
        // A /proc of another pid namespace would name the wrong processes.
        let own = fs::read("/proc/self/stat").ok().and_then(|stat| parse(&stat))?;
        if own.pid != getpid() {
            return None;
        }
        let all = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            read(pid)
        });
        Some((own, all))
    }

    fn read(pid: i32) -> Option<Seen> {
        parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Those that are `first`, and everything below them, level by level.
    fn below(all: impl Iterator<Item = Seen>, first: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let mut children: HashMap<i32, Vec<Seen>> = HashMap::new();
        let mut found = Vec::new();
        for seen in all {
            if first(&seen) {
                found.push(seen);
            } else {
                children.entry(seen.parent).or_default().push(seen);
            }
        }
        let mut next = 0;
        while let Some(seen) = found.get(next) {
            let more = children.remove(&seen.pid.as_raw_pid()).unwrap_or_default();
            found.extend(more);
            next += 1;
        }
        found
    }

    /// `pid (name) state ppid …`: the name may hold anything, also spaces and parentheses
    /// (proc_pid_stat(5)).
    fn parse(stat: &[u8]) -> Option<Seen> {
        let open = stat.iter().position(|byte| *byte == b'(')?;
        let close = stat.iter().rposition(|byte| *byte == b')')?;
        let pid = std::str::from_utf8(stat.get(..open)?).ok()?.trim().parse().ok()?;
        let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        // Field 3 is the state, 4 the parent, 6 the session, 22 the start time.
        let parent = fields.nth(1)?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        let start = fields.nth(15)?.parse().ok()?;
        Some(Seen { pid: Pid::from_raw(pid)?, parent, session, start })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn seen(pid: i32, parent: i32) -> Seen {
            Seen { pid: Pid::from_raw(pid).expect("a pid"), parent, session: 0, start: 0 }
        }

        fn below_one(root: i32, all: impl IntoIterator<Item = Seen>) -> Vec<i32> {
            let found = below(all.into_iter(), |seen| seen.parent == root);
            found.iter().map(|seen| seen.pid.as_raw_pid()).collect()
        }

        #[test]
        fn a_hostile_process_name_confuses_nobody() {
            let stat = b"42 (a) S 1 (b) R 7 42 40 0 -1 4194560 1 0 0 0 1 2 3 4 20 0 1 0 98765 9 9";
            let got = parse(stat).expect("it parses");
            assert_eq!((got.pid.as_raw_pid(), got.parent), (42, 7));
            assert_eq!((got.session, got.start), (40, 98_765));
            assert_eq!(parse(b"42 (a) S 1"), None);
            assert_eq!(parse(b""), None);
        }

        #[test]
        fn all_generations_are_found_and_nobody_else() {
            let all = [seen(9, 5), seen(1, 0), seen(5, 2), seen(2, 1), seen(3, 1), seen(6, 2)];
            assert_eq!(below_one(2, all), [5, 6, 9]);
        }

        #[test]
        fn a_loop_of_parents_ends() {
            // Cannot be, but /proc is not read in one moment.
            let all = [seen(2, 1), seen(3, 4), seen(4, 3), seen(1, 2)];
            assert_eq!(below_one(1, all), [2, 1]);
        }

        #[test]
        fn only_what_a_keeper_left_is_adopted() {
            let me = Seen { session: 5, ..seen(10, 1) };
            let keepers = [Pid::from_raw(20).expect("a pid")];
            let adopted = |seen| is_adopted(&seen, &me, &keepers);
            assert!(adopted(Seen { session: 22, ..seen(23, 10) }));
            assert!(!adopted(Seen { session: 20, ..seen(20, 10) }), "a keeper that lives");
            assert!(!adopted(Seen { session: 5, ..seen(24, 10) }), "started by us, or before us");
            assert!(!adopted(Seen { session: 22, ..seen(25, 20) }), "a keeper still has it");
        }

        #[test]
        fn our_own_child_is_found() {
            let mut child = std::process::Command::new("sleep").arg("100").spawn().expect("sleep");
            let pid = i32::try_from(child.id()).expect("a pid");
            let found = descendants().expect("a /proc");
            let one = found.iter().find(|seen| seen.pid.as_raw_pid() == pid).expect("the child");
            Seen { start: one.start + 1, ..*one }.signal(Signal::KILL);
            assert!(child.try_wait().expect("a status").is_none(), "another process is spared");
            one.signal(Signal::KILL);
            assert!(!child.wait().expect("a status").success());
        }
    }
}
