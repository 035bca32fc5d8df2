//! Finding the program that a command names, before anything is started.
//!
//! The search uses the child's own `PATH` and working directory, never the gateway's, and says
//! where it looked. `1mcp check` asks the same question as the spawner and gets the same answer.
//!
//! Never here: a shell, word splitting, `~` or variables.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use serde::{Deserialize, Serialize};

/// Searched when the child's environment has no `PATH`.
pub const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Why a command names no program that can be started. The texts are for operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandError {
    /// The command is the empty string.
    Empty,
    /// No directory of `PATH` has it.
    NotOnPath {
        /// The command.
        command: String,
        /// The `PATH` that was searched.
        path: String,
    },
    /// The command has a `/`, and no file is there.
    Missing {
        /// The file looked for.
        file: String,
    },
    /// The file is there, but may not be executed.
    NotExecutable {
        /// The file found.
        file: String,
    },
    /// The file is a directory, a device or the like.
    NotAFile {
        /// What was found.
        file: String,
    },
    /// The working directory is not there, or cannot be entered.
    NoCwd {
        /// The working directory asked for.
        cwd: String,
    },
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the command is empty"),
            // clients may see this text, and the search path is none of their business
            Self::NotOnPath { command, .. } => {
                write!(f, "command not found: {command} is in no folder of PATH")
            }
            Self::Missing { file } => write!(f, "command not found: no file {file}"),
            Self::NotExecutable { file } => write!(f, "{file} is not executable"),
            Self::NotAFile { file } => write!(f, "{file} is not a file"),
            Self::NoCwd { cwd } => {
                write!(f, "the working directory {cwd} does not exist or cannot be entered")
            }
        }
    }
}

impl std::error::Error for CommandError {}

/// The absolute path of the program that `command` names.
///
/// A command with a `/` is a path, relative to `cwd`; any other is searched in `path` (or
/// [`DEFAULT_PATH`]). Empty and relative entries of `path` are skipped: they would let whoever
/// writes into the working directory choose the program. `cwd` is relative to the process's own.
///
/// # Errors
/// [`CommandError`], in one line for the operator.
pub fn resolve_command(
    command: &OsStr,
    path: Option<&OsStr>,
    cwd: Option<&Path>,
) -> Result<PathBuf, CommandError> {
    if command.is_empty() {
        return Err(CommandError::Empty);
    }
    let cwd = enter(cwd.unwrap_or(Path::new(".")))?;
    if command.as_bytes().contains(&b'/') {
        let file = cwd.join(command);
        return probe(&file).map(|()| file);
    }
    search(command, path.unwrap_or(OsStr::new(DEFAULT_PATH)))
}

/// The absolute form of a directory that can be entered.
fn enter(cwd: &Path) -> Result<PathBuf, CommandError> {
    let fault = || CommandError::NoCwd { cwd: cwd.display().to_string() };
    let absolute = std::path::absolute(cwd).map_err(|_| fault())?;
    let usable = absolute.is_dir() && rustix::fs::access(&absolute, Access::EXEC_OK).is_ok();
    if usable { Ok(absolute) } else { Err(fault()) }
}

fn search(command: &OsStr, path: &OsStr) -> Result<PathBuf, CommandError> {
    let mut denied = None;
    for folder in std::env::split_paths(path).filter(|folder| folder.is_absolute()) {
        let file = folder.join(command);
        match probe(&file) {
            Ok(()) => return Ok(file),
            // As a shell does: go on searching, but remember what was in the way.
            Err(fault @ CommandError::NotExecutable { .. }) => {
                denied.get_or_insert(fault);
            }
            Err(_) => {}
        }
    }
    Err(denied.unwrap_or_else(|| CommandError::NotOnPath {
        command: command.display().to_string(),
        path: path.display().to_string(),
    }))
}

fn probe(path: &Path) -> Result<(), CommandError> {
    let file = path.display().to_string();
    let Ok(found) = path.metadata() else { return Err(CommandError::Missing { file }) };
    if !found.is_file() {
        return Err(CommandError::NotAFile { file });
    }
    rustix::fs::access(path, Access::EXEC_OK).map_err(|_| CommandError::NotExecutable { file })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("onemcp-{name}-{}", std::process::id()));
            fs::create_dir_all(dir.join("bin/folder")).expect("a scratch folder");
            for (file, mode) in [("good", 0o755), ("plain", 0o644)] {
                let file = dir.join("bin").join(file);
                fs::write(&file, "#!/bin/sh\n").expect("a scratch file");
                fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("its mode");
            }
            Self(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn resolve(command: &str, path: Option<&str>, cwd: &Path) -> Result<PathBuf, String> {
        resolve_command(OsStr::new(command), path.map(OsStr::new), Some(cwd))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_bare_name_is_searched_and_a_path_is_taken_from_the_working_directory() {
        let scratch = Scratch::new("resolve");
        let bin = scratch.0.join("bin");
        let path = format!("relative:/nonexistent:{}", bin.display());
        assert_eq!(resolve("good", Some(&path), &scratch.0), Ok(bin.join("good")));
        assert_eq!(resolve("./bin/good", Some(""), &scratch.0), Ok(scratch.0.join("./bin/good")));
        let absolute = bin.join("good").display().to_string();
        assert_eq!(resolve(&absolute, Some(""), Path::new("/")), Ok(bin.join("good")));
        assert!(resolve("sh", None, Path::new("/")).is_ok(), "the default path has a shell");
    }

    #[test]
    fn each_fault_says_what_and_where() {
        let scratch = Scratch::new("faults");
        let bin = scratch.0.join("bin");
        let (bin, cwd) = (bin.display().to_string(), scratch.0.as_path());
        let fault = |command: &str| resolve(command, Some(&bin), cwd).expect_err("a fault");
        assert_eq!(fault("npx"), "command not found: npx is in no folder of PATH");
        assert_eq!(fault("plain"), format!("{bin}/plain is not executable"));
        assert_eq!(fault("folder"), "command not found: folder is in no folder of PATH");
        assert_eq!(fault("./bin/folder"), format!("{}/./bin/folder is not a file", cwd.display()));
        assert_eq!(fault("./none"), format!("command not found: no file {}/./none", cwd.display()));
        assert_eq!(fault(""), "the command is empty");
        let nowhere = resolve("sh", None, Path::new("/nonexistent")).expect_err("no such cwd");
        assert!(nowhere.starts_with("the working directory /nonexistent does not exist"));
    }

    #[test]
    fn relative_entries_of_path_never_choose_the_program() {
        let scratch = Scratch::new("relative");
        let cwd = scratch.0.join("bin");
        assert!(resolve("good", Some(".::bin"), &cwd).is_err());
    }
}
