//! A temporary folder for one server alone, gone when its keeper goes.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::Policy;

/// Most names that are tried.
const ATTEMPTS: u32 = 64;

/// The folder; dropping it removes it with all that is in it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one where the environment says that temporary files go, and points the environment
    /// there. None where nothing can be written: a server can do without.
    pub(crate) fn make(policy: &Policy, env: &mut Vec<(OsString, OsString)>) -> Option<Self> {
        let given = env.iter().rev().find(|(name, _)| name == "TMPDIR").map(|(_, value)| value);
        // What the entry itself names is granted as it is.
        let own = |path: &OsStr| policy.named.iter().any(|named| OsStr::new(named) == path);
        if given.is_some_and(|path| own(path)) {
            return None;
        }
        let base = given.map(PathBuf::from).filter(|path| path.is_absolute());
        let base = base.unwrap_or_else(|| PathBuf::from("/tmp"));
        let scratch = Self(create(&base)?);
        if let Some((user, group)) = policy.rules.user {
            std::os::unix::fs::chown(&scratch.0, Some(user), Some(group)).ok()?;
        }
        env.retain(|(name, _)| !["TMPDIR", "TMP", "TEMP"].iter().any(|tmp| name == tmp));
        env.extend(["TMPDIR", "TMP", "TEMP"].map(|tmp| (tmp.into(), scratch.0.clone().into())));
        Some(scratch)
    }
}

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

fn create(base: &Path) -> Option<PathBuf> {
    let keeper = std::process::id();
    // A name that is there already is somebody else's, whatever it is: the folder must be new.
    (0..ATTEMPTS)
        .map(|n| base.join(format!("1mcp-{keeper}-{n}")))
        .find(|path| fs::DirBuilder::new().mode(0o700).create(path).is_ok())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Follows no links; what cannot be removed is the system's to clean.
        let _ = fs::remove_dir_all(&self.0);
    }
}
