//! The run as a whole: one task that owns the schedule, the journal and the end.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::executor::Task;
use super::folder::{self, failed};
use super::messages::{Event, Observer};
use super::overlap::ToCome;
use super::places::{self, Means, Need};
use super::prepare::Ground;
use super::resume::{Past, Replay};
use super::sequence::Sequence;
use super::{Error, schedule, stamp};
use crate::build::initramfs::Keys;
use crate::journal::entry::{RoundId, RunFinished, RunStarted};
use crate::journal::writer::Journal;
use crate::journal::{self, Entry};
use crate::plan::Partition;
use crate::plan::model::{Cell, Guest, Plan};
use crate::vm::Machine;

/// How a run is to be made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Results folder, taken as it stands and empty; `results/<plan>-<utc>` when absent.
    pub out: Option<PathBuf>,
    /// Seed of every random choice.
    pub seed: u64,
    /// Guests at a time, as far as memory goes; as many as the plan's overcommit lets the host's CPUs carry when absent.
    pub jobs: Option<usize>,
    /// Command that makes the same run again.
    pub rerun: String,
    /// Where the plan that is run is one share of another.
    pub share: Option<Box<Share>>,
}

/// One share of a plan.
#[derive(Debug, Clone)]
pub struct Share {
    /// Which.
    pub partition: Partition,
    /// The whole plan.
    pub whole: Plan,
}

/// Where a run's results go.
#[derive(Debug)]
pub enum Start {
    /// Into a folder of its own.
    Afresh,
    /// On with what a killed or interrupted run has left.
    Resume(Past),
}

/// A run that came to its end, well or not.
#[derive(Debug)]
pub struct Run {
    /// Results folder, absolute.
    pub results: PathBuf,
    /// Everything that was journalled.
    pub entries: Vec<Entry>,
}

/// Forces the plan's interleavings and runs every round of its tests on `ground`, and on the kernels `to_come` as they come.
/// After an interrupt no new round starts and the running ones end at once; what was measured is in the journal either way.
pub(super) async fn run(
    plan: &Plan,
    ground: Ground,
    options: &Options,
    start: Start,
    to_come: ToCome,
    observer: &Observer,
    cancel: &CancellationToken,
) -> Result<Run, Error> {
    let now = jiff::Timestamp::now();
    let need = Need::of(plan);
    let places = places::places(Means::now(), need, plan.overcommit, options.jobs);
    let started = stamp::run_started(plan, &ground, options, places.load, &now);
    let keys = Arc::new(Keys::generate().map_err(Error::Keys)?);
    let (mut dispatcher, replay) = match start {
        Start::Afresh => {
            let results = folder::create(options.out.as_deref(), &plan.name, &now)?;
            let journal = begin(&results)?;
            let mut dispatcher = Dispatcher::new(plan, ground, results, journal, observer, options.seed, keys);
            dispatcher.open(&started)?;
            let mut sequence = Sequence::new(&started);
            dispatcher.settle(&mut sequence);
            (dispatcher, Replay { sequence, again: Vec::new(), news: Vec::new() })
        }
        Start::Resume(past) => {
            past.same(&started, &ground.built(plan))?;
            past.has_all(&ground.failed)?;
            let mut replay = past.replay()?;
            let begun = past.started().and_then(|run| run.load);
            let mut dispatcher = Dispatcher::take_up(plan, ground, past, observer, keys, &now)?;
            dispatcher.settle(&mut replay.sequence);
            if let Some(words) = started.load_words().filter(|_| begun != Some(places.load)) {
                dispatcher.tell(&[format!("from here on the guests ran {words}")])?;
            }
            (dispatcher, replay)
        }
    };
    dispatcher.tell(&places.notices)?;
    dispatcher.course(replay, to_come, (places.jobs, need), cancel).await?;
    let finished = RunFinished { finished: stamp::utc(&jiff::Timestamp::now()), interrupted: cancel.is_cancelled() };
    dispatcher.note(Entry::RunFinished(finished))?;
    Ok(dispatcher.into_run())
}

pub(super) struct Dispatcher<'a> {
    pub(super) plan: &'a Plan,
    pub(super) ground: Ground,
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
        ground: Ground,
        results: PathBuf,
        journal: Journal,
        observer: &Observer,
        seed: u64,
        keys: Arc<Keys>,
    ) -> Self {
        Self { plan, ground, results, journal, entries: Vec::new(), observer: observer.clone(), seed, keys }
    }

    pub(super) fn into_run(self) -> Run {
        Run { results: self.results, entries: self.entries }
    }

    /// Goes on with a run that is known to be the same.
    pub(super) fn take_up(
        plan: &'a Plan,
        ground: Ground,
        past: Past,
        observer: &Observer,
        keys: Arc<Keys>,
        now: &jiff::Timestamp,
    ) -> Result<Self, Error> {
        let seed = past.seed();
        let mut dispatcher = Self::new(plan, ground, past.results, past.journal, observer, seed, keys);
        for entry in &past.entries {
            observer(Event::Journal(Box::new(entry.clone())));
        }
        dispatcher.entries = past.entries;
        dispatcher.note(Entry::Notice { text: format!("taken up again at {}", stamp::utc(now)) })?;
        // A kernel that could not be built the last time may be there now, and the run may have ended before it was tried.
        for built in dispatcher.ground.built(plan) {
            let known = |entry: &Entry| matches!(entry, Entry::Built(then) if (&then.kernel, &then.variant) == (&built.kernel, &built.variant));
            if !dispatcher.entries.iter().any(known) {
                dispatcher.note(Entry::Built(Box::new(built)))?;
            }
        }
        for failed in dispatcher.ground.failed.clone() {
            let known = |entry: &Entry| matches!(entry, Entry::BuildFailed(then) if (&then.kernel, &then.variant) == (&failed.kernel, &failed.variant));
            if !dispatcher.entries.iter().any(known) {
                dispatcher.note(Entry::BuildFailed(failed))?;
            }
        }
        Ok(dispatcher)
    }
}

/// The journal of a new run.
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

    /// What is known before the first round.
    pub(super) fn open(&mut self, started: &RunStarted) -> Result<(), Error> {
        self.note(Entry::RunStarted(Box::new(started.clone())))?;
        if let Some(text) = self.ground.accelerator.notice.clone() {
            self.note(Entry::Notice { text })?;
        }
        for built in self.ground.built(self.plan) {
            self.note(Entry::Built(Box::new(built)))?;
        }
        for failure in self.ground.failed.clone() {
            self.note(Entry::BuildFailed(failure))?;
        }
        Ok(())
    }

    /// Sentences for the journal.
    pub(super) fn tell(&mut self, notices: &[String]) -> Result<(), Error> {
        notices.iter().try_for_each(|text| self.note(Entry::Notice { text: text.clone() }))
    }

    /// Tells `sequence` which kernels are there and which never will be.
    fn settle(&self, sequence: &mut Sequence) {
        for (kernel, variant) in self.ground.kernels.keys() {
            sequence.settle(kernel, variant, true);
        }
        for failed in &self.ground.failed {
            sequence.settle(&failed.kernel, &failed.variant, false);
        }
    }

    pub(super) fn kernel(&self, cell: &Cell) -> Option<&crate::build::BuiltKernel> {
        self.ground.kernels.get(&(cell.kernel.clone(), cell.variant.clone()))
    }

    fn test(&self, cell: &Cell) -> &crate::plan::model::Test {
        stamp::test(self.plan, cell)
    }

    pub(super) fn task(&self, id: RoundId, folders: &HashMap<String, PathBuf>) -> Option<Task> {
        let cell = self.plan.cells.iter().find(|cell| cell.id == id.cell)?;
        let guest = stamp::guest(self.plan, cell).clone();
        let machine = self.machine(&cell.kernel, &cell.variant, &guest)?;
        let (seed, test) = (schedule::round_seed(self.seed, &id), self.test(cell).clone());
        let (folder, snapshots) = (folders.get(&id.cell)?.clone(), Some(self.ground.snapshots.clone()));
        Some(Task { id, seed, machine, test, folder, snapshots })
    }

    /// A guest of this shape with this kernel, where there is one.
    pub(super) fn machine(&self, kernel: &str, variant: &str, guest: &Guest) -> Option<Machine> {
        Some(Machine {
            kernel: self.ground.kernels.get(&(kernel.to_owned(), variant.to_owned()))?.clone(),
            image: self.ground.images.get(Path::new(&guest.image))?.clone(),
            keys: self.keys.clone(),
            qemu: self.ground.qemu.clone(),
            accel: self.ground.accelerator.accel,
            guest: guest.clone(),
        })
    }
}
