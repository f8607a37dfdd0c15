//! The run as it learns: which round is next, and which cells need no more. Pure, so that `twinboot simulate` runs the
//! very same rules as a run with guests.

use std::collections::{HashMap, HashSet};

use super::comparison_group::{self, Group};
use super::schedule::Schedule;
use crate::analysis::stop;
use crate::journal::entry::{RoundFinished, RoundId, RoundOutcome, RunStarted, Stopped};
use crate::journal::failure::{self, Counted};
use crate::journal::rules::Why;
use crate::journal::{self, Entry};

/// Rounds in a row without a result after which a cell is given up: it will not get better, and hung guests cost minutes.
const GIVE_UP_AFTER: u32 = 3;

/// The schedule, and what is learnt from each round that ends.
#[derive(Debug)]
pub struct Sequence {
    schedule: Schedule,
    /// Cells that hang together through comparisons.
    groups: Vec<Group>,
    /// The group of each cell.
    group_of: HashMap<String, usize>,
    /// Entries of the journal that were looked at.
    read: usize,
    kernels: Kernels,
    /// Rounds in a row without a result, by cell.
    fruitless: HashMap<String, u32>,
    /// What fails a round of each cell.
    counts: HashMap<String, Vec<Counted>>,
    /// Cells whose end was told.
    told: HashSet<String>,
}

/// What is known of a run's kernels, by kernel and variant name.
#[derive(Debug, Default)]
struct Kernels {
    /// Still to come, or known to be missing only later.
    awaited: HashSet<(String, String)>,
    /// There.
    built: HashSet<(String, String)>,
    /// Something was learnt since cells were let in the last time.
    news: bool,
}

impl Sequence {
    /// The rounds of `run`, of whose kernels none is there yet.
    pub fn new(run: &RunStarted) -> Self {
        let cells = run.cells.iter().map(|cell| (cell.id.as_str(), cell.rounds, cell.rule));
        let (groups, group_of) = comparison_group::of(run);
        let mut schedule = Schedule::new(cells, &run.comparisons, run.seed).closed();
        // One guest at a time takes as long in whatever order.
        if run.load.is_some_and(|load| load.guests > 1) {
            let seconds: HashMap<&str, u64> = run.cells.iter().map(|cell| (cell.id.as_str(), cell.round_s)).collect();
            schedule = schedule.longest_first(|id| seconds.get(id).copied().unwrap_or(0));
        }
        Self {
            schedule,
            groups,
            group_of,
            read: 0,
            kernels: Kernels { awaited: kernels_of(run), ..Kernels::default() },
            fruitless: HashMap::new(),
            counts: run.cells.iter().map(|cell| (cell.id.clone(), cell.counts.clone())).collect(),
            told: HashSet::new(),
        }
    }

    /// The rounds of `run`, whose kernels are all there.
    pub fn ready(run: &RunStarted) -> Self {
        let mut sequence = Self::new(run);
        for (kernel, variant) in kernels_of(run) {
            sequence.kernel_known(&kernel, &variant, true);
        }
        sequence
    }

    /// A kernel is there, or it is known that it will not come. Cells are let in with their whole group, once that is known
    /// of all its kernels, by the next call of [`Sequence::next_round`].
    pub fn kernel_known(&mut self, kernel: &str, variant: &str, built: bool) {
        let name = (kernel.to_owned(), variant.to_owned());
        self.kernels.awaited.remove(&name);
        if built {
            self.kernels.built.insert(name);
        }
        self.kernels.news = true;
    }

    /// The round to start next; none when all have been started that are needed and whose kernels are there.
    pub fn next_round(&mut self) -> Option<RoundId> {
        self.let_in();
        self.schedule.next_round()
    }

    fn let_in(&mut self) {
        if !std::mem::take(&mut self.kernels.news) {
            return;
        }
        let Kernels { awaited, built, .. } = &self.kernels;
        let among = |set: &HashSet<(String, String)>, (kernel, variant): (&str, &str)| {
            set.contains(&(kernel.to_owned(), variant.to_owned()))
        };
        // Builds make a host busy, and end: no base runs ahead beside them.
        let calm = awaited.is_empty();
        for group in self.groups.iter().filter(|group| !group.cells().any(|(_, name)| among(awaited, name))) {
            for (cell, _) in group.cells().filter(|(_, name)| among(built, *name)) {
                self.schedule.open(cell, calm);
            }
        }
    }

    /// Takes in the round that ended last of those in `entries`, the journal so far: the same at each call, but for what
    /// was added. Returns what is to be journalled of it: notices and cells that stop.
    pub fn ended(&mut self, entries: &[Entry], round: &RoundFinished) -> Vec<Entry> {
        self.read(entries);
        let mut news = self.give_up(round);
        let Some(group) = self.group_of.get(&round.id.cell).map(|&at| &self.groups[at]) else { return news };
        if group.fixed {
            return news;
        }
        let known = group.fold(entries, &news);
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
        // A round that failed as its test counts is a result.
        let counts = self.counts.get(cell).map_or(&[][..], Vec::as_slice);
        let failed = failure::counts_rounds(counts) && journal::failed(counts, round).is_some();
        let fruitful = failed || matches!(round.outcome, RoundOutcome::Finished | RoundOutcome::Interrupted);
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

    /// Sorts what is new in the journal by the groups that it tells of.
    fn read(&mut self, entries: &[Entry]) {
        for (at, entry) in entries.iter().enumerate().skip(self.read) {
            let cell = match entry {
                Entry::RoundFinished(end) => &end.id.cell,
                Entry::Stopped(stopped) => &stopped.cell,
                Entry::Built(built) => {
                    self.built(at, &built.kernel, &built.variant);
                    continue;
                }
                Entry::BuildFailed(failed) => {
                    self.built(at, &failed.kernel, &failed.variant);
                    continue;
                }
                // Rounds still running are left out: they are not lost.
                _ => continue,
            };
            if let Some(&group) = self.group_of.get(cell) {
                self.groups[group].entries.push(at);
            }
        }
        self.read = self.read.max(entries.len());
    }

    fn built(&mut self, at: usize, kernel: &str, variant: &str) {
        for group in self.groups.iter_mut().filter(|group| group.runs_on(kernel, variant)) {
            group.entries.push(at);
        }
    }
}

/// Every kernel and variant that `run` needs.
fn kernels_of(run: &RunStarted) -> HashSet<(String, String)> {
    let forced = run.forced.iter().map(|cell| (cell.kernel.clone(), cell.variant.clone()));
    run.cells.iter().map(|cell| (cell.kernel.clone(), cell.variant.clone())).chain(forced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::rules::Rule;
    use crate::simulation::{Truth, World, play, started};

    const RULE: Rule = Rule { alpha: 1e-6, residual: 0.1, min_rounds: 3, rounds: 8, sequential: true, exact: false };
    const WORLD: World =
        World { rate: 0.1, exposures: 2000, clustering: 0.0, boot_clustering: 0.0, truth: Truth::Ratio(0.0) };

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
        let mut sequence = Sequence::ready(&run);
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
    fn a_group_waits_for_all_of_its_kernels_and_then_its_base_leads_only_on_a_calm_host() {
        let mut run = started(&WORLD, &RULE, 1);
        let other = run.cells.iter().cloned().map(|mut cell| {
            cell.id = format!("other-{}", cell.id);
            cell.kernel = "other".to_owned();
            cell
        });
        run.cells.extend(other.collect::<Vec<_>>());
        let mut sequence = Sequence::new(&run);
        sequence.kernel_known("", "base", true);
        assert_eq!(sequence.next_round(), None, "the patched kernel is not there");
        sequence.kernel_known("", "patched", true);
        let beside: Vec<String> = (0..4).filter_map(|_| sequence.next_round()).map(|id| id.cell).collect();
        assert_eq!(beside.iter().filter(|cell| *cell == "base").count(), 2, "by turns beside a build: {beside:?}");
        sequence.kernel_known("other", "base", true);
        sequence.kernel_known("other", "patched", false);
        let rest: Vec<RoundId> = std::iter::from_fn(|| sequence.next_round()).collect();
        assert_eq!(rest.iter().filter(|id| id.cell == "other-base").count(), 8);
        assert!(!rest.iter().any(|id| id.cell == "other-patched"), "it was not built");

        let mut calm = Sequence::ready(&started(&WORLD, &RULE, 1));
        assert!((0..4).filter_map(|_| calm.next_round()).all(|id| id.cell == "base"));
    }

    #[test]
    fn a_cell_without_results_is_given_up_once_and_does_not_hold_the_base() {
        let run = started(&WORLD, &RULE, 1);
        let mut sequence = Sequence::ready(&run);
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
