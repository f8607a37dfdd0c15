//! A sweep: the victim is held at every instruction of some functions in turn, while the
//! interferers act.
//!
//! First, one guest traces the undisturbed victim ([`code_path`]) to learn which instructions it
//! reaches and where it may sleep ([`points`]). Then several guests share those points
//! ([`workers`]) and run one round for each ([`diagram`]), which is judged like the round of any
//! diagram.

pub mod code_path;
pub mod diagram;
mod guest_pool;
pub mod points;
pub mod workers;
#[cfg(test)]
mod workers_tests;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::session::SessionSpec;
use super::{Error, LoadedSymbols};
use crate::build::{self, Request};
use crate::cache::Cache;
use crate::journal::Entry;
use crate::journal::interleaving::{ForcedFailed, SweepPoint, SweepTraced, SweepTried};
use crate::plan::model::{Deadlines, Kernel, Sweep, Variant};
use crate::vm::Machine;
use guest_pool::{GuestPool, SweepGuest};
use kernel_debug::symbols::Symbols;

/// A sweep and the kernel to sweep.
#[derive(Debug, Clone)]
pub struct SweepTask {
    /// Cell id.
    pub id: String,
    /// The sweep.
    pub sweep: Sweep,
    /// Only function entries and call returns.
    pub coarse: bool,
    /// The guest.
    pub machine: Machine,
    /// The kernel's symbols, or why there are none.
    pub symbols: LoadedSymbols,
    /// Where source lines are looked up.
    pub source: Source,
    /// Seed of the guests' entropy pools.
    pub seed: u64,
    /// Deadlines for boot, login and the test's first answer.
    pub deadlines: Deadlines,
    /// The cell's results folder.
    pub folder: PathBuf,
    /// Guests at a time.
    pub jobs: usize,
    /// Results of an earlier run that need not be repeated.
    pub known: EarlierResults,
}

/// Where a variant's source is looked up.
#[derive(Debug, Clone)]
pub struct Source {
    /// The kernel.
    pub kernel: Kernel,
    /// Its variant.
    pub variant: Variant,
    /// The cache it was built in.
    pub cache: Cache,
}

/// Results of an earlier run.
#[derive(Debug, Clone, Default)]
pub struct EarlierResults {
    /// The points, if they are known.
    pub points: Option<Vec<SweepPoint>>,
    /// Addresses of points with a conclusive result.
    pub tried: BTreeSet<u64>,
}

/// Runs the sweep and sends an entry for every point as soon as it is known. Leaves no guest
/// running. An interrupt ends it at once, without an entry.
pub async fn run(task: SweepTask, entries: &mpsc::Sender<Entry>, cancel: &CancellationToken) {
    let failed = match sweep(&task, entries, cancel).await {
        Ok(()) | Err(Failure::Own(Error::Interrupted)) => return,
        Err(Failure::Own(error)) => failed(&task.id, &error),
        Err(Failure::Shared(error)) => failed(&task.id, &error),
    };
    // The receiver is gone once the run has ended.
    let _ = entries.send(Entry::ForcedFailed(failed)).await;
}

fn failed(cell: &str, error: &Error) -> ForcedFailed {
    ForcedFailed { cell: cell.to_owned(), reason: super::chain(error), plan: error.is_the_plans(), absent: None }
}

enum Failure {
    Own(Error),
    /// A failure of the kernel itself, reported for each of its sweeps.
    Shared(Arc<Error>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

async fn sweep(task: &SweepTask, entries: &mpsc::Sender<Entry>, cancel: &CancellationToken) -> Result<(), Failure> {
    let symbols = task.symbols.clone().map_err(Failure::Shared)?;
    let spec = spec(task, symbols.clone()).await?;
    let pool = GuestPool::new(spec, task.sweep.clone(), cancel.clone());
    let (points, first) = if let Some(points) = task.known.points.clone() {
        (points, None)
    } else {
        let (traced, guest) = trace(task, &symbols, &pool, cancel).await?;
        let points = traced.points.clone();
        if entries.send(Entry::SweepTraced(Box::new(traced))).await.is_err() {
            workers::PointTester::end(guest).await;
            return Err(Error::Interrupted.into());
        }
        (points, Some(guest))
    };
    let left: Vec<u64> = points::to_try(&points)
        .into_iter()
        .map(|point| point.address)
        .filter(|address| !task.known.tried.contains(address))
        .collect();
    let (report, mut tried) = mpsc::channel(1);
    let forward = async {
        while let Some(it) = tried.recv().await {
            let workers::TriedPoint { address, outcome, threads, problems, seconds } = it;
            let cell = task.id.clone();
            let entry = SweepTried { cell, address, outcome, threads, problems, seconds };
            if entries.send(Entry::SweepTried(Box::new(entry))).await.is_err() {
                break;
            }
        }
    };
    let work = async {
        let report = report;
        workers::work(Arc::new(pool), first, task.jobs, &left, &report, cancel).await
    };
    let (worked, ()) = tokio::join!(work, forward);
    Ok(worked?)
}

/// Runs work that parses debug information, which takes seconds, on a blocking thread.
/// `block_in_place` would not do: it retires the current thread, and QEMU dies with the thread that
/// spawned it.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

async fn spec(task: &SweepTask, symbols: Arc<Symbols>) -> Result<SessionSpec, Error> {
    let asked = symbols.clone();
    let layout = aside(move || asked.layout()).await.map_err(Error::Symbols)?;
    Ok(SessionSpec {
        machine: task.machine.clone(),
        program: task.sweep.run.clone(),
        args: task.sweep.args.clone().into_iter().collect(),
        threads: Vec::new(),
        seed: task.seed,
        deadlines: task.deadlines,
        housekeeping_cpu: None,
        longest_freeze: Duration::from_secs(1),
        symbols,
        layout: Arc::new(layout),
        folder: task.folder.clone(),
    })
}

/// Finds the points in a guest that can then go on to test them.
async fn trace(
    task: &SweepTask,
    symbols: &Arc<Symbols>,
    pool: &Arc<GuestPool>,
    cancel: &CancellationToken,
) -> Result<(SweepTraced, SweepGuest), Error> {
    let asked = pool.clone();
    let roots = aside(move || asked.roots()).await?;
    let mut guest = pool.guest().await?;
    let (path, seconds) = match guest.trace(&roots).await {
        Ok(found) => found,
        Err(error) => {
            workers::PointTester::end(guest).await;
            return Err(error);
        }
    };
    let (asked, coarse, steps) = (symbols.clone(), task.coarse, path.steps);
    let mut points = aside(move || points::points(&path, coarse, |it| asked.locate(it))).await;
    let text = source(task, &points::files(&points), cancel).await;
    points::annotate(&mut points, &text);
    Ok((SweepTraced { cell: task.id.clone(), points, steps, seconds }, guest))
}

async fn source(
    task: &SweepTask,
    files: &BTreeSet<String>,
    cancel: &CancellationToken,
) -> HashMap<String, Vec<String>> {
    let Source { kernel, variant, cache } = &task.source;
    build::source_text(&Request { kernel, variant, jobs: 1, yields: false }, cache, files, cancel).await
}
