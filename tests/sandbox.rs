//! Sandboxed children, for real. Each story first shows that an act succeeds without the sandbox
//! and then that it fails in it, so that nothing passes because the act is impossible anyway.
//!
//! As root the stories run once more as an unprivileged user: what root may do proves little.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr, reason = "what is left out is said")]

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use onemcp::config::{Sandbox, SandboxProfile};
use onemcp::control::confine::{Kernel, Missing, Network, Sandboxed};
use onemcp::sys::sandbox::{Policy, named_paths};
use onemcp::sys::spawn::{ChildSpec, Exit, SpawnError, Spawner};
use tokio::io::AsyncReadExt as _;

const BOUND: Duration = Duration::from_secs(60);
/// Nobody's number, for the stories that root hands on.
const SOMEBODY: &str = "23456";

/// A folder with a home, a working folder in it, and a secret beside that.
struct Story {
    folder: PathBuf,
    spawner: Spawner,
}

impl Story {
    fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(format!("onemcp-sandbox-{name}-{pid}-{next}"));
        fs::create_dir_all(folder.join("home/work")).expect("a folder");
        fs::create_dir_all(folder.join("home/.ssh")).expect("a folder");
        fs::create_dir_all(folder.join("other")).expect("a folder");
        for file in ["home/secret", "home/.ssh/id", "home/work/own", "other/secret"] {
            fs::write(folder.join(file), "s3cret\n").expect("a file");
        }
        let helper = std::env::var_os("SANDBOX_KEEPER").map(PathBuf::from);
        let helper = helper.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_1mcp")));
        Self { folder, spawner: Spawner::start(helper).expect("a spawner") }
    }

    fn path(&self, below: &str) -> String {
        self.folder.join(below).display().to_string()
    }

    fn policy(&self, rules: Sandbox) -> Policy {
        let protected = vec![self.folder.join("home/mcp.json")];
        let home = Some(self.folder.join("home"));
        Policy { rules, named: vec![], protected, home, at_most: None }
    }

    fn spec(&self, command: &str, args: &[&str], sandbox: Option<Policy>) -> ChildSpec {
        ChildSpec {
            label: "sandbox-story".to_owned(),
            command: command.into(),
            args: args.iter().map(OsString::from).collect(),
            env: vec![
                ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
                ("HOME".into(), self.folder.join("home").into()),
            ],
            cwd: Some(self.folder.join("home/work")),
            sandbox: sandbox.map(Box::new),
        }
    }

    async fn run(&self, spec: ChildSpec) -> (Exit, String, Option<Sandboxed>) {
        let mut child = self.spawner.spawn(spec).await.expect("it starts");
        drop(child.stdin);
        let (mut out, mut err) = (String::new(), String::new());
        let (said, wrong) = tokio::join!(
            child.stdout.read_to_string(&mut out),
            child.stderr.read_to_string(&mut err)
        );
        said.and(wrong).expect("it is text");
        let exit = child.process.gone().await;
        (exit, out + &err, child.sandboxed)
    }

    /// Runs a program without a sandbox, where it must succeed, and in it, where it must not.
    async fn refused(&self, rules: Sandbox, command: &str, args: &[&str]) -> String {
        let (exit, said, sandboxed) = self.run(self.spec(command, args, None)).await;
        assert_eq!((exit, sandboxed), (Exit::Code(0), None), "free, it succeeds: {args:?} {said}");
        self.denied(rules, command, args).await
    }

    async fn denied(&self, rules: Sandbox, command: &str, args: &[&str]) -> String {
        let (exit, said, sandboxed) =
            self.run(self.spec(command, args, Some(self.policy(rules)))).await;
        assert!(sandboxed.is_some());
        assert_ne!(exit, Exit::Code(0), "held, it fails: {args:?} {said}");
        said
    }

    async fn allowed(&self, rules: Sandbox, command: &str, args: &[&str]) -> (String, Sandboxed) {
        let (exit, said, sandboxed) =
            self.run(self.spec(command, args, Some(self.policy(rules)))).await;
        assert_eq!(exit, Exit::Code(0), "held, it still succeeds: {args:?} {said}");
        (said, sandboxed.expect("it is held"))
    }

    async fn fault(&self, policy: Policy) -> String {
        let error = self.spawner.spawn(self.spec("true", &[], Some(policy))).await;
        let error = error.expect_err("it is not started");
        assert!(matches!(error, SpawnError::Sandbox { .. }), "{error}");
        error.to_string()
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn strict() -> Sandbox {
    Sandbox { profile: SandboxProfile::Strict, ..Sandbox::default() }
}

fn run(story: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(BOUND, story).await.expect("the story ends in time");
    });
}

/// What this kernel can do, as a sandbox finds it.
async fn found(story: &Story) -> Sandboxed {
    story.allowed(Sandbox::default(), "true", &[]).await.1
}

/// Whether the story can be told here; says so if not.
async fn has(story: &Story, landlock: u8) -> bool {
    let found = found(story).await.landlock;
    if found < landlock {
        eprintln!("LEFT OUT: this kernel has landlock {found}, the story needs {landlock}");
    }
    found >= landlock
}

#[test]
fn as_somebody_without_privileges_it_is_the_same() {
    if !rustix::process::geteuid().is_root() {
        return; // then every other story here shows it
    }
    let folder = std::env::temp_dir().join(format!("onemcp-sandbox-{}", std::process::id()));
    let (tests, keeper) = (folder.join("tests"), folder.join("1mcp"));
    fs::create_dir_all(&folder).expect("a folder");
    // The build folder may be out of reach of others.
    fs::copy(std::env::current_exe().expect("this program"), &tests).expect("a copy");
    fs::copy(env!("CARGO_BIN_EXE_1mcp"), &keeper).expect("a copy");
    for file in [&folder, &tests, &keeper] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("its mode");
    }
    let mut somebody = Command::new("setpriv");
    somebody.args(["--reuid", SOMEBODY, "--regid", SOMEBODY, "--clear-groups", "--inh-caps=-all"]);
    somebody.arg(&tests).env("SANDBOX_KEEPER", &keeper).current_dir("/");
    let done = somebody.output().expect("setpriv is there");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    fs::remove_dir_all(&folder).expect("the folder goes");
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn secrets_outside_its_paths_are_not_read() {
    run(async {
        let story = Story::new("read");
        if !has(&story, 1).await {
            return;
        }
        fs::write(story.path("home/mcp.json"), "s3cret").expect("a file");
        for file in ["home/secret", "home/.ssh/id", "other/secret", "home/mcp.json"] {
            let said = story.refused(Sandbox::default(), "cat", &[&story.path(file)]).await;
            assert!(said.contains("Permission denied") && !said.contains("s3cret"), "{said}");
        }
        story.refused(Sandbox::default(), "ls", &[&story.path("home")]).await;
        // Nor through another process: its memory and environment are out of reach.
        let mine = format!("/proc/{}/environ", std::process::id());
        story.refused(Sandbox::default(), "cat", &[&mine]).await;
        // What it was given, it reads and writes.
        story.allowed(Sandbox::default(), "sh", &["-c", "cat own && echo x > new && rm new"]).await;
        let rules = Sandbox { read: vec![story.folder.join("other")], ..Sandbox::default() };
        let (said, _) = story.allowed(rules, "cat", &[&story.path("other/secret")]).await;
        assert_eq!(said, "s3cret\n");
    });
}

#[test]
fn nothing_is_written_outside_its_paths() {
    run(async {
        let story = Story::new("write");
        if !has(&story, 3).await {
            return;
        }
        let secret = story.path("other/secret");
        let acts = [
            format!("echo x >> {secret}"),
            format!("touch {}", story.path("other/new")),
            format!("mkdir {}", story.path("home/new")),
            format!("ln -s /etc {}", story.path("home/link")),
            format!("truncate -s 0 {secret}"),
            format!("rm {secret}"),
        ];
        for act in &acts {
            let act = ["-c", act];
            let (exit, said, _) = story.run(story.spec("sh", &act, None)).await;
            assert_eq!(exit, Exit::Code(0), "free, it succeeds: {said}");
            // As before, so that no act fails because it was done already.
            for done in ["other/new", "home/link"] {
                let _ = fs::remove_file(story.path(done));
            }
            let _ = fs::remove_dir(story.path("home/new"));
            fs::write(&secret, "s3cret\n").expect("a file");
            let said = story.denied(Sandbox::default(), "sh", &act).await;
            assert!(said.contains("Permission denied"), "{said}");
        }
        let rules = || Sandbox { read: vec![story.folder.join("other")], ..Sandbox::default() };
        story.denied(rules(), "sh", &["-c", &acts[0]]).await;
        let rules = Sandbox { write: vec![story.folder.join("other")], ..Sandbox::default() };
        story.allowed(rules, "sh", &["-c", &acts[0]]).await;
    });
}

#[test]
fn a_temporary_folder_is_its_own_and_goes_with_it() {
    run(async {
        let story = Story::new("scratch");
        let script = "echo x > $TMPDIR/file && cat $TMPDIR/file >&2 && echo $TMPDIR";
        let (said, _) = story.allowed(Sandbox::default(), "sh", &["-c", script]).await;
        let folder = Path::new(said.lines().next().expect("a line"));
        assert!(folder.starts_with("/tmp/") && !folder.exists(), "{said}");
        if has(&story, 1).await {
            story.refused(Sandbox::default(), "ls", &["/tmp"]).await;
        }
    });
}

/// Connects with bash alone, which is everywhere.
fn connect(port: u16) -> String {
    format!("exec 3<>/dev/tcp/127.0.0.1/{port}")
}

#[test]
fn only_named_ports_are_connected_to() {
    run(async {
        let story = Story::new("connect");
        if !has(&story, 4).await {
            return;
        }
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let ports = [listen(), listen()];
        let [here, there] = ports.each_ref().map(|l| l.local_addr().expect("an address").port());
        let rules = || Sandbox { connect: Some(vec![here]), ..Sandbox::default() };
        story.refused(rules(), "bash", &["-c", &connect(there)]).await;
        let (_, sandboxed) = story.allowed(rules(), "bash", &["-c", &connect(here)]).await;
        assert_eq!(sandboxed.network, Network::Ports);
        let (_, sandboxed) =
            story.allowed(Sandbox::default(), "bash", &["-c", &connect(there)]).await;
        assert_eq!(sandboxed.network, Network::Open);
        let nowhere = Sandbox { connect: Some(vec![]), bind: Some(vec![]), ..Sandbox::default() };
        let said = story.refused(nowhere, "bash", &["-c", &connect(here)]).await;
        assert!(said.contains("not permitted"), "no socket at all: {said}");
    });
}

/// A Python line; the stories that need system calls say what they leave out without Python.
fn python(line: &str) -> [String; 2] {
    ["-c".to_owned(), line.to_owned()]
}

fn has_python() -> bool {
    let there = Path::new("/usr/bin/python3").exists();
    if !there {
        eprintln!("LEFT OUT: there is no /usr/bin/python3");
    }
    there
}

const CALL: &str = "import ctypes, sys, os; libc = ctypes.CDLL(None, use_errno=True);";

#[test]
fn dangerous_system_calls_are_refused() {
    run(async {
        let story = Story::new("calls");
        let said = found(&story).await;
        if !said.seccomp || !has_python() {
            return;
        }
        let sibling = Command::new("sleep").arg("100").spawn().expect("sleep");
        let mut sibling = Sibling(sibling);
        let attach = format!(
            "{CALL} libc.ptrace.argtypes = [ctypes.c_long] * 4; \
             sys.exit(0 if libc.ptrace(16, {}, 0, 0) == 0 else 1)",
            sibling.0.id()
        );
        let acts = [
            attach,
            format!("{CALL} sys.exit(0 if libc.unshare(0x10000000) == 0 else ctypes.get_errno())"),
            // a socket of MPTCP speaks to TCP peers, past all rules about TCP
            "import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)".to_owned(),
        ];
        for act in &acts {
            let act = python(act);
            let [flag, act] = act.each_ref().map(String::as_str);
            let (exit, said, _) = story.run(story.spec("python3", &[flag, act], None)).await;
            if exit != Exit::Code(0) {
                eprintln!("LEFT OUT: not possible here even without a sandbox: {said}{exit:?}");
                continue;
            }
            story.denied(Sandbox::default(), "python3", &[flag, act]).await;
        }
        // Sending with the connection made on the way is a way around the rules about ports too.
        let port = TcpListener::bind("127.0.0.1:0").expect("a port");
        let fast = format!(
            "import socket; s = socket.socket(); s.sendto(b'x', 0x20000000, ('127.0.0.1', {}))",
            port.local_addr().expect("an address").port()
        );
        story.refused(Sandbox::default(), "python3", &["-c", &fast]).await;
        // Threads and processes are made as ever.
        let busy = "import threading, subprocess; t = threading.Thread(target=print); t.start(); \
                    t.join(); subprocess.run(['true'], check=True)";
        story.allowed(Sandbox::default(), "python3", &["-c", busy]).await;
        assert!(sibling.0.try_wait().expect("a status").is_none(), "the sibling lives");
    });
}

struct Sibling(std::process::Child);

impl Drop for Sibling {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_gateway_and_siblings_are_not_signalled() {
    run(async {
        let story = Story::new("signal");
        if !has(&story, 6).await {
            return;
        }
        let mut sibling = Sibling(Command::new("sleep").arg("100").spawn().expect("sleep"));
        let zero = format!("kill -0 {}", std::process::id());
        story.refused(Sandbox::default(), "sh", &["-c", &zero]).await;
        // Its keeper neither.
        story.refused(Sandbox::default(), "sh", &["-c", "kill -0 $PPID"]).await;
        story
            .denied(Sandbox::default(), "sh", &["-c", &format!("kill -9 {}", sibling.0.id())])
            .await;
        assert!(sibling.0.try_wait().expect("a status").is_none(), "the sibling lives");
        // Its own children are.
        let own = "sleep 100 & kill -9 $!";
        story.allowed(Sandbox::default(), "sh", &["-c", own]).await;
    });
}

#[test]
fn memory_files_and_processes_have_an_end() {
    run(async {
        let story = Story::new("limits");
        let rules = || Sandbox { memory_mb: 64, files: 32, file_size_mb: 1, ..Sandbox::default() };
        let act = "head -c 2000000 /dev/zero > big";
        story.refused(rules(), "sh", &["-c", act]).await;
        assert!(fs::metadata(story.path("home/work/big")).expect("a file").len() <= 2_000_000);
        if has_python() {
            for act in ["x = bytearray(200 << 20)", "x = [open('/dev/null') for _ in range(100)]"] {
                story.refused(rules(), "python3", &["-c", act]).await;
            }
        }
        // Nobody else was harmed.
        story.allowed(Sandbox::default(), "true", &[]).await;
    });
}

#[test]
fn many_processes_have_an_end_together() {
    run(async {
        let story = Story::new("tree");
        let ends = async |rules: Sandbox, command: &str, args: &[&str]| {
            let (exit, ..) = story.run(story.spec(command, args, Some(story.policy(rules)))).await;
            exit
        };
        let rules = || Sandbox { processes: 20, ..Sandbox::default() };
        let act = "i=0; while [ $i -lt $0 ]; do setsid sleep $1 & i=$((i+1)); done; wait";
        assert_eq!(ends(rules(), "sh", &["-c", act, "60", "1000"]).await, Exit::Processes(20));
        assert_eq!(ends(rules(), "sh", &["-c", act, "10", "2"]).await, Exit::Code(0));
        if !rustix::process::geteuid().is_root() {
            // The system does not count those of root: nobody bounds what is forked in a second.
            let act = "bomb() { bomb | bomb & }; bomb 2> /dev/null; sleep 100";
            assert_eq!(ends(rules(), "sh", &["-c", act]).await, Exit::Processes(20));
        }
        if has_python() {
            // Each holds less than it may; what is a copy of the parent's counts once.
            let rules = || Sandbox { memory_mb: 200, ..Sandbox::default() };
            let act = "import os, sys, time\n\
                before, after, seconds = map(int, sys.argv[1:])\n\
                kept = bytearray(os.urandom(before << 20))\n\
                for _ in range(5):\n\
                \u{20}   if os.fork() == 0:\n\
                \u{20}       kept = [kept, os.urandom(after << 20)]\n\
                \u{20}       time.sleep(seconds)\n\
                \u{20}       os._exit(0)\n\
                for _ in range(5): os.wait()";
            let python = async |args: [&str; 3]| {
                ends(rules(), "python3", &[&["-c", act], &args[..]].concat()).await
            };
            assert_eq!(python(["1", "80", "1000"]).await, Exit::Memory(200));
            assert_eq!(python(["80", "1", "2"]).await, Exit::Code(0));
        }
        // Nobody else was harmed.
        story.allowed(Sandbox::default(), "true", &[]).await;
    });
}

#[test]
fn what_is_named_and_cannot_be_had_starts_nothing() {
    run(async {
        let story = Story::new("closed");
        let with = |landlock, rules| Policy {
            at_most: Some(Kernel { landlock, seccomp: true }),
            ..story.policy(rules)
        };
        let paths = || Sandbox { read: vec![story.folder.join("other")], ..Sandbox::default() };
        let said = story.fault(with(0, paths())).await;
        assert_eq!(
            said,
            "the sandbox cannot be made: this kernel cannot enforce files (since Linux 5.13)"
        );
        let ports = || Sandbox { connect: Some(vec![443]), ..Sandbox::default() };
        assert!(story.fault(with(3, ports())).await.contains("tcp ports (since Linux 6.7)"));
        assert!(story.fault(with(5, strict())).await.contains("signals"));
        let nowhere = Sandbox { write: vec![story.folder.join("none")], ..Sandbox::default() };
        if has(&story, 1).await {
            assert!(story.fault(story.policy(nowhere)).await.contains("there is no such file"));
            let home = Sandbox { read: vec![story.folder.join("home")], ..Sandbox::default() };
            assert!(story.fault(story.policy(home)).await.contains("a whole home folder"));
            fs::write(story.path("other/mcp.json"), "{}").expect("a file");
            let around = Sandbox { write: vec![story.folder.join("other")], ..Sandbox::default() };
            let policy = story.policy(around);
            let protected = vec![story.folder.join("other/mcp.json")];
            let said = story.fault(Policy { protected, ..policy }).await;
            assert!(said.contains("files of the gateway"), "{said}");
        }
    });
}

#[test]
fn an_older_kernel_enforces_what_it_can_and_the_rest_is_said() {
    run(async {
        let story = Story::new("older");
        let newest = found(&story).await.landlock;
        for landlock in 0..=newest {
            let at_most = Some(Kernel { landlock, seccomp: true });
            let policy = || Policy { at_most, ..story.policy(Sandbox::default()) };
            let secret = story.path("other/secret");
            let (exit, _, sandboxed) =
                story.run(story.spec("cat", &[&secret], Some(policy()))).await;
            assert_eq!(exit == Exit::Code(0), landlock == 0, "landlock {landlock}");
            let sandboxed = sandboxed.expect("it is held by something");
            assert_eq!(sandboxed.landlock, landlock);
            assert_eq!(sandboxed.missing.contains(&Missing::Files), landlock == 0);
            let empties = format!("truncate -s 0 {secret}");
            let zero = format!("kill -0 {}", std::process::id());
            let (exit, ..) = story.run(story.spec("sh", &["-c", &zero], Some(policy()))).await;
            assert_eq!(exit == Exit::Code(0), landlock < 6, "landlock {landlock}");
            // coreutils opens it for writing, which is refused from the first version on
            let (exit, ..) = story.run(story.spec("sh", &["-c", &empties], Some(policy()))).await;
            assert_eq!(exit == Exit::Code(0), landlock == 0, "landlock {landlock}");
            // What a server of npx or uvx does works on each of them.
            let script = "echo x > own && cat own && mv own moved && ls / > /dev/null; cat moved";
            let (exit, said, _) =
                story.run(story.spec("sh", &["-c", script], Some(policy()))).await;
            assert_eq!(exit, Exit::Code(0), "landlock {landlock}: {said}");
        }
    });
}

#[test]
fn the_strict_profile_has_no_network_and_no_caches() {
    run(async {
        let story = Story::new("strict");
        if !has(&story, 6).await {
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        story.refused(strict(), "bash", &["-c", &connect(port)]).await;
        let rules = Sandbox { connect: Some(vec![port]), ..strict() };
        story.allowed(rules, "bash", &["-c", &connect(port)]).await;
        if has_python() {
            for act in ["AF_UNIX, socket.SOCK_STREAM", "AF_INET, socket.SOCK_DGRAM"] {
                let act = format!("import socket; socket.socket(socket.{act})");
                story.refused(strict(), "python3", &["-c", &act]).await;
            }
        }
        let (_, sandboxed) = story.allowed(strict(), "sh", &["-c", "cat own"]).await;
        assert_eq!((sandboxed.network, sandboxed.missing), (Network::Closed, vec![]));
        // What an argument names is not given.
        let secret = story.path("other/secret");
        let named = named_paths([secret.as_str()].into_iter());
        let policy = Policy { named: named.clone(), ..story.policy(strict()) };
        let (exit, ..) = story.run(story.spec("cat", &[&secret], Some(policy))).await;
        assert_ne!(exit, Exit::Code(0));
        let policy = Policy { named, ..story.policy(Sandbox::default()) };
        let (exit, said, sandboxed) = story.run(story.spec("cat", &[&secret], Some(policy))).await;
        assert_eq!((exit, said.as_str()), (Exit::Code(0), "s3cret\n"));
        let remarks = sandboxed.expect("it is held").remarks;
        assert_eq!(remarks, [format!("{secret}: granted, because its entry names it")]);
    });
}

#[test]
fn an_argument_never_opens_the_home_folder_keys_or_our_own_files() {
    run(async {
        let story = Story::new("named");
        if !has(&story, 1).await {
            return;
        }
        fs::write(story.path("home/mcp.json"), "s3cret").expect("a file");
        for named in ["home", "", "home/.ssh", "home/.ssh/id", "home/mcp.json"] {
            let named = vec![story.path(named)];
            let policy = Policy { named: named.clone(), ..story.policy(Sandbox::default()) };
            for file in ["home/secret", "home/.ssh/id", "home/mcp.json"] {
                let spec = story.spec("cat", &[&story.path(file)], Some(policy.clone()));
                let (exit, _, sandboxed) = story.run(spec).await;
                assert_ne!(exit, Exit::Code(0), "{named:?} opens {file}");
                let remarks = sandboxed.expect("it is held").remarks;
                assert!(remarks[0].contains("not granted"), "{remarks:?}");
            }
        }
    });
}

#[test]
fn a_program_named_with_dots_opens_nothing_above_it() {
    run(async {
        let story = Story::new("dots");
        if !has(&story, 1).await {
            return;
        }
        fs::write(story.path("home/run.sh"), "cat \"$1\"").expect("a script");
        let script = story.path("other/../other/../home/run.sh");
        let policy = Policy { named: vec![script.clone()], ..story.policy(Sandbox::default()) };
        for (file, fits) in [("home/run.sh", true), ("home/secret", false), ("other/secret", false)]
        {
            let spec = story.spec("sh", &[&script, &story.path(file)], Some(policy.clone()));
            assert_eq!(story.run(spec).await.0 == Exit::Code(0), fits, "{file}");
        }
    });
}

#[test]
fn a_program_named_from_its_working_folder_is_read_beside_our_files() {
    run(async {
        let story = Story::new("relative");
        if !has(&story, 1).await {
            return;
        }
        for (file, text) in [("run.sh", "cat \"$1\""), ("part", "part"), ("mcp.json", "s3cret")] {
            fs::write(story.folder.join("other").join(file), text).expect("a file");
        }
        let protected = vec![story.path("other/mcp.json").into()];
        let policy = |rules| Policy { protected: protected.clone(), ..story.policy(rules) };
        let reads = async |rules, script: &str, file: &str| {
            let spec = story.spec("sh", &[script, file], Some(policy(rules)));
            story.run(ChildSpec { cwd: Some(story.folder.join("other")), ..spec }).await
        };
        for script in ["run.sh", "./run.sh", "../other/run.sh"] {
            let (exit, said, _) = reads(Sandbox::default(), script, "part").await;
            assert_eq!((exit, said.as_str()), (Exit::Code(0), "part"), "{script}");
            for file in ["mcp.json", "../home/secret"] {
                assert_ne!(
                    reads(Sandbox::default(), script, file).await.0,
                    Exit::Code(0),
                    "{file}"
                );
            }
        }
        let (exit, _, sandboxed) = reads(strict(), "run.sh", "part").await;
        let remarks = sandboxed.expect("it is held").remarks;
        assert_ne!(exit, Exit::Code(0));
        assert!(remarks[0].contains("run.sh: named by its entry, not granted"), "{remarks:?}");
        fs::write(story.path("home/work/run.sh"), "cat own").expect("a script");
        let spec = story.spec("sh", &["run.sh"], Some(story.policy(strict())));
        let (exit, _, sandboxed) = story.run(spec).await;
        assert_eq!(exit, Exit::Code(0), "its working folder is given");
        assert_eq!(sandboxed.expect("it is held").remarks, Vec::<String>::new());
    });
}

#[test]
fn a_program_reads_its_project_and_packages_but_none_of_our_files_there() {
    run(async {
        let story = Story::new("program");
        if !has(&story, 1).await {
            return;
        }
        for folder in ["app/build", "app/lib", "app/node_modules/x", "node_modules/y", "beside"] {
            fs::create_dir_all(story.folder.join("home/src").join(folder)).expect("a folder");
        }
        let files = ["app/package.json", "app/lib/part", "app/node_modules/x/part"];
        for file in files.iter().chain(&["node_modules/y/part", "app/mcp.json", "beside/secret"]) {
            fs::write(story.folder.join("home/src").join(file), "part").expect("a file");
        }
        let script = story.path("home/src/app/build/run.sh");
        fs::write(&script, "cat \"$1\"").expect("a script");
        let policy = Policy {
            named: vec![script.clone()],
            protected: vec![story.folder.join("home/src/app/mcp.json")],
            ..story.policy(Sandbox::default())
        };
        let reads = async |file: &str| {
            let file = story.path(&format!("home/src/{file}"));
            let spec = story.spec("sh", &[&script, &file], Some(policy.clone()));
            story.run(spec).await.0 == Exit::Code(0)
        };
        for file in files.iter().chain(&["node_modules/y/part"]) {
            assert!(reads(file).await, "{file}");
        }
        for file in ["app/mcp.json", "beside/secret", "../secret"] {
            assert!(!reads(file).await, "{file}");
        }
        let act = format!("echo x > {}", story.path("home/src/app/lib/part"));
        let (exit, ..) = story.run(story.spec("sh", &["-c", &act], Some(policy.clone()))).await;
        assert_ne!(exit, Exit::Code(0), "it is read, not written");
    });
}

#[test]
fn caches_are_given_to_their_launcher_alone() {
    run(async {
        let story = Story::new("launcher");
        if !has(&story, 1).await {
            return;
        }
        let launcher = story.path("home/work/npx");
        fs::write(&launcher, "#!/bin/sh\necho x > $HOME/.npm/file").expect("a script");
        fs::copy(&launcher, story.path("home/work/other")).expect("a copy");
        for name in ["npx", "other"] {
            let file = story.path(&format!("home/work/{name}"));
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("its mode");
        }
        story.allowed(Sandbox::default(), &launcher, &[]).await;
        story.denied(strict(), &launcher, &[]).await;
        story.refused(Sandbox::default(), &story.path("home/work/other"), &[]).await;
    });
}

#[test]
fn another_user_is_become_by_root_or_not_at_all() {
    run(async {
        let story = Story::new("user");
        let rules = Sandbox { user: Some((34_567, 34_567)), ..Sandbox::default() };
        if !rustix::process::geteuid().is_root() {
            let said = story.fault(story.policy(rules)).await;
            assert!(said.contains("only root can start a server as another user"), "{said}");
            return;
        }
        let (said, sandboxed) =
            story.allowed(rules, "sh", &["-c", "id -u; id -G; echo > $TMPDIR/x"]).await;
        assert_eq!(said, "34567\n34567\n");
        assert_eq!(sandboxed.user, Some(34_567));
    });
}
