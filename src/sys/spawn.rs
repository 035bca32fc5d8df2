//! Child processes: started by one thread through a keeper, and gone with their whole tree.
//!
//! A process group kill misses children that call setsid, and a parent-death signal reaches one
//! generation only. So each server has a **keeper** beside it ([`super::keeper`]), which kills
//! every descendant when told to, or when the gateway is gone, however it went.
//!
//! Never here: a shell, the gateway's environment, or any reading of what the server says.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::future::Future;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::command::CommandError;
use super::frame::Order;
use super::keeper::{KILL_LIMIT, LINGER};
use super::reaper::{self, Lease, Link, Request, Started};
use super::sandbox::Policy;
use crate::control::confine::Sandboxed;

/// The most bytes in a command with its arguments and environment. Linux allows 2 MiB.
pub const MAX_SPEC: usize = 2 * 1024 * 1024;

/// What to start. Its `Debug` shows neither arguments nor environment, which may hold secrets.
#[derive(Clone)]
pub struct ChildSpec {
    /// For the log and the process list: the configured name, not the command.
    pub label: String,
    /// The program, resolved by [`super::command::resolve_command`] with the `PATH` of `env`.
    pub command: OsString,
    /// The arguments, without the program's name.
    pub args: Vec<OsString>,
    /// The whole environment: the child gets nothing else.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory; the gateway's own if `None`.
    pub cwd: Option<PathBuf>,
    /// What it is held to; nothing if `None`.
    pub sandbox: Option<Box<Policy>>,
}

/// A running server. Its ends of the pipes are non-blocking; its standard output is raised to
/// 1 MiB where the system allows.
#[derive(Debug)]
pub struct Child {
    /// The server's standard input; dropping it is the server's end of input.
    pub stdin: pipe::Sender,
    /// The server's standard output.
    pub stdout: pipe::Receiver,
    /// The server's standard error; to be drained, or the server blocks.
    pub stderr: pipe::Receiver,
    /// The process and its tree.
    pub process: Process,
    /// What it is held by; nothing if it is not.
    pub sandboxed: Option<Sandboxed>,
}

/// A server process with all its descendants; dropping it kills them.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    lease: Lease,
    phase: watch::Receiver<Phase>,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
    /// It was killed, because with its descendants it was more processes than this.
    Processes(u64),
    /// It was killed, because with its descendants it held more memory than so many MiB.
    Memory(u64),
    /// Its keeper was killed, and the server with it.
    Lost,
}

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// The server has ended; descendants may be left.
    Exited(Exit),
    /// The server, its descendants and the keeper are gone.
    Gone(Exit),
}

/// Why a server was not started: one line for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SpawnError {
    /// The command names no program.
    Command(CommandError),
    /// The file exists, but what its first line or its ELF header names does not.
    NoInterpreter {
        /// The file.
        file: String,
    },
    /// The system refused to run the file.
    Refused {
        /// The file.
        file: String,
        /// The system's error number.
        errno: i32,
    },
    /// It cannot be held as it was asked for.
    Sandbox {
        /// What is in the way.
        reason: String,
    },
    /// A NUL byte, or a malformed name in the environment; says where.
    Malformed(String),
    /// Command, arguments and environment are over [`MAX_SPEC`] or the system's limit.
    TooLarge,
    /// The limit on processes is reached.
    TooManyProcesses,
    /// The limit on open files is reached.
    TooManyDescriptors,
    /// The system is out of memory.
    OutOfMemory,
    /// The keeper could not be started.
    Keeper {
        /// What failed.
        reason: String,
    },
    /// The keeper ended before it had started the server.
    KeeperLost,
    /// The spawner thread is gone.
    SpawnerLost,
}

/// The handle of the one thread that starts and reaps child processes. Cheap to clone.
///
/// The thread ends when all handles and all processes are gone.
#[derive(Clone, Debug)]
pub struct Spawner {
    link: Link,
}

/// The path under which this program can start itself again, as keeper.
///
/// Where it can be, this is a name for the running file, so that an upgrade on disk never mixes
/// two versions.
///
/// # Errors
/// The system's, if it does not know.
pub fn own_program() -> io::Result<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { Ok(running) } else { std::env::current_exe() }
}

impl Spawner {
    /// Starts the thread. `helper` is a program that calls [`super::keeper::run`] when its first
    /// argument is [`super::keeper::ARGUMENT`]: normally [`own_program`].
    ///
    /// One for a process: where a keeper is killed, every child of this process in another
    /// session is taken for what it left (Linux).
    ///
    /// # Errors
    /// The system's, if the thread or its socket cannot be made.
    pub fn start(helper: PathBuf) -> io::Result<Self> {
        Ok(Self { link: reaper::start(helper)? })
    }

    /// Starts a server. Cancel safe: when dropped, what was started is killed. Needs a runtime.
    ///
    /// Waits for the server's `exec` without a bound of its own: a program on a network file
    /// system that hangs is for the caller's start timeout.
    ///
    /// # Errors
    /// [`SpawnError`]; then nothing is left running.
    pub async fn spawn(&self, spec: ChildSpec) -> Result<Child, SpawnError> {
        spec.check()?;
        let (reply, answer) = oneshot::channel();
        let lease = self.link.lease();
        self.link.send(Request::Start { id: lease.id(), spec: Box::new(spec), reply });
        let Started { pid, sandboxed, stdin, stdout, stderr, phase } =
            answer.await.map_err(|_| SpawnError::SpawnerLost)??;
        let keeper = |error: io::Error| SpawnError::from_keeper(&error);
        Ok(Child {
            stdin: pipe::Sender::from_owned_fd(stdin).map_err(keeper)?,
            stdout: pipe::Receiver::from_owned_fd(stdout).map_err(keeper)?,
            stderr: pipe::Receiver::from_owned_fd(stderr).map_err(keeper)?,
            process: Process { pid, lease, phase },
            sandboxed,
        })
    }
}

impl ChildSpec {
    fn check(&self) -> Result<(), SpawnError> {
        let nul = |text: &OsStr| text.as_bytes().contains(&0);
        let fault = |what: String| Err(SpawnError::Malformed(what));
        if nul(&self.command) || nul(self.label.as_ref()) {
            return fault("the command or its label has a NUL byte".to_owned());
        }
        if self.cwd.as_ref().is_some_and(|cwd| nul(cwd.as_os_str())) {
            return fault("the working directory has a NUL byte".to_owned());
        }
        if let Some(n) = self.args.iter().position(|arg| nul(arg)) {
            return fault(format!("argument {} has a NUL byte", n + 1));
        }
        self.check_environment()?;
        if self.size() > MAX_SPEC { Err(SpawnError::TooLarge) } else { Ok(()) }
    }

    fn check_environment(&self) -> Result<(), SpawnError> {
        let nul = |text: &OsStr| text.as_bytes().contains(&0);
        for (name, value) in &self.env {
            let fault = if name.is_empty() || nul(name) || name.as_bytes().contains(&b'=') {
                format!("an environment variable cannot be named {name:?}")
            } else if nul(value) {
                format!("the environment variable {} has a NUL byte", name.display())
            } else {
                continue;
            };
            return Err(SpawnError::Malformed(fault));
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let args: usize = self.args.iter().map(|arg| arg.len() + 1).sum();
        let env: usize = self.env.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        self.command.len() + self.label.len() + args + env
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("label", &self.label)
            .field("command", &self.command)
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

impl Process {
    /// The server's process id (not its keeper's), which is also its process group.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns when the server itself has ended. Cancel safe, and can be asked again.
    ///
    /// Descendants that are left then get TERM, and KILL after [`LINGER`].
    pub async fn wait(&mut self) -> Exit {
        match self.phase.wait_for(|phase| *phase != Phase::Running).await.map(|phase| *phase) {
            Ok(Phase::Exited(exit) | Phase::Gone(exit)) => exit,
            Ok(Phase::Running) | Err(_) => Exit::Lost,
        }
    }

    /// Returns when the server and its whole tree are gone. Cancel safe, can be asked again.
    pub async fn gone(&mut self) -> Exit {
        let gone = |phase: &Phase| matches!(phase, Phase::Gone(_));
        match self.phase.wait_for(gone).await.map(|phase| *phase) {
            Ok(Phase::Gone(exit)) => exit,
            Ok(Phase::Running | Phase::Exited(_)) | Err(_) => Exit::Lost,
        }
    }

    /// Sends TERM to the server and all its descendants.
    pub fn terminate(&self) {
        self.lease.tell(Order::Terminate);
    }

    /// Sends KILL to the server and all its descendants, until none is left.
    pub fn kill(&self) {
        self.lease.tell(Order::Kill);
    }

    /// Ends the server in good order; the whole tree is gone when this returns.
    ///
    /// The caller has dropped [`Child::stdin`] before (MCP 2025-11-25, basic/lifecycle,
    /// "Shutdown"). `grace` is waited twice at most: before TERM, and between TERM and KILL.
    pub async fn stop(mut self, grace: Duration) -> Exit {
        if !within(grace, self.wait()).await {
            self.terminate();
            if !within(grace, self.wait()).await {
                self.kill();
            }
        }
        // The keeper ends within its own bounds; one that hangs is killed, and takes the server
        // with it (its parent-death signal).
        if !within(LINGER + KILL_LIMIT * 2, self.gone()).await {
            self.lease.destroy();
        }
        self.gone().await
    }
}

async fn within(bound: Duration, event: impl Future<Output = Exit>) -> bool {
    timeout(bound, event).await.is_ok()
}

impl SpawnError {
    /// Names the limits an operator can raise; anything else is the keeper's failure.
    pub(super) fn from_keeper(error: &io::Error) -> Self {
        Self::from_limits(error).unwrap_or_else(|| Self::Keeper { reason: error.to_string() })
    }

    /// What `exec` of a file that was found says.
    pub(super) fn from_exec(error: &io::Error, file: String) -> Self {
        if error.kind() == io::ErrorKind::NotFound {
            return Self::NoInterpreter { file };
        }
        let errno = error.raw_os_error().unwrap_or_default();
        Self::from_limits(error).unwrap_or(Self::Refused { file, errno })
    }

    fn from_limits(error: &io::Error) -> Option<Self> {
        use rustix::io::Errno;
        match Errno::from_io_error(error)? {
            Errno::AGAIN => Some(Self::TooManyProcesses),
            Errno::MFILE | Errno::NFILE => Some(Self::TooManyDescriptors),
            Errno::NOMEM => Some(Self::OutOfMemory),
            Errno::TOOBIG => Some(Self::TooLarge),
            _ => None,
        }
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(error) => error.fmt(f),
            Self::NoInterpreter { file } => {
                write!(f, "{file} cannot be run: the interpreter it names was not found")
            }
            Self::Refused { file, errno } => {
                write!(f, "{file} cannot be run: {}", io::Error::from_raw_os_error(*errno))
            }
            Self::Sandbox { reason } => write!(f, "the sandbox cannot be made: {reason}"),
            Self::Malformed(what) => f.write_str(what),
            Self::TooLarge => f.write_str("the arguments and environment are too long"),
            Self::TooManyProcesses => f.write_str("the limit on processes is reached (ulimit -u)"),
            Self::TooManyDescriptors => {
                f.write_str("the limit on open files is reached (ulimit -n)")
            }
            Self::OutOfMemory => f.write_str("out of memory"),
            Self::Keeper { reason } => write!(f, "the keeper process cannot be started: {reason}"),
            Self::KeeperLost => f.write_str("the keeper process ended before the server started"),
            Self::SpawnerLost => f.write_str("the spawner thread is gone"),
        }
    }
}

impl std::error::Error for SpawnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Command(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
            Self::Processes(most) => {
                write!(f, "killed for being more than {most} processes (sandbox.processes)")
            }
            Self::Memory(most) => {
                write!(f, "killed for holding more than {most} MiB in all (sandbox.memoryMb)")
            }
            Self::Lost => f.write_str("lost together with its keeper"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ChildSpec {
        ChildSpec {
            label: "files".to_owned(),
            command: "cat".into(),
            args: vec!["plain".into()],
            env: vec![("TOKEN".into(), "hunter2".into())],
            cwd: None,
            sandbox: None,
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = format!("{:?}", spec());
        assert!(text.contains("files") && !text.contains("hunter2") && !text.contains("plain"));
    }

    #[test]
    fn malformed_specs_are_refused_by_name() {
        let fault = |change: fn(&mut ChildSpec)| {
            let mut spec = spec();
            change(&mut spec);
            spec.check().map_err(|error| error.to_string()).expect_err("a fault")
        };
        assert_eq!(fault(|s| s.args.push("a\0b".into())), "argument 2 has a NUL byte");
        assert_eq!(
            fault(|s| s.env.push(("K".into(), "\0".into()))),
            "the environment variable K has a NUL byte"
        );
        assert!(fault(|s| s.env.push(("A=B".into(), "".into()))).contains("\"A=B\""));
        assert!(fault(|s| s.env.push(("".into(), "".into()))).contains("cannot be named"));
        assert!(fault(|s| s.cwd = Some("\0".into())).contains("working directory"));
        assert!(fault(|s| s.args.push("x".repeat(MAX_SPEC).into())).contains("too long"));
        assert_eq!(spec().check(), Ok(()));
    }

    #[test]
    fn limits_are_told_apart_from_faults() {
        let exec = |errno| {
            let error = io::Error::from_raw_os_error(errno);
            SpawnError::from_exec(&error, "/bin/x".to_owned()).to_string()
        };
        let raw = rustix::io::Errno::raw_os_error;
        assert!(exec(raw(rustix::io::Errno::AGAIN)).contains("limit on processes"));
        assert!(exec(raw(rustix::io::Errno::NOENT)).contains("interpreter"));
        assert!(exec(raw(rustix::io::Errno::TOOBIG)).contains("too long"));
        assert!(exec(raw(rustix::io::Errno::NOEXEC)).starts_with("/bin/x cannot be run: "));
    }
}
