//! A plan's sweeps: one cell after the other, each with all guests, in a journal of their own that can be taken up again.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::dispatcher::{Dispatcher, Options, Run};
use super::folder::{self, failed};
use super::journal::{self, Journal};
use super::messages::Observer;
use super::prepare::Ground;
use super::resume::{self, Earlier};
use super::{Error, host, schedule, stamp};
use crate::cache::Cache;
use crate::forced::Library;
use crate::forced::sweep::{self, Known, Source, SweepTask};
use crate::image::Keys;
use crate::outcome::Entry;
use crate::outcome::entry::{RoundId, RunFinished};
use crate::outcome::forced::SweepTraced;
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
    /// Results folder of a run to take up.
    pub resume: Option<PathBuf>,
}

/// Makes the plan's sweeps on `ground`. After an interrupt the running ones end at once; what was found is in the journal
/// either way.
pub async fn sweeps(
    plan: &Plan,
    ground: &Ground,
    sweep: &SweepOptions,
    cache: &Cache,
    observer: &Observer,
    cancel: &CancellationToken,
) -> Result<Run, Error> {
    let now = jiff::Timestamp::now();
    let mut started = stamp::run_started(plan, ground, &sweep.options, &now);
    started.forced = plan.swept.iter().map(|cell| stamp::sweep_spec(plan, cell, sweep.coarse)).collect();
    let (results, journal, earlier) = match &sweep.resume {
        None => {
            let results = folder::create(sweep.options.out.as_deref(), &plan.name, &now)?;
            let journal = Journal::create(&results);
            (results, journal, None)
        }
        Some(results) => {
            let results = results.canonicalize().map_err(|source| failed("open", results, source))?;
            let earlier = resume::read(&results)?;
            resume::check(&results, &earlier, &started, &ground.built(plan))?;
            let journal = Journal::reopen(&results);
            (results, journal, Some(earlier))
        }
    };
    let journal = journal.map_err(|source| failed("open", &results.join(journal::FILE), source))?;
    let keys = Arc::new(Keys::generate().map_err(Error::Keys)?);
    let seed = earlier.as_ref().map_or(sweep.options.seed, |earlier| earlier.started.seed);
    let mut dispatcher = Dispatcher::new(plan, ground, results, journal, observer, seed, keys);
    match &earlier {
        None => dispatcher.open(&started)?,
        Some(earlier) => {
            dispatcher.recall(earlier.entries.clone());
            dispatcher.note(Entry::Notice { text: format!("taken up again at {}", stamp::utc(&now)) })?;
        }
    }
    let jobs = sweep.options.jobs.unwrap_or_else(|| default_jobs(plan));
    dispatcher.sweep_all(earlier.as_ref(), sweep.coarse, jobs, cache, cancel).await?;
    let finished = RunFinished { finished: stamp::utc(&jiff::Timestamp::now()), interrupted: cancel.is_cancelled() };
    dispatcher.note(Entry::RunFinished(finished))?;
    Ok(dispatcher.into_run())
}

/// A guest for each of the host's CPUs, as far as memory goes: most of a point's time is spent waiting.
fn default_jobs(plan: &Plan) -> usize {
    let most_memory = plan.guests.iter().map(|guest| guest.memory).max().unwrap_or(0).max(1);
    let by_memory = host::free_memory() / most_memory;
    usize::try_from(u64::from(host::describe().cpus).min(by_memory)).unwrap_or(1).max(1)
}

impl Dispatcher<'_> {
    async fn sweep_all(
        &mut self,
        earlier: Option<&Earlier>,
        coarse: bool,
        jobs: usize,
        cache: &Cache,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let library = Library::default();
        for cell in &self.plan.swept {
            if cancel.is_cancelled() {
                return Ok(());
            }
            let known = earlier.map_or_else(Known::default, |earlier| earlier.known(&cell.id));
            if earlier.is_some_and(|earlier| earlier.has_failed(&cell.id))
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
        known: Known,
        library: &Library,
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
