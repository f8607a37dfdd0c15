//! What else went wrong in a cell, apart from its corruptions.

use super::round::{Round, RoundState};
use crate::crash::{CrashKind, CrashReport};
use crate::journal::entry::{RoundOutcome, Stage};
use crate::journal::known::Known;

/// One kind of trouble, with equal fingerprints counted once.
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    /// What kind.
    pub kind: TroubleKind,
    /// One line for people.
    pub headline: String,
    /// Lines that make two troubles the same; empty where there is only the headline.
    pub fingerprint: Vec<String>,
    /// Console lines as they stood, from the first round that showed it.
    pub excerpt: Vec<String>,
    /// Rounds that showed it, ascending.
    pub rounds: Vec<u32>,
    /// Why the plan lets it pass, where it does.
    pub known: Option<String>,
}

/// Kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleKind {
    /// The console said so.
    Console(CrashKind),
    /// The guest's kernel died.
    Died,
    /// A stage after QEMU's start overran its deadline: the guest hung, or, at the login, the host or the network was slow.
    TimedOut(Stage),
    /// The test program gave up or crashed.
    TestFailed,
    /// twinboot or the host failed.
    Infrastructure(Stage),
    /// The round began and nothing tells how it ended.
    Lost,
}

impl TroubleKind {
    /// Whether the kernel under test has to answer for it.
    pub fn is_kernels(self) -> bool {
        match self {
            Self::Console(_) | Self::Died => true,
            // The guest had said that it was ready, and a kernel in trouble says so on its console.
            Self::TimedOut(stage) => stage != Stage::Ssh,
            Self::TestFailed | Self::Infrastructure(_) | Self::Lost => false,
        }
    }

    /// Whether it took a round's evidence away without telling anything about the kernel. QEMU that never started is
    /// left out: no guest ran, so nothing can have been hidden.
    pub fn hides_evidence(self) -> bool {
        matches!(self, Self::TestFailed | Self::Lost | Self::TimedOut(Stage::Ssh))
            || matches!(self, Self::Infrastructure(stage) if stage != Stage::Start)
    }

    /// Whether a retry on a healthy host could cure it.
    pub fn is_infrastructure(self) -> bool {
        matches!(self, Self::Infrastructure(_) | Self::Lost | Self::TimedOut(Stage::Ssh))
    }

    /// A word or two for tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::Console(kind) => kind.label(),
            Self::Died => "guest died",
            Self::TimedOut(Stage::Ssh) => "late login",
            Self::TimedOut(_) => "timed out",
            Self::TestFailed => "test failed",
            Self::Infrastructure(_) => "infrastructure",
            Self::Lost => "round lost",
        }
    }
}

/// The trouble of a cell's rounds, in the order it first appeared.
pub(super) fn of_rounds(rounds: &[Round]) -> Vec<Trouble> {
    let mut all: Vec<Trouble> = Vec::new();
    for round in rounds {
        for trouble in of_round(round) {
            match all.iter_mut().find(|known| same(known, &trouble)) {
                Some(known) if known.rounds.last() == Some(&round.number) => {}
                Some(known) => known.rounds.push(round.number),
                None => all.push(trouble),
            }
        }
    }
    all
}

/// Marks what the plan lets pass: complaints that fit, of rounds that came to their end. One that ended its round took the
/// rest of it away, and is not let pass.
pub(super) fn mark_known(trouble: &mut [Trouble], rounds: &[Round], known: &[Known]) {
    if known.is_empty() {
        return;
    }
    let finished = |number: &u32| {
        let round = rounds.iter().find(|round| round.number == *number).and_then(Round::end);
        round.is_some_and(|end| end.outcome == RoundOutcome::Finished)
    };
    let reports = || rounds.iter().filter_map(Round::end).flat_map(|end| &end.problems);
    for it in trouble {
        let TroubleKind::Console(kind) = it.kind else { continue };
        let mut same = reports().filter(|report| report.kind == kind && report.fingerprint == it.fingerprint);
        let fits = same.next().and_then(|first| known.iter().find(|known| known.fits(first)));
        it.known = fits.filter(|_| it.rounds.iter().all(finished)).map(|known| known.reason.clone());
    }
}

/// Whether two troubles are one: equal fingerprints where there are any, equal headlines otherwise.
pub(super) fn same(a: &Trouble, b: &Trouble) -> bool {
    a.kind == b.kind && a.fingerprint == b.fingerprint && (!a.fingerprint.is_empty() || a.headline == b.headline)
}

/// The console's trouble of numbered rounds, equal fingerprints told once.
pub(super) fn of_problems<'a>(problems: impl Iterator<Item = (u32, &'a CrashReport)>) -> Vec<Trouble> {
    let mut all: Vec<Trouble> = Vec::new();
    for (number, problem) in problems {
        let trouble = Trouble {
            kind: TroubleKind::Console(problem.kind),
            headline: headline(problem),
            fingerprint: problem.fingerprint.clone(),
            excerpt: problem.excerpt.clone(),
            rounds: vec![number],
            known: None,
        };
        match all.iter_mut().find(|known| same(known, &trouble)) {
            Some(known) if known.rounds.contains(&number) => {}
            Some(known) => known.rounds.push(number),
            None => all.push(trouble),
        }
    }
    all
}

fn of_round(round: &Round) -> Vec<Trouble> {
    let plain = |kind, headline: String| Trouble {
        kind,
        headline,
        fingerprint: Vec::new(),
        excerpt: Vec::new(),
        rounds: vec![round.number],
        known: None,
    };
    let RoundState::Ended(end) = &round.state else {
        return vec![plain(TroubleKind::Lost, "began and never reported an end".to_owned())];
    };
    let mut found: Vec<Trouble> = end
        .problems
        .iter()
        .map(|problem| Trouble {
            fingerprint: problem.fingerprint.clone(),
            excerpt: problem.excerpt.clone(),
            ..plain(TroubleKind::Console(problem.kind), headline(problem))
        })
        .collect();
    found.extend(match &end.outcome {
        // A program without records has said all by its exit status.
        RoundOutcome::Finished if end.summary.is_some() || end.exit.is_some() => None,
        RoundOutcome::Finished => {
            Some(plain(TroubleKind::TestFailed, "the test ended without its summary record".to_owned()))
        }
        RoundOutcome::Interrupted => None,
        // The panic on the console is the same event in more words.
        RoundOutcome::GuestDied { .. } if end.problems.iter().any(|problem| problem.kind == CrashKind::Panic) => None,
        RoundOutcome::GuestDied { reason } => Some(plain(TroubleKind::Died, reason.clone())),
        RoundOutcome::TimedOut { stage: Stage::Start, after_s } => {
            Some(plain(TroubleKind::Infrastructure(Stage::Start), format!("QEMU was not up after {after_s} s")))
        }
        RoundOutcome::TimedOut { stage, after_s } => {
            Some(plain(TroubleKind::TimedOut(*stage), format!("{} not over after {after_s} s", stage_words(*stage))))
        }
        RoundOutcome::Stuck { reason } => Some(plain(TroubleKind::TimedOut(Stage::Test), reason.clone())),
        RoundOutcome::TestFailed { reason } => Some(plain(TroubleKind::TestFailed, reason.clone())),
        RoundOutcome::Infrastructure { stage, reason } => {
            Some(plain(TroubleKind::Infrastructure(*stage), format!("{}: {reason}", stage_words(*stage))))
        }
    });
    found
}

/// The console line that announced a problem, as it stood but for its time stamp; the fingerprint's first line has its
/// numbers taken out and serves where no line of the excerpt starts alike.
fn headline(problem: &CrashReport) -> String {
    let bare = |line: &str| match line.split_once("] ") {
        Some((stamp, rest)) if stamp.starts_with('[') => rest.trim().to_owned(),
        _ => line.trim().to_owned(),
    };
    let announced = problem.fingerprint.first();
    let word = announced.and_then(|line| line.split_whitespace().next()).unwrap_or_default();
    let mut lines = problem.excerpt.iter().map(|line| bare(line));
    lines
        .find(|line| !word.is_empty() && line.starts_with(word))
        .or_else(|| announced.cloned())
        .or_else(|| problem.excerpt.first().map(|line| bare(line)))
        .unwrap_or_else(|| "no console line was kept".to_owned())
}

fn stage_words(stage: Stage) -> &'static str {
    match stage {
        Stage::Start => "start of QEMU",
        Stage::Boot => "boot",
        Stage::Ssh => "SSH login",
        Stage::Test => "test",
        Stage::Shutdown => "power-off",
    }
}
