//! The rules that turn two cells into a verdict, in the order in which they decide.

use std::collections::BTreeSet;

use super::cell::{BuildState, CellResult};
use super::coverage::Coverage;
use super::numbers::{Direction, EvidenceKind, Numbers, Unit};
use super::round::Round;
use super::stats::fisher;
use super::trouble::{self, Trouble};
use super::verdict::{Comparison, Reason, Verdict};
use crate::journal::rules::Rule;

/// Rounds a side must have before its scatter says anything.
pub(super) const FEWEST_ROUNDS: u64 = 2;

/// Scatter that chance alone would bring more rarely than this is told to the reader.
const PLAIN_TO_SEE: f64 = 0.05;

/// Trouble of both kernels counts as the patched one's only if chance alone would rarely show it so much more often there.
const MORE_OFTEN: f64 = 0.01;

/// Holds `patched` against `base` by `rule`.
pub(super) fn judge(base: &CellResult, patched: &CellResult, rule: &Rule) -> Comparison {
    let measured = base.counted_rounds() > 0 && patched.counted_rounds() > 0;
    let numbers = measured.then(|| Numbers::of(base, patched, rule));
    // Rounds alone are too few to tell anything of levels.
    let told = numbers.as_ref().filter(|numbers| numbers.unit == Unit::Exposures);
    let coverage = told.map(|numbers| Coverage::of(base, patched, numbers, rule)).unwrap_or_default();
    let (verdict, reason) = decide(base, patched, numbers.as_ref().map(|numbers| (numbers, &coverage)), rule);
    let direction = if verdict == Verdict::Regressed { Direction::Higher } else { Direction::Lower };
    let evidence = numbers
        .as_ref()
        .and_then(|numbers| numbers.carrying(direction, rule.alpha).or_else(|| numbers.strongest(direction)));
    let enough = numbers.as_ref().and_then(|numbers| numbers.exposures_enough);
    let missing = matches!(
        reason,
        Reason::NotEnoughExposures | Reason::ResidualNotExcluded | Reason::NoExposures | Reason::TooFewRounds
    );
    Comparison {
        base: base.spec.id.clone(),
        patched: patched.spec.id.clone(),
        control: false,
        verdict,
        reason,
        alpha: rule.alpha,
        p: evidence.map(|evidence| evidence.p(direction)),
        evidence,
        rounds_needed: numbers
            .as_ref()
            .filter(|_| reason == Reason::TooFewRounds)
            .and_then(|it| it.rounds_needed(rule)),
        coverage,
        exposures_needed: enough
            .filter(|_| missing)
            .map(|enough| enough.saturating_sub(patched.totals.exposures))
            .filter(|&more| more > 0),
        caveats: older(verdict, rule).into_iter().chain(caveats(base, patched, numbers.as_ref())).collect(),
        forced: Vec::new(),
        by_races: None,
        contradictions: Vec::new(),
        numbers,
    }
}

fn decide(
    base: &CellResult,
    patched: &CellResult,
    known: Option<(&Numbers, &Coverage)>,
    rule: &Rule,
) -> (Verdict, Reason) {
    let inconclusive = |reason| (Verdict::Inconclusive, reason);
    if matches!(base.build, BuildState::Failed(_)) || matches!(patched.build, BuildState::Failed(_)) {
        return inconclusive(Reason::BuildFailed);
    }
    if same_code(base, patched) {
        return inconclusive(Reason::IdenticalKernels);
    }
    // Where the base gets through no round either, the trouble may be the host's or the configuration's.
    let base_fails_too = base.counted_rounds() == 0 && base.kernel_trouble().next().is_some();
    if patched.kernel_trouble().next().is_some() && !only_shared(base, patched) && !base_fails_too {
        return (Verdict::Broken, Reason::KernelTrouble);
    }
    let Some((numbers, coverage)) = known else { return inconclusive(Reason::NoRounds) };
    let two_rounds = base.counted_rounds() >= FEWEST_ROUNDS && patched.counted_rounds() >= FEWEST_ROUNDS;
    if patched.counts_rounds() {
        return by_rounds(base, patched, numbers, two_rounds, rule);
    }
    if patched.corruptions_seen > 0 {
        let ratio_alpha = rule.ratio_alpha(base.is_used_up() && patched.is_used_up());
        // Corruptions of rounds that did not come to their end are in no rate, so no rate can be called lower.
        let uncounted = patched.corruptions_seen.saturating_sub(patched.totals.corruptions);
        return if two_rounds && numbers.carrying(Direction::Higher, ratio_alpha).is_some() {
            (Verdict::Regressed, Reason::MoreCorruptions)
        } else if base.totals.corruptions == 0 {
            (Verdict::NotReproduced, Reason::BaseClean)
        } else if two_rounds && uncounted == 0 && numbers.carrying(Direction::Lower, ratio_alpha).is_some() {
            (Verdict::Reduced, Reason::FewerCorruptions)
        } else {
            (Verdict::NotFixed, Reason::StillCorrupts)
        };
    }
    if base.totals.corruptions == 0 {
        (Verdict::NotReproduced, Reason::BaseClean)
    } else if base.totals.exposures == 0 {
        inconclusive(Reason::BaseUnexposed)
    } else if patched.totals.exposures == 0 {
        inconclusive(Reason::NoExposures)
    } else if patched.trouble.iter().any(|trouble| trouble.kind.hides_evidence()) {
        inconclusive(Reason::RoundsLost)
    } else if !two_rounds {
        inconclusive(Reason::TooFewRounds)
    } else if numbers.carrying(Direction::Lower, rule.alpha).is_none() {
        inconclusive(lacking(numbers, rule))
    } else if !numbers.residual_excluded() {
        inconclusive(Reason::ResidualNotExcluded)
    } else if rule.exact && !coverage.is_complete() {
        inconclusive(Reason::NotCovered)
    } else {
        (Verdict::Fixed, Reason::CleanAndExposed)
    }
}

/// The rules for tests that count rounds that fail, whatever the way. A patched kernel without a failed round is `fixed` by
/// the exact test over rounds, with which the boots must agree.
fn by_rounds(
    base: &CellResult,
    patched: &CellResult,
    numbers: &Numbers,
    two_rounds: bool,
    rule: &Rule,
) -> (Verdict, Reason) {
    let inconclusive = |reason| (Verdict::Inconclusive, reason);
    if !patched.failed.is_empty() {
        let alpha = rule.ratio_alpha(base.is_used_up() && patched.is_used_up());
        let shown = |direction| two_rounds && numbers.carrying(direction, alpha).is_some();
        return if shown(Direction::Higher) {
            (Verdict::Regressed, Reason::MoreFailures)
        } else if base.failed.is_empty() {
            (Verdict::NotReproduced, Reason::BaseClean)
        } else if shown(Direction::Lower) {
            (Verdict::Reduced, Reason::FewerFailures)
        } else {
            (Verdict::NotFixed, Reason::StillFails)
        };
    }
    if base.failed.is_empty() {
        (Verdict::NotReproduced, Reason::BaseClean)
    } else if base.was_exposed() && !patched.was_exposed() {
        inconclusive(Reason::NoExposures)
    } else if patched.trouble.iter().any(|trouble| trouble.kind.hides_evidence()) {
        inconclusive(Reason::RoundsLost)
    } else if !two_rounds {
        inconclusive(Reason::TooFewRounds)
    } else if numbers.carrying(Direction::Lower, rule.alpha).is_some() {
        (Verdict::Fixed, Reason::NoFailures)
    } else if numbers.evidence_of(EvidenceKind::Rounds).is_some_and(|it| it.p_lower.below(rule.alpha)) {
        inconclusive(Reason::TooFewBoots)
    } else {
        inconclusive(Reason::TooFewRounds)
    }
}

/// Whether all trouble of the patched kernel is the base's as well, and so not the patch's.
pub(super) fn only_shared(base: &CellResult, patched: &CellResult) -> bool {
    patched.kernel_trouble().all(|trouble| is_shared(trouble, base, patched))
}

/// Whether the base shows the same trouble, and the patched kernel not significantly more often: then it is not the patch's. By
/// Fisher's exact test over rounds.
fn is_shared(ours: &Trouble, base: &CellResult, patched: &CellResult) -> bool {
    let Some(theirs) = base.trouble.iter().find(|theirs| trouble::same(ours, theirs)) else { return false };
    let shown = |trouble: &Trouble| trouble.rounds.len() as u64;
    let without = |trouble: &Trouble, cell: &CellResult| (cell.rounds.len() as u64).saturating_sub(shown(trouble));
    let p = fisher::second_is_higher((shown(theirs), without(theirs, base)), (shown(ours), without(ours, patched)));
    !p.below(MORE_OFTEN)
}

/// What an older journal cannot tell of a kernel that it calls fixed.
fn older(verdict: Verdict, rule: &Rule) -> Option<String> {
    (verdict == Verdict::Fixed && !rule.exact).then(|| {
        "an older run: the verdict rests on a model of what happens within a round, and what was covered is not known"
            .to_owned()
    })
}

/// What is missing where the patched kernel is clean and nothing carries that.
fn lacking(numbers: &Numbers, rule: &Rule) -> Reason {
    let reaches = |kind| numbers.evidence_of(kind).is_some_and(|it| it.p_lower.below(rule.alpha));
    if numbers.unit == Unit::Exposures && (!rule.exact || !reaches(EvidenceKind::Exposures)) {
        Reason::NotEnoughExposures
    } else if !reaches(EvidenceKind::Rounds) {
        Reason::TooFewRounds
    } else if !numbers.boots_agree(Direction::Lower) {
        Reason::TooFewBoots
    } else {
        Reason::NotEnoughExposures
    }
}

fn same_code(base: &CellResult, patched: &CellResult) -> bool {
    match (base.built(), patched.built()) {
        (Some(a), Some(b)) => !a.load_digest.is_empty() && a.load_digest == b.load_digest,
        _ => false,
    }
}

pub(super) fn caveats(base: &CellResult, patched: &CellResult, numbers: Option<&Numbers>) -> Vec<String> {
    let mut found = Vec::new();
    for (cell, side) in [(base, "base"), (patched, "patched kernel")] {
        for trouble in &cell.trouble {
            if let Some(reason) = &trouble.known {
                let count = rounds(trouble.rounds.len());
                found.push(format!(
                    "known trouble of the {side} was let pass in {count}: {} ({reason})",
                    trouble.headline
                ));
            }
        }
    }
    for trouble in base.kernel_trouble() {
        found.push(format!(
            "the base showed a {} too, in {}: {}",
            trouble.kind.label(),
            rounds(trouble.rounds.len()),
            trouble.headline
        ));
    }
    if patched.kernel_trouble().any(|ours| base.trouble.iter().any(|theirs| trouble::same(ours, theirs))) {
        found.push("the patched kernel's trouble is the base's as well, so the patch may not be its cause".to_owned());
    }
    for theirs in base.kernel_trouble() {
        let (shown, all) = (theirs.rounds.len(), base.rounds.len());
        if !patched.trouble.iter().any(|ours| trouble::same(ours, theirs)) && !patched.rounds.is_empty() {
            found.push(format!(
                "{} ({}) came in {shown} of {all} rounds of the base and in 0 of {} of the patched kernel",
                theirs.kind.label(),
                theirs.headline,
                patched.rounds.len()
            ));
        }
    }
    for (cell, side) in [(base, "base"), (patched, "patched kernel")] {
        let notes: BTreeSet<&str> = cell
            .rounds
            .iter()
            .filter_map(Round::end)
            .flat_map(|end| &end.problems)
            .filter_map(|report| report.note.as_deref())
            .collect();
        found.extend(notes.into_iter().map(|note| format!("{side}: {note}")));
    }
    if patched.corruptions_seen > 0 && base.totals.corruptions == 0 && base.counted_rounds() > 0 {
        found.push("the patched kernel corrupts although the base did not".to_owned());
    }
    if patched.corruptions_seen > patched.totals.corruptions {
        found.push(format!(
            "the patched kernel showed {} more corruptions in rounds that did not come to their end and are in no rate",
            patched.corruptions_seen.saturating_sub(patched.totals.corruptions)
        ));
    }
    for (cell, side) in [(base, "base"), (patched, "patched kernel")] {
        let gone = cell.rounds.iter().filter(|round| !cell.is_counted(round)).count();
        if gone > 0 {
            found.push(format!("{} of the {side} out of {} did not count", rounds(gone), cell.rounds.len()));
        }
    }
    if numbers.is_some_and(|numbers| numbers.unit == Unit::Rounds) {
        found.push(
            "the program tells no exposures: a round is the unit, it fails or it does not, and nothing is known of how often it \
             tested the race"
                .to_owned(),
        );
    }
    let told = numbers.filter(|numbers| numbers.overdispersed).and_then(|numbers| numbers.dispersion);
    if let Some(dispersion) = told.filter(|dispersion| dispersion.p.below(PLAIN_TO_SEE)) {
        found.push(format!(
            "rounds scatter {:.1} times as much as independent exposures would ({}): models of exposures among the \
             details allow for that, and the exact test over rounds does not depend on it",
            dispersion.index, dispersion.p
        ));
    }
    found
}

fn rounds(count: usize) -> String {
    if count == 1 { "1 round".to_owned() } else { format!("{count} rounds") }
}
