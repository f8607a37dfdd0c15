//! The run's course: what is started next, and what is done with whatever ends.

use std::collections::HashMap;
use std::path::PathBuf;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::builds::Batch;
use super::dispatcher::Dispatcher;
use super::folder::{self, failed};
use super::forced::Plays;
use super::overlap::ToCome;
use super::places::{self, Need};
use super::resume::Replay;
use super::sequence::Sequence;
use super::{Error, executor, records};
use crate::journal::Entry;
use crate::journal::entry::RoundId;
use crate::plan::model::Cell;

type Rounds = JoinSet<std::io::Result<executor::Done>>;

impl Dispatcher<'_> {
    /// Forces every drawing and runs every round, at most as many guests at a time as `places` has, each once its kernel is
    /// there. After an interrupt nothing new starts; returns when the last guest and the last build have ended.
    pub(super) async fn course(
        &mut self,
        replay: Replay,
        mut to_come: ToCome,
        places: (usize, Need),
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let Replay { mut sequence, again, news } = replay;
        let mut folders = self.furnish(|_| true)?;
        forget(&again, &folders)?;
        news.into_iter().try_for_each(|entry| self.note(entry))?;
        let mut again = again.into_iter();
        let mut plays = Plays::new(self);
        let mut rounds = Rounds::new();
        let mut building = true;
        loop {
            let (jobs, need) = places;
            let running = |plays: &Plays, rounds: &Rounds| plays.running.len() + rounds.len();
            // Others may have taken memory since: what does not fit waits for a guest to end.
            while running(&plays, &rounds) < jobs
                && !cancel.is_cancelled()
                && places::has_room_now(running(&plays, &rounds), need)
            {
                // A forced interleaving decides in seconds what statistics only bound.
                if plays.start(self, cancel)? {
                    continue;
                }
                if !plays.running.is_empty() {
                    break;
                }
                let Some(id) = again.next().or_else(|| sequence.next_round()) else { break };
                self.start(id, &folders, &mut rounds, cancel)?;
            }
            if running(&plays, &rounds) == 0 && !building {
                return Ok(());
            }
            tokio::select! {
                // What a cell told comes before its end.
                biased;
                Some(entry) = plays.told.recv() => self.note(entry)?,
                Some(ended) = plays.running.join_next() => match ended {
                    Ok(()) => {}
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
                Some(ended) = rounds.join_next() => match ended {
                    Ok(Ok(done)) => self.ended(&mut sequence, done)?,
                    Ok(Err(source)) => return Err(failed("write records under", &self.results, source)),
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
                batch = to_come.recv(), if building => match batch {
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

    fn ended(&mut self, sequence: &mut Sequence, done: executor::Done) -> Result<(), Error> {
        let executor::Done { round, news } = done;
        news.into_iter().try_for_each(|entry| self.note(entry))?;
        self.note(Entry::RoundFinished(Box::new(round.clone())))?;
        sequence.ended(&self.entries, &round).into_iter().try_for_each(|news| self.note(news))
    }

    /// Takes in a kernel that has come while others ran: journals it, gives its cells their folders, lets them in.
    fn built(&mut self, batch: Batch, sequence: &mut Sequence) -> Result<HashMap<String, PathBuf>, Error> {
        let built: Vec<_> = batch.built.iter().map(|(_, kernel)| kernel.info.clone()).collect();
        let missing = batch.failed.clone();
        self.ground.add(batch);
        for info in &built {
            self.note(Entry::Built(Box::new(info.clone())))?;
            sequence.settle(&info.kernel, &info.variant, true);
        }
        for failed in missing {
            sequence.settle(&failed.kernel, &failed.variant, false);
            self.note(Entry::BuildFailed(failed))?;
        }
        self.furnish(|cell| built.iter().any(|info| (&info.kernel, &info.variant) == (&cell.kernel, &cell.variant)))
    }

    /// Makes the folders of those cells.
    fn furnish(&self, wanted: impl Fn(&Cell) -> bool) -> Result<HashMap<String, PathBuf>, Error> {
        let cells = self.plan.cells.iter().filter(|cell| wanted(cell));
        cells.map(|cell| Ok((cell.id.clone(), folder::cell(&self.results, &cell.id, self.kernel(cell))?))).collect()
    }
}

/// Takes the lines of rounds that are run again out of their cells' records.
fn forget(again: &[RoundId], folders: &HashMap<String, PathBuf>) -> Result<(), Error> {
    let mut rounds: HashMap<&String, Vec<u32>> = HashMap::new();
    for id in again {
        rounds.entry(&id.cell).or_default().push(id.round);
    }
    for (cell, rounds) in rounds {
        let Some(folder) = folders.get(cell) else { continue };
        let path = folder.join(records::FILE);
        records::forget(&path, &rounds).map_err(|source| failed("rewrite", &path, source))?;
    }
    Ok(())
}
