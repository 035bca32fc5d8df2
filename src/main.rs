//! The `1mcp` binary: everything is in the library.

use std::process::ExitCode;

use onemcp::sys::keeper;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Before anything else: no log, no runtime, no argument parsing.
    if args.next().is_some_and(|first| first == keeper::ARGUMENT) {
        return keeper::run(args);
    }
    ExitCode::SUCCESS
}
