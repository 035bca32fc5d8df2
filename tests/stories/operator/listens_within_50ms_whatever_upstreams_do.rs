//! The port is open 50 ms after the start, however many servers are missing, mute or slow.
//!
//! The numbers are printed; the story fails at five times the promise, since the machine of a test
//! run has other work to do.

use crate::support::{FakeHttp, FakeStdio, Proxy, RawHttp};
use serde_json::json;
use std::time::{Duration, Instant};

const PROMISE: Duration = Duration::from_millis(50);
const RUNS: usize = 20;

#[tokio::test]
#[allow(clippy::print_stdout, reason = "the numbers are what one runs this for")]
async fn listens_at_once() {
    let mute = FakeStdio::new(json!({ "on": { "server/discover": [], "initialize": [] } }));
    let honest = FakeStdio::new(json!({ "tools": ["echo"] }));
    let slow = FakeHttp::serve(|_, _| crate::support::Answer::empty(200).after("never")).await;
    let mut servers = json!({
        "missing": { "command": "no-such-command-anywhere" },
        "refused": { "type": "http", "url": "http://127.0.0.1:1/mcp" },
        "slow": slow.entry(),
        "builtin": { "type": "builtin" },
    });
    for n in 0..5 {
        servers[format!("mute{n}")] = mute.entry();
        servers[format!("honest{n}")] = honest.entry();
    }
    let config = json!({ "mcpServers": servers }).to_string();
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        let proxy = Proxy::with(&config).start().await;
        RawHttp::connect(&proxy.url("/mcp")).await;
        times.push(begun.elapsed());
    }
    times.sort();
    let (p50, p99) = (times[RUNS / 2], times[RUNS - 1]);
    println!("listening after: p50 {p50:?}, p99 {p99:?} (promise {PROMISE:?})");
    assert!(p50 < 5 * PROMISE, "p50 {p50:?}, p99 {p99:?}");
}
