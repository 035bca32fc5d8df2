//! The one thread that starts keepers, listens to them and reaps them.
//!
//! One thread, because descriptors must not leak into a child started at the same moment, and
//! because reaping elsewhere would race with it. It never waits for a server: it polls the
//! control sockets, and a keeper's end is the end of its socket.
//!
//! A keeper that is killed leaves its tree to this process, which kills it in its stead.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
use tokio::sync::{oneshot, watch};

use super::frame::{Frames, Order, Report, encode, send_with_pipes};
use super::keeper::{self, KILL_AGAIN, KILL_LIMIT};
use super::sandbox;
use super::spawn::{ChildSpec, Exit, Phase, SpawnError};
use super::tree;
use crate::control::confine::Sandboxed;

/// Most requests that wait for the thread; whoever sends one more waits with them.
const MAX_REQUESTS: usize = 4096;

/// How long a write to a keeper may take. A keeper always reads; one that does not is broken.
const WRITE_LIMIT: Duration = Duration::from_secs(2);

/// The wanted size of a server's standard output pipe, in bytes.
const STDOUT_PIPE: usize = 1024 * 1024;

/// Most folders that are looked through for leftovers when a server is started.
const MAX_BASES: usize = 256;

/// One per process started, never used again.
type Id = u64;

/// How the rest of the process speaks to the thread.
#[derive(Clone)]
pub(super) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    requests: SyncSender<Request>,
    wake: UnixStream,
    next: AtomicU64,
}

/// Holds a keeper in place; dropping it makes the keeper kill every descendant and go.
pub(super) struct Lease {
    link: Link,
    id: Id,
}

pub(super) enum Request {
    Start { id: Id, spec: Box<ChildSpec>, reply: Reply },
    Tell(Id, Order),
    Release(Id),
    Destroy(Id),
}

pub(super) type Reply = oneshot::Sender<Result<Started, SpawnError>>;

/// A server that runs: the gateway's ends of its pipes.
pub(super) struct Started {
    pub(super) pid: i32,
    pub(super) sandboxed: Option<Sandboxed>,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) phase: watch::Receiver<Phase>,
}

/// One keeper and what is known of its server.
struct Kept {
    id: Id,
    label: String,
    /// Where its temporary folder is.
    base: Option<PathBuf>,
    control: UnixStream,
    frames: Frames,
    keeper: std::process::Child,
    /// Present until the server has started.
    starting: Option<(Reply, Ends)>,
    /// Told to the caller once the keeper is gone.
    failure: Option<SpawnError>,
    phase: watch::Sender<Phase>,
}

/// The gateway's ends of the pipes.
struct Ends {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

struct Reaper {
    helper: PathBuf,
    requests: Receiver<Request>,
    wake: UnixStream,
    kept: Vec<Kept>,
    lost: Vec<Lost>,
    /// Folders of temporary folders, which were looked through for leftovers.
    bases: Vec<PathBuf>,
}

/// A keeper was killed: its tree is killed in its stead, before anybody is told.
struct Lost {
    kept: Kept,
    /// No longer than this.
    until: Instant,
}

pub(super) fn start(helper: PathBuf) -> io::Result<Link> {
    let (wake, woken) = UnixStream::pair()?;
    wake.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    let (sender, requests) = sync_channel(MAX_REQUESTS);
    tree::adopt()?;
    let (kept, lost, bases) = (Vec::new(), Vec::new(), Vec::new());
    let reaper = Reaper { helper, requests, wake: woken, kept, lost, bases };
    std::thread::Builder::new().name("spawner".to_owned()).spawn(move || reaper.run())?;
    Ok(Link { shared: Arc::new(Shared { requests: sender, wake, next: AtomicU64::new(0) }) })
}

impl Link {
    pub(super) fn send(&self, request: Request) {
        // A thread that is gone drops the request, and with it the reply: the caller sees that.
        let _ = self.shared.requests.send(request);
        // A full socket means that it is awake already.
        let _ = (&self.shared.wake).write(&[0]);
    }

    pub(super) fn lease(&self) -> Lease {
        Lease { link: self.clone(), id: self.shared.next.fetch_add(1, Ordering::Relaxed) }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

impl Lease {
    pub(super) fn id(&self) -> Id {
        self.id
    }

    pub(super) fn tell(&self, order: Order) {
        self.link.send(Request::Tell(self.id, order));
    }

    /// Kills the keeper itself, if it does not heed orders.
    pub(super) fn destroy(&self) {
        self.link.send(Request::Destroy(self.id));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.link.send(Request::Release(self.id));
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({})", self.id)
    }
}

impl Reaper {
    /// Runs until nobody can ask for more and every keeper is reaped.
    fn run(mut self) {
        let mut open = true;
        while open || !self.kept.is_empty() || !self.lost.is_empty() {
            // Once nobody can ask, the other end of the wake socket is closed: readable for ever.
            self.listen(open);
            self.end_lost();
            open = open && self.serve_all();
        }
    }

    /// Waits for events, and hears what keepers report.
    fn listen(&mut self, wake: bool) {
        let mut fds: Vec<_> =
            self.kept.iter().map(|kept| PollFd::new(&kept.control, PollFlags::IN)).collect();
        if wake {
            fds.push(PollFd::new(&self.wake, PollFlags::IN));
        }
        let again = Timespec::try_from(KILL_AGAIN).ok();
        if poll(&mut fds, again.as_ref().filter(|_| !self.lost.is_empty())).is_err() {
            // Interrupted, or for a moment out of memory: look again, but do not spin.
            std::thread::park_timeout(Duration::from_millis(1));
            return;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (mut kept, ready) in std::mem::take(&mut self.kept).into_iter().zip(ready) {
            if !ready || kept.hear() {
                self.kept.push(kept);
            } else if kept.reap() {
                kept.gone();
            } else {
                self.lost.push(Lost { kept, until: Instant::now() + KILL_LIMIT });
            }
        }
        let mut woken = [0; 64];
        while wake && matches!((&self.wake).read(&mut woken), Ok(1..)) {}
    }

    /// Does what keepers that were killed can no longer do.
    fn end_lost(&mut self) {
        if self.lost.is_empty() {
            return;
        }
        let keepers: Vec<Pid> = self.kept.iter().filter_map(Kept::pid).collect();
        // Which of them has left what cannot be told, nor need it be.
        let none_left = tree::kill_adopted(&keepers);
        let now = Instant::now();
        for lost in std::mem::take(&mut self.lost) {
            if none_left || lost.until <= now {
                lost.kept.base.clone().into_iter().for_each(sweep);
                lost.kept.gone();
            } else {
                self.lost.push(lost);
            }
        }
    }

    /// Serves what is asked; `false` when nobody can ask any more.
    fn serve_all(&mut self) -> bool {
        loop {
            match self.requests.try_recv() {
                Ok(request) => self.serve(request),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Start { id, spec, reply } => match self.launch(*spec) {
                Ok(Launched { label, base, control, keeper, ends }) => self.kept.push(Kept {
                    id,
                    label,
                    base,
                    control,
                    frames: Frames::default(),
                    keeper,
                    starting: Some((reply, ends)),
                    failure: None,
                    phase: watch::Sender::new(Phase::Running),
                }),
                Err(error) => drop(reply.send(Err(error))),
            },
            Request::Tell(id, order) => {
                if let Some(kept) = self.find(id) {
                    kept.tell(&order);
                }
            }
            Request::Release(id) => {
                if let Some(kept) = self.find(id) {
                    // The keeper sees the end of the stream; its last report can still come.
                    let _ = kept.control.shutdown(std::net::Shutdown::Write);
                }
            }
            Request::Destroy(id) => {
                if let Some(kept) = self.find(id) {
                    let _ = kept.keeper.kill();
                }
            }
        }
    }

    fn find(&mut self, id: Id) -> Option<&mut Kept> {
        self.kept.iter_mut().find(|kept| kept.id == id)
    }

    /// Starts a keeper and gives it its plan and the server's ends of the pipes.
    fn launch(&mut self, spec: ChildSpec) -> Result<Launched, SpawnError> {
        let failed = |error: io::Error| SpawnError::from_keeper(&error);
        let label = spec.label.clone();
        let base = spec.sandbox.as_ref().and_then(|policy| sandbox::base(policy, &spec.env));
        self.sweep_first(base.as_ref());
        let frame = encode(&Order::Start(Box::new(spec.into()))).map_err(failed)?;
        let (server_stdin, stdin) = io::pipe().map_err(failed)?;
        let (stdout, server_stdout) = io::pipe().map_err(failed)?;
        let (stderr, server_stderr) = io::pipe().map_err(failed)?;
        // Harmless if it fails: the default is 64 KiB, or less for a user with many pipes.
        #[cfg(target_os = "linux")]
        let _ = rustix::pipe::fcntl_setpipe_size(&stdout, STDOUT_PIPE);
        let (control, theirs) = UnixStream::pair().map_err(failed)?;
        control.set_write_timeout(Some(WRITE_LIMIT)).map_err(failed)?;
        let mut keeper = keeper::command(&self.helper, keeper::KEEP, &label)
            .stdin(OwnedFd::from(theirs))
            .spawn()
            .map_err(failed)?;
        let pipes = [server_stdin.as_fd(), server_stdout.as_fd(), server_stderr.as_fd()];
        if send_with_pipes(&control, &frame, pipes).is_err() {
            let _ = keeper.kill();
            let _ = keeper.wait();
            return Err(SpawnError::KeeperLost);
        }
        let ends = Ends { stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into() };
        Ok(Launched { label, base, control, keeper, ends })
    }

    /// Removes what a gateway before this one may have left there.
    fn sweep_first(&mut self, base: Option<&PathBuf>) {
        let new = base.filter(|base| !self.bases.contains(base) && self.bases.len() < MAX_BASES);
        if let Some(base) = new {
            self.bases.push(base.clone());
            sweep(base.clone());
        }
    }
}

/// Looks through a folder on a thread of its own: who knows what is in there.
fn sweep(base: PathBuf) {
    // If there can be no thread now, the next start will do it.
    let thread = std::thread::Builder::new().name("sweeper".to_owned());
    let _ = thread.spawn(move || sandbox::sweep(&base));
}

/// A keeper that has its plan.
struct Launched {
    label: String,
    base: Option<PathBuf>,
    control: UnixStream,
    keeper: std::process::Child,
    ends: Ends,
}

impl Kept {
    fn tell(&self, order: &Order) {
        // A keeper that is gone or broken is noticed when its socket ends.
        if let Ok(frame) = encode(order) {
            let _ = (&self.control).write_all(&frame);
        }
    }

    /// Hears one read's worth of reports; `false` when there will be no more.
    fn hear(&mut self) -> bool {
        let mut chunk = [0; 4096];
        match (&self.control).read(&mut chunk) {
            Ok(0) => false,
            Ok(length) => {
                self.frames.push(chunk.get(..length).unwrap_or_default());
                self.reports().is_ok()
            }
            Err(error) => error.kind() == io::ErrorKind::Interrupted,
        }
    }

    fn reports(&mut self) -> io::Result<()> {
        while let Some(report) = self.frames.next()? {
            match report {
                Report::Started { pid, sandboxed } => self.started(pid, sandboxed),
                Report::Confined(_) => {} // the keeper keeps it for the start
                Report::Failed(error) => self.failure = Some(error),
                Report::Exited(exit) => drop(self.phase.send_replace(Phase::Exited(exit))),
            }
        }
        Ok(())
    }

    fn started(&mut self, pid: i32, sandboxed: Option<Sandboxed>) {
        if let Some((reply, Ends { stdin, stdout, stderr })) = self.starting.take() {
            let phase = self.phase.subscribe();
            // Whoever no longer waits has dropped the lease: the release is on its way.
            let _ = reply.send(Ok(Started { pid, sandboxed, stdin, stdout, stderr, phase }));
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.keeper.id()).ok().and_then(Pid::from_raw)
    }

    /// Takes the keeper's exit status from the system, so that no zombie stays; whether it has
    /// ended in order, and so with nothing left of its tree.
    fn reap(&mut self) -> bool {
        // Its socket ends when it ends, or when what it says makes no sense: then it must end.
        let _ = self.keeper.kill();
        self.keeper.wait().is_ok_and(|status| status.success())
    }

    /// Says that all of it is gone: only then, so that whoever is told finds nothing left.
    fn gone(self) {
        drop(self.control);
        if let Some((reply, ends)) = self.starting {
            drop(ends);
            let _ = reply.send(Err(self.failure.unwrap_or(SpawnError::KeeperLost)));
            return;
        }
        let last = *self.phase.borrow();
        let exit = match last {
            Phase::Exited(exit) | Phase::Gone(exit) => exit,
            Phase::Running => {
                log::warn!("{}: its keeper was killed, and the whole server with it", self.label);
                Exit::Lost
            }
        };
        self.phase.send_replace(Phase::Gone(exit));
    }
}
