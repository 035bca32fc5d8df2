//! The client against peers that speak raw bytes, each connection on a thread of its own.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream as StdStream};
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;

use bytes::Bytes;
use http::StatusCode;

use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LONG: Duration = Duration::from_secs(30);

/// One accepted connection of a scripted peer.
struct Wire {
    stream: StdStream,
    buffered: Vec<u8>,
}

impl Wire {
    /// The next request, head and declared body; `None` when the client closed instead.
    fn request(&mut self) -> Option<String> {
        loop {
            let text = String::from_utf8_lossy(&self.buffered).into_owned();
            if let Some(head) = text.find("\r\n\r\n") {
                let length = text[..head]
                    .lines()
                    .filter_map(|line| line.split_once(": "))
                    .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                    .map_or(0, |(_, value)| value.parse::<usize>().expect("a number"));
                let end = head + 4 + length;
                if self.buffered.len() >= end {
                    let request = self.buffered.drain(..end).collect::<Vec<u8>>();
                    return Some(String::from_utf8(request).expect("our tests send text"));
                }
            }
            let mut more = [0; 4096];
            match self.stream.read(&mut more) {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.buffered.extend_from_slice(&more[..read]),
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Waits until the client has closed.
    fn closed(&mut self) {
        let mut scrap = [0; 4096];
        while matches!(self.stream.read(&mut scrap), Ok(read) if read > 0) {}
    }
}

/// A peer and what its connections reported.
struct Peer {
    client: Client,
    accepted: Arc<AtomicUsize>,
    reports: tokio::sync::mpsc::UnboundedReceiver<String>,
}

impl Peer {
    async fn report(&mut self) -> String {
        tokio::time::timeout(LONG, self.reports.recv()).await.expect("in time").expect("a report")
    }
}

type Report = tokio::sync::mpsc::UnboundedSender<String>;

fn peer_with(limits: ClientLimits, script: impl Fn(Wire, Report) + Send + Sync + 'static) -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let (report, reports) = tokio::sync::mpsc::unbounded_channel();
    let (script, count) = (Arc::new(script), Arc::clone(&accepted));
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            count.fetch_add(1, Ordering::SeqCst);
            stream.set_nodelay(true).expect("a socket option");
            let (script, report) = (Arc::clone(&script), report.clone());
            thread::spawn(move || script(Wire { stream, buffered: Vec::new() }, report));
        }
    });
    Peer { client: client(port, limits), accepted, reports }
}

fn peer(script: impl Fn(Wire, Report) + Send + Sync + 'static) -> Peer {
    peer_with(ClientLimits::default(), script)
}

fn client(port: u16, limits: ClientLimits) -> Client {
    let origin = Origin {
        host: "127.0.0.1".into(),
        port,
        tls: false,
        authority: format!("127.0.0.1:{port}"),
    };
    Client::new(origin, limits, Circuit::default()).expect("a valid origin")
}

fn post(body: Outgoing) -> Request<Outgoing> {
    Request::post("/mcp?x=1").body(body).expect("a valid request")
}

fn ping() -> Request<Outgoing> {
    post(Outgoing::full("ping"))
}

/// Sends a ping and reads the answer to its end.
async fn exchange(client: &Client) -> Result<Bytes, ClientError> {
    client.send(ping(), Waits::default()).await?.body.collect(1 << 24).await
}

/// Lets the runtime's reactor see what the sockets already know: it parks before the timer fires.
async fn reactor_turn() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

#[tokio::test]
async fn requests_reuse_one_connection() {
    let mut peer = peer(|mut wire, report| {
        while let Some(request) = wire.request() {
            report.send(request).expect("the test listens");
            wire.write(OK);
        }
    });
    for _ in 0..5 {
        assert_eq!(exchange(&peer.client).await.expect("an answer"), "ok");
        let request = peer.report().await;
        assert!(request.starts_with("POST /mcp?x=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: {}\r\n", peer.client.0.origin.authority)));
        assert!(request.ends_with("\r\n\r\nping"), "{request}");
    }
    assert_eq!(peer.accepted.load(Ordering::SeqCst), 1);
    assert_eq!(peer.client.idle_connections(), 1);
    assert_eq!(peer.client.0.slots.available_permits(), 1024);
}

#[tokio::test]
async fn pieces_are_sent_as_one_body_and_an_absolute_target_is_reduced() {
    let mut peer = peer(|mut wire, report| {
        while let Some(request) = wire.request() {
            report.send(request).expect("the test listens");
            wire.write(OK);
        }
    });
    let mut request = post(Outgoing::parts(vec!["{\"id\":".into(), "7".into(), "}".into()]));
    *request.uri_mut() = Uri::from_static("http://elsewhere.example/path");
    peer.client.send(request, Waits::default()).await.expect("an answer");
    let request = peer.report().await;
    assert!(request.starts_with("POST /path HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("content-length: 8\r\n") && !request.contains("elsewhere"));
    assert!(request.ends_with("\r\n\r\n{\"id\":7}"));
}

#[tokio::test]
async fn a_dead_idle_connection_is_replaced() {
    let mut peer = peer(|mut wire, report| {
        wire.request();
        wire.write(OK);
        drop(wire);
        report.send("closed".into()).expect("the test listens");
    });
    for _ in 0..3 {
        assert_eq!(exchange(&peer.client).await.expect("an answer"), "ok");
        assert_eq!(peer.report().await, "closed");
        reactor_turn().await;
    }
    assert_eq!(peer.accepted.load(Ordering::SeqCst), 3);
    peer.client.prune();
    assert_eq!(peer.client.idle_connections(), 0);
}

#[tokio::test]
async fn an_idle_connection_with_stray_bytes_is_not_believed() {
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let mut peer = peer(move |mut wire, report| {
        wire.request();
        wire.write(OK);
        gone.lock().expect("one at a time").recv().expect("told to go on");
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        report.send("strayed".into()).expect("the test listens");
        wire.closed();
    });
    for _ in 0..3 {
        assert_eq!(exchange(&peer.client).await.expect("an answer"), "ok");
        assert_eq!(peer.client.idle_connections(), 1);
        go.send(()).expect("the peer waits");
        assert_eq!(peer.report().await, "strayed");
        reactor_turn().await;
    }
    assert_eq!(peer.accepted.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_request_that_may_have_been_read_is_not_sent_again() {
    let mut peer = peer(|mut wire, report| {
        wire.request();
        wire.write(OK);
        let second = wire.request();
        report.send(second.expect("the reused connection")).expect("the test listens");
    });
    exchange(&peer.client).await.expect("an answer");
    let error = exchange(&peer.client).await.expect_err("no answer");
    assert!(matches!(error, ClientError::Ambiguous(_)), "{error:?}");
    assert!(error.maybe_processed());
    peer.report().await;
    assert_eq!(peer.accepted.load(Ordering::SeqCst), 1);
    assert_eq!(peer.client.idle_connections(), 0);
}

#[tokio::test]
async fn a_dropped_body_closes_the_connection() {
    let mut peer = peer(|mut wire, report| {
        wire.request();
        wire.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        wire.closed();
        report.send("closed".into()).expect("the test listens");
    });
    let mut response = peer.client.send(ping(), Waits::default()).await.expect("a head");
    assert_eq!(response.body.chunk().await.expect("a chunk").expect("not the end"), "first");
    assert_eq!(peer.client.0.slots.available_permits(), 1023);
    drop(response);
    assert_eq!(peer.report().await, "closed");
    assert_eq!(peer.client.0.slots.available_permits(), 1024);
}

#[tokio::test]
async fn a_dropped_call_closes_the_connection() {
    let mut peer = peer(|mut wire, report| {
        report.send(wire.request().expect("a request")).expect("the test listens");
        wire.closed();
        report.send("closed".into()).expect("the test listens");
    });
    let client = peer.client.clone();
    let mut call = Box::pin(client.send(ping(), Waits::default()));
    tokio::select! {
        _ = &mut call => panic!("nobody answered"),
        request = peer.report() => assert!(request.ends_with("ping")),
    }
    drop(call);
    assert_eq!(peer.report().await, "closed");
}

#[tokio::test]
async fn no_head_in_time_closes_the_connection() {
    let mut peer = peer(|mut wire, report| {
        wire.request();
        wire.closed();
        report.send("closed".into()).expect("the test listens");
    });
    let waits = Waits { head: Some(Duration::from_millis(20)), ..Waits::default() };
    let error = peer.client.send(ping(), waits).await.expect_err("no answer");
    assert!(matches!(error, ClientError::HeadTimeout) && error.maybe_processed());
    assert_eq!(peer.report().await, "closed");
}

#[tokio::test]
async fn chunks_arrive_as_they_are_sent_and_the_end_returns_the_connection() {
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let peer = peer(move |mut wire, _| {
        while wire.request().is_some() {
            wire.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for piece in [&b"3\r\none\r\n"[..], b"3\r\ntwo\r\n", b"0\r\nX-Trailer: 1\r\n\r\n"] {
                gone.lock().expect("one at a time").recv().expect("told to go on");
                wire.write(piece);
            }
        }
    });
    for _ in 0..2 {
        let mut body = peer.client.send(ping(), Waits::default()).await.expect("a head").body;
        // Cancelled while it waits, it loses nothing.
        let nothing = tokio::time::timeout(Duration::from_millis(1), body.chunk()).await;
        assert!(nothing.is_err());
        for expected in [Some("one"), Some("two"), None] {
            go.send(()).expect("the peer waits");
            let chunk = body.chunk().await.expect("no error");
            assert_eq!(chunk.as_deref(), expected.map(str::as_bytes));
        }
        assert!(body.chunk().await.expect("still the end").is_none());
    }
    assert_eq!(peer.accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_empty_answer_returns_the_connection_unread() {
    let peer = peer(|mut wire, _| {
        while wire.request().is_some() {
            wire.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
        }
    });
    for _ in 0..3 {
        let response = peer.client.send(ping(), Waits::default()).await.expect("an answer");
        assert_eq!(response.status, StatusCode::ACCEPTED);
    }
    assert_eq!(peer.accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let peer = peer(|mut wire, _| {
        wire.request();
        wire.write(
            b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        );
        wire.closed();
    });
    let response = peer.client.send(ping(), Waits::default()).await.expect("an answer");
    assert_eq!(response.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(response.headers["location"], "http://127.0.0.1:1/");
}

#[tokio::test]
async fn a_large_body_is_collected_however_it_is_cut() {
    let whole: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_le_bytes()[(n % 4) as usize]).collect();
    let sent = whole.clone();
    let peer = peer(move |mut wire, _| {
        wire.request();
        wire.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len()).as_bytes());
        wire.write(&sent);
        wire.request();
        wire.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in sent.chunks(1000) {
            wire.write(format!("{:x}\r\n", piece.len()).as_bytes());
            wire.write(piece);
            wire.write(b"\r\n");
        }
        wire.write(b"0\r\n\r\n");
        wire.request();
        wire.write(b"HTTP/1.1 200 OK\r\n\r\n");
        wire.write(&sent);
    });
    for way in ["declared", "chunked", "until the end"] {
        let body = exchange(&peer.client).await.expect("an answer");
        assert!(body == whole, "{way}: {} bytes", body.len());
    }
    assert_eq!(peer.accepted.load(Ordering::SeqCst), 1);
    assert_eq!(peer.client.idle_connections(), 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_body() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense",
    ] {
        let peer = peer(|mut wire, _| {
            wire.request();
            wire.write(answer);
        });
        let error = exchange(&peer.client).await.expect_err("half an answer");
        assert!(matches!(error, ClientError::Incomplete(Some(_))), "{error:?}");
        assert_eq!(peer.client.idle_connections(), 0);
    }
}

#[tokio::test]
async fn an_answer_over_the_limit_is_cut_off() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n1\r\n5\r\n0\r\n\r\n",
    ] {
        let mut peer = peer(|mut wire, report| {
            wire.request();
            wire.write(answer);
            wire.closed();
            report.send("closed".into()).expect("the test listens");
        });
        let response = peer.client.send(ping(), Waits::default()).await.expect("a head");
        let error = response.body.collect(4).await.expect_err("5 are more than 4");
        assert!(matches!(error, ClientError::TooLarge { limit: 4 }), "{error:?}");
        assert_eq!(peer.report().await, "closed");
    }
}

#[tokio::test]
async fn a_head_that_is_none_is_malformed() {
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(200));
    for answer in [huge, many, "SSH-2.0-OpenSSH_9.9\r\n\r\n".into()] {
        let limits = ClientLimits { max_header_bytes: 10_000, ..ClientLimits::default() };
        let peer = peer_with(limits, move |mut wire, _| {
            wire.request();
            wire.write(answer.as_bytes());
            wire.closed();
        });
        let error = exchange(&peer.client).await.expect_err("no answer");
        assert!(matches!(error, ClientError::Malformed(_)), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_before_the_request_was_written_ends_the_connection() {
    let mut peer = peer(|mut wire, report| {
        wire.request();
        wire.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
        wire.closed();
        report.send("closed".into()).expect("the test listens");
    });
    let (_sender, endless) = Outgoing::stream(1);
    let response = peer.client.send(post(endless), Waits::default()).await.expect("an answer");
    assert_eq!(response.status, StatusCode::PAYLOAD_TOO_LARGE);
    drop(response);
    assert_eq!(peer.report().await, "closed");
    assert_eq!(peer.client.idle_connections(), 0);
}

#[tokio::test]
async fn nobody_listening_is_no_answer_and_safe_to_repeat() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let error = exchange(&client(port, ClientLimits::default())).await.expect_err("nobody");
    assert!(matches!(error, ClientError::Connect(_)), "{error:?}");
    assert!(!error.maybe_processed());
}

#[tokio::test]
async fn waiting_for_a_connection_is_bounded_and_in_order() {
    let limits = ClientLimits { max_connections: 1, max_waiting: 1, ..ClientLimits::default() };
    let peer = peer_with(limits, |mut wire, _| {
        while wire.request().is_some() {
            wire.write(OK);
        }
    });
    let held = peer.client.send(ping(), Waits::default()).await.expect("a head");
    // Its body came with the head, and yet it is not read.
    let waits = Waits { slot: Some(Duration::from_millis(1)), ..Waits::default() };
    let error = peer.client.send(ping(), waits).await.expect_err("the only one is in use");
    assert!(matches!(error, ClientError::SlotTimeout) && !error.maybe_processed());
    let mut queued = pin!(exchange(&peer.client));
    std::future::poll_fn(|cx| {
        assert!(queued.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    let error = exchange(&peer.client).await.expect_err("one may wait, not two");
    assert!(matches!(error, ClientError::Busy) && !error.maybe_processed());
    assert_eq!(held.body.collect(2).await.expect("the body"), "ok");
    assert_eq!(queued.await.expect("its turn"), "ok");
    assert_eq!(exchange(&peer.client).await.expect("nobody waits any more"), "ok");
    assert_eq!(peer.accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn idle_connections_are_few_and_age() {
    let limits = ClientLimits {
        max_idle: 1,
        max_idle_time: Duration::from_millis(1),
        ..ClientLimits::default()
    };
    let mut peer = peer_with(limits, |mut wire, report| {
        while wire.request().is_some() {
            wire.write(OK);
        }
        report.send("closed".into()).expect("the test listens");
    });
    let first = peer.client.send(ping(), Waits::default()).await.expect("a head");
    let second = peer.client.send(ping(), Waits::default()).await.expect("a head");
    first.body.collect(2).await.expect("the body");
    second.body.collect(2).await.expect("the body");
    assert_eq!(peer.client.idle_connections(), 1);
    assert_eq!(peer.report().await, "closed");
    reactor_turn().await;
    peer.client.prune();
    assert_eq!(peer.client.idle_connections(), 0);
    assert_eq!(peer.report().await, "closed");
}

#[tokio::test]
async fn the_peers_word_on_idle_time_shortens_ours() {
    let peer = peer(|mut wire, _| {
        while wire.request().is_some() {
            wire.write(
                b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1, max=9\r\nContent-Length: 0\r\n\r\n",
            );
        }
    });
    exchange(&peer.client).await.expect("an answer");
    assert_eq!(peer.client.idle_connections(), 0);
    let value = HeaderValue::from_static;
    let seconds = |text| keep_alive_timeout(&value(text)).map(|time| time.as_secs());
    assert_eq!(seconds("timeout=5"), Some(5));
    assert_eq!(seconds("max=100, Timeout = \"7\""), Some(7));
    assert_eq!(seconds("timeout=-1"), None);
    assert_eq!(seconds("close"), None);
}

#[tokio::test]
async fn connection_close_is_honoured() {
    let mut peer = peer(|mut wire, report| {
        wire.request();
        wire.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        wire.closed();
        report.send("closed".into()).expect("the test listens");
    });
    assert_eq!(exchange(&peer.client).await.expect("an answer"), "ok");
    assert_eq!(peer.report().await, "closed");
    assert_eq!(peer.client.idle_connections(), 0);
}

#[test]
fn tls_and_impossible_hosts_are_refused() {
    let origin = |tls, authority: &str| Origin {
        host: "localhost".into(),
        port: 1,
        tls,
        authority: authority.into(),
    };
    let refused =
        Client::new(origin(true, "localhost"), ClientLimits::default(), Circuit::default());
    assert!(matches!(refused, Err(ClientError::TlsUnsupported)));
    let refused =
        Client::new(origin(false, "local\nhost"), ClientLimits::default(), Circuit::default());
    assert!(matches!(refused, Err(ClientError::Authority(_))));
}

#[test]
fn a_call_can_move_between_threads() {
    fn is_send<T: Send>(_: T) {}
    let client = client(1, ClientLimits::default());
    is_send(client.send(ping(), Waits::default()));
    is_send(exchange(&client));
}

/// Polls `future` to its end and counts how often that took.
async fn counted<F: Future>(polls: &AtomicUsize, future: F) -> F::Output {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        polls.fetch_add(1, Ordering::Relaxed);
        future.as_mut().poll(cx)
    })
    .await
}

#[tokio::test]
async fn a_call_is_polled_once_to_send_and_once_to_receive() {
    let peer = peer(|mut wire, _| {
        while wire.request().is_some() {
            // Not before the client has gone to sleep, or as near to that as a thread can tell.
            thread::sleep(Duration::from_millis(2));
            wire.write(OK);
        }
    });
    exchange(&peer.client).await.expect("an answer");
    let polls = AtomicUsize::new(0);
    for _ in 0..10 {
        counted(&polls, exchange(&peer.client)).await.expect("an answer");
    }
    let polls = polls.into_inner();
    assert!(polls <= 22, "{polls} polls for 10 calls");
}

/// `cargo test --release --lib net::client -- --ignored --nocapture measure`
#[tokio::test]
#[ignore = "prints a measurement"]
#[allow(clippy::print_stdout, reason = "that is what it is for")]
async fn measure_sequential_requests() {
    const CALLS: u32 = 20_000;
    let peer = peer(|mut wire, _| {
        let mut scrap = [0; 4096];
        while matches!(wire.stream.read(&mut scrap), Ok(read) if read > 0) {
            wire.write(OK);
        }
        let _ = wire.stream.shutdown(Shutdown::Both);
    });
    exchange(&peer.client).await.expect("an answer");
    let (polls, begun) = (AtomicUsize::new(0), Instant::now());
    for _ in 0..CALLS {
        counted(&polls, exchange(&peer.client)).await.expect("an answer");
    }
    let each = begun.elapsed() / CALLS;
    println!("{each:?} a call, {} polls for {CALLS} calls", polls.into_inner());
}
