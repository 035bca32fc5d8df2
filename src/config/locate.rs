//! Where the configuration file is looked for, and what its folder means.
//!
//! Never in the current directory unless it was named: a cloned repository could bring one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The variable that names the file.
pub const CONFIG_VARIABLE: &str = "ONEMCP_CONFIG";
/// Where the file of the system unit is.
pub const SYSTEM_CONFIG: &str = "/etc/1mcp/mcp.json";

/// Who named a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `--config`
    Flag,
    /// `ONEMCP_CONFIG`
    Variable,
    /// The user's configuration folder.
    User,
    /// The machine's.
    System,
}

/// One place to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The file.
    pub path: PathBuf,
    /// Who named it.
    pub source: Source,
}

/// The places to look, in order; the first file that exists is read. A file that was named is the
/// only place: if it is not there, that is an error.
pub fn candidates(flag: Option<&Path>, variables: &BTreeMap<String, String>) -> Vec<Candidate> {
    let variable = |name: &str| variables.get(name).filter(|value| !value.is_empty());
    if let Some(path) = flag {
        return vec![Candidate { path: path.to_owned(), source: Source::Flag }];
    }
    if let Some(path) = variable(CONFIG_VARIABLE) {
        return vec![Candidate { path: PathBuf::from(path), source: Source::Variable }];
    }
    // XDG Base Directory Specification: a relative path is to be ignored.
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder =
        absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    let user = folder.map(|folder| folder.join("1mcp/mcp.json"));
    let user = user.map(|path| Candidate { path, source: Source::User });
    let system = Candidate { path: PathBuf::from(SYSTEM_CONFIG), source: Source::System };
    user.into_iter().chain([system]).collect()
}

/// What `${workspaceFolder}` and relative paths stand for in a file at this (absolute) path: its
/// folder, or the one above for the settings folder of an editor.
pub fn workspace_folder(file: &Path) -> Option<PathBuf> {
    let folder = file.parent()?;
    let editor = [".cursor", ".vscode"].iter().any(|name| folder.ends_with(name));
    let folder = if editor { folder.parent()? } else { folder };
    Some(folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(flag: Option<&str>, variables: &[(&str, &str)]) -> Vec<String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables = variables.iter().map(owned).collect();
        let candidates = candidates(flag.map(Path::new), &variables);
        candidates.iter().map(|candidate| candidate.path.display().to_string()).collect()
    }

    #[test]
    fn a_named_file_is_the_only_place() {
        let both = [("ONEMCP_CONFIG", "/b.json"), ("HOME", "/home/u")];
        assert_eq!(places(Some("a.json"), &both), ["a.json"]);
        assert_eq!(places(None, &both), ["/b.json"]);
    }

    #[test]
    fn otherwise_the_users_file_then_the_machines() {
        let home = ("HOME", "/home/u");
        assert_eq!(
            places(None, &[home, ("ONEMCP_CONFIG", "")]),
            ["/home/u/.config/1mcp/mcp.json", SYSTEM_CONFIG]
        );
        assert_eq!(
            places(None, &[home, ("XDG_CONFIG_HOME", "/x")]),
            ["/x/1mcp/mcp.json", SYSTEM_CONFIG]
        );
    }

    #[test]
    fn nothing_relative_is_looked_for() {
        let variables = [("HOME", "."), ("XDG_CONFIG_HOME", "config")];
        assert_eq!(places(None, &variables), [SYSTEM_CONFIG]);
        assert_eq!(places(None, &[]), [SYSTEM_CONFIG]);
    }

    #[test]
    fn the_workspace_of_an_editors_file_is_above_its_folder() {
        let folder = |path| workspace_folder(Path::new(path)).map(|f| f.display().to_string());
        assert_eq!(folder("/p/.cursor/mcp.json").as_deref(), Some("/p"));
        assert_eq!(folder("/p/.mcp.json").as_deref(), Some("/p"));
        assert_eq!(folder("/").as_deref(), None);
    }
}
