//! Records as JSON lines. One thread writes; racing threads only count and send.

use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use twinboot_protocol::{Counts, Record};

use crate::sys::clock;

/// Writes records, a line each, buffered until [`Writer::flush`].
#[derive(Debug)]
pub struct Writer<W: Write>(BufWriter<W>);

impl<W: Write> Writer<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self(BufWriter::new(out))
    }

    /// Adds a line.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, record)?;
        self.0.write_all(b"\n")
    }

    /// Hands everything to the reader.
    pub fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Counters that one thread raises and another reads while the race runs.
#[derive(Debug, Default)]
pub struct Tally {
    begun: AtomicU64,
    tries: AtomicU64,
    landings: AtomicU64,
    reuses: AtomicU64,
    exposures: AtomicU64,
    corruptions: AtomicU64,
}

impl Tally {
    /// Starts the clock, once, at the first try.
    pub fn begin(&self) {
        self.begun.store(clock::now(), Relaxed);
    }

    /// Nanoseconds since [`Tally::begin`]; 0 before.
    pub fn elapsed_ns(&self) -> u64 {
        match self.begun.load(Relaxed) {
            0 => 0,
            begun => clock::now().saturating_sub(begun),
        }
    }

    /// Publishes the racing thread's counts.
    pub fn publish(&self, counts: &Counts) {
        self.tries.store(counts.tries, Relaxed);
        self.landings.store(counts.landings, Relaxed);
        self.reuses.store(counts.reuses, Relaxed);
        self.exposures.store(counts.exposures, Relaxed);
        self.corruptions.store(counts.corruptions, Relaxed);
    }

    /// The counts, each at most one try old.
    pub fn counts(&self) -> Counts {
        Counts {
            tries: self.tries.load(Relaxed),
            landings: self.landings.load(Relaxed),
            reuses: self.reuses.load(Relaxed),
            exposures: self.exposures.load(Relaxed),
            corruptions: self.corruptions.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use twinboot_protocol::Failure;

    use super::*;

    #[test]
    fn every_record_is_one_line() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        let record = Record::Failure(Failure { message: "two\nlines".into(), stuck: false });
        writer.write(&record).expect("a vector takes all");
        writer.write(&record).expect("a vector takes all");
        writer.flush().expect("a vector takes all");
        drop(writer);
        let text = String::from_utf8(out).expect("JSON is UTF-8");
        let lines: Vec<Record> = text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect();
        assert_eq!(lines, [record.clone(), record]);
    }

    #[test]
    fn what_is_published_is_read_back_whole() {
        let tally = Tally::default();
        assert_eq!(tally.elapsed_ns(), 0);
        tally.begin();
        let counts = Counts { tries: 5, landings: 4, reuses: 3, exposures: 2, corruptions: 1 };
        tally.publish(&counts);
        assert_eq!(tally.counts(), counts);
    }
}
