//! Child processes, for real: each story starts some through the built binary as keeper and looks
//! into `/proc` for what is left. Stories that need a process of their own run one of the
//! `helper_*` functions below in a copy of this test program.
#![cfg(target_os = "linux")]

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use onemcp::config::Sandbox;
use onemcp::sys::command::CommandError;
use onemcp::sys::sandbox::Policy;
use onemcp::sys::spawn::{Child, ChildSpec, Exit, SpawnError, Spawner};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

/// No wait is longer; reaching it is a failure.
const BOUND: Duration = Duration::from_secs(20);
/// A grace that a deaf server uses up.
const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(15);
const TERM: i32 = 15;
const KILL: i32 = 9;

/// A tree of everything that likes to survive: own session, double fork, deaf, forking on.
const BRANCHES: &str = "
    setsid sleep 1000 &
    (sleep 1000 &) &
    (trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM HUP INT; sleep 1000; sleep 1000' &)
    setsid sh -c 'setsid sh -c \"setsid sleep 1000 & exit\" & exit' &
    echo ready; ";
/// The sleepers in [`BRANCHES`]; with all of them there, it is grown.
const SLEEPERS: usize = 4;

/// One story's processes: they carry its mark in the environment, their keepers as label.
struct Story {
    mark: String,
    spawner: Spawner,
    /// In a sandbox, with temporary files below this folder.
    tmp: Option<PathBuf>,
}

impl Story {
    fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let helper = PathBuf::from(env!("CARGO_BIN_EXE_1mcp"));
        let spawner = Spawner::start(helper).expect("a spawner");
        Self { mark: format!("{name}-{pid}-{next}-mark"), spawner, tmp: None }
    }

    fn spec(&self, command: &str, args: &[&str]) -> ChildSpec {
        let mut env =
            vec![("PATH".into(), "/usr/bin:/bin".into()), ("MARK".into(), (&*self.mark).into())];
        env.extend(self.tmp.iter().map(|tmp| ("TMPDIR".into(), tmp.into())));
        let rules = Sandbox::default();
        let policy = Policy { rules, named: vec![], protected: vec![], home: None, at_most: None };
        ChildSpec {
            label: self.mark.clone(),
            command: command.into(),
            args: args.iter().map(OsString::from).collect(),
            env,
            cwd: None,
            sandbox: self.tmp.as_ref().map(|_| Box::new(policy)),
        }
    }

    async fn spawn(&self, command: &str, args: &[&str]) -> Child {
        self.spawner.spawn(self.spec(command, args)).await.expect("it starts")
    }

    async fn sh(&self, script: &str) -> Child {
        self.spawn("sh", &["-c", script]).await
    }

    /// A server with all [`BRANCHES`], which then does `last`.
    async fn tree(&self, last: &str) -> Child {
        let mut child = self.sh(&format!("{BRANCHES} {last}")).await;
        assert_eq!(line(&mut child).await, "ready");
        until("the tree has grown", || sleepers(&self.mark) == SLEEPERS).await;
        child
    }

    async fn fault(&self, spec: ChildSpec) -> SpawnError {
        let error = self.spawner.spawn(spec).await.expect_err("it cannot start");
        self.nothing_left().await;
        error
    }

    async fn nothing_left(&self) {
        until("nothing is left", || marked(&self.mark).is_empty()).await;
    }

    fn nothing_left_now(&self) {
        assert_eq!(marked(&self.mark), Vec::<i32>::new(), "the tree is gone at return");
    }
}

fn run(story: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(BOUND * 2, story).await.expect("the story ends in time");
    });
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + BOUND;
    while !holds() {
        assert!(Instant::now() < end, "in {BOUND:?} it never held that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn processes() -> impl Iterator<Item = (i32, PathBuf)> {
    std::fs::read_dir("/proc").expect("a /proc").flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, entry.path()))
    })
}

fn has(file: impl AsRef<Path>, text: &str) -> bool {
    std::fs::read(file)
        .is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

/// Living processes of a story: servers and descendants by environment, keepers by label.
fn marked(mark: &str) -> Vec<i32> {
    processes()
        .filter(|(_, dir)| has(dir.join("environ"), mark) || has(dir.join("cmdline"), mark))
        .map(|(pid, _)| pid)
        .collect()
}

fn sleepers(mark: &str) -> usize {
    let sleeps = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"sleep\x001000\0")
    };
    marked(mark).iter().filter(|pid| sleeps(pid)).count()
}

/// The fields of `/proc/PID/stat` after the name: state, parent, group, session, terminal, …
fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

fn parent(pid: i32) -> Option<i32> {
    stat(pid)?.get(1)?.parse().ok()
}

fn keeper_of(child: &Child) -> i32 {
    parent(child.process.pid()).expect("the server lives")
}

fn tell(signal: &str, pid: i32) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(status.expect("kill runs").success());
}

/// Children, zombies included.
fn children(of: i32) -> usize {
    processes().filter(|(pid, _)| parent(*pid) == Some(of)).count()
}

async fn line(child: &mut Child) -> String {
    let mut line = String::new();
    tokio::io::BufReader::new(&mut child.stdout).read_line(&mut line).await.expect("a line");
    line.trim_end().to_owned()
}

async fn text(mut from: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).await.expect("text");
    text
}

#[test]
fn cat_echoes_and_ends_at_end_of_input() {
    run(async {
        let story = Story::new("cat");
        let mut child = story.spawn("cat", &[]).await;
        child.stdin.write_all(b"hello\n").await.expect("it reads");
        assert_eq!(line(&mut child).await, "hello");
        drop(child.stdin);
        assert_eq!(child.process.stop(LONG).await, Exit::Code(0));
        assert_eq!(text(child.stdout).await, "");
        story.nothing_left_now();
    });
}

#[test]
fn the_exit_status_is_reported_and_can_be_asked_again() {
    run(async {
        let story = Story::new("status");
        let mut child = story.sh("exit 7").await;
        assert_eq!(child.process.wait().await, Exit::Code(7));
        assert_eq!(child.process.wait().await, Exit::Code(7));
        assert_eq!(child.process.gone().await, Exit::Code(7));
        let mut child = story.sh("kill -USR1 $$").await;
        assert_eq!(child.process.wait().await, Exit::Signal(10));
        story.nothing_left().await;
    });
}

#[test]
fn what_cannot_start_says_why_in_one_line() {
    run(async {
        let story = Story::new("faults");
        let error = story.fault(story.spec("no-such-command", &[])).await;
        let missing = "command not found: no-such-command is in no folder of PATH";
        assert_eq!(error.to_string(), missing);
        let error = story.fault(story.spec("/etc/passwd", &[])).await;
        let file = "/etc/passwd".to_owned();
        assert_eq!(error, SpawnError::Command(CommandError::NotExecutable { file }));
        let spec = ChildSpec { cwd: Some("/nonexistent".into()), ..story.spec("cat", &[]) };
        assert!(story.fault(spec).await.to_string().starts_with("the working directory /nonex"));

        let script = std::env::temp_dir().join(&story.mark);
        std::fs::write(&script, "#!/nonexistent/interpreter\n").expect("a script");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, executable).expect("its mode");
        let error = story.fault(story.spec(script.to_str().expect("a name"), &[])).await;
        assert!(matches!(error, SpawnError::NoInterpreter { .. }), "{error}");
        std::fs::remove_file(&script).expect("the script goes");

        let absent = Spawner::start("/nonexistent/1mcp".into()).expect("a spawner");
        let error = absent.spawn(story.spec("cat", &[])).await.expect_err("no helper");
        assert!(matches!(error, SpawnError::Keeper { .. }), "{error}");
        let wrong = Spawner::start("/bin/true".into()).expect("a spawner");
        let error = wrong.spawn(story.spec("cat", &[])).await.expect_err("not a helper");
        assert_eq!(error, SpawnError::KeeperLost);
    });
}

#[test]
fn the_server_gets_its_environment_directory_and_arguments_and_nothing_else() {
    run(async {
        let story = Story::new("surroundings");
        let script = "printf '%s|' \"$0\" \"$@\"; pwd; env | sort; exec ls -l /proc/self/fd";
        let mut spec = story.spec("sh", &["-c", script, "zero", "a b", "$HOME;*", ""]);
        spec.cwd = Some("/usr".into());
        spec.env.push(("TOKEN".into(), "hunter2".into()));
        let child = story.spawner.spawn(spec).await.expect("it starts");
        let said = text(child.stdout).await;
        let mut lines = said.lines();
        assert_eq!(lines.next(), Some("zero|a b|$HOME;*||/usr"));
        let (fds, env): (Vec<_>, Vec<_>) = lines.partition(|line| line.contains(" -> "));
        // A shell sets PWD and its kin itself.
        let own = ["OLDPWD", "PWD", "SHLVL", "_"];
        let names = env.iter().filter_map(|line| Some(line.split_once('=')?.0));
        let names: Vec<_> = names.filter(|name| !own.contains(name)).collect();
        assert_eq!(names, ["MARK", "PATH", "TOKEN"]);
        // 0, 1, 2, and the directory that ls itself reads.
        assert_eq!(fds.len(), 4, "{said}");
    });
}

#[test]
fn secrets_stay_out_of_the_process_list_and_out_of_the_keepers_environment() {
    run(async {
        let story = Story::new("secret");
        let mut spec = story.spec("cat", &[]);
        spec.env.push(("TOKEN".into(), "hunter2".into()));
        let child = story.spawner.spawn(spec).await.expect("it starts");
        let keeper = keeper_of(&child);
        assert!(has(format!("/proc/{keeper}/cmdline"), "__keeper"));
        assert_eq!(std::fs::read(format!("/proc/{keeper}/environ")).expect("readable"), b"");
        for pid in [child.process.pid(), keeper] {
            assert!(!has(format!("/proc/{pid}/cmdline"), "hunter2"));
        }
    });
}

#[test]
fn a_deaf_server_gets_term_and_then_kill() {
    run(async {
        let story = Story::new("deaf");
        let child = story.sh("exec sleep 1000").await;
        drop(child.stdin);
        assert_eq!(child.process.stop(SHORT).await, Exit::Signal(TERM));

        let mut child = story.sh("trap '' TERM; echo ready; while :; do sleep 1000; done").await;
        assert_eq!(line(&mut child).await, "ready");
        drop(child.stdin);
        assert_eq!(child.process.stop(SHORT).await, Exit::Signal(KILL));
        story.nothing_left_now();
    });
}

#[test]
fn every_descendant_is_gone_after_stop() {
    run(async {
        let story = Story::new("stop");
        let child = story.tree("exec cat").await;
        drop(child.stdin);
        assert_eq!(child.process.stop(LONG).await, Exit::Code(0));
        story.nothing_left_now();
    });
}

#[test]
fn every_descendant_is_gone_after_the_server_exits() {
    run(async {
        let story = Story::new("exits");
        let mut child = story.tree("read x; exit 3").await;
        drop(child.stdin);
        assert_eq!(child.process.gone().await, Exit::Code(3));
        story.nothing_left_now();
    });
}

#[test]
fn every_descendant_is_gone_after_kill_and_after_drop() {
    run(async {
        let story = Story::new("killed");
        let mut child = story.tree("exec cat").await;
        child.process.kill();
        assert_eq!(child.process.gone().await, Exit::Signal(KILL));
        story.nothing_left_now();

        drop(story.tree("exec cat").await);
        story.nothing_left().await;
    });
}

#[test]
fn a_dropped_start_leaves_nothing() {
    run(async {
        let story = Story::new("dropped");
        for millis in 0..20 {
            let start = story.spawner.spawn(story.spec("sleep", &["1000"]));
            let _ = tokio::time::timeout(Duration::from_millis(millis), start).await;
        }
        story.nothing_left().await;
    });
}

#[test]
fn orphans_are_reaped_while_the_server_lives() {
    run(async {
        let story = Story::new("orphans");
        let script = "for i in 1 2 3 4 5; do (true & ); done; echo done; exec cat";
        let mut child = story.sh(script).await;
        assert_eq!(line(&mut child).await, "done");
        let keeper = keeper_of(&child);
        until("the keeper has one child and no zombie", || children(keeper) == 1).await;
    });
}

#[test]
fn a_keeper_ignores_what_ends_the_gateway() {
    run(async {
        let story = Story::new("keeper");
        let mut child = story.spawn("cat", &[]).await;
        let keeper = keeper_of(&child);
        for signal in ["-TERM", "-INT", "-HUP"] {
            tell(signal, keeper);
        }
        child.stdin.write_all(b"still here\n").await.expect("it reads");
        assert_eq!(line(&mut child).await, "still here");
    });
}

#[test]
fn a_killed_keeper_leaves_nothing_and_takes_nobody_else() {
    passes(helper("helper_killed_keepers", ""));
}

#[test]
#[ignore = "run by a_killed_keeper_leaves_nothing_… in a process of its own"]
fn helper_killed_keepers() {
    run(async {
        let mut story = Story::new("lost");
        let name = story.mark.clone();
        let mut stranger = Command::new("sleep").arg("1000").spawn().expect("sleep");
        let tmp = std::env::temp_dir().join(&name);
        let stale = tmp.join("1mcp-1-0");
        std::fs::create_dir_all(stale.join("deep")).expect("a folder");
        let folders = || std::fs::read_dir(&tmp).expect("a folder").count();
        story.tmp = Some(tmp.clone());
        let mut other = story.tree("exec cat").await;
        until("what a gateway before this one left is gone", || !stale.exists()).await;
        assert_eq!(folders(), 1, "and what is in use is not");
        for round in 1..=3 {
            story.mark = format!("{round}-{name}-lost");
            let mut child = story.tree("exec cat").await;
            assert_eq!(folders(), 2);
            tell("-KILL", keeper_of(&child));
            assert_eq!(child.process.gone().await, Exit::Lost);
            story.nothing_left_now();
            until("its temporary folder is gone", || folders() == 1).await;
        }
        story.mark = name;
        other.stdin.write_all(b"still here\n").await.expect("it reads");
        assert_eq!(line(&mut other).await, "still here");
        assert_eq!(sleepers(&story.mark), SLEEPERS, "another tree is whole");
        assert!(stranger.try_wait().expect("a status").is_none(), "who is no server is spared");
        let me = i32::try_from(std::process::id()).expect("a pid");
        assert_eq!(children(me), 2, "no zombie is left");
        stranger.kill().and_then(|()| stranger.wait()).expect("it ends");
        drop(other);
        until("no temporary folder is left", || folders() == 0).await;
        std::fs::remove_dir(&tmp).expect("it goes");
    });
}

#[test]
fn the_server_is_out_of_reach_of_the_terminal() {
    run(async {
        let story = Story::new("session");
        let child = story.spawn("cat", &[]).await;
        let server = child.process.pid();
        let fields = stat(server).expect("the server lives");
        let [_, keeper, group, session, terminal, ..] = fields.as_slice() else {
            unreachable!("a stat has more fields: {fields:?}")
        };
        assert_eq!(*group, server.to_string(), "a group of its own");
        assert_eq!((session, &**terminal), (keeper, "0"), "the keeper's session, no terminal");
    });
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test's reader needs no owner")]
fn a_flood_on_stderr_holds_up_nothing_if_drained() {
    run(async {
        let story = Story::new("flood");
        let mut child = story.sh("head -c 8000000 /dev/zero >&2; echo after; cat").await;
        let (mut stderr, mut flood) = (child.stderr, tokio::io::sink());
        let drained = tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut flood).await });
        let mut after = [0; 6];
        child.stdout.read_exact(&mut after).await.expect("it goes on");
        assert_eq!(&after, b"after\n");
        drop(child.stdin);
        assert_eq!(child.process.wait().await, Exit::Code(0));
        // The end of stderr shows that neither keeper nor gateway holds the server's end.
        assert_eq!(drained.await.expect("no panic").expect("all read"), 8_000_000);
    });
}

#[test]
fn closing_stdout_while_living_on_is_seen() {
    run(async {
        let story = Story::new("closed");
        let child = story.sh("exec 1>&-; exec sleep 1000").await;
        assert_eq!(text(child.stdout).await, "");
        assert_eq!(marked(&story.mark).len(), 2, "server and keeper live");
        child.process.kill();
        story.nothing_left().await;
    });
}

/// Runs a `helper_*` function of this file in a process of its own.
fn helper(name: &str, mark: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "--ignored", "--nocapture", name]).env("STORY_MARK", mark);
    command
}

fn passes(mut helper: Command) {
    let done = helper.output().expect("it runs");
    let (said, why) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && said.contains("1 passed"), "{said}\n{why}");
}

#[test]
fn descriptors_that_the_gateway_inherited_stop_there() {
    let inner = helper("helper_inherited", "");
    let mut outer = Command::new("sh");
    outer.args(["-c", "exec 7</etc/passwd; exec \"$0\" \"$@\""]).arg(inner.get_program());
    outer.args(inner.get_args());
    passes(outer);
}

#[test]
#[ignore = "run by descriptors_that_the_gateway_inherited_stop_there in a process of its own"]
fn helper_inherited() {
    run(async {
        let story = Story::new("inherited");
        assert!(Path::new("/proc/self/fd/7").exists(), "run as a helper");
        let child = story.spawn("ls", &["/proc/self/fd"]).await;
        assert_eq!(text(child.stdout).await, "0\n1\n2\n3\n", "and the one that ls opens");
    });
}

#[test]
fn nothing_is_left_of_fifty_servers() {
    passes(helper("helper_fifty_servers", ""));
}

#[test]
#[ignore = "run by nothing_is_left_of_fifty_servers in a process of its own"]
fn helper_fifty_servers() {
    run(async {
        let story = Story::new("fifty");
        let open = || std::fs::read_dir("/proc/self/fd").expect("a /proc").count();
        let stop = async |child: Child| {
            drop(child.stdin);
            assert_eq!(child.process.stop(LONG).await, Exit::Code(0));
        };
        stop(story.spawn("cat", &[]).await).await;
        let before = open();
        let mut running = Vec::new();
        for _ in 0..50 {
            running.push(story.spawn("cat", &[]).await);
        }
        assert!(open() >= before + 50 * 4, "the count sees what is open");
        for child in running {
            stop(child).await;
        }
        assert!(story.spawner.spawn(story.spec("no-such-command", &[])).await.is_err());
        story.nothing_left_now();
        until("no descriptor is left", || open() == before).await;
        let me = i32::try_from(std::process::id()).expect("a pid");
        until("no zombie is left", || children(me) == 0).await;
    });
}

#[test]
fn a_gateway_killed_outright_leaves_nothing() {
    run(async {
        let mark = format!("gateway-{}-mark", std::process::id());
        let mut gateway =
            helper("helper_gateway", &mark).stdout(Stdio::piped()).spawn().expect("it runs");
        let said = BufReader::new(gateway.stdout.take().expect("piped"));
        let up = said.lines().any(|line| line.is_ok_and(|line| line.ends_with("gateway up")));
        assert!(up, "the gateway says that it is up");
        assert_eq!(sleepers(&mark), 3 * SLEEPERS, "the trees have grown");
        gateway.kill().expect("it can be killed");
        gateway.wait().expect("it is gone");
        until("nothing is left", || marked(&mark).is_empty()).await;
    });
}

#[test]
#[ignore = "run by a_gateway_killed_outright_leaves_nothing in a process of its own"]
fn helper_gateway() {
    run(async {
        let mut story = Story::new("gateway");
        let mark = std::env::var("STORY_MARK").expect("run as a helper");
        let mut running = Vec::new();
        for tree in 1..=3 {
            story.mark = format!("{mark}-{tree}");
            running.push(story.tree("exec cat").await);
        }
        writeln!(std::io::stdout(), "gateway up").expect("it is heard");
        std::future::pending::<()>().await;
    });
}
