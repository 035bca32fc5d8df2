//! More than we can take: what is refused is refused at once and by name, what was admitted keeps
//! its time, nothing is lost, and afterwards everything is as before.
//!
//! Ten times the limit for 3 seconds, for 60 with `ONEMCP_LONG=1`.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "a test spawns its own tasks")]
#![allow(clippy::print_stdout, reason = "it says what it has measured")]

mod support;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::{BOUND, FakeStdio, Legacy, Modern, Proxy, RawHttp, Reply, process};
use tokio::sync::RwLock;

const LIMIT: usize = 16;

/// How long the upstream sleeps, in milliseconds.
const NAP: u64 = 300;

/// The promise is 50 ms; a machine that runs other tests besides may take five times as long.
const REFUSED: Duration = Duration::from_millis(250);

/// How long a refused client waits: less than it was told, to be a nuisance.
const NUISANCE: Duration = Duration::from_millis(400);

/// What measures times runs alone.
static MEASURING: RwLock<()> = RwLock::const_new(());

fn time() -> Duration {
    let long = std::env::var("ONEMCP_LONG").is_ok_and(|long| long == "1");
    Duration::from_secs(if long { 60 } else { 3 })
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}

/// What one client has seen.
#[derive(Default)]
struct Seen {
    admitted: Vec<Duration>,
    refused: Vec<Duration>,
}

/// A client with a connection of its own, which it keeps.
async fn insist(url: String, ids: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Seen {
    let (mut http, mut seen) = (RawHttp::connect(&url).await, Seen::default());
    while !stop.load(Ordering::Relaxed) {
        let id = ids.fetch_add(1, Ordering::Relaxed);
        let params = Modern::new(&url).with_meta(json!({ "name": "nap", "arguments": {} }));
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        let headers = [
            ("Accept", "application/json, text/event-stream"),
            ("Content-Type", "application/json"),
            ("MCP-Protocol-Version", "2026-07-28"),
            ("Mcp-Method", "tools/call"),
            ("Mcp-Name", "nap"),
        ];
        let begun = Instant::now();
        http.request("POST", &url, &headers, body.to_string()).await;
        let response = http.response().await;
        let took = begun.elapsed();
        assert_eq!(response.status(), 200, "{}", response.text());
        let answer: Value = serde_json::from_slice(&response.body).expect("json");
        assert_eq!(answer["id"], id, "each gets its own answer: {answer}");
        if answer.get("result").is_some() {
            seen.admitted.push(took);
            continue;
        }
        assert_eq!(answer["error"]["data"]["retryAfterMs"], 1000, "{answer}");
        let limit = answer["error"]["data"]["limit"].as_str().unwrap_or_default();
        assert!(matches!(limit, "inFlight" | "inFlightShare"), "{answer}");
        seen.refused.push(took);
        tokio::time::sleep(NUISANCE).await;
    }
    seen
}

/// Calls another upstream, and must never be refused; how often.
async fn bystander(client: Modern, stop: Arc<AtomicBool>) -> usize {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let reply = call(&client, "echo").await;
        reply.result();
        count += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    count
}

async fn call(client: &Modern, tool: &str) -> Reply {
    client.request("tools/call", json!({ "name": tool, "arguments": {} })).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_the_limit_harms_nobody() {
    let _alone = MEASURING.write().await;
    let naps = json!({ "tools": ["nap"], "on": { "tools/call:nap": [{ "sleep": NAP }, { "usual": true }] } });
    let (slow, other) = (FakeStdio::new(naps), FakeStdio::new(json!({ "tools": ["echo"] })));
    let servers = json!({ "slow": slow.entry(), "other": other.entry() });
    let gateway = json!({ "limits": { "inFlight": LIMIT } });
    let config = json!({ "mcpServers": servers, "gateway": gateway });
    let proxy = Proxy::with(config).start().await;
    let (url, client) = (proxy.url("/mcp/slow"), Modern::new(&proxy.url("/mcp/slow")));
    let mut unloaded = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        call(&client, "nap").await.result();
        unloaded.push(begun.elapsed());
    }
    let unloaded = percentile(&mut unloaded, 50);
    let (ids, stop) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicBool::new(false)));
    let crowd: Vec<_> = (0..LIMIT * 10)
        .map(|_| tokio::spawn(insist(url.clone(), Arc::clone(&ids), Arc::clone(&stop))))
        .collect();
    let others = Modern::new(&proxy.url("/mcp/other"));
    let others = tokio::spawn(bystander(others, Arc::clone(&stop)));
    tokio::time::sleep(time() / 3).await; // everything that grows at first has grown
    let before = process::resident(proxy.pid()).now;
    tokio::time::sleep(time() * 2 / 3).await;
    let after = process::resident(proxy.pid()).now;
    stop.store(true, Ordering::Relaxed);
    let mut seen = Seen::default();
    for client in crowd {
        let one = client.await.expect("no request without its answer");
        seen.admitted.extend(one.admitted);
        seen.refused.extend(one.refused);
    }
    let others = others.await.expect("no call to another upstream is refused");
    let [r50, r99] = [50, 99].map(|percent| percentile(&mut seen.refused, percent));
    let [a50, a99] = [50, 99].map(|percent| percentile(&mut seen.admitted, percent));
    println!(
        "{} clients for {:?} where {LIMIT} requests may be in flight: {} refused after p50 {r50:?}, \
         p99 {r99:?}; {} admitted took p50 {a50:?}, p99 {a99:?} (alone {unloaded:?}); {others} calls \
         to another server; {} KiB, then {} KiB",
        LIMIT * 10,
        time(),
        seen.refused.len(),
        seen.admitted.len(),
        before >> 10,
        after >> 10
    );
    assert!(seen.refused.len() > LIMIT * 10 && seen.admitted.len() > LIMIT, "there was overload");
    let answered = seen.refused.len() + seen.admitted.len();
    assert_eq!(answered as u64, ids.load(Ordering::Relaxed) - 1, "each has one answer");
    let executed = slow.received_of("tools/call").len();
    assert_eq!(executed, seen.admitted.len() + 5, "what was refused was not executed");
    assert!(r99 < REFUSED && a50 < unloaded * 2 && a99 < unloaded * 2 + REFUSED, "too slow");
    assert!(after < before + before / 5 + (2 << 20), "memory is not flat: {before} {after}");
    assert!(others > 0);
    let again: Vec<_> = (0..LIMIT)
        .map(|_| {
            let client = Modern::new(&url);
            tokio::spawn(async move { call(&client, "nap").await.result().is_object() })
        })
        .collect();
    for one in again {
        assert!(one.await.expect("all have room again"));
    }
}

/// One server with `run`, which ends when the gate opens, and these limits.
async fn scene(limits: Value) -> (Proxy, FakeStdio) {
    let steps = json!([{ "await": "open" }, { "usual": true }]);
    let fake =
        FakeStdio::new(json!({ "tools": ["run", "echo"], "on": { "tools/call:run": steps } }));
    let gateway = json!({ "limits": limits });
    let config = json!({ "mcpServers": { "x": fake.entry() }, "gateway": gateway });
    let proxy = Proxy::with(config).start().await;
    proxy.logs.wait_for("x: ready").await;
    (proxy, fake)
}

fn limit(reply: &Reply) -> &str {
    reply.error()["data"]["limit"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn each_limit_refuses_by_its_name_and_lets_in_again() {
    let _beside = MEASURING.read().await;
    for (limits, name) in [
        (json!({ "inFlight": 2 }), "inFlight"),
        (json!({ "inFlightTotal": 2 }), "inFlightTotal"),
        (json!({ "inFlightPerClient": 2 }), "inFlightPerClient"),
    ] {
        let (proxy, fake) = scene(limits).await;
        let url = proxy.url("/mcp/x");
        let (modern, legacy) = (Modern::new(&url), Legacy::connect(&url, "2025-11-25").await);
        let run = json!({ "name": "run", "arguments": {} });
        let held = async {
            let (one, two) = (
                modern.request("tools/call", run.clone()),
                legacy.request("tools/call", run.clone()),
            );
            let (one, two) = tokio::join!(one, two);
            one.result();
            two.result();
        };
        let beyond = async {
            while fake.received_of("tools/call").len() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await; // files give no event
            }
            for reply in [
                call(&modern, "echo").await,
                legacy.request("tools/call", json!({ "name": "echo" })).await,
            ] {
                assert_eq!((reply.status, reply.error_code(), limit(&reply)), (200, -32603, name));
            }
            assert_eq!(modern.request("tools/list", json!({})).await.status, 200);
            legacy.request("ping", Value::Null).await.result();
            fake.release("open");
        };
        tokio::join!(held, beyond);
        call(&modern, "echo").await.result();
    }
}

#[tokio::test]
async fn a_session_that_wants_a_place_gets_the_next_one() {
    let _beside = MEASURING.read().await;
    let (proxy, fake) = scene(json!({ "inFlight": 4 })).await;
    let url = proxy.url("/mcp/x");
    let greedy = Arc::new(Legacy::connect(&url, "2025-11-25").await);
    let modest = Legacy::connect(&url, "2025-11-25").await;
    let run = json!({ "name": "run", "arguments": {} });
    let held: Vec<_> = (0..4)
        .map(|_| {
            let (client, run) = (Arc::clone(&greedy), run.clone());
            tokio::spawn(async move { client.request("tools/call", run).await })
        })
        .collect();
    while fake.received_of("tools/call").len() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await; // files give no event
    }
    let echo = json!({ "name": "echo", "arguments": {} });
    let refused = modest.request("tools/call", echo.clone()).await;
    assert_eq!(limit(&refused), "inFlight");
    // the id of the first in the session of the greedy one
    greedy.notify("notifications/cancelled", json!({ "requestId": 1 })).await;
    fake.wait_for("notifications/cancelled").await;
    let more = greedy.request("tools/call", echo.clone()).await;
    assert_eq!(limit(&more), "inFlightShare", "{more:?}");
    modest.request("tools/call", echo).await.result();
    fake.release("open");
    for one in held {
        one.await.expect("no panic");
    }
}

#[tokio::test]
async fn a_parked_call_leaves_its_place_to_others_and_gets_one_again() {
    let _beside = MEASURING.read().await;
    let form =
        json!({ "message": "Name?", "requestedSchema": { "type": "object", "properties": {} } });
    let steps = json!([{ "ask": ["elicitation/create", form] }, { "await": "answered" }, { "usual": true }]);
    let fake = FakeStdio::new(json!({ "tools": ["form", "run", "echo"], "on": {
        "tools/call:form": steps, "tools/call:run": [{ "await": "open" }, { "usual": true }],
    } }));
    let gateway = json!({ "limits": { "inFlight": 1 } });
    let config = json!({ "mcpServers": { "x": fake.entry() }, "gateway": gateway });
    let proxy = Proxy::with(config).start().await;
    let mut client = Modern::new(&proxy.url("/mcp/x"));
    client.capabilities = json!({ "elicitation": { "form": {} } });
    let form = json!({ "name": "form", "arguments": {} });
    let asked = client.request("tools/call", form.clone()).await;
    assert_eq!(asked.result()["resultType"], "input_required");
    call(&client, "echo").await.result();
    let mut again = form;
    again["requestState"] = asked.result()["requestState"].clone();
    again["inputResponses"] = json!({ "k1_1": { "action": "accept", "content": {} } });
    let running = call(&client, "run");
    let refused = async {
        fake.reached("open").await;
        let reply = client.request("tools/call", again.clone()).await;
        assert_eq!(limit(&reply), "inFlight");
        fake.release("open");
    };
    let (ran, ()) = tokio::join!(running, refused);
    ran.result();
    fake.release("answered");
    let done = client.request("tools/call", again).await;
    assert_eq!(done.result()["resultType"], "complete", "it was still parked: {done:?}");
}

/// Its connection is full at once, and its server must not notice.
#[tokio::test]
async fn who_reads_nothing_of_its_stream_holds_up_nobody() {
    let _beside = MEASURING.read().await;
    let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params":
        { "progressToken": "$token", "progress": 1, "message": "x".repeat(100_000) } });
    let mut flood: Vec<Value> = (1..=200)
        .map(|n| {
            let mut one = progress.clone();
            one["params"]["progress"] = json!(n);
            json!({ "say": one })
        })
        .collect();
    flood.push(json!({ "await": "flooded" }));
    let fake =
        FakeStdio::new(json!({ "tools": ["echo", "flood"], "on": { "tools/call:flood": flood } }));
    let proxy = Proxy::with(json!({ "mcpServers": { "x": fake.entry() } })).start().await;
    let client = Modern::new(&proxy.url("/mcp/x"));
    let params = json!({ "name": "flood", "arguments": {}, "_meta": { "progressToken": 1 } });
    let mut deaf = client.open("tools/call", params).await;
    fake.reached("flooded").await;
    call(&client, "echo").await.result();
    assert!(process::resident(proxy.pid()).now < 64 << 20, "{:?}", process::resident(proxy.pid()));
    assert!(deaf.next().await.is_some(), "it is there, and reads again");
}

const HELLO: &str = r#"{"jsonrpc":"2.0","id":"h","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}"#;

/// What a new client is answered: status, `Retry-After`, error.
async fn hello(proxy: &Proxy) -> (u16, Option<String>, Value) {
    let headers =
        [("Accept", "application/json, text/event-stream"), ("Content-Type", "application/json")];
    let response = RawHttp::once("POST", &proxy.url("/mcp"), &headers, HELLO).await;
    let body: Value = serde_json::from_slice(&response.body).expect("json");
    assert_eq!(body["id"], "h");
    let after = response.head.header("retry-after").map(str::to_owned);
    (response.status(), after, body["error"].clone())
}

#[tokio::test]
async fn sessions_of_one_client_are_429_and_of_all_503() {
    let _beside = MEASURING.read().await;
    for (limits, status, name) in [
        (json!({ "sessionsPerClient": 1 }), 429, "sessionsPerClient"),
        (json!({ "sessions": 1 }), 503, "sessions"),
    ] {
        let (proxy, _fake) = scene(limits).await;
        let first = Legacy::connect(&proxy.url("/mcp"), "2025-11-25").await;
        let (got, after, error) = hello(&proxy).await;
        assert_eq!((got, after.as_deref()), (status, Some("1")), "{error}");
        assert_eq!(error["data"]["limit"], name);
        first.request("ping", Value::Null).await.result();
    }
}

#[tokio::test]
async fn over_stdio_the_limit_is_named_too() {
    let _beside = MEASURING.read().await;
    let fake = FakeStdio::new(
        json!({ "tools": ["run"], "on": { "tools/call:run": [{ "await": "open" }, { "usual": true }] } }),
    );
    let gateway = json!({ "limits": { "inFlight": 1 } });
    let config = json!({ "mcpServers": { "x": fake.entry() }, "gateway": gateway });
    let mut client = Proxy::with(config).stdio();
    let run = json!({ "name": "x__run", "arguments": {} });
    client.ask_modern(json!(1), "tools/call", run.clone()).await;
    fake.reached("open").await;
    client.ask_modern(json!(2), "tools/call", run).await;
    let refused = client.answer(json!(2)).await;
    assert_eq!(refused["error"]["data"]["limit"], "inFlight", "{refused}");
    fake.release("open");
    assert!(client.answer(json!(1)).await["result"].is_object());
}

/// Whatever we use is too much here: a little goes on all the same, so that nobody is shut out for
/// ever by memory that an allocator keeps.
#[tokio::test]
async fn where_memory_is_short_new_work_is_refused_and_what_there_is_goes_on() {
    let _beside = MEASURING.read().await;
    let (proxy, fake) = scene(json!({ "memoryMb": 1 })).await;
    proxy.logs.wait_for("new work is refused: the gateway is overloaded: memory runs short").await;
    let (status, after, error) = hello(&proxy).await;
    assert_eq!((status, after.as_deref()), (503, Some("1")), "{error}");
    assert_eq!(error["data"]["limit"], "memory");
    let url = proxy.url("/mcp/x");
    let held: Vec<_> = (0..16)
        .map(|_| {
            let client = Modern::new(&url);
            tokio::spawn(async move { call(&client, "run").await.result().is_object() })
        })
        .collect();
    while fake.received_of("tools/call").len() < 16 {
        tokio::time::sleep(Duration::from_millis(5)).await; // files give no event
    }
    let client = Modern::new(&url);
    assert_eq!(limit(&call(&client, "echo").await), "memory");
    assert_eq!(client.request("tools/list", json!({})).await.status, 200);
    let large = json!({ "name": "echo", "arguments": { "pad": "x".repeat(100 << 10) } });
    assert_eq!(client.request("tools/call", large).await.status, 503);
    fake.release("open");
    for one in held {
        assert!(one.await.expect("what was admitted goes on"));
    }
    call(&client, "echo").await.result();
    assert_eq!(proxy.logs.count("new work is refused"), 1);
}

fn set_descriptors(proxy: &Proxy, most: u64) -> Rlimit {
    let pid = i32::try_from(proxy.pid()).ok().and_then(Pid::from_raw);
    let limit = Rlimit { current: Some(most), maximum: None };
    let before = prlimit(pid, Resource::Nofile, limit);
    before.unwrap_or_else(|_| {
        // without privileges the hard limit cannot be raised
        let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { maximum, ..limit };
        prlimit(pid, Resource::Nofile, limit).expect("lower than the hard limit")
    })
}

fn descriptors(proxy: &Proxy) -> u64 {
    let folder = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).expect("it runs");
    folder.count() as u64
}

/// Processor time of a process so far, in ticks of 10 ms.
fn ticks(proxy: &Proxy) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", proxy.pid())).expect("it runs");
    let fields = stat.rsplit_once(')').expect("a name").1;
    let fields: Vec<u64> = fields.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
    fields[11] + fields[12]
}

#[tokio::test]
async fn without_descriptors_accepting_does_not_spin_and_recovers() {
    let _beside = MEASURING.read().await;
    let (proxy, _fake) = scene(json!({})).await;
    let url = proxy.url("/mcp/x");
    let client = Legacy::connect(&url, "2025-11-25").await;
    let stream = client.get_stream().await; // it is busy, and stays
    let before = set_descriptors(&proxy, descriptors(&proxy));
    let short = "new work is refused: the gateway is overloaded: file descriptors run short";
    proxy.logs.wait_for(short).await;
    let mut crowd = Vec::new();
    for _ in 0..32 {
        crowd.push(RawHttp::connect(&url).await); // the kernel takes them in
    }
    proxy.logs.wait_for("cannot accept").await;
    let begun = ticks(&proxy);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let spent = ticks(&proxy) - begun;
    println!("{spent} ticks of 10 ms in 2 s without descriptors");
    assert!(spent < 40, "{spent} ticks: it spins");
    assert!(proxy.logs.count("cannot accept") <= 2, "it does not flood the log");
    let pid = i32::try_from(proxy.pid()).ok().and_then(Pid::from_raw);
    prlimit(pid, Resource::Nofile, before).expect("as it was");
    proxy.logs.wait_for("new work is taken on again").await;
    drop(crowd);
    let end = Instant::now() + BOUND;
    call(&Modern::new(&url), "echo").await.result();
    assert!(Instant::now() < end);
    assert_eq!(stream.head.status(), 200);
    client.request("ping", Value::Null).await.result();
}

#[tokio::test]
async fn where_descriptors_are_short_who_is_there_is_told_so() {
    let _beside = MEASURING.read().await;
    let (proxy, _fake) = scene(json!({})).await;
    let url = proxy.url("/mcp/x");
    let client = Legacy::connect(&url, "2025-11-25").await;
    let mut crowd = Vec::new();
    for _ in 0..50 {
        crowd.push(RawHttp::connect(&url).await);
    }
    client.request("ping", Value::Null).await.result(); // those before it were accepted
    let open = descriptors(&proxy) + 6; // of more than 60: nine tenths are in use
    set_descriptors(&proxy, open);
    proxy.logs.wait_for("file descriptors run short").await;
    let (status, _, error) = hello(&proxy).await;
    assert_eq!((status, &error["data"]["limit"]), (503, &json!("descriptors")));
    client.request("tools/call", json!({ "name": "echo" })).await.result();
    // with none left, who does nothing makes room
    set_descriptors(&proxy, descriptors(&proxy));
    let mut newcomers = Vec::new();
    for _ in 0..8 {
        let mut one = RawHttp::connect(&url).await;
        one.request("GET", &url, &[], "").await;
        assert_eq!(one.head().await.status(), 405);
        newcomers.push(one);
    }
    set_descriptors(&proxy, open * 4);
    proxy.logs.wait_for("new work is taken on again").await;
    assert_ne!(hello(&proxy).await.0, 503);
}
