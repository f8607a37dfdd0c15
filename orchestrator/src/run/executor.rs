//! One round: a fresh guest comes up, from a snapshot or by a boot of its own, runs its test, is powered off. Whatever goes
//! wrong is the round's outcome.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use twinboot_protocol::INIT_READY;

use super::messages::{Event, Observer};
use super::records::Records;
use super::{reproducer, test_command};
use crate::causes::chain;
use crate::crash::CrashReport;
use crate::journal::Entry;
use crate::journal::entry::{FIRST_RECORD, LOGIN, RoundFinished, RoundId, RoundOutcome, SAMPLES, Stage, StageTime};
use crate::journal::failure::{self, Counted};
use crate::journal::oracle::Speech;
use crate::journal::rules::Warmth;
use crate::plan::model::Test;
use crate::vm::{self, DeathKind, How, Vm, ssh};
use crate::vm::{GuestLogs, Machine, Origin, Snapshots, milestones};

/// How long the console may take to say why a guest's SSH session broke off.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Everything one round needs, resolved.
#[derive(Debug, Clone)]
pub struct RoundTask {
    /// Which round.
    pub id: RoundId,
    /// Seed handed to the test and to the guest's entropy pool.
    pub seed: u64,
    /// Guest.
    pub machine: Machine,
    /// Test.
    pub test: Test,
    /// The cell's folder.
    pub folder: PathBuf,
    /// Where a guest that is to be a warm clone finds what to go on from.
    pub snapshots: Option<Arc<Snapshots>>,
    /// Which of its saved boots that is.
    pub origin: Origin,
}

/// A round that is over, and what else has to be journalled before it.
#[derive(Debug)]
pub struct FinishedRound {
    /// The round.
    pub round: RoundFinished,
    /// Snapshots that were taken for it, and notices.
    pub news: Vec<Entry>,
}

/// A round on its way through its stages.
pub(super) struct Round<'a> {
    pub(super) task: &'a RoundTask,
    pub(super) observer: &'a Observer,
    pub(super) cancel: &'a CancellationToken,
    pub(super) records: Records,
    problems: Vec<CrashReport>,
    stages: Vec<StageTime>,
    pub(super) boot: Vec<(String, f64)>,
    exit: Option<i32>,
    matched: Vec<String>,
    pub(super) clone: Warmth,
    pub(super) news: Vec<Entry>,
}

/// Runs the round. Takes no longer than the sum of its deadlines and leaves no process behind.
pub async fn run(task: &RoundTask, observer: &Observer, cancel: &CancellationToken) -> std::io::Result<FinishedRound> {
    let records = Records::open(&task.folder.join(super::records::FILE), task.id.round)?;
    let mut round = Round {
        task,
        observer,
        cancel,
        records,
        problems: Vec::new(),
        stages: Vec::new(),
        boot: Vec::new(),
        exit: None,
        matched: Vec::new(),
        clone: Warmth::Cold,
        news: Vec::new(),
    };
    let outcome = round.whole().await;
    round.records.sync()?;
    let Round { records, problems, stages, boot, exit, matched, clone, news, .. } = round;
    let round = RoundFinished {
        id: task.id.clone(),
        seed: task.seed,
        outcome,
        preflight: records.preflight,
        summary: records.summary,
        progress: records.progress,
        corruptions_received: records.corruptions,
        samples: records.samples,
        problems,
        stages,
        boot,
        clone,
        saved_boot: Some(task.origin.number).filter(|_| clone == Warmth::Warm),
        exit,
        matched,
    };
    Ok(FinishedRound { round, news })
}

impl Round<'_> {
    async fn whole(&mut self) -> RoundOutcome {
        let logs = GuestLogs::new(&self.task.folder, "round", self.task.id.round);
        let outcome = match self.in_clone(&logs).await {
            Some(outcome) => outcome,
            None => self.booted(&logs).await,
        };
        logs.keep();
        outcome
    }

    /// The round in a guest that boots for it.
    async fn booted(&mut self, logs: &GuestLogs) -> RoundOutcome {
        let scratch = match vm::scratch_dir() {
            Ok(dir) => dir,
            Err(error) => return infrastructure(Stage::Start, &error),
        };
        let scratch = scratch.path();
        let machine = &self.task.machine;
        let spec = machine.spec(self.task.seed, scratch, logs.begin());
        match spec.and_then(|spec| Ok((spec, machine.login()?))) {
            Ok((spec, login)) => self.live(&spec, &login, scratch).await,
            Err(error) => infrastructure(Stage::Start, &error),
        }
    }

    /// Forgets a guest that was of no use.
    pub(super) fn start_anew(&mut self) {
        self.clone = Warmth::Cold;
        self.problems.clear();
        self.stages.clear();
        self.boot.clear();
        self.exit = None;
        self.matched.clear();
    }

    /// Start, boot, test, shutdown. The guest is always ended before this returns.
    pub(super) async fn live(&mut self, spec: &vm::Spec, login: &ssh::Login, scratch: &Path) -> RoundOutcome {
        let started = self.enter(Stage::Start);
        let vm = Vm::start(spec, scratch, self.cancel).await;
        self.leave(Stage::Start, started);
        let mut vm = match vm {
            Ok(vm) => vm,
            Err(_) if self.cancel.is_cancelled() => return RoundOutcome::Interrupted,
            Err(vm::Error::StartDeadline { after, .. }) => return timed_out(Stage::Start, after),
            Err(error) => return infrastructure(Stage::Start, &error),
        };
        let outcome = self.race(&mut vm, login).await;
        let clean = orderly(&outcome);
        let started = self.enter(Stage::Shutdown);
        let deadline = self.task.test.deadlines.shutdown;
        let end = if clean && !self.cancel.is_cancelled() { vm.power_off(deadline).await } else { vm.quit().await };
        self.leave(Stage::Shutdown, started);
        match end {
            Ok(end) => {
                self.problems = end.problems;
                if end.console_left_out > 0 {
                    let text = format!(
                        "{}, round {}: the guest flooded its console; {} MiB from the middle are not in console.log",
                        self.task.id.cell,
                        self.task.id.round,
                        end.console_left_out.div_ceil(1 << 20)
                    );
                    self.news.push(Entry::Notice { text });
                }
                match (clean, end.how, end.death.kind) {
                    (true, How::ByItself, DeathKind::PoweredOff) | (false, ..) => outcome,
                    (true, How::ByItself, _) => died(Stage::Shutdown, &end.death),
                    (true, How::Quit | How::Signal, _) => timed_out(Stage::Shutdown, deadline),
                }
            }
            Err(_) if self.cancel.is_cancelled() => RoundOutcome::Interrupted,
            Err(error) => infrastructure(Stage::Shutdown, &error),
        }
    }

    /// Boot, SSH and the test, each within its deadline.
    async fn race(&mut self, vm: &mut Vm, login: &ssh::Login) -> RoundOutcome {
        let deadlines = self.task.test.deadlines;
        let started = self.enter(Stage::Boot);
        if self.clone == Warmth::Warm
            && let Err(error) = vm.wake(self.task.seed).await
        {
            return infrastructure(Stage::Boot, &error);
        }
        let ready = tokio::select! {
            ready = vm.ready(deadlines.boot) => ready,
            () = self.cancel.cancelled() => return RoundOutcome::Interrupted,
        };
        self.leave(Stage::Boot, started);
        match ready {
            Ok(boot) => self.boot = milestones(boot, INIT_READY),
            Err(vm::Error::BootDeadline { .. }) => return timed_out(Stage::Boot, deadlines.boot),
            Err(vm::Error::BootDied { death, .. }) => return died(Stage::Boot, &death),
            Err(vm::Error::InitFatal { reason, .. }) => {
                let reason = format!("the init gave up: {reason}");
                return RoundOutcome::Infrastructure { stage: Stage::Boot, reason };
            }
            Err(other) => return infrastructure(Stage::Boot, &other),
        }

        let started = self.enter(Stage::Ssh);
        let session = tokio::select! {
            session = ssh::connect(vm.ssh_port(), login, deadlines.ssh) => session,
            death = vm.died() => return died(Stage::Ssh, &death),
            () = self.cancel.cancelled() => return RoundOutcome::Interrupted,
        };
        self.leave(Stage::Ssh, started);
        let session = match session {
            Ok(session) => {
                self.boot.push((LOGIN.to_owned(), vm.age().as_secs_f64()));
                session
            }
            Err(ssh::Error::Deadline { .. }) => return timed_out(Stage::Ssh, deadlines.ssh),
            Err(error) => return infrastructure(Stage::Ssh, &error),
        };

        let started = self.enter(Stage::Test);
        let outcome = match &self.task.test.program {
            Some(program) if program.oracle.speaks != Speech::Records => self.reproduce(program, vm, &session).await,
            _ => self.test(vm, &session).await,
        };
        self.leave(Stage::Test, started);
        if orderly(&outcome) {
            // Whether the guest took the request shows in its end.
            let _ = session.exec("poweroff", None).await;
        }
        outcome
    }

    async fn test(&mut self, vm: &mut Vm, session: &ssh::Session) -> RoundOutcome {
        let test = &self.task.test;
        let deadline = test.stop.at_most + test.deadlines.test;
        let overrun = tokio::time::sleep(deadline);
        tokio::pin!(overrun);
        let seed = self.task.seed;
        let command = match &test.program {
            Some(program) => reproducer::start(test, program, seed),
            None => test_command::command_line(test, seed),
        };
        let mut exec = match session.exec(&command, None).await {
            Ok(exec) => exec,
            Err(error) => return infrastructure(Stage::Test, &error),
        };
        let mut stderr = String::new();
        loop {
            let event = tokio::select! {
                event = exec.next() => event,
                () = &mut overrun => return timed_out(Stage::Test, deadline),
                () = self.cancel.cancelled() => return RoundOutcome::Interrupted,
            };
            if let Some(ssh::Event::Out(line) | ssh::Event::Err(line)) = &event {
                self.match_line(line);
            }
            match event {
                Some(ssh::Event::Out(line)) => match self.records.take(&line) {
                    Ok(None) => {
                        if self.records.preflight.is_some() && self.boot.last().is_some_and(|(at, _)| at == LOGIN) {
                            self.boot.push((FIRST_RECORD.to_owned(), vm.age().as_secs_f64()));
                        }
                    }
                    Ok(Some(progress)) => {
                        (self.observer)(Event::Progress { id: self.task.id.clone(), progress });
                    }
                    Err(error) => return infrastructure(Stage::Test, &error),
                },
                Some(ssh::Event::Err(line)) => {
                    if stderr.len() < 4096 {
                        stderr.push_str(&String::from_utf8_lossy(&line));
                        stderr.push('\n');
                    }
                }
                Some(ssh::Event::Exit(exit)) => {
                    if let ssh::Exit::Code(status) = &exit {
                        self.exit = Some(*status);
                    }
                    return self.test_ended(&exit, stderr.trim_end());
                }
                lost @ (None | Some(ssh::Event::Lost(_))) => return connection_lost(vm, lost).await,
            }
        }
    }

    fn test_ended(&self, exit: &ssh::Exit, stderr: &str) -> RoundOutcome {
        let reason = match (&self.records.failure, &self.records.summary) {
            (Some(failure), _) if failure.stuck => return RoundOutcome::Stuck { reason: failure.message.clone() },
            (Some(failure), _) => failure.message.clone(),
            (None, Some(_)) if *exit == ssh::Exit::Code(0) => return RoundOutcome::Finished,
            // A program without records has said all there is by how it ended.
            (None, _) if self.exit.is_some() && failure::counts_program(&self.task.test.counts) => {
                return RoundOutcome::Finished;
            }
            // A reproducer may well end with a failure when it has found one; a guest test of ours does not.
            (None, Some(summary)) if self.task.test.program.is_some() && summary.counts.corruptions > 0 => {
                return RoundOutcome::Finished;
            }
            (None, Some(_)) if stderr.is_empty() => {
                format!("`{}` ended with {exit} after its summary", self.task.test.run)
            }
            (None, None) if stderr.is_empty() => format!("`{}` ended with {exit} and no summary", self.task.test.run),
            (None, _) => format!("`{}` ended with {exit}: {stderr}", self.task.test.run),
        };
        RoundOutcome::TestFailed { reason }
    }

    /// Keeps a line of the test program that the plan counts as a failure.
    fn match_line(&mut self, line: &[u8]) {
        if self.task.test.counts.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(line);
        let is_counted = |way: &Counted| matches!(way, Counted::Output(text) if line.contains(text.as_str()));
        if self.matched.len() < SAMPLES && self.task.test.counts.iter().any(is_counted) {
            self.matched.push(clipped(&line));
        }
    }

    fn enter(&self, stage: Stage) -> Instant {
        (self.observer)(Event::Stage { id: self.task.id.clone(), stage });
        Instant::now()
    }

    fn leave(&mut self, stage: Stage, entered: Instant) {
        self.stages.push(StageTime { stage, seconds: entered.elapsed().as_secs_f64() });
    }
}

/// Whether the guest is still in order, so that it can be asked to power itself off.
fn orderly(outcome: &RoundOutcome) -> bool {
    matches!(outcome, RoundOutcome::Finished | RoundOutcome::TestFailed { .. })
}

/// The outcome of a machine that ended before it should: a QEMU that ended by itself or was killed says nothing of the
/// guest's kernel.
fn died(stage: Stage, death: &vm::Death) -> RoundOutcome {
    let reason = death.to_string();
    match death.kind {
        DeathKind::Exited => RoundOutcome::Infrastructure { stage, reason },
        DeathKind::PoweredOff | DeathKind::Reset | DeathKind::Panicked => RoundOutcome::GuestDied { reason },
    }
}

/// The outcome of a test whose SSH session broke off: the console may soon say why.
pub(super) async fn connection_lost(vm: &mut Vm, event: Option<ssh::Event>) -> RoundOutcome {
    let reason = match event {
        Some(ssh::Event::Lost(reason)) => reason,
        _ => "the session ended without saying why".to_owned(),
    };
    match tokio::time::timeout(LAST_WORDS, vm.died()).await {
        Ok(death) => died(Stage::Test, &death),
        Err(_) => RoundOutcome::Infrastructure { stage: Stage::Test, reason },
    }
}

pub(super) fn infrastructure(stage: Stage, error: &dyn std::error::Error) -> RoundOutcome {
    RoundOutcome::Infrastructure { stage, reason: chain(error) }
}

pub(super) fn timed_out(stage: Stage, after: Duration) -> RoundOutcome {
    RoundOutcome::TimedOut { stage, after_s: after.as_secs_f64() }
}

/// The first 500 characters: what a report shows of a line.
fn clipped(line: &str) -> String {
    line.chars().take(500).collect()
}
