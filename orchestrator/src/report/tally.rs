//! Forced rounds and swept points as they come in, counted for the line that people follow.

use std::collections::HashMap;

use crate::journal::entry::RunStarted;
use crate::journal::interleaving::{
    Exclusion, Forced, ForcedOutcome, ForcedRound, SweepPoint, SweepTraced, SweepTried,
};

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
        counts.add(&round.outcome);
        if let ForcedOutcome::Excluded { why, .. } = &round.outcome {
            cell.exclusion = Some(why.clone());
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
    fn add(&mut self, outcome: &ForcedOutcome) {
        *match outcome {
            ForcedOutcome::Corrupt { .. } => &mut self.corrupt,
            ForcedOutcome::Clean => &mut self.clean,
            ForcedOutcome::Excluded { .. } => &mut self.excluded,
            ForcedOutcome::Crashed { .. } => &mut self.crashed,
            ForcedOutcome::Lost { .. } => &mut self.lost,
        } += 1;
    }

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

/// Counts of one sweep on one kernel.
#[derive(Debug, Clone, Default)]
pub struct SweepTally {
    /// Points to try.
    pub planned: u64,
    points: u64,
    illegal: u64,
    /// Outcomes by point: one that is tried again counts once.
    outcomes: HashMap<u64, ForcedOutcome>,
}

impl SweepTally {
    /// The points are known. True: worth a line of its own.
    pub fn traced(&mut self, traced: &SweepTraced) -> bool {
        let count = |wanted: fn(&SweepPoint) -> bool| traced.points.iter().filter(|point| wanted(point)).count() as u64;
        self.points = traced.points.len() as u64;
        self.illegal = count(|point| point.order.is_some() && point.illegal.is_some());
        self.planned = count(|point| point.order.is_some() && point.illegal.is_none());
        true
    }

    /// A point was tried. True at each quarter of the sweep.
    pub fn tried(&mut self, tried: &SweepTried) -> bool {
        let quarter = |done: u64| (done * 4).checked_div(self.planned).unwrap_or(0);
        let before = quarter(self.done());
        self.outcomes.insert(tried.address, tried.outcome.clone());
        quarter(self.done()) > before
    }

    /// Points tried so far.
    pub fn done(&self) -> u64 {
        self.outcomes.len() as u64
    }

    /// The counts in one line.
    pub fn text(&self) -> String {
        if self.outcomes.is_empty() {
            return format!(
                "{} instruction boundaries; the victim comes to {}, {} of which are legal to preempt",
                self.points,
                self.planned + self.illegal,
                self.planned
            );
        }
        let mut counts = Counts::default();
        for outcome in self.outcomes.values() {
            counts.add(outcome);
        }
        counts.rounds = self.planned;
        counts.text("")
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
