//! The laws of the source text. Each is a function from the sources to its violations, with a
//! sample that breaks it and one that comes near and does not.

use crate::lexer::{Kind, Token};
use crate::measure;
use crate::paths::{self, Named};
use crate::source::{Source, Sources, Violation};

/// One law.
pub(crate) struct Law {
    pub(crate) name: &'static str,
    pub(crate) check: fn(&Sources) -> Vec<Violation>,
    /// Each of these must be caught: (path, text).
    pub(crate) breaches: &'static [(&'static str, &'static str)],
    /// None of these may be.
    pub(crate) lawful: &'static [(&'static str, &'static str)],
}

/// A module names only what stands before it.
pub(crate) const ROWS: [&str; 17] = [
    "base",
    "wire",
    "mcp",
    "oauth",
    "config",
    "control",
    "catalog",
    "bridge",
    // the purity line
    "observe",
    "task",
    "sys",
    "net",
    "upstream",
    "relay",
    "downstream",
    "gateway",
    "cli",
];
/// The rows before the purity line.
pub(crate) const PURE: usize = 8;

const MAX_COMPLEXITY: usize = 9;
const MAX_FUNCTION_LINES: usize = 79;
const MAX_FILE_LINES: usize = 599;

pub(crate) const LAWS: &[Law] = &[
    Law {
        name: "order",
        check: order,
        breaches: &[
            ("src/wire/mod.rs", "use crate::mcp::Revision;"),
            ("src/wire/json.rs", "fn f() { super::super::relay::go() }"),
            ("src/base/mod.rs", "use super::{base::X, wire};"),
            ("src/relay/mod.rs", "use crate::*;"),
            ("src/relay/mod.rs", "use crate as root;"),
            ("src/helpers/mod.rs", "fn f() {}"),
            ("src/relay/mod.rs", "use crate::Reexported;"),
        ],
        lawful: &[
            (
                "src/mcp/mod.rs",
                "use crate::wire::X; use super::base; // crate::cli\nuse self::y::Z;",
            ),
            (
                "src/mcp/mod.rs",
                "pub(crate) fn f() {} #[cfg(test)] mod tests { use crate::cli::X; }",
            ),
            ("src/lib.rs", "pub use crate::cli::X;"),
            ("src/main.rs", "fn main() { onemcp::cli::run() }"),
        ],
    },
    Law {
        name: "purity line",
        check: purity,
        breaches: &[
            ("src/wire/mod.rs", "async fn f() {}"),
            ("src/wire/mod.rs", "fn f() { x.await }"),
            ("src/mcp/mod.rs", "use tokio::sync::watch;"),
            ("src/mcp/mod.rs", "fn f(b: hyper::body::Bytes) {}"),
            ("src/control/breaker.rs", "fn f() { std::time::Instant::now() }"),
            ("src/control/breaker.rs", "fn f(a: Instant) { a.elapsed() }"),
            ("src/oauth/mod.rs", "use std::time::SystemTime; fn f() { SystemTime::now() }"),
            ("src/wire/crypto.rs", "fn f() { ring::rand::SystemRandom::new() }"),
            ("src/base/random.rs", "fn f() { open(\"/dev/urandom\") }"),
            ("src/config/mod.rs", "fn f() { std::fs::read(x) }"),
            ("src/config/mod.rs", "use std::{env};"),
            ("src/config/mod.rs", "use std::net::TcpStream;"),
        ],
        lawful: &[
            (
                "src/control/breaker.rs",
                "use std::time::Instant; fn f(now: Instant, elapsed: Duration) {} // tokio",
            ),
            ("src/config/mod.rs", "use std::net::IpAddr; #[cfg(test)] mod t { use std::fs; }"),
            ("src/net/mod.rs", "async fn f() { Instant::now(); }"),
        ],
    },
    Law {
        name: "control takes plain parameters",
        check: control,
        breaches: &[("src/control/backoff.rs", "use crate::config::Limits;")],
        lawful: &[("src/catalog/mod.rs", "use crate::config::Naming;")],
    },
    Law {
        name: "observe sees no payload",
        check: observe,
        breaches: &[
            ("src/observe/log.rs", "use crate::wire::jsonrpc::id::RequestId;"),
            ("src/observe/mod.rs", "fn f(m: &Message) {}"),
            ("src/observe/mod.rs", "fn f(m: &Envelope<'_>) {}"),
        ],
        lawful: &[("src/observe/mod.rs", "use crate::base::Label;")],
    },
    Law {
        name: "transports hold no policy",
        check: transports,
        breaches: &[
            ("src/downstream/http/modern.rs", "use crate::catalog::Route;"),
            ("src/downstream/http/streamable/post.rs", "fn f(c: &Catalog) {}"),
            ("src/upstream/stdio.rs", "use crate::{oauth::Server};"),
            ("src/upstream/http/mod.rs", "fn f() { crate::oauth::scope::parse(x) }"),
        ],
        lawful: &[
            ("src/downstream/http/modern.rs", "use crate::oauth::Permit; use crate::relay::Relay;"),
            ("src/downstream/http/guard.rs", "use crate::oauth::Server;"),
        ],
    },
    Law {
        name: "only net::client connects",
        check: connects,
        breaches: &[
            ("src/upstream/http.rs", "fn f() { tokio::net::TcpStream::connect(a) }"),
            ("src/net/listen.rs", "use hyper::client::conn::http1;"),
            ("src/relay/mod.rs", "use hyper_util::client::legacy::Client;"),
            ("src/upstream/sse.rs", "fn f() { tokio::net::lookup_host(a) }"),
            ("src/cli/mod.rs", "fn f() { std::os::unix::net::UnixStream::connect(a) }"),
            ("src/cli/mod.rs", "use rustix::net::connect;"),
        ],
        lawful: &[
            (
                "src/net/client.rs",
                "fn f() { TcpStream::connect(a); hyper::client::conn::http1::handshake(b) }",
            ),
            ("src/cli/call.rs", "use crate::net::client::Client;"),
            ("src/net/listen.rs", "fn f() { TcpListener::bind(a) }"),
        ],
    },
    Law {
        name: "only sys builds a Command",
        check: commands,
        breaches: &[
            ("src/upstream/stdio.rs", "use std::process::Command;"),
            ("src/cli/mod.rs", "use std::process; fn f() { process::Command::new(x) }"),
            ("src/gateway/mod.rs", "use std::os::unix::process::CommandExt;"),
        ],
        lawful: &[
            ("src/sys/spawn.rs", "use std::process::Command;"),
            ("src/cli/args.rs", "enum Command { Serve } fn f() { Command::Serve }"),
        ],
    },
    Law {
        name: "only sys writes files",
        check: writes,
        breaches: &[
            ("src/gateway/mod.rs", "fn f() { std::fs::write(a, b) }"),
            ("src/oauth/store.rs", "use std::fs::File; fn f() { File::create(a) }"),
            ("src/cli/mod.rs", "use std::fs; fn f() { fs::OpenOptions::new() }"),
        ],
        lawful: &[
            ("src/sys/file.rs", "fn f() { std::fs::rename(a, b) }"),
            ("src/cli/check.rs", "fn f() { std::fs::read(a) }"),
        ],
    },
    Law {
        name: "only task spawns",
        check: spawns,
        breaches: &[
            ("src/relay/mod.rs", "fn f() { tokio::spawn(x) }"),
            ("src/relay/mod.rs", "use tokio::task; fn f() { task::spawn_blocking(x) }"),
            ("src/cli/mod.rs", "use tokio::task::JoinSet;"),
            ("src/net/mod.rs", "fn f() { tokio::runtime::Handle::current().spawn(x) }"),
            ("src/task/mod.rs", "fn f() { std::thread::spawn(x) }"),
            ("src/gateway/mod.rs", "use std::thread; fn f() { thread::Builder::new() }"),
        ],
        lawful: &[
            ("src/task/scope.rs", "fn f() { tokio::spawn(x); tokio::task::spawn_blocking(y) }"),
            ("src/sys/spawn.rs", "fn f() { std::thread::Builder::new() }"),
            (
                "src/relay/mod.rs",
                "use crate::task::Scope; async fn f() { tokio::task::yield_now().await }",
            ),
        ],
    },
    Law {
        name: "ring in one module",
        check: ring,
        breaches: &[
            ("src/oauth/token.rs", "use ring::hmac;"),
            ("src/wire/jwt.rs", "fn f() { ring::digest::digest(a, b) }"),
        ],
        lawful: &[
            ("src/wire/crypto.rs", "use ring::hmac;"),
            ("src/relay/hub.rs", "fn f(ring: &Queue) { ring.push(1) }"),
        ],
    },
    Law {
        name: "no globals",
        check: globals,
        breaches: &[
            ("src/relay/mod.rs", "static mut COUNT: u64 = 0;"),
            ("src/relay/mod.rs", "use std::sync::OnceLock;"),
            ("src/relay/mod.rs", "static X: std::sync::LazyLock<u8> = f();"),
            ("src/base/mod.rs", "thread_local! { static X: u8 = 1; }"),
            ("src/base/mod.rs", "pub static COUNT: AtomicU64 = AtomicU64::new(0);"),
            ("src/base/mod.rs", "static POOL: Mutex<Vec<u8>> = Mutex::new(Vec::new());"),
        ],
        lawful: &[(
            "src/mcp/method.rs",
            "pub static METHODS: [(&'static str, u8); 1] = [(\"static mut\", 1)]; struct S { m: Mutex<u8> }",
        )],
    },
    Law {
        name: "no unsafe",
        check: no_unsafe,
        breaches: &[
            ("src/sys/mod.rs", "fn f() { unsafe { g() } }"),
            ("src/sys/mod.rs", "#[cfg(test)] mod t { unsafe fn f() {} }"),
            ("Cargo.toml", "[lints.rust]\nunsafe_code = \"deny\""),
        ],
        lawful: &[
            ("src/sys/mod.rs", "#![forbid(unsafe_code)] // unsafe\nconst A: &str = \"unsafe\";"),
            ("Cargo.toml", "[lints.rust]\nunsafe_code = \"forbid\""),
        ],
    },
    Law {
        name: "no RwLock",
        check: rw_lock,
        breaches: &[
            ("src/relay/world.rs", "use std::sync::RwLock;"),
            ("src/relay/world.rs", "fn f(x: &tokio::sync::RwLock<u8>) {}"),
        ],
        lawful: &[("src/relay/world.rs", "use tokio::sync::watch;")],
    },
    Law {
        name: "functions are short and plain",
        check: functions,
        breaches: &[
            (
                "src/base/mod.rs",
                "fn f() { if a {} if b {} if c {} if d {} if e {} if f {} if g {} if h {} if i {} }",
            ),
            ("src/base/mod.rs", LONG_FUNCTION),
        ],
        lawful: &[(
            "src/base/mod.rs",
            "fn f() { match a { A => 1, B => 2, C => 3, D => 4, E => 5, F => 6, G => 7, H => 8, I => 9, J => 0 } }",
        )],
    },
    Law {
        name: "a file is one room",
        check: file_length,
        breaches: &[("src/base/mod.rs", LONG_FILE)],
        lawful: &[("src/base/mod.rs", LONG_TESTS)],
    },
];

const LONG_FUNCTION: &str = concat!("fn f() {\n", lines!(lines!("a();\n")), "}\n");
const LONG_FILE: &str = lines!(lines!("use x;\n"));
/// As long, but all of it tests.
const LONG_TESTS: &str = concat!("#[cfg(test)]\nmod tests {\n", lines!(lines!("use x;\n")), "}\n");

fn each(sources: &Sources, check: impl Fn(&Source) -> Vec<Violation>) -> Vec<Violation> {
    sources.files.iter().flat_map(check).collect()
}

/// A violation for each path of the file that `bad` picks.
fn paths_that(source: &Source, what: &str, bad: impl Fn(&Named) -> bool) -> Vec<Violation> {
    let named = paths::named(source);
    let found = named.iter().filter(|path| bad(path));
    found.map(|p| source.violation(p.line, format!("`{}`: {what}", p.text()))).collect()
}

fn order(sources: &Sources) -> Vec<Violation> {
    each(sources, |source| {
        let Some(row) = source.row() else { return Vec::new() };
        let Some(own) = ROWS.iter().position(|r| *r == row) else {
            let what =
                format!("`{row}` is no row of the house: move it into one, or add it to ROWS");
            return vec![source.violation(1, what)];
        };
        let may = |name: &String| ROWS[..=own].contains(&name.as_str());
        let what =
            format!("`{row}` may name only {}; move what is needed down", ROWS[..=own].join(", "));
        paths_that(source, &what, |p| {
            p.segments[0] == "crate" && !p.segments.get(1).is_some_and(may)
        })
    })
}

fn purity(sources: &Sources) -> Vec<Violation> {
    const WORDS: [&str; 13] = [
        "async",
        "await",
        "tokio",
        "hyper",
        "hyper_util",
        "rustix",
        "SystemRandom",
        "RandomState",
        "OsRng",
        "getrandom",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
    ];
    const PATHS: [&[&str]; 6] = [
        &["Instant", "now"],
        &["SystemTime", "now"],
        &["std", "fs"],
        &["std", "env"],
        &["std", "process"],
        &["std", "thread"],
    ];
    const WHAT: &str = "this row is pure: take time, randomness and bytes as arguments, \
                        and leave waiting to a row after the purity line";
    each(sources, |source| {
        if !source.row().is_some_and(|row| ROWS[..PURE].contains(&row)) {
            return Vec::new();
        }
        let mut found = source.forbid(&WORDS, WHAT);
        found.extend(paths_that(source, WHAT, |p| PATHS.iter().any(|bad| p.has(bad))));
        let calls = source.tokens.windows(3).filter(|w| w[0].is(".") && w[2].is("("));
        let clocks = calls.filter(|w| w[1].is("elapsed"));
        found.extend(clocks.map(|w| source.violation(w[1].line, format!("`elapsed()`: {WHAT}"))));
        let texts = source.tokens.iter().filter(|t| t.kind == Kind::Text);
        let devices = texts.filter(|t| t.text.contains("/dev/"));
        found.extend(devices.map(|t| source.violation(t.line, WHAT)));
        found
    })
}

fn control(sources: &Sources) -> Vec<Violation> {
    each(sources, |source| {
        if !source.within("control") {
            return Vec::new();
        }
        let what =
            "control takes plain parameters: let the caller read them out of the configuration";
        paths_that(source, what, |p| p.begins(&["crate", "config"]))
    })
}

fn observe(sources: &Sources) -> Vec<Violation> {
    each(sources, |source| {
        if !source.within("observe") {
            return Vec::new();
        }
        let what = "logs and counters never see payload: pass a label or a number";
        let mut found = source.forbid(&["Message", "Envelope"], what);
        found.extend(paths_that(source, what, |p| p.begins(&["crate", "wire", "jsonrpc"])));
        found
    })
}

/// A transport passes a `Permit` on, so it may name that; it may not look into one.
fn transports(sources: &Sources) -> Vec<Violation> {
    const TRANSPORTS: [&str; 6] = [
        "downstream/http/streamable",
        "downstream/http/modern",
        "downstream/http/sse",
        "upstream/stdio",
        "upstream/http",
        "upstream/sse",
    ];
    each(sources, |source| {
        if !TRANSPORTS.iter().any(|module| source.within(module)) {
            return Vec::new();
        }
        let what = "a transport moves bytes: leave names to relay and permission to guard";
        let permit = |p: &Named| p.segments.last().is_some_and(|s| s == "Permit");
        let policy = |p: &Named| {
            p.begins(&["crate", "catalog"]) || p.begins(&["crate", "oauth"]) && !permit(p)
        };
        let mut found = source.forbid(&["Catalog"], what);
        found.extend(paths_that(source, what, policy));
        found
    })
}

fn connects(sources: &Sources) -> Vec<Violation> {
    const CONNECTING: [&[&str]; 7] = [
        &["TcpStream", "connect"],
        &["TcpStream", "connect_timeout"],
        &["UnixStream", "connect"],
        &["rustix", "net", "connect"],
        &["hyper", "client"],
        &["hyper_util", "client"],
        &["client", "conn"],
    ];
    const RESOLVING: [&str; 3] = ["lookup_host", "ToSocketAddrs", "TcpSocket"];
    each(sources, |source| {
        let mut found = Vec::new();
        if !source.within("net/client") {
            let what = "only net::client opens connections to peers: ask it for one";
            let ours = |p: &Named| p.begins(&["crate"]);
            found.extend(paths_that(source, what, |p| {
                !ours(p) && CONNECTING.iter().any(|c| p.has(c))
            }));
        }
        if !source.within("net") {
            found.extend(
                source.forbid(
                    &RESOLVING,
                    "only net resolves names and makes sockets: ask net::client",
                ),
            );
        }
        if !source.within("sys") {
            found
                .extend(source.forbid(&["UnixDatagram"], "only sys speaks to the service manager"));
        }
        found
    })
}

fn commands(sources: &Sources) -> Vec<Violation> {
    const BUILDING: [&[&str]; 4] = [
        &["process", "Command"],
        &["process", "*"],
        &["Command", "new"],
        &["process", "CommandExt"],
    ];
    each(sources, |source| {
        if source.within("sys") {
            return Vec::new();
        }
        let what = "only sys builds a Command: add what you need there";
        paths_that(source, what, |p| BUILDING.iter().any(|b| p.has(b)))
    })
}

fn writes(sources: &Sources) -> Vec<Violation> {
    const WRITING: [&[&str]; 10] = [
        &["fs", "write"],
        &["fs", "rename"],
        &["fs", "copy"],
        &["fs", "create_dir"],
        &["fs", "create_dir_all"],
        &["fs", "remove_file"],
        &["fs", "remove_dir_all"],
        &["fs", "set_permissions"],
        &["File", "create"],
        &["OpenOptions", "new"],
    ];
    each(sources, |source| {
        if source.within("sys") {
            return Vec::new();
        }
        let what = "only sys writes files, atomically and with the right mode: call sys::file from gateway";
        paths_that(source, what, |p| WRITING.iter().any(|w| p.has(w)))
    })
}

fn spawns(sources: &Sources) -> Vec<Violation> {
    const HARMLESS: [&str; 5] = ["yield_now", "JoinError", "Id", "coop", "unconstrained"];
    const OTHER: [&[&str]; 4] = [
        &["tokio", "spawn"],
        &["Handle", "current"],
        &["Handle", "try_current"],
        &["runtime", "Handle"],
    ];
    const THREADS: [&[&str]; 3] =
        [&["thread", "spawn"], &["thread", "Builder"], &["thread", "scope"]];
    each(sources, |source| {
        let mut found = Vec::new();
        if !source.within("task") {
            let what =
                "only task spawns, so that every task has an owner and is joined: use its scope";
            let harmless =
                |p: &Named| p.segments.get(2).is_some_and(|s| HARMLESS.contains(&s.as_str()));
            let spawning = |p: &Named| {
                OTHER.iter().any(|b| p.has(b)) || p.begins(&["tokio", "task"]) && !harmless(p)
            };
            found.extend(paths_that(source, what, spawning));
        }
        if !source.within("sys") {
            let what = "only sys starts threads";
            found.extend(paths_that(source, what, |p| THREADS.iter().any(|b| p.has(b))));
        }
        found
    })
}

fn ring(sources: &Sources) -> Vec<Violation> {
    each(sources, |source| {
        if source.within("wire/crypto") {
            return Vec::new();
        }
        paths_that(source, "ring is named in wire::crypto alone: add a function there", |p| {
            p.begins(&["ring"])
        })
    })
}

fn globals(sources: &Sources) -> Vec<Violation> {
    const WORDS: [&str; 7] = [
        "OnceLock",
        "LazyLock",
        "OnceCell",
        "LazyCell",
        "thread_local",
        "lazy_static",
        "once_cell",
    ];
    const WHAT: &str = "no globals: make it in cli or gateway and pass it down";
    each(sources, |source| {
        let mut found = source.forbid(&WORDS, WHAT);
        let statics = (0..source.tokens.len()).filter(|at| changing_static(&source.tokens[*at..]));
        found.extend(
            statics.map(|at| source.violation(source.tokens[at].line, format!("`static`: {WHAT}"))),
        );
        found
    })
}

/// A `static` that is `mut` or whose type can change behind a shared reference.
fn changing_static(tokens: &[Token]) -> bool {
    if !tokens[0].is("static") {
        return false;
    }
    let mut declaration = tokens.iter().skip(1).take_while(|t| !t.is("=") && !t.is(";"));
    declaration.any(|t| {
        let word = t.text.as_str();
        word == "mut"
            || word.starts_with("Atomic")
            || ["Mutex", "RwLock", "Cell", "RefCell"].contains(&word)
    })
}

fn no_unsafe(sources: &Sources) -> Vec<Violation> {
    let mut found = each(sources, |source| {
        let words = source.all.iter().filter(|t| t.is("unsafe"));
        let what = "no `unsafe`, also in tests: use a safe crate (rustix)";
        words.map(|t| source.violation(t.line, what)).collect()
    });
    let manifest = sources.text("Cargo.toml");
    if !manifest.is_empty() && !manifest.lines().any(|l| l.trim() == "unsafe_code = \"forbid\"") {
        let what = "[lints.rust] must say `unsafe_code = \"forbid\"`".to_owned();
        found.push(Violation { at: "Cargo.toml:1".to_owned(), what });
    }
    found
}

fn rw_lock(sources: &Sources) -> Vec<Violation> {
    let what =
        "publish an immutable snapshot through a watch, or hold a Mutex for a few instructions";
    each(sources, |source| source.forbid(&["RwLock"], what))
}

fn functions(sources: &Sources) -> Vec<Violation> {
    each(sources, |source| {
        let mut found = Vec::new();
        for f in measure::functions(&source.tokens) {
            if f.complexity > MAX_COMPLEXITY {
                let what = format!(
                    "`{}` has complexity {}: at most {MAX_COMPLEXITY}",
                    f.name, f.complexity
                );
                found.push(source.violation(f.line, what + "; take a decision out of it"));
            }
            if f.lines > MAX_FUNCTION_LINES {
                let what =
                    format!("`{}` is {} lines long: under 80, aim under 60", f.name, f.lines);
                found.push(source.violation(f.line, what));
            }
        }
        found
    })
}

fn file_length(sources: &Sources) -> Vec<Violation> {
    each(sources, |source| {
        if source.lines <= MAX_FILE_LINES {
            return Vec::new();
        }
        let what = format!(
            "{} lines without tests: under 600, aim at 400; is it two rooms?",
            source.lines
        );
        vec![source.violation(1, what)]
    })
}

/// Did the lexer keep its place? A law that reads the tokens of a misread file would see nothing.
pub(crate) fn balanced(source: &Source) -> bool {
    let opens = source.all.iter().filter(|t| t.kind == Kind::Punct && t.text == "{").count();
    let closes = source.all.iter().filter(|t| t.kind == Kind::Punct && t.text == "}").count();
    opens == closes
}
