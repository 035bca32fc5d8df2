//! What the conformance and interop tests share: installing the pinned tools, starting the fixture
//! and the gateway, running commands with a deadline. Processes are ended by the id of their own
//! group, and every wait has a limit. Nothing here knows what is being tested.

#![allow(dead_code, reason = "two test binaries include this file, each uses its own part")]

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

const INSTALL_LIMIT: Duration = Duration::from_secs(1800);
const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Lines of a process's own output kept for the report of a failure.
const KEPT_LINES: usize = 60;

/// What `ONEMCP_INTEROP` asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Not set: nothing is installed and nothing is run.
    Nothing,
    /// `direct`: the clients, servers and suite against each other, without the gateway.
    Direct,
    /// `1`: everything.
    All,
}

/// Reads `ONEMCP_INTEROP` and says what is left out.
pub fn asked(what: &str) -> Asked {
    match std::env::var("ONEMCP_INTEROP").as_deref() {
        Ok("1") => Asked::All,
        Ok("direct") => {
            say(&format!(
                "{what}: LEFT OUT: everything through the gateway (ONEMCP_INTEROP=direct)"
            ));
            Asked::Direct
        }
        _ => {
            say(&format!(
                "{what}: LEFT OUT: set ONEMCP_INTEROP=1 to run it (installs into .interop)"
            ));
            Asked::Nothing
        }
    }
}

/// One line for whoever watches; the test harness does not swallow it.
pub fn say(line: &str) {
    // A closed stderr is nobody's failure.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// A path below the project root.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The folder that `tests/interop/setup` filled.
pub struct Installed(PathBuf);

impl Installed {
    /// Runs the installer; it ends at once where everything is there.
    pub fn new() -> Self {
        let mut setup = Command::new("python3");
        setup.arg(project("tests/interop/setup"));
        let out = run(setup, "", INSTALL_LIMIT);
        let folder = out.lines().last().expect("the installer ends with the folder");
        Self(PathBuf::from(folder))
    }

    /// The Python with the SDK and the PyPI servers.
    pub fn python(&self) -> String {
        self.path("py/bin/python")
    }

    /// Node 22.
    pub fn node(&self) -> String {
        self.path("bin/node")
    }

    /// A file below the folder.
    pub fn path(&self, below: &str) -> String {
        self.0.join(below).to_string_lossy().into_owned()
    }

    /// A command that a PyPI server package installed.
    pub fn py_server(&self, name: &str) -> String {
        self.path(&format!("py/bin/{name}"))
    }

    /// The script of an npm server package; to be run by `node`.
    pub fn js_server(&self, name: &str) -> String {
        self.path(&format!("js/node_modules/.bin/{name}"))
    }

    /// Starts the conformance fixture; answers it and its endpoint.
    pub fn fixture(&self) -> (Running, String) {
        self.serving("fixture.py")
    }

    /// Starts the fixture that has tasks.
    pub fn tasks_fixture(&self) -> (Running, String) {
        self.serving("tasks.py")
    }

    fn serving(&self, script: &str) -> (Running, String) {
        let mut command = Command::new(self.python());
        let script = project(&format!("tests/conformance/fixture/{script}"));
        command.arg(script).args(["--http", "--watch-stdin"]);
        Running::listening(command, "the fixture")
    }
}

/// A folder of its own that goes away at the end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// An empty folder below the system's temporary one.
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0); // two tests may use one name
        let unique = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("onemcp-{name}-{unique}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the temporary folder takes a folder");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The gateway. `ONEMCP_BINARY` names another than the one cargo built, such as the packaged one.
pub fn binary() -> String {
    std::env::var("ONEMCP_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_1mcp").to_owned())
}

/// Starts the gateway with these `mcpServers`; answers it and `http://ADDR/mcp`.
pub fn gateway(scratch: &Scratch, servers: &Value) -> (Running, String) {
    let config = scratch.0.join("mcp.json");
    let file = serde_json::json!({
        "mcpServers": servers,
        "gateway": { "auth": { "mode": "dangerously-disabled" } },
    });
    fs::write(&config, file.to_string()).expect("the configuration can be written");
    let mut command = Command::new(binary());
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(&config)
        .env("ONEMCP_STATE_DIR", scratch.0.join("state"));
    Running::listening(command, "the gateway")
}

/// A process that listens; ended when dropped.
pub struct Running {
    child: Child,
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Running {
    /// Starts it and waits for a line with `listening on URL`, on either output.
    fn listening(mut command: Command, what: &str) -> (Self, String) {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| fail(&format!("{what} does not start: {e}")));
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let (sender, urls) = sync_channel(1);
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|o| Box::new(o) as _),
            child.stderr.take().map(|o| Box::new(o) as _),
        ];
        for output in outputs.into_iter().flatten() {
            let (lines, sender) = (Arc::clone(&lines), sender.clone());
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if let Some(url) = listening_url(&line) {
                        let _ = sender.try_send(url); // only the first is waited for
                    }
                    keep(&lines, line);
                }
            });
        }
        drop(sender);
        let running = Self { child, lines };
        match urls.recv_timeout(START_LIMIT) {
            Ok(url) => (running, url),
            Err(_) => fail(&format!(
                "{what} ended, or did not say within {START_LIMIT:?} where it listens:\n{}",
                running.said()
            )),
        }
    }

    /// The last lines it wrote.
    pub fn said(&self) -> String {
        let lines = self.lines.lock().expect("no reader panics while it holds the lines");
        Vec::from(lines.clone()).join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let Some(group) = pid(&self.child) else {
            return;
        };
        let _ = kill_process_group(group, Signal::TERM);
        let (sender, done) = sync_channel(1);
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = self.child.wait();
                let _ = sender.send(());
            });
            if done.recv_timeout(STOP_LIMIT).is_err() {
                let _ = kill_process_group(group, Signal::KILL);
            }
        });
    }
}

fn keep(lines: &Mutex<VecDeque<String>>, line: String) {
    let mut lines = lines.lock().expect("no reader panics while it holds the lines");
    if lines.len() == KEPT_LINES {
        lines.pop_front();
    }
    lines.push_back(line);
}

fn listening_url(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listening on http://")?;
    let end = rest.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(rest.len());
    Some(format!("http://{}", &rest[..end]))
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Runs a command to its end; answers its stdout. A failure or a timeout ends the test.
pub fn run(command: Command, input: &str, limit: Duration) -> String {
    let name = format!("{command:?}");
    let (ok, stdout, stderr) = run_any(command, input, limit);
    if !ok {
        fail(&format!("{name} failed:\n{stdout}\n{stderr}"));
    }
    stdout
}

/// The same, but a non-zero exit is an answer too: (success, stdout, stderr).
pub fn run_any(mut command: Command, input: &str, limit: Duration) -> (bool, String, String) {
    let name = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|e| fail(&format!("{name} does not start: {e}")));
    let group = pid(&child);
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_owned();
    // A command that does not read its input closes it; its exit status says the rest.
    thread::spawn(move || stdin.write_all(input.as_bytes()));
    let (sender, done): (_, Receiver<_>) = sync_channel(1);
    thread::spawn(move || sender.send(child.wait_with_output()));
    match done.recv_timeout(limit) {
        Ok(Ok(out)) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (out.status.success(), text(&out.stdout), text(&out.stderr))
        }
        Ok(Err(e)) => fail(&format!("{name}: {e}")),
        Err(_) => {
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            fail(&format!("{name} did not end within {limit:?}"))
        }
    }
}

/// Ends the test with a message as it stands, not escaped.
#[allow(clippy::panic, reason = "a failing test panics")]
pub fn fail(message: &str) -> ! {
    panic!("{message}")
}
