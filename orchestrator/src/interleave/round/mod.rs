//! One round of an interleaving, step by step.
//!
//! This module decides between *corrupt*, *clean*, *excluded* and *lost*. It knows nothing of
//! virtual machines: it sees the guest through [`GuestControl`].

mod events;
mod snapshots;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;
use twinboot_protocol::SwapEntry;
use twinboot_protocol::orders::{Damage, Order};

use super::control::{BreakAction, End, GuestControl};
use super::latency::OperationLatency;
use super::wait_state;
use crate::diagram::{Action, Diagram, Hold};
use crate::journal::interleaving::{Exclusion, ForcedOutcome, StepTaken, ThreadState};

/// What a round is to do.
#[derive(Debug, Clone, Copy)]
pub struct RoundSpec<'a> {
    /// The diagram.
    pub diagram: &'a Diagram,
    /// Addresses of each step's point; empty for steps without a point.
    pub points: &'a [Vec<u64>],
    /// Thread ids, by column of the diagram.
    pub tids: &'a [i32],
    /// Deadline of a step.
    pub deadline: Duration,
    /// Number of the round.
    pub round: u64,
    /// Hold threads as drawn. If false, points, holds and releases are skipped.
    pub held: bool,
}

/// The result of a round.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundResult {
    /// How it ended.
    pub ended: RoundEnd,
    /// What each step did.
    pub steps: Vec<StepTaken>,
    /// Where the threads were at the last hold, or when a step could not be taken.
    pub threads: Vec<ThreadState>,
    /// Swap entry before.
    pub entry_before: Option<SwapEntry>,
    /// Swap entry after.
    pub entry_after: Option<SwapEntry>,
    /// All threads are idle again, so the guest can run another round.
    pub orderly: bool,
}

/// How a round ended.
#[derive(Debug, Clone, PartialEq)]
pub enum RoundEnd {
    /// With an outcome.
    Outcome(ForcedOutcome),
    /// A hold is at a point where the kernel must not sleep: the interleaving cannot be run.
    Illegal {
        /// The step with the point.
        step: usize,
        /// Address of the instruction.
        address: u64,
        /// Why it is illegal.
        why: String,
    },
    /// By an interrupt.
    Interrupted,
}

/// Runs a round. Returns when all threads are idle again, or when they can no longer become idle.
pub async fn run_round<S: GuestControl>(
    guest: &mut S,
    spec: &RoundSpec<'_>,
    latency: &mut OperationLatency,
) -> RoundResult {
    let threads = spec.tids.iter().map(|&tid| Thread { tid, ..Thread::default() }).collect();
    let mut round = Round {
        guest,
        spec,
        latency,
        threads,
        steps: Vec::new(),
        states: Vec::new(),
        holds: 0,
        prepared: false,
        entry: None,
        judged: None,
    };
    let stop = round.whole().await;
    let (entry_before, entry_after) = match &round.judged {
        Some(judged) => (judged.before.or(round.entry), judged.after),
        None => (round.entry, None),
    };
    let orderly = round.judged.is_some();
    let damage = round.judged.take().and_then(|judged| judged.damage);
    let ended = match stop {
        Ok(()) => RoundEnd::Outcome(damage.map_or(ForcedOutcome::Clean, |damage| ForcedOutcome::Corrupt { damage })),
        Err(Stop::Excluded { step, why }) => RoundEnd::Outcome(ForcedOutcome::Excluded { step, why, damage }),
        Err(Stop::Illegal { step, address, why }) => RoundEnd::Illegal { step, address, why },
        Err(Stop::End(End::Crashed(reason))) => RoundEnd::Outcome(ForcedOutcome::Crashed { reason }),
        Err(Stop::End(End::Lost(reason))) => RoundEnd::Outcome(ForcedOutcome::Lost { reason }),
        Err(Stop::End(End::Interrupted)) => RoundEnd::Interrupted,
    };
    RoundResult { ended, steps: round.steps, threads: round.states, entry_before, entry_after, orderly }
}

struct Round<'a, S> {
    guest: &'a mut S,
    spec: &'a RoundSpec<'a>,
    latency: &'a mut OperationLatency,
    threads: Vec<Thread>,
    steps: Vec<StepTaken>,
    states: Vec<ThreadState>,
    /// Number of holds so far: threads are released in the order in which they were held.
    holds: u32,
    prepared: bool,
    /// Swap entry of the prepared object.
    entry: Option<SwapEntry>,
    judged: Option<Judged>,
}

#[derive(Debug, Clone, Default)]
struct Thread {
    tid: i32,
    /// The step that started its current operation, and when.
    running: Option<(usize, Instant)>,
    /// The [`Action::Reach`] step it has breakpoints for.
    watched: Option<usize>,
    /// The last [`Action::Reach`] step it reached.
    reached: Option<usize>,
    /// If it is held: the number of holds before.
    held: Option<u32>,
}

struct Judged {
    damage: Option<Damage>,
    before: Option<SwapEntry>,
    after: Option<SwapEntry>,
}

/// Why a round ends early.
enum Stop {
    Excluded { step: usize, why: Exclusion },
    Illegal { step: usize, address: u64, why: String },
    End(End),
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

fn lost(reason: String) -> Stop {
    Stop::End(End::Lost(reason))
}

/// What a step waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WaitFor {
    /// The thread's operation has returned.
    Back,
    /// The thread has reached the point of this step.
    Reached(usize),
    /// The thread is held.
    Held,
}

impl<S: GuestControl> Round<'_, S> {
    async fn whole(&mut self) -> Result<(), Stop> {
        self.guest.order(Order::Prepare { round: self.spec.round }).await?;
        self.answered("bring its objects into order for the round", |round| round.prepared).await?;
        let drawn = self.drawn().await;
        match &drawn {
            Ok(()) | Err(Stop::Excluded { .. }) => self.let_go(&drawn).await?,
            Err(Stop::End(End::Lost(_))) => {
                // This round is lost either way. Releasing the threads shows whether the guest can
                // run another.
                if self.let_go(&drawn).await.is_err() {
                    return drawn;
                }
            }
            Err(_) => return drawn,
        }
        let judged = async {
            self.guest.order(Order::Judge).await?;
            self.answered("say what came of the round", |round| round.judged.is_some()).await
        };
        let judged = judged.await;
        if matches!(drawn, Err(Stop::End(_))) { drawn } else { judged.and(drawn) }
    }

    async fn drawn(&mut self) -> Result<(), Stop> {
        for index in 0..self.spec.diagram.steps.len() {
            let began = Instant::now();
            self.steps.push(StepTaken { step: index, taken: false, ms: 0.0, saw: None });
            let taken = self.step(index).await;
            if let Some(step) = self.steps.last_mut() {
                step.taken = taken.is_ok();
                step.ms = began.elapsed().as_secs_f64() * 1e3;
            }
            taken?;
        }
        Ok(())
    }

    async fn step(&mut self, index: usize) -> Result<(), Stop> {
        let step = &self.spec.diagram.steps[index];
        let (column, next) = (step.thread, self.next_of(index));
        let held = self.spec.held;
        match &step.action {
            Action::Operate { operation, object, started } => {
                self.arm(column, next).await?;
                self.threads[column].running = Some((index, Instant::now()));
                let thread = self.spec.diagram.threads[column].clone();
                let order = Order::Begin { thread, operation: operation.clone(), object: object.clone() };
                self.guest.order(order).await?;
                if *started || matches!(self.action(next), Some(Action::Reach(_))) {
                    return Ok(());
                }
                self.wait(index, WaitFor::Back).await
            }
            Action::Reach(_) if held => self.wait(index, WaitFor::Reached(index)).await,
            Action::Hold(_) if held => self.wait(index, WaitFor::Held).await,
            Action::Reach(_) | Action::Hold(_) => Ok(()),
            Action::Release => {
                if held {
                    if self.is_last_release(index) {
                        self.states = self.see_all().await?;
                    }
                    self.arm(column, next).await?;
                    self.threads[column].held = None;
                    self.guest.release(self.threads[column].tid).await?;
                }
                match self.action(next) {
                    Some(Action::Reach(_) | Action::Finish) => Ok(()),
                    _ => self.wait(index, WaitFor::Back).await,
                }
            }
            Action::Finish => self.wait(index, WaitFor::Back).await,
        }
    }

    fn action(&self, index: Option<usize>) -> Option<&Action> {
        self.spec.diagram.steps.get(index?).map(|step| &step.action)
    }

    /// The next step of the same thread.
    fn next_of(&self, index: usize) -> Option<usize> {
        let steps = &self.spec.diagram.steps;
        (index + 1..steps.len()).find(|&later| steps[later].thread == steps[index].thread)
    }

    fn is_last_release(&self, index: usize) -> bool {
        let later = &self.spec.diagram.steps[index + 1..];
        !later.iter().any(|step| matches!(step.action, Action::Release))
    }

    /// Sets the breakpoints of the thread's next step if that is a point, before the thread can get
    /// there.
    async fn arm(&mut self, column: usize, next: Option<usize>) -> Result<(), End> {
        let (Some(index), true) = (next, self.spec.held) else { return Ok(()) };
        if !matches!(self.action(next), Some(Action::Reach(_))) {
            return Ok(());
        }
        let how = match self.action(self.next_of(index)) {
            Some(Action::Hold(Hold::Sleep)) => BreakAction::Sleep,
            // It must not run on before the next breakpoint is set.
            Some(Action::Hold(Hold::Freeze) | Action::Reach(_)) => BreakAction::Freeze,
            _ => BreakAction::Report,
        };
        self.threads[column].watched = Some(index);
        self.guest.watch(self.threads[column].tid, &self.spec.points[index], how).await
    }

    /// Waits until a step is done, is shown to be excluded, or misses its deadline.
    async fn wait(&mut self, index: usize, until: WaitFor) -> Result<(), Stop> {
        let column = self.spec.diagram.steps[index].thread;
        let began = Instant::now();
        let deadline = began + self.spec.deadline;
        let patience = self.patience(column);
        let mut look = began + patience;
        loop {
            if self.done(column, until) {
                return Ok(());
            }
            if until != WaitFor::Back && self.threads[column].running.is_none() {
                return Err(Stop::Excluded { step: index, why: Exclusion::TookAnotherWay });
            }
            let others_held = (0..self.threads.len()).any(|it| it != column && self.threads[it].held.is_some());
            let pause = if others_held { look.min(deadline) } else { deadline };
            match tokio::time::timeout_at(pause, self.guest.next()).await {
                Ok(event) => self.take(event).await?,
                Err(_) if Instant::now() >= deadline => {
                    self.states = self.see_all().await?;
                    return Err(lost(self.overrun(index, others_held)));
                }
                Err(_) => {
                    if let Some(function) = self.blocked(column, until).await? {
                        let for_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                        return Err(Stop::Excluded { step: index, why: Exclusion::Blocked { function, for_ms } });
                    }
                    look = Instant::now() + patience;
                }
            }
        }
    }

    fn done(&self, column: usize, until: WaitFor) -> bool {
        let thread = &self.threads[column];
        match until {
            WaitFor::Back => thread.running.is_none(),
            WaitFor::Reached(index) => thread.reached >= Some(index),
            WaitFor::Held => thread.held.is_some(),
        }
    }

    fn patience(&self, column: usize) -> Duration {
        let began = self.threads[column].running.map(|(step, _)| step);
        match self.action(began) {
            Some(Action::Operate { operation, object, .. }) => self.latency.patience(operation, object.as_deref()),
            _ => wait_state::PATIENCE,
        }
    }

    fn overrun(&self, index: usize, others_held: bool) -> String {
        let step = &self.spec.diagram.steps[index];
        let (thread, text) = (&self.spec.diagram.threads[step.thread], &step.text);
        let seen =
            if others_held { ", and the thread was not seen to wait for it each time it was looked at" } else { "" };
        let after = self.spec.deadline.as_secs_f64();
        format!("step {} (`{thread}`: `{text}`) was not done within {after} s{seen}", index + 1)
    }

    /// Waits for an answer that does not depend on the threads.
    async fn answered(&mut self, what: &str, came: impl Fn(&Self) -> bool) -> Result<(), Stop> {
        let deadline = Instant::now() + self.spec.deadline;
        while !came(self) {
            let Ok(event) = tokio::time::timeout_at(deadline, self.guest.next()).await else {
                let after = self.spec.deadline.as_secs_f64();
                return Err(lost(format!("the guest test did not {what} within {after} s")));
            };
            self.take(event).await?;
        }
        Ok(())
    }

    /// Releases all threads in the order in which they were held, and waits until all operations
    /// have returned.
    async fn let_go(&mut self, drawn: &Result<(), Stop>) -> Result<(), Stop> {
        for column in 0..self.threads.len() {
            if self.threads[column].watched.take().is_some() {
                self.guest.unwatch(self.threads[column].tid).await?;
            }
        }
        let mut held: Vec<usize> = (0..self.threads.len()).filter(|&it| self.threads[it].held.is_some()).collect();
        held.sort_by_key(|&column| self.threads[column].held);
        for column in held {
            self.threads[column].held = None;
            self.guest.release(self.threads[column].tid).await?;
        }
        let deadline = Instant::now() + self.spec.deadline;
        while let Some(column) = self.threads.iter().position(|thread| thread.running.is_some()) {
            let Ok(event) = tokio::time::timeout_at(deadline, self.guest.next()).await else {
                return Err(lost(self.never_back(column, drawn)));
            };
            self.take(event).await?;
        }
        Ok(())
    }

    fn never_back(&self, column: usize, drawn: &Result<(), Stop>) -> String {
        let (thread, after) = (&self.spec.diagram.threads[column], self.spec.deadline.as_secs_f64());
        let before = match drawn {
            Err(Stop::Excluded { step, .. }) => {
                format!("; step {} had not been taken before, so this is no exclusion", step + 1)
            }
            _ => String::new(),
        };
        format!("`{thread}` did not come back within {after} s after every thread had been let go{before}")
    }
}
