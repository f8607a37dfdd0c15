//! When a cell needs no more rounds: pure rules over what is known so far. `docs/stopping.md` argues for them.

use super::cell::{BuildState, CellResult};
use super::results::Results;
use super::verdict::{Comparison, Reason, Verdict};
use crate::analysis::stats::ratio::{self, Count};
use crate::journal::rules::{Rule, Why};

/// Corruptions after which a base's rate is known well enough to hold zero against: their relative standard error is
/// `1 / sqrt(30)`, 18 %.
const KNOWN_CORRUPTIONS: u64 = 30;
/// Rounds that must have had some of them.
const KNOWN_CORRUPT_ROUNDS: u64 = 2;
/// Neither a patched rate above this share of the base's is a reduction that matters, nor one below its inverse a
/// regression.
const NO_REDUCTION: f64 = 0.5;
/// Whether a cell's rate is known well enough for others to be held against it.
pub fn rate_known(cell: &CellResult) -> bool {
    let min_rounds = cell.spec.rule.map_or(1, |rule| rule.min_rounds);
    // A failed round is all that there is to know of it.
    let corruptions = if cell.counts_rounds() { 0 } else { KNOWN_CORRUPTIONS };
    cell.counted_rounds() >= u64::from(min_rounds)
        && cell.totals.corruptions >= corruptions
        && cell.corrupt_and_clean_rounds().0 >= KNOWN_CORRUPT_ROUNDS
}

/// Why the cell `id` needs no more rounds; none while it does, and always none where its plan wants all of them.
pub fn answer(results: &Results, id: &str) -> Option<Why> {
    let cell = results.cell(id)?;
    let rule = cell.spec.rule.filter(|rule| rule.sequential)?;
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for comparison in &results.comparisons {
        if comparison.control && (comparison.patched == id || comparison.base == id) {
            return None;
        }
        if comparison.patched == id {
            own.push(comparison);
        } else if comparison.base == id {
            others.push(comparison);
        }
    }
    let mut why = None;
    for comparison in &own {
        let settled = settled(results.cell(&comparison.base)?, cell, comparison, &rule)?;
        why = why.or(Some(settled));
    }
    if own.is_empty() || !others.is_empty() {
        let needed = others.iter().any(|comparison| !done(results, &comparison.patched));
        if needed || !rate_known(cell) {
            return None;
        }
    }
    why.or(Some(Why::RateKnown))
}

/// Whether no more rounds of this cell are to come.
fn done(results: &Results, id: &str) -> bool {
    let Some(cell) = results.cell(id) else { return true };
    cell.stopped.is_some()
        || matches!(cell.build, BuildState::Failed(_))
        || cell.is_used_up()
        || answer(results, id).is_some()
}

/// Why one comparison's verdict will not change any more in a way that matters.
fn settled(base: &CellResult, patched: &CellResult, it: &Comparison, rule: &Rule) -> Option<Why> {
    let fewest = rule.min_rounds;
    // Rounds that died count for `broken`, whose evidence they are; rates need rounds that came to their end.
    let tried = patched.ended_rounds() >= fewest as usize;
    let measured = base.counted_rounds() >= u64::from(fewest) && patched.counted_rounds() >= u64::from(fewest);
    match it.verdict {
        Verdict::Broken => tried.then_some(Why::Broken),
        Verdict::Fixed => measured.then_some(Why::Fixed),
        Verdict::Reduced => measured.then_some(Why::Reduced),
        Verdict::Regressed => measured.then_some(Why::Regressed),
        Verdict::NotFixed => (measured && as_often(base, patched, it)).then_some(Why::StillCorrupts),
        Verdict::NotReproduced => {
            (tried && base.is_used_up() && patched.corruptions_seen == 0 && patched.failed.is_empty())
                .then_some(Why::BaseClean)
        }
        Verdict::Inconclusive => (tried && it.reason == Reason::IdenticalKernels).then_some(Why::IdenticalKernels),
        Verdict::NoDifference | Verdict::Difference => None,
    }
}

/// Whether both one-sided 95 % limits of the rate ratio leave no room for a change that matters, with clustered counts
/// divided by their variance inflation (Rao & Scott, Biometrics 48 (1992) 577–585).
fn as_often(base: &CellResult, patched: &CellResult, it: &Comparison) -> bool {
    let numbers = it.numbers.as_ref();
    let dispersion = numbers.filter(|numbers| numbers.overdispersed).and_then(|numbers| numbers.dispersion);
    let inflation = dispersion.map_or(1.0, |dispersion| dispersion.index.max(1.0));
    let count = |cell: &CellResult| {
        let total = cell.total();
        Count { events: deflated(total.events, inflation), ..total }
    };
    ratio::compare(count(base), count(patched))
        .is_some_and(|ratio| ratio.lower95 > NO_REDUCTION && ratio.upper95 < NO_REDUCTION.recip())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "no more than it was, and not negative")]
fn deflated(events: u64, inflation: f64) -> u64 {
    (events as f64 / inflation) as u64
}
