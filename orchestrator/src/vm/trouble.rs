//! What a guest's kernel complained about, read from its console. Pure.
//!
//! The rules follow the texts in `kernel/panic.c`, `arch/x86/kernel/dumpstack.c`, `kernel/locking/lockdep.c`,
//! `kernel/rcu/`, `kernel/watchdog.c`, `kernel/hung_task.c`, `mm/oom_kill.c`, `mm/kasan/report.c`, `lib/ubsan.c` and
//! `mm/swapfile.c` of Linux 5.10 to 6.12. A console is a shared line: reports may be cut, interleaved with other output, or
//! end without an end.

mod fingerprint;
mod kind;
mod line;

pub use line::{KernelLine, kernel_lines};

use self::fingerprint::fingerprint;
use self::kind::{Start, classify};
use crate::journal::entry::{ConsoleProblem, ProblemKind};

/// Most lines of an excerpt.
pub const EXCERPT: usize = 40;

/// Reports kept of one console. A kernel that complains on every fault would fill the journal; the console log has all.
pub const MOST: usize = 32;

/// Kernel time without a further line after which a report counts as over, in seconds.
const SILENCE: f64 = 2.0;

/// Reads a console line by line.
#[derive(Debug, Default)]
pub struct Scanner {
    done: Vec<ConsoleProblem>,
    open: Option<Report>,
    /// A rule of `=` that the next line's report begins with.
    rule: Option<String>,
}

#[derive(Debug, Clone)]
struct Report {
    kind: ProblemKind,
    /// The announcing line's place among `texts`; none while only `cut here` was seen.
    headline: Option<usize>,
    /// Ends at a rule of `=`, as sanitizer reports do.
    ruled: bool,
    texts: Vec<String>,
    shown: Vec<String>,
    last_time: Option<f64>,
}

/// Everything a whole console complained about.
pub fn scan(console: &[u8]) -> Vec<ConsoleProblem> {
    let mut scanner = Scanner::default();
    for line in console.split(|&byte| byte == b'\n') {
        scanner.push(line);
    }
    scanner.problems()
}

impl Scanner {
    /// Takes the next line, with or without its newline.
    pub fn push(&mut self, line: &[u8]) {
        for line in kernel_lines(line) {
            self.one(line);
        }
    }

    /// What was found so far, a report that is still coming in included, in the order of the console; at most [`MOST`].
    pub fn problems(&self) -> Vec<ConsoleProblem> {
        let open = self.open.as_ref().and_then(Report::finish);
        self.done.iter().cloned().chain(open).take(MOST).collect()
    }

    fn one(&mut self, line: KernelLine) {
        if self.open.as_ref().is_some_and(|open| open.is_over_by(line.time)) {
            self.close();
        }
        let start = classify(&line.text);
        if let Some(open) = &mut self.open
            && open.goes_on(start)
        {
            let last = open.add(line, start);
            if last {
                self.close();
            }
            return;
        }
        match start {
            Start::None => {}
            Start::Rule => self.rule = Some(line.shown),
            Start::CutHere | Start::Problem(_) | Start::SecondLine(_) => {
                self.close();
                let mut report = Report::new(self.rule.take());
                let last = report.add(line, start);
                self.open = Some(report);
                if last {
                    self.close();
                }
                return;
            }
        }
        if start != Start::Rule {
            self.rule = None;
        }
    }

    fn close(&mut self) {
        if let Some(problem) = self.open.take().as_ref().and_then(Report::finish)
            && self.done.len() < MOST
        {
            self.done.push(problem);
        }
    }
}

impl Report {
    fn new(rule: Option<String>) -> Self {
        Self {
            kind: ProblemKind::Warning,
            headline: None,
            ruled: false,
            texts: rule.iter().map(|_| String::new()).collect(),
            shown: rule.into_iter().collect(),
            last_time: None,
        }
    }

    fn is_over_by(&self, time: Option<f64>) -> bool {
        matches!((self.last_time, time), (Some(last), Some(now)) if now - last > SILENCE)
    }

    /// Whether a line that could start a report belongs to this one instead.
    fn goes_on(&self, start: Start) -> bool {
        match start {
            Start::None | Start::Rule => true,
            Start::CutHere => false,
            // The headline that `cut here` promised, then the lines an oops goes on with.
            Start::Problem(kind) => self.headline.is_none() || (kind == self.kind && kind == ProblemKind::Oom),
            Start::SecondLine(_) => self.headline.is_none() || self.kind == ProblemKind::Bug,
        }
    }

    /// Adds a line; true when it was the report's last.
    fn add(&mut self, line: KernelLine, start: Start) -> bool {
        if self.headline.is_none()
            && let Start::Problem(kind) | Start::SecondLine(kind) = start
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
        if text.starts_with("---[ end ") || kind::stands_alone(text) {
            return true;
        }
        match self.kind {
            ProblemKind::Oom => text.contains("Killed process") || text.contains("no killable processes"),
            ProblemKind::Panic => false,
            ProblemKind::Bug if self.ruled => start == Start::Rule,
            // Reports that die() and warn() print go on after the trace, up to `end trace`.
            ProblemKind::Bug | ProblemKind::Warning => text == "</TASK>" && !self.dies(),
            ProblemKind::Lockdep | ProblemKind::Hang => text == "</TASK>",
        }
    }

    /// Whether an `end trace` line is to be expected: the report began with `cut here` or holds an oops.
    fn dies(&self) -> bool {
        self.texts.iter().any(|text| text.contains("[ cut here ]") || matches!(classify(text), Start::SecondLine(_)))
            || self
                .texts
                .iter()
                .any(|text| text.starts_with("BUG: kernel NULL") || text.starts_with("BUG: unable to handle"))
    }

    fn finish(&self) -> Option<ConsoleProblem> {
        // `cut here` and then silence: something was wrong, and what followed is all there is to say about it.
        let headline = self.headline.unwrap_or_else(|| usize::from(self.texts.len() > 1));
        let texts = self.texts.get(headline..)?;
        let excerpt = self.shown.clone();
        (!texts.is_empty()).then(|| ConsoleProblem { kind: self.kind, fingerprint: fingerprint(texts), excerpt })
    }
}

#[cfg(test)]
mod tests;
