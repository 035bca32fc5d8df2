//! From a path to a configuration: reading the file and everything it refers to.

use crate::cli::Failure;
use crate::config::{self, Config, Environment, Fault, Severity};
use crate::sys::file;
use crate::upstream::stdio::Fence;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A file that was read.
pub(crate) struct Loaded {
    pub(crate) path: PathBuf,
    /// `None` when a fault outside the entries makes the file unusable.
    pub(crate) config: Option<Config>,
    pub(crate) faults: Vec<Fault>,
    /// The environment of this process, for children to inherit from.
    pub(crate) environment: BTreeMap<String, String>,
    /// The files that it refers to.
    files: Vec<PathBuf>,
}

impl Loaded {
    /// What no child may see, whatever its entry says: the file, what it refers to, our state.
    pub(crate) fn fence(&self) -> Fence {
        let variable = |name| self.environment.get(name).map(PathBuf::from);
        let home = variable("HOME").filter(|home| home.is_absolute());
        let state = variable("ONEMCP_STATE_DIR")
            .or_else(|| Some(variable("XDG_STATE_HOME")?.join("1mcp")))
            .or_else(|| Some(home.as_ref()?.join(".local/state/1mcp")));
        let system = ["/etc/1mcp", "/var/lib/1mcp"].map(PathBuf::from);
        let own = [self.path.clone()].into_iter().chain(state).chain(self.files.clone());
        let own = own.map(|path| std::path::absolute(&path).unwrap_or(path));
        Fence::around(own.chain(system).collect(), home)
    }

    /// Faults as lines, errors first.
    pub(crate) fn lines(&self) -> Vec<(bool, String)> {
        let name = self.path.display().to_string();
        let mut lines: Vec<_> = self
            .faults
            .iter()
            .map(|fault| (fault.severity == Severity::Error, fault.in_file(&name).to_string()))
            .collect();
        lines.sort_by_key(|(is_error, _)| !is_error);
        lines
    }
}

/// Our own environment; variables that are not UTF-8 cannot be substituted and are left out.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Finds and reads the configuration file.
pub(crate) fn load(
    named: Option<&Path>,
    listen: Option<Vec<SocketAddr>>,
) -> Result<Loaded, Failure> {
    let variables = environment();
    let path = find(named, &variables)?;
    let bytes = file::read_bounded(&path, config::MAX_FILE_BYTES)
        .map_err(|e| Failure::usage(format!("configuration: {e}")))?;
    let parsed = config::parse(&bytes);
    // Of `mcp.json` alone the folder would be "", and what is relative to it would start at "/".
    let whole = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
    let folder = config::workspace_folder(&whole).map(|folder| folder.display().to_string());
    let mut wanted = Environment { variables, folder, listen, ..Environment::default() };
    for name in parsed.file.files(&wanted) {
        let text = file::read_bounded(Path::new(&name), config::MAX_REFERENCED_FILE_BYTES)
            .map_err(|e| e.to_string())
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not utf-8".to_owned()));
        wanted.files.insert(name, text);
    }
    let resolved = config::resolve(&parsed.file, &wanted);
    for key in parsed.file.ignored_keys() {
        log::debug!("the key {key} is not ours and is ignored");
    }
    let (config, faults, environment) = (resolved.config, resolved.faults, wanted.variables);
    let files = wanted.files.into_keys().map(PathBuf::from).collect();
    Ok(Loaded { path, config, faults, environment, files })
}

fn find(named: Option<&Path>, variables: &BTreeMap<String, String>) -> Result<PathBuf, Failure> {
    let candidates = config::candidates(named, variables);
    if let Some(found) = candidates.iter().find(|candidate| candidate.path.exists()) {
        return Ok(found.path.clone());
    }
    let tried: Vec<String> = candidates.iter().map(|c| c.path.display().to_string()).collect();
    Err(Failure::usage(format!("no configuration file: looked for {}", tried.join(", "))))
}
