//! One of two servers behind an entry dies under load, before, while and after it writes answers:
//! no read fails, and no act is carried out twice. What a server has read counts as carried out.
//!
//! 200 requests and 2 deaths in each era, 1,000 and 10 with `ONEMCP_LONG=1`.

use super::status;
use crate::support::{BOUND, FakeHttp, Modern, Proxy, Reply};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Who asks at the same time.
const CLIENTS: usize = 8;

/// What is asked, in turn. The last is an act, the others do no harm when they come twice.
const KINDS: [(&str, &str); 4] = [
    ("resources/read", "file:///a"),
    ("prompts/get", "ask"),
    ("tools/call", "look"),
    ("tools/call", "act"),
];

/// How far an answer is when its server dies.
const STAGES: [&str; 2] = ["-held", "-begun"];

fn is_safe(number: usize) -> bool {
    number % KINDS.len() < 3
}

/// What came of one request.
struct Asked {
    number: usize,
    reply: Reply,
}

impl Asked {
    fn succeeded(&self) -> bool {
        self.reply.response().get("result").is_some()
    }
}

/// Answers to names with a stage wait at a gate: before they begin, or in the middle.
fn script(era: &str) -> Value {
    let mut on = json!({});
    let names = |of: &str| {
        let kinds = KINDS.iter().filter(|(_, name)| *name == of);
        let stages = ["", STAGES[0], STAGES[1]];
        kinds.flat_map(|(_, name)| stages.map(|stage| format!("{name}{stage}"))).collect::<Vec<_>>()
    };
    for (method, name) in KINDS {
        let [held, begun] = STAGES.map(|stage| format!("{method}:{name}{stage}"));
        on[held] = json!([{ "await": "death" }, { "usual": true }]);
        let half = json!({ "raw": "event: message\ndata: {\"json" });
        on[begun] = json!([half, { "await": "death" }, { "raw": "rpc\":\"2.0\",\"method\":\"notifications/story\"}\n\n" }, { "usual": true }]);
    }
    let look = |name: String| json!({ "name": name, "inputSchema": { "type": "object" }, "annotations": { "idempotentHint": true } });
    let tools: Vec<Value> = names("look")
        .into_iter()
        .map(look)
        .chain(names("act").into_iter().map(Value::from))
        .collect();
    json!({ "era": era, "tools": tools, "resources": names("file:///a"), "prompts": names("ask"), "on": on })
}

async fn ask(client: Arc<Modern>, number: usize, stage: &str) -> Asked {
    let (method, name) = KINDS[number % KINDS.len()];
    let subject = if method == "resources/read" { "uri" } else { "name" };
    let arguments = json!({ "number": number.to_string() });
    let params = json!({ subject: format!("{name}{stage}"), "arguments": arguments });
    Asked { number, reply: client.request(method, params).await }
}

/// How often each request was read by any server.
fn executions(servers: &[FakeHttp]) -> HashMap<usize, usize> {
    let mut counts = HashMap::new();
    for recorded in servers.iter().flat_map(FakeHttp::recorded) {
        let number = recorded.json()["params"]["arguments"]["number"].as_str().map(str::parse);
        if let Some(Ok(number)) = number {
            *counts.entry(number).or_default() += 1;
        }
    }
    counts
}

struct Story {
    script: Value,
    client: Arc<Modern>,
    /// All that there were.
    servers: Vec<FakeHttp>,
    alive: [FakeHttp; 2],
    next: usize,
    asked: Vec<Asked>,
}

impl Story {
    fn numbers(&mut self, count: usize) -> std::ops::Range<usize> {
        self.next += count;
        self.next - count..self.next
    }

    /// Waits until something is so that gives no event.
    async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + BOUND;
        while !so(self) {
            assert!(Instant::now() < end, "waited in vain for {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// `count` requests, during which one of the servers dies and is started again.
    async fn death(&mut self, victim: usize, count: usize) {
        let mut running = JoinSet::new();
        let held = self.numbers(4 * KINDS.len());
        for number in held.clone() {
            let stage = STAGES[number / KINDS.len() % 2];
            let asking = ask(Arc::clone(&self.client), number, stage);
            running.spawn(async move { vec![asking.await] });
        }
        let are_held = |story: &Self| {
            let executed = executions(&story.servers);
            held.clone().all(|number| executed.contains_key(&number))
        };
        self.until("held requests", are_held).await;
        let (next, numbers) = (Arc::new(AtomicUsize::new(0)), self.numbers(count));
        let (asked, mut seen) = watch::channel(0);
        for _ in 0..CLIENTS {
            let (client, next, asked) =
                (Arc::clone(&self.client), Arc::clone(&next), asked.clone());
            let numbers = numbers.clone();
            running.spawn(async move {
                let mut done = Vec::new();
                while let Some(number) = numbers.clone().nth(next.fetch_add(1, Ordering::Relaxed)) {
                    asked.send_modify(|asked| *asked += 1);
                    done.push(ask(Arc::clone(&client), number, "").await);
                }
                done
            });
        }
        let half = seen.wait_for(|asked| *asked > count / 2).await.map(drop);
        half.expect("somebody asks");
        self.alive[victim].crash().await;
        self.alive[1 - victim].release("death");
        while let Some(done) = running.join_next().await {
            self.asked.extend(done.expect("no panic"));
        }
        self.alive[1 - victim].shut("death");
        let again = FakeHttp::mcp_at(self.script.clone(), self.alive[victim].address()).await;
        self.servers.push(again.clone());
        self.alive[victim] = again;
    }
}

/// Whoever is back is used again.
async fn is_used_again(story: &Story, back: usize) {
    let end = Instant::now() + BOUND;
    while story.alive[back].recorded().is_empty() {
        assert!(Instant::now() < end, "the server that is back is not asked anything");
        let mut reads = JoinSet::new();
        for _ in 0..4 {
            let client = Arc::clone(&story.client);
            reads.spawn(async move {
                client.request("resources/read", json!({ "uri": "file:///a" })).await
            });
        }
        while let Some(read) = reads.join_next().await {
            read.expect("no panic").result();
        }
    }
}

#[expect(clippy::print_stdout, reason = "the count belongs to what is shown")]
async fn story(era: &str) {
    let is_long = std::env::var("ONEMCP_LONG").is_ok_and(|long| long == "1");
    let (requests, deaths) = if is_long { (1000, 10) } else { (200, 2) };
    let script = script(era);
    let alive = [FakeHttp::mcp(script.clone()).await, FakeHttp::mcp(script.clone()).await];
    let urls = alive.each_ref().map(FakeHttp::url);
    let entry = json!({ "type": "http", "url": urls, "retry": { "idempotentTools": true },
        "restart": { "max": 100 } }); // so many deaths would be a crash loop
    let proxy = Proxy::with(json!({ "mcpServers": {
        "fake": entry, "1mcp": { "type": "builtin" } } }))
    .start()
    .await;
    proxy.logs.wait_for("fake: ready").await;
    let client = Arc::new(Modern::new(&proxy.url("/mcp/fake")));
    let (servers, next, asked) = (alive.to_vec(), 0, Vec::new());
    let mut story = Story { script, client, servers, alive, next, asked };
    for death in 0..deaths {
        story.death(death % 2, requests / deaths).await;
        // two that have failed just now are not one that is dead
        let end = Instant::now() + BOUND;
        while status(&proxy.url("/mcp"), "fake").await["urls"][death % 2]["retryAfterMs"] != 0 {
            assert!(Instant::now() < end, "the server that is back is left alone");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if era == "modern" {
            is_used_again(&story, death % 2).await;
        }
    }
    let executed = executions(&story.servers);
    let (mut repeated, mut lost) = (0, 0);
    for asked in &story.asked {
        let (number, times) = (asked.number, executed.get(&asked.number).copied().unwrap_or(0));
        let text = || format!("{era}: {:?} {number}: {:?}", KINDS[number % 4], asked.reply.texts);
        if is_safe(number) {
            assert!(asked.succeeded(), "a safe call failed: {}", text());
            repeated += usize::from(times > 1);
            continue;
        }
        assert!(times <= 1, "carried out {times} times: {}", text());
        if asked.succeeded() {
            assert_eq!(times, 1, "{}", text());
        } else {
            let message = asked.reply.error()["message"].as_str().unwrap_or_default();
            assert!(message.contains("it may have been carried out"), "{}", text());
            lost += 1;
        }
    }
    let count = story.asked.len();
    println!("{era}: {count} requests, {deaths} deaths, {repeated} repeated, {lost} acts in doubt");
    assert!(repeated > 0 && lost > 0, "nothing was under way when a server died");
}

#[tokio::test]
async fn of_two_modern_servers() {
    story("modern").await;
}

#[tokio::test]
async fn of_two_legacy_servers() {
    story("legacy").await;
}
