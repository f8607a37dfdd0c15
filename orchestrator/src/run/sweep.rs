//! A plan's sweeps: one cell after the other, each with all guests, in a journal of their own that can be taken up again.

use super::artifacts::Artifacts;
use super::capacity::{GuestFootprint, HostCapacity};
use super::dispatcher::{Dispatcher, Run, Start, begin};
use super::messages::Observer;
use super::options::Options;
use super::{Error, capacity, results_dir, run_header, schedule};
use crate::build::initramfs::Keys;
use crate::cache::Cache;
use crate::interleave::sweep::{EarlierResults, Source, SweepTask};
use crate::interleave::{SymbolCache, sweep};
use crate::journal::Entry;
use crate::journal::entry::RunFinished;
use crate::journal::interleaving::{Exclusion, ForcedOutcome, SweepTraced};
use crate::plan::model::{Deadlines, ForcedCell, Plan};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Points that a cell may be ahead of the journal: each is on disk before the next is told of.
const AHEAD: usize = 1;

/// How sweeps are to be made.
#[derive(Debug, Clone)]
pub struct SweepOptions {
    /// As for other runs; the seed is that of an earlier run that is taken up.
    pub options: Options,
    /// Entries and call returns only.
    pub coarse: bool,
}

/// Makes the plan's sweeps on `artifacts`. After an interrupt the running ones end at once; what was found is in the journal
/// either way.
pub async fn sweeps(
    plan: &Plan,
    artifacts: &Artifacts,
    sweep: &SweepOptions,
    start: Start,
    cache: &Cache,
    observer: &Observer,
    cancel: &CancellationToken,
) -> Result<Run, Error> {
    let now = jiff::Timestamp::now();
    // A guest for each of the host's CPUs, as far as memory goes: most of a point's time is spent waiting.
    let footprint = GuestFootprint::of(plan);
    let mut concurrency =
        capacity::concurrency(HostCapacity::now(), GuestFootprint { vcpus: 1, ..footprint }, 1.0, sweep.options.jobs);
    concurrency.load.vcpus = concurrency.load.guests.saturating_mul(footprint.vcpus);
    let mut started = run_header::run_started(plan, artifacts, &sweep.options, concurrency.load, &now);
    started.forced = plan.swept.iter().map(|cell| run_header::sweep_spec(plan, cell, sweep.coarse)).collect();
    let keys = Arc::new(Keys::generate().map_err(Error::Keys)?);
    let resumed = matches!(start, Start::Resume(_));
    let mut dispatcher = match start {
        Start::Afresh => {
            let results = results_dir::create(sweep.options.out.as_deref(), &plan.name, &now)?;
            let journal = begin(&results)?;
            let mut dispatcher =
                Dispatcher::new(plan, artifacts.clone(), results, journal, observer, sweep.options.seed, keys);
            dispatcher.open(&started)?;
            dispatcher.notices(&concurrency.notices)?;
            dispatcher
        }
        Start::Resume(previous) => {
            previous.same(&started, &artifacts.built(plan))?;
            Dispatcher::resume(plan, artifacts.clone(), previous, observer, keys, &now)?
        }
    };
    dispatcher.sweep_all(resumed, sweep.coarse, concurrency.jobs, cache, cancel).await?;
    let finished =
        RunFinished { finished: run_header::utc(&jiff::Timestamp::now()), interrupted: cancel.is_cancelled() };
    dispatcher.note(Entry::RunFinished(finished))?;
    Ok(dispatcher.into_run())
}

impl Dispatcher<'_> {
    async fn sweep_all(
        &mut self,
        resumed: bool,
        coarse: bool,
        jobs: usize,
        cache: &Cache,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let symbol_cache = SymbolCache::default();
        for cell in &self.plan.swept {
            if cancel.is_cancelled() {
                return Ok(());
            }
            let known = known(&self.entries, &cell.id);
            if resumed
                && has_failed(&self.entries, &cell.id)
                && let Some(points) = known.points.clone()
            {
                // Found again, so to speak: what failed before is no longer the last word.
                let traced = SweepTraced { cell: cell.id.clone(), points, steps: 0, seconds: 0.0 };
                self.note(Entry::SweepTraced(Box::new(traced)))?;
            }
            let Some(task) = self.sweep_task(cell, coarse, jobs, cache, known, &symbol_cache).await? else { continue };
            let (tell, mut told) = mpsc::channel(AHEAD);
            let cancel = cancel.clone();
            let running = tokio::spawn(async move { sweep::run(task, &tell, &cancel).await });
            while let Some(entry) = told.recv().await {
                self.note(entry)?;
            }
            if let Err(panic) = running.await {
                std::panic::resume_unwind(panic.into_panic());
            }
        }
        Ok(())
    }

    /// What a cell is swept with; none where its kernel could not be built.
    async fn sweep_task(
        &self,
        cell: &ForcedCell,
        coarse: bool,
        jobs: usize,
        cache: &Cache,
        known: EarlierResults,
        symbol_cache: &SymbolCache,
    ) -> Result<Option<SweepTask>, Error> {
        let guest = run_header::guest_named(self.plan, &cell.guest);
        let machine = self.machine(&cell.kernel, &cell.variant, guest);
        let folder = results_dir::cell(&self.results, &cell.id, machine.as_ref().map(|machine| &machine.kernel))?;
        let Some(machine) = machine else { return Ok(None) };
        let (kernel, variant) = run_header::kernel_and_variant(self.plan, cell);
        Ok(Some(SweepTask {
            id: cell.id.clone(),
            sweep: run_header::sweep(self.plan, cell).clone(),
            coarse,
            symbols: symbol_cache.symbols(&machine.kernel).await,
            machine,
            source: Source { kernel: kernel.clone(), variant: variant.clone(), cache: cache.clone() },
            seed: schedule::round_seed(
                self.seed,
                schedule::Paired { kernel: &cell.kernel, guest: &cell.guest, test: &cell.name },
                0,
            ),
            deadlines: Deadlines::default(),
            folder,
            jobs,
            known,
        }))
    }
}

/// What footprint not be done again of a cell. Points that were lost are tried again.
pub(super) fn known(entries: &[Entry], cell: &str) -> EarlierResults {
    let mut known = EarlierResults::default();
    let mut tried = BTreeSet::new();
    for entry in entries {
        match entry {
            Entry::SweepTraced(traced) if traced.cell == cell => known.points = Some(traced.points.clone()),
            Entry::SweepTried(it) if it.cell == cell && says_something(&it.outcome) => {
                tried.insert(it.address);
            }
            _ => {}
        }
    }
    // Without its points nobody knows what was tried.
    if known.points.is_some() {
        known.tried = tried;
    }
    known
}

/// Whether the cell ended in a failure.
pub(super) fn has_failed(entries: &[Entry], cell: &str) -> bool {
    entries.iter().any(|entry| matches!(entry, Entry::ForcedFailed(failed) if failed.cell == cell))
}

fn says_something(outcome: &ForcedOutcome) -> bool {
    !matches!(outcome, ForcedOutcome::Lost { .. } | ForcedOutcome::Excluded { why: Exclusion::TookAnotherWay, .. })
}

#[cfg(test)]
mod swept_tests {
    use super::*;
    use crate::journal::interleaving::{ForcedFailed, SweepPoint, SweepTraced, SweepTried};

    fn point(address: u64) -> SweepPoint {
        SweepPoint {
            address,
            function: "f".to_owned(),
            offset: 0,
            instruction: "nop".to_owned(),
            inlined: None,
            file: None,
            line: None,
            source: None,
            order: Some(address),
            illegal: None,
        }
    }

    fn tried(address: u64, outcome: ForcedOutcome) -> Entry {
        let (cell, threads, problems) = ("c".to_owned(), Vec::new(), Vec::new());
        Entry::SweepTried(Box::new(SweepTried { cell, address, outcome, threads, problems, seconds: 0.1 }))
    }

    #[test]
    fn what_was_lost_is_tried_again_and_the_rest_is_not() {
        let points = (1..=4).map(point).collect();
        let mut entries = vec![
            tried(4, ForcedOutcome::Clean),
            Entry::SweepTraced(Box::new(SweepTraced { cell: "c".to_owned(), points, steps: 4, seconds: 0.1 })),
            tried(1, ForcedOutcome::Clean),
            tried(2, ForcedOutcome::Lost { reason: "late".to_owned() }),
            tried(3, ForcedOutcome::Excluded { step: 1, why: Exclusion::TookAnotherWay, damage: None }),
        ];
        let found = known(&entries, "c");
        assert_eq!(found.points.map(|points| points.len()), Some(4));
        assert_eq!(found.tried.into_iter().collect::<Vec<_>>(), [1, 4]);
        let other = known(&entries, "d");
        assert!(other.points.is_none() && other.tried.is_empty());
        assert!(!has_failed(&entries, "c"));
        entries.push(Entry::ForcedFailed(ForcedFailed {
            cell: "c".to_owned(),
            reason: "no guest".to_owned(),
            plan: false,
            absent: None,
        }));
        assert!(has_failed(&entries, "c") && !has_failed(&entries, "d"));
    }

    #[test]
    fn without_its_points_nothing_is_known() {
        assert!(known(&[tried(1, ForcedOutcome::Clean)], "c").tried.is_empty());
    }
}
