//! The keeper: a small process beside each server that sees to it that its whole tree ends.
//!
//! It is this same program with a private first argument. In its own session, so that a Ctrl-C in
//! the gateway's terminal does not reach the server; a subreaper, so that no descendant escapes;
//! at the end of a socket whose other end the gateway holds, so that it learns of the gateway's
//! end however that came. Told to, or when the socket ends, it kills every descendant; also when
//! they are more, or larger, than the sandbox of their entry lets them be.
//!
//! The server itself starts in the **exec stage**, a second private mode: it asks to die with the
//! keeper, finds the program, and becomes it. Should the keeper be killed, the gateway kills the
//! rest of the tree ([`super::reaper`]); should both be killed at once, nobody does.
//!
//! One thread; it keeps no end of the server's pipes, and drops the plan with its secrets once the
//! exec stage has it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as Socket;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout};

use super::command::resolve_command;
use super::frame::{
    Frames, Order, PIPES, Plan, Report, encode, receive_with_pipes, send_with_pipes,
};
use super::sandbox::{self, Policy, Scratch, Subject};
use super::spawn::{Exit, SpawnError, own_program};
use super::tree;
use super::weight::Bounds;

/// The first argument that makes this program a keeper; see [`run`].
pub const ARGUMENT: &str = "__keeper";

/// How long descendants may outlive their server after TERM, before KILL.
pub const LINGER: Duration = Duration::from_millis(500);

/// How long the keeper goes on killing. Only a process stuck in the kernel takes longer, and it
/// ends as soon as it is let go.
pub const KILL_LIMIT: Duration = Duration::from_secs(10);

/// How often it looks whether the tree is larger than it may be.
const LOOK: Duration = Duration::from_secs(1);

/// How soon it looks again for descendants that were forked while it killed.
pub(super) const KILL_AGAIN: Duration = Duration::from_millis(20);

/// The modes, as second argument.
pub(super) const KEEP: &str = "keep";
const EXEC: &str = "exec";

/// What the exec stage exits with if it did not become the server; a shell's number for it.
const NOT_STARTED: u8 = 127;

/// Runs as keeper or exec stage; to be called before anything else when the first argument is
/// [`ARGUMENT`], with the arguments after it. Ignores everything else on the command line.
#[must_use]
pub fn run(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let mode = args.next();
    let done = match mode.as_deref().and_then(OsStr::to_str) {
        Some(KEEP) => keep(),
        Some(EXEC) => exec(),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    };
    // Nobody reads what a keeper prints: what there is to say was said over the socket.
    done.unwrap_or(ExitCode::from(2))
}

/// The command that starts `program` in one of the modes. The environment is empty, and nothing
/// but the label (for the process list) is an argument.
pub(super) fn command(program: &Path, mode: &str, label: &str) -> Command {
    let mut command = Command::new(program);
    command.arg0("1mcp").args([ARGUMENT, mode, label]).env_clear();
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Takes the socket off standard input, so that no child gets it.
fn control() -> io::Result<Socket> {
    let control = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(Socket::from(control))
}

fn keep() -> io::Result<ExitCode> {
    let control = control()?;
    let ready = prepare();
    let (order, pipes) = receive_with_pipes::<Order>(&control)?;
    let Order::Start(mut plan) = order else { return Err(io::ErrorKind::InvalidData.into()) };
    let scratch = plan.sandbox.as_ref().and_then(|policy| Scratch::make(policy, &mut plan.env));
    plan.scratch = scratch.as_ref().map(|scratch| scratch.path().to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        control.set_nonblocking(true)?;
        // Open until this process has ended: that is what the end of the stream means.
        let mut gateway = ManuallyDrop::new(Gateway::new(UnixStream::from_std(control)?));
        // Gone by then.
        let _scratch = scratch;
        // Before the first child, so that no child's end is missed.
        let mut events = Events::listen()?;
        let begun = ready.and_then(|()| begin(&plan, pipes));
        let bounds = plan.sandbox.as_deref().map(Bounds::of);
        drop(plan);
        match begun {
            Ok((server, verdict)) => {
                let tree = Tree { server, exit: None, told: false, bounds };
                tend(&mut gateway, &mut events, tree, verdict).await
            }
            Err(error) => {
                gateway.report(&Report::Failed(SpawnError::from_keeper(&error))).await;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn prepare() -> io::Result<()> {
    rustix::process::setsid()?;
    tree::adopt()?;
    // For the process list, and so that `killall 1mcp` means the gateway.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_name(c"1mcp-keeper");
    Ok(())
}

/// Starts the exec stage and hands it plan and pipes; no copy of the pipes stays here.
fn begin(plan: &Plan, pipes: [OwnedFd; PIPES]) -> io::Result<(Pid, UnixStream)> {
    let (verdict, theirs) = Socket::pair()?;
    let stage =
        command(&own_program()?, EXEC, "").stdin(OwnedFd::from(theirs)).process_group(0).spawn()?;
    let pid = i32::try_from(stage.id()).ok().and_then(Pid::from_raw);
    let server = pid.ok_or(io::ErrorKind::InvalidData)?;
    let [stdin, stdout, stderr] = &pipes;
    let ends = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let me = rustix::process::getpid().as_raw_pid();
    // A stage that died says so by its exit status.
    let _ = send_with_pipes(&verdict, &encode(&(me, plan))?, ends);
    verdict.set_nonblocking(true)?;
    Ok((server, UnixStream::from_std(verdict)?))
}

/// The other end of the control socket.
struct Gateway {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    frames: Frames,
}

impl Gateway {
    fn new(control: UnixStream) -> Self {
        let (read, write) = control.into_split();
        Self { read, write, frames: Frames::default() }
    }

    /// The next order; `None` at the end of the stream or when it makes no sense. Cancel safe.
    async fn order(&mut self) -> Option<Order> {
        loop {
            if let Some(order) = self.frames.next().ok()? {
                return Some(order);
            }
            let mut chunk = [0; 256];
            let length = self.read.read(&mut chunk).await.ok()?;
            if length == 0 {
                return None;
            }
            self.frames.push(chunk.get(..length)?);
        }
    }

    async fn report(&mut self, report: &Report) {
        // A gateway that is gone does not hear it, and need not.
        if let Ok(frame) = encode(report) {
            let _ = self.write.write_all(&frame).await;
        }
    }
}

/// The signals a keeper takes over.
struct Events {
    child: Signals,
    // What ends the gateway must not end the keeper first: `pkill 1mcp`, a service manager that
    // signals the whole group. It goes when the gateway goes.
    terminate: Signals,
    interrupt: Signals,
    hangup: Signals,
}

impl Events {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            child: signal(SignalKind::child())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns when a child may have ended. Cancel safe.
    async fn child_ended(&mut self) {
        loop {
            tokio::select! {
                _ = self.child.recv() => return,
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = self.hangup.recv() => {}
            }
        }
    }
}

/// The server and everything below it.
struct Tree {
    server: Pid,
    exit: Option<Exit>,
    told: bool,
    bounds: Option<Bounds>,
}

/// Whether this process has children left, be they its own or adopted.
#[derive(PartialEq, Eq)]
enum Left {
    Some,
    None,
}

impl Tree {
    /// Takes the exit status of every child that has ended.
    fn reap(&mut self) -> Left {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.server => {
                    self.exit.get_or_insert(exit_of(status));
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return Left::Some,
                Err(_) => return Left::None,
            }
        }
    }

    /// Whether it is larger than it may be; that is how the server ends then.
    fn outgrown(&mut self) -> bool {
        let exit = self.bounds.as_ref().and_then(Bounds::exceeded);
        if let Some(exit) = exit {
            self.exit.get_or_insert(exit);
        }
        exit.is_some()
    }

    /// Reports the server's exit, once.
    async fn tell(&mut self, gateway: &mut Gateway) {
        if let Some(exit) = self.exit.filter(|_| !self.told) {
            self.told = true;
            gateway.report(&Report::Exited(exit)).await;
        }
    }

    /// Kills until nothing is left: what forks while it is killed is found in the next round.
    async fn kill(&mut self, events: &mut Events) {
        let end = Instant::now() + KILL_LIMIT;
        while self.reap() == Left::Some && Instant::now() < end {
            tree::kill_all(self.server);
            let _ = timeout(KILL_AGAIN, events.child_ended()).await;
        }
    }
}

fn exit_of(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Lost,
    }
}

/// Watches over the tree until nothing of it is left.
async fn tend(gateway: &mut Gateway, events: &mut Events, mut tree: Tree, verdict: UnixStream) {
    if !started(gateway, &tree, verdict).await {
        return tree.kill(events).await;
    }
    let mut end: Option<Instant> = None;
    let mut look = Instant::now() + LOOK;
    while tree.reap() == Left::Some {
        if tree.exit.is_some() && end.is_none() {
            tree.tell(gateway).await;
            tree::signal_all(tree.server, Signal::TERM);
            end = Some(Instant::now() + LINGER);
        }
        tokio::select! {
            () = events.child_ended() => {}
            () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => break,
            () = sleep_until(look), if tree.bounds.is_some() => {
                if tree.outgrown() {
                    break;
                }
                look = Instant::now() + LOOK;
            }
            order = gateway.order() => match order {
                Some(Order::Terminate) => tree::signal_all(tree.server, Signal::TERM),
                Some(Order::Start(_) | Order::Kill) | None => break,
            },
        }
    }
    tree.kill(events).await;
    tree.tell(gateway).await;
}

/// Waits until the exec stage has become the server, and reports it, or why not.
async fn started(gateway: &mut Gateway, tree: &Tree, mut verdict: UnixStream) -> bool {
    let mut frames = Frames::default();
    let mut sandboxed = None;
    loop {
        let mut chunk = [0; 1024];
        let length = tokio::select! {
            read = verdict.read(&mut chunk) => read.unwrap_or(0),
            // Nobody waits for it any more, or it makes no sense.
            _ = gateway.order() => return false,
        };
        frames.push(chunk.get(..length).unwrap_or_default());
        match frames.next::<Report>() {
            Ok(Some(Report::Confined(found))) => sandboxed = Some(found),
            Ok(Some(report)) => {
                gateway.report(&report).await;
                return false;
            }
            // The socket was closed by the exec itself.
            Ok(None) if length == 0 => {
                let pid = tree.server.as_raw_pid();
                gateway.report(&Report::Started { pid, sandboxed }).await;
                return true;
            }
            Ok(None) => {}
            Err(_) => return false,
        }
    }
}

fn exec() -> io::Result<ExitCode> {
    let control = control()?;
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let ((keeper, plan), pipes) = receive_with_pipes::<(i32, Plan)>(&control)?;
    // It may have died just before it was asked to take us along.
    if rustix::process::getppid().map(Pid::as_raw_pid) != Some(keeper) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    let error = become_server(&plan, pipes, &control);
    io::Write::write_all(&mut &control, &encode(&Report::Failed(error))?)?;
    Ok(ExitCode::from(NOT_STARTED))
}

/// Does not return if all goes well.
fn become_server(
    plan: &Plan,
    [stdin, stdout, stderr]: [OwnedFd; PIPES],
    keeper: &Socket,
) -> SpawnError {
    let path = plan.env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, path)| &**path);
    let cwd = plan.cwd.as_deref().map(Path::new);
    let file = match resolve_command(&plan.command, path, cwd) {
        Ok(file) => file,
        Err(error) => return SpawnError::Command(error),
    };
    let mut command = Command::new(&file);
    command.arg0(&plan.command).args(&plan.args);
    command.env_clear().envs(plan.env.iter().map(|(name, value)| (name, value)));
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    if let Some(cwd) = cwd {
        command.current_dir(cwd);
    }
    // Whatever the gateway was started with and did not open itself: the server gets nothing of
    // it. (What the gateway opens is marked so from the start.)
    close_fds::set_fds_cloexec(3, &[]);
    // After everything that looks around, before the server's first step.
    if let Some(policy) = &plan.sandbox
        && let Err(reason) = hold(policy, plan, &file, &mut command, keeper)
    {
        return SpawnError::Sandbox { reason };
    }
    let error = command.exec();
    SpawnError::from_exec(&error, file.display().to_string())
}

/// Puts this process into its sandbox, and says so to the keeper.
fn hold(
    policy: &Policy,
    plan: &Plan,
    file: &Path,
    command: &mut Command,
    mut keeper: &Socket,
) -> Result<(), String> {
    let subject = Subject {
        file,
        command: Path::new(&plan.command),
        args: &plan.args,
        env: &plan.env,
        cwd: plan.cwd.as_deref().map(Path::new),
        scratch: plan.scratch.as_deref(),
    };
    let sandboxed = sandbox::confine(policy, &subject).map_err(|fault| fault.to_string())?;
    if let Some((user, group)) = policy.rules.user {
        command.uid(user).gid(group);
    }
    let report = encode(&Report::Confined(sandboxed)).map_err(|error| error.to_string())?;
    io::Write::write_all(&mut keeper, &report).map_err(|error| error.to_string())
}
