//! A log that a guest cannot make larger than it may be: its first and its last part are kept.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};

/// Bytes kept of a log's beginning. A guest that boots and runs its test prints some ten KiB.
const FIRST: u64 = 4 << 20;

/// Bytes kept of its end, in memory until the log is closed.
const LAST: usize = 1 << 20;

/// A log under way. Dropping it writes its last part.
pub(super) struct Bounded {
    file: File,
    room: u64,
    last_bytes: usize,
    last: VecDeque<u8>,
    left_out: u64,
    finished: bool,
    error: Option<String>,
}

impl Bounded {
    /// Writes to `file`, behind what is there.
    pub(super) fn new(file: File) -> Self {
        Self::with_limits(file, FIRST, LAST)
    }

    fn with_limits(file: File, first: u64, last_bytes: usize) -> Self {
        Self { file, room: first, last_bytes, last: VecDeque::new(), left_out: 0, finished: false, error: None }
    }

    /// Takes the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let room = usize::try_from(self.room).unwrap_or(usize::MAX);
        let (first, rest) = bytes.split_at(bytes.len().min(room));
        self.put(first);
        self.room -= first.len() as u64;
        self.last.extend(rest);
        let excess = self.last.len().saturating_sub(self.last_bytes);
        self.last.drain(..excess);
        self.left_out += excess as u64;
    }

    /// Writes the last part, with a line before it that says how much is missing.
    pub(super) fn finish(&mut self) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        if self.left_out > 0 {
            let gap = format!("\n==== twinboot: {} bytes left out here ====\n", self.left_out);
            self.put(gap.as_bytes());
        }
        let last = std::mem::take(&mut self.last);
        let (older, newer) = last.as_slices();
        self.put(older);
        self.put(newer);
    }

    /// Bytes that are not in the log.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The first write that failed; nothing is written after it.
    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.error.is_none() && !bytes.is_empty() {
            self.error = self.file.write_all(bytes).err().map(|error: io::Error| error.to_string());
        }
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a log of at most 10 bytes and then 5 has of `pieces`.
    fn kept(pieces: &[&str]) -> (String, u64) {
        let file = tempfile::NamedTempFile::new().expect("a scratch file");
        let mut log = Bounded::with_limits(file.reopen().expect("opens"), 10, 5);
        for piece in pieces {
            log.write(piece.as_bytes());
        }
        log.finish();
        let left_out = log.left_out();
        drop(log);
        (std::fs::read_to_string(file.path()).expect("is there"), left_out)
    }

    #[test]
    fn what_fits_is_kept_to_the_byte() {
        assert_eq!(kept(&["0123456", "789abc", "de"]), ("0123456789abcde".to_owned(), 0));
    }

    #[test]
    fn of_a_flood_the_first_and_the_last_part_are_kept() {
        let flood = "0123456789abcdefghijklmnopqrstuvwxyz";
        let expected = "0123456789\n==== twinboot: 21 bytes left out here ====\nvwxyz";
        for cut in [1, 9, 10, 11, 20, 36] {
            let (head, tail) = flood.split_at(cut);
            assert_eq!(kept(&[head, tail]), (expected.to_owned(), 21), "{cut}");
        }
    }

    #[test]
    fn a_log_that_is_dropped_has_its_last_part() {
        let file = tempfile::NamedTempFile::new().expect("a scratch file");
        Bounded::with_limits(file.reopen().expect("opens"), 2, 5).write(b"abcd");
        assert_eq!(std::fs::read(file.path()).expect("is there"), b"abcd");
    }
}
