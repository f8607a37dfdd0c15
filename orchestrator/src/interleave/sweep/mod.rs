//! A sweep: the victim is held at every instruction boundary of some functions in turn, while the others act.
//!
//! First one guest follows the undisturbed victim ([`follow`]) to learn which boundaries it comes to and where it may be put to
//! sleep ([`points`]). Then several guests share those points ([`crew`]), a round for each ([`hold`]), which is played and
//! judged like that of any drawing.

pub mod crew;
#[cfg(test)]
mod crew_tests;
pub mod follow;
pub mod hold;
pub mod points;
mod troupe;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::stage::Setting;
use super::{Error, Read};
use crate::build::{self, Request};
use crate::cache::Cache;
use crate::journal::Entry;
use crate::journal::interleaving::{ForcedFailed, SweepPoint, SweepTraced, SweepTried};
use crate::plan::model::{Deadlines, Kernel, Sweep, Variant};
use crate::symbols::Symbols;
use crate::vm::Machine;
use troupe::{Player, Troupe};

/// A sweep and the kernel it is made on.
#[derive(Debug, Clone)]
pub struct SweepTask {
    /// The cell's id.
    pub id: String,
    /// The sweep.
    pub sweep: Sweep,
    /// Entries and call returns only.
    pub coarse: bool,
    /// The guest.
    pub machine: Machine,
    /// The kernel's symbols, or why there are none.
    pub symbols: Read,
    /// Where the source lines come from.
    pub source: Source,
    /// Seed of the guests' entropy pools.
    pub seed: u64,
    /// Deadlines of boot, login and the test's first words.
    pub deadlines: Deadlines,
    /// The cell's folder.
    pub folder: PathBuf,
    /// Guests at a time.
    pub jobs: usize,
    /// What an earlier run has found and tried.
    pub known: Known,
}

/// Where a variant's source is looked up.
#[derive(Debug, Clone)]
pub struct Source {
    /// The kernel.
    pub kernel: Kernel,
    /// Its variant.
    pub variant: Variant,
    /// Where it was built.
    pub cache: Cache,
}

/// What need not be done again.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The points, where they have been found.
    pub points: Option<Vec<SweepPoint>>,
    /// Points that were tried and say something, by address.
    pub tried: BTreeSet<u64>,
}

/// Makes the sweep and tells of every point as soon as it is known. Leaves no machine behind; an interrupt ends it at once,
/// without a word.
pub async fn run(task: SweepTask, tell: &mpsc::Sender<Entry>, cancel: &CancellationToken) {
    let failed = match sweep(&task, tell, cancel).await {
        Ok(()) | Err(Failure::Own(Error::Interrupted)) => return,
        Err(Failure::Own(error)) => failed(&task.id, &error),
        Err(Failure::Shared(error)) => failed(&task.id, &error),
    };
    // Nobody listens to a run that has ended.
    let _ = tell.send(Entry::ForcedFailed(failed)).await;
}

fn failed(cell: &str, error: &Error) -> ForcedFailed {
    ForcedFailed { cell: cell.to_owned(), reason: super::chain(error), plan: error.is_the_plans() }
}

enum Failure {
    Own(Error),
    /// Of the kernel, told of each of its sweeps.
    Shared(Arc<Error>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

async fn sweep(task: &SweepTask, tell: &mpsc::Sender<Entry>, cancel: &CancellationToken) -> Result<(), Failure> {
    let symbols = task.symbols.clone().map_err(Failure::Shared)?;
    let setting = setting(task, symbols.clone()).await?;
    let troupe = Troupe::new(setting, task.sweep.clone(), cancel.clone());
    let (points, first) = if let Some(points) = task.known.points.clone() {
        (points, None)
    } else {
        let (traced, player) = trace(task, &symbols, &troupe, cancel).await?;
        let points = traced.points.clone();
        if tell.send(Entry::SweepTraced(Box::new(traced))).await.is_err() {
            crew::Prober::end(player).await;
            return Err(Error::Interrupted.into());
        }
        (points, Some(player))
    };
    let left: Vec<u64> = points::to_try(&points)
        .into_iter()
        .map(|point| point.address)
        .filter(|address| !task.known.tried.contains(address))
        .collect();
    let (report, mut tried) = mpsc::channel(1);
    let forward = async {
        while let Some(it) = tried.recv().await {
            let crew::Tried { address, outcome, threads, problems, seconds } = it;
            let cell = task.id.clone();
            let entry = SweepTried { cell, address, outcome, threads, problems, seconds };
            if tell.send(Entry::SweepTried(Box::new(entry))).await.is_err() {
                break;
            }
        }
    };
    let work = async {
        let report = report;
        crew::work(Arc::new(troupe), first, task.jobs, &left, &report, cancel).await
    };
    let (worked, ()) = tokio::join!(work, forward);
    Ok(worked?)
}

/// Work that reads debug information from a disk, for seconds. Not in place: a machine dies with the thread that started it,
/// and a thread that has blocked is no longer the runtime's own.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

async fn setting(task: &SweepTask, symbols: Arc<Symbols>) -> Result<Setting, Error> {
    let asked = symbols.clone();
    let layout = aside(move || asked.layout()).await.map_err(Error::Symbols)?;
    Ok(Setting {
        machine: task.machine.clone(),
        program: task.sweep.run.clone(),
        args: task.sweep.args.clone().into_iter().collect(),
        threads: Vec::new(),
        seed: task.seed,
        deadlines: task.deadlines,
        bystander: None,
        longest_freeze: Duration::from_secs(1),
        symbols,
        layout: Arc::new(layout),
        folder: task.folder.clone(),
    })
}

/// Finds the points, in a guest that can go on to try them.
async fn trace(
    task: &SweepTask,
    symbols: &Arc<Symbols>,
    troupe: &Arc<Troupe>,
    cancel: &CancellationToken,
) -> Result<(SweepTraced, Player), Error> {
    let asked = troupe.clone();
    let roots = aside(move || asked.roots()).await?;
    let mut player = troupe.player().await?;
    let (way, seconds) = match player.trace(&roots).await {
        Ok(found) => found,
        Err(error) => {
            crew::Prober::end(player).await;
            return Err(error);
        }
    };
    let (asked, coarse, steps) = (symbols.clone(), task.coarse, way.steps);
    let mut points = aside(move || points::points(&way, coarse, |it| asked.locate(it))).await;
    let text = source(task, &points::files(&points), cancel).await;
    points::annotate(&mut points, &text);
    Ok((SweepTraced { cell: task.id.clone(), points, steps, seconds }, player))
}

async fn source(
    task: &SweepTask,
    files: &BTreeSet<String>,
    cancel: &CancellationToken,
) -> HashMap<String, Vec<String>> {
    let Source { kernel, variant, cache } = &task.source;
    build::source_text(&Request { kernel, variant, jobs: 1, yields: false }, cache, files, cancel).await
}
