//! The event loop of a run: starts interleavings and rounds, and handles their ends.

use std::collections::HashMap;
use std::path::PathBuf;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::artifacts::KernelBatch;
use super::artifacts::PendingKernels;
use super::capacity::{self, GuestFootprint};
use super::dispatcher::Dispatcher;
use super::interleavings::ForcedCells;
use super::results_dir::{self, failed};
use super::resume::Replay;
use super::sequence::Sequence;
use super::{Error, executor, records};
use crate::journal::Entry;
use crate::journal::entry::RoundId;
use crate::plan::model::Cell;

type Rounds = JoinSet<std::io::Result<executor::FinishedRound>>;

impl Dispatcher<'_> {
    /// Forces every interleaving and runs every round, each once its kernel is built, with at most
    /// `places.0` guests at a time. After an interrupt nothing new starts. Returns when the last
    /// guest and the last build have ended.
    pub(super) async fn event_loop(
        &mut self,
        replay: Replay,
        mut pending: PendingKernels,
        places: (usize, GuestFootprint),
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let Replay { mut sequence, retry, news } = replay;
        let mut folders = self.make_cell_dirs(|_| true)?;
        forget(&retry, &folders)?;
        news.into_iter().try_for_each(|entry| self.note(entry))?;
        let mut retry = retry.into_iter();
        let mut forced = ForcedCells::new(self);
        let mut rounds = Rounds::new();
        let mut building = true;
        loop {
            let (jobs, footprint) = places;
            let running = |forced: &ForcedCells, rounds: &Rounds| forced.running.len() + rounds.len();
            // Other programs may have taken memory since; then the next guest waits for one to end.
            while running(&forced, &rounds) < jobs
                && !cancel.is_cancelled()
                && capacity::has_room_now(running(&forced, &rounds), footprint)
            {
                // Interleavings go first: they give an answer in seconds.
                if forced.start(self, cancel)? {
                    continue;
                }
                if !forced.running.is_empty() {
                    break;
                }
                let Some(id) = retry.next().or_else(|| sequence.next_round()) else { break };
                self.start(id, &folders, &mut rounds, cancel)?;
            }
            if running(&forced, &rounds) == 0 && !building {
                return Ok(());
            }
            tokio::select! {
                // Entries of a cell are written before its end.
                biased;
                Some(entry) = forced.told.recv() => self.note(entry)?,
                Some(ended) = forced.running.join_next() => match ended {
                    Ok(()) => {}
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
                Some(ended) = rounds.join_next() => match ended {
                    Ok(Ok(done)) => self.ended(&mut sequence, done)?,
                    Ok(Err(source)) => return Err(failed("write records under", &self.results, source)),
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
                batch = pending.recv(), if building => match batch {
                    Some(batch) => folders.extend(self.built(batch, &mut sequence)?),
                    None => building = false,
                },
            }
        }
    }

    /// Starts a round.
    fn start(
        &mut self,
        id: RoundId,
        folders: &HashMap<String, PathBuf>,
        rounds: &mut Rounds,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let Some(task) = self.task(id, folders) else { return Ok(()) };
        self.note(Entry::RoundStarted(task.id.clone()))?;
        let (observer, cancel) = (self.observer.clone(), cancel.clone());
        rounds.spawn(async move { executor::run(&task, &observer, &cancel).await });
        Ok(())
    }

    fn ended(&mut self, sequence: &mut Sequence, done: executor::FinishedRound) -> Result<(), Error> {
        let executor::FinishedRound { round, news } = done;
        news.into_iter().try_for_each(|entry| self.note(entry))?;
        self.note(Entry::RoundFinished(Box::new(round.clone())))?;
        sequence.ended(&self.entries, &round).into_iter().try_for_each(|news| self.note(news))
    }

    /// Adds a kernel that was built while others ran: journals it, makes its cells' folders and
    /// lets the cells start.
    fn built(&mut self, batch: KernelBatch, sequence: &mut Sequence) -> Result<HashMap<String, PathBuf>, Error> {
        let built: Vec<_> = batch.built.iter().map(|(_, kernel)| kernel.info.clone()).collect();
        let missing = batch.failed.clone();
        self.artifacts.add(batch);
        for info in &built {
            self.note(Entry::Built(Box::new(info.clone())))?;
            sequence.kernel_known(&info.kernel, &info.variant, true);
        }
        for failed in missing {
            sequence.kernel_known(&failed.kernel, &failed.variant, false);
            self.note(Entry::BuildFailed(failed))?;
        }
        self.make_cell_dirs(|cell| {
            built.iter().any(|info| (&info.kernel, &info.variant) == (&cell.kernel, &cell.variant))
        })
    }

    /// Makes the folders of the wanted cells.
    fn make_cell_dirs(&self, wanted: impl Fn(&Cell) -> bool) -> Result<HashMap<String, PathBuf>, Error> {
        let cells = self.plan.cells.iter().filter(|cell| wanted(cell));
        cells
            .map(|cell| Ok((cell.id.clone(), results_dir::cell(&self.results, &cell.id, self.kernel(cell))?)))
            .collect()
    }
}

/// Removes the records of rounds that are run again.
fn forget(retry: &[RoundId], folders: &HashMap<String, PathBuf>) -> Result<(), Error> {
    let mut rounds: HashMap<&String, Vec<u32>> = HashMap::new();
    for id in retry {
        rounds.entry(&id.cell).or_default().push(id.round);
    }
    for (cell, rounds) in rounds {
        let Some(folder) = folders.get(cell) else { continue };
        let path = folder.join(records::FILE);
        records::forget(&path, &rounds).map_err(|source| failed("rewrite", &path, source))?;
    }
    Ok(())
}
