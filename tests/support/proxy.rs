//! The real binary as a child process, and what it logs.

use super::{BOUND, Piped, Scratch, process};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// How a proxy will be started.
pub(crate) struct Setup {
    config: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// A shell script that ends in `exec "$0" "$@"`.
    before: Option<String>,
}

impl Setup {
    /// More arguments after `serve --listen 127.0.0.1:0 --config FILE`, or `stdio --config FILE`.
    pub(crate) fn arg(mut self, argument: &str) -> Setup {
        self.arguments.push(argument.to_owned());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs a shell script first, which ends in `exec "$0" "$@"`.
    pub(crate) fn under(mut self, script: &str) -> Setup {
        self.before = Some(script.to_owned());
        self
    }

    /// Starts it and waits until it listens.
    pub(crate) async fn start(self) -> Proxy {
        let mut proxy = self.spawn();
        let line = proxy.logs.wait_for("listening on http://").await;
        let address = line.split("listening on http://").nth(1).unwrap_or_default();
        let part_of_it = |c: &char| c.is_alphanumeric() || ".:[]".contains(*c);
        proxy.address = address.chars().take_while(part_of_it).collect();
        proxy
    }

    /// Starts it and does not wait: for what must fail to start.
    pub(crate) fn spawn(self) -> Proxy {
        let mut proxy = self.spawn_as(&["serve", "--listen", "127.0.0.1:0"], Stdio::null());
        proxy.logs.collect(proxy.child.stdout.take().expect("stdout is piped"));
        proxy
    }

    /// Starts it as the server of a client that is us.
    pub(crate) fn stdio(self) -> Piped {
        let mut proxy = self.spawn_as(&["stdio"], Stdio::piped());
        let input = proxy.child.stdin.take().expect("stdin is piped");
        let output = proxy.child.stdout.take().expect("stdout is piped");
        Piped::new(proxy, input, output)
    }

    fn spawn_as(self, command: &[&str], input: Stdio) -> Proxy {
        let scratch = Scratch::new();
        let config = scratch.write("mcp.json", &self.config);
        let program = env!("CARGO_BIN_EXE_1mcp");
        let mut child = match &self.before {
            None => Command::new(program),
            Some(script) => {
                let mut shell = Command::new("bash"); // sh knows descriptors of one digit only
                shell.args(["-c", script, program]);
                shell
            }
        };
        let mut child = child
            .args(command)
            .arg("--config")
            .arg(config)
            .args(self.arguments)
            .env_remove("ONEMCP_CONFIG")
            .env("ONEMCP_STATE_DIR", scratch.path().join("state"))
            .envs(self.environment)
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built");
        let logs = Logs::new();
        logs.collect(child.stderr.take().expect("stderr is piped"));
        Proxy { child, logs, scratch, address: String::new(), children: Vec::new() }
    }
}

/// A running `1mcp serve`. Dropping it kills it and fails if a process of it stays behind.
pub(crate) struct Proxy {
    child: Child,
    pub(crate) logs: Logs,
    scratch: Scratch,
    address: String,
    /// Those it had when it was asked to end.
    children: Vec<u32>,
}

impl Proxy {
    /// With this configuration file (a `serde_json::Value`, or text that need not be JSON).
    pub(crate) fn with(config: impl std::fmt::Display) -> Setup {
        Setup {
            config: config.to_string(),
            arguments: Vec::new(),
            environment: Vec::new(),
            before: None,
        }
    }

    /// `url("/mcp")`
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Notes whom it has started, so that none of them may outlive it.
    pub(crate) fn note_children(&mut self) -> Vec<u32> {
        self.children = process::descendants(self.child.id());
        self.children.clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Replaces the configuration file.
    pub(crate) fn configure(&self, config: impl std::fmt::Display) {
        self.scratch.write("mcp.json", &config.to_string());
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.children = process::descendants(self.child.id());
        process::terminate(self.child.id());
        self.ended().await
    }

    /// Waits until it ends of its own accord.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let pid = self.child.id();
        let outlives = tokio::task::spawn_blocking(move || process::outlives(pid)).await;
        assert!(!outlives.expect("waiting does not panic"), "1mcp still runs after {BOUND:?}");
        self.child.wait().expect("1mcp is our child")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut children = std::mem::take(&mut self.children);
        if matches!(self.child.try_wait(), Ok(None)) {
            // Stopped, it cannot start another one between the look and the kill.
            process::signal(self.child.id(), rustix::process::Signal::STOP);
            children.extend(process::descendants(self.child.id()));
        }
        drop(self.child.kill());
        drop(self.child.wait());
        let left: Vec<u32> = children.into_iter().filter(|pid| process::outlives(*pid)).collect();
        left.iter().for_each(|pid| process::signal(*pid, rustix::process::Signal::KILL));
        if std::thread::panicking() {
            eprintln!("--- what 1mcp logged\n{}", self.logs.text());
            return;
        }
        assert!(left.is_empty(), "1mcp left processes behind: {left:?}\n{}", self.logs.text());
    }
}

/// The lines a process wrote to stdout and stderr so far.
#[derive(Clone)]
pub(crate) struct Logs {
    lines: Arc<Mutex<Vec<String>>>,
    grown: watch::Sender<usize>,
}

impl Logs {
    pub(crate) fn new() -> Logs {
        Logs { lines: Arc::default(), grown: watch::Sender::new(0) }
    }

    /// Reads lines on a thread of its own until the end.
    pub(crate) fn collect(&self, source: impl Read + Send + 'static) {
        let logs = self.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(source);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                logs.lines.lock().expect("no panic while it is held").push(text);
                logs.grown.send_modify(|n| *n += 1);
                line.clear();
            }
        });
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no panic while it is held").clone()
    }

    pub(crate) fn text(&self) -> String {
        self.lines().join("\n")
    }

    pub(crate) fn count(&self, part: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(part)).count()
    }

    /// The first line with this in it, past or future.
    pub(crate) async fn wait_for(&self, part: &str) -> String {
        self.wait_for_nth(1, part).await
    }

    /// The line number `count` (from 1) of those with this in them, past or future.
    pub(crate) async fn wait_for_nth(&self, count: usize, part: &str) -> String {
        let mut grown = self.grown.subscribe();
        let search = async {
            loop {
                grown.borrow_and_update();
                let mut found = self.lines().into_iter().filter(|line| line.contains(part));
                if let Some(line) = found.nth(count - 1) {
                    return line;
                }
                grown.changed().await.expect("the sender is ours");
            }
        };
        match tokio::time::timeout(BOUND, search).await {
            Ok(line) => line,
            Err(_) => panic!("waited {BOUND:?} in vain for the line {part:?} in:\n{}", self.text()),
        }
    }

    /// Fails if one of these was logged.
    pub(crate) fn assert_no_secret(&self, secrets: &[&str]) {
        for line in self.lines() {
            for secret in secrets {
                assert!(!line.contains(secret), "the secret {secret:?} was logged: {line}");
            }
        }
    }
}

/// Runs the binary to its end: for `check`, `tools`, `call`, `--help`, and for a `serve` that must
/// not come to be. One that goes on is killed: it could be listening where nobody should.
pub(crate) async fn run(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_1mcp"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the binary was built");
    let pid = child.id();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output());
    let Ok(output) = tokio::time::timeout(BOUND, output).await else {
        process::signal(pid, rustix::process::Signal::KILL);
        panic!("1mcp {arguments:?} still ran after {BOUND:?}");
    };
    output.expect("waiting does not panic").expect("its output can be read")
}
