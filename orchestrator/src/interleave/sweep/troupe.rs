//! The real probers of a sweep: each a guest under the debugger.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use twinboot_protocol::orders::{Answer, Order};

use super::crew::{Probed, Prober, Probers};
use super::follow::{Code, Follower, Unit, Way};
use super::hold::{ARRIVAL, drawing};
use crate::debugger::Trace;
use crate::diagram::Diagram;
use crate::interleave::{End, Ended, Error, Happening, Scene, Script, Setting, Stage, Usual, against_offer, play};
use crate::journal::entry::ConsoleProblem;
use crate::journal::interleaving::ForcedOutcome;
use crate::plan::model::{Operation, Sweep};
use crate::symbols::{Function, Instruction, Symbols};

/// Undisturbed rounds of a new guest, from which it is known how long operations take.
const WARM_UP: u64 = 2;

/// How often the victim's way is looked for before the sweep is given up.
const TRACES: u32 = 3;

/// A sweep and what its guests are made from.
pub struct Troupe {
    setting: Setting,
    sweep: Sweep,
    diagram: Diagram,
    guests: AtomicU32,
    cancel: CancellationToken,
}

/// One guest of it.
pub struct Player {
    stage: Stage,
    troupe: Arc<Troupe>,
    tids: Vec<i32>,
    usual: Usual,
    round: u64,
    /// Problems that have been told.
    told: usize,
}

impl Troupe {
    /// Guests are made from `setting`, whose threads are those of the sweep.
    pub fn new(mut setting: Setting, sweep: Sweep, cancel: CancellationToken) -> Arc<Self> {
        let diagram = drawing(&sweep);
        setting.threads.clone_from(&diagram.threads);
        Arc::new(Self { setting, sweep, diagram, guests: AtomicU32::new(0), cancel })
    }

    /// The functions that the plan names, in this kernel.
    pub fn roots(&self) -> Result<Vec<Unit>, Error> {
        let (mut units, mut wrong) = (Vec::new(), Vec::new());
        for names in &self.sweep.functions {
            match self.setting.symbols.function(names) {
                Ok(function) => units.extend(pieces(&self.setting.symbols, &function)),
                Err(error) => wrong.push(error.to_string()),
            }
        }
        if wrong.is_empty() { Ok(units) } else { Err(Error::Points(wrong)) }
    }

    /// A guest that has played some rounds without a hold.
    pub async fn player(self: &Arc<Self>) -> Result<Player, Error> {
        let number = self.guests.fetch_add(1, Ordering::Relaxed) + 1;
        let stage = Stage::start(&self.setting, number, &self.cancel).await?;
        let wrong = against_offer(&self.diagram, &stage.actors, &stage.offered);
        let tids = self.diagram.threads.iter().map(|name| stage.tid(name)).collect();
        let mut player = Player { stage, troupe: self.clone(), tids, usual: Usual::default(), round: 0, told: 0 };
        if !wrong.is_empty() {
            player.stage.end().await;
            return Err(Error::Offer(wrong));
        }
        for _ in 0..WARM_UP {
            let (ended, _, orderly) = player.round(None).await;
            let reason = match ended {
                Ended::Outcome(ForcedOutcome::Lost { reason } | ForcedOutcome::Crashed { reason }) => reason,
                Ended::Interrupted => {
                    player.stage.end().await;
                    return Err(Error::Interrupted);
                }
                _ if orderly => continue,
                _ => "a round without a hold did not come to its end".to_owned(),
            };
            player.stage.end().await;
            return Err(Error::Lost(reason));
        }
        Ok(player)
    }
}

impl Probers for Arc<Troupe> {
    type Prober = Player;

    async fn start(&self) -> Result<Player, Error> {
        self.player().await
    }
}

impl Player {
    /// A round with the victim held at `address`, or without any hold.
    async fn round(&mut self, address: Option<u64>) -> (Ended, Vec<crate::journal::interleaving::ThreadState>, bool) {
        self.round += 1;
        let mut points = vec![Vec::new(); self.troupe.diagram.steps.len()];
        points[ARRIVAL].extend(address);
        let script = Script {
            diagram: &self.troupe.diagram,
            points: &points,
            tids: &self.tids,
            deadline: self.troupe.sweep.deadline,
            round: self.round,
            held: address.is_some(),
        };
        let played = play(&mut self.stage, &script, &mut self.usual).await;
        (played.ended, played.threads, played.orderly)
    }

    /// Follows the victim's operation while nobody disturbs it.
    pub async fn trace(&mut self, roots: &[Unit]) -> Result<(Way, f64), Error> {
        let mut reason = String::new();
        for _ in 0..TRACES {
            let begun = Instant::now();
            match self.follow(roots.to_vec()).await {
                Ok(way) if !way.visits.is_empty() => return Ok((way, begun.elapsed().as_secs_f64())),
                Ok(_) => {
                    let names: Vec<String> = self.troupe.sweep.functions.iter().map(|names| names.join("|")).collect();
                    let victim = super::hold::words(&self.troupe.sweep.victim);
                    reason = format!("`{victim}` does not come through {}", names.join(", "));
                }
                Err(End::Interrupted) => return Err(Error::Interrupted),
                Err(End::Crashed(reason) | End::Lost(reason)) => return Err(Error::Lost(reason)),
            }
        }
        Err(Error::Points(vec![reason]))
    }

    async fn follow(&mut self, roots: Vec<Unit>) -> Result<Way, End> {
        self.round += 1;
        let round = self.round;
        self.stage.order(Order::Prepare { round }).await?;
        self.answer("get ready to be followed", |answer| matches!(answer, Answer::Prepared { .. })).await?;
        let code = Arc::new(Kernel(self.troupe.setting.symbols.clone()));
        let (guide, way, addresses) = Follower::new(code, roots, &self.troupe.sweep.callees);
        let trace = Trace { tid: self.tids[0], addresses, guide: Box::new(guide) };
        let broke = |error: crate::debugger::Error| End::Lost(format!("the debugger failed: {error}"));
        self.stage.debugger().trace(trace).await.map_err(broke)?;
        let Operation { thread, operation, object } = self.troupe.sweep.victim.clone();
        self.stage.order(Order::Begin { thread, operation, object }).await?;
        self.answer("come back from the operation that is followed", |answer| matches!(answer, Answer::Done { .. }))
            .await?;
        self.stage.debugger().untrace().await.map_err(broke)?;
        self.stage.order(Order::Judge).await?;
        self.answer("say what came of the operation", |answer| matches!(answer, Answer::Judged { .. })).await?;
        let way = way.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(way)
    }

    /// Waits for an answer. Following takes a hundred times longer than the operation itself.
    async fn answer(&mut self, what: &str, is: impl Fn(&Answer) -> bool) -> Result<(), End> {
        let patience = (self.troupe.sweep.deadline * 60).max(std::time::Duration::from_secs(120));
        let wait = async {
            loop {
                match self.stage.next().await {
                    Happening::Answer(Answer::Failed { message }) => {
                        return Err(End::Lost(format!("the guest test gave up: {message}")));
                    }
                    Happening::Answer(answer) if is(&answer) => return Ok(()),
                    Happening::Ended(end) => return Err(end),
                    _ => {}
                }
            }
        };
        let late = || End::Lost(format!("the guest test did not {what} within {} s", patience.as_secs()));
        tokio::time::timeout(patience, wait).await.unwrap_or_else(|_| Err(late()))
    }
}

impl Prober for Player {
    async fn probe(&mut self, address: u64) -> Probed {
        let (ended, threads, orderly) = self.round(Some(address)).await;
        let outcome = match ended {
            Ended::Outcome(outcome) => Some(outcome),
            Ended::Interrupted => None,
            Ended::Illegal { why, .. } => {
                Some(ForcedOutcome::Lost { reason: format!("the victim could not be held there this time: {why}") })
            }
        };
        let problems = self.stage.problems();
        let news = problems.get(self.told..).unwrap_or_default().to_vec();
        self.told = problems.len();
        Probed { outcome, threads, problems: news, orderly }
    }

    async fn end(self) -> Vec<ConsoleProblem> {
        self.stage.end().await.into_iter().skip(self.told).collect()
    }
}

/// The kernel's code, each function read once.
struct Kernel(Arc<Symbols>);

impl Code for Kernel {
    fn unit(&self, address: u64) -> Option<Unit> {
        let placed = self.0.function_at(address)?;
        let function = Function {
            name: placed.name.clone(),
            start: placed.start,
            file: placed.file.clone(),
            line: None,
            pieces: Vec::new(),
            ranges: std::iter::once(placed.start..placed.end).collect(),
        };
        let instructions = self.0.instructions(&function);
        Some(Unit { name: placed.name, symbol: placed.symbol, start: placed.start, file: placed.file, instructions })
    }
}

/// A function's code by the symbols it lies in: inlined copies belong to those they are inlined into.
fn pieces(symbols: &Symbols, function: &Function) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    for instruction in symbols.instructions(function) {
        add(symbols, &mut units, instruction);
    }
    units
}

fn add(symbols: &Symbols, units: &mut Vec<Unit>, instruction: Instruction) {
    let Some(placed) = symbols.function_at(instruction.address) else { return };
    match units.iter_mut().find(|unit| unit.start == placed.start) {
        Some(unit) => unit.instructions.push(instruction),
        None => units.push(Unit {
            name: placed.name,
            symbol: placed.symbol,
            start: placed.start,
            file: placed.file,
            instructions: vec![instruction],
        }),
    }
}

impl std::fmt::Debug for Troupe {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Troupe").field("sweep", &self.sweep.name).finish_non_exhaustive()
    }
}
