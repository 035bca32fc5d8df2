//! What is measured, against what, and in which order.

use crate::load::{Clients, Era, Place, Shape};
use crate::process::{self, Process, Scratch};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a fresh connection is used before it counts.
const WARM_UP: Duration = Duration::from_millis(40);

/// How long everything may take to answer its first call.
const READY: Duration = Duration::from_secs(20);

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Interleaved rounds of each case.
    pub rounds: usize,
    /// The time of each measurement.
    pub time: Duration,
    /// Only cases whose name contains this.
    pub only: String,
    /// Only ways whose name contains this.
    pub way: String,
    /// The build that is measured.
    pub binary: PathBuf,
    /// Fewer cases.
    pub quick: bool,
    /// An error when the floor does not hold.
    pub enforce: bool,
    /// Counts instead of times.
    pub counts: bool,
}

impl Options {
    /// Reads the command line.
    pub fn read(arguments: &[String]) -> Result<Self, String> {
        let quick = arguments.iter().any(|a| a == "--quick");
        let (rounds, time) = if quick { (3, 120) } else { (5, 350) };
        let time = Duration::from_millis(time);
        let (enforce, counts) = (false, false);
        let (only, way) = (String::new(), String::new());
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_1mcp"));
        let mut options = Self { rounds, time, only, way, binary, quick, enforce, counts };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument}: expected a value"));
            let number = |text: &String| {
                text.parse::<u32>().map_err(|_| format!("{text:?}: expected a number"))
            };
            match argument.as_str() {
                "--quick" => {}
                "--enforce" => options.enforce = true,
                "--counts" => options.counts = true,
                "--only" => options.only.clone_from(value()?),
                "--way" => options.way.clone_from(value()?),
                "--binary" => options.binary = value()?.into(),
                "--rounds" => options.rounds = number(value()?)?.max(1) as usize,
                "--time" => options.time = Duration::from_millis(number(value()?)?.into()),
                other => return Err(format!("{other:?}: see cargo bench -- --help")),
            }
        }
        Ok(options)
    }
}

/// One load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// What the clients speak.
    pub era: Era,
    /// What they ask for.
    pub shape: Shape,
    /// How many there are.
    pub clients: usize,
}

impl Case {
    /// For people.
    pub fn name(&self) -> String {
        let what = match self.shape {
            Shape::Progress => "10 notifications".to_owned(),
            Shape::Echo(size) if size >= 1 << 20 => format!("{} MiB", size >> 20),
            Shape::Echo(size) if size >= 1 << 10 => format!("{} KiB", size >> 10),
            Shape::Echo(size) => format!("{size} B"),
        };
        let (clients, era) = (self.clients, self.era.name());
        let plural = if clients == 1 { "" } else { "s" };
        format!("{what}, {clients} client{plural}, {era}")
    }
}

fn cases(quick: bool) -> Vec<Case> {
    let small = Shape::Echo(100);
    let loads = [
        (small, 1, !quick),
        (small, 16, true),
        (small, 64, true),
        (Shape::Echo(10 << 10), 16, !quick),
        (Shape::Echo(1 << 20), 1, true),
        (Shape::Progress, 16, true),
    ];
    let loads = loads.into_iter().filter(|(_, _, wanted)| *wanted);
    let mut all = Vec::new();
    for (shape, clients, _) in loads {
        all.push(Case { era: Era::Legacy, shape, clients });
        if !quick || (shape, clients) == (small, 16) {
            all.push(Case { era: Era::Modern, shape, clients });
        }
    }
    all
}

/// A way from the clients to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing in between.
    Direct,
    /// nginx, which reads no JSON.
    Nginx,
    /// 1MCP.
    Onemcp {
        /// Whether the upstream is a child process.
        stdio: bool,
        /// Whether all upstreams share the endpoint.
        merged: bool,
        /// Whether the upstream speaks the client's era.
        same_era: bool,
    },
}

impl Way {
    const ALL: [Self; 8] = [
        Self::Direct,
        Self::Nginx,
        Self::Onemcp { stdio: false, merged: true, same_era: true },
        Self::Onemcp { stdio: false, merged: false, same_era: true },
        Self::Onemcp { stdio: true, merged: true, same_era: true },
        Self::Onemcp { stdio: true, merged: false, same_era: true },
        Self::Onemcp { stdio: false, merged: true, same_era: false },
        Self::Onemcp { stdio: true, merged: true, same_era: false },
    ];

    /// For people.
    pub fn name(self) -> String {
        let Self::Onemcp { stdio, merged, same_era } = self else {
            return if self == Self::Direct { "direct".into() } else { "nginx → HTTP".into() };
        };
        let path = if merged { "`/mcp`" } else { "`/mcp/{name}`" };
        let upstream = if stdio { "stdio" } else { "HTTP" };
        let era = if same_era { "" } else { ", other era" };
        format!("1MCP {path} → {upstream}{era}")
    }

    /// Whether the way is measured for a case: the bridge between eras once is enough.
    fn serves(self, case: &Case) -> bool {
        let bridged = matches!(self, Self::Onemcp { same_era: false, .. });
        !bridged || (case.clients == 16 && case.shape == Shape::Echo(100))
    }
}

/// Everything that runs beside the clients.
pub struct Stage {
    // in this order they end: whoever forwards before whom it forwards to
    onemcp: (Process, String),
    nginx: Option<(Process, String)>,
    upstream: (Process, String),
    _scratch: Scratch,
}

impl Stage {
    /// Starts everything, 1MCP with these variables besides, and waits until it serves.
    pub async fn set(binary: &Path, environment: &[(&str, &str)]) -> io::Result<Self> {
        let scratch = Scratch::new()?;
        let upstream = process::upstream("upstream-http")?;
        let nginx = process::nginx(&scratch, &upstream.1)?;
        let config = scratch.file("mcp.json");
        std::fs::write(&config, configuration(&upstream.1)?)?;
        let onemcp = process::onemcp(binary, environment, &config)?;
        let stage = Self { onemcp, nginx, upstream, _scratch: scratch };
        for way in Way::ALL {
            for era in [Era::Legacy, Era::Modern] {
                if let Some(place) = stage.place(way, era) {
                    ready(&place, era).await?;
                }
            }
        }
        Ok(stage)
    }

    /// Whether there is an nginx.
    pub fn has_nginx(&self) -> bool {
        self.nginx.is_some()
    }

    /// The process of 1MCP.
    pub fn onemcp(&self) -> u32 {
        self.onemcp.0.id()
    }

    /// Ends it; what it has logged since it listened.
    pub fn end_onemcp(&mut self) -> String {
        self.onemcp.0.end()
    }

    /// Where clients of an era connect for a way; `None` when it does not exist.
    pub fn place(&self, way: Way, era: Era) -> Option<Place> {
        let plain = |address: &str| Place {
            address: address.to_owned(),
            path: "/mcp".into(),
            prefix: String::new(),
        };
        let Way::Onemcp { stdio, merged, same_era } = way else {
            return match way {
                Way::Direct => Some(plain(&self.upstream.1)),
                _ => self.nginx.as_ref().map(|(_, address)| plain(address)),
            };
        };
        let kind = if stdio { "pipe" } else { "http" };
        let spoken = match (era, same_era) {
            (Era::Legacy, true) | (Era::Modern, false) => Era::Legacy,
            _ => Era::Modern,
        };
        let slug = format!("{kind}-{}", spoken.name());
        let place = plain(&self.onemcp.1);
        Some(match merged {
            true => Place { prefix: format!("{slug}__"), ..place },
            false => Place { path: format!("/mcp/{slug}"), ..place },
        })
    }

    /// The processes that forward on a way.
    pub fn forwarders(&self, way: Way) -> Vec<u32> {
        match way {
            Way::Direct => Vec::new(),
            Way::Nginx => {
                self.nginx.as_ref().map(|(p, _)| process::family(p.id())).unwrap_or_default()
            }
            Way::Onemcp { .. } => vec![self.onemcp()],
        }
    }
}

fn configuration(upstream: &str) -> io::Result<String> {
    let program = std::env::current_exe()?;
    let http = |protocol| {
        serde_json::json!({
            "type": "http", "url": format!("http://{upstream}/mcp"), "protocol": protocol,
        })
    };
    let pipe = |protocol| {
        serde_json::json!({
            "command": program, "args": ["upstream-stdio"], "protocol": protocol,
        })
    };
    let file = serde_json::json!({"mcpServers": {
        "http-legacy": http("legacy"), "http-modern": http("modern"),
        "pipe-legacy": pipe("legacy"), "pipe-modern": pipe("modern"),
    }});
    Ok(file.to_string())
}

/// Waits until a call is answered.
async fn ready(place: &Place, era: Era) -> io::Result<()> {
    let end = Instant::now() + READY;
    loop {
        let called = async {
            let mut one = Clients::connect(place, era, Shape::Echo(100), 1).await?;
            one.calls(1).await
        };
        match called.await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Calls in a second.
    pub rps: f64,
    /// The median latency, in microseconds.
    pub p50: f64,
    /// The latency that one call in a hundred exceeds.
    pub p99: f64,
    /// Processor time of the forwarder for each call, in microseconds.
    pub cpu: f64,
    /// Its resident memory, in MB.
    pub memory: f64,
}

/// The samples of one way in one case, one for each round.
#[derive(Clone, Debug)]
pub struct Row {
    /// The load.
    pub case: Case,
    /// The way.
    pub way: Way,
    /// What was measured.
    pub samples: Vec<Sample>,
}

/// Measures everything.
pub async fn run(options: &Options) -> io::Result<Vec<Row>> {
    let stage = Stage::set(&options.binary, &[]).await?;
    if !stage.has_nginx() {
        println!("nginx is not installed: there is nothing to compare with but a direct call");
    }
    let mut rows = Vec::new();
    for case in cases(options.quick) {
        if case.name().contains(&options.only) {
            println!("measuring {} …", case.name());
            rows.extend(measure(&stage, case, options).await?);
        }
    }
    Ok(rows)
}

async fn measure(stage: &Stage, case: Case, options: &Options) -> io::Result<Vec<Row>> {
    let there = |way: &Way| {
        let wanted = way.serves(&case) && way.name().contains(&options.way);
        wanted && stage.place(*way, case.era).is_some()
    };
    let ways = Way::ALL.into_iter().filter(there);
    let mut rows: Vec<Row> = ways.map(|way| Row { case, way, samples: Vec::new() }).collect();
    for _ in 0..options.rounds {
        for row in &mut rows {
            let sample = sample(stage, &case, row.way, options.time).await;
            let name = row.way.name();
            row.samples.push(sample.map_err(|e| io::Error::other(format!("{name}: {e}")))?);
        }
    }
    Ok(rows)
}

async fn sample(stage: &Stage, case: &Case, way: Way, time: Duration) -> io::Result<Sample> {
    let place = stage.place(way, case.era).ok_or(io::ErrorKind::NotFound)?;
    let forwarders = stage.forwarders(way);
    let mut clients = Clients::connect(&place, case.era, case.shape, case.clients).await?;
    clients.run(WARM_UP).await?;
    let spent = process::cpu_time(&forwarders);
    let begun = Instant::now();
    let mut latencies = clients.run(time).await?;
    let elapsed = begun.elapsed();
    let spent = process::cpu_time(&forwarders).saturating_sub(spent);
    let memory = process::resident(&forwarders) as f64 / 1e6;
    latencies.sort_unstable();
    let at = |part: usize| {
        let latency = latencies.get(latencies.len() * part / 100).copied().unwrap_or_default();
        latency.as_secs_f64() * 1e6
    };
    let calls = latencies.len().max(1) as f64;
    Ok(Sample {
        rps: calls / elapsed.as_secs_f64(),
        p50: at(50),
        p99: at(99),
        cpu: spent.as_secs_f64() * 1e6 / calls,
        memory,
    })
}
