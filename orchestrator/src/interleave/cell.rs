//! All rounds of one interleaving on one kernel. Forced rounds alternate with free rounds, in which
//! no thread is held.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::check;
use super::error::Error;
use super::latency::OperationLatency;
use super::round::{RoundEnd, RoundResult, RoundSpec, run_round};
use super::session::{GuestSession, SessionSpec};
use crate::causes::chain;
use crate::crash;
use crate::diagram::{Action, Diagram, Hold, Step};
use crate::journal::Entry;
use crate::journal::interleaving::{ForcedFailed, ForcedOutcome, ForcedRound};
use crate::plan::model::{Deadlines, Interleaving};
use crate::vm::Machine;
use kernel_debug::Layout;
use kernel_debug::symbols::Symbols;

/// Give up after this many lost rounds in a row.
const MOST_LOST: u32 = 3;

/// Share of a step's deadline for which a CPU may stay frozen. It must run again before the
/// deadline, or no step could finish.
const FREEZE_SHARE: f64 = 0.8;

/// An interleaving and the kernel to force it on.
#[derive(Debug, Clone)]
pub struct InterleaveTask {
    /// Cell id.
    pub id: String,
    /// The interleaving.
    pub interleaving: Interleaving,
    /// The guest.
    pub machine: Machine,
    /// The kernel's symbols, or why there are none.
    pub symbols: Result<Arc<Symbols>, Arc<Error>>,
    /// Seed of the guests' entropy pools.
    pub seed: u64,
    /// Deadlines for boot, login and the test's first answer.
    pub deadlines: Deadlines,
    /// The cell's results folder.
    pub folder: PathBuf,
}

/// Runs every round of `task` and sends an entry for each. Takes no longer than the sum of its
/// deadlines and leaves no guest running. An interrupt ends it at once, without an entry.
pub async fn run(task: &InterleaveTask, entries: &mpsc::Sender<Entry>, cancel: &CancellationToken) {
    let mut rounds = Rounds { task, entries, cancel, latency: OperationLatency::default(), session: None, guests: 0 };
    let result = rounds.all().await;
    if let Some(session) = rounds.session.take() {
        session.end().await;
    }
    let Err(error) = result else { return };
    let failed = match &error {
        Failure::Interrupted => return,
        Failure::Own(error) => failed(&task.id, error),
        Failure::Shared(error) => failed(&task.id, error),
    };
    // The receiver is gone once the run has ended.
    let _ = entries.send(Entry::ForcedFailed(failed)).await;
}

fn failed(cell: &str, error: &Error) -> ForcedFailed {
    let absent = match error {
        Error::Absent { step, .. } => Some(*step),
        _ => None,
    };
    ForcedFailed { cell: cell.to_owned(), reason: chain(error), plan: error.is_the_plans(), absent }
}

enum Failure {
    Interrupted,
    Own(Error),
    /// A failure of the kernel itself, reported for each of its interleavings.
    Shared(Arc<Error>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if matches!(error, Error::Interrupted) { Self::Interrupted } else { Self::Own(error) }
    }
}

struct Rounds<'a> {
    task: &'a InterleaveTask,
    entries: &'a mpsc::Sender<Entry>,
    cancel: &'a CancellationToken,
    latency: OperationLatency,
    session: Option<GuestSession>,
    guests: u32,
}

impl Rounds<'_> {
    async fn all(&mut self) -> Result<(), Failure> {
        let symbols = self.task.symbols.clone().map_err(Failure::Shared)?;
        let (points, layout) = self.resolve(&symbols).await?;
        let spec = self.spec(symbols, Arc::new(layout));
        let mut lost = 0;
        for round in 1..=self.task.interleaving.rounds {
            // The free round goes first: it measures how long operations take when nothing blocks
            // them.
            for held in [false, true] {
                let result = self.round(&spec, &points, round, held).await?;
                lost = match result {
                    Some(reason) if lost + 1 >= MOST_LOST => {
                        return Err(Error::GivenUp { rounds: lost + 1, reason }.into());
                    }
                    Some(_) => lost + 1,
                    None => 0,
                };
            }
        }
        Ok(())
    }

    /// The addresses of the diagram's points, and the kernel's data layout. Parsing debug
    /// information takes seconds, so it runs on a blocking thread. `block_in_place` would not do:
    /// it retires the current thread, and QEMU dies with the thread that spawned it.
    async fn resolve(&self, symbols: &Arc<Symbols>) -> Result<(Vec<Vec<u64>>, Layout), Error> {
        let (symbols, diagram) = (symbols.clone(), self.task.interleaving.diagram.clone());
        let read = tokio::task::spawn_blocking(move || (points(&diagram, &symbols), symbols.layout()));
        let read = tokio::select! {
            read = read => read,
            () = self.cancel.cancelled() => return Err(Error::Interrupted),
        };
        match read {
            Ok((points, layout)) => Ok((points?, layout.map_err(Error::Symbols)?)),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    fn spec(&self, symbols: Arc<Symbols>, layout: Arc<Layout>) -> SessionSpec {
        let InterleaveTask { interleaving, machine, seed, deadlines, folder, .. } = self.task;
        let mut machine = machine.clone();
        let housekeeping_cpu = housekeeping_cpu(&interleaving.diagram, machine.guest.cpus);
        if let Some(HousekeepingCpu { cpus, .. }) = housekeeping_cpu {
            machine.guest.cpus = cpus;
        }
        SessionSpec {
            machine,
            program: interleaving.run.clone(),
            args: interleaving.args.clone().into_iter().collect(),
            threads: interleaving.diagram.threads.clone(),
            seed: *seed,
            deadlines: *deadlines,
            housekeeping_cpu: housekeeping_cpu.map(|it| it.cpu),
            longest_freeze: interleaving.deadline.mul_f64(FREEZE_SHARE),
            symbols,
            layout,
            folder: folder.clone(),
        }
    }

    /// Runs one round and sends its entry. Returns the reason if the round was lost.
    async fn round(
        &mut self,
        spec: &SessionSpec,
        points: &[Vec<u64>],
        round: u32,
        held: bool,
    ) -> Result<Option<String>, Failure> {
        let interleaving = &self.task.interleaving;
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.fresh(spec).await?,
        };
        let begun = Instant::now();
        let tids: Vec<i32> = interleaving.diagram.threads.iter().map(|name| session.tid(name)).collect();
        let known = session.problems();
        let round_spec = RoundSpec {
            diagram: &interleaving.diagram,
            points,
            tids: &tids,
            deadline: interleaving.deadline,
            round: u64::from(2 * round - u32::from(!held)),
            held,
        };
        let result = run_round(&mut session, &round_spec, &mut self.latency).await;
        let seconds = begun.elapsed().as_secs_f64();
        let problems = if result.orderly {
            let problems = session.problems();
            self.session = Some(session);
            problems
        } else {
            session.end().await
        };
        let RoundResult { ended, steps, threads, entry_before, entry_after, .. } = result;
        let outcome = match ended {
            RoundEnd::Outcome(outcome) => outcome,
            RoundEnd::Interrupted => return Err(Failure::Interrupted),
            RoundEnd::Illegal { step, address, why } => {
                let symbols = spec.symbols.as_ref();
                return Err(Error::Illegal(illegal(&interleaving.diagram, step, address, &why, symbols)).into());
            }
        };
        let lost = match &outcome {
            ForcedOutcome::Lost { reason } => Some(reason.clone()),
            _ => None,
        };
        let entry = Entry::ForcedRound(Box::new(ForcedRound {
            cell: self.task.id.clone(),
            round,
            held,
            outcome,
            steps,
            threads,
            entry_before,
            entry_after,
            seconds,
            problems: crash::since(&known, problems),
        }));
        if self.entries.send(entry).await.is_err() {
            return Err(Failure::Interrupted);
        }
        Ok(lost)
    }

    /// Starts another guest and checks that its test offers what the diagram needs.
    async fn fresh(&mut self, spec: &SessionSpec) -> Result<GuestSession, Failure> {
        self.guests += 1;
        let session = GuestSession::start(spec, self.guests, self.cancel).await?;
        let wrong = check::against_offer(&self.task.interleaving.diagram, &session.actors, &session.offered);
        if wrong.is_empty() {
            return Ok(session);
        }
        session.end().await;
        Err(Error::Offer(wrong).into())
    }
}

/// The addresses of each step's point in this kernel; empty for steps without a point.
fn points(diagram: &Diagram, symbols: &Symbols) -> Result<Vec<Vec<u64>>, Error> {
    let mut wrong = Vec::new();
    let mut absent = Vec::new();
    let mut found = Vec::new();
    for (index, step) in diagram.steps.iter().enumerate() {
        found.push(match &step.action {
            Action::Reach(point) => match symbols.resolve(point) {
                Ok(resolved) => resolved.addresses,
                Err(error) => {
                    absent.extend(error.is_absence().then_some(index));
                    wrong.push(format!("`{}: {}`: {error}", diagram.threads[step.thread], step.text));
                    Vec::new()
                }
            },
            _ => Vec::new(),
        });
    }
    match absent.first() {
        None if wrong.is_empty() => Ok(found),
        Some(step) if absent.len() == wrong.len() => Err(Error::Absent { step: *step, wrong }),
        _ => Err(Error::Points(wrong)),
    }
}

/// A CPU that keeps running while others are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HousekeepingCpu {
    /// CPUs the guest needs so that one is left over.
    cpus: u32,
    cpu: u32,
}

/// The CPU of a guest with at least `cpus` CPUs on which no frozen thread runs. Thread *i* runs on
/// CPU *i* modulo the number of CPUs. None if the diagram freezes no thread.
fn housekeeping_cpu(diagram: &Diagram, cpus: u32) -> Option<HousekeepingCpu> {
    let freezes = |step: &&Step| step.action == Action::Hold(Hold::Freeze);
    let frozen: Vec<u32> =
        diagram.steps.iter().filter(freezes).filter_map(|step| u32::try_from(step.thread).ok()).collect();
    let most = u32::try_from(diagram.threads.len()).unwrap_or(u32::MAX - 1).saturating_add(1);
    let spare = |cpus: u32| (0..cpus).find(|cpu| frozen.iter().all(|thread| thread % cpus != *cpu));
    let mut sizes = (cpus.max(2)..=most.max(cpus)).filter_map(|cpus| Some(HousekeepingCpu { cpus, cpu: spare(cpus)? }));
    if frozen.is_empty() { None } else { sizes.next() }
}

/// Explains why a hold is illegal, and what to do about it.
fn illegal(diagram: &Diagram, step: usize, address: u64, why: &str, symbols: &Symbols) -> String {
    let place = symbols.locate(address).first().map_or_else(
        || format!("{address:#x}"),
        |frame| {
            let offset = frame.offset.map_or(String::new(), |offset| format!("+{offset:#x}"));
            let line = match (&frame.file, frame.line) {
                (Some(file), Some(line)) => format!(", {file}:{line}"),
                _ => String::new(),
            };
            format!("{}{offset}{line}", frame.function)
        },
    );
    let (thread, text) =
        diagram.steps.get(step).map_or(("?", "?"), |step| (diagram.threads[step.thread].as_str(), step.text.as_str()));
    format!(
        "`{thread}` cannot be held at `{text}` ({place}): {why}. Hold it at another point, or write `freeze` in place of \
         `hold`: its virtual CPU then stands still while the others run"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_cpu_goes_on_while_others_are_frozen() {
        let diagram = |frozen: &[usize]| {
            let step = |thread: &usize| Step {
                thread: *thread,
                action: Action::Hold(Hold::Freeze),
                row: 0,
                text: "freeze".to_owned(),
            };
            let threads = vec!["victim".to_owned(), "interferer".to_owned()];
            Diagram { drawing: Vec::new(), threads, steps: frozen.iter().map(step).collect() }
        };
        let told = |frozen: &[usize], cpus| housekeeping_cpu(&diagram(frozen), cpus).map(|it| (it.cpus, it.cpu));
        assert_eq!(told(&[], 2), None);
        assert_eq!(told(&[0], 2), Some((2, 1)));
        assert_eq!(told(&[1], 2), Some((2, 0)));
        assert_eq!(told(&[0], 1), Some((2, 1)));
        assert_eq!(told(&[0, 1], 2), Some((3, 2)), "one more than there are threads");
        assert_eq!(told(&[0, 1], 4), Some((4, 2)));
    }
}
