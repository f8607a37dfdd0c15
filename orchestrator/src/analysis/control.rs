//! The A/A control: the same kernel on both sides, held against itself with the tests that judge patches.

use super::cell::{BuildState, CellResult};
use super::compare::{self, FEWEST_ROUNDS};
use super::coverage::Coverage;
use super::numbers::{Direction, EvidenceKind, Numbers};
use super::verdict::{Comparison, Reason, Verdict};
use crate::journal::rules::Rule;

/// Two-sided level at which the sides of a control differ. Looser than any verdict's, so that the control sees what
/// would disturb a verdict long before it does; a false alarm, one in a thousand controls, costs another look.
const ALPHA: f64 = 1e-3;

/// Holds a kernel against itself. That the code is the same is the point here and no reason to refuse.
///
/// Its units are the boots alone, of which each side has its own: what the two sides of a control may differ by chance is
/// mostly what their boots differ by. An older run had one boot for both sides, and is judged by its rounds.
pub(super) fn judge(base: &CellResult, again: &CellResult) -> Comparison {
    let measured = base.counted_rounds() > 0 && again.counted_rounds() > 0;
    let exact = again.spec.rule.is_some_and(|rule| rule.exact);
    let rule = Rule { exact, ..Rule::without_stopping(ALPHA) };
    let numbers = measured.then(|| Numbers::of(base, again, &rule));
    let carrying = |numbers: &Numbers, way| {
        if exact {
            numbers.evidence_of(EvidenceKind::Boots).filter(|it| it.p(way).below(ALPHA / 2.0))
        } else {
            numbers.carrying(way, ALPHA / 2.0)
        }
    };
    let strongest = |numbers: &Numbers, way| {
        if exact { numbers.evidence_of(EvidenceKind::Boots) } else { numbers.strongest(way) }
    };
    let ways = [Direction::Lower, Direction::Higher];
    let found = numbers.as_ref().and_then(|numbers| ways.into_iter().find(|&way| carrying(numbers, way).is_some()));
    let supported = !exact || numbers.as_ref().is_some_and(|numbers| numbers.boots_support(ALPHA / 2.0));
    let (verdict, reason) = match decide(base, again, found.is_some()) {
        (Verdict::NoDifference, _) if !supported => (Verdict::Inconclusive, Reason::TooFewBoots),
        decided => decided,
    };
    let told = numbers.as_ref().and_then(|numbers| {
        // The direction in which the sides differ more, if not enough.
        let p = |way: &Direction| strongest(numbers, *way).map_or(0.0, |evidence| evidence.p(*way).ln());
        let way = found.or_else(|| ways.into_iter().min_by(|a, b| p(a).total_cmp(&p(b))))?;
        let evidence = carrying(numbers, way).or_else(|| strongest(numbers, way))?;
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
        rounds_needed: None,
        coverage: Coverage::default(),
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
