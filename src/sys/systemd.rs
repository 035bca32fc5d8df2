//! What a service manager hands us and wants to hear: sockets that listen already (`sd_listen_fds(3)`)
//! and the datagrams of `sd_notify(3)`, watchdog included. Both protocols are a few lines over
//! environment variables and descriptors, so no library of theirs is linked.
//!
//! A descriptor that is known by its number only is no safe thing to take. It is duplicated through
//! a process descriptor of our own (`pidfd_getfd(2)`), which the kernel checks, and the number we
//! were given is left open, marked to be closed in whatever we start.
//!
//! Never here: which addresses may be listened on, and what it means to be alive.

use rustix::io::Errno;
use rustix::net::SocketType;
use rustix::net::sockopt::{socket_acceptconn, socket_type};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The first descriptor that is handed over (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;

/// Most sockets that are taken over, as many as can be configured.
pub const MOST_SOCKETS: i32 = 16;

/// What the environment says of the service manager; nothing if there is none.
#[derive(Debug, Clone, Default)]
pub struct Service {
    sockets: Option<String>,
    pid: Option<String>,
    names: Option<String>,
    notify: Option<String>,
    watchdog: Option<String>,
    watchdog_pid: Option<String>,
}

/// Why a socket that was handed over cannot be used.
#[derive(Debug)]
pub enum HandedError {
    /// `LISTEN_FDS` is no number of sockets that can be taken.
    Count(String),
    /// The descriptor with this name is no listening TCP socket.
    NotListening(String),
    /// The system's refusal, for the descriptor with this name.
    Refused(String, io::Error),
}

impl fmt::Display for HandedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(text) => {
                write!(f, "LISTEN_FDS: expected a number from 1 to {MOST_SOCKETS}, found {text:?}")
            }
            Self::NotListening(name) => {
                write!(f, "the socket {name} that was handed over is no listening tcp socket")
            }
            Self::Refused(name, e) => write!(f, "the socket {name} that was handed over: {e}"),
        }
    }
}

impl std::error::Error for HandedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(_, e) => Some(e),
            Self::Count(_) | Self::NotListening(_) => None,
        }
    }
}

impl Service {
    /// Takes what is meant for us out of the variables, so that no child is told of it.
    pub fn take(variables: &mut BTreeMap<String, String>) -> Self {
        let mut take = |name| variables.remove(name);
        Self {
            sockets: take("LISTEN_FDS"),
            pid: take("LISTEN_PID"),
            names: take("LISTEN_FDNAMES"),
            notify: take("NOTIFY_SOCKET"),
            watchdog: take("WATCHDOG_USEC"),
            watchdog_pid: take("WATCHDOG_PID"),
        }
    }

    /// The sockets that were handed to this process; none if none were. They do not block, and are
    /// closed in whatever we start. Call it once, before anything is started.
    ///
    /// # Errors
    /// [`HandedError`] for the first that is no TCP socket which listens.
    pub fn sockets(&self) -> Result<Vec<TcpListener>, HandedError> {
        let Some(count) = self.sockets.as_deref().filter(|_| is_ours(self.pid.as_deref())) else {
            return Ok(Vec::new()); // LISTEN_PID names who they are for: a parent, perhaps
        };
        let many = count.parse().ok().filter(|many| (1..=MOST_SOCKETS).contains(many));
        let many = many.ok_or_else(|| HandedError::Count(count.chars().take(32).collect()))?;
        close_fds::set_fds_cloexec(FIRST, &[]);
        let mut names = self.names.as_deref().unwrap_or_default().split(':');
        (FIRST..FIRST + many)
            .map(|number| adopt(number, names.next().unwrap_or_default()))
            .collect()
    }

    /// How often a sign of life is to be sent: twice within the time that we are given. `None` when
    /// nobody watches.
    pub fn watchdog(&self) -> Option<Duration> {
        let micros = self.watchdog.as_deref()?.parse().ok().filter(|micros| *micros > 0)?;
        let ours = self.watchdog_pid.is_none() || is_ours(self.watchdog_pid.as_deref());
        ours.then(|| Duration::from_micros(micros) / 2)
    }

    /// Who is to be told how we are.
    ///
    /// # Errors
    /// The system's, and `InvalidInput` for an address that is none.
    pub fn notify(&self) -> io::Result<Notify> {
        let Some(address) = &self.notify else { return Ok(Notify::default()) };
        let address = match address.as_bytes() {
            #[cfg(target_os = "linux")]
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(OsStr::from_bytes(address.as_bytes()))?,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?; // a manager that does not read must not stop us
        socket.connect_addr(&address)?;
        Ok(Notify { socket: Some(socket), complained: AtomicBool::new(false) })
    }
}

fn is_ours(pid: Option<&str>) -> bool {
    pid.is_some_and(|pid| pid == std::process::id().to_string())
}

#[cfg(target_os = "linux")]
fn duplicate(number: i32) -> Result<OwnedFd, Errno> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let ourselves = pidfd_open(getpid(), PidfdFlags::empty())?;
    pidfd_getfd(ourselves, number, PidfdGetfdFlags::empty())
}

#[cfg(not(target_os = "linux"))]
fn duplicate(_: i32) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

fn adopt(number: i32, name: &str) -> Result<TcpListener, HandedError> {
    let name = || match name {
        "" => number.to_string(),
        name => format!("{number} ({:?})", name.chars().take(64).collect::<String>()),
    };
    let refused = |e: Errno| HandedError::Refused(name(), e.into());
    let socket = duplicate(number).map_err(|e| match e {
        Errno::BADF => HandedError::NotListening(name()),
        e => refused(e),
    })?;
    let listens =
        socket_type(&socket) == Ok(SocketType::STREAM) && socket_acceptconn(&socket) == Ok(true);
    let listener = TcpListener::from(socket);
    // an address that is none of IP is an error here
    if !listens || listener.local_addr().is_err() {
        return Err(HandedError::NotListening(name()));
    }
    let ready = listener.set_nonblocking(true);
    ready.map_err(|e| HandedError::Refused(name(), e))?;
    Ok(listener)
}

/// Tells the service manager how we are, or nobody. Nothing waits for it.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    /// That it cannot be told was said.
    complained: AtomicBool,
}

impl Notify {
    /// Clients can connect; in one line, how it stands.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// We are ending.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping");
    }

    /// We are alive.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(e) = socket.send(state.as_bytes())
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            log::warn!("the service manager cannot be told {:?}: {e}", line(state));
        }
    }
}

/// No line of a text can pass for another variable.
fn line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    fn service(variables: &[(&str, &str)]) -> Service {
        let pairs = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Service::take(&mut pairs.collect())
    }

    #[test]
    fn what_is_meant_for_us_is_taken_from_the_environment() {
        let all = [
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "WATCHDOG_PID",
            "HOME",
        ];
        let mut variables = all.map(|name| (name.to_owned(), "1".to_owned())).into();
        Service::take(&mut variables);
        assert_eq!(variables.into_keys().collect::<Vec<_>>(), ["HOME"]);
    }

    #[test]
    fn sockets_for_another_process_are_not_ours_and_a_wrong_count_is_told() {
        let pid = std::process::id().to_string();
        for theirs in [&[("LISTEN_FDS", "1")][..], &[("LISTEN_FDS", "1"), ("LISTEN_PID", "1")]] {
            assert!(service(theirs).sockets().expect("none").is_empty());
        }
        for count in ["0", "-1", "17", "x", "", "99999999999"] {
            let service = service(&[("LISTEN_FDS", count), ("LISTEN_PID", &pid)]);
            let error = service.sockets().expect_err("no count").to_string();
            assert!(error.contains(&format!("found {count:?}")), "{error}");
        }
    }

    #[test]
    fn only_a_tcp_socket_that_listens_is_taken() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let taken = adopt(tcp.as_raw_fd(), "http").expect("it listens");
        assert_eq!(taken.local_addr().expect("one"), tcp.local_addr().expect("one"));
        let client = std::net::TcpStream::connect(tcp.local_addr().expect("one")).expect("open");
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let (unix, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let file = std::fs::File::open("/dev/null").expect("it is there");
        let others = [client.as_raw_fd(), udp.as_raw_fd(), unix.as_raw_fd(), file.as_raw_fd()];
        for number in others.into_iter().chain([99_999]) {
            let error = adopt(number, "x").expect_err("nothing to accept on").to_string();
            assert!(error.contains(&format!("{number} (\"x\")")), "{error}");
        }
    }

    #[test]
    fn the_watchdog_is_fed_twice_within_its_time() {
        let pid = std::process::id().to_string();
        let half = |variables: &[(&str, &str)]| service(variables).watchdog();
        assert_eq!(half(&[("WATCHDOG_USEC", "3000000")]), Some(Duration::from_millis(1500)));
        assert!(half(&[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", &pid)]).is_some());
        for none in ["", "0", "x", "-1"] {
            assert_eq!(half(&[("WATCHDOG_USEC", none)]), None, "{none}");
        }
        assert_eq!(half(&[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "1")]), None);
    }

    #[test]
    fn datagrams_arrive_at_a_path_and_at_an_abstract_name() {
        let name = format!("1mcp-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let abstract_name = SocketAddr::from_abstract_name(&name).expect("a name");
        let sockets = [
            (UnixDatagram::bind(&path), path.to_string_lossy().into_owned()),
            (UnixDatagram::bind_addr(&abstract_name), format!("@{name}")),
        ];
        for (socket, address) in sockets {
            let socket = socket.expect("free");
            let notify = service(&[("NOTIFY_SOCKET", &address)]).notify().expect("it is there");
            notify.ready("two\nFDSTORE=1");
            let mut buffer = [0; 64];
            let read = socket.recv(&mut buffer).expect("a datagram");
            assert_eq!(&buffer[..read], b"READY=1\nSTATUS=two");
        }
        std::fs::remove_file(path).expect("it was there");
        service(&[]).notify().expect("nobody is told").ready("x");
        for bad in ["", "x", "vsock:2:1", "/nowhere/at/all"] {
            assert!(service(&[("NOTIFY_SOCKET", bad)]).notify().is_err(), "{bad}");
        }
    }
}
