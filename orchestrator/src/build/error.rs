//! Why a kernel could not be had.

use std::io;
use std::path::{Path, PathBuf};

use super::{config, patch};
use crate::{cache, process};

/// Why a kernel could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cache could not serve.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// A command failed or was interrupted.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// A patch could not be applied.
    #[error(transparent)]
    Patch(#[from] patch::Error),
    /// The configuration did not come out as asked.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// A file operation failed.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A source could not be found or fetched.
    #[error("cannot get {what}: {reason}; {hint}")]
    Source {
        /// The source as the plan names it.
        what: String,
        /// What went wrong.
        reason: String,
        /// What to do next.
        hint: String,
    },
    /// An archive is not the one that the plan names.
    #[error(
        "`{file}` is not the archive that the plan names, and was not used\n  expected sha256 {expected}\n  found    sha256 {found}"
    )]
    WrongHash {
        /// Path or URL.
        file: String,
        /// From the plan.
        expected: String,
        /// Of the file.
        found: String,
    },
    /// The source is another one than the lock file pins.
    #[error(
        "{label} is not what `{}` pins, and was not used; see what changed it, or have `twinboot plan lock --update` take it\n  locked {expected}\n  found  {found}", lock.display()
    )]
    NotLocked {
        /// The source as it was found.
        label: String,
        /// The lock file.
        lock: PathBuf,
        /// From the lock.
        expected: String,
        /// Of the source.
        found: String,
    },
    /// What the lock file pins is not to be had.
    #[error("`{}` pins {label}, which cannot be had", lock.display())]
    LockedGone {
        /// From the lock.
        label: String,
        /// The lock file.
        lock: PathBuf,
        /// Why not.
        source: Box<Error>,
    },
    /// A tree is not fit to be built out of.
    #[error("`{}` cannot be built: {reason}", path.display())]
    Tree {
        /// The tree.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A ready kernel is none.
    #[error("`{}` is no kernel that twinboot can boot: {reason}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A build tool is missing.
    #[error(
        "cannot run `{tool}`, which kernels are built with: install gcc, binutils, make, flex, bison, bc, libelf-dev and libssl-dev"
    )]
    Tool {
        /// Program name.
        tool: &'static str,
        /// What the system said.
        source: process::Error,
    },
    /// `make` failed.
    #[error("`make {targets}` failed for {what}; the whole output is in `{}`\n{first}", log.display())]
    Make {
        /// Kernel and variant.
        what: String,
        /// What was to be made.
        targets: String,
        /// The first error of the compiler, the linker or Kconfig, with the lines around it.
        first: String,
        /// Everything `make` said.
        log: PathBuf,
    },
}

impl Error {
    /// The work was given up because twinboot was interrupted, not because anything is wrong.
    pub fn is_interrupted(&self) -> bool {
        matches!(
            self,
            Self::Cache(cache::Error::Interrupted { .. })
                | Self::Process(process::Error::Interrupted { .. })
                | Self::Patch(patch::Error::Process(process::Error::Interrupted { .. }))
        )
    }

    /// Names the file operation that failed, for `map_err`.
    pub(super) fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}
