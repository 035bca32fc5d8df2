//! The command line: arguments in, exit code out.
//!
//! Exit codes: 0 it was done; 1 it could not be done; 2 the command line or the configuration
//! file is wrong; 3 (`call`) the tool was called and reported an error.

mod args;
mod call;
mod check;
mod client;
mod load;
mod serve;
mod stdio;

use args::{Command, Parsed};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// Why a command ended without doing its work: what to say, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// It could not be done.
    fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// The command line or the configuration file is wrong.
    fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2 }
    }
}

/// Runs one command line, without the program's name.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let outcome = match args::parse(arguments) {
        Ok(Parsed::Print(text)) => print(&text).map(|()| 0),
        Ok(Parsed::Run(command)) => execute(command),
        Err(message) => Err(Failure::usage(format!("{message}\ntry: 1mcp --help"))),
    };
    log::logger().flush();
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            complain(&failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn execute(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Serve(options) => serve::run(options),
        Command::Stdio(options) => stdio::run(options),
        Command::Check(source) => check::run(source),
        Command::Tools(target) => call::tools(target),
        Command::Call(options) => call::call(options),
    }
}

/// Writes to standard output; a reader that went away is no fault of ours.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// So many of something.
fn counted(many: usize, what: &str) -> String {
    format!("{many} {what}{}", if many == 1 { "" } else { "s" })
}

fn complain(message: &str) {
    let mut err = std::io::stderr().lock();
    // when even this cannot be written, the exit code says it
    let _ = writeln!(err, "1mcp: {message}");
}
