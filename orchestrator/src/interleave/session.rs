//! A guest whose test takes orders and whose threads can be held: a virtual machine, a debugger on
//! its gdb stub, and an SSH session in which the test runs.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use twinboot_protocol::orders::{Actor, Answer, Offered, Order};

use super::control::{BreakAction, End, Event, GuestControl, TaskSnapshot, TaskState};
use super::error::Error;
use super::test_process::{Heard, TestProcess, command_line};
use crate::crash::CrashReport;
use crate::plan::model::Deadlines;
use crate::vm::{self, DeathKind, Vm, ssh};
use crate::vm::{GuestLogs, Machine};
use kernel_debug::Layout;
use kernel_debug::gdb::{self, Debugger, OnHit, Options, Seen, State, Watch};
use kernel_debug::symbols::{Start, Symbols};

/// How long to wait for the console to explain why a session broke.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A held thread sleeps in naps of this length. The end of each nap stops the whole guest for a
/// moment, so short naps slow the other threads down; a release takes half a nap on average.
const NAP_MS: u32 = 20;

/// Index of rbx in [`kernel_debug::gdb::Registers::general`].
const BX: usize = 1;

/// What a session is made from.
#[derive(Debug, Clone)]
pub struct SessionSpec {
    /// The guest.
    pub machine: Machine,
    /// Program in the guest.
    pub program: String,
    /// Its arguments. `value` becomes `--key value`, `true` becomes `--key`, `false` is left out.
    pub args: Vec<(String, String)>,
    /// Names of the threads.
    pub threads: Vec<String>,
    /// Seed of the guest's entropy pool.
    pub seed: u64,
    /// Deadlines for boot, login and the test's first answer.
    pub deadlines: Deadlines,
    /// The CPU that takes device interrupts, where other CPUs are frozen at times.
    pub housekeeping_cpu: Option<u32>,
    /// How long a CPU may stay frozen.
    pub longest_freeze: Duration,
    /// The kernel's symbols.
    pub symbols: Arc<Symbols>,
    /// The kernel's data layout, from which the debugger tells whether a hold is legal.
    pub layout: Arc<Layout>,
    /// The cell's results folder, for logs.
    pub folder: PathBuf,
}

/// A guest ready for rounds. Dropping it kills the virtual machine.
pub struct GuestSession {
    vm: Vm,
    session: ssh::Session,
    exec: ssh::Exec,
    input: ssh::Input,
    debugger: Debugger,
    symbols: Arc<Symbols>,
    cancel: CancellationToken,
    test: TestProcess,
    logs: GuestLogs,
    /// A connection broke, and when; the console may still say why.
    broken: Option<(String, Instant)>,
    ended: Option<End>,
    /// The threads of the test.
    pub actors: Vec<Actor>,
    /// The operations it offers.
    pub offered: Vec<Offered>,
    /// Holds the initramfs and the sockets, so it must be dropped after the virtual machine.
    scratch: TempDir,
}

impl GuestSession {
    /// Boots guest number `number` of a cell and starts its test. An interrupt kills the guest and
    /// returns [`Error::Interrupted`].
    pub async fn start(spec: &SessionSpec, number: u32, cancel: &CancellationToken) -> Result<Self, Error> {
        let logs = GuestLogs::new(&spec.folder, "guest", number);
        let started = tokio::select! {
            started = Self::boot(spec, &logs, number, cancel) => started,
            () = cancel.cancelled() => Err(Error::Interrupted),
        };
        match started {
            Ok((vm, session, scratch)) => Self::open(spec, vm, session, scratch, logs, cancel).await,
            Err(error) => {
                logs.keep();
                Err(error)
            }
        }
    }

    async fn boot(
        spec: &SessionSpec,
        logs: &GuestLogs,
        number: u32,
        cancel: &CancellationToken,
    ) -> Result<(Vm, ssh::Session, TempDir), Error> {
        let scratch = vm::scratch_dir().map_err(Error::Place)?;
        let seed = spec.seed.wrapping_add(u64::from(number));
        let mut vm_spec = spec.machine.spec(seed, scratch.path(), logs.begin()).map_err(Error::Seal)?;
        vm_spec.gdb = true;
        let mut vm = Vm::start(&vm_spec, scratch.path(), cancel).await.map_err(|error| match error {
            vm::Error::Interrupted => Error::Interrupted,
            error => Error::Guest(error),
        })?;
        vm.ready(spec.deadlines.boot).await.map_err(Error::Guest)?;
        let login = spec.machine.login().map_err(Error::Seal)?;
        let session = tokio::select! {
            session = ssh::connect(vm.ssh_port(), &login, spec.deadlines.ssh) => session.map_err(Error::Login)?,
            death = vm.died() => return Err(Error::Lost(death.to_string())),
        };
        Ok((vm, session, scratch))
    }

    async fn open(
        spec: &SessionSpec,
        vm: Vm,
        session: ssh::Session,
        scratch: TempDir,
        logs: GuestLogs,
        cancel: &CancellationToken,
    ) -> Result<Self, Error> {
        let command = command_line(&spec.program, &spec.threads, &spec.args);
        let opened = async {
            if let Some(cpu) = spec.housekeeping_cpu {
                // Orders come over the network, so its interrupts must not go to a frozen CPU.
                // Interrupts that cannot be moved refuse the write
                // (Documentation/core-api/irq/irq-affinity.rst).
                let divert =
                    format!("for irq in /proc/irq/*/smp_affinity_list; do echo {cpu} > $irq; done 2>/dev/null");
                session.exec(&divert, None).await.map_err(Error::Login)?.output().await.map_err(Error::Login)?;
            }
            let (exec, input) = session.exec_interactive(&command).await.map_err(Error::Login)?;
            let stream = vm.gdb().await.map_err(Error::Guest)?;
            let options = Options {
                preempt_count: spec.machine.kernel.config.as_deref().is_none_or(counts_preemption),
                longest_freeze: spec.longest_freeze,
                nap_ms: NAP_MS,
            };
            let debugger = Debugger::attach_with(stream, spec.layout.clone(), options).await;
            let transcript = File::options().append(true).create(true).open(spec.folder.join("orders.jsonl"));
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
            symbols: spec.symbols.clone(),
            cancel: cancel.clone(),
            test: TestProcess::new(command, transcript),
            logs,
            broken: None,
            ended: None,
            actors: Vec::new(),
            offered: Vec::new(),
            scratch,
        };
        match stage.offer(spec.deadlines.test).await {
            Ok(()) => Ok(stage),
            Err(error) => {
                stage.end().await;
                Err(error)
            }
        }
    }

    /// Waits until the test says which threads and operations it has.
    async fn offer(&mut self, patience: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        loop {
            match tokio::time::timeout_at(deadline, self.next()).await {
                Ok(Event::Answer(Answer::Offer { threads, operations })) => {
                    (self.actors, self.offered) = (threads, operations);
                    return Ok(());
                }
                Ok(Event::Answer(Answer::Failed { message })) => {
                    return Err(Error::Lost(format!("the guest test gave up: {message}")));
                }
                Ok(Event::Ended(End::Interrupted)) => return Err(Error::Interrupted),
                Ok(Event::Ended(End::Crashed(reason) | End::Lost(reason))) => {
                    return Err(match self.test.exit.take() {
                        None => Error::Lost(reason),
                        Some(exit) => Error::NoOffer {
                            command: self.test.command.clone(),
                            ended: format!("ended with {exit}"),
                            stderr: self.test.stderr(),
                        },
                    });
                }
                Ok(_) => {}
                Err(_) => {
                    let after = patience.as_secs_f64();
                    return Err(Error::Lost(format!("`{}` offered nothing within {after} s", self.test.command)));
                }
            }
        }
    }

    /// The thread's id in the guest; 0 if there is no such thread.
    pub fn tid(&self, thread: &str) -> i32 {
        self.actors.iter().find(|actor| actor.name == thread).map_or(0, |actor| actor.tid)
    }

    /// The debugger, for what [`GuestControl`] does not offer.
    pub fn debugger(&mut self) -> &mut Debugger {
        &mut self.debugger
    }

    /// The kernel's symbols.
    pub fn symbols(&self) -> &Arc<Symbols> {
        &self.symbols
    }

    /// What the guest's kernel complained about so far.
    pub fn problems(&self) -> Vec<CrashReport> {
        self.vm.problems()
    }

    /// Kills the virtual machine. Returns every crash report of its kernel.
    pub async fn end(self) -> Vec<CrashReport> {
        let Self { vm, session, exec, input, debugger, logs, scratch, .. } = self;
        // These use the virtual machine, so they go first.
        drop((debugger, exec, input, session));
        let so_far = vm.problems();
        let problems = vm.quit().await.map_or(so_far, |ended| ended.problems);
        logs.keep();
        drop(scratch);
        problems
    }

    fn translate(&mut self, event: gdb::Event) -> Option<Event> {
        Some(match event {
            gdb::Event::Reached(hit) => Event::Reached { tid: hit.tid },
            gdb::Event::Held(hit) | gdb::Event::Frozen(hit) => Event::Held { tid: hit.tid },
            gdb::Event::Illegal { tid, address, why } => Event::Illegal { tid, address, why },
            gdb::Event::Thawed { tid } => Event::FreezeExpired { tid },
            gdb::Event::Lost { reason } => {
                self.broken.get_or_insert((format!("the debugger lost the guest: {reason}"), Instant::now()));
                return None;
            }
        })
    }

    fn heard(&mut self, event: Option<ssh::Event>) -> Option<Event> {
        match self.test.take(event) {
            Heard::Event(event) => return Some(event),
            Heard::Ended(end) => self.ended = Some(end),
            Heard::Broken(reason) => {
                self.broken.get_or_insert((reason, Instant::now()));
            }
            Heard::Nothing => {}
        }
        None
    }

    /// A connection broke: did the guest's kernel die?
    async fn last_words(&mut self, reason: String, since: Instant) -> End {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => End::Interrupted,
            death = self.vm.died() => end_of(&death),
            () = tokio::time::sleep_until(since + LAST_WORDS) => End::Lost(reason),
        }
    }

    fn debugger_failed(error: &dyn std::error::Error) -> End {
        End::Lost(format!("the debugger failed: {error}"))
    }

    fn snapshot(&self, seen: &Seen) -> TaskSnapshot {
        let stack = seen.stack.as_ref().map_or_else(Vec::new, |image| {
            let mut read = |address| image.word(address);
            let start = match &seen.registers {
                // The stack of a task that is not running starts where the scheduler left it.
                None => Start::asleep(image.base, &mut read),
                Some(registers) => Some(Start {
                    bx: Some(registers.general[BX]),
                    r12_to_r15: [12, 13, 14, 15].map(|register| Some(registers.general[register])),
                    ..Start::new(image.ip, image.sp, image.bp)
                }),
            };
            start.map_or_else(Vec::new, |start| self.symbols.stack(&self.symbols.unwind(start, &mut read)))
        });
        let state = match seen.state {
            State::Gone => TaskState::Gone,
            State::Interruptible | State::Uninterruptible | State::Idle => TaskState::Sleeping,
            _ if stack.is_empty() => TaskState::User,
            _ => TaskState::Kernel,
        };
        TaskSnapshot { state, stack }
    }
}

impl GuestControl for GuestSession {
    async fn order(&mut self, order: Order) -> Result<(), End> {
        let line =
            serde_json::to_string(&order).map_err(|error| End::Lost(format!("an order has no text: {error}")))?;
        self.test.record(line.as_bytes());
        // If the test is gone, the next event says so.
        self.input.send(&line);
        Ok(())
    }

    async fn next(&mut self) -> Event {
        loop {
            if let Some(end) = &self.ended {
                return Event::Ended(end.clone());
            }
            if let Some((reason, since)) = self.broken.clone() {
                self.ended = Some(self.last_words(reason, since).await);
                continue;
            }
            let event = tokio::select! {
                () = self.cancel.cancelled() => {
                    self.ended = Some(End::Interrupted);
                    None
                }
                event = self.debugger.event() => self.translate(event),
                event = self.exec.next() => self.heard(event),
                death = self.vm.died() => {
                    self.ended = Some(end_of(&death));
                    None
                }
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    async fn watch(&mut self, tid: i32, addresses: &[u64], how: BreakAction) -> Result<(), End> {
        let on_hit = match how {
            BreakAction::Sleep => OnHit::Hold,
            BreakAction::Freeze => OnHit::Freeze,
            BreakAction::Report => OnHit::Pass,
        };
        let watch = Watch { tid, addresses: addresses.to_vec(), on_hit };
        self.debugger.watch(watch).await.map_err(|error| Self::debugger_failed(&error))
    }

    async fn unwatch(&mut self, tid: i32) -> Result<(), End> {
        self.debugger.unwatch(tid).await.map_err(|error| Self::debugger_failed(&error))
    }

    async fn release(&mut self, tid: i32) -> Result<(), End> {
        self.debugger.release(tid).await.map(drop).map_err(|error| Self::debugger_failed(&error))
    }

    async fn look(&mut self, tids: &[i32]) -> Result<Vec<TaskSnapshot>, End> {
        let seen = self.debugger.look(tids).await.map_err(|error| Self::debugger_failed(&error))?;
        Ok(seen.iter().map(|seen| self.snapshot(seen)).collect())
    }
}

/// If QEMU itself exited or was killed, the guest's kernel is not to blame.
fn end_of(death: &vm::Death) -> End {
    match death.kind {
        DeathKind::Exited => End::Lost(death.to_string()),
        DeathKind::PoweredOff | DeathKind::Reset | DeathKind::Panicked => End::Crashed(death.to_string()),
    }
}

/// Whether the configuration at `path` has `CONFIG_PREEMPT_COUNT`; false if it cannot be read.
fn counts_preemption(path: &std::path::Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.lines().any(|line| line == "CONFIG_PREEMPT_COUNT=y"))
}
