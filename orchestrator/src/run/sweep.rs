//! A plan's sweeps: one cell after the other, each with all guests, in a journal of their own that can be taken up again.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::dispatcher::{Dispatcher, Options, Run, Start, begin};
use super::folder;
use super::messages::Observer;
use super::places::{self, Means, Need};
use super::prepare::Ground;
use super::{Error, schedule, stamp, swept};
use crate::build::initramfs::Keys;
use crate::cache::Cache;
use crate::interleave::SymbolCache;
use crate::interleave::sweep::{self, EarlierResults, Source, SweepTask};
use crate::journal::Entry;
use crate::journal::entry::{RoundId, RunFinished};
use crate::journal::interleaving::SweepTraced;
use crate::plan::model::{Deadlines, ForcedCell, Plan};

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

/// Makes the plan's sweeps on `ground`. After an interrupt the running ones end at once; what was found is in the journal
/// either way.
pub async fn sweeps(
    plan: &Plan,
    ground: &Ground,
    sweep: &SweepOptions,
    start: Start,
    cache: &Cache,
    observer: &Observer,
    cancel: &CancellationToken,
) -> Result<Run, Error> {
    let now = jiff::Timestamp::now();
    // A guest for each of the host's CPUs, as far as memory goes: most of a point's time is spent waiting.
    let need = Need::of(plan);
    let mut places = places::places(Means::now(), Need { vcpus: 1, ..need }, 1.0, sweep.options.jobs);
    places.load.vcpus = places.load.guests.saturating_mul(need.vcpus);
    let mut started = stamp::run_started(plan, ground, &sweep.options, places.load, &now);
    started.forced = plan.swept.iter().map(|cell| stamp::sweep_spec(plan, cell, sweep.coarse)).collect();
    let keys = Arc::new(Keys::generate().map_err(Error::Keys)?);
    let resumed = matches!(start, Start::Resume(_));
    let mut dispatcher = match start {
        Start::Afresh => {
            let results = folder::create(sweep.options.out.as_deref(), &plan.name, &now)?;
            let journal = begin(&results)?;
            let mut dispatcher =
                Dispatcher::new(plan, ground.clone(), results, journal, observer, sweep.options.seed, keys);
            dispatcher.open(&started)?;
            dispatcher.tell(&places.notices)?;
            dispatcher
        }
        Start::Resume(past) => {
            past.same(&started, &ground.built(plan))?;
            Dispatcher::take_up(plan, ground.clone(), past, observer, keys, &now)?
        }
    };
    dispatcher.sweep_all(resumed, sweep.coarse, places.jobs, cache, cancel).await?;
    let finished = RunFinished { finished: stamp::utc(&jiff::Timestamp::now()), interrupted: cancel.is_cancelled() };
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
        let library = SymbolCache::default();
        for cell in &self.plan.swept {
            if cancel.is_cancelled() {
                return Ok(());
            }
            let known = swept::known(&self.entries, &cell.id);
            if resumed
                && swept::has_failed(&self.entries, &cell.id)
                && let Some(points) = known.points.clone()
            {
                // Found again, so to speak: what failed before is no longer the last word.
                let traced = SweepTraced { cell: cell.id.clone(), points, steps: 0, seconds: 0.0 };
                self.note(Entry::SweepTraced(Box::new(traced)))?;
            }
            let Some(task) = self.sweep_task(cell, coarse, jobs, cache, known, &library).await? else { continue };
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
        library: &SymbolCache,
    ) -> Result<Option<SweepTask>, Error> {
        let guest = stamp::guest_named(self.plan, &cell.guest);
        let machine = self.machine(&cell.kernel, &cell.variant, guest);
        let folder = folder::cell(&self.results, &cell.id, machine.as_ref().map(|machine| &machine.kernel))?;
        let Some(machine) = machine else { return Ok(None) };
        let (kernel, variant) = stamp::kernel_and_variant(self.plan, cell);
        Ok(Some(SweepTask {
            id: cell.id.clone(),
            sweep: stamp::sweep(self.plan, cell).clone(),
            coarse,
            symbols: library.symbols(&machine.kernel).await,
            machine,
            source: Source { kernel: kernel.clone(), variant: variant.clone(), cache: cache.clone() },
            seed: schedule::round_seed(self.seed, &RoundId { cell: cell.id.clone(), round: 0 }),
            deadlines: Deadlines::default(),
            folder,
            jobs,
            known,
        }))
    }
}
