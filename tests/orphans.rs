//! No process outlives what it was started for: not the server it descends from, not the keeper,
//! not the gateway; however that ended, and however the process tried to get away.
//!
//! 2 cycles of each way to stop a gateway and 10 of each way to lose a server; with
//! `ONEMCP_LONG=1`, 200 of each. Real launchers besides with `ONEMCP_INTEROP=1`.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "a test spawns its own tasks")]

#[path = "interop/harness.rs"]
mod harness;
mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::{BOUND, FakeStdio, Proxy, process};

/// How often each server is lost in one gateway.
const ROUNDS: usize = 5;

/// What a launcher takes on a busy machine.
const START: Duration = Duration::from_secs(60);

/// What a gateway may hold more after all of it than after the first round. What its allocator
/// keeps varies by less.
const MORE_MEMORY: usize = 4 << 20;

fn long() -> bool {
    std::env::var("ONEMCP_LONG").is_ok_and(|long| long == "1")
}

/// A server, below a shell that is deaf and has children of every kind that likes to survive.
struct Tree {
    fake: FakeStdio,
    entry: Value,
}

impl Tree {
    fn new() -> Self {
        let fake = FakeStdio::new(json!({ "tools": ["a"] }));
        let script = format!(
            "trap '' TERM HUP INT
             setsid sleep 1000 &
             (sleep 1000 &) &
             (setsid sh -c 'sleep 1000; sleep 1000' &)
             setsid sh -c 'setsid sh -c \"setsid env -i sleep 1000 & exit\" & exit' &
             {}
             sleep 1000",
            fake.command().join(" ")
        );
        let entry = json!({
            "command": "sh",
            "args": ["-c", script],
            // a path within a script is no argument, so it is named here
            "sandbox": { "write": [fake.folder()] },
            "restart": { "max": 1000, "delayMs": 1 },
        });
        Self { fake, entry }
    }
}

/// A process with its children is a keeper, or not.
fn is_keeper(pid: &u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains("__keeper")
}

/// The descendants of a gateway, once all trees have grown: the keepers, and the rest.
async fn grown(proxy: &Proxy, least: usize) -> (Vec<u32>, Vec<u32>) {
    let end = Instant::now() + BOUND;
    loop {
        let all = process::descendants(proxy.pid());
        if all.len() >= least {
            return all.into_iter().partition(is_keeper);
        }
        assert!(Instant::now() < end, "{all:?} are fewer than {least}\n{}", proxy.logs.text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Fails unless all of them end, and the temporary folders of these keepers go.
async fn all_end(keepers: &[u32], others: &[u32]) {
    for pid in keepers.iter().chain(others) {
        process::ends(*pid).await;
    }
    let folder = |pid: &u32| std::env::temp_dir().join(format!("1mcp-{pid}-0"));
    let end = Instant::now() + BOUND;
    for folder in keepers.iter().map(folder) {
        while folder.exists() {
            assert!(Instant::now() < end, "{} is left", folder.display());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

// ---- the gateway ends ----

/// A keeper, a shell, the server, five sleepers and the shell of one of them.
const OF_A_TREE: usize = 8;

/// Starts a gateway with these servers, ends it, and looks who is left.
async fn end_gateway(servers: Value, trees: usize, signal: Signal) {
    let count = servers.as_object().map_or(0, serde_json::Map::len);
    let mut proxy = Proxy::with(json!({ "mcpServers": servers })).start().await;
    for key in servers.as_object().expect("entries").keys() {
        let line = format!("{key}: ready");
        let begun = Instant::now();
        while proxy.logs.count(&line) == 0 {
            assert!(begun.elapsed() < START, "no {line:?} in {START:?}\n{}", proxy.logs.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let (keepers, others) = grown(&proxy, trees * OF_A_TREE + (count - trees) * 2).await;
    assert_eq!(keepers.len(), count, "a keeper for each");
    process::signal(proxy.pid(), signal);
    let ended = proxy.ended().await;
    assert_eq!(ended.success(), signal != Signal::KILL, "{ended}\n{}", proxy.logs.text());
    if ended.success() {
        assert_eq!(proxy.logs.count("did not end in time"), 0, "{}", proxy.logs.text());
        let left = others.iter().filter(|pid| is_there(**pid)).count();
        assert_eq!(left, 0, "it waits for all of them");
    }
    all_end(&keepers, &others).await;
}

fn is_there(pid: u32) -> bool {
    PathBuf::from(format!("/proc/{pid}")).exists()
}

/// All ways at once.
async fn end_gateways(servers: &Value, trees: usize, cycles: usize) {
    let begun = Instant::now();
    for _ in 0..cycles {
        let end = |signal| end_gateway(servers.clone(), trees, signal);
        tokio::join!(end(Signal::TERM), end(Signal::INT), end(Signal::KILL));
    }
    let names: Vec<_> = servers.as_object().expect("entries").keys().map(String::as_str).collect();
    harness::say(&format!(
        "gateways with {} ended {cycles} times each by TERM, INT and KILL: nothing left, in {:?}",
        names.join(", "),
        begun.elapsed()
    ));
}

#[tokio::test]
async fn nothing_outlives_the_gateway() {
    let tree = Tree::new();
    let deaf = FakeStdio::new(json!({ "tools": ["b"], "ignoreTerm": true, "ignoreEof": true }));
    let servers = json!({ "tree": tree.entry, "deaf": deaf.entry() });
    end_gateways(&servers, 1, if long() { 200 } else { 2 }).await;
}

#[tokio::test]
async fn nothing_of_real_launchers_outlives_the_gateway() {
    if harness::asked("orphans of npx and uvx") != harness::Asked::All {
        return;
    }
    let installed = harness::Installed::new();
    let mut servers = json!({
        // npx starts a shell, and that the server
        "npx": {
            "command": "npx",
            "args": ["--no-install", "mcp-server-everything", "stdio"],
            "cwd": installed.path("js"),
        },
        "time": {
            "command": installed.py_server("mcp-server-time"),
            "args": ["--local-timezone", "UTC"],
        },
    });
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&paths).any(|folder| folder.join("uvx").exists()) {
        let args = ["mcp-server-time", "--local-timezone", "UTC"];
        servers["uvx"] =
            json!({ "command": "uvx", "args": args, "timeouts": { "startMs": 60_000 } });
    } else {
        harness::say("orphans of uvx: LEFT OUT: there is no uvx here");
    }
    end_gateways(&servers, 0, if long() { 200 } else { 2 }).await;
}

// ---- the gateway lives ----

/// What a gateway holds.
#[derive(Debug, Clone, Copy)]
struct Holds {
    descriptors: usize,
    memory: usize,
    children: usize,
}

fn holds(proxy: &Proxy) -> Holds {
    let fds = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).expect("it lives");
    let all = std::fs::read_dir("/proc").expect("a /proc").flatten();
    let stats = all.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let parent = proxy.pid().to_string();
    let ours = |stat: &String| {
        let after = stat.rsplit_once(") ").map(|(_, after)| after.split(' '));
        after.and_then(|mut fields| fields.nth(1)).is_some_and(|field| field == parent)
    };
    Holds {
        descriptors: fds.count(),
        memory: process::resident(proxy.pid()).now,
        children: stats.filter(ours).count(),
    }
}

/// Kills the victims that it picks by the keepers, of all entries at once.
async fn lose(name: &str, victims: impl Fn(&[u32]) -> Vec<u32>) {
    let count = if long() { 40 } else { 2 };
    let trees: Vec<Tree> = (0..count).map(|_| Tree::new()).collect();
    let keys = || (0..count).map(|n| format!("tree-{n}"));
    let servers: serde_json::Map<_, _> =
        keys().zip(&trees).map(|(key, tree)| (key, tree.entry.clone())).collect();
    let proxy = Proxy::with(json!({ "mcpServers": servers })).start().await;
    let mut held: Vec<Holds> = Vec::new();
    for round in 0..=ROUNDS {
        for key in keys() {
            proxy.logs.wait_for_nth(round + 1, &format!("{key}: ready")).await;
        }
        let (keepers, others) = grown(&proxy, count * OF_A_TREE).await;
        held.push(settled(&proxy, count).await);
        if round == ROUNDS {
            break;
        }
        let victims = victims(&keepers);
        assert_eq!(victims.len(), count);
        victims.iter().for_each(|pid| process::signal(*pid, Signal::KILL));
        all_end(&keepers, &others).await;
    }
    let (first, last) = (held[1], held[ROUNDS]);
    harness::say(&format!(
        "{name} killed {} times in one gateway: nothing left; {} descriptors and {} KiB after the \
         first {count}, {} and {} KiB after all",
        count * ROUNDS,
        first.descriptors,
        first.memory / 1024,
        last.descriptors,
        last.memory / 1024,
    ));
    assert_eq!(first.descriptors, last.descriptors, "{held:?}");
    assert!(last.memory < first.memory + MORE_MEMORY, "{held:?}");
    assert!(trees.iter().all(|tree| tree.fake.starts().len() == ROUNDS + 1));
}

/// What it holds once its children are the keepers alone: no zombie, no adopted one.
async fn settled(proxy: &Proxy, keepers: usize) -> Holds {
    let end = Instant::now() + BOUND;
    loop {
        let found = holds(proxy);
        if found.children == keepers {
            return found;
        }
        assert!(Instant::now() < end, "{found:?} but {keepers} keepers");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn nothing_outlives_a_server_that_is_killed() {
    lose("servers", |keepers| keepers.iter().flat_map(|pid| child_of(*pid)).collect()).await;
}

#[tokio::test]
async fn nothing_outlives_a_keeper_that_is_killed() {
    lose("keepers", |keepers| keepers.to_vec()).await;
}

/// The server is the first that its keeper has started.
fn child_of(keeper: u32) -> Option<u32> {
    let file = format!("/proc/{keeper}/task/{keeper}/children");
    let children = std::fs::read_to_string(file).unwrap_or_default();
    children.split_ascii_whitespace().next()?.parse().ok()
}
