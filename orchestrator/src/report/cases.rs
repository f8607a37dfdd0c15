//! Cells as test cases, the way `JUnit`, KTAP and KCIDB count them: a case passes when its expectation came true.

use std::collections::BTreeMap;

use super::words::{clipped, count, counted, one_line};
use super::{story, table};
use crate::outcome::{CellResult, Met, Rate, Results};

/// Cells of one kernel, test and guest.
pub(super) struct Suite<'a> {
    /// Kernel, test and guest, one line.
    pub name: String,
    /// The cells in plan order.
    pub cells: Vec<&'a CellResult>,
}

/// Suites by first appearance.
pub(super) fn suites(results: &Results) -> Vec<Suite<'_>> {
    let mut places: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    let mut suites: Vec<Suite<'_>> = Vec::new();
    for cell in &results.cells {
        let spec = &cell.spec;
        let place = *places.entry((&spec.kernel, &spec.test, &spec.guest)).or_insert_with(|| {
            suites.push(Suite {
                name: one_line(&format!("{} {} {}", spec.kernel, spec.test, spec.guest)),
                cells: Vec::new(),
            });
            suites.len() - 1
        });
        suites[place].cells.push(cell);
    }
    suites
}

/// How a test protocol counts a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Pass,
    /// The expectation did not come true, or not enough is known.
    Fail,
    /// The host, the build or the test failed.
    Error,
    /// Nothing was run.
    Skip,
}

/// The status of a cell.
pub(super) fn status(cell: &CellResult) -> Status {
    match cell.met {
        _ if cell.outcome == crate::outcome::CellOutcome::Nothing => Status::Skip,
        Met::Yes => Status::Pass,
        Met::No | Met::Undecided => Status::Fail,
        Met::Unmeasured => Status::Error,
    }
}

/// What a cell showed against what was expected, on one line.
pub(super) fn headline(cell: &CellResult) -> String {
    let expected = match cell.spec.expect {
        crate::plan::model::Expectation::Corrupt => "corruption",
        crate::plan::model::Expectation::Clean => "none",
        crate::plan::model::Expectation::Any => "nothing in particular",
    };
    format!(
        "{}: {} in {}, {} of {}; expected: {expected}",
        table::outcome_word(cell.outcome),
        counted(cell.totals.corruptions, "corruption", "corruptions"),
        counted(cell.totals.exposures, "exposure", "exposures"),
        counted(cell.counted_rounds(), "round", "rounds"),
        count(u64::from(cell.spec.rounds)),
    )
}

/// Everything to say about a cell, one line each, foreign text made harmless.
pub(super) fn lines(results: &Results, cell: &CellResult) -> Vec<String> {
    let rate = Rate::of(cell);
    let mut lines = vec![headline(cell), format!("corruptions per exposure, 95 % interval: {}", table::rate(&rate))];
    lines.extend(story::proof_words(cell));
    for it in results.comparisons.iter().filter(|it| it.patched == cell.spec.id) {
        lines.push(story::sentence(results, it, "->"));
        lines.push(story::reason(it));
        lines.extend(it.caveats.iter().cloned());
    }
    if let crate::outcome::BuildState::Failed(reason) = &cell.build {
        lines.push(format!("not built: {reason}"));
    }
    for trouble in &cell.trouble {
        let rounds = counted(trouble.rounds.len() as u64, "round", "rounds");
        lines.push(format!("{} ({rounds}): {}", trouble.kind.label(), trouble.headline));
        lines.extend(trouble.excerpt.iter().map(|line| format!("| {line}")));
    }
    lines.iter().map(|line| clipped(&one_line(line), 500)).collect()
}
