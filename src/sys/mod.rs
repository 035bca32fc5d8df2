//! The operating system: child processes, signals, files. The only row that builds a Command.
