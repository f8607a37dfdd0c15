//! Forced rounds as they come in, counted for the line that people follow.

use std::collections::HashMap;

use crate::outcome::entry::RunStarted;
use crate::outcome::forced::{Exclusion, Forced, ForcedOutcome, ForcedRound};

/// Counts of every drawing of a run.
#[derive(Debug, Default)]
pub struct Tally(HashMap<String, Cell>);

/// Counts of one drawing on one kernel.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    /// Rounds planned, those without a hold included.
    pub planned: u64,
    /// Rounds so far.
    pub done: u64,
    held: Counts,
    free: Counts,
    /// What excluded the latest of them.
    exclusion: Option<Exclusion>,
    seconds: f64,
}

#[derive(Debug, Clone, Default)]
struct Counts {
    rounds: u64,
    corrupt: u64,
    clean: u64,
    excluded: u64,
    crashed: u64,
    lost: u64,
}

impl Tally {
    /// Begins to count for every drawing of `run`.
    pub fn start(run: &RunStarted) -> Self {
        let cells = run.forced.iter().filter_map(|spec| match &spec.what {
            Forced::Diagram { rounds, .. } => {
                Some((spec.id.clone(), Cell { planned: 2 * u64::from(*rounds), ..Cell::default() }))
            }
            Forced::Sweep { .. } => None,
        });
        Self(cells.collect())
    }

    /// Counts a round; how its drawing stands now.
    pub fn count(&mut self, round: &ForcedRound) -> &Cell {
        let cell = self.0.entry(round.cell.clone()).or_default();
        let counts = if round.held { &mut cell.held } else { &mut cell.free };
        cell.done += 1;
        cell.seconds += round.seconds;
        counts.rounds += 1;
        match &round.outcome {
            ForcedOutcome::Corrupt { .. } => counts.corrupt += 1,
            ForcedOutcome::Clean => counts.clean += 1,
            ForcedOutcome::Excluded { why, .. } => {
                counts.excluded += 1;
                cell.exclusion = Some(why.clone());
            }
            ForcedOutcome::Crashed { .. } => counts.crashed += 1,
            ForcedOutcome::Lost { .. } => counts.lost += 1,
        }
        cell
    }
}

impl Cell {
    /// The counts in one line.
    pub fn text(&self) -> String {
        let exclusion = match &self.exclusion {
            Some(Exclusion::Blocked { function, .. }) => format!(" (waits in {function})"),
            Some(Exclusion::TookAnotherWay) => " (takes another way)".to_owned(),
            None => String::new(),
        };
        let (held, free) = (self.held.text(&exclusion), self.free.text(""));
        format!("forced: {held}; without the hold: {free}; {:.2} s a round", self.seconds / self.done.max(1) as f64)
    }
}

impl Counts {
    fn text(&self, exclusion: &str) -> String {
        let kinds = [
            (self.corrupt, "corrupt", ""),
            (self.excluded, "excluded", exclusion),
            (self.clean, "clean", ""),
            (self.crashed, "crashed", ""),
            (self.lost, "lost", ""),
        ];
        let seen: Vec<String> = kinds
            .iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, kind, more)| format!("{count} of {} {kind}{more}", self.rounds))
            .collect();
        if seen.is_empty() { "no round".to_owned() } else { seen.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_counted_apart_by_whether_anything_was_held() {
        let round = |held, outcome| ForcedRound {
            cell: "cell".to_owned(),
            round: 1,
            held,
            outcome,
            steps: Vec::new(),
            threads: Vec::new(),
            entry_before: None,
            entry_after: None,
            seconds: 0.25,
            problems: Vec::new(),
        };
        let blocked = Exclusion::Blocked { function: "do_swap_page".to_owned(), for_ms: 130 };
        let excluded = ForcedOutcome::Excluded { step: 3, why: blocked, damage: None };
        let mut tally = Tally::default();
        tally.count(&round(false, ForcedOutcome::Clean));
        tally.count(&round(true, excluded.clone()));
        tally.count(&round(false, ForcedOutcome::Clean));
        let cell = tally.count(&round(true, excluded));
        assert_eq!(cell.done, 4);
        assert_eq!(
            cell.text(),
            "forced: 2 of 2 excluded (waits in do_swap_page); without the hold: 2 of 2 clean; 0.25 s a round"
        );
    }
}
