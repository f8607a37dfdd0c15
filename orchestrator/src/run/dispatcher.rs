//! The dispatcher: owns the journal of a run, and starts and ends the run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::artifacts::Artifacts;
use super::artifacts::PendingKernels;
use super::capacity::{self, GuestFootprint, HostCapacity};
use super::executor::RoundTask;
use super::messages::{Event, Observer};
use super::options::Options;
use super::results_dir::{self, failed};
use super::resume::{PreviousRun, Replay};
use super::schedule::{self, Paired};
use super::sequence::Sequence;
use super::{Error, run_header};
use crate::build::initramfs::Keys;
use crate::journal::entry::{RoundId, RunFinished, RunStarted};
use crate::journal::writer::Journal;
use crate::journal::{self, Entry};
use crate::plan::model::{Cell, Guest, Plan};
use crate::vm::{Machine, Origin};

/// Whether a run is new.
#[derive(Debug)]
pub enum Start {
    /// A new run.
    Afresh,
    /// A killed or interrupted run is continued.
    Resume(PreviousRun),
}

/// A run that has ended.
#[derive(Debug)]
pub struct Run {
    /// Results folder, absolute.
    pub results: PathBuf,
    /// All entries of the journal.
    pub entries: Vec<Entry>,
}

/// Forces the plan's interleavings and runs every round of its tests, on `artifacts` and on
/// `pending` kernels as they arrive. After an interrupt no round starts and running ones end at
/// once; results so far stay in the journal.
pub(super) async fn run(
    plan: &Plan,
    artifacts: Artifacts,
    options: &Options,
    start: Start,
    pending: PendingKernels,
    observer: &Observer,
    cancel: &CancellationToken,
) -> Result<Run, Error> {
    let now = jiff::Timestamp::now();
    let footprint = GuestFootprint::of(plan);
    let concurrency = capacity::concurrency(HostCapacity::now(), footprint, plan.overcommit, options.jobs);
    let started = run_header::run_started(plan, &artifacts, options, concurrency.load, &now);
    let keys = Arc::new(Keys::generate().map_err(Error::Keys)?);
    let (mut dispatcher, replay) = match start {
        Start::Afresh => {
            let results = results_dir::create(options.out.as_deref(), &plan.name, &now)?;
            let journal = begin(&results)?;
            let mut dispatcher = Dispatcher::new(plan, artifacts, results, journal, observer, options.seed, keys);
            dispatcher.open(&started)?;
            let mut sequence = Sequence::new(&started);
            dispatcher.report_kernels(&mut sequence);
            (dispatcher, Replay { sequence, retry: Vec::new(), news: Vec::new() })
        }
        Start::Resume(previous) => {
            previous.same(&started, &artifacts.built(plan))?;
            previous.has_all(&artifacts.failed)?;
            let mut replay = previous.replay()?;
            let begun = previous.started().and_then(|run| run.load);
            let mut dispatcher = Dispatcher::resume(plan, artifacts, previous, observer, keys, &now)?;
            dispatcher.report_kernels(&mut replay.sequence);
            if let Some(words) = started.load_words().filter(|_| begun != Some(concurrency.load)) {
                dispatcher.notices(&[format!("from here on the guests ran {words}")])?;
            }
            (dispatcher, replay)
        }
    };
    dispatcher.notices(&concurrency.notices)?;
    dispatcher.event_loop(replay, pending, (concurrency.jobs, footprint), cancel).await?;
    let finished =
        RunFinished { finished: run_header::utc(&jiff::Timestamp::now()), interrupted: cancel.is_cancelled() };
    dispatcher.note(Entry::RunFinished(finished))?;
    dispatcher.artifacts.snapshots.prune().await;
    Ok(dispatcher.into_run())
}

pub(super) struct Dispatcher<'a> {
    pub(super) plan: &'a Plan,
    pub(super) artifacts: Artifacts,
    pub(super) results: PathBuf,
    journal: Journal,
    pub(super) entries: Vec<Entry>,
    pub(super) observer: Observer,
    pub(super) seed: u64,
    keys: Arc<Keys>,
}

impl<'a> Dispatcher<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        artifacts: Artifacts,
        results: PathBuf,
        journal: Journal,
        observer: &Observer,
        seed: u64,
        keys: Arc<Keys>,
    ) -> Self {
        Self { plan, artifacts, results, journal, entries: Vec::new(), observer: observer.clone(), seed, keys }
    }

    pub(super) fn into_run(self) -> Run {
        Run { results: self.results, entries: self.entries }
    }

    /// Continues a run that was checked to be the same.
    pub(super) fn resume(
        plan: &'a Plan,
        artifacts: Artifacts,
        previous: PreviousRun,
        observer: &Observer,
        keys: Arc<Keys>,
        now: &jiff::Timestamp,
    ) -> Result<Self, Error> {
        let seed = previous.seed();
        let mut dispatcher = Self::new(plan, artifacts, previous.results, previous.journal, observer, seed, keys);
        for entry in &previous.entries {
            observer(Event::Journal(Box::new(entry.clone())));
        }
        dispatcher.entries = previous.entries;
        dispatcher.note(Entry::Notice { text: format!("taken up retry at {}", run_header::utc(now)) })?;
        // A kernel that failed to build last time may build now, or the run ended before its build.
        for built in dispatcher.artifacts.built(plan) {
            let known = |entry: &Entry| matches!(entry, Entry::Built(then) if (&then.kernel, &then.variant) == (&built.kernel, &built.variant));
            if !dispatcher.entries.iter().any(known) {
                dispatcher.note(Entry::Built(Box::new(built)))?;
            }
        }
        for failed in dispatcher.artifacts.failed.clone() {
            let known = |entry: &Entry| matches!(entry, Entry::BuildFailed(then) if (&then.kernel, &then.variant) == (&failed.kernel, &failed.variant));
            if !dispatcher.entries.iter().any(known) {
                dispatcher.note(Entry::BuildFailed(failed))?;
            }
        }
        Ok(dispatcher)
    }
}

/// Creates the journal of a new run.
pub(super) fn begin(results: &Path) -> Result<Journal, Error> {
    Journal::create(results).map_err(|source| failed("start", &results.join(journal::FILE), source))
}

impl Dispatcher<'_> {
    pub(super) fn note(&mut self, entry: Entry) -> Result<(), Error> {
        self.journal.append(&entry).map_err(|source| failed("write", &self.results.join(journal::FILE), source))?;
        (self.observer)(Event::Journal(Box::new(entry.clone())));
        self.entries.push(entry);
        Ok(())
    }

    /// Writes what is known before the first round.
    pub(super) fn open(&mut self, started: &RunStarted) -> Result<(), Error> {
        self.note(Entry::RunStarted(Box::new(started.clone())))?;
        if let Some(text) = self.artifacts.accelerator.notice.clone() {
            self.note(Entry::Notice { text })?;
        }
        for built in self.artifacts.built(self.plan) {
            self.note(Entry::Built(Box::new(built)))?;
        }
        for failure in self.artifacts.failed.clone() {
            self.note(Entry::BuildFailed(failure))?;
        }
        Ok(())
    }

    /// Writes notices to the journal.
    pub(super) fn notices(&mut self, notices: &[String]) -> Result<(), Error> {
        notices.iter().try_for_each(|text| self.note(Entry::Notice { text: text.clone() }))
    }

    /// Tells `sequence` which kernels were built and which failed.
    fn report_kernels(&self, sequence: &mut Sequence) {
        for (kernel, variant) in self.artifacts.kernels.keys() {
            sequence.kernel_known(kernel, variant, true);
        }
        for failed in &self.artifacts.failed {
            sequence.kernel_known(&failed.kernel, &failed.variant, false);
        }
    }

    pub(super) fn kernel(&self, cell: &Cell) -> Option<&crate::build::BuiltKernel> {
        self.artifacts.kernels.get(&(cell.kernel.clone(), cell.variant.clone()))
    }

    fn test(&self, cell: &Cell) -> &crate::plan::model::Test {
        run_header::test(self.plan, cell)
    }

    pub(super) fn task(&self, id: RoundId, folders: &HashMap<String, PathBuf>) -> Option<RoundTask> {
        let cell = self.plan.cells.iter().find(|cell| cell.id == id.cell)?;
        let guest = run_header::guest(self.plan, cell).clone();
        let machine = self.machine(&cell.kernel, &cell.variant, &guest)?;
        let test = self.test(cell).clone();
        let paired = Paired { kernel: &cell.kernel, guest: &cell.guest, test: &cell.test };
        let seed = schedule::round_seed(self.seed, paired, id.round);
        let number = schedule::boot_of(id.round, guest.boots);
        let origin = Origin { number, seed: schedule::boot_seed(self.seed, paired, number) };
        let (folder, snapshots) = (folders.get(&id.cell)?.clone(), Some(self.artifacts.snapshots.clone()));
        Some(RoundTask { id, seed, machine, test, folder, snapshots, origin })
    }

    /// A guest of this shape with this kernel; none if the kernel was not built.
    pub(super) fn machine(&self, kernel: &str, variant: &str, guest: &Guest) -> Option<Machine> {
        Some(Machine {
            kernel: self.artifacts.kernels.get(&(kernel.to_owned(), variant.to_owned()))?.clone(),
            image: self.artifacts.images.get(Path::new(&guest.image))?.clone(),
            keys: self.keys.clone(),
            qemu: self.artifacts.qemu.clone(),
            accel: self.artifacts.accelerator.accel,
            guest: guest.clone(),
        })
    }
}
