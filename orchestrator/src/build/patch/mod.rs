//! Patches with the semantics of GNU patch(1), strict about hunks that fail and frank about fuzz.

mod apply;
mod info;
mod mail;

use std::io;
use std::path::{Component, Path, PathBuf};

use crate::journal::entry::PatchInfo;
use crate::plan::model;
use crate::process;

pub use apply::apply;
use mail::Unsupported;

/// A patch file that has been read.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Where it was read from.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The diffs it carries, one for each message, in the order in which they are applied.
    pub diffs: Vec<Vec<u8>>,
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
    #[error("`{}` {}", path.display(), if *cover { "is the cover letter of a series and holds no diff: leave it out" } else { "changes no file: a plain diff or a `git format-patch` mail is needed, with paths that lose their first component (-p1)" })]
    Empty {
        /// The patch.
        path: PathBuf,
        /// It is the cover letter of a series.
        cover: bool,
    },
    /// The file holds a diff of another form.
    #[error("`{}` {what}", path.display())]
    Unsupported {
        /// The patch.
        path: PathBuf,
        /// What it holds, and what to do.
        what: &'static str,
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
    let mut messages = mail::messages(&bytes);
    if let Some(other) = messages.iter().find_map(mail::unsupported) {
        let what = match other {
            Unsupported::ContextDiff => "is a context diff: make a unified one with `diff -u` or `git diff`",
            Unsupported::Binary => {
                "changes a binary file, which a kernel under test has no use for: leave that file out"
            }
            Unsupported::Link => "makes, changes or removes a symbolic link, and only plain files are patched",
        };
        return Err(Error::Unsupported { path: patch.path.clone(), what });
    }
    let cover = messages.iter().all(|it| it.number.is_some_and(|(number, _)| number == 0));
    // What is taken out goes last first.
    if patch.reverse {
        messages.reverse();
    }
    // The subject is that of the first message, whichever comes first.
    let text = |message: &mail::Message| String::from_utf8_lossy(&message.text).into_owned();
    let subject = messages.first().map(text).and_then(|text| info::subject_of(&text));
    let diffs: Vec<Vec<u8>> = messages.into_iter().map(|it| it.diff).filter(|diff| !diff.is_empty()).collect();
    let parsed = info::parse(&String::from_utf8_lossy(&diffs.concat()));
    if parsed.files.is_empty() {
        return Err(Error::Empty { path: patch.path.clone(), cover });
    }
    for file in &parsed.files {
        let inside = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
        if !inside {
            return Err(Error::Outside { path: patch.path.clone(), file: file.clone() });
        }
    }
    let name = patch.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let info = PatchInfo { file: name, subject, reverse: patch.reverse, id: parsed.id };
    Ok(Loaded { path: patch.path.clone(), bytes, diffs, files: parsed.files.into_iter().collect(), info })
}
