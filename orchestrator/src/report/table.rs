//! The rows that the terminal, the Markdown and the HTML table share.

use super::words::{count, duration, number, one_line};
use crate::analysis::forced::ForcedState;
use crate::analysis::{CellOutcome, CellResult, Rate, Results};

/// Titles of all columns.
const TITLES: [&str; 11] = [
    "kernel",
    "variant",
    "test",
    "guest",
    "rounds",
    "tries",
    "exposures",
    "corruptions",
    "per exposure",
    "first",
    "outcome",
];

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(super) struct Column {
    pub title: &'static str,
    /// Set to the right.
    pub numeric: bool,
}

/// A row for each cell.
pub(super) struct Table {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// All cells; the test's and the guest's column only where they tell cells apart.
    pub fn of(results: &Results) -> Self {
        let columns = TITLES.map(|title| Column {
            title,
            numeric: matches!(title, "rounds" | "tries" | "exposures" | "corruptions" | "first"),
        });
        let mut table = Self { columns: columns.to_vec(), rows: results.cells.iter().map(row).collect() };
        for title in ["test", "guest"] {
            let place = table.columns.iter().position(|column| column.title == title);
            if place.is_some_and(|place| table.rows.windows(2).all(|pair| pair[0][place] == pair[1][place])) {
                table.remove(title);
            }
        }
        table
    }

    /// Leaves a column out.
    pub fn remove(&mut self, title: &str) {
        if let Some(place) = self.columns.iter().position(|column| column.title == title) {
            self.columns.remove(place);
            for row in &mut self.rows {
                row.remove(place);
            }
        }
    }
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
        corruptions(cell),
        rate(&Rate::of(cell)),
        cell.first_corruption_s.map_or_else(|| "-".to_owned(), duration),
        outcome_word(cell.outcome).to_owned(),
    ]
}

/// Corruptions in the rounds that count, and behind a plus sign those in rounds that did not come to their end.
fn corruptions(cell: &CellResult) -> String {
    match cell.corruptions_seen.saturating_sub(cell.totals.corruptions) {
        0 if cell.counted_rounds() == 0 => "-".to_owned(),
        0 => count(cell.totals.corruptions),
        more => format!("{} + {}", count(cell.totals.corruptions), count(more)),
    }
}

/// `0.653 [0.64, 0.67]`, or `0 [0, 2.3e-4]` where nothing was seen.
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
        CellOutcome::Fails => "fails",
        CellOutcome::Clean => "clean",
        CellOutcome::Unexposed => "unexposed",
        CellOutcome::Broken => "broken",
        CellOutcome::Failed => "failed",
        CellOutcome::Nothing => "nothing",
    }
}

/// What a forced cell showed, as every report writes it.
pub(super) fn forced_word(state: ForcedState) -> &'static str {
    match state {
        ForcedState::Corrupt => "corrupt",
        ForcedState::Crashed => "crashed",
        ForcedState::Excluded => "excluded",
        ForcedState::Clean => "clean",
        ForcedState::Unknown => "unknown",
        ForcedState::Nothing => "nothing",
    }
}
