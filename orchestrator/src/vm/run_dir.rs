//! The private folder that holds one machine's sockets.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::Error;
use crate::process;

/// Longest path of a unix socket, without its final NUL (unix(7): `sun_path` holds 108 bytes).
const SOCKET_PATH_MAX: usize = 107;

/// Where run directories go: `$XDG_RUNTIME_DIR` when it is ours, else the folder for temporary files.
pub fn run_dir_parent() -> PathBuf {
    let ours =
        |dir: &PathBuf| dir.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == nix::unistd::geteuid().as_raw());
    std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute() && ours(dir))
        .unwrap_or_else(std::env::temp_dir)
}

/// A private folder for one guest's files, below [`run_dir_parent`].
pub fn scratch_dir() -> std::io::Result<TempDir> {
    process::run_dir::make(&run_dir_parent())
}

/// Makes a folder with a name nobody can guess that only this user may enter; it goes away when it is dropped.
pub(super) fn make(parent: &Path) -> Result<TempDir, Error> {
    let dir =
        process::run_dir::make(parent).map_err(|source| Error::RunDir { parent: parent.to_path_buf(), source })?;
    let longest = super::args::monitor_socket(dir.path());
    if longest.as_os_str().as_bytes().len() > SOCKET_PATH_MAX {
        return Err(Error::RunDirTooLong { path: longest, max: SOCKET_PATH_MAX });
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_directory_is_private_and_goes_away() {
        let parent = tempfile::tempdir().expect("a scratch folder");
        let dir = make(parent.path()).expect("makes a run directory");
        assert_eq!(dir.path().metadata().expect("is there").mode() & 0o777, 0o700);
        drop(dir);
        assert_eq!(std::fs::read_dir(parent.path()).expect("is there").count(), 0);
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_refused_and_nothing_stays() {
        let parent = tempfile::tempdir().expect("a scratch folder");
        let deep = parent.path().join("x".repeat(100));
        std::fs::create_dir(&deep).expect("makes it");
        let error = make(&deep).expect_err("too long").to_string();
        assert!(error.contains("XDG_RUNTIME_DIR"), "{error}");
        assert_eq!(std::fs::read_dir(&deep).expect("is there").count(), 0);
    }
}
