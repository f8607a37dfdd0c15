//! Whether a round failed as its test counts.

use super::entry::{RoundFinished, RoundOutcome, Stage};
use super::failure::{Counted, CrashKind};

impl Counted {
    /// Whether the round failed in this way.
    pub fn is_shown_by(&self, round: &RoundFinished) -> bool {
        let said = |kind: CrashKind| round.problems.iter().any(|report| report.kind == kind);
        match self {
            Self::Corruption => corruptions_seen(round) > 0,
            Self::Crash => matches!(round.outcome, RoundOutcome::GuestDied { .. }) || said(CrashKind::Panic),
            Self::Hang => {
                let overran = matches!(
                    round.outcome,
                    RoundOutcome::TimedOut { stage: Stage::Boot | Stage::Test | Stage::Shutdown, .. }
                        | RoundOutcome::Stuck { .. }
                );
                overran || said(CrashKind::Hang)
            }
            Self::Complaint(None) => !round.problems.is_empty(),
            Self::Complaint(Some(kind)) => said(*kind),
            Self::Exit(None) => round.exit.is_some_and(|status| status != 0),
            Self::Exit(Some(status)) => round.exit == Some(*status),
            Self::Output(text) => round.matched.iter().any(|line| line.contains(text.as_str())),
        }
    }
}

/// Whether the round failed in one of these ways, or lost data. None where it was lost without having failed: then it says
/// nothing on either side.
pub fn failed(counts: &[Counted], round: &RoundFinished) -> Option<bool> {
    let failed = counts.iter().chain([&Counted::Corruption]).any(|way| way.is_shown_by(round));
    (failed || round.outcome == RoundOutcome::Finished).then_some(failed)
}

/// Corruptions that a round showed, whether or not it came to its end.
pub fn corruptions_seen(round: &RoundFinished) -> u64 {
    let told = round.summary.as_ref().map_or(0, |summary| summary.counts.corruptions);
    let progress = round.progress.iter().map(|progress| progress.counts.corruptions).max().unwrap_or(0);
    told.max(progress).max(round.corruptions_received)
}
