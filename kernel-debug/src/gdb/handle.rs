//! The debugger as its users see it.

use super::actor::{Actor, Command};
use super::client::Gdb;
use super::guest::{Guest, Registers};
use super::task::Seen;
use super::trace::Trace;
use crate::Layout;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

/// What to wait for a thread at, and what to do with it.
///
/// The first hit ends a watch: what happens to the thread afterwards is up to the next one. That spares other threads the
/// breakpoints for as long as nobody waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// The thread, by its id in the guest's root pid namespace.
    pub tid: i32,
    /// Instructions; any of them will do. Thousands are fine in software emulation.
    pub addresses: Vec<u64>,
    /// What is done with the thread.
    pub on_hit: OnHit,
}

/// What is done with a thread that gets to a watched address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnHit {
    /// It is put to sleep there until [`Debugger::release`], if sleep is legal there; otherwise it goes on.
    Hold,
    /// Its virtual CPU stands still while the others run, until [`Debugger::release`] or the end of
    /// [`Options::longest_freeze`].
    Freeze,
    /// It goes on.
    Pass,
}

/// A thread at a watched address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// The thread.
    pub tid: i32,
    /// The instruction it was about to execute.
    pub address: u64,
    /// The virtual CPU it was on, from 0.
    pub cpu: usize,
    /// Its registers.
    pub registers: Registers,
}

/// What happened in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// [`OnHit::Pass`]: the thread came by.
    Reached(Hit),
    /// [`OnHit::Hold`]: the thread sleeps until it is released.
    Held(Hit),
    /// [`OnHit::Freeze`]: its CPU stands until it is released.
    Frozen(Hit),
    /// The thread came by and could not be kept; it goes on.
    Illegal {
        /// The thread.
        tid: i32,
        /// Where.
        address: u64,
        /// What forbids it: `preempt count 1: a spinlock is held or preemption is off`.
        why: String,
    },
    /// A frozen thread goes on because its time was over.
    Thawed {
        /// The thread.
        tid: i32,
    },
    /// The guest is gone, or the connection. Nothing follows but the same again.
    Lost {
        /// Why.
        reason: String,
    },
}

/// What an attached debugger goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The kernel counts preemption (`CONFIG_PREEMPT_COUNT=y`). Without it holds are refused.
    pub preempt_count: bool,
    /// What a held thread sleeps at a time, in milliseconds; a release takes effect when one such sleep is over.
    pub nap_ms: u32,
    /// How long a virtual CPU may stand while the others run: they wait for it in the end, and the kernel's watchdogs bark.
    pub longest_freeze: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { preempt_count: true, nap_ms: 4, longest_freeze: Duration::from_secs(2) }
    }
}

/// A guest under the debugger. Dropping the handle lets every thread go, removes every breakpoint and detaches.
#[derive(Debug)]
pub struct Debugger {
    commands: mpsc::UnboundedSender<Command>,
    events: mpsc::UnboundedReceiver<Event>,
    lost: Arc<OnceLock<String>>,
}

impl Debugger {
    /// Takes hold of a guest that is up, and lets it run on.
    pub async fn attach(stream: UnixStream, layout: Arc<Layout>) -> Result<Self, Error> {
        Self::attach_with(stream, layout, Options::default()).await
    }

    /// [`Debugger::attach`] with options.
    pub async fn attach_with(stream: UnixStream, layout: Arc<Layout>, options: Options) -> Result<Self, Error> {
        let guest = Guest::new(Gdb::open(stream).await?, layout);
        let (commands, orders) = mpsc::unbounded_channel();
        let (news, events) = mpsc::unbounded_channel();
        let lost = Arc::new(OnceLock::new());
        let actor = Actor::new(guest, options, orders, news);
        tokio::spawn(actor.run(lost.clone()));
        Ok(Self { commands, events, lost })
    }

    /// Waits for a thread at some addresses instead of where it was waited for before. When this returns, the breakpoints
    /// are set and the guest is about to run.
    pub async fn watch(&self, watch: Watch) -> Result<(), Error> {
        self.tell(|done| Command::Watch(watch, done)).await?
    }

    /// Waits for the thread no longer.
    pub async fn unwatch(&self, tid: i32) -> Result<(), Error> {
        self.tell(|done| Command::Unwatch(tid, done)).await?
    }

    /// The next thing that happens. Safe to cancel.
    pub async fn event(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
            None => Event::Lost { reason: self.reason() },
        }
    }

    /// Lets a held or frozen thread go on from where it is; false when it is neither. A held one goes on when its present
    /// nap is over.
    pub async fn release(&self, tid: i32) -> Result<bool, Error> {
        self.tell(|done| Command::Release(tid, done)).await?
    }

    /// Stops the guest for some milliseconds and looks where threads are.
    pub async fn look(&self, tids: &[i32]) -> Result<Vec<Seen>, Error> {
        self.tell(|done| Command::Look(tids.to_vec(), done)).await?
    }

    /// Follows a thread from now on, instead of one that was followed before. Watches of others are told apart; a watch of
    /// the same thread waits until the trace has no use for an address.
    pub async fn trace(&self, trace: Trace) -> Result<(), Error> {
        self.tell(|done| Command::Trace(trace, done)).await?
    }

    /// Follows nobody any longer, and lets go of the trace's guide.
    pub async fn untrace(&self) -> Result<(), Error> {
        self.tell(Command::Untrace).await?
    }

    /// What dropping does; returns when it is done.
    pub async fn detach(self) -> Result<(), Error> {
        self.tell(Command::Detach).await?
    }

    async fn tell<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Error> {
        let (done, result) = oneshot::channel();
        let lost = || Error::Lost { reason: self.reason() };
        self.commands.send(command(done)).map_err(|_| lost())?;
        result.await.map_err(|_| lost())
    }

    fn reason(&self) -> String {
        self.lost.get().cloned().unwrap_or_else(|| "its task has ended".to_owned())
    }
}

/// Why a guest could not be debugged, or is no longer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket failed.
    #[error("the connection to QEMU's gdb stub failed at {doing}")]
    Connection {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// QEMU closed it.
    #[error("QEMU closed the debugger's connection at {doing}; it has most likely ended")]
    Closed {
        /// What was being done.
        doing: &'static str,
    },
    /// QEMU ended, or the guest did.
    #[error("the machine ended under the debugger (its stub said {reply})")]
    Ended {
        /// The stub's packet.
        reply: String,
    },
    /// No answer.
    #[error("QEMU's gdb stub did not answer within {} s at {doing}", after.as_secs())]
    Silent {
        /// What was being done.
        doing: &'static str,
        /// How long it had.
        after: Duration,
    },
    /// The stub said no.
    #[error("QEMU's gdb stub refused {doing}; it said {reply:?}")]
    Refused {
        /// What was asked for.
        doing: String,
        /// Its answer.
        reply: String,
    },
    /// The stub said something that this does not understand.
    #[error("QEMU's gdb stub answered {doing} with something unexpected: {reply:?}")]
    Unexpected {
        /// What was asked for.
        doing: String,
        /// Its answer.
        reply: String,
    },
    /// No more breakpoints to be had.
    #[error(
        "QEMU sets no breakpoint at {address:#x} ({set} are set); a guest on KVM may have few, software emulation (--accel tcg) has no limit"
    )]
    Breakpoint {
        /// Where.
        address: u64,
        /// How many there are.
        set: usize,
    },
    /// A virtual CPU can only stand still beside one that runs.
    #[error("to freeze a thread the guest needs at least 2 virtual CPUs; it has {cpus}")]
    TooFewCpus {
        /// How many it has.
        cpus: usize,
    },
    /// Where sleeping is legal cannot be told.
    #[error(
        "this kernel does not count preemption, so nobody can tell where a thread may be put to sleep; build it with CONFIG_PREEMPT_COUNT=y (CONFIG_PREEMPT=y brings it along), or freeze instead of holding"
    )]
    NoPreemptCount,
    /// The debugger is gone, and why.
    #[error("the debugger lost its guest: {reason}")]
    Lost {
        /// Why.
        reason: String,
    },
}

impl Error {
    /// The error and its causes in one line, separated by colons.
    pub(super) fn with_causes(&self) -> String {
        let causes = std::iter::successors(Some(self as &dyn std::error::Error), |error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }
}
