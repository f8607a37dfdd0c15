//! The journal folded into results: the only thing a report is made from.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;

use super::cell::{BuildState, CellOutcome, CellResult, Met};
use super::forced::{self, ForcedComparison, ForcedFold, ForcedResult, SweepResult};
use super::round::{Round, RoundState};
use super::verdict::{Comparison, Reason, Verdict};
use super::{compare, control};
use crate::journal::entry::{CellSpec, Entry, RoundFinished, RunFinished, RunStarted, Snapshot, Stopped};
use crate::journal::rules::Expectation;
use crate::journal::rules::Rule;

/// Everything a journal holds, cut off anywhere or whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Results {
    /// What was run and where; absent when the journal holds not even its first line.
    pub run: Option<RunStarted>,
    /// Things a reader must know, in order.
    pub notices: Vec<String>,
    /// Cells in plan order.
    pub cells: Vec<CellResult>,
    /// Comparisons in plan order.
    pub comparisons: Vec<Comparison>,
    /// Guests that were saved for warm rounds, in order of their first use.
    pub snapshots: Vec<Snapshot>,
    /// Drawn interleavings in plan order.
    pub forced: Vec<ForcedResult>,
    /// Sweeps in plan order.
    pub sweeps: Vec<SweepResult>,
    /// Forced cells held against those of their base.
    pub forced_comparisons: Vec<ForcedComparison>,
    /// The end of the run; absent when it never came.
    pub finished: Option<RunFinished>,
}

impl Results {
    /// Folds a journal. A round that began again counts by its last end; rounds of another accelerator than the
    /// first are set aside with a notice, never pooled.
    pub fn fold(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut fold = Fold::default();
        for entry in entries {
            fold.take(entry);
        }
        fold.finish()
    }

    /// The cell with this id.
    pub fn cell(&self, id: &str) -> Option<&CellResult> {
        self.cells.iter().find(|cell| cell.spec.id == id)
    }

    /// The cell for `id` and whatever else is needed to tell a comparison: (base, patched).
    pub fn sides(&self, comparison: &Comparison) -> Option<(&CellResult, &CellResult)> {
        Some((self.cell(&comparison.base)?, self.cell(&comparison.patched)?))
    }

    /// The forced comparison that judges the cell with this id.
    pub fn forced_comparison(&self, id: &str) -> Option<&ForcedComparison> {
        self.forced_comparisons.iter().find(|it| it.patched == id)
    }

    /// Whether the run was interrupted.
    pub fn interrupted(&self) -> bool {
        self.finished.as_ref().is_some_and(|finished| finished.interrupted)
    }
}

#[derive(Default)]
struct Fold {
    run: Option<RunStarted>,
    notices: Vec<String>,
    builds: BTreeMap<(String, String), BuildState>,
    rounds: BTreeMap<String, BTreeMap<u32, Option<Box<RoundFinished>>>>,
    stopped: BTreeMap<String, Stopped>,
    forced: ForcedFold,
    snapshots: Vec<Snapshot>,
    finished: Option<RunFinished>,
    /// The entries being read belong to a run on another accelerator.
    foreign: bool,
    set_aside: u64,
}

impl Fold {
    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::RunStarted(run) => self.start(*run),
            Entry::Built(built) => {
                let key = (built.kernel.clone(), built.variant.clone());
                self.builds.insert(key, BuildState::Built(built));
            }
            Entry::BuildFailed(failed) => {
                self.builds.insert((failed.kernel, failed.variant), BuildState::Failed(failed.reason));
            }
            Entry::Notice { text } if self.notices.contains(&text) => {}
            Entry::Notice { text } => self.notices.push(text),
            Entry::Snapshot(snapshot) => self.snapshots.push(*snapshot),
            Entry::RoundStarted(id) if !self.foreign => {
                if let MapEntry::Vacant(round) = self.rounds.entry(id.cell.clone()).or_default().entry(id.round) {
                    // A run that was taken up again may go on where the first had stopped.
                    self.stopped.remove(&id.cell);
                    round.insert(None);
                }
            }
            Entry::RoundFinished(end) if !self.foreign => {
                self.rounds.entry(end.id.cell.clone()).or_default().insert(end.id.round, Some(end));
            }
            Entry::Stopped(stopped) if !self.foreign => {
                self.stopped.insert(stopped.cell.clone(), stopped);
            }
            Entry::ForcedRound(round) if !self.foreign => self.forced.round(*round),
            Entry::SweepTraced(traced) if !self.foreign => self.forced.traced(*traced),
            Entry::SweepTried(tried) if !self.foreign => self.forced.tried(*tried),
            Entry::ForcedFailed(failed) if !self.foreign => self.forced.failed(failed),
            Entry::RoundStarted(_) | Entry::Stopped(_) | Entry::SweepTraced(_) | Entry::ForcedFailed(_) => {}
            Entry::RoundFinished(_) | Entry::ForcedRound(_) | Entry::SweepTried(_) => self.set_aside += 1,
            Entry::RunFinished(finished) => self.finished = Some(finished),
        }
    }

    /// A second start is a run that was taken up again, or one merged in.
    fn start(&mut self, run: RunStarted) {
        self.finished = None;
        let Some(first) = &mut self.run else {
            self.run = Some(run);
            return;
        };
        self.foreign = first.accelerator != run.accelerator;
        if self.foreign {
            self.notices.push(format!(
                "rounds under {} (QEMU {}) are not pooled with those under {} (QEMU {})",
                run.accelerator.name, run.accelerator.qemu, first.accelerator.name, first.accelerator.qemu
            ));
            return;
        }
        for cell in run.cells {
            if !first.cells.iter().any(|known| known.id == cell.id) {
                first.cells.push(cell);
            }
        }
        for comparison in run.comparisons {
            if !first.comparisons.contains(&comparison) {
                first.comparisons.push(comparison);
            }
        }
        for cell in run.forced {
            if !first.forced.iter().any(|known| known.id == cell.id) {
                first.forced.push(cell);
            }
        }
    }

    fn finish(mut self) -> Results {
        if self.set_aside > 0 {
            self.notices.push(format!("{} rounds of another accelerator were set aside", self.set_aside));
        }
        let specs = self.run.as_ref().map_or_else(Vec::new, |run| run.cells.clone());
        let cells = specs.into_iter().map(|spec| self.cell(spec)).collect();
        let forced = self.run.as_ref().map_or(&[][..], |run| &run.forced);
        let build = |spec: &crate::journal::interleaving::ForcedSpec| {
            let key = (spec.kernel.clone(), spec.variant.clone());
            self.builds.get(&key).cloned().unwrap_or(BuildState::Unknown)
        };
        let (forced, sweeps) = self.forced.finish(forced, build);
        let mut results = Results {
            cells,
            comparisons: Vec::new(),
            forced_comparisons: forced::pairs(&forced, &sweeps),
            forced,
            sweeps,
            snapshots: self.snapshots,
            run: self.run,
            notices: self.notices,
            finished: self.finished,
        };
        if let Some(run) = &results.run {
            let pair = |spec: &crate::journal::entry::ComparisonSpec| {
                let (base, patched) = (results.cell(&spec.base)?, results.cell(&spec.patched)?);
                let rule = patched.spec.rule.unwrap_or_else(|| Rule::without_stopping(run.alpha));
                let mut judged =
                    if spec.control { control::judge(base, patched) } else { compare::judge(base, patched, &rule) };
                forced::join(&mut judged, (base, patched), &results.forced_comparisons);
                Some(judged)
            };
            results.comparisons = run.comparisons.iter().filter_map(pair).collect();
        }
        let shared = |cell: &CellResult| {
            let mut own = results.comparisons.iter().filter(|it| it.patched == cell.spec.id && !it.control).peekable();
            own.peek().is_some()
                && own.all(|it| {
                    let base = results.cell(&it.base);
                    base.is_some_and(|base| base.counted_rounds() > 0 && compare::only_shared(base, cell))
                })
        };
        let calm: Vec<bool> =
            results.cells.iter().map(|cell| cell.outcome == CellOutcome::Broken && shared(cell)).collect();
        for (cell, _) in results.cells.iter_mut().zip(calm).filter(|(_, calm)| *calm) {
            cell.disregard_trouble();
        }
        let met: Vec<Met> = results.cells.iter().map(|cell| met(cell, &results.comparisons)).collect();
        for (cell, met) in results.cells.iter_mut().zip(met) {
            cell.met = met;
        }
        results
    }

    fn cell(&mut self, spec: CellSpec) -> CellResult {
        let key = (spec.kernel.clone(), spec.variant.clone());
        let build = self.builds.get(&key).cloned().unwrap_or(BuildState::Unknown);
        let rounds = self.rounds.remove(&spec.id).unwrap_or_default();
        let rounds = rounds
            .into_iter()
            .map(|(number, end)| Round { number, state: end.map_or(RoundState::Lost, RoundState::Ended) })
            .collect();
        let stopped = self.stopped.remove(&spec.id);
        CellResult { stopped, ..CellResult::new(spec, build, rounds) }
    }
}

/// Whether the author's expectation of `cell` came true, by its own rounds and the comparisons that judge it.
fn met(cell: &CellResult, comparisons: &[Comparison]) -> Met {
    let unmeasured = matches!(cell.build, BuildState::Failed(_))
        || cell.counted_rounds() == 0
        || cell.trouble.iter().any(|trouble| trouble.kind.is_infrastructure());
    let unknown = if unmeasured { Met::Unmeasured } else { Met::Undecided };
    let own = comparisons.iter().filter(|comparison| comparison.patched == cell.spec.id);
    if let Some(control) = own.clone().find(|comparison| comparison.control) {
        return match control.verdict {
            Verdict::NoDifference => Met::Yes,
            Verdict::Difference => Met::No,
            _ => unknown,
        };
    }
    let forced = |it: &Comparison| matches!(it.reason, Reason::ForcedCorruption | Reason::ForcedCrash);
    match cell.spec.expect {
        // However few races there were, a forced one is enough.
        Expectation::Clean if own.clone().any(forced) => Met::No,
        Expectation::Any if cell.counted_rounds() > 0 || cell.outcome == CellOutcome::Broken => Met::Yes,
        Expectation::Any => unknown,
        Expectation::Corrupt => match cell.outcome {
            CellOutcome::Corrupted | CellOutcome::Fails => Met::Yes,
            CellOutcome::Clean | CellOutcome::Unexposed | CellOutcome::Broken if !unmeasured => Met::No,
            _ => unknown,
        },
        Expectation::Clean => match cell.outcome {
            // Where the base got through no round either, the trouble is not known to be the patched kernel's.
            CellOutcome::Broken if own.clone().any(|comparison| comparison.verdict != Verdict::Broken) => unknown,
            CellOutcome::Corrupted | CellOutcome::Fails | CellOutcome::Broken => Met::No,
            CellOutcome::Clean => {
                own.map(|comparison| clean_by(comparison, unknown)).max_by_key(|&met| weight(met)).unwrap_or(Met::Yes)
            }
            _ => unknown,
        },
    }
}

/// What a comparison adds to a cell that showed no corruption.
fn clean_by(comparison: &Comparison, unknown: Met) -> Met {
    match (comparison.verdict, comparison.reason) {
        (Verdict::Fixed, _) => Met::Yes,
        (Verdict::Inconclusive, Reason::BuildFailed | Reason::RoundsLost | Reason::NoRounds) => Met::Unmeasured,
        (Verdict::Inconclusive | Verdict::NotReproduced, _) => unknown,
        _ => Met::No,
    }
}

/// Of several comparisons the one that says most against the cell counts.
fn weight(met: Met) -> u8 {
    match met {
        Met::Yes => 0,
        Met::Undecided => 1,
        Met::Unmeasured => 2,
        Met::No => 3,
    }
}
