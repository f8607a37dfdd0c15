//! Puts the reports into a results directory, each file whole or not at all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{FORMATS, Format as _, Markdown, RenderError, markdown};
use crate::analysis::Results;

/// A report that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// See there.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The file system refused.
    #[error("cannot write the report {path}; is there space, and may you write there?")]
    Io {
        /// File.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Writes every format into `dir` and returns the paths, in the order of [`FORMATS`]. A reader never sees half a file:
/// each is written beside its place and moved there by rename(2).
pub fn write_all(dir: &Path, results: &Results) -> Result<Vec<PathBuf>, WriteError> {
    FORMATS
        .iter()
        .map(|format| {
            let path = dir.join(format.file_name());
            let text = format.render(results)?;
            replace(dir, &path, text.as_bytes()).map_err(|source| WriteError::Io { path: path.clone(), source })?;
            Ok(path)
        })
        .collect()
}

/// Most bytes of a step's summary. GitHub refuses more, the whole of it.
///
/// Source: GitHub's documentation, "Workflow commands for GitHub Actions", "Step isolation and limits".
const STEP_SUMMARY: usize = 1 << 20;

/// Appends `report.md` to `path`, the file that GitHub names in `GITHUB_STEP_SUMMARY`; earlier text stays. What would
/// make the file too large is left out, and the summary says so.
///
/// Source: GitHub's documentation, "Workflow commands for GitHub Actions", "Adding a job summary".
pub fn append_step_summary(path: &Path, results: &Results) -> Result<(), WriteError> {
    let text = Markdown.render(results)?;
    let append = || -> io::Result<()> {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
        let there = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let text = markdown::within(&text, STEP_SUMMARY.saturating_sub(there.saturating_add(1)));
        if text.is_empty() {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the step's summary is full already"));
        }
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")
    };
    append().map_err(|source| WriteError::Io { path: path.to_owned(), source })
}

fn replace(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut file = tempfile::Builder::new()
        .prefix(".report-")
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
