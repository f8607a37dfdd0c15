//! The run as it learns: which round is next, and which cells need no more. Pure, so that `twinboot simulate` runs the
//! very same rules as a run with guests.

use std::collections::{HashMap, HashSet};

use super::schedule::Schedule;
use crate::outcome::entry::{ComparisonSpec, RoundFinished, RoundId, RoundOutcome, RunStarted, Stopped};
use crate::outcome::stop::{self, Why};
use crate::outcome::{Entry, Results};

/// Rounds in a row without a result after which a cell is given up: it will not get better, and hung guests cost minutes.
const GIVE_UP_AFTER: u32 = 3;

/// The schedule, and what is learnt from each round that ends.
#[derive(Debug)]
pub struct Sequence {
    schedule: Schedule,
    /// Cells that hang together through comparisons, by cell.
    groups: HashMap<String, HashSet<String>>,
    /// Cells of which none hangs together with one that may stop early: nothing is to be learnt before their end.
    fixed: HashSet<String>,
    /// Rounds in a row without a result, by cell.
    fruitless: HashMap<String, u32>,
    /// Cells whose end was told.
    told: HashSet<String>,
}

impl Sequence {
    /// The rounds of the cells of `run` that `runnable` takes.
    pub fn new(run: &RunStarted, runnable: impl Fn(&str) -> bool) -> Self {
        let cells =
            run.cells.iter().filter(|cell| runnable(&cell.id)).map(|cell| (cell.id.as_str(), cell.rounds, cell.rule));
        let groups = groups(run);
        let may_stop = |id: &String| {
            let own = |pair: &&ComparisonSpec| pair.base == *id || pair.patched == *id;
            run.cells.iter().any(|cell| cell.id == *id && cell.rule.is_some_and(|rule| rule.sequential))
                && !run.comparisons.iter().filter(own).any(|pair| pair.control)
        };
        let fixed = groups.iter().filter(|(_, group)| !group.iter().any(may_stop)).map(|(cell, _)| cell.clone());
        Self {
            fixed: fixed.collect(),
            schedule: Schedule::new(cells, &run.comparisons, run.seed),
            groups,
            fruitless: HashMap::new(),
            told: HashSet::new(),
        }
    }

    /// The round to start next; none when all have been started that are needed.
    pub fn next_round(&mut self) -> Option<RoundId> {
        self.schedule.next_round()
    }

    /// Takes in the round that ended last of those in `entries`, the journal so far. Returns what is to be journalled
    /// of it: notices and cells that stop.
    pub fn ended(&mut self, entries: &[Entry], round: &RoundFinished) -> Vec<Entry> {
        let mut news = self.give_up(round);
        if self.fixed.contains(&round.id.cell) {
            return news;
        }
        let known = self.fold(entries.iter().chain(&news), &round.id.cell);
        for cell in &known.cells {
            if stop::rate_known(cell) {
                self.schedule.know(&cell.spec.id);
            }
        }
        for cell in &known.cells {
            if let Some(why) = stop::answer(&known, &cell.spec.id) {
                news.extend(self.stop(&cell.spec.id, why).map(Entry::Stopped));
            }
        }
        news
    }

    fn give_up(&mut self, round: &RoundFinished) -> Vec<Entry> {
        let cell = &round.id.cell;
        let fruitful = matches!(round.outcome, RoundOutcome::Finished | RoundOutcome::Interrupted);
        let count = self.fruitless.entry(cell.clone()).or_default();
        *count = if fruitful { 0 } else { *count + 1 };
        if *count != GIVE_UP_AFTER {
            return Vec::new();
        }
        let Some(stopped) = self.stop(cell, Why::GivenUp) else { return Vec::new() };
        let text = format!("{cell}: given up after {GIVE_UP_AFTER} rounds in a row without a result");
        vec![Entry::Notice { text }, Entry::Stopped(stopped)]
    }

    fn stop(&mut self, cell: &str, why: Why) -> Option<Stopped> {
        let (after_rounds, of_rounds) = self.schedule.started(cell);
        let news = self.schedule.stop(cell) && self.told.insert(cell.to_owned());
        news.then(|| Stopped { cell: cell.to_owned(), after_rounds, of_rounds, why })
    }

    /// What is known of the cells that hang together with `cell`. Rounds still running are left out: they are not lost.
    fn fold<'a>(&self, entries: impl Iterator<Item = &'a Entry>, cell: &str) -> Results {
        let group = self.groups.get(cell);
        let ours = |id: &String| group.is_some_and(|group| group.contains(id));
        Results::fold(entries.filter_map(|entry| match entry {
            Entry::RunStarted(run) => {
                let mut run = run.clone();
                run.cells.retain(|cell| ours(&cell.id));
                run.comparisons.retain(|pair| ours(&pair.base));
                Some(Entry::RunStarted(run))
            }
            Entry::Built(_) | Entry::BuildFailed(_) => Some(entry.clone()),
            Entry::RoundFinished(end) if ours(&end.id.cell) => Some(entry.clone()),
            Entry::Stopped(stopped) if ours(&stopped.cell) => Some(entry.clone()),
            _ => None,
        }))
    }
}

fn groups(run: &RunStarted) -> HashMap<String, HashSet<String>> {
    let mut groups: Vec<HashSet<String>> = run.cells.iter().map(|cell| HashSet::from([cell.id.clone()])).collect();
    for pair in &run.comparisons {
        let (joined, mut apart): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|group| group.contains(&pair.base) || group.contains(&pair.patched));
        apart.push(joined.into_iter().flatten().collect());
        groups = apart;
    }
    let by_cell = groups.iter().flat_map(|group| group.iter().map(move |cell| (cell.clone(), group.clone())));
    by_cell.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::stop::Rule;
    use crate::simulation::{Truth, World, play, started};

    const RULE: Rule = Rule { alpha: 1e-6, residual: 0.1, min_rounds: 3, rounds: 8, sequential: true };
    const WORLD: World = World { rate: 0.1, exposures: 2000, clustering: 0.0, truth: Truth::Ratio(0.0) };

    fn stops(news: &[Entry]) -> Vec<(&str, Why)> {
        let stops = news.iter().filter_map(|entry| match entry {
            Entry::Stopped(stopped) => Some((stopped.cell.as_str(), stopped.why)),
            _ => None,
        });
        stops.collect()
    }

    /// The ends of a played run's rounds of one cell.
    fn rounds(cell: &str) -> Vec<RoundFinished> {
        let results = play(&WORLD, &RULE, 1, 0);
        let cell = results.cell(cell).expect("played");
        cell.rounds.iter().filter_map(|round| round.end().cloned()).collect()
    }

    #[test]
    fn rounds_that_still_run_beside_are_not_lost() {
        let run = started(&WORLD, &RULE, 1);
        let mut sequence = Sequence::new(&run, |_| true);
        let mut entries = vec![Entry::RunStarted(Box::new(run))];
        let mut told = Vec::new();
        let ends: Vec<_> = rounds("base").into_iter().take(3).chain(rounds("patched").into_iter().take(3)).collect();
        for end in ends {
            // Two at a time: the next round begins before this one has ended.
            while let Some(id) = sequence.next_round() {
                entries.push(Entry::RoundStarted(id.clone()));
                if id.cell == end.id.cell {
                    break;
                }
            }
            entries.push(Entry::RoundFinished(Box::new(end.clone())));
            told.extend(sequence.ended(&entries, &end));
        }
        assert_eq!(stops(&told), [("base", Why::RateKnown), ("patched", Why::Fixed)]);
        assert_eq!(sequence.next_round(), None);
    }

    #[test]
    fn a_cell_without_results_is_given_up_once_and_does_not_hold_the_base() {
        let run = started(&WORLD, &RULE, 1);
        let mut sequence = Sequence::new(&run, |_| true);
        let mut entries = vec![Entry::RunStarted(Box::new(run))];
        for end in rounds("base").into_iter().take(3) {
            let _ = sequence.next_round();
            entries.push(Entry::RoundFinished(Box::new(end.clone())));
            assert!(sequence.ended(&entries, &end).is_empty());
        }
        let mut told = Vec::new();
        for number in 1..=4 {
            let mut end = rounds("patched").swap_remove(0);
            end.id.round = number;
            end.outcome = RoundOutcome::TestFailed { reason: "signal 11".to_owned() };
            entries.push(Entry::RoundFinished(Box::new(end.clone())));
            told.extend(sequence.ended(&entries, &end));
        }
        assert_eq!(stops(&told), [("patched", Why::GivenUp), ("base", Why::RateKnown)]);
        assert_eq!(sequence.next_round(), None);
    }
}
