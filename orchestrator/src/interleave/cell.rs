//! All rounds of one drawing on one kernel: forced ones, and as many in which nothing is held, by turns.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::check;
use super::error::Error;
use super::play::{Ended, Played, Script, play};
use super::stage::{Setting, Stage};
use super::usual::Usual;
use crate::causes::chain;
use crate::debugger::Layout;
use crate::diagram::{Action, Diagram, Hold, Step};
use crate::journal::Entry;
use crate::journal::interleaving::{ForcedFailed, ForcedOutcome, ForcedRound};
use crate::plan::model::{Deadlines, Interleaving};
use crate::symbols::Symbols;
use crate::vm::Machine;

/// Rounds lost in a row after which no more are tried.
const MOST_LOST: u32 = 3;

/// A frozen thread's CPU is let run before a step's deadline is over, or else nothing could come to its end.
const FREEZE_SHARE: f64 = 0.8;

/// A drawing and the kernel it is tried on.
#[derive(Debug, Clone)]
pub struct Task {
    /// The cell's id.
    pub id: String,
    /// The drawing.
    pub interleaving: Interleaving,
    /// The guest.
    pub machine: Machine,
    /// The kernel's symbols, or why there are none.
    pub symbols: Result<Arc<Symbols>, Arc<Error>>,
    /// Seed of the guests' entropy pools.
    pub seed: u64,
    /// Deadlines of boot, login and the test's first words.
    pub deadlines: Deadlines,
    /// The cell's folder.
    pub folder: PathBuf,
}

/// Plays every round of `task` and tells what comes of each. Takes no longer than the sum of its deadlines and leaves no
/// machine behind; an interrupt ends it at once, without a word.
pub async fn run(task: &Task, tell: &mpsc::Sender<Entry>, cancel: &CancellationToken) {
    let mut rounds = Rounds { task, tell, cancel, usual: Usual::default(), stage: None, guests: 0 };
    let played = rounds.all().await;
    if let Some(stage) = rounds.stage.take() {
        stage.end().await;
    }
    let Err(error) = played else { return };
    let failed = match &error {
        Failure::Interrupted => return,
        Failure::Own(error) => failed(&task.id, error),
        Failure::Shared(error) => failed(&task.id, error),
    };
    // Nobody listens to a run that has ended.
    let _ = tell.send(Entry::ForcedFailed(failed)).await;
}

fn failed(cell: &str, error: &Error) -> ForcedFailed {
    ForcedFailed { cell: cell.to_owned(), reason: chain(error), plan: error.is_the_plans() }
}

enum Failure {
    Interrupted,
    Own(Error),
    /// Of the kernel, told of each of its drawings.
    Shared(Arc<Error>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if matches!(error, Error::Interrupted) { Self::Interrupted } else { Self::Own(error) }
    }
}

struct Rounds<'a> {
    task: &'a Task,
    tell: &'a mpsc::Sender<Entry>,
    cancel: &'a CancellationToken,
    usual: Usual,
    stage: Option<Stage>,
    guests: u32,
}

impl Rounds<'_> {
    async fn all(&mut self) -> Result<(), Failure> {
        let symbols = self.task.symbols.clone().map_err(Failure::Shared)?;
        let (points, layout) = self.resolve(&symbols).await?;
        let setting = self.setting(symbols, Arc::new(layout));
        let mut lost = 0;
        for round in 1..=self.task.interleaving.rounds {
            // Without holds first: what operations take when nothing is held says how long to wait for one that may be.
            for held in [false, true] {
                let played = self.round(&setting, &points, round, held).await?;
                lost = match played {
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

    /// The points of the drawing, and where the kernel keeps what a hold must know. Debug information is parsed as it is
    /// asked for, which takes seconds: in a thread beside, and not by `block_in_place`, which would retire the thread
    /// that QEMU's life may hang on.
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

    fn setting(&self, symbols: Arc<Symbols>, layout: Arc<Layout>) -> Setting {
        let Task { interleaving, machine, seed, deadlines, folder, .. } = self.task;
        let mut machine = machine.clone();
        let bystander = bystander(&interleaving.diagram, machine.guest.cpus);
        if let Some(Bystander { cpus, .. }) = bystander {
            machine.guest.cpus = cpus;
        }
        Setting {
            machine,
            program: interleaving.run.clone(),
            args: interleaving.args.clone().into_iter().collect(),
            threads: interleaving.diagram.threads.clone(),
            seed: *seed,
            deadlines: *deadlines,
            bystander: bystander.map(|it| it.cpu),
            longest_freeze: interleaving.deadline.mul_f64(FREEZE_SHARE),
            symbols,
            layout,
            folder: folder.clone(),
        }
    }

    /// Plays a round and tells of it; why it was lost, if it was.
    async fn round(
        &mut self,
        setting: &Setting,
        points: &[Vec<u64>],
        round: u32,
        held: bool,
    ) -> Result<Option<String>, Failure> {
        let interleaving = &self.task.interleaving;
        let mut stage = match self.stage.take() {
            Some(stage) => stage,
            None => self.fresh(setting).await?,
        };
        let begun = Instant::now();
        let tids: Vec<i32> = interleaving.diagram.threads.iter().map(|name| stage.tid(name)).collect();
        let known = stage.problems().len();
        let script = Script {
            diagram: &interleaving.diagram,
            points,
            tids: &tids,
            deadline: interleaving.deadline,
            round: u64::from(2 * round - u32::from(!held)),
            held,
        };
        let played = play(&mut stage, &script, &mut self.usual).await;
        let seconds = begun.elapsed().as_secs_f64();
        let problems = if played.orderly {
            let problems = stage.problems();
            self.stage = Some(stage);
            problems
        } else {
            stage.end().await
        };
        let Played { ended, steps, threads, entry_before, entry_after, .. } = played;
        let outcome = match ended {
            Ended::Outcome(outcome) => outcome,
            Ended::Interrupted => return Err(Failure::Interrupted),
            Ended::Illegal { step, address, why } => {
                let symbols = setting.symbols.as_ref();
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
            problems: problems.into_iter().skip(known).collect(),
        }));
        if self.tell.send(entry).await.is_err() {
            return Err(Failure::Interrupted);
        }
        Ok(lost)
    }

    /// Another guest, whose test has what the drawing asks for.
    async fn fresh(&mut self, setting: &Setting) -> Result<Stage, Failure> {
        self.guests += 1;
        let stage = Stage::start(setting, self.guests, self.cancel).await?;
        let wrong = check::against_offer(&self.task.interleaving.diagram, &stage.actors, &stage.offered);
        if wrong.is_empty() {
            return Ok(stage);
        }
        stage.end().await;
        Err(Error::Offer(wrong).into())
    }
}

/// The addresses of each step's point in this kernel.
fn points(diagram: &Diagram, symbols: &Symbols) -> Result<Vec<Vec<u64>>, Error> {
    let mut wrong = Vec::new();
    let mut found = Vec::new();
    for step in &diagram.steps {
        found.push(match &step.action {
            Action::Reach(point) => match symbols.resolve(point) {
                Ok(resolved) => resolved.addresses,
                Err(error) => {
                    wrong.push(format!("`{}: {}`: {error}", diagram.threads[step.thread], step.text));
                    Vec::new()
                }
            },
            _ => Vec::new(),
        });
    }
    if wrong.is_empty() { Ok(found) } else { Err(Error::Points(wrong)) }
}

/// A CPU that goes on while others are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bystander {
    /// CPUs that the guest needs for that.
    cpus: u32,
    cpu: u32,
}

/// Of a guest that is to have `cpus`: which CPU no frozen thread runs on, thread *i* running on CPU *i* modulo their number.
/// None where nothing is frozen.
fn bystander(diagram: &Diagram, cpus: u32) -> Option<Bystander> {
    let freezes = |step: &&Step| step.action == Action::Hold(Hold::Freeze);
    let frozen: Vec<u32> =
        diagram.steps.iter().filter(freezes).filter_map(|step| u32::try_from(step.thread).ok()).collect();
    let most = u32::try_from(diagram.threads.len()).unwrap_or(u32::MAX - 1).saturating_add(1);
    let spare = |cpus: u32| (0..cpus).find(|cpu| frozen.iter().all(|thread| thread % cpus != *cpu));
    let mut sizes = (cpus.max(2)..=most.max(cpus)).filter_map(|cpus| Some(Bystander { cpus, cpu: spare(cpus)? }));
    if frozen.is_empty() { None } else { sizes.next() }
}

/// What is wrong with a hold, and what to do.
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
        let told = |frozen: &[usize], cpus| bystander(&diagram(frozen), cpus).map(|it| (it.cpus, it.cpu));
        assert_eq!(told(&[], 2), None);
        assert_eq!(told(&[0], 2), Some((2, 1)));
        assert_eq!(told(&[1], 2), Some((2, 0)));
        assert_eq!(told(&[0], 1), Some((2, 1)));
        assert_eq!(told(&[0, 1], 2), Some((3, 2)), "one more than there are threads");
        assert_eq!(told(&[0, 1], 4), Some((4, 2)));
    }
}
