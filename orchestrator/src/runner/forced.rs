//! Drawn interleavings of a run: each cell is a task that plays its rounds in guests of its own.

use std::path::PathBuf;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::dispatcher::Dispatcher;
use super::{Error, folder, schedule, stamp};
use crate::forced::{self, Library};
use crate::machine::Machine;
use crate::outcome::entry::RoundId;
use crate::plan::model::{Deadlines, ForcedCell, Interleaving};

/// Entries a cell may be ahead of the journal.
const AHEAD: usize = 16;

impl Dispatcher<'_> {
    /// Forces every drawing of the plan, `jobs` cells at a time. After an interrupt no new cell starts and the running ones end
    /// at once.
    pub(super) async fn interleavings(&mut self, jobs: usize, cancel: &CancellationToken) -> Result<(), Error> {
        let library = Library::default();
        let mut running: JoinSet<()> = JoinSet::new();
        let (tell, mut told) = mpsc::channel(AHEAD);
        let mut cells = self.plan.forced.iter();
        loop {
            while running.len() < jobs && !cancel.is_cancelled() {
                let Some(cell) = cells.next() else { break };
                let Some(play) = self.play(cell)? else { continue };
                let (library, tell, cancel) = (library.clone(), tell.clone(), cancel.clone());
                running.spawn(async move {
                    let symbols = tokio::select! {
                        symbols = library.symbols(&play.machine.kernel) => symbols,
                        () = cancel.cancelled() => return,
                    };
                    forced::run(&play.task(symbols), &tell, &cancel).await;
                });
            }
            tokio::select! {
                // What a cell told comes before its end.
                biased;
                Some(entry) = told.recv() => self.note(entry)?,
                ended = running.join_next() => match ended {
                    Some(Ok(())) => {}
                    Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
                    None => return Ok(()),
                },
            }
        }
    }

    /// What a cell is played with; none where its kernel could not be built.
    fn play(&self, cell: &ForcedCell) -> Result<Option<Play>, Error> {
        let guest = stamp::guest_named(self.plan, &cell.guest);
        let machine = self.machine(&cell.kernel, &cell.variant, guest);
        let folder = folder::cell(&self.results, &cell.id, machine.as_ref().map(|machine| &machine.kernel))?;
        let Some(machine) = machine else { return Ok(None) };
        let seed = schedule::round_seed(self.seed, &RoundId { cell: cell.id.clone(), round: 0 });
        let interleaving = stamp::interleaving(self.plan, cell).clone();
        Ok(Some(Play { id: cell.id.clone(), interleaving, machine, seed, folder }))
    }
}

/// A [`forced::Task`] before its kernel's symbols are read.
struct Play {
    id: String,
    interleaving: Interleaving,
    machine: Machine,
    seed: u64,
    folder: PathBuf,
}

impl Play {
    fn task(self, symbols: forced::Read) -> forced::Task {
        let Self { id, interleaving, machine, seed, folder } = self;
        forced::Task { id, interleaving, machine, symbols, seed, deadlines: Deadlines::default(), folder }
    }
}
