//! Patches with the semantics of GNU patch(1), strict about hunks that fail and frank about fuzz.

mod apply;
mod info;

use std::io;
use std::path::{Component, Path, PathBuf};

use crate::journal::entry::PatchInfo;
use crate::plan::model;
use crate::process;

pub use apply::apply;

/// A patch file that has been read.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Where it was read from.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Files it touches, relative to the tree.
    pub files: Vec<String>,
    /// What is said of it in reports.
    pub info: PatchInfo,
}

/// Why a patch could not be applied. The tree is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The patch file could not be read.
    #[error("cannot read the patch `{}`", path.display())]
    Read {
        /// The patch.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds no diff.
    #[error("`{}` changes no file: a plain diff or a `git format-patch` mail is needed, with paths that lose their first component (-p1)", path.display())]
    Empty {
        /// The patch.
        path: PathBuf,
    },
    /// It reaches out of the tree, or through a symbolic link.
    #[error("`{}` touches `{file}`, which is no plain file of the tree", path.display())]
    Outside {
        /// The patch.
        path: PathBuf,
        /// As the patch names it.
        file: String,
    },
    /// The tree holds the change already.
    #[error("`{}` is {} `{file}` already: take it out of the variant{}", path.display(), if *reverse { "reversed in" } else { "applied to" }, if *reverse { "" } else { ", or apply it in reverse" })]
    Already {
        /// The patch.
        path: PathBuf,
        /// Where it was noticed.
        file: String,
        /// It was to be applied in reverse.
        reverse: bool,
    },
    /// Hunks failed, or a file is not there.
    #[error("`{}` does not {}: {}{}", path.display(), if *reverse { "come out" } else { "apply" }, failures.join(", "), indent(reject))]
    Rejected {
        /// The patch.
        path: PathBuf,
        /// It was to be applied in reverse.
        reverse: bool,
        /// `file: hunk 1 at line 10`, in order.
        failures: Vec<String>,
        /// The hunks that were rejected.
        reject: String,
    },
    /// `patch` could not be run or was interrupted.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// Its scratch folder failed.
    #[error("cannot prepare a place to try the patch in `{}`", path.display())]
    Scratch {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn indent(text: &str) -> String {
    text.lines().fold(String::new(), |text, line| text + "\n  " + line)
}

/// Reads a patch file.
pub fn load(patch: &model::Patch) -> Result<Loaded, Error> {
    let bytes = std::fs::read(&patch.path).map_err(|source| Error::Read { path: patch.path.clone(), source })?;
    let parsed = info::parse(&String::from_utf8_lossy(&bytes));
    if parsed.files.is_empty() {
        return Err(Error::Empty { path: patch.path.clone() });
    }
    for file in &parsed.files {
        let inside = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
        if !inside {
            return Err(Error::Outside { path: patch.path.clone(), file: file.clone() });
        }
    }
    let name = patch.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let info = PatchInfo { file: name, subject: parsed.subject, reverse: patch.reverse, id: parsed.id };
    Ok(Loaded { path: patch.path.clone(), bytes, files: parsed.files.into_iter().collect(), info })
}
