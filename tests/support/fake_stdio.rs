//! The fake upstream as a program for the proxy to start.

use super::{BOUND, Scratch, process};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A scripted stdio server and what it received. Its processes belong to whoever starts them.
pub(crate) struct FakeStdio {
    scratch: Scratch,
    ignore_term: bool,
}

impl FakeStdio {
    /// The script is explained in `script.rs`; `"ignoreTerm": true` is understood here.
    pub(crate) fn new(script: Value) -> FakeStdio {
        let scratch = Scratch::new();
        scratch.write("script.json", &script.to_string());
        FakeStdio { scratch, ignore_term: script["ignoreTerm"] == true }
    }

    /// The command line.
    pub(crate) fn command(&self) -> Vec<String> {
        let program = program().to_str().expect("a UTF-8 path").to_owned();
        let folder = self.scratch.path().to_str().expect("a UTF-8 path").to_owned();
        if !self.ignore_term {
            return vec![program, folder];
        }
        // An ignored signal stays ignored through exec.
        let shell = ["sh", "-c", "trap '' TERM; exec \"$0\" \"$@\""].map(str::to_owned);
        [&shell[..], &[program, folder]].concat()
    }

    /// Its folder, in which it writes what it receives.
    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The entry of the configuration file.
    pub(crate) fn entry(&self) -> Value {
        let command = self.command();
        json!({ "command": command[0], "args": command[1..] })
    }

    /// Changes the script for processes started from now on.
    pub(crate) fn rewrite(&self, script: &Value) {
        self.scratch.write("script.json", &script.to_string());
    }

    /// Opens a gate.
    pub(crate) fn release(&self, gate: &str) {
        self.scratch.write(gate, "");
    }

    /// Closes a gate again.
    pub(crate) fn shut(&self, gate: &str) {
        for name in [gate.to_owned(), format!("{gate}.reached")] {
            drop(std::fs::remove_file(self.scratch.path().join(name)));
        }
    }

    /// Waits until a process waits at the gate.
    pub(crate) async fn reached(&self, gate: &str) {
        let file = self.scratch.path().join(format!("{gate}.reached"));
        self.until(&format!("the gate {gate}"), || file.exists().then_some(())).await;
    }

    /// Every complete line received so far, by all processes, byte for byte (without the newline).
    pub(crate) fn received(&self) -> Vec<String> {
        let text = self.file("received");
        let end = text.rfind('\n').unwrap_or(0);
        text[..end].split('\n').filter(|l| !l.is_empty()).map(str::to_owned).collect()
    }

    /// The received messages of one method.
    pub(crate) fn received_of(&self, method: &str) -> Vec<Value> {
        let messages = self.received().into_iter().filter_map(|l| serde_json::from_str(&l).ok());
        messages.filter(|m: &Value| m["method"] == method).collect()
    }

    /// The first received line with this in it, past or future.
    pub(crate) async fn wait_for(&self, part: &str) -> String {
        let find = || self.received().into_iter().find(|line| line.contains(part));
        self.until(&format!("a received line with {part:?}"), find).await
    }

    /// The process ids of all starts so far.
    pub(crate) fn starts(&self) -> Vec<u32> {
        self.file("starts").lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Waits for the start number `count` (from 1).
    pub(crate) async fn started(&self, count: usize) -> u32 {
        let find = || self.starts().get(count - 1).copied();
        self.until(&format!("start number {count}"), find).await
    }

    /// Waits until all started processes are gone.
    pub(crate) async fn gone(&self) {
        for pid in self.starts() {
            let outlives = tokio::task::spawn_blocking(move || process::outlives(pid)).await;
            assert!(!outlives.expect("waiting does not panic"), "the upstream {pid} still runs");
        }
    }

    /// Why processes ended of their own accord: `eof`, `exit`.
    pub(crate) fn ended(&self) -> Vec<String> {
        self.file("ended").lines().map(str::to_owned).collect()
    }

    fn file(&self, name: &str) -> String {
        let bytes = std::fs::read(self.scratch.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Files give no event, so this one wait looks again and again.
    async fn until<T>(&self, what: &str, find: impl Fn() -> Option<T>) -> T {
        let end = Instant::now() + BOUND;
        loop {
            if let Some(found) = find() {
                return found;
            }
            let so_far = || self.received().join("\n");
            assert!(Instant::now() < end, "waited {BOUND:?} in vain for {what} in:\n{}", so_far());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// The built program. `cargo test` builds examples, `cargo test --test NAME` does not, so it is
/// built here if it is missing or older than its sources.
fn program() -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let test = std::env::current_exe().expect("a test knows where it is");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    let program = profile.join("examples").join("fake-upstream");
    if !fresh(&program) {
        let release = profile.ends_with("release").then_some("--release");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--example", "fake-upstream"])
            .args(release)
            .env("CARGO_TARGET_DIR", profile.parent().expect("target/PROFILE"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(built.success() && program.exists(), "run: cargo build --example fake-upstream");
    }
    program
}

fn fresh(program: &Path) -> bool {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let support = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support");
    let sources = ["fake_upstream.rs", "script.rs"].map(|name| modified(&support.join(name)));
    modified(program).is_some_and(|built| sources.iter().flatten().all(|source| *source <= built))
}
