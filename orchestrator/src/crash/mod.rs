//! Crash reports: what a guest's kernel complains about, read from its console. Pure.
//!
//! A console is a shared line. Reports may be cut, mixed with other output and with each other, or end without an end. Where
//! the kernel names the caller of each line (`CONFIG_PRINTK_CALLER`), reports of several CPUs are told apart by it.
//! `class` has the texts, `fingerprint` says when two reports are the same.

mod class;
mod fingerprint;
mod line;
mod report;

pub use line::{KernelLine, kernel_lines};
pub use report::{CrashKind, CrashReport, since};

use self::class::{Start, classify};
use self::fingerprint::fingerprint;

/// Most lines of an excerpt.
pub const EXCERPT: usize = 40;

/// Different reports kept of one console; equal ones are counted. A panic always has a place.
pub const MOST: usize = 32;

/// Kernel time without a further line after which a report counts as over, in seconds.
const SILENCE: f64 = 2.0;

/// Callers whose lines are followed at a time. Beyond that the one that was silent for longest is given up.
const CALLERS: usize = 16;

/// Lines kept of what may turn out to belong to the next report.
const PREFACE: usize = 16;

/// Bytes of a line that are looked at.
const LONGEST_LINE: usize = 8 << 10;

/// A lock-up that lasted longer than the kernel has run, give or take this many seconds, is the host's.
const CLOCK_SLACK: f64 = 30.0;

/// Reads a console line by line. Its memory is bounded whatever the guest prints.
#[derive(Debug, Default)]
pub struct Scanner {
    done: Vec<CrashReport>,
    /// By caller, the one that spoke last at the end; none for lines without.
    callers: Vec<(Option<String>, Context)>,
    /// Some line had a time stamp, a level or a caller: lines without are not the kernel's.
    stamped: bool,
}

/// What one caller is printing.
#[derive(Debug, Default)]
struct Context {
    open: Option<Report>,
    /// Lines that belong to the next report if it follows at once.
    preface: Vec<KernelLine>,
}

#[derive(Debug, Clone)]
struct Report {
    kind: CrashKind,
    /// The headline's place among `texts`; none while only `cut here` was seen.
    headline: Option<usize>,
    /// Ends at a rule of `=`, as sanitizer reports do.
    ruled: bool,
    texts: Vec<String>,
    shown: Vec<String>,
    last_time: Option<f64>,
}

/// Every report of a whole console.
pub fn scan(console: &[u8]) -> Vec<CrashReport> {
    let mut scanner = Scanner::default();
    for line in console.split(|&byte| byte == b'\n') {
        scanner.push(line);
    }
    scanner.reports()
}

impl Scanner {
    /// Takes the next line, with or without its newline.
    pub fn push(&mut self, line: &[u8]) {
        for line in kernel_lines(&line[..line.len().min(LONGEST_LINE)]) {
            self.stamped |= line.stamped;
            // A program's words on a console whose kernel stamps its own.
            if line.stamped || !self.stamped {
                self.one(line);
            }
        }
    }

    /// The reports so far, unfinished ones included, at most [`MOST`]. Equal ones are counted; those that are finished come
    /// in the order of the console.
    pub fn reports(&self) -> Vec<CrashReport> {
        let mut all = self.done.clone();
        for (_, context) in &self.callers {
            if let Some(report) = context.open.as_ref().and_then(Report::finish) {
                keep(&mut all, report);
            }
        }
        all
    }

    fn one(&mut self, line: KernelLine) {
        let at = self.callers.iter().position(|(caller, _)| *caller == line.caller);
        let (caller, mut context) = match at {
            Some(at) => self.callers.remove(at),
            None => (line.caller.clone(), Context::default()),
        };
        if self.callers.len() >= CALLERS {
            let (_, mut silent) = self.callers.remove(0);
            silent.close(&mut self.done);
        }
        context.take(line, &mut self.done);
        self.callers.push((caller, context));
    }
}

/// Adds a report, or counts it if an equal one is there. Where there is no room, a panic takes the last other one's place.
fn keep(reports: &mut Vec<CrashReport>, report: CrashReport) {
    if let Some(known) = reports.iter_mut().find(|known| known.is_same(&report)) {
        known.count = known.count.saturating_add(1);
    } else if reports.len() < MOST {
        reports.push(report);
    } else if report.kind == CrashKind::Panic
        && let Some(last) = reports.iter().rposition(|known| known.kind != CrashKind::Panic)
    {
        reports.remove(last);
        reports.push(report);
    }
}

impl Context {
    fn take(&mut self, line: KernelLine, done: &mut Vec<CrashReport>) {
        if self.open.as_ref().is_some_and(|open| open.is_over_by(line.time)) {
            self.close(done);
        }
        let start = classify(&line.text);
        if let Some(open) = &mut self.open
            && open.goes_on(start)
        {
            if open.add(line, start) {
                self.close(done);
            }
            return;
        }
        match start {
            Start::CutHere | Start::Headline(_) | Start::SecondLine(_) => {
                self.close(done);
                let mut report = Report::new(std::mem::take(&mut self.preface));
                let last = report.add(line, start);
                self.open = Some(report);
                if last {
                    self.close(done);
                }
            }
            Start::Rule => self.preface = vec![line],
            Start::Preface if self.preface.len() < PREFACE => self.preface.push(line),
            Start::Preface => {}
            // What is printed after the dump of a page and is no part of it ends it, unless it is a rule's report.
            Start::None => self.preface.clear(),
        }
    }

    fn close(&mut self, done: &mut Vec<CrashReport>) {
        if let Some(report) = self.open.take().as_ref().and_then(Report::finish) {
            keep(done, report);
        }
    }
}

impl Report {
    fn new(preface: Vec<KernelLine>) -> Self {
        Self {
            kind: CrashKind::Warning,
            headline: None,
            ruled: false,
            texts: preface.iter().map(|_| String::new()).collect(),
            shown: preface.into_iter().map(|line| line.shown).collect(),
            last_time: None,
        }
    }

    fn is_over_by(&self, time: Option<f64>) -> bool {
        matches!((self.last_time, time), (Some(last), Some(now)) if now - last > SILENCE)
    }

    /// Whether a line that could start a report belongs to this one instead.
    fn goes_on(&self, start: Start) -> bool {
        match start {
            Start::None | Start::Rule | Start::Preface => true,
            Start::CutHere => false,
            // The headline that `cut here` promised, then the lines an oops goes on with.
            Start::Headline(kind) => self.headline.is_none() || (kind == self.kind && kind == CrashKind::Oom),
            Start::SecondLine(_) => self.headline.is_none() || self.kind == CrashKind::Bug,
        }
    }

    /// Adds a line; true when it was the report's last.
    fn add(&mut self, line: KernelLine, start: Start) -> bool {
        if self.headline.is_none()
            && let Start::Headline(kind) | Start::SecondLine(kind) = start
        {
            self.kind = kind;
            self.headline = Some(self.texts.len());
            self.ruled = line.text.starts_with("BUG: K") || line.text.starts_with("UBSAN: ");
        }
        self.last_time = line.time.or(self.last_time);
        let last = self.ends_with(&line.text, start);
        if self.shown.len() < EXCERPT {
            self.shown.push(line.shown);
        } else if last {
            // The last line tells most: who was killed, which trace ended.
            self.shown[EXCERPT - 1] = line.shown;
        }
        if self.texts.len() < 4 * EXCERPT {
            self.texts.push(line.text);
        }
        last
    }

    fn ends_with(&self, text: &str, start: Start) -> bool {
        if self.headline.is_none() {
            return false;
        }
        if text.starts_with("---[ end ") || class::stands_alone(text) {
            return true;
        }
        match self.kind {
            CrashKind::Oom => text.contains("Killed process") || text.contains("no killable processes"),
            CrashKind::Panic => false,
            CrashKind::Bug if self.ruled => start == Start::Rule,
            // SLUB goes on behind the trace with what it did about it.
            CrashKind::Bug if self.is_slub() => text.starts_with("FIX "),
            // Reports that die() and warn() print go on after the trace, up to `end trace`.
            CrashKind::Bug | CrashKind::Warning => text == "</TASK>" && !self.dies(),
            CrashKind::Lockdep | CrashKind::Hang => text == "</TASK>",
            CrashKind::DataLoss | CrashKind::Leak => true,
        }
    }

    fn headline_text(&self) -> &str {
        self.headline.and_then(|at| self.texts.get(at)).map_or("", String::as_str)
    }

    fn is_slub(&self) -> bool {
        self.headline_text().starts_with("BUG ")
    }

    /// Whether an `end trace` line is to be expected: the report began with `cut here` or holds an oops.
    fn dies(&self) -> bool {
        let headline = self.headline_text();
        headline.starts_with("BUG: kernel NULL")
            || headline.starts_with("BUG: unable to handle")
            || self.texts.iter().any(|text| matches!(classify(text), Start::CutHere | Start::SecondLine(_)))
    }

    fn finish(&self) -> Option<CrashReport> {
        // `cut here` and then silence: something was wrong, and what followed is all there is to say about it.
        let first = self.texts.iter().position(|text| !text.is_empty() && !text.contains("[ cut here ]"));
        let headline = self.headline.or(first).unwrap_or(self.texts.len().checked_sub(1)?);
        let texts = self.texts.get(headline..)?;
        let note = self.note();
        (!texts.is_empty()).then(|| CrashReport {
            kind: self.kind,
            fingerprint: fingerprint(texts),
            excerpt: self.shown.clone(),
            count: 1,
            note,
        })
    }

    /// A watchdog counts in the host's time; a lock-up that is older than the guest's clock happened to the guest, not in it.
    fn note(&self) -> Option<String> {
        let (_, rest) = self.headline_text().split_once(" stuck for ")?;
        let stuck: f64 = rest.split('s').next()?.trim().parse().ok()?;
        let uptime = self.last_time?;
        (stuck > uptime + CLOCK_SLACK).then(|| {
            format!(
                "the lock-up of {stuck} s is longer than the kernel had run ({uptime:.0} s): the host had most likely \
                 stopped the guest"
            )
        })
    }
}

#[cfg(test)]
mod tests;
