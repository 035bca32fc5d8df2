//! Reading files that an operator named: bounded, with errors that say what to do.
//!
//! Never here: parsing, or deciding which file to read.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Why a file could not be read.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    reason: Reason,
}

/// The kinds of [`FileError`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// There is no such file.
    Missing,
    /// The process may not read it.
    Denied,
    /// It is a directory.
    Directory,
    /// It has more bytes than this limit.
    TooLarge(usize),
    /// Anything else the system said.
    Other(io::Error),
}

impl FileError {
    /// The file that was asked for.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What went wrong.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.reason
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.reason {
            Reason::Missing => write!(f, "{path}: no such file"),
            Reason::Denied => write!(f, "{path}: no permission to read it"),
            Reason::Directory => write!(f, "{path}: is a directory, not a file"),
            Reason::TooLarge(max) => write!(f, "{path}: larger than the limit of {max} bytes"),
            Reason::Other(error) => write!(f, "{path}: {error}"),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            Reason::Other(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::IsADirectory => Self::Directory,
            _ => Self::Other(error),
        }
    }
}

/// The whole file, if it has at most `max` bytes. Blocks; a pipe is read to its end.
///
/// # Errors
/// [`FileError`], which names the file and the reason.
pub fn read_bounded(path: &Path, max: usize) -> Result<Vec<u8>, FileError> {
    read(path, max).map_err(|reason| FileError { path: path.to_owned(), reason })
}

fn read(path: &Path, max: usize) -> Result<Vec<u8>, Reason> {
    let file = File::open(path)?;
    // Some systems open a directory for reading and fail later, less clearly.
    if file.metadata()?.is_dir() {
        return Err(Reason::Directory);
    }
    let mut bytes = Vec::new();
    // One byte more than allowed tells "too large" apart, also where no size is known before.
    let bound = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound).read_to_end(&mut bytes)?;
    if bytes.len() > max { Err(Reason::TooLarge(max)) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_named_with_the_path() {
        let dir = std::env::temp_dir().join(format!("onemcp-file-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a scratch folder");
        let file = dir.join("five");
        std::fs::write(&file, b"12345").expect("a scratch file");

        assert_eq!(read_bounded(&file, 5).expect("five fit"), b"12345");
        let error = read_bounded(&file, 4).expect_err("four is too little");
        assert!(matches!(error.reason(), Reason::TooLarge(4)));
        assert_eq!(error.path(), file);
        assert!(error.to_string().ends_with("five: larger than the limit of 4 bytes"));
        let error = read_bounded(&dir, 5).expect_err("a directory");
        assert!(matches!(error.reason(), Reason::Directory), "{error}");
        let error = read_bounded(&dir.join("none"), 5).expect_err("no such file");
        assert!(matches!(error.reason(), Reason::Missing), "{error}");
        assert!(error.to_string().ends_with("none: no such file"));

        std::fs::remove_dir_all(&dir).expect("the scratch folder goes");
    }

    #[test]
    fn an_endless_file_is_too_large() {
        let error = read_bounded(Path::new("/dev/zero"), 100).expect_err("endless");
        assert!(matches!(error.reason(), Reason::TooLarge(100)));
    }
}
