//! What a guest test prints, taken line by line: kept in `records.jsonl` and condensed for the journal.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;
use twinboot_protocol::{Corruption, Failure, Preflight, Progress, Record, Summary, VERSION};

use crate::journal::entry::SAMPLES;
use crate::nofollow;

/// File name within a cell's folder.
pub const FILE: &str = "records.jsonl";

/// Progress records kept of a round.
const PROGRESS_KEPT: usize = 240;

/// Longest line that is taken for a record, in bytes; a longer one is a guest gone wild.
const LONGEST: usize = 64 * 1024;

/// A line of `records.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    round: u32,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    record: Option<&'a Record>,
    /// A line that is no record, such as one cut short by the guest's death.
    #[serde(skip_serializing_if = "Option::is_none")]
    unparsed: Option<&'a str>,
}

/// The records of one round as they come in.
#[derive(Debug)]
pub struct Records {
    file: File,
    round: u32,
    stride: usize,
    seen: usize,
    /// First record.
    pub preflight: Option<Preflight>,
    /// Last record.
    pub summary: Option<Summary>,
    /// Progress so far, evenly thinned.
    pub progress: Vec<Progress>,
    /// Corruption records so far.
    pub corruptions: u64,
    /// The first of them.
    pub samples: Vec<Corruption>,
    /// Why the test gave up, in its own words.
    pub failure: Option<Failure>,
    /// Lines that were no records.
    pub unparsed: u64,
}

/// Takes the lines of `rounds` out of the `records.jsonl` at `path`: they will be run again. Lines cut off by the end of a
/// killed run go as well.
pub fn forget(path: &Path, rounds: &[u32]) -> io::Result<()> {
    #[derive(serde::Deserialize)]
    struct Of {
        round: u32,
    }
    let text = match nofollow::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    let kept = text.split_inclusive(|&byte| byte == b'\n').filter(|line| {
        serde_json::from_slice::<Of>(line).is_ok_and(|of| line.ends_with(b"\n") && !rounds.contains(&of.round))
    });
    let fresh = path.with_extension("jsonl.new");
    nofollow::replace(&fresh, &kept.collect::<Vec<_>>().concat())?;
    std::fs::rename(fresh, path)
}

impl Records {
    /// Appends to the `records.jsonl` at `path`.
    pub fn open(path: &Path, round: u32) -> io::Result<Self> {
        Ok(Self {
            file: nofollow::append(path)?,
            round,
            stride: 1,
            seen: 0,
            preflight: None,
            summary: None,
            progress: Vec::new(),
            corruptions: 0,
            samples: Vec::new(),
            failure: None,
            unparsed: 0,
        })
    }

    /// Takes one line of the test's output. Returns the progress it carried, if any.
    pub fn take(&mut self, line: &[u8]) -> io::Result<Option<Progress>> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(None);
        }
        let record = if line.len() <= LONGEST { serde_json::from_slice::<Record>(line).ok() } else { None };
        let text = String::from_utf8_lossy(&line[..line.len().min(LONGEST)]);
        let unparsed = record.is_none().then_some(&*text);
        let mut out = serde_json::to_vec(&Line { round: self.round, record: record.as_ref(), unparsed })?;
        out.push(b'\n');
        self.file.write_all(&out)?;
        Ok(match record {
            None => {
                self.unparsed += 1;
                None
            }
            Some(record) => self.fold(record),
        })
    }

    fn fold(&mut self, record: Record) -> Option<Progress> {
        match record {
            Record::Preflight(preflight) => {
                if preflight.protocol != VERSION {
                    let message = format!(
                        "the guest test speaks protocol {}, this twinboot {VERSION}: build both from one tree",
                        preflight.protocol
                    );
                    self.failure = Some(Failure { message, stuck: false });
                }
                self.preflight = Some(preflight);
            }
            Record::Progress(progress) => {
                self.keep(progress);
                return Some(progress);
            }
            Record::Corruption(corruption) => {
                self.corruptions += 1;
                if self.samples.len() < SAMPLES {
                    self.samples.push(corruption);
                }
            }
            Record::Summary(summary) => self.summary = Some(summary),
            Record::Failure(failure) => self.failure = Some(failure),
        }
        None
    }

    /// Keeps every `stride`-th progress record; when there are too many, every other one goes and the stride doubles.
    fn keep(&mut self, progress: Progress) {
        if self.seen.is_multiple_of(self.stride) {
            self.progress.push(progress);
        }
        self.seen += 1;
        if self.progress.len() > PROGRESS_KEPT {
            let mut index = 0;
            self.progress.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.stride *= 2;
        }
    }

    /// Puts what was written on disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> (tempfile::TempDir, Records) {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let records = Records::open(&dir.path().join("records.jsonl"), 3).expect("opens");
        (dir, records)
    }

    fn progress(tries: u64) -> String {
        format!(
            r#"{{"type":"progress","elapsed_ns":{tries},"tries":{tries},"landings":0,"reuses":0,"exposures":0,"corruptions":0}}"#
        )
    }

    #[test]
    fn a_line_cut_by_the_guests_death_is_kept_but_not_counted() {
        let (dir, mut records) = records();
        let whole = r#"{"type":"corruption","elapsed_ns":1,"try":3,"page":0,"expected":2,"found":1,"kind":"lost_update","entry_before":null,"entry_after":null}"#;
        records.take(whole.as_bytes()).expect("writes");
        records.take(&whole.as_bytes()[..40]).expect("writes");
        assert_eq!((records.corruptions, records.unparsed), (1, 1));
        let text = std::fs::read_to_string(dir.path().join("records.jsonl")).expect("is there");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
        assert_eq!(lines[0]["round"], 3);
        assert_eq!(lines[0]["try"], 3);
        assert_eq!(lines[1]["unparsed"], &whole[..40]);
    }

    #[test]
    fn progress_is_thinned_evenly_and_keeps_its_span() {
        let (_dir, mut records) = records();
        for tries in 0..2000 {
            records.take(progress(tries).as_bytes()).expect("writes");
        }
        assert!(records.progress.len() <= PROGRESS_KEPT);
        assert_eq!(records.progress[0].counts.tries, 0);
        let steps: Vec<u64> =
            records.progress.windows(2).map(|pair| pair[1].counts.tries - pair[0].counts.tries).collect();
        assert!(steps.iter().all(|step| *step == steps[0]), "{steps:?}");
    }

    #[test]
    fn rounds_that_are_run_again_leave_no_lines() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let path = dir.path().join("records.jsonl");
        forget(&path, &[1]).expect("nothing there is fine");
        for round in [1, 2] {
            Records::open(&path, round).expect("opens").take(progress(7).as_bytes()).expect("writes");
        }
        let mut text = std::fs::read(&path).expect("is there");
        let first = text.split_inclusive(|&byte| byte == b'\n').next().expect("a line").to_vec();
        text.extend_from_slice(&first[..20]);
        std::fs::write(&path, text).expect("writes");
        forget(&path, &[2]).expect("rewrites");
        assert_eq!(std::fs::read(&path).expect("is there"), first);
    }

    #[test]
    fn another_protocol_is_refused() {
        let (_dir, mut records) = records();
        let line = r#"{"type":"preflight","protocol":99,"test":"t","strategy":"s","kernel_release":"","kernel_version":"","cpus":1,"preemption":"full","page_size":4096,"swap":null,"seed":1}"#;
        records.take(line.as_bytes()).expect("writes");
        assert!(records.failure.is_some_and(|reason| reason.message.contains("protocol 99")));
    }
    #[test]
    fn records_are_not_written_through_links() {
        let (dir, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let mine = elsewhere.path().join("mine");
        std::fs::write(&mine, "mine").expect("writes");
        for name in ["records.jsonl", "records.jsonl.new"] {
            std::os::unix::fs::symlink(&mine, dir.path().join(name)).expect("links");
        }
        let path = dir.path().join("records.jsonl");
        Records::open(&path, 1).expect_err("a link");
        forget(&path, &[1]).expect("a file takes the link's place");
        assert_eq!(std::fs::read(&mine).expect("is there"), b"mine");
        Records::open(&path, 1).expect("is a file now");
    }
}
