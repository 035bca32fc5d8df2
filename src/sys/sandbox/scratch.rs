//! A temporary folder for one server alone, gone when its keeper goes.
//!
//! Its keeper holds a lock on it for as long as it lives. What nobody holds was left by a keeper
//! that was killed, and is removed by a gateway: when it sees that, or when it starts its first
//! server with temporary files there.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::Policy;

/// Most names that are tried.
const ATTEMPTS: u32 = 64;

/// What a name begins with; the keeper's id and a number follow.
const PREFIX: &str = "1mcp-";

/// The folder; dropping it removes it with all that is in it.
pub(crate) struct Scratch {
    path: PathBuf,
    _lock: Option<File>,
}

impl Scratch {
    /// Makes one where the environment says that temporary files go, and points the environment
    /// there. None where nothing can be written: a server can do without.
    pub(crate) fn make(policy: &Policy, env: &mut Vec<(OsString, OsString)>) -> Option<Self> {
        let scratch = create(&base(policy, env)?)?;
        if let Some((user, group)) = policy.rules.user {
            std::os::unix::fs::chown(&scratch.path, Some(user), Some(group)).ok()?;
        }
        env.retain(|(name, _)| !["TMPDIR", "TMP", "TEMP"].iter().any(|tmp| name == tmp));
        env.extend(["TMPDIR", "TMP", "TEMP"].map(|tmp| (tmp.into(), scratch.path.clone().into())));
        Some(scratch)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The folder in which a server gets its own; none if its entry names one for it.
pub(crate) fn base(policy: &Policy, env: &[(OsString, OsString)]) -> Option<PathBuf> {
    let given = env.iter().rev().find(|(name, _)| name == "TMPDIR").map(|(_, value)| value);
    // What the entry itself names is granted as it is.
    let own = |path: &OsStr| policy.named.iter().any(|named| OsStr::new(named) == path);
    if given.is_some_and(|path| own(path)) {
        return None;
    }
    let base = given.map(PathBuf::from).filter(|path| path.is_absolute());
    Some(base.unwrap_or_else(|| PathBuf::from("/tmp")))
}

fn create(base: &Path) -> Option<Scratch> {
    let keeper = std::process::id();
    // A name that is there already is somebody else's, whatever it is: the folder must be new.
    (0..ATTEMPTS)
        .map(|n| base.join(format!("{PREFIX}{keeper}-{n}")))
        .filter(|path| fs::DirBuilder::new().mode(0o700).create(path).is_ok())
        .find_map(|path| match hold(&path) {
            Ok(lock) => Some(Scratch { path, _lock: Some(lock) }),
            // Somebody was quick to take it for a leftover.
            Err(TryLockError::WouldBlock) => None,
            // A file system without locks: nobody can take it for one.
            Err(TryLockError::Error(_)) => Some(Scratch { path, _lock: None }),
        })
}

/// Locks the folder of this name; it is still there then.
fn hold(path: &Path) -> Result<File, TryLockError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from);
    let folder = File::from(opened.map_err(gone)?);
    folder.try_lock()?;
    let (held, there) = (folder.metadata(), fs::symlink_metadata(path));
    let (held, there) = (held.map_err(gone)?, there.map_err(gone)?);
    if (held.dev(), held.ino()) == (there.dev(), there.ino()) {
        Ok(folder)
    } else {
        Err(TryLockError::WouldBlock)
    }
}

/// A folder that has been removed was somebody's who had the lock.
fn gone(error: io::Error) -> TryLockError {
    match error.kind() {
        io::ErrorKind::NotFound => TryLockError::WouldBlock,
        _ => TryLockError::Error(error),
    }
}

/// Removes what keepers that were killed have left in a folder: what is named so, is ours (root's
/// is everybody's), and is held by nobody. Takes as long as the file system does.
pub(crate) fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    let me = rustix::process::geteuid();
    for path in entries.flatten().filter(|entry| named_so(&entry.file_name())).map(|e| e.path()) {
        let Ok(lock) = hold(&path) else { continue };
        if me.is_root() || lock.metadata().is_ok_and(|found| found.uid() == me.as_raw()) {
            // Follows no links; what cannot be removed is the system's to clean.
            let _ = fs::remove_dir_all(&path);
        }
    }
}

fn named_so(name: &OsStr) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
    rest.and_then(|rest| rest.split_once('-')).is_some_and(|(pid, n)| digits(pid) && digits(n))
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Follows no links; what cannot be removed is the system's to clean.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_removed_and_nothing_else() {
        let base = std::env::temp_dir().join(format!("orphans-sweep-{}", std::process::id()));
        let elsewhere = base.join("elsewhere");
        fs::create_dir_all(&elsewhere).expect("a folder");
        fs::write(elsewhere.join("kept"), "x").expect("a file");
        let left = base.join("1mcp-7-0");
        fs::create_dir_all(left.join("deep/er")).expect("a folder");
        std::os::unix::fs::symlink(&elsewhere, left.join("link")).expect("a link");
        std::os::unix::fs::symlink(&elsewhere, base.join("1mcp-8-0")).expect("a link");
        for other in ["1mcp-7", "1mcp-7-x", "1mcp-x-0", "other-7-0"] {
            fs::create_dir(base.join(other)).expect("a folder");
        }
        let held = create(&base).expect("a scratch");
        sweep(&base);
        assert!(!left.exists(), "nobody holds it");
        assert!(held.path.exists(), "somebody holds it");
        assert!(elsewhere.join("kept").exists() && base.join("1mcp-8-0").is_symlink());
        assert_eq!(fs::read_dir(&base).expect("a folder").count(), 7);
        let path = held.path.clone();
        drop(held);
        assert!(!path.exists());
        fs::remove_dir_all(&base).expect("it goes");
    }
}
