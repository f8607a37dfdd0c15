//! `journal.jsonl`: one entry a line, on disk before the run goes on.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use crate::outcome::Entry;

/// File name within a results folder.
pub const FILE: &str = "journal.jsonl";

/// An open journal. Each entry is written in one call and synced, so that a killed run loses at most a cut last line.
#[derive(Debug)]
pub struct Journal {
    file: File,
}

impl Journal {
    /// Starts the journal of a results folder; refuses one that exists.
    pub fn create(results: &Path) -> io::Result<Self> {
        Ok(Self { file: File::options().append(true).create_new(true).open(results.join(FILE))? })
    }

    /// Goes on with the journal of a results folder. A last line that was cut off is taken away, or the next one would be lost
    /// with it.
    pub fn reopen(results: &Path) -> io::Result<Self> {
        let path = results.join(FILE);
        let bytes = std::fs::read(&path)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let file = File::options().append(true).open(path)?;
        if whole < bytes.len() {
            file.set_len(u64::try_from(whole).map_err(io::Error::other)?)?;
        }
        Ok(Self { file })
    }

    /// Appends one entry and waits until it is on disk.
    pub fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()
    }
}
