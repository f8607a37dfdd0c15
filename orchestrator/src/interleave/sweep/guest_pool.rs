//! The guests of a sweep. Each of them tests one point after another.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use twinboot_protocol::orders::{Answer, Order};

use super::code_path::{Code, CodeUnit, ExecutionPath, PathFollower};
use super::diagram::{ARRIVAL, drawing};
use super::workers::{PointTester, TesterPool, TryResult};
use crate::crash::{self, CrashReport};
use crate::diagram::Diagram;
use crate::interleave::{
    End, Error, Event, GuestControl, GuestSession, OperationLatency, RoundEnd, RoundSpec, SessionSpec, against_offer,
    run_round,
};
use crate::journal::interleaving::ForcedOutcome;
use crate::plan::model::{Operation, Sweep};
use kernel_debug::gdb::Trace;
use kernel_debug::symbols::{Function, Instruction, Symbols};

/// Free rounds of a new guest, which measure how long operations take.
const WARM_UP: u64 = 2;

/// Attempts to trace the victim's path before the sweep is given up.
const TRACES: u32 = 3;

/// Starts the guests of a sweep.
pub struct GuestPool {
    spec: SessionSpec,
    sweep: Sweep,
    diagram: Diagram,
    guests: AtomicU32,
    cancel: CancellationToken,
}

/// One guest of a sweep.
pub struct SweepGuest {
    session: GuestSession,
    pool: Arc<GuestPool>,
    tids: Vec<i32>,
    latency: OperationLatency,
    round: u64,
    /// Crash reports handed out so far.
    told: Vec<CrashReport>,
}

impl GuestPool {
    /// A pool whose guests are made from `spec`, with the threads of `sweep`.
    pub fn new(mut spec: SessionSpec, sweep: Sweep, cancel: CancellationToken) -> Arc<Self> {
        let diagram = drawing(&sweep);
        spec.threads.clone_from(&diagram.threads);
        Arc::new(Self { spec, sweep, diagram, guests: AtomicU32::new(0), cancel })
    }

    /// The functions that the plan names, in this kernel.
    pub fn roots(&self) -> Result<Vec<CodeUnit>, Error> {
        let (mut units, mut wrong) = (Vec::new(), Vec::new());
        for names in &self.sweep.functions {
            match self.spec.symbols.function(names) {
                Ok(function) => units.extend(pieces(&self.spec.symbols, &function)),
                Err(error) => wrong.push(error.to_string()),
            }
        }
        if wrong.is_empty() { Ok(units) } else { Err(Error::Points(wrong)) }
    }

    /// Starts a guest and runs its free rounds.
    pub async fn guest(self: &Arc<Self>) -> Result<SweepGuest, Error> {
        let number = self.guests.fetch_add(1, Ordering::Relaxed) + 1;
        let session = GuestSession::start(&self.spec, number, &self.cancel).await?;
        let wrong = against_offer(&self.diagram, &session.actors, &session.offered);
        let tids = self.diagram.threads.iter().map(|name| session.tid(name)).collect();
        let mut guest = SweepGuest {
            session,
            pool: self.clone(),
            tids,
            latency: OperationLatency::default(),
            round: 0,
            told: Vec::new(),
        };
        if !wrong.is_empty() {
            guest.session.end().await;
            return Err(Error::Offer(wrong));
        }
        for _ in 0..WARM_UP {
            let (ended, _, orderly) = guest.round(None).await;
            let reason = match ended {
                RoundEnd::Outcome(ForcedOutcome::Lost { reason } | ForcedOutcome::Crashed { reason }) => reason,
                RoundEnd::Interrupted => {
                    guest.session.end().await;
                    return Err(Error::Interrupted);
                }
                _ if orderly => continue,
                _ => "a round without a hold did not come to its end".to_owned(),
            };
            guest.session.end().await;
            return Err(Error::Lost(reason));
        }
        Ok(guest)
    }
}

impl TesterPool for Arc<GuestPool> {
    type Tester = SweepGuest;

    async fn start(&self) -> Result<SweepGuest, Error> {
        self.guest().await
    }
}

impl SweepGuest {
    /// A round with the victim held at `address`, or without any hold.
    async fn round(
        &mut self,
        address: Option<u64>,
    ) -> (RoundEnd, Vec<crate::journal::interleaving::ThreadState>, bool) {
        self.round += 1;
        let mut points = vec![Vec::new(); self.pool.diagram.steps.len()];
        points[ARRIVAL].extend(address);
        let round_spec = RoundSpec {
            diagram: &self.pool.diagram,
            points: &points,
            tids: &self.tids,
            deadline: self.pool.sweep.deadline,
            round: self.round,
            held: address.is_some(),
        };
        let result = run_round(&mut self.session, &round_spec, &mut self.latency).await;
        (result.ended, result.threads, result.orderly)
    }

    /// Traces the victim's operation while the other threads are idle. Returns its path and the
    /// seconds it took.
    pub async fn trace(&mut self, roots: &[CodeUnit]) -> Result<(ExecutionPath, f64), Error> {
        let mut reason = String::new();
        for _ in 0..TRACES {
            let begun = Instant::now();
            match self.follow(roots.to_vec()).await {
                Ok(path) if !path.visits.is_empty() => return Ok((path, begun.elapsed().as_secs_f64())),
                Ok(_) => {
                    let names: Vec<String> = self.pool.sweep.functions.iter().map(|names| names.join("|")).collect();
                    let victim = super::diagram::words(&self.pool.sweep.victim);
                    reason = format!("`{victim}` does not come through {}", names.join(", "));
                }
                Err(End::Interrupted) => return Err(Error::Interrupted),
                Err(End::Crashed(reason) | End::Lost(reason)) => return Err(Error::Lost(reason)),
            }
        }
        Err(Error::Points(vec![reason]))
    }

    async fn follow(&mut self, roots: Vec<CodeUnit>) -> Result<ExecutionPath, End> {
        self.round += 1;
        let round = self.round;
        self.session.order(Order::Prepare { round }).await?;
        self.answer("get ready to be followed", |answer| matches!(answer, Answer::Prepared { .. })).await?;
        let code = Arc::new(Kernel(self.pool.spec.symbols.clone()));
        let (guide, path, addresses) = PathFollower::new(code, roots, &self.pool.sweep.callees);
        let trace = Trace { tid: self.tids[0], addresses, guide: Box::new(guide) };
        let broke = |error: kernel_debug::gdb::Error| End::Lost(format!("the debugger failed: {error}"));
        self.session.debugger().trace(trace).await.map_err(broke)?;
        let Operation { thread, operation, object } = self.pool.sweep.victim.clone();
        self.session.order(Order::Begin { thread, operation, object }).await?;
        self.answer("come back from the operation that is followed", |answer| matches!(answer, Answer::Done { .. }))
            .await?;
        self.session.debugger().untrace().await.map_err(broke)?;
        self.session.order(Order::Judge).await?;
        self.answer("say what came of the operation", |answer| matches!(answer, Answer::Judged { .. })).await?;
        let path = path.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(path)
    }

    /// Waits for an answer. Tracing takes a hundred times longer than the operation itself.
    async fn answer(&mut self, what: &str, is: impl Fn(&Answer) -> bool) -> Result<(), End> {
        let patience = (self.pool.sweep.deadline * 60).max(std::time::Duration::from_secs(120));
        let wait = async {
            loop {
                match self.session.next().await {
                    Event::Answer(Answer::Failed { message }) => {
                        return Err(End::Lost(format!("the guest test gave up: {message}")));
                    }
                    Event::Answer(answer) if is(&answer) => return Ok(()),
                    Event::Ended(end) => return Err(end),
                    _ => {}
                }
            }
        };
        let late = || End::Lost(format!("the guest test did not {what} within {} s", patience.as_secs()));
        tokio::time::timeout(patience, wait).await.unwrap_or_else(|_| Err(late()))
    }
}

impl PointTester for SweepGuest {
    async fn test_point(&mut self, address: u64) -> TryResult {
        let (ended, threads, orderly) = self.round(Some(address)).await;
        let outcome = match ended {
            RoundEnd::Outcome(outcome) => Some(outcome),
            RoundEnd::Interrupted => None,
            RoundEnd::Illegal { why, .. } => {
                Some(ForcedOutcome::Lost { reason: format!("the victim could not be held there this time: {why}") })
            }
        };
        let problems = self.session.problems();
        let news = crash::since(&self.told, problems.clone());
        self.told = problems;
        TryResult { outcome, threads, problems: news, orderly }
    }

    async fn end(self) -> Vec<CrashReport> {
        crash::since(&self.told, self.session.end().await)
    }
}

/// The kernel's code.
struct Kernel(Arc<Symbols>);

impl Code for Kernel {
    fn unit(&self, address: u64) -> Option<CodeUnit> {
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
        Some(CodeUnit {
            name: placed.name,
            symbol: placed.symbol,
            start: placed.start,
            file: placed.file,
            instructions,
        })
    }
}

/// The code of a function, grouped by symbol: an inlined copy belongs to the function it is inlined
/// into.
fn pieces(symbols: &Symbols, function: &Function) -> Vec<CodeUnit> {
    let mut units: Vec<CodeUnit> = Vec::new();
    for instruction in symbols.instructions(function) {
        add(symbols, &mut units, instruction);
    }
    units
}

fn add(symbols: &Symbols, units: &mut Vec<CodeUnit>, instruction: Instruction) {
    let Some(placed) = symbols.function_at(instruction.address) else { return };
    match units.iter_mut().find(|unit| unit.start == placed.start) {
        Some(unit) => unit.instructions.push(instruction),
        None => units.push(CodeUnit {
            name: placed.name,
            symbol: placed.symbol,
            start: placed.start,
            file: placed.file,
            instructions: vec![instruction],
        }),
    }
}

impl std::fmt::Debug for GuestPool {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("GuestPool").field("sweep", &self.sweep.name).finish_non_exhaustive()
    }
}
