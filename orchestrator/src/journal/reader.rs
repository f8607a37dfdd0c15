//! The journal's text and back: one JSON object a line.

use super::Entry;

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
