//! Many comparisons at a glance: a row for each test on each guest shape, a column for each kernel.

use serde::Serialize;

use super::page::tone;
use crate::analysis::{CellResult, Comparison, Met, Results};
use crate::report::table;
use crate::report::words::{count, one_line};

/// Fewest comparisons that are worth a grid; fewer are told at once.
const LEAST: usize = 4;

/// The grid.
#[derive(Debug, Serialize)]
pub(super) struct Grid {
    kernels: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    /// Test and guest.
    name: String,
    /// For each kernel what became of it: nothing, or one mark for each comparison or lone cell.
    cells: Vec<Vec<Mark>>,
}

#[derive(Debug, Serialize)]
struct Mark {
    /// `good`, `bad` or `open`, for the colour.
    tone: &'static str,
    word: &'static str,
    /// The variant, and what was counted.
    detail: String,
}

impl Grid {
    /// None for a run with few comparisons.
    pub(super) fn of(results: &Results) -> Option<Self> {
        if results.comparisons.len() < LEAST {
            return None;
        }
        let mut kernels: Vec<&str> = Vec::new();
        let mut places: Vec<(&str, &str)> = Vec::new();
        for spec in results.cells.iter().map(|cell| &cell.spec) {
            if !kernels.contains(&spec.kernel.as_str()) {
                kernels.push(&spec.kernel);
            }
            if !places.contains(&(&spec.test, &spec.guest)) {
                places.push((&spec.test, &spec.guest));
            }
        }
        let rows = places.into_iter().map(|(test, guest)| {
            let here = |kernel: &&str| {
                let cells = results.cells.iter().filter(|cell| {
                    (cell.spec.kernel.as_str(), cell.spec.test.as_str(), cell.spec.guest.as_str())
                        == (*kernel, test, guest)
                });
                cells.flat_map(|cell| marks(results, cell)).collect()
            };
            Row { name: one_line(&format!("{test} {guest}")), cells: kernels.iter().map(here).collect() }
        });
        let rows = rows.collect();
        Some(Self { kernels: kernels.into_iter().map(one_line).collect(), rows })
    }
}

/// What the comparisons say of a cell that is judged; of one that is in no comparison, what was seen of it.
fn marks(results: &Results, cell: &CellResult) -> Vec<Mark> {
    let id = &cell.spec.id;
    let judged = results.comparisons.iter().filter(|it| it.patched == *id);
    let mut marks: Vec<Mark> = judged.map(|it| verdict(it, cell)).collect();
    if marks.is_empty() && !results.comparisons.iter().any(|it| it.base == *id) {
        let tone = match cell.met {
            Met::Yes => "good",
            Met::No => "bad",
            Met::Undecided | Met::Unmeasured => "open",
        };
        marks.push(Mark { tone, word: table::outcome_word(cell.outcome), detail: detail(cell) });
    }
    marks
}

fn verdict(it: &Comparison, cell: &CellResult) -> Mark {
    Mark { tone: tone(it.verdict), word: it.verdict.word(), detail: detail(cell) }
}

fn detail(cell: &CellResult) -> String {
    let (corruptions, exposures) = (count(cell.totals.corruptions), count(cell.totals.exposures));
    one_line(&format!("{}: {corruptions} in {exposures}", cell.spec.variant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::rules::Rule;
    use crate::simulation::{Truth, World, play};

    #[test]
    fn many_verdicts_are_a_grid_in_which_a_lone_cell_speaks_for_itself() {
        let rule = Rule { alpha: 1e-6, residual: 0.1, min_rounds: 3, rounds: 8, sequential: true, exact: false };
        let world =
            World { rate: 0.1, exposures: 2000, clustering: 0.0, boot_clustering: 0.0, truth: Truth::Ratio(0.0) };
        let mut results = play(&world, &rule, 1, 0);
        assert!(Grid::of(&results).is_none(), "one verdict is told at once");

        let again = results.comparisons[0].clone();
        results.comparisons.extend([again.clone(), again.clone(), again]);
        let mut lone = results.cell("patched").expect("played").clone();
        "lone".clone_into(&mut lone.spec.id);
        "linux-7".clone_into(&mut lone.spec.kernel);
        results.cells.push(lone);
        let grid = Grid::of(&results).expect("four verdicts");
        assert_eq!((grid.kernels.len(), grid.rows.len()), (2, 1));
        let words = |at: usize| grid.rows[0].cells[at].iter().map(|mark| mark.word).collect::<Vec<_>>();
        assert_eq!((words(0), words(1)), (vec!["fixed"; 4], vec!["clean"]));
    }
}
