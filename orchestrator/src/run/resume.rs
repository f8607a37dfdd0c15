//! Resumes a run that was killed or interrupted: its journal is replayed, and the rest is run.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::Error;
use super::results_dir::failed;
use super::sequence::Sequence;
use crate::causes::chain;
use crate::journal::entry::{BuildFailed, Built, CellSpec, RoundId, RoundOutcome, RunStarted};
use crate::journal::writer::Journal;
use crate::journal::{Entry, ReadError};

/// A run that stands in a results folder, opened to be gone on with.
#[derive(Debug)]
pub struct PreviousRun {
    /// Results folder, absolute.
    pub results: PathBuf,
    /// Everything that was journalled.
    pub entries: Vec<Entry>,
    /// The journal, ready for more.
    pub(super) journal: Journal,
}

/// Where a run stands after its journal was played back.
#[derive(Debug)]
pub(super) struct Replay {
    /// The schedule, as it was when the run ended.
    pub sequence: Sequence,
    /// Rounds that began and have no result: they are run again, first.
    pub retry: Vec<RoundId>,
    /// What followed from the journal's last rounds and was not written any more.
    pub news: Vec<Entry>,
}

impl PreviousRun {
    /// Opens the run in `results`. Refuses a folder with links or anything else in it that no run makes, as what is written
    /// there would end up elsewhere.
    pub fn open(results: &Path) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Resume { results: results.to_path_buf(), reason };
        let (journal, entries) = Journal::reopen(results).map_err(|error| match error {
            ReadError::Io { path, source } if source.kind() != io::ErrorKind::InvalidInput => {
                failed("take up", &path, source)
            }
            error => refuse(chain(&error)),
        })?;
        let results = results.canonicalize().map_err(|source| failed("open", results, source))?;
        if let Some(path) = stranger(&results)? {
            let reason = format!(
                "`{}` is neither a folder nor a plain file: no run makes such a thing; remove it, or start a new run",
                path.display()
            );
            return Err(refuse(reason));
        }
        let previous = Self { results, entries, journal };
        previous.started().ok_or_else(|| refuse("its journal does not say what was run; start anew".to_owned()))?;
        Ok(previous)
    }

    /// What the run is.
    pub fn started(&self) -> Option<&RunStarted> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::RunStarted(run) => Some(&**run),
            _ => None,
        })
    }

    /// The run's seed; every round's own follows from it.
    pub fn seed(&self) -> u64 {
        self.started().map_or(0, |run| run.seed)
    }

    /// Refuses a seed that is not the run's.
    pub fn agrees(&self, seed: u64) -> Result<(), Error> {
        let own = self.seed();
        let reason = format!("its seed is {own}, not {seed}; leave --seed out");
        if own == seed { Ok(()) } else { Err(Error::Resume { results: self.results.clone(), reason }) }
    }

    /// Whether the run came to its end, so that nothing is left to do.
    pub fn complete(&self) -> bool {
        matches!(self.entries.last(), Some(Entry::RunFinished(finished)) if !finished.interrupted)
    }

    /// Refuses to go on with a run that `now` is not: another plan, other cells, another accelerator, another twinboot, or
    /// kernels that run other code than those of the journal.
    pub(super) fn same(&self, now: &RunStarted, built: &[Built]) -> Result<(), Error> {
        let differs = self.started().and_then(|then| difference(then, now)).or_else(|| self.other_kernel(built));
        match differs {
            None => Ok(()),
            Some(reason) => Err(Error::Resume { results: self.results.clone(), reason }),
        }
    }

    fn other_kernel(&self, now: &[Built]) -> Option<String> {
        let mut then = self.entries.iter().filter_map(|entry| match entry {
            Entry::Built(built) => Some(&**built),
            _ => None,
        });
        then.find_map(|then| {
            let other = |built: &&Built| {
                (&built.kernel, &built.variant) == (&then.kernel, &then.variant) && built.load_digest != then.load_digest
            };
            now.iter().find(other).map(|other| {
                format!(
                    "kernel {} {} is another one now: its source, configuration or patches have changed (build {} then, {} now); \
                     start a new run",
                    then.kernel, then.variant, then.key, other.key
                )
            })
        })
    }

    /// Refuses to go on without a kernel that the run had.
    pub(super) fn has_all(&self, failed: &[BuildFailed]) -> Result<(), Error> {
        let had = |failed: &&BuildFailed| {
            self.entries.iter().any(|entry| {
                matches!(entry, Entry::Built(built) if (&built.kernel, &built.variant) == (&failed.kernel, &failed.variant))
            })
        };
        failed.iter().find(had).map_or(Ok(()), |lost| {
            let reason = format!(
                "kernel {} {} was built then and cannot be built now: {}",
                lost.kernel, lost.variant, lost.reason
            );
            Err(Error::Resume { results: self.results.clone(), reason })
        })
    }

    /// Replays the journal through the rules that decide the order of rounds.
    pub(super) fn replay(&self) -> Result<Replay, Error> {
        let refuse = |reason| Error::Resume { results: self.results.clone(), reason };
        let run = self.started().ok_or_else(|| refuse("its journal does not say what was run".to_owned()))?;
        replay(&self.entries, Sequence::new(run)).map_err(refuse)
    }
}

/// Something in the results folder, or in the folders of its cells, that is neither a folder nor a plain file.
fn stranger(results: &Path) -> Result<Option<PathBuf>, Error> {
    let mut folders = vec![results.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let failed = |source| failed("read", &folder, source);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if !kind.is_file() {
                return Ok(Some(entry.path()));
            }
        }
    }
    Ok(None)
}

fn difference(then: &RunStarted, now: &RunStarted) -> Option<String> {
    if then.plan_sha256 != now.plan_sha256 {
        let short = |run: &RunStarted| run.plan_sha256.chars().take(12).collect::<String>();
        return Some(format!(
            "the plan has changed since (it was {}…, it is {}…); start a new run",
            short(then),
            short(now)
        ));
    }
    if then.twinboot != now.twinboot {
        return Some(format!("it was begun by twinboot {}, this is {}", then.twinboot, now.twinboot));
    }
    if then.accelerator != now.accelerator {
        let words = |run: &RunStarted| format!("{} (QEMU {})", run.accelerator.name, run.accelerator.qemu);
        let (then, now) = (words(then), words(now));
        return Some(format!("it ran under {then} and this would run under {now}; results of both are not mixed"));
    }
    let ids = |run: &RunStarted| {
        let forced = run.forced.iter().map(|cell| cell.id.clone());
        run.cells.iter().map(|cell| cell.id.clone()).chain(forced).collect::<Vec<_>>()
    };
    if ids(then) != ids(now) {
        let reason =
            "it was made of other cells; give the --only, --partition and --control of then, or start a new run";
        return Some(reason.to_owned());
    }
    let cells = |run: &RunStarted| {
        // How long a round is thought to take orders rounds and defines nothing; older journals do not tell.
        let timeless = |cell: &CellSpec| CellSpec { round_s: 0, ..cell.clone() };
        run.cells.iter().map(timeless).collect::<Vec<_>>()
    };
    let same = cells(then) == cells(now) && then.comparisons == now.comparisons && then.forced == now.forced;
    (!same).then(|| {
        "its cells were not made in the same way; give the --rounds and --coarse of then, or start a new run".to_owned()
    })
}

/// Replays `entries` through `sequence`, which is at the start of the run.
fn replay(entries: &[Entry], mut sequence: Sequence) -> Result<Replay, String> {
    let mut begun = HashSet::new();
    let mut retry: Vec<RoundId> = Vec::new();
    let mut news = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        match entry {
            Entry::Built(built) => sequence.kernel_known(&built.kernel, &built.variant, true),
            Entry::BuildFailed(failed) => sequence.kernel_known(&failed.kernel, &failed.variant, false),
            Entry::RoundStarted(id) if begun.insert(id.clone()) => {
                let next = sequence.next_round();
                if next.as_ref() != Some(id) {
                    return Err(format!(
                        "its journal goes on with round {} of {}, where this twinboot would not: it was made by another",
                        id.round, id.cell
                    ));
                }
                retry.push(id.clone());
            }
            Entry::RoundFinished(round) if round.outcome != RoundOutcome::Interrupted => {
                retry.retain(|id| *id != round.id);
                news.extend(sequence.ended(&entries[..=at], round));
            }
            _ => {}
        }
    }
    news.retain(|entry| !entries.contains(entry));
    Ok(Replay { sequence, retry, news })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::Results;
    use crate::journal::entry::RoundFinished;
    use crate::journal::rules::Rule;
    use crate::simulation::{Truth, World, play, started};

    const RULE: Rule = Rule { alpha: 1e-6, residual: 0.1, min_rounds: 3, rounds: 8, sequential: true, exact: false };
    const WORLD: World =
        World { rate: 0.1, exposures: 2000, clustering: 0.5, boot_clustering: 0.0, truth: Truth::Ratio(0.3) };

    /// The end of a round, always the same for the same round.
    fn end(results: &Results, id: &RoundId) -> RoundFinished {
        let cell = results.cell(&id.cell).expect("a cell of the world");
        let known = cell.rounds.iter().filter_map(|round| round.end().cloned()).collect::<Vec<_>>();
        let mut end = known[(id.round as usize - 1) % known.len()].clone();
        end.id = id.clone();
        end
    }

    /// Goes on with `entries`, `jobs` rounds at a time, until the end or until the journal has `limit` entries.
    fn go_on(mut entries: Vec<Entry>, jobs: usize, limit: usize) -> Vec<Entry> {
        let world = play(&WORLD, &Rule { sequential: false, ..RULE }, 1, 0);
        let run = started(&WORLD, &RULE, 1);
        if entries.is_empty() {
            entries.push(Entry::RunStarted(Box::new(run.clone())));
        }
        let Replay { mut sequence, retry, news } = replay(&entries, Sequence::ready(&run)).expect("plays back");
        entries.extend(news);
        let mut retry = retry.into_iter();
        let mut running = std::collections::VecDeque::new();
        while entries.len() < limit {
            while running.len() < jobs {
                let Some(id) = retry.next().or_else(|| sequence.next_round()) else { break };
                entries.push(Entry::RoundStarted(id.clone()));
                running.push_back(id);
            }
            let Some(id) = running.pop_front() else { break };
            let round = end(&world, &id);
            entries.push(Entry::RoundFinished(Box::new(round.clone())));
            let news = sequence.ended(&entries, &round);
            entries.extend(news);
        }
        entries.truncate(limit);
        entries
    }

    /// What the journal says of every cell.
    fn cells(entries: &[Entry]) -> Vec<crate::analysis::CellResult> {
        Results::fold(entries.iter().cloned()).cells
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

        /// Cut off anywhere, any number of times: the end is that of the run nobody cut.
        #[test]
        fn a_run_cut_off_anywhere_comes_to_the_same_end(cuts in proptest::collection::vec(1usize..40, 0..5)) {
            let whole = go_on(Vec::new(), 1, usize::MAX);
            let mut entries = Vec::new();
            for cut in cuts {
                let limit = entries.len() + cut;
                entries = go_on(entries, 1, limit);
            }
            let resumed = go_on(entries, 1, usize::MAX);
            prop_assert_eq!(cells(&whole), cells(&resumed));
        }

        /// With two rounds at a time nothing is run twice and nothing is left out.
        #[test]
        fn no_round_ends_twice(cuts in proptest::collection::vec(1usize..40, 0..5)) {
            let mut entries = Vec::new();
            for cut in cuts {
                let limit = entries.len() + cut;
                entries = go_on(entries, 2, limit);
            }
            let entries = go_on(entries, 2, usize::MAX);
            let mut ends: Vec<RoundId> = entries.iter().filter_map(|entry| match entry {
                Entry::RoundFinished(round) => Some(round.id.clone()),
                _ => None,
            }).collect();
            let all = ends.len();
            ends.sort();
            ends.dedup();
            prop_assert_eq!(ends.len(), all);
            for cell in cells(&entries) {
                prop_assert!(cell.rounds.iter().all(|round| round.end().is_some()));
            }
        }
    }

    #[test]
    fn a_journal_of_another_order_is_refused() {
        let mut entries = go_on(Vec::new(), 1, 6);
        for entry in &mut entries {
            if let Entry::RoundStarted(id) = entry {
                id.round += 1;
            }
        }
        let run = started(&WORLD, &RULE, 1);
        assert!(
            replay(&entries, Sequence::ready(&run))
                .expect_err("another order")
                .contains("where this twinboot would not")
        );
    }

    #[test]
    fn another_run_is_not_gone_on_with_and_the_refusal_says_what_differs() {
        let then = started(&WORLD, &RULE, 1);
        assert_eq!(difference(&then, &then), None);
        let mut elsewhere = then.clone();
        elsewhere.load = Some(crate::journal::Load { guests: 8, vcpus: 16 });
        elsewhere.cells[0].round_s = 63;
        assert_eq!(difference(&then, &elsewhere), None, "how many guests there are beside each other is no other run");
        let told = |change: fn(&mut RunStarted), words: &str| {
            let mut now = then.clone();
            change(&mut now);
            let text = difference(&then, &now).unwrap_or_default();
            assert!(text.contains(words), "{words}: {text}");
        };
        told(|now| now.plan_sha256 = "cd".repeat(32), "the plan has changed");
        told(|now| now.twinboot = "9".to_owned(), "by twinboot");
        told(|now| now.accelerator.name = "kvm".to_owned(), "are not mixed");
        told(|now| now.cells.truncate(1), "other cells");
        told(|now| now.cells[0].rounds += 1, "not made in the same way");
    }

    #[test]
    fn an_interrupted_round_is_run_again() {
        let mut entries = go_on(Vec::new(), 1, 3);
        let Some(Entry::RoundFinished(last)) = entries.last_mut() else { panic!("{entries:?}") };
        last.outcome = RoundOutcome::Interrupted;
        let id = last.id.clone();
        let run = started(&WORLD, &RULE, 1);
        assert_eq!(replay(&entries, Sequence::ready(&run)).expect("plays back").retry, [id]);
    }
}
