//! The processes of a run: the upstream, the proxies, and what the kernel knows of them.

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// A folder of this run, removed at its end.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new folder.
    pub fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("1mcp-bench-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // a leftover in the temporary folder harms nobody
    }
}

/// A child process, ended when it is dropped.
pub struct Process {
    child: Child,
    log: Option<JoinHandle<String>>,
}

impl Process {
    fn new(child: Child) -> Self {
        Self { child, log: None }
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end and waits until it has; what it has logged, if anybody reads that.
    pub fn end(&mut self) -> String {
        signal(self.child.id(), Signal::TERM);
        let _ = self.child.wait(); // it may have been waited for before
        self.log.take().and_then(|log| log.join().ok()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Sends a signal; whoever it was meant for may be gone.
pub fn signal(id: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// This program in another mode, which prints its address.
pub fn upstream(mode: &str) -> io::Result<(Process, String)> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(mode)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let output = child.stdout.take();
    let process = Process::new(child);
    BufReader::new(output.ok_or(io::ErrorKind::BrokenPipe)?).read_line(&mut line)?;
    Ok((process, line.trim().to_owned()))
}

/// `1mcp serve` with these variables besides: the process and its address.
pub fn onemcp(
    binary: &Path,
    environment: &[(&str, &str)],
    config: &Path,
) -> io::Result<(Process, String)> {
    let mut child = Command::new(binary)
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(config)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let log = child.stderr.take();
    let mut process = Process::new(child);
    let (address, log) = listening(log.ok_or(io::ErrorKind::BrokenPipe)?)?;
    process.log = Some(log);
    Ok((process, address))
}

/// Reads the log until it tells the address, and then on to its end, so that nobody blocks.
fn listening(log: ChildStderr) -> io::Result<(String, JoinHandle<String>)> {
    let mut log = BufReader::new(log);
    let mut said = String::new();
    loop {
        let mut line = String::new();
        if log.read_line(&mut line)? == 0 {
            return Err(io::Error::other(format!("1mcp did not start: {said}")));
        }
        if let Some((_, rest)) = line.split_once("listening on http://") {
            let address = rest.split('/').next().unwrap_or_default().trim().to_owned();
            let rest = std::thread::spawn(move || {
                let mut rest = Vec::new();
                let _ = log.read_to_end(&mut rest); // what was read until then is enough
                String::from_utf8_lossy(&rest).into_owned()
            });
            return Ok((address, rest));
        }
        said.push_str(&line);
    }
}

/// Debian's nginx, or wherever it stands; `None` when it is not installed.
pub fn nginx(scratch: &Scratch, upstream: &str) -> io::Result<Option<(Process, String)>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let Some(program) = places.map(|p| p.join("nginx")).find(|p| p.is_file()) else {
        return Ok(None);
    };
    // the port is free again when nginx takes it: nobody else is offered it so soon
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let folder = scratch.path().display();
    let config = format!(
        "daemon off; worker_processes auto; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
        events {{ worker_connections 4096; }}
        http {{
          access_log off; tcp_nodelay on; keepalive_requests 1000000000;
          client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
          fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          client_max_body_size 0; client_body_buffer_size 2m;
          upstream server {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}
          server {{
            listen 127.0.0.1:{port} backlog=1024;
            location / {{
              proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection \"\";
              proxy_max_temp_file_size 0;
            }}
          }}
        }}"
    );
    let file = scratch.file("nginx.conf");
    fs::write(&file, config)?;
    let child = Command::new(program)
        .args([OsStr::new("-p"), scratch.path().as_os_str(), OsStr::new("-c"), file.as_os_str()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(Some((Process::new(child), format!("127.0.0.1:{port}"))))
}

/// A process and its children.
pub fn family(id: u32) -> Vec<u32> {
    let mut all = vec![id];
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    all.extend(ids.filter(|child| parent(*child) == Some(id)));
    all
}

fn parent(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn tasks(ids: &[u32]) -> impl Iterator<Item = PathBuf> + '_ {
    let folders = ids.iter().filter_map(|id| fs::read_dir(format!("/proc/{id}/task")).ok());
    folders.flatten().flatten().map(|task| task.path())
}

/// The processor time that all threads of these processes have used, in the kernel and outside.
pub fn cpu_time(ids: &[u32]) -> Duration {
    let spent = |task: PathBuf| -> Option<u64> {
        let text = fs::read_to_string(task.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    Duration::from_nanos(tasks(ids).filter_map(spent).sum())
}

/// How often the threads of these processes went to sleep.
pub fn sleeps(ids: &[u32]) -> u64 {
    let count = |task: PathBuf| status(&task.join("status"), "voluntary_ctxt_switches:");
    tasks(ids).filter_map(count).sum()
}

/// The resident memory of these processes, in bytes.
pub fn resident(ids: &[u32]) -> u64 {
    let files = ids.iter().map(|id| PathBuf::from(format!("/proc/{id}/status")));
    files.filter_map(|file| status(&file, "VmRSS:")).sum::<u64>() * 1024
}

fn status(file: &Path, field: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}
