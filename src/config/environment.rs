//! What a file needs from outside, gathered by the caller: variables, files, its own place.
//!
//! Nothing here reads anything: the same file and the same environment always give the same result.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

/// What the caller read for a file before it is resolved.
#[derive(Clone, Default)]
pub struct Environment {
    /// Variables by name; those that are not UTF-8 are left out.
    pub variables: BTreeMap<String, String>,
    /// The files that [`super::File::files`] asked for, by that very path: content, or why not.
    pub files: BTreeMap<String, Result<String, String>>,
    /// The folder that relative paths and `${workspaceFolder}` stand for; see
    /// [`super::workspace_folder`].
    pub folder: Option<String>,
    /// What `--listen` said; replaces `gateway.listen`.
    pub listen: Option<Vec<SocketAddr>>,
}

impl Environment {
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Where a path of the file points: `~/` is the home folder, a relative path starts at the
    /// folder of the file.
    pub(super) fn absolute(&self, path: &str) -> String {
        let (base, rest) = match path.strip_prefix("~/") {
            Some(rest) => (self.variable("HOME"), rest),
            None if path.starts_with('/') => (None, path),
            None => (self.folder.as_deref(), path.strip_prefix("./").unwrap_or(path)),
        };
        match base {
            Some(base) => format!("{}/{rest}", base.trim_end_matches('/')),
            None => path.to_owned(),
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("variables", &self.variables.len())
            .field("files", &self.files.keys().collect::<Vec<_>>())
            .field("folder", &self.folder)
            .field("listen", &self.listen)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_absolute() {
        let mut environment = Environment::default();
        assert_eq!(environment.absolute("a/b"), "a/b");
        environment.folder = Some("/etc/1mcp".to_owned());
        environment.variables.insert("HOME".to_owned(), "/home/u/".to_owned());
        assert_eq!(environment.absolute("./a"), "/etc/1mcp/a");
        assert_eq!(environment.absolute("a/../b"), "/etc/1mcp/a/../b");
        assert_eq!(environment.absolute("~/a"), "/home/u/a");
        assert_eq!(environment.absolute("/a"), "/a");
    }

    #[test]
    fn values_are_not_printed() {
        let mut environment = Environment::default();
        environment.variables.insert("T".to_owned(), "s3cret".to_owned());
        environment.files.insert("/run/t".to_owned(), Ok("s3cret".to_owned()));
        assert!(!format!("{environment:?}").contains("s3cret"));
    }
}
