//! What a service manager hands over and wants to hear (`sd_listen_fds(3)`, `sd_notify(3)`), played
//! by this test: a socket that listens already, and one for datagrams.

use super::tools;
use crate::support::{BOUND, FakeStdio, Proxy, Scratch, process};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

fn builtin() -> Value {
    json!({ "mcpServers": { "1mcp": { "type": "builtin" } } })
}

/// What a manager is told next.
fn told(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 512];
    manager.set_read_timeout(Some(BOUND)).expect("a time");
    let read = manager.recv(&mut buffer).expect("a datagram in time");
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

/// A shell that does what systemd does before it runs us: the descriptor becomes number 3, and the
/// variables name the process.
fn hand_over(socket: &impl AsRawFd) -> String {
    let number = socket.as_raw_fd();
    format!(
        "exec 3<&{number} && export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=http && exec \"$0\" \"$@\""
    )
}

/// A socket that children inherit.
fn inherited<T: AsRawFd + std::os::fd::AsFd>(socket: T) -> T {
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).expect("it is open");
    socket
}

#[tokio::test]
async fn it_hears_when_clients_can_connect_that_we_live_and_that_we_end() {
    let scratch = Scratch::new();
    let path = scratch.path().join("notify");
    let name = format!("1mcp-story-{}", std::process::id());
    let abstract_name = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let managers = [
        (UnixDatagram::bind(&path), path.to_string_lossy().into_owned()),
        (UnixDatagram::bind_addr(&abstract_name), format!("@{name}")),
    ];
    for (manager, address) in managers {
        let manager = manager.expect("free");
        let setup = Proxy::with(builtin()).env("NOTIFY_SOCKET", &address);
        let mut proxy = setup.env("WATCHDOG_USEC", "200000").start().await;
        let at = proxy.url("").trim_start_matches("http://").to_owned();
        assert_eq!(told(&manager), format!("READY=1\nSTATUS=listening on {at}"));
        assert_eq!([told(&manager), told(&manager)], ["WATCHDOG=1", "WATCHDOG=1"]);
        process::terminate(proxy.pid());
        let stopping = (0..100).map(|_| told(&manager)).find(|told| told != "WATCHDOG=1");
        assert_eq!(stopping.as_deref(), Some("STOPPING=1\nSTATUS=stopping"));
        assert_eq!(proxy.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn it_opens_the_socket_and_children_do_not_get_it() {
    let socket = inherited(TcpListener::bind("127.0.0.1:0").expect("loopback"));
    let address: SocketAddr = socket.local_addr().expect("it listens");
    let fake = FakeStdio::new(json!({ "tools": ["a"] }));
    let config = json!({ "mcpServers": { "x": fake.entry() } });
    let mut proxy = Proxy::with(config).under(&hand_over(&socket)).start().await;
    assert_eq!(proxy.url(""), format!("http://{address}"), "and nowhere else");
    assert_eq!(tools(&proxy.url("/mcp")).await, ["x__a"]);
    let inode = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd()));
    let inode = inode.expect("it is open");
    let holds = |pid: u32| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").flatten();
        open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|link| link == inode)
    };
    assert!(holds(proxy.pid()), "this is how it would be seen");
    let children = process::descendants(proxy.pid());
    assert!(!children.is_empty() && !children.iter().any(|pid| holds(*pid)));
    let told = std::fs::read(format!("/proc/{}/environ", fake.started(1).await)).expect("it runs");
    assert!(!String::from_utf8_lossy(&told).contains("LISTEN_"));
    assert_eq!(proxy.terminate().await.code(), Some(0));

    // it listens on: who connects while nobody is there is served by the next one
    let waits = std::net::TcpStream::connect(address).expect("the socket is the manager's");
    let proxy = Proxy::with(builtin()).under(&hand_over(&socket)).start().await;
    assert_eq!(proxy.url(""), format!("http://{address}"));
    tools(&proxy.url("/mcp")).await;
    drop(waits);
}

#[tokio::test]
async fn what_it_hands_over_is_checked() {
    let everywhere = inherited(TcpListener::bind("0.0.0.0:0").expect("free"));
    let mut proxy = Proxy::with(builtin()).under(&hand_over(&everywhere)).spawn();
    proxy.logs.wait_for("will not listen on 0.0.0.0:").await;
    assert_eq!(proxy.ended().await.code(), Some(2));
    let udp = inherited(UdpSocket::bind("127.0.0.1:0").expect("free"));
    let mut proxy = Proxy::with(builtin()).under(&hand_over(&udp)).spawn();
    let line = "the socket 3 (\"http\") that was handed over is no listening tcp socket";
    proxy.logs.wait_for(line).await;
    assert_eq!(proxy.ended().await.code(), Some(1));
}

/// It may have gone, or never read: that is its own affair.
#[tokio::test]
async fn a_manager_that_does_not_listen_harms_nobody() {
    let setup = Proxy::with(builtin()).env("NOTIFY_SOCKET", "/nowhere/at/all");
    let mut proxy = setup.env("WATCHDOG_USEC", "1000").start().await;
    proxy.logs.wait_for("the service manager cannot be told anything").await;
    tools(&proxy.url("/mcp")).await;
    assert_eq!(proxy.terminate().await.code(), Some(0));

    let name = format!("1mcp-story-full-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let _full = UnixDatagram::bind_addr(&address).expect("free");
    let setup = Proxy::with(builtin()).env("NOTIFY_SOCKET", &format!("@{name}"));
    let mut proxy = setup.env("WATCHDOG_USEC", "2000").start().await;
    proxy.logs.wait_for("cannot be told \\\"WATCHDOG=1\\\"").await;
    tools(&proxy.url("/mcp")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(proxy.logs.count("cannot be told"), 1, "it is said once");
    assert_eq!(proxy.terminate().await.code(), Some(0));
}
