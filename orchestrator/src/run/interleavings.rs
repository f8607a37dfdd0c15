//! Drawn interleavings of a run: each cell is a task that plays its rounds in guests of its own.

use std::collections::HashSet;
use std::path::PathBuf;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::dispatcher::Dispatcher;
use super::{Error, results_dir, run_header, schedule};
use crate::interleave::{self, SymbolCache};
use crate::journal::Entry;
use crate::plan::model::{Deadlines, ForcedCell, Interleaving};
use crate::vm::Machine;

/// Entries a cell may be ahead of the journal.
const AHEAD: usize = 16;

/// Drawings that wait, and those that are being played.
pub(super) struct ForcedCells<'a> {
    /// In plan order.
    waiting: Vec<&'a ForcedCell>,
    symbol_cache: SymbolCache,
    tell: mpsc::Sender<Entry>,
    /// What the cells that are being played tell; never ends.
    pub told: mpsc::Receiver<Entry>,
    /// Cells that are being played.
    pub running: JoinSet<()>,
}

impl<'a> ForcedCells<'a> {
    /// A cell that a killed run had not brought to its end is played from its beginning.
    pub fn new(dispatcher: &Dispatcher<'a>) -> Self {
        let (tell, told) = mpsc::channel(AHEAD);
        let waiting = dispatcher.plan.forced.iter().filter(|cell| !dispatcher.played(cell)).collect();
        Self { waiting, symbol_cache: SymbolCache::default(), tell, told, running: JoinSet::new() }
    }

    /// Starts the next drawing whose kernel is there; false when there is none. Ends at once after an interrupt.
    pub fn start(&mut self, dispatcher: &Dispatcher<'a>, cancel: &CancellationToken) -> Result<bool, Error> {
        while let Some(at) =
            self.waiting.iter().position(|cell| dispatcher.artifacts.is_known(&cell.kernel, &cell.variant))
        {
            let Some(play) = dispatcher.play(self.waiting.remove(at))? else { continue };
            let (symbol_cache, tell, cancel) = (self.symbol_cache.clone(), self.tell.clone(), cancel.clone());
            self.running.spawn(async move {
                let symbols = tokio::select! {
                    symbols = symbol_cache.symbols(&play.machine.kernel) => symbols,
                    () = cancel.cancelled() => return,
                };
                interleave::run(&play.task(symbols), &tell, &cancel).await;
            });
            return Ok(true);
        }
        Ok(false)
    }
}

impl Dispatcher<'_> {
    /// Whether the journal has every round of a cell, or what in the plan forbids it.
    fn played(&self, cell: &ForcedCell) -> bool {
        let planned = run_header::interleaving(self.plan, cell).rounds;
        let mut rounds = HashSet::new();
        for entry in &self.entries {
            match entry {
                Entry::ForcedFailed(failed) if failed.cell == cell.id && failed.plan => return true,
                Entry::ForcedRound(round) if round.cell == cell.id => {
                    rounds.insert((round.held, round.round));
                }
                _ => {}
            }
        }
        rounds.len() as u64 == 2 * u64::from(planned)
    }

    /// What a cell is played with; none where its kernel could not be built.
    fn play(&self, cell: &ForcedCell) -> Result<Option<ForcedTask>, Error> {
        let guest = run_header::guest_named(self.plan, &cell.guest);
        let machine = self.machine(&cell.kernel, &cell.variant, guest);
        let folder = results_dir::cell(&self.results, &cell.id, machine.as_ref().map(|machine| &machine.kernel))?;
        let Some(machine) = machine else { return Ok(None) };
        let seed = schedule::round_seed(
            self.seed,
            schedule::Paired { kernel: &cell.kernel, guest: &cell.guest, test: &cell.name },
            0,
        );
        let interleaving = run_header::interleaving(self.plan, cell).clone();
        Ok(Some(ForcedTask { id: cell.id.clone(), interleaving, machine, seed, folder }))
    }
}

/// A [`interleave::InterleaveTask`] before its kernel's symbols are read.
struct ForcedTask {
    id: String,
    interleaving: Interleaving,
    machine: Machine,
    seed: u64,
    folder: PathBuf,
}

impl ForcedTask {
    fn task(self, symbols: interleave::LoadedSymbols) -> interleave::InterleaveTask {
        let Self { id, interleaving, machine, seed, folder } = self;
        interleave::InterleaveTask { id, interleaving, machine, symbols, seed, deadlines: Deadlines::default(), folder }
    }
}
