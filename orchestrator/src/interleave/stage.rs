//! A guest whose test takes orders and whose threads can be held: one virtual machine, its debugger, and an SSH session in
//! which the test runs.

mod test;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use twinboot_protocol::Preflight;
use twinboot_protocol::orders::{Actor, Answer, Offered, Order};

use super::error::Error;
use super::scene::{Catch, End, Happening, Posture, Scene, Sight};
use crate::debugger::{Debugger, Event, Layout, OnHit, Options, Seen, State, Watch};
use crate::journal::entry::ConsoleProblem;
use crate::plan::model::Deadlines;
use crate::symbols::{Start, Symbols};
use crate::vm::{self, DeathKind, Vm, ssh};
use crate::vm::{GuestLogs, Machine};

/// How long the console may take to say why a guest's session broke off.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a held thread sleeps at a time. Each nap's end stops the machine for a moment, so short ones slow down everybody who
/// is not held; half a nap is what a release takes.
const NAP_MS: u32 = 20;

/// Index of rbx in [`crate::debugger::Registers::general`].
const BX: usize = 1;

/// What a stage is made from.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The guest.
    pub machine: Machine,
    /// Program in the guest.
    pub program: String,
    /// Its arguments: `key` and `value` as `--key value`, `true` as `--key`, `false` not at all.
    pub args: Vec<(String, String)>,
    /// Names of the threads.
    pub threads: Vec<String>,
    /// Seed of the guest's entropy pool.
    pub seed: u64,
    /// Deadlines of boot and login, and of the test's first words.
    pub deadlines: Deadlines,
    /// The CPU that device interrupts have to go to, as others stand still at times.
    pub bystander: Option<u32>,
    /// How long a frozen CPU may stand.
    pub longest_freeze: Duration,
    /// The kernel's symbols.
    pub symbols: Arc<Symbols>,
    /// Where the kernel keeps what a hold must know.
    pub layout: Arc<Layout>,
    /// The cell's folder, for its logs.
    pub folder: PathBuf,
}

/// A guest ready for rounds. Dropping it ends the machine.
pub struct Stage {
    vm: Vm,
    session: ssh::Session,
    exec: ssh::Exec,
    input: ssh::Input,
    debugger: Debugger,
    symbols: Arc<Symbols>,
    cancel: CancellationToken,
    transcript: File,
    logs: GuestLogs,
    command: String,
    stderr: Vec<String>,
    /// The test has ended.
    exit: Option<ssh::Exit>,
    /// Something broke off; the console may still say why.
    broken: Option<(String, Instant)>,
    ended: Option<End>,
    /// The threads that were asked for.
    pub actors: Vec<Actor>,
    /// What each of them can do.
    pub offered: Vec<Offered>,
    /// What the test said of its guest.
    pub preflight: Option<Preflight>,
    /// After the machine: its initramfs and its sockets stand in here.
    scratch: TempDir,
}

impl Stage {
    /// Boots guest number `number` of a cell and brings it to where rounds can be played. An interrupt ends the machine and
    /// is [`Error::Interrupted`].
    pub async fn start(setting: &Setting, number: u32, cancel: &CancellationToken) -> Result<Self, Error> {
        let logs = GuestLogs::new(&setting.folder, "guest", number);
        let started = tokio::select! {
            started = Self::boot(setting, &logs, number, cancel) => started,
            () = cancel.cancelled() => Err(Error::Interrupted),
        };
        match started {
            Ok((vm, session, scratch)) => Self::open(setting, vm, session, scratch, logs, cancel).await,
            Err(error) => {
                logs.keep();
                Err(error)
            }
        }
    }

    async fn boot(
        setting: &Setting,
        logs: &GuestLogs,
        number: u32,
        cancel: &CancellationToken,
    ) -> Result<(Vm, ssh::Session, TempDir), Error> {
        let parent = vm::run_dir_parent();
        let scratch = tempfile::Builder::new().prefix("twinboot-").tempdir_in(parent).map_err(Error::Place)?;
        let seed = setting.seed.wrapping_add(u64::from(number));
        let mut spec = setting.machine.spec(seed, scratch.path(), logs.begin()).map_err(Error::Seal)?;
        spec.gdb = true;
        let mut vm = Vm::start(&spec, scratch.path(), cancel).await.map_err(|error| match error {
            vm::Error::Interrupted => Error::Interrupted,
            error => Error::Guest(error),
        })?;
        vm.ready(setting.deadlines.boot).await.map_err(Error::Guest)?;
        let login = setting.machine.login().map_err(Error::Seal)?;
        let session = tokio::select! {
            session = ssh::connect(vm.ssh_port(), &login, setting.deadlines.ssh) => session.map_err(Error::Login)?,
            death = vm.died() => return Err(Error::Lost(death.to_string())),
        };
        Ok((vm, session, scratch))
    }

    async fn open(
        setting: &Setting,
        vm: Vm,
        session: ssh::Session,
        scratch: TempDir,
        logs: GuestLogs,
        cancel: &CancellationToken,
    ) -> Result<Self, Error> {
        let command = test::command_line(setting);
        let opened = async {
            if let Some(cpu) = setting.bystander {
                // Orders come over the network: where its interrupts go to a CPU that stands still, nobody gets any. What has
                // no interrupt to move refuses (Documentation/core-api/irq/irq-affinity.rst).
                let divert =
                    format!("for irq in /proc/irq/*/smp_affinity_list; do echo {cpu} > $irq; done 2>/dev/null");
                session.exec(&divert, None).await.map_err(Error::Login)?.output().await.map_err(Error::Login)?;
            }
            let (exec, input) = session.exec_interactive(&command).await.map_err(Error::Login)?;
            let stream = vm.gdb().await.map_err(Error::Guest)?;
            let options = Options {
                preempt_count: setting.machine.kernel.config.as_deref().is_none_or(counts_preemption),
                longest_freeze: setting.longest_freeze,
                nap_ms: NAP_MS,
            };
            let debugger = Debugger::attach_with(stream, setting.layout.clone(), options).await;
            let transcript = File::options().append(true).create(true).open(setting.folder.join("orders.jsonl"));
            Ok((exec, input, debugger.map_err(Error::Debugger)?, transcript.map_err(Error::Place)?))
        };
        let opened = tokio::select! {
            opened = opened => opened,
            () = cancel.cancelled() => Err(Error::Interrupted),
        };
        let (exec, input, debugger, transcript) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let _ = vm.quit().await;
                logs.keep();
                return Err(error);
            }
        };
        let mut stage = Self {
            vm,
            session,
            exec,
            input,
            debugger,
            symbols: setting.symbols.clone(),
            cancel: cancel.clone(),
            transcript,
            logs,
            command,
            stderr: Vec::new(),
            exit: None,
            broken: None,
            ended: None,
            actors: Vec::new(),
            offered: Vec::new(),
            preflight: None,
            scratch,
        };
        match stage.offer(setting.deadlines.test).await {
            Ok(()) => Ok(stage),
            Err(error) => {
                stage.end().await;
                Err(error)
            }
        }
    }

    /// Waits for the test's first words.
    async fn offer(&mut self, patience: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        loop {
            match tokio::time::timeout_at(deadline, self.next()).await {
                Ok(Happening::Answer(Answer::Offer { threads, operations })) => {
                    (self.actors, self.offered) = (threads, operations);
                    return Ok(());
                }
                Ok(Happening::Answer(Answer::Failed { message })) => {
                    return Err(Error::Lost(format!("the guest test gave up: {message}")));
                }
                Ok(Happening::Ended(End::Interrupted)) => return Err(Error::Interrupted),
                Ok(Happening::Ended(End::Crashed(reason) | End::Lost(reason))) => {
                    return Err(match self.exit.take() {
                        None => Error::Lost(reason),
                        Some(exit) => Error::NoOffer {
                            command: self.command.clone(),
                            ended: format!("ended with {exit}"),
                            stderr: self.stderr.join("\n"),
                        },
                    });
                }
                Ok(_) => {}
                Err(_) => {
                    let after = patience.as_secs_f64();
                    return Err(Error::Lost(format!("`{}` offered nothing within {after} s", self.command)));
                }
            }
        }
    }

    /// The thread's id in the guest, 0 for one that is not there.
    pub fn tid(&self, thread: &str) -> i32 {
        self.actors.iter().find(|actor| actor.name == thread).map_or(0, |actor| actor.tid)
    }

    /// The debugger, for what [`Scene`] does not offer.
    pub fn debugger(&mut self) -> &mut Debugger {
        &mut self.debugger
    }

    /// The kernel's symbols.
    pub fn symbols(&self) -> &Arc<Symbols> {
        &self.symbols
    }

    /// What the guest's kernel complained about so far.
    pub fn problems(&self) -> Vec<ConsoleProblem> {
        self.vm.problems()
    }

    /// Ends the machine at once. What its kernel complained about in all its life.
    pub async fn end(self) -> Vec<ConsoleProblem> {
        let Self { vm, session, exec, input, debugger, logs, scratch, .. } = self;
        // Before the machine: they would only find it gone.
        drop((debugger, exec, input, session));
        let so_far = vm.problems();
        let problems = vm.quit().await.map_or(so_far, |ended| ended.problems);
        logs.keep();
        drop(scratch);
        problems
    }

    fn told(&mut self, event: Event) -> Option<Happening> {
        Some(match event {
            Event::Reached(hit) => Happening::Noted { tid: hit.tid },
            Event::Held(hit) | Event::Frozen(hit) => Happening::Held { tid: hit.tid },
            Event::Illegal { tid, address, why } => Happening::Illegal { tid, address, why },
            Event::Thawed { tid } => Happening::Slipped { tid },
            Event::Lost { reason } => {
                self.broken.get_or_insert((format!("the debugger lost the guest: {reason}"), Instant::now()));
                return None;
            }
        })
    }

    /// Something broke off: was it the guest's kernel?
    async fn last_words(&mut self, reason: String, since: Instant) -> End {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => End::Interrupted,
            death = self.vm.died() => end_of(&death),
            () = tokio::time::sleep_until(since + LAST_WORDS) => End::Lost(reason),
        }
    }

    fn broke(error: &dyn std::error::Error) -> End {
        End::Lost(format!("the debugger failed: {error}"))
    }

    fn sight(&self, seen: &Seen) -> Sight {
        let stack = seen.stack.as_ref().map_or_else(Vec::new, |image| {
            let mut read = |address| image.word(address);
            let start = match &seen.registers {
                // The debugger reads the stack of a task that does not run from where the scheduler left it.
                None => Start::asleep(image.base, &mut read),
                Some(registers) => Some(Start {
                    bx: Some(registers.general[BX]),
                    r12_to_r15: [12, 13, 14, 15].map(|register| Some(registers.general[register])),
                    ..Start::new(image.ip, image.sp, image.bp)
                }),
            };
            start.map_or_else(Vec::new, |start| self.symbols.stack(&self.symbols.unwind(start, &mut read)))
        });
        let posture = match seen.state {
            State::Gone => Posture::Gone,
            State::Interruptible | State::Uninterruptible | State::Idle => Posture::Sleeping,
            _ if stack.is_empty() => Posture::User,
            _ => Posture::Kernel,
        };
        Sight { posture, stack }
    }
}

impl Scene for Stage {
    async fn order(&mut self, order: Order) -> Result<(), End> {
        let line =
            serde_json::to_string(&order).map_err(|error| End::Lost(format!("an order has no text: {error}")))?;
        self.write(line.as_bytes());
        // A test that is gone shows in what happens next.
        self.input.send(&line);
        Ok(())
    }

    async fn next(&mut self) -> Happening {
        loop {
            if let Some(end) = &self.ended {
                return Happening::Ended(end.clone());
            }
            if let Some((reason, since)) = self.broken.clone() {
                self.ended = Some(self.last_words(reason, since).await);
                continue;
            }
            let happening = tokio::select! {
                () = self.cancel.cancelled() => {
                    self.ended = Some(End::Interrupted);
                    None
                }
                event = self.debugger.event() => self.told(event),
                event = self.exec.next() => self.heard(event),
                death = self.vm.died() => {
                    self.ended = Some(end_of(&death));
                    None
                }
            };
            if let Some(happening) = happening {
                return happening;
            }
        }
    }

    async fn watch(&mut self, tid: i32, addresses: &[u64], how: Catch) -> Result<(), End> {
        let on_hit = match how {
            Catch::Sleep => OnHit::Hold,
            Catch::Freeze => OnHit::Freeze,
            Catch::Note => OnHit::Pass,
        };
        let watch = Watch { tid, addresses: addresses.to_vec(), on_hit };
        self.debugger.watch(watch).await.map_err(|error| Self::broke(&error))
    }

    async fn unwatch(&mut self, tid: i32) -> Result<(), End> {
        self.debugger.unwatch(tid).await.map_err(|error| Self::broke(&error))
    }

    async fn release(&mut self, tid: i32) -> Result<(), End> {
        self.debugger.release(tid).await.map(drop).map_err(|error| Self::broke(&error))
    }

    async fn look(&mut self, tids: &[i32]) -> Result<Vec<Sight>, End> {
        let seen = self.debugger.look(tids).await.map_err(|error| Self::broke(&error))?;
        Ok(seen.iter().map(|seen| self.sight(seen)).collect())
    }
}

/// A QEMU that ended by itself or was killed says nothing of the guest's kernel.
fn end_of(death: &vm::Death) -> End {
    match death.kind {
        DeathKind::Exited => End::Lost(death.to_string()),
        DeathKind::PoweredOff | DeathKind::Reset | DeathKind::Panicked => End::Crashed(death.to_string()),
    }
}

/// Whether the configuration at `path` has `CONFIG_PREEMPT_COUNT`; one that cannot be read does not.
fn counts_preemption(path: &std::path::Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.lines().any(|line| line == "CONFIG_PREEMPT_COUNT=y"))
}
