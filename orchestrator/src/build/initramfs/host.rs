//! What the image takes from the machine it is built on: programs, files and libraries.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;
use super::libraries::Libraries;
use crate::nofollow;

/// Folders of system programs, which a user's `PATH` may leave out.
const SYSTEM_FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// A machine to take files from.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// Folders of programs, in order.
    pub(super) path: Vec<PathBuf>,
    /// What its dynamic loader knows.
    pub(super) libraries: Libraries,
}

/// Files by path, each read once.
#[derive(Debug, Default)]
pub(super) struct Contents {
    read: HashMap<PathBuf, Arc<Vec<u8>>>,
}

impl Host {
    /// This machine: `PATH`, then the system's folders.
    pub(super) fn of_this_machine() -> Self {
        let mut path: Vec<PathBuf> = std::env::var_os("PATH")
            .map(|path| std::env::split_paths(&path).filter(|dir| dir.is_absolute()).collect())
            .unwrap_or_default();
        for folder in SYSTEM_FOLDERS.map(PathBuf::from) {
            if !path.contains(&folder) {
                path.push(folder);
            }
        }
        Self { path, libraries: Libraries::of_this_machine() }
    }

    /// The first executable called `name`.
    pub(super) fn find(&self, name: &str) -> Option<PathBuf> {
        find_in(&self.path, name)
    }
}

/// The first executable called `name` in `folders`.
pub(super) fn find_in(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|path| is_executable(path))
}

/// Programs in `folders` that a guest could run, sorted: executable files with no extension.
pub(super) fn programs_in(folders: &[PathBuf]) -> Vec<String> {
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().extension().is_none() && is_executable(&entry.path()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Whether `path` is a regular file that somebody may execute.
pub(super) fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

impl Contents {
    /// The bytes of `path`, links followed.
    pub(super) fn get(&mut self, path: &Path) -> Result<Arc<Vec<u8>>, Error> {
        if let Some(known) = self.read.get(path) {
            return Ok(Arc::clone(known));
        }
        let bytes =
            nofollow::read(path).map_err(|source| Error::Io { action: "read", path: path.to_path_buf(), source })?;
        let bytes = Arc::new(bytes);
        self.read.insert(path.to_path_buf(), Arc::clone(&bytes));
        Ok(bytes)
    }
}
