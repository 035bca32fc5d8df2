//! The log: one line per event on standard error, human on a terminal and JSON elsewhere.
//!
//! A peer's text must neither forge a line nor steer a terminal, so control and bidirectional
//! characters are escaped; a reader that stops reading must not stop the gateway, so a thread
//! writes from a bounded queue and what does not fit is counted. Levels: error = the operator
//! must act; warn = degraded; info = lifecycle; debug = per request.
//!
//! Never here: payload, secrets, and the text of a panic that may quote either.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log::{Level, LevelFilter, Metadata, Record};

use crate::base::text::{is_harmful, one_line};

/// The longest message, in bytes before escaping; the rest is cut off and marked with `…`.
pub const MAX_MESSAGE: usize = 8 * 1024;

/// The number of lines that may wait for a slow reader of standard error.
pub const MAX_QUEUED: usize = 1024;

/// How long [`Log::flush`](log::Log::flush) waits for the queue to be written.
pub const FLUSH_BOUND: Duration = Duration::from_secs(1);

/// The crate whose events follow the configured level; those of others show from `warn` up.
const OURS: &str = "onemcp";

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Human on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// `18:02:31.123Z info  upstream: message`
    Human,
    /// `{"time":…,"level":…,"target":…,"message":…}`
    Json,
}

/// Why the log could not be started.
#[derive(Debug)]
pub enum InitError {
    /// Something else is the process's logger already.
    Taken,
    /// The writing thread could not be started.
    Thread(io::Error),
}

/// The process's logger; see [`init`].
pub struct Log {
    json: bool,
    queue: SyncSender<Job>,
    lost: Arc<AtomicU64>,
}

enum Job {
    Line(String),
    Flush(SyncSender<()>),
}

/// Starts logging to standard error. To be called once, early, by the command line.
///
/// Also takes over the panic hook, so that a panic is one line that says where. The level can be
/// changed at any time with [`log::set_max_level`].
///
/// # Errors
/// [`InitError`], with nothing changed.
pub fn init(level: LevelFilter, format: Format) -> Result<(), InitError> {
    let json = match format {
        Format::Auto => !io::stderr().is_terminal(),
        Format::Human => false,
        Format::Json => true,
    };
    let (queue, jobs) = mpsc::sync_channel(MAX_QUEUED);
    let lost = Arc::new(AtomicU64::new(0));
    let log = Log { json, queue, lost: Arc::clone(&lost) };
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_jobs(&jobs, &lost, json, io::stderr()))
        .map_err(InitError::Thread)?;
    log::set_boxed_logger(Box::new(log)).map_err(|_| InitError::Taken)?;
    log::set_max_level(level);
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

impl log::Log for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn || is_ours(metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let message = record.args().to_string();
        let now = SystemTime::now();
        let line = line(self.json, now, record.level(), record.target(), &message);
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Job::Line(line)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns when all lines so far are written, or after [`FLUSH_BOUND`]. To be called last.
    fn flush(&self) {
        let end = Instant::now() + FLUSH_BOUND;
        let (written, done) = mpsc::sync_channel(1);
        let mut job = Job::Flush(written);
        while let Err(TrySendError::Full(back)) = self.queue.try_send(job) {
            if Instant::now() >= end {
                return;
            }
            job = back;
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let _ = done.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str("the process has a logger already"),
            Self::Thread(error) => write!(f, "cannot start the log thread: {error}"),
        }
    }
}

impl std::error::Error for InitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Taken => None,
            Self::Thread(error) => Some(error),
        }
    }
}

fn write_jobs(jobs: &Receiver<Job>, lost: &AtomicU64, json: bool, mut out: impl io::Write) {
    // A failing write is not reported anywhere: this is where it would be reported.
    for job in jobs {
        match job {
            Job::Line(line) => drop(out.write_all(line.as_bytes())),
            Job::Flush(written) => {
                let _ = out.flush();
                let _ = written.try_send(());
            }
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let message = format!("{lost} log lines were dropped: standard error was not read");
            let line = line(json, SystemTime::now(), Level::Warn, "onemcp::observe", &message);
            let _ = out.write_all(line.as_bytes());
        }
    }
}

/// One line that says where; the text only if it is a literal, since any other may quote a peer.
fn log_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    match info.payload().downcast_ref::<&'static str>() {
        Some(literal) => log::error!(target: "onemcp::bug", "bug: panic at {place}: {literal}"),
        None => log::error!(target: "onemcp::bug", "bug: panic at {place}"),
    }
    log::logger().flush();
}

fn is_ours(target: &str) -> bool {
    target.strip_prefix(OURS).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn line(json: bool, now: SystemTime, level: Level, target: &str, message: &str) -> String {
    let target = target.strip_prefix("onemcp::").unwrap_or(target);
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let message = cut(message);
    let time = timestamp(now);
    if json {
        return json_line(&time, level, target, &message);
    }
    let clock = time.split_once('T').map_or(time.as_str(), |(_, clock)| clock);
    format!("{clock} {level:<5} {}: {}\n", one_line(target), one_line(&message))
}

fn json_line(time: &str, level: &str, target: &str, message: &str) -> String {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        time: &'a str,
        level: &'a str,
        target: &'a str,
        message: &'a str,
    }
    // Strings always serialize.
    let json = serde_json::to_string(&Line { time, level, target, message }).unwrap_or_default();
    // JSON lets DEL, C1 and invisible characters stand; in a terminal they still act.
    let mut out = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if is_harmful(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    out
}

fn cut(message: &str) -> Cow<'_, str> {
    if message.len() <= MAX_MESSAGE {
        return Cow::Borrowed(message);
    }
    let end = message.floor_char_boundary(MAX_MESSAGE);
    Cow::Owned(format!("{}…", message.get(..end).unwrap_or_default()))
}

/// RFC 3339 in UTC with milliseconds. A clock before 1970 shows as 1970.
fn timestamp(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Days since 1970-01-01 as year, month and day, in the proleptic Gregorian calendar.
///
/// Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Lets a number of events through per span of time and counts the rest.
///
/// For what a peer can repeat at will, such as its standard error. "Logged once" is
/// `RateLimited::new(1, Duration::MAX)`.
#[derive(Debug)]
pub struct RateLimited {
    limit: u32,
    span: Duration,
    since: Option<Instant>,
    passed: u32,
    dropped: u64,
}

/// What [`RateLimited::admit`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Log it, after saying that `dropped` were not logged if that is not 0.
    Pass {
        /// How many were dropped since the last one that passed.
        dropped: u64,
    },
    /// Do not log it; it is counted.
    Drop,
}

impl RateLimited {
    /// At most `limit` events in each `span`.
    #[must_use]
    pub fn new(limit: u32, span: Duration) -> Self {
        Self { limit, span, since: None, passed: 0, dropped: 0 }
    }

    /// Whether an event at `now` may be logged.
    pub fn admit(&mut self, now: Instant) -> Admit {
        let fresh =
            self.since.is_none_or(|since| now.saturating_duration_since(since) >= self.span);
        if fresh {
            self.since = Some(now);
            self.passed = 0;
        }
        if self.passed >= self.limit {
            self.dropped += 1;
            return Admit::Drop;
        }
        self.passed += 1;
        Admit::Pass { dropped: self.take_dropped() }
    }

    /// How many were dropped since this was last said; for a last word at the end.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Log as _;
    use std::sync::Mutex;

    fn at(seconds: u64, millis: u32) -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds, millis * 1_000_000)
    }

    #[test]
    fn timestamps_are_rfc_3339() {
        // Checked with `date -u -d @N +%FT%TZ`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_709_251_199, "2024-02-29T23:59:59.007Z"),
            (1_735_689_599, "2024-12-31T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            assert_eq!(timestamp(at(seconds, 7)), text);
        }
    }

    #[test]
    fn a_human_line_is_one_line_without_terminal_controls() {
        let hostile = "a\nb\u{1b}[31m\u{202e}\u{9b}\tz é";
        let line = line(false, at(3_723, 4), Level::Warn, "onemcp::upstream::stdio", hostile);
        assert_eq!(
            line,
            "01:02:03.004Z warn  upstream::stdio: \
             a\\nb\\u{1b}[31m\\u{202e}\\u{9b}\\tz é\n"
        );
    }

    #[test]
    fn a_json_line_is_ascii_where_it_matters_and_loses_nothing() {
        let hostile = "a\n\"\u{1b}\u{202e}\u{7f}\u{e0041} é";
        let line = line(true, at(0, 0), Level::Info, "onemcp", hostile);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.trim_end().contains(is_harmful));
        let value: serde_json::Value = serde_json::from_str(&line).expect("valid JSON");
        assert_eq!(value["message"], hostile);
        assert_eq!((&value["level"], &value["target"]), (&"info".into(), &"onemcp".into()));
        assert_eq!(value["time"], "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = format!("{}é", "x".repeat(MAX_MESSAGE - 1));
        assert_eq!(cut(&long), format!("{}…", "x".repeat(MAX_MESSAGE - 1)));
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn other_crates_show_from_warn_up() {
        let (queue, _jobs) = mpsc::sync_channel(1);
        let log = Log { json: false, queue, lost: Arc::default() };
        let shows =
            |level, target| log.enabled(&Metadata::builder().level(level).target(target).build());
        assert!(shows(Level::Debug, "onemcp::relay") && shows(Level::Info, "onemcp"));
        assert!(!shows(Level::Info, "mio::poll") && !shows(Level::Info, "onemcpx"));
        assert!(shows(Level::Warn, "mio"));
    }

    #[test]
    fn a_reader_that_stalls_loses_lines_and_is_told_how_many() {
        #[derive(Clone, Default)]
        struct Out(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Out {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().expect("no panic under this lock").extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (queue, jobs) = mpsc::sync_channel(2);
        let lost = Arc::new(AtomicU64::new(0));
        let log = Log { json: false, queue, lost: Arc::clone(&lost) };
        let args = format_args!("");
        let record = Record::builder().target("onemcp").level(Level::Info).args(args).build();
        for _ in 0..5 {
            log.log(&record);
        }
        let out = Out::default();
        let theirs = out.clone();
        let writer = std::thread::spawn(move || write_jobs(&jobs, &lost, false, theirs));
        log.flush();
        drop(log);
        writer.join().expect("the writer ends with the queue");
        let text = String::from_utf8(out.0.lock().expect("done").clone()).expect("text");
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("3 log lines were dropped"), "{text}");
    }

    #[test]
    fn rate_limited_counts_what_it_drops() {
        let start = Instant::now();
        let mut limit = RateLimited::new(2, Duration::from_secs(1));
        let said: Vec<_> = (0..4).map(|_| limit.admit(start)).collect();
        let pass = |dropped| Admit::Pass { dropped };
        assert_eq!(said, [pass(0), pass(0), Admit::Drop, Admit::Drop]);
        assert_eq!(limit.admit(start + Duration::from_secs(1)), pass(2));
        assert_eq!(limit.take_dropped(), 0);
        let mut once = RateLimited::new(1, Duration::MAX);
        assert_eq!(once.admit(start), pass(0));
        assert_eq!(once.admit(start + Duration::from_secs(1 << 30)), Admit::Drop);
        assert_eq!(once.take_dropped(), 1);
    }
}
