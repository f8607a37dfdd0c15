//! One round of a drawn interleaving, step by step.
//!
//! Nothing here knows of virtual machines: [`Scene`] carries out what is asked and tells what happens, and everything that
//! decides between *corrupt*, *clean*, *excluded* and *lost* stands in this file.

mod heard;
mod looks;

use std::time::Duration;

use tokio::time::Instant;
use twinboot_protocol::SwapEntry;
use twinboot_protocol::orders::{Damage, Order};

use super::scene::{Catch, End, Scene};
use super::usual::Usual;
use super::waiting;
use crate::diagram::{Action, Diagram, Hold};
use crate::journal::interleaving::{Exclusion, ForcedOutcome, StepTaken, ThreadState};

/// What is played.
#[derive(Debug, Clone, Copy)]
pub struct Script<'a> {
    /// The drawing.
    pub diagram: &'a Diagram,
    /// Addresses of each step's point, by step; empty for steps without one.
    pub points: &'a [Vec<u64>],
    /// Thread ids, by column.
    pub tids: &'a [i32],
    /// How long a step may take.
    pub deadline: Duration,
    /// Number of the round.
    pub round: u64,
    /// Hold where the drawing says so; otherwise every point, hold and release is left out.
    pub held: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Played {
    /// How it ended.
    pub ended: Ended,
    /// How far each step came.
    pub steps: Vec<StepTaken>,
    /// Where the threads were.
    pub threads: Vec<ThreadState>,
    /// Swap entry before.
    pub entry_before: Option<SwapEntry>,
    /// Swap entry after.
    pub entry_after: Option<SwapEntry>,
    /// Every thread is idle again, so that the same guest can play another round.
    pub orderly: bool,
}

/// How a round ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// With an outcome.
    Outcome(ForcedOutcome),
    /// A thread was to be held where the kernel may not sleep: no round of this drawing can be played.
    Illegal {
        /// The step whose point it is.
        step: usize,
        /// The instruction it had come to.
        address: u64,
        /// What was found.
        why: String,
    },
    /// By an interrupt.
    Interrupted,
}

/// Plays a round. Returns when every thread is idle again, or when that can no longer be had.
pub async fn play<S: Scene>(scene: &mut S, script: &Script<'_>, usual: &mut Usual) -> Played {
    let threads = script.tids.iter().map(|&tid| Thread { tid, ..Thread::default() }).collect();
    let mut round = Round {
        scene,
        script,
        usual,
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
        Ok(()) => Ended::Outcome(damage.map_or(ForcedOutcome::Clean, |damage| ForcedOutcome::Corrupt { damage })),
        Err(Stop::Excluded { step, why }) => Ended::Outcome(ForcedOutcome::Excluded { step, why, damage }),
        Err(Stop::Illegal { step, address, why }) => Ended::Illegal { step, address, why },
        Err(Stop::End(End::Crashed(reason))) => Ended::Outcome(ForcedOutcome::Crashed { reason }),
        Err(Stop::End(End::Lost(reason))) => Ended::Outcome(ForcedOutcome::Lost { reason }),
        Err(Stop::End(End::Interrupted)) => Ended::Interrupted,
    };
    Played { ended, steps: round.steps, threads: round.states, entry_before, entry_after, orderly }
}

struct Round<'a, S> {
    scene: &'a mut S,
    script: &'a Script<'a>,
    usual: &'a mut Usual,
    threads: Vec<Thread>,
    steps: Vec<StepTaken>,
    states: Vec<ThreadState>,
    /// Holds so far, to let go in the order in which they were taken.
    holds: u32,
    prepared: bool,
    /// Swap entry of the prepared object.
    entry: Option<SwapEntry>,
    judged: Option<Judgement>,
}

#[derive(Debug, Clone, Default)]
struct Thread {
    tid: i32,
    /// The step that began its running operation, and when that was.
    running: Option<(usize, Instant)>,
    /// The [`Action::Reach`] it is watched for.
    watched: Option<usize>,
    /// The last [`Action::Reach`] it came to.
    reached: Option<usize>,
    /// It is held, and how many holds there were before.
    held: Option<u32>,
}

struct Judgement {
    damage: Option<Damage>,
    before: Option<SwapEntry>,
    after: Option<SwapEntry>,
}

/// Why a round does not go on as drawn.
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
enum Until {
    /// The thread's operation came back.
    Back,
    /// The thread came to the point of this step.
    Reached(usize),
    /// The thread is held.
    Held,
}

impl<S: Scene> Round<'_, S> {
    async fn whole(&mut self) -> Result<(), Stop> {
        self.scene.order(Order::Prepare { round: self.script.round }).await?;
        self.answered("bring its objects into order for the round", |round| round.prepared).await?;
        let drawn = self.drawn().await;
        match &drawn {
            Ok(()) | Err(Stop::Excluded { .. }) => self.let_go(&drawn).await?,
            Err(Stop::End(End::Lost(_))) => {
                // The guest may still be in order; whether it is decides about its next round, not about this one.
                if self.let_go(&drawn).await.is_err() {
                    return drawn;
                }
            }
            Err(_) => return drawn,
        }
        let judged = async {
            self.scene.order(Order::Judge).await?;
            self.answered("say what came of the round", |round| round.judged.is_some()).await
        };
        let judged = judged.await;
        if matches!(drawn, Err(Stop::End(_))) { drawn } else { judged.and(drawn) }
    }

    async fn drawn(&mut self) -> Result<(), Stop> {
        for index in 0..self.script.diagram.steps.len() {
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
        let step = &self.script.diagram.steps[index];
        let (column, next) = (step.thread, self.next_of(index));
        let held = self.script.held;
        match &step.action {
            Action::Operate { operation, object, started } => {
                self.arm(column, next).await?;
                self.threads[column].running = Some((index, Instant::now()));
                let thread = self.script.diagram.threads[column].clone();
                let order = Order::Begin { thread, operation: operation.clone(), object: object.clone() };
                self.scene.order(order).await?;
                if *started || matches!(self.action(next), Some(Action::Reach(_))) {
                    return Ok(());
                }
                self.wait(index, Until::Back).await
            }
            Action::Reach(_) if held => self.wait(index, Until::Reached(index)).await,
            Action::Hold(_) if held => self.wait(index, Until::Held).await,
            Action::Reach(_) | Action::Hold(_) => Ok(()),
            Action::Release => {
                if held {
                    if self.is_last_release(index) {
                        self.states = self.see_all().await?;
                    }
                    self.arm(column, next).await?;
                    self.threads[column].held = None;
                    self.scene.release(self.threads[column].tid).await?;
                }
                match self.action(next) {
                    Some(Action::Reach(_) | Action::Finish) => Ok(()),
                    _ => self.wait(index, Until::Back).await,
                }
            }
            Action::Finish => self.wait(index, Until::Back).await,
        }
    }

    fn action(&self, index: Option<usize>) -> Option<&Action> {
        self.script.diagram.steps.get(index?).map(|step| &step.action)
    }

    /// The same thread's next step.
    fn next_of(&self, index: usize) -> Option<usize> {
        let steps = &self.script.diagram.steps;
        (index + 1..steps.len()).find(|&later| steps[later].thread == steps[index].thread)
    }

    fn is_last_release(&self, index: usize) -> bool {
        let later = &self.script.diagram.steps[index + 1..];
        !later.iter().any(|step| matches!(step.action, Action::Release))
    }

    /// Watches for the thread's next step where that is a point: before the thread can get there.
    async fn arm(&mut self, column: usize, next: Option<usize>) -> Result<(), End> {
        let (Some(index), true) = (next, self.script.held) else { return Ok(()) };
        if !matches!(self.action(next), Some(Action::Reach(_))) {
            return Ok(());
        }
        let how = match self.action(self.next_of(index)) {
            Some(Action::Hold(Hold::Sleep)) => Catch::Sleep,
            // Before the next point it must not run on until that is watched.
            Some(Action::Hold(Hold::Freeze) | Action::Reach(_)) => Catch::Freeze,
            _ => Catch::Note,
        };
        self.threads[column].watched = Some(index);
        self.scene.watch(self.threads[column].tid, &self.script.points[index], how).await
    }

    /// Waits until a step is done, is shown to be impossible, or takes too long.
    async fn wait(&mut self, index: usize, until: Until) -> Result<(), Stop> {
        let column = self.script.diagram.steps[index].thread;
        let began = Instant::now();
        let deadline = began + self.script.deadline;
        let patience = self.patience(column);
        let mut look = began + patience;
        loop {
            if self.done(column, until) {
                return Ok(());
            }
            if until != Until::Back && self.threads[column].running.is_none() {
                return Err(Stop::Excluded { step: index, why: Exclusion::TookAnotherWay });
            }
            let others_held = (0..self.threads.len()).any(|it| it != column && self.threads[it].held.is_some());
            let pause = if others_held { look.min(deadline) } else { deadline };
            match tokio::time::timeout_at(pause, self.scene.next()).await {
                Ok(happening) => self.take(happening).await?,
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

    fn done(&self, column: usize, until: Until) -> bool {
        let thread = &self.threads[column];
        match until {
            Until::Back => thread.running.is_none(),
            Until::Reached(index) => thread.reached >= Some(index),
            Until::Held => thread.held.is_some(),
        }
    }

    fn patience(&self, column: usize) -> Duration {
        let began = self.threads[column].running.map(|(step, _)| step);
        match self.action(began) {
            Some(Action::Operate { operation, object, .. }) => self.usual.patience(operation, object.as_deref()),
            _ => waiting::PATIENCE,
        }
    }

    fn overrun(&self, index: usize, others_held: bool) -> String {
        let step = &self.script.diagram.steps[index];
        let (thread, text) = (&self.script.diagram.threads[step.thread], &step.text);
        let seen =
            if others_held { ", and the thread was not seen to wait for it each time it was looked at" } else { "" };
        let after = self.script.deadline.as_secs_f64();
        format!("step {} (`{thread}`: `{text}`) was not done within {after} s{seen}", index + 1)
    }

    /// Waits for an answer that does not depend on what threads do.
    async fn answered(&mut self, what: &str, came: impl Fn(&Self) -> bool) -> Result<(), Stop> {
        let deadline = Instant::now() + self.script.deadline;
        while !came(self) {
            let Ok(happening) = tokio::time::timeout_at(deadline, self.scene.next()).await else {
                let after = self.script.deadline.as_secs_f64();
                return Err(lost(format!("the guest test did not {what} within {after} s")));
            };
            self.take(happening).await?;
        }
        Ok(())
    }

    /// Lets every thread go, in the order in which they were held, and waits until all operations are back.
    async fn let_go(&mut self, drawn: &Result<(), Stop>) -> Result<(), Stop> {
        for column in 0..self.threads.len() {
            if self.threads[column].watched.take().is_some() {
                self.scene.unwatch(self.threads[column].tid).await?;
            }
        }
        let mut held: Vec<usize> = (0..self.threads.len()).filter(|&it| self.threads[it].held.is_some()).collect();
        held.sort_by_key(|&column| self.threads[column].held);
        for column in held {
            self.threads[column].held = None;
            self.scene.release(self.threads[column].tid).await?;
        }
        let deadline = Instant::now() + self.script.deadline;
        while let Some(column) = self.threads.iter().position(|thread| thread.running.is_some()) {
            let Ok(happening) = tokio::time::timeout_at(deadline, self.scene.next()).await else {
                return Err(lost(self.never_back(column, drawn)));
            };
            self.take(happening).await?;
        }
        Ok(())
    }

    fn never_back(&self, column: usize, drawn: &Result<(), Stop>) -> String {
        let (thread, after) = (&self.script.diagram.threads[column], self.script.deadline.as_secs_f64());
        let before = match drawn {
            Err(Stop::Excluded { step, .. }) => {
                format!("; step {} had not been taken before, so this is no exclusion", step + 1)
            }
            _ => String::new(),
        };
        format!("`{thread}` did not come back within {after} s after every thread had been let go{before}")
    }
}
