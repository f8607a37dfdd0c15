//! Cells as test cases, the way `JUnit`, KTAP and KCIDB count them: a case passes when its expectation came true.

use std::collections::BTreeMap;

use super::words::{clipped, count, counted, one_line};
use super::{coverage, forced, story, table};
use crate::analysis::forced::ForcedState;
use crate::analysis::{BuildState, CellOutcome, CellResult, ForcedResult, Met, Rate, Results, SweepResult, Trouble};
use crate::journal::interleaving::ForcedExpectation;

/// What counts as one test.
#[derive(Debug, Clone, Copy)]
pub(super) enum Case<'a> {
    /// A cell whose rounds race.
    Races(&'a CellResult),
    /// A drawn interleaving.
    Forced(&'a ForcedResult),
    /// A sweep.
    Sweep(&'a SweepResult),
}

impl<'a> Case<'a> {
    /// Every case of a run, in plan order.
    pub fn all(results: &'a Results) -> impl Iterator<Item = Self> {
        let races = results.cells.iter().map(Self::Races);
        races.chain(results.forced.iter().map(Self::Forced)).chain(results.sweeps.iter().map(Self::Sweep))
    }

    /// (kernel, test or interleaving or sweep, guest).
    fn suite(&self) -> (&'a str, &'a str, &'a str) {
        match self {
            Self::Races(cell) => (&cell.spec.kernel, &cell.spec.test, &cell.spec.guest),
            Self::Forced(ForcedResult { spec, .. }) | Self::Sweep(SweepResult { spec, .. }) => {
                (&spec.kernel, &spec.name, &spec.guest)
            }
        }
    }

    /// Variant name.
    pub fn variant(&self) -> &'a str {
        match self {
            Self::Races(cell) => &cell.spec.variant,
            Self::Forced(it) => &it.spec.variant,
            Self::Sweep(it) => &it.spec.variant,
        }
    }

    /// Racing or forcing time in seconds.
    pub fn seconds(&self) -> f64 {
        match self {
            Self::Races(cell) => cell.seconds,
            Self::Forced(it) => it.rounds.iter().chain(&it.controls).map(|round| round.seconds).sum(),
            Self::Sweep(it) => it.seconds,
        }
    }

    /// The verdict on it, or what it showed, in a word.
    pub fn word(&self, results: &Results) -> &'static str {
        let forced =
            |id: &str, state| results.forced_comparison(id).map_or(table::forced_word(state), |it| it.verdict.word());
        match self {
            Self::Races(cell) => {
                let verdict = results.comparisons.iter().find(|it| it.patched == cell.spec.id);
                verdict.map_or(table::outcome_word(cell.outcome), |it| it.verdict.word())
            }
            Self::Forced(it) => forced(&it.spec.id, it.state),
            Self::Sweep(it) => forced(&it.spec.id, it.state()),
        }
    }

    /// The status of a case.
    pub fn status(&self) -> Status {
        let (nothing, met) = match self {
            Self::Races(cell) => (cell.outcome == CellOutcome::Nothing, cell.met),
            Self::Forced(it) => (it.state == ForcedState::Nothing, it.met),
            Self::Sweep(it) => (it.state() == ForcedState::Nothing, it.met),
        };
        match met {
            _ if nothing => Status::Skip,
            Met::Yes => Status::Pass,
            Met::No | Met::Undecided => Status::Fail,
            Met::Unmeasured => Status::Error,
        }
    }

    /// What it showed against what was expected, on one line.
    pub fn headline(&self) -> String {
        match self {
            Self::Races(cell) => headline(cell),
            Self::Forced(it) => {
                let expected = match it.expect() {
                    ForcedExpectation::Corrupt => "corruption",
                    ForcedExpectation::Clean => "none",
                    ForcedExpectation::Excluded => "that it cannot happen",
                    ForcedExpectation::Crash => "a crash",
                    ForcedExpectation::Any => "nothing in particular",
                };
                format!("forced: {}; expected: {expected}", forced::told(it, "->"))
            }
            Self::Sweep(it) => format!("sweep: {}", forced::swept(it)),
        }
    }

    /// What went wrong apart from corruptions, in a few words.
    pub fn trouble(&self) -> &'a [Trouble] {
        match self {
            Self::Races(cell) => &cell.trouble,
            Self::Forced(it) => &it.trouble,
            Self::Sweep(it) => &it.trouble,
        }
    }

    fn build(&self) -> &'a BuildState {
        match self {
            Self::Races(cell) => &cell.build,
            Self::Forced(it) => &it.build,
            Self::Sweep(it) => &it.build,
        }
    }
}

/// Cases of one kernel, test and guest.
pub(super) struct Suite<'a> {
    /// Kernel, test and guest, one line.
    pub name: String,
    /// The cases in plan order.
    pub cases: Vec<Case<'a>>,
}

/// Suites by first appearance.
pub(super) fn suites(results: &Results) -> Vec<Suite<'_>> {
    let mut places: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    let mut suites: Vec<Suite<'_>> = Vec::new();
    for case in Case::all(results) {
        let (kernel, test, guest) = case.suite();
        let place = *places.entry((kernel, test, guest)).or_insert_with(|| {
            suites.push(Suite { name: one_line(&format!("{kernel} {test} {guest}")), cases: Vec::new() });
            suites.len() - 1
        });
        suites[place].cases.push(case);
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

/// What a cell showed against what was expected, on one line.
fn headline(cell: &CellResult) -> String {
    let expected = match cell.spec.expect {
        crate::journal::rules::Expectation::Corrupt => "corruption",
        crate::journal::rules::Expectation::Clean => "none",
        crate::journal::rules::Expectation::Any => "nothing in particular",
    };
    if cell.counts_rounds() {
        let expected = if expected == "corruption" { "a failure" } else { expected };
        return format!(
            "{}: {}, {} planned; expected: {expected}",
            table::outcome_word(cell.outcome),
            story::failed_words(cell),
            count(u64::from(cell.spec.rounds))
        );
    }
    format!(
        "{}: {} in {}, {} of {}; expected: {expected}",
        table::outcome_word(cell.outcome),
        counted(cell.totals.corruptions, "corruption", "corruptions"),
        counted(cell.totals.exposures, "exposure", "exposures"),
        counted(cell.counted_rounds(), "round", "rounds"),
        count(u64::from(cell.spec.rounds)),
    )
}

/// Everything to say about a case, one line each, foreign text made harmless.
pub(super) fn lines(results: &Results, case: Case<'_>) -> Vec<String> {
    let mut lines = vec![case.headline()];
    match case {
        Case::Races(cell) => lines.extend(races(results, cell)),
        Case::Forced(it) => {
            for exclusion in &it.exclusions {
                lines.push(forced::exclusion(exclusion));
                let stack = exclusion.waiting().map_or_else(Vec::new, |state| forced::stack(&state.stack));
                lines.extend(stack.iter().map(|frame| format!("| {frame}")));
            }
            lines.extend(judged(results, &it.spec.id));
            lines.extend(it.failures.iter().map(|failed| format!("not tried: {}", failed.reason)));
        }
        Case::Sweep(it) => {
            lines.push(forced::what(it));
            lines.extend(Some(forced::rest(&it.counts)).filter(|rest| !rest.is_empty()));
            lines.extend(judged(results, &it.spec.id));
            lines.extend(it.failures.iter().map(|failed| format!("not tried: {}", failed.reason)));
        }
    }
    if let BuildState::Failed(reason) = case.build() {
        lines.push(format!("not built: {reason}"));
    }
    for trouble in case.trouble() {
        let rounds = counted(trouble.rounds.len() as u64, "round", "rounds");
        lines.push(format!("{} ({rounds}): {}", trouble.kind.label(), trouble.headline));
        lines.extend(trouble.excerpt.iter().map(|line| format!("| {line}")));
    }
    lines.iter().map(|line| clipped(&one_line(line), 500)).collect()
}

fn races(results: &Results, cell: &CellResult) -> Vec<String> {
    let rate = Rate::of(cell);
    let mut lines = vec![format!("corruptions per exposure, 95 % interval: {}", table::rate(&rate))];
    lines.extend(story::proof_words(cell));
    for it in results.comparisons.iter().filter(|it| it.patched == cell.spec.id) {
        lines.push(story::sentence(results, it, "->"));
        lines.push(story::reason(it));
        if it.numbers.is_some() && !it.control {
            lines.push(format!("covered: {}", it.coverage.words()));
        }
        lines.extend(coverage::lines(it));
        lines.extend(it.contradictions.iter().map(|words| format!("contradiction: {words}")));
        lines.extend(it.forced.iter().map(|pair| format!("forced: {}", forced::sentence(results, pair, "->"))));
        lines.extend(it.caveats.iter().cloned());
    }
    lines
}

fn judged(results: &Results, id: &str) -> Vec<String> {
    let Some(it) = results.forced_comparison(id) else { return Vec::new() };
    vec![forced::sentence(results, it, "->"), forced::reason(results, it)]
}
