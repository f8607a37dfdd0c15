//! `journal.jsonl`: one entry a line, on disk before the run goes on.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use super::{Entry, FILE, ReadError, journal_lines};
use crate::nofollow;

/// An open journal. Each entry is written in one call and synced, so that a killed run loses at most a cut last line. Locked
/// for as long as it is open, so that no two runs write to one.
#[derive(Debug)]
pub struct Journal {
    file: File,
}

impl Journal {
    /// Starts the journal of a results folder; refuses one that exists.
    pub fn create(results: &Path) -> io::Result<Self> {
        let file = File::options().append(true).create_new(true).open(results.join(FILE))?;
        Self::lock(file)
    }

    /// Takes up the journal of a results folder again and returns its entries. Nothing is written but to a journal that is
    /// understood: a last line that was cut off while it was written is removed from it.
    pub fn reopen(results: &Path) -> Result<(Self, Vec<Entry>), ReadError> {
        let path = results.join(FILE);
        let failed = |source| ReadError::Io { path: path.clone(), source };
        let mut journal = Self::lock(nofollow::reopen(&path).map_err(failed)?).map_err(failed)?;
        let mut text = Vec::new();
        journal.file.read_to_end(&mut text).map_err(failed)?;
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let entries =
            journal_lines(&text[..whole]).map_err(|source| ReadError::Journal { path: path.clone(), source })?;
        if whole < text.len() {
            journal.file.set_len(whole as u64).and_then(|()| journal.file.sync_data()).map_err(failed)?;
        }
        Ok((journal, entries))
    }

    /// Appends one entry and waits until it is on disk.
    pub fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()
    }

    fn lock(file: File) -> io::Result<Self> {
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => {
                Err(io::Error::new(io::ErrorKind::WouldBlock, "another twinboot is writing to it"))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_last_line_goes_and_what_comes_after_stands_on_a_line_of_its_own() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let note = Entry::Notice { text: "one".to_owned() };
        Journal::create(dir.path()).expect("starts").append(&note).expect("writes");
        let path = dir.path().join(FILE);
        let mut bytes = std::fs::read(&path).expect("is there");
        let whole = bytes.clone();
        bytes.extend_from_slice(br#"{"event":"round_fini"#);
        std::fs::write(&path, bytes).expect("writes");

        let (mut journal, entries) = Journal::reopen(dir.path()).expect("opens");
        assert_eq!(entries, std::slice::from_ref(&note));
        journal.append(&note).expect("writes");
        assert_eq!(std::fs::read(&path).expect("is there"), [whole.clone(), whole].concat());
    }

    #[test]
    fn two_runs_do_not_write_to_one_journal() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let first = Journal::create(dir.path()).expect("starts");
        let error = Journal::reopen(dir.path()).expect_err("locked");
        assert!(matches!(error, ReadError::Io { source, .. } if source.kind() == io::ErrorKind::WouldBlock));
        drop(first);
        Journal::reopen(dir.path()).expect("free again");
    }
    #[test]
    fn a_journal_that_is_not_understood_is_left_as_it_is() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let path = dir.path().join(FILE);
        let text = br#"{"event":"round_started","cell":"../x","round":1}
{"event":"#;
        std::fs::write(&path, text).expect("writes");
        assert!(matches!(Journal::reopen(dir.path()), Err(ReadError::Journal { .. })));
        assert_eq!(std::fs::read(&path).expect("is there"), text);
    }

    #[test]
    fn a_journal_elsewhere_is_not_written_to() {
        let (dir, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        drop(Journal::create(elsewhere.path()).expect("starts"));
        std::os::unix::fs::symlink(elsewhere.path().join(FILE), dir.path().join(FILE)).expect("links");
        let error = Journal::reopen(dir.path()).expect_err("a link");
        assert!(matches!(error, ReadError::Io { source, .. } if source.to_string().contains("it is a link")));
    }
}
