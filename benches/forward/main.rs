//! What forwarding costs: the same calls spoken to the upstream directly, through nginx and
//! through 1MCP, in one interleaved run, so that the ratios mean something on any machine.
//!
//! `cargo bench` prints the table. `cargo bench -- --help` tells the rest.
#![allow(clippy::print_stdout, reason = "the table is for people")]

mod counts;
mod load;
mod plan;
mod process;
mod table;
mod upstream;

use std::io;
use std::process::ExitCode;

const HELP: &str = "usage: cargo bench -- [options]

  --quick         fewer cases and rounds, for CI (under 40 s)
  --only TEXT     only cases whose name contains TEXT
  --way TEXT      only ways whose name contains TEXT
  --binary PATH   another build of 1mcp
  --rounds N      interleaved rounds of each case (the median counts)
  --time MS       milliseconds of each measurement
  --enforce       exit with an error when the floor does not hold
  --counts        instead of the table: allocations (libmemusage), system calls (strace) and sleeps
                  of the process for each call
";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("the bench failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<bool> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("upstream-http") => return upstream::serve_http().map(|()| true),
        Some("upstream-stdio") => return upstream::serve_stdio().map(|()| true),
        Some("--help" | "-h") => {
            print!("{HELP}");
            return Ok(true);
        }
        _ => {}
    }
    let options = plan::Options::read(&arguments).map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if options.counts {
            return counts::run(&options.binary).await.map(|()| true);
        }
        let results = plan::run(&options).await?;
        print!("{}", table::render(&results));
        let (text, holds) = table::floor(&results);
        print!("{text}");
        Ok(holds || !options.enforce)
    })
}
