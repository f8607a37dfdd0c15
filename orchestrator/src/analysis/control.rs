//! The A/A control: the same kernel on both sides, held against itself with the tests that judge patches.

use super::cell::{BuildState, CellResult};
use super::compare::{self, FEWEST_ROUNDS};
use super::numbers::{Direction, Numbers};
use super::verdict::{Comparison, Reason, Verdict};
use crate::journal::rules::Rule;

/// Two-sided level at which the sides of a control differ. Looser than any verdict's, so that the control sees what
/// would disturb a verdict long before it does; a false alarm, one in a thousand controls, costs another look.
const ALPHA: f64 = 1e-3;

/// Holds a kernel against itself. That the code is the same is the point here and no reason to refuse.
pub(super) fn judge(base: &CellResult, again: &CellResult) -> Comparison {
    let measured = base.counted_rounds() > 0 && again.counted_rounds() > 0;
    let numbers = measured.then(|| Numbers::of(base, again, &Rule::without_stopping(ALPHA)));
    let found = numbers.as_ref().and_then(|numbers| {
        [Direction::Lower, Direction::Higher].into_iter().find(|&way| numbers.carrying(way, ALPHA / 2.0).is_some())
    });
    let (verdict, reason) = decide(base, again, found.is_some());
    let told = numbers.as_ref().and_then(|numbers| {
        let way = found.unwrap_or_else(|| nearer(numbers));
        let evidence = numbers.carrying(way, ALPHA / 2.0).or_else(|| numbers.strongest(way))?;
        Some((evidence, evidence.p(way).twice()))
    });
    Comparison {
        base: base.spec.id.clone(),
        patched: again.spec.id.clone(),
        control: true,
        verdict,
        reason,
        alpha: ALPHA,
        p: told.map(|(_, p)| p),
        evidence: told.map(|(evidence, _)| evidence),
        exposures_needed: None,
        caveats: compare::caveats(base, again, numbers.as_ref()),
        forced: Vec::new(),
        by_races: None,
        contradictions: Vec::new(),
        numbers,
    }
}

fn decide(base: &CellResult, again: &CellResult, differ: bool) -> (Verdict, Reason) {
    if matches!(base.build, BuildState::Failed(_)) || matches!(again.build, BuildState::Failed(_)) {
        (Verdict::Inconclusive, Reason::BuildFailed)
    } else if base.counted_rounds() == 0 || again.counted_rounds() == 0 {
        (Verdict::Inconclusive, Reason::NoRounds)
    } else if base.totals.corruptions == 0 && again.totals.corruptions == 0 {
        (Verdict::NotReproduced, Reason::BaseClean)
    } else if base.counted_rounds() < FEWEST_ROUNDS || again.counted_rounds() < FEWEST_ROUNDS {
        (Verdict::Inconclusive, Reason::TooFewRounds)
    } else if differ {
        (Verdict::Difference, Reason::SidesDiffer)
    } else {
        (Verdict::NoDifference, Reason::SidesAgree)
    }
}

/// The direction in which the sides differ more, if not enough.
fn nearer(numbers: &Numbers) -> Direction {
    let p = |way| numbers.strongest(way).map_or(0.0, |evidence| evidence.p(way).ln());
    if p(Direction::Lower) <= p(Direction::Higher) { Direction::Lower } else { Direction::Higher }
}
