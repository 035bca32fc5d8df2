//! The `1mcp` binary: everything is in the library.

use std::process::ExitCode;

use onemcp::sys::keeper;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    // Before anything else: no log, no runtime, no argument parsing.
    if args.next_if(|first| first == keeper::ARGUMENT).is_some() {
        return keeper::run(args);
    }
    onemcp::cli::run(args)
}
