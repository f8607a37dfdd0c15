//! A journal's text, and the journal of a results folder, as entries.

use std::io;
use std::path::{Path, PathBuf};

use super::Entry;
use crate::nofollow;

/// Name of the journal within a results folder.
pub const FILE: &str = "journal.jsonl";

/// A results folder whose journal cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The journal.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text is no journal.
    #[error("`{}` is no journal of this twinboot", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// Where, and what is wrong.
        source: JournalError,
    },
}

/// Reads the journal of a results folder and writes nothing.
pub fn read_journal(results: &Path) -> Result<Vec<Entry>, ReadError> {
    let path = results.join(FILE);
    let text = nofollow::read(&path).map_err(|source| ReadError::Io { path: path.clone(), source })?;
    journal_lines(&text).map_err(|source| ReadError::Journal { path, source })
}

/// A line of the journal that is whole but not understood.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the journal is not an entry this twinboot knows; was it edited, or written by a newer one?")]
pub struct JournalError {
    /// Line number, from 1.
    pub line: usize,
    /// What the parser said.
    #[source]
    pub source: serde_json::Error,
}

/// Reads a journal. Whatever stands behind the last newline was cut off while it was written and is left out, unless
/// it happens to be whole. Empty lines are skipped.
pub fn journal_lines(bytes: &[u8]) -> Result<Vec<Entry>, JournalError> {
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let mut entries = Vec::new();
    for (index, line) in bytes[..whole].split(|&byte| byte == b'\n').enumerate() {
        if !line.trim_ascii().is_empty() {
            entries.push(serde_json::from_slice(line).map_err(|source| JournalError { line: index + 1, source })?);
        }
    }
    entries.extend(serde_json::from_slice::<Entry>(&bytes[whole..]).ok());
    Ok(entries)
}
