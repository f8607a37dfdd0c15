//! The rows that the terminal, the Markdown and the HTML table share.

use super::words::{count, duration, number, one_line};
use crate::outcome::{CellOutcome, CellResult, Rate, Results};

/// Column titles; the first five tell the cell, the rest what it showed.
pub(super) const TITLES: [&str; 10] =
    ["kernel", "variant", "test", "guest", "rounds", "tries", "exposures", "corruptions", "per exposure", "first"];

/// One row for each cell: the columns of [`TITLES`], then the outcome.
pub(super) fn rows(results: &Results) -> Vec<Vec<String>> {
    results.cells.iter().map(row).collect()
}

fn row(cell: &CellResult) -> Vec<String> {
    let spec = &cell.spec;
    let counted = cell.counted_rounds();
    let rounds = if counted == cell.rounds.len() as u64 {
        counted.to_string()
    } else {
        format!("{counted}/{}", cell.rounds.len())
    };
    let none = counted == 0;
    let numeric = |text: String| if none { "-".to_owned() } else { text };
    vec![
        one_line(&spec.kernel),
        one_line(&spec.variant),
        one_line(&spec.test),
        one_line(&spec.guest),
        rounds,
        numeric(count(cell.totals.tries)),
        numeric(count(cell.totals.exposures)),
        numeric(count(cell.totals.corruptions)),
        rate(&Rate::of(cell)),
        cell.first_corruption_s.map_or_else(|| "-".to_owned(), duration),
        outcome_word(cell.outcome).to_owned(),
    ]
}

/// `0.653 [0.64, 0.67]`, or `< 2.3e-4` where nothing was seen: the upper limit then is all there is.
pub(super) fn rate(rate: &Rate) -> String {
    match (rate.per_exposure, rate.interval95) {
        (Some(value), Some(interval)) if value > 0.0 => {
            format!("{} [{}, {}]", number(value), number(interval.low), number(interval.high))
        }
        (Some(_), Some(interval)) => format!("0 [0, {}]", number(interval.high)),
        _ => "-".to_owned(),
    }
}

/// A cell's outcome as every report writes it.
pub(super) fn outcome_word(outcome: CellOutcome) -> &'static str {
    match outcome {
        CellOutcome::Corrupted => "corrupted",
        CellOutcome::Clean => "clean",
        CellOutcome::Unexposed => "unexposed",
        CellOutcome::Broken => "broken",
        CellOutcome::Failed => "failed",
        CellOutcome::Nothing => "nothing",
    }
}
