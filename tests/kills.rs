//! `kill -9` of an upstream under load: what is in flight gets its answer at once, the upstream is
//! back within five seconds and its own start, and nobody else notices.
//!
//! 3 repetitions, 50 with `ONEMCP_LONG=1`: scripted servers of both eras always, real ones (one
//! started by npx, and one in Python) with `ONEMCP_INTEROP=1`.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "a test spawns its own tasks")]

#[path = "interop/harness.rs"]
mod harness;
mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{FakeStdio, Modern, Proxy, Reply, process};

/// The promise is 100 ms; a machine that runs other tests besides may take five times as long.
const ANSWERED: Duration = Duration::from_millis(500);

/// From the kill to a call that succeeds, besides what the server needs to start.
const BACK: Duration = Duration::from_secs(5);

/// Calls in flight when it is killed.
const IN_FLIGHT: usize = 16;

/// A server that will be killed.
struct Victim {
    name: &'static str,
    entry: Value,
    /// What its command lines have in common, and nobody else's.
    mark: String,
    /// A call that it answers.
    call: Value,
}

/// What one repetition has measured.
#[derive(Default)]
struct Times {
    answered: Vec<Duration>,
    back: Vec<Duration>,
}

fn repetitions() -> usize {
    if std::env::var("ONEMCP_LONG").is_ok_and(|long| long == "1") { 50 } else { 3 }
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times.get((times.len() * percent / 100).min(times.len() - 1)).copied().unwrap_or_default()
}

/// The processes of the victim, in the order of descent: the one that we started, …, the last.
fn processes(proxy: &Proxy, mark: &str) -> Vec<u32> {
    let has_mark = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains(mark) && !line.contains("__keeper")
    };
    process::descendants(proxy.pid()).into_iter().filter(has_mark).collect()
}

async fn call(client: &Modern, call: &Value) -> Reply {
    client.request("tools/call", call.clone()).await
}

fn succeeded(reply: &Reply) -> bool {
    reply.response().get("result").is_some()
}

/// One gateway, one kill: of the process that we started, or of the last of its descendants.
async fn kill_once(victim: &Victim, of_last: bool, times: &mut Times) {
    let other = FakeStdio::new(json!({ "tools": ["echo"] }));
    let begun = Instant::now();
    let servers = json!({ "victim": victim.entry, "other": other.entry() });
    let proxy = Proxy::with(json!({ "mcpServers": servers })).start().await;
    let client = Arc::new(Modern::new(&proxy.url("/mcp/victim")));
    let first = call(&client, &victim.call).await;
    assert!(succeeded(&first), "{}: {first:?}", victim.name);
    let start = begun.elapsed();
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(load(Modern::new(&proxy.url("/mcp/other")), Arc::clone(&stop)));
    let pids = processes(&proxy, &victim.mark);
    let (first, last) = (pids.first().copied(), pids.last().copied());
    let (first, last) = first.zip(last).expect("the victim has processes");
    // one that stands still answers nothing: what is asked now is in flight
    process::signal(last, Signal::STOP);
    let calls: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (client, asked) = (Arc::clone(&client), victim.call.clone());
            tokio::spawn(async move { (call(&client, &asked).await, Instant::now()) })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await; // a pipe does not say what it holds
    let killed = Instant::now();
    process::signal(if of_last { last } else { first }, Signal::KILL);
    for one in calls {
        let (reply, answered) = one.await.expect("no panic");
        let message = reply.error()["message"].as_str().unwrap_or_default();
        assert!(message.contains("\"victim\""), "{}: {message}", victim.name);
        times.answered.push(answered.saturating_duration_since(killed));
    }
    loop {
        let reply = call(&client, &victim.call).await;
        if succeeded(&reply) {
            break;
        }
        assert!(killed.elapsed() < BACK + start, "{}: {reply:?}", victim.name);
    }
    times.back.push(killed.elapsed());
    stop.store(true, Ordering::Relaxed);
    let others = load.await.expect("no call to another upstream fails");
    assert!(others > 0, "there was load");
    process::ends(first).await;
    process::ends(last).await;
    assert_eq!(other.starts().len(), 1);
}

/// Calls another upstream all the time; how often.
async fn load(client: Modern, stop: Arc<AtomicBool>) -> usize {
    let echo = json!({ "name": "echo", "arguments": {} });
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let reply = call(&client, &echo).await;
        assert!(succeeded(&reply), "{reply:?}");
        count += 1;
    }
    count
}

async fn kill_again_and_again(victim: Victim) {
    let (mut times, count) = (Times::default(), repetitions());
    for repetition in 0..count {
        kill_once(&victim, repetition % 2 == 1, &mut times).await;
    }
    let [p50, p99] = [50, 99].map(|percent| percentile(&mut times.answered, percent));
    let back = percentile(&mut times.back, 100);
    harness::say(&format!(
        "kill -9 of {}, {count} times with {IN_FLIGHT} calls in flight: answered after p50 {p50:?}, \
         p99 {p99:?}; back after p50 {:?}, at most {back:?}",
        victim.name,
        percentile(&mut times.back, 50),
    ));
    assert!(p99 < ANSWERED, "{}: {p99:?}", victim.name);
}

#[tokio::test]
async fn scripted_servers_of_both_eras() {
    for (era, name) in [("legacy", "a legacy server"), ("modern", "a modern server")] {
        let fake = FakeStdio::new(json!({ "era": era, "tools": ["echo"] }));
        let mark = fake.command().get(1).cloned().expect("its folder");
        let call = json!({ "name": "echo", "arguments": {} });
        kill_again_and_again(Victim { name, entry: fake.entry(), mark, call }).await;
    }
    // the shell that we started is killed, and what it has started holds the pipes open
    let fake = FakeStdio::new(json!({ "tools": ["echo"] }));
    let (line, mark) = (fake.command().join(" "), fake.command().get(1).cloned());
    kill_again_and_again(Victim {
        name: "a server below a shell",
        entry: json!({ "command": "sh", "args": ["-c", format!("{line}; exit $?")],
            "sandbox": { "write": [fake.folder()] } }),
        mark: mark.expect("its folder"),
        call: json!({ "name": "echo", "arguments": {} }),
    })
    .await;
}

#[tokio::test]
async fn real_servers() {
    if harness::asked("kill -9 of real servers") != harness::Asked::All {
        return;
    }
    let installed = harness::Installed::new();
    // npx starts a shell, and that the server
    let npx = json!({
        "command": "npx",
        "args": ["--no-install", "mcp-server-everything", "stdio"],
        "cwd": installed.path("js"),
    });
    kill_again_and_again(Victim {
        name: "server-everything, started by npx",
        entry: npx,
        mark: "mcp-server-everything".to_owned(),
        call: json!({ "name": "echo", "arguments": { "message": "x" } }),
    })
    .await;
    kill_again_and_again(Victim {
        name: "mcp-server-time",
        entry: json!({ "command": installed.py_server("mcp-server-time"), "args": ["--local-timezone", "UTC"] }),
        mark: "mcp-server-time".to_owned(),
        call: json!({ "name": "get_current_time", "arguments": { "timezone": "UTC" } }),
    })
    .await;
}
