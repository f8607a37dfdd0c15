//! A reproducer as it came: how it is started and stopped in the guest, and what its ends and its lines are worth. Pure.
//!
//! The host reads exit status and output of the SSH session. A shell makes the program the leader of a session of its own, says
//! its process id and becomes it: status and signal are then the program's, and whatever it started can be ended with it.

use std::collections::VecDeque;

use regex::bytes::Regex;
use twinboot_protocol::{Counts, Progress, StopReason, Summary};

use super::test_command::quote;
use crate::build::program::FILES_DIR;
use crate::journal::entry::RoundOutcome;
use crate::journal::oracle::{Oracle, Speech, StillRunning};
use crate::plan::model::{Program, Test};
use crate::vm::ssh::Exit;

/// Before the process id, on the first line.
const PID: &str = "twinboot-pid ";

/// Bytes of a program's output that are kept of its beginning, and as many of its end.
const KEPT: usize = 64 << 10;

/// Longest part of a line that is looked at and kept.
const LONGEST: usize = 4096;

/// The command line that starts `program` in the guest.
pub fn start(test: &Test, program: &Program, seed: u64) -> String {
    let fill = |word: &str| word.replace("{seconds}", &seconds(test)).replace("{seed}", &seed.to_string());
    let mut words = vec![test.run.clone()];
    for (key, value) in &test.args {
        match value.as_str() {
            "false" => {}
            "true" => words.push(format!("--{key}")),
            value => words.extend([format!("--{key}"), fill(value)]),
        }
    }
    words.extend(program.words.iter().map(|word| fill(word)));
    let words = words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
    let mut env = String::new();
    for (key, value) in &program.env {
        env.extend(["export ", key, "=", &quote(&fill(value)), "; "]);
    }
    let folder = if program.files.is_empty() { "/tmp".to_owned() } else { format!("{FILES_DIR}/{}", test.run) };
    // proc(5): the fifth field of stat is the process group. setsid(1) forks for the leader of one.
    if program.oracle.speaks == Speech::Records {
        return format!("{env}cd {} && exec {words}", quote(&folder));
    }
    format!(
        "{env}cd {} && read -r _ _ _ _ group _ < /proc/$$/stat && echo \"{PID}$$\" && \
         if [ \"$group\" = $$ ]; then exec {words}; else exec setsid {words}; fi",
        quote(&folder)
    )
}

/// The command line that sends a signal to the program and all that it started.
pub fn signal(name: &str, pid: u32) -> String {
    format!("kill -{name} -{pid}")
}

/// Whole seconds of the round, at least one.
fn seconds(test: &Test) -> String {
    test.stop.at_most.as_secs().max(1).to_string()
}

/// How a program's run came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Exited(Exit),
    /// It still ran when its time was up, and was ended.
    TimeUp,
    /// It was ended since enough failures were counted.
    Enough,
    /// It was killed and did not go away.
    Unkillable,
}

/// What a program has said so far, counted by its oracle.
#[derive(Debug)]
pub struct Listener {
    oracle: Oracle,
    corrupt: Option<Regex>,
    attempt: Option<Regex>,
    exposure: Option<Regex>,
    counts: Counts,
    first_failure: Option<(u64, String)>,
    output: Output,
    /// The program's process id, once it is known.
    pub pid: Option<u32>,
}

impl Listener {
    /// Listens by `oracle`, whose patterns were checked when the plan was read.
    pub fn new(oracle: &Oracle) -> Result<Self, regex::Error> {
        let compile = |text: &Option<String>| text.as_deref().map(Regex::new).transpose();
        Ok(Self {
            corrupt: compile(&oracle.corrupt)?,
            attempt: compile(&oracle.attempt)?,
            exposure: compile(&oracle.exposure)?,
            oracle: oracle.clone(),
            counts: Counts::default(),
            first_failure: None,
            output: Output::default(),
            pid: None,
        })
    }

    /// Takes a line of either stream, `elapsed_ns` after the start.
    pub fn take(&mut self, line: &[u8], elapsed_ns: u64) {
        if self.pid.is_none()
            && let Some(pid) = line.strip_prefix(PID.as_bytes())
        {
            self.pid = std::str::from_utf8(pid).ok().and_then(|pid| pid.trim().parse().ok());
            return;
        }
        let line = &line[..line.len().min(LONGEST)];
        self.output.push(line);
        let matches = |pattern: &Option<Regex>| u64::from(pattern.as_ref().is_some_and(|it| it.is_match(line)));
        self.counts.tries += matches(&self.attempt);
        self.counts.exposures += matches(&self.exposure);
        if matches(&self.corrupt) > 0 {
            self.fail(elapsed_ns, String::from_utf8_lossy(line).into_owned());
        }
    }

    fn fail(&mut self, elapsed_ns: u64, words: String) {
        self.counts.corruptions += 1;
        self.first_failure.get_or_insert((elapsed_ns, words));
    }

    /// Failures so far.
    pub fn failures(&self) -> u64 {
        self.counts.corruptions
    }

    /// The counters so far.
    pub fn progress(&self, elapsed_ns: u64) -> Progress {
        Progress { elapsed_ns, counts: self.units() }
    }

    /// What was kept of the output.
    pub fn output(&self) -> Vec<u8> {
        self.output.whole()
    }

    /// The counters in the units of the verdict: exposures where the program tells them, rounds otherwise.
    fn units(&self) -> Counts {
        let told = self.counts;
        if self.oracle.tells_exposures() {
            // Whatever failed was exposed, and whatever was exposed was tried.
            let exposures = told.exposures.max(told.corruptions);
            return Counts { tries: told.tries.max(exposures), exposures, ..told };
        }
        let corruptions = told.corruptions.min(1);
        Counts { tries: told.tries.max(1), exposures: 1, corruptions, ..told }
    }

    /// What the whole run comes to, `elapsed_ns` after its start: its outcome, and its summary where it counts.
    pub fn finish(mut self, end: &End, elapsed_ns: u64, seed: u64) -> (RoundOutcome, Option<Summary>) {
        let unknown = |reason: String| (RoundOutcome::TestFailed { reason }, None);
        let named = match end {
            End::Unkillable => {
                let reason = "the program did not end when it was killed: it is stuck in the kernel".to_owned();
                return (RoundOutcome::Stuck { reason }, None);
            }
            End::Exited(exit) => exit.to_string(),
            End::TimeUp => "still running when its time was up".to_owned(),
            End::Enough => "ended after enough failures".to_owned(),
        };
        let stopped_by = match end {
            End::Enough => StopReason::Corruptions,
            End::Exited(_) => StopReason::Exited,
            End::TimeUp | End::Unkillable => StopReason::Deadline,
        };
        if self.failures() == 0 && self.oracle.speaks == Speech::Program {
            match (end, self.oracle.still_running) {
                (End::TimeUp, StillRunning::Unknown) => {
                    return unknown(
                        "the program still ran when its time was up: is it endless (`oracle: {still_running: clean}`), does a \
                         hang count (`still_running: failure`), or does it need a longer `stop.at_most`?"
                            .to_owned(),
                    );
                }
                (End::TimeUp, StillRunning::Failure) => self.fail(elapsed_ns, named.clone()),
                (End::Exited(exit), _) => match self.worth(exit) {
                    Some(true) => self.fail(elapsed_ns, named.clone()),
                    Some(false) => {}
                    None => {
                        return unknown(format!(
                            "the program ended with {exit}, of which its oracle says nothing{}",
                            self.last_words()
                        ));
                    }
                },
                _ => {}
            }
        }
        let mut details = vec![("end".to_owned(), named)];
        if let Some((_, words)) = &self.first_failure {
            details.push(("first failure".to_owned(), words.clone()));
        }
        let summary = Summary {
            elapsed_ns,
            counts: self.units(),
            first_corruption_ns: self.first_failure.as_ref().map(|(at, _)| *at),
            stopped_by,
            seed,
            factors: Vec::new(),
            details,
            profile: Vec::new(),
        };
        (RoundOutcome::Finished, Some(summary))
    }

    /// Whether the exit is a failure; none where the oracle says nothing of it.
    fn worth(&self, exit: &Exit) -> Option<bool> {
        let (is, name) = match exit {
            Exit::Code(code) => (*code, code.to_string()),
            Exit::Signal(name) => (0, format!("SIG{name}")),
        };
        let listed = |list: &[String]| list.contains(&name);
        if listed(&self.oracle.clean) {
            return Some(false);
        }
        if listed(&self.oracle.failure) {
            return Some(true);
        }
        match (self.oracle.failure.is_empty(), self.oracle.clean.is_empty()) {
            // A shell's words for a program that it cannot find or start.
            _ if matches!(is, 126 | 127) => None,
            // Its output says it all.
            (true, true) => Some(false),
            (true, false) => Some(true),
            (false, _) => None,
        }
    }

    fn last_words(&self) -> String {
        self.output.last().map_or_else(String::new, |line| format!(": {}", String::from_utf8_lossy(line)))
    }
}

/// The first and the last part of an output, in lines.
#[derive(Debug, Default)]
struct Output {
    first: Vec<u8>,
    last: VecDeque<Vec<u8>>,
    last_bytes: usize,
    left_out: u64,
}

impl Output {
    fn push(&mut self, line: &[u8]) {
        if self.last.is_empty() && self.first.len() + line.len() < KEPT {
            self.first.extend_from_slice(line);
            self.first.push(b'\n');
            return;
        }
        self.last_bytes += line.len() + 1;
        self.last.push_back(line.to_vec());
        while self.last_bytes > KEPT
            && let Some(line) = self.last.pop_front()
        {
            self.last_bytes -= line.len() + 1;
            self.left_out += 1;
        }
    }

    fn last(&self) -> Option<&[u8]> {
        let first = || self.first.strip_suffix(b"\n")?.rsplit(|&byte| byte == b'\n').next();
        self.last.back().map(Vec::as_slice).or_else(first)
    }

    fn whole(&self) -> Vec<u8> {
        let mut whole = self.first.clone();
        if self.left_out > 0 {
            whole.extend_from_slice(format!("[{} lines left out]\n", self.left_out).as_bytes());
        }
        for line in &self.last {
            whole.extend_from_slice(line);
            whole.push(b'\n');
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program that says `lines` and ends so comes to: (outcome, counters of a round that counts).
    fn heard(oracle: &Oracle, lines: &[&str], end: &End) -> (RoundOutcome, Option<Counts>) {
        let mut listener = Listener::new(oracle).expect("patterns");
        listener.take(b"twinboot-pid 42", 0);
        for (at, line) in lines.iter().enumerate() {
            listener.take(line.as_bytes(), at as u64);
        }
        assert_eq!(listener.pid, Some(42));
        let (outcome, summary) = listener.finish(end, 1000, 1);
        (outcome, summary.map(|it| it.counts))
    }

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn an_exit_status_or_a_signal_is_a_failure_a_clean_end_or_nothing() {
        let code = |code| End::Exited(Exit::Code(code));
        let signal = |name: &str| End::Exited(Exit::Signal(name.to_owned()));
        let both = Oracle { failure: words(&["1", "SIGABRT"]), ..Oracle::by_exit() };
        let only_failure = Oracle { failure: words(&["1"]), clean: Vec::new(), ..Oracle::default() };
        for (oracle, end, failures) in [
            (Oracle::by_exit(), code(0), Some(0)),
            (Oracle::by_exit(), code(1), Some(1)),
            (Oracle::by_exit(), signal("SEGV"), Some(1)),
            (Oracle::by_exit(), code(127), None),
            (both.clone(), code(1), Some(1)),
            (both.clone(), signal("ABRT"), Some(1)),
            (both.clone(), code(0), Some(0)),
            (both.clone(), code(4), None),
            (both, signal("KILL"), None),
            (only_failure, code(2), None),
            (Oracle { clean: words(&["127"]), ..Oracle::default() }, code(127), Some(0)),
            (Oracle { corrupt: Some("lost".to_owned()), ..Oracle::default() }, code(1), Some(0)),
            (Oracle { speaks: Speech::Console, ..Oracle::default() }, code(9), Some(0)),
        ] {
            let (outcome, counts) = heard(&oracle, &["a whole summary: 12 tries"], &end);
            assert_eq!(counts.map(|it| it.corruptions), failures, "{oracle:?} {end:?}");
            let told = if failures.is_some() {
                outcome == RoundOutcome::Finished
            } else {
                matches!(outcome, RoundOutcome::TestFailed { .. })
            };
            assert!(told, "{outcome:?}");
        }
    }

    #[test]
    fn a_program_that_still_runs_is_clean_a_failure_or_nothing_as_its_plan_says() {
        let of = |still_running| heard(&Oracle { still_running, ..Oracle::by_exit() }, &["round 1"], &End::TimeUp);
        assert_eq!(of(StillRunning::Clean).1.map(|it| (it.corruptions, it.exposures)), Some((0, 1)));
        assert_eq!(of(StillRunning::Failure).1.map(|it| it.corruptions), Some(1));
        assert!(
            matches!(of(StillRunning::Unknown).0, RoundOutcome::TestFailed { reason } if reason.contains("stop.at_most"))
        );
        let stuck = heard(&Oracle { still_running: StillRunning::Clean, ..Oracle::by_exit() }, &[], &End::Unkillable);
        assert!(matches!(stuck, (RoundOutcome::Stuck { .. }, None)));
    }

    #[test]
    fn exposures_are_the_unit_only_where_the_program_tells_them() {
        let tries =
            Oracle { corrupt: Some("^LOST".to_owned()), attempt: Some("^pass".to_owned()), ..Oracle::by_exit() };
        let lines = ["pass 1", "LOST page 3", "pass 2", "LOST page 4", "pass 3"];
        let end = End::TimeUp;
        let (_, counts) = heard(&tries, &lines, &end);
        assert_eq!(counts.map(|it| (it.tries, it.exposures, it.corruptions)), Some((3, 1, 1)));
        let told = Oracle { exposure: Some("^pass".to_owned()), attempt: None, ..tries };
        let (_, counts) = heard(&told, &lines, &end);
        assert_eq!(counts.map(|it| (it.tries, it.exposures, it.corruptions)), Some((3, 3, 2)));
    }

    #[test]
    fn a_flood_of_output_is_kept_at_both_ends_alone() {
        let mut output = Output::default();
        for line in 0..200_000 {
            output.push(format!("line {line}").as_bytes());
        }
        let whole = String::from_utf8(output.whole()).expect("text");
        assert!(whole.len() < 2 * KEPT + 100, "{}", whole.len());
        assert!(whole.starts_with("line 0\n") && whole.ends_with("line 199999\n"));
        let left_out = whole.lines().find(|line| line.contains("left out")).expect("it says so");
        let left_out: usize = left_out[1..].split(' ').next().and_then(|count| count.parse().ok()).expect("a number");
        assert_eq!(whole.lines().count() - 1 + left_out, 200_000);
    }
}
