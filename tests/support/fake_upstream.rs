//! `fake-upstream DIR [--era legacy|modern|both] [--revision DATE]`: the scripted MCP server of
//! `script.rs` on stdin and stdout.
//!
//! DIR holds `script.json`. Written there: `received` (every line read, byte for byte), `starts`
//! (one process id a line), `ended` (one word a line: why we ended), `NAME.reached` when we wait at
//! the gate NAME; the gate opens when the file `NAME` appears.
#![allow(clippy::panic, reason = "a broken script should be loud")]
#![allow(clippy::exit, reason = "scripts exit in the middle of things")]
#![allow(clippy::disallowed_methods, reason = "a test peer waits and exits as it likes")]

#[allow(dead_code, reason = "the HTTP side uses the rest")]
mod script;

use script::{Act, Peer};
use serde_json::Value;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().expect("the first argument is a folder"));
    let mut members = Vec::new();
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        members.push((name.trim_start_matches('-').to_owned(), value));
    }
    append(&dir, "starts", format!("{}\n", std::process::id()).as_bytes());
    let text =
        std::fs::read_to_string(dir.join("script.json")).expect("DIR/script.json is readable");
    let script: Value = serde_json::from_str(&text).expect("the script is JSON");
    let peer = Arc::new(Mutex::new(Peer::new(script::with(script, &members))));
    let acts = peer.lock().expect("no panic while it is held").start();
    perform(&dir, acts);
    listen(&dir, &peer);
    if peer.lock().expect("no panic while it is held").flag("ignoreEof") {
        forever();
    }
    append(&dir, "ended", b"eof\n");
}

/// Reads lines until the end.
fn listen(dir: &Path, peer: &Mutex<Peer>) {
    let mut input = std::io::stdin().lock();
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        append(dir, "received", &line);
        let text = String::from_utf8_lossy(&line);
        let acts = peer.lock().expect("no panic while it is held").hear(text.trim_end());
        let deaf = acts.contains(&Act::Deaf);
        if acts.iter().any(|act| matches!(act, Act::Await(_) | Act::Sleep(_))) {
            let dir = dir.to_owned();
            std::thread::spawn(move || perform(&dir, acts));
        } else {
            perform(dir, acts);
        }
        if deaf {
            forever();
        }
        line.clear();
    }
}

fn forever() -> ! {
    loop {
        std::thread::park();
    }
}

fn append(dir: &Path, name: &str, bytes: &[u8]) {
    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).append(true).open(dir.join(name));
    file.and_then(|mut file| file.write_all(bytes)).expect("DIR is writable");
}

fn perform(dir: &Path, acts: Vec<Act>) {
    for act in acts {
        match act {
            Act::Say(_, text) => write(&[text.as_bytes(), b"\n"].concat()),
            Act::Raw(text) => write(text.as_bytes()),
            Act::Big(bytes) => big(bytes),
            Act::Await(gate) => wait(dir, &gate),
            Act::Sleep(ms) => std::thread::sleep(Duration::from_millis(ms)),
            Act::Stderr(text) => complain(text.as_bytes()),
            Act::Flood(bytes) => complain(&[b'f'; 79].repeat(1 + bytes / 80)),
            Act::Exit(code) => {
                append(dir, "ended", b"exit\n");
                std::process::exit(code);
            }
            Act::CloseOutput => {
                let nowhere = std::fs::File::create("/dev/null").expect("there is one");
                rustix::stdio::dup2_stdout(nowhere).expect("stdout can be replaced");
                append(dir, "received", b"closed\n");
                forever();
            }
            Act::Deaf | Act::Follow(_) => {}
        }
    }
}

/// One write for one line, so that threads cannot mix theirs.
fn write(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

fn big(bytes: usize) {
    let mut out = std::io::stdout().lock();
    let piece = [b'x'; 64 * 1024];
    let mut left = bytes;
    while left > 0 && out.write_all(&piece[..left.min(piece.len())]).is_ok() {
        left -= left.min(piece.len());
    }
    drop(out.write_all(b"\n").and_then(|()| out.flush()));
}

/// In lines of 80 bytes.
fn complain(bytes: &[u8]) {
    let mut out = std::io::stderr().lock();
    for line in bytes.chunks(79) {
        drop(out.write_all(&[line, b"\n"].concat()));
    }
}

/// There is no event for a file in std; the test's wait is bounded, so this one need not be.
fn wait(dir: &Path, gate: &str) {
    append(dir, &format!("{gate}.reached"), b"");
    while !dir.join(gate).exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
}
