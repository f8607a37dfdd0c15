//! What a round needs of its guest: orders to the guest test, breakpoints, stacks.
//! [`GuestSession`](super::GuestSession) is the real one; unit tests use a scripted one.

use std::future::Future;

use twinboot_protocol::orders::{Answer, Order};

use kernel_debug::Frame;

/// A guest whose threads take orders and can be held.
pub trait GuestControl: Send {
    /// Sends an order to the guest test. Its answers arrive as [`Event::Answer`].
    fn order(&mut self, order: Order) -> impl Future<Output = Result<(), End>> + Send;

    /// The next event. Cancel safe: no event is lost.
    fn next(&mut self) -> impl Future<Output = Event> + Send;

    /// Sets breakpoints for `tid`: it stops at the first of `addresses` that it reaches. Replaces
    /// its earlier breakpoints. May be called while the thread is held.
    fn watch(&mut self, tid: i32, addresses: &[u64], how: BreakAction) -> impl Future<Output = Result<(), End>> + Send;

    /// Removes the breakpoints of `tid`. A held thread stays held.
    fn unwatch(&mut self, tid: i32) -> impl Future<Output = Result<(), End>> + Send;

    /// Resumes a held thread where it stopped.
    fn release(&mut self, tid: i32) -> impl Future<Output = Result<(), End>> + Send;

    /// Snapshots of these threads, in the same order.
    fn look(&mut self, tids: &[i32]) -> impl Future<Output = Result<Vec<TaskSnapshot>, End>> + Send;
}

/// What happens to a thread that reaches one of its breakpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakAction {
    /// It is put to sleep there.
    Sleep,
    /// Its virtual CPU stops there.
    Freeze,
    /// It runs on, and its arrival is reported.
    Report,
}

/// Something that happens during a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The guest test answered.
    Answer(Answer),
    /// A thread passed its breakpoint.
    Reached {
        /// Which.
        tid: i32,
    },
    /// A thread is held at its breakpoint.
    Held {
        /// Which.
        tid: i32,
    },
    /// A thread reached a breakpoint at which the kernel must not sleep.
    Illegal {
        /// Which.
        tid: i32,
        /// Address of the instruction.
        address: u64,
        /// What was found: `preempt count 1`.
        why: String,
    },
    /// A frozen virtual CPU had to be resumed: it reached the longest time it may stand still.
    FreezeExpired {
        /// Which.
        tid: i32,
    },
    /// No more events will come.
    Ended(End),
}

/// Why no more events come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The guest's kernel died.
    #[error("{0}")]
    Crashed(String),
    /// The guest test, the connection to it or the debugger failed.
    #[error("{0}")]
    Lost(String),
    /// twinboot was interrupted.
    #[error("interrupted")]
    Interrupted,
}

/// What a thread was doing at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSnapshot {
    /// Its state.
    pub state: TaskState,
    /// Its kernel stack, innermost frame first; empty in user space. The stack of a held thread
    /// starts at its breakpoint.
    pub stack: Vec<Frame>,
}

/// The state of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// It sleeps in the kernel.
    Sleeping,
    /// It runs in the kernel, or is runnable there.
    Kernel,
    /// It runs in user space, or is runnable there.
    User,
    /// It does not exist, or no longer.
    Gone,
}

impl TaskState {
    /// The word for it in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sleeping => "sleeping",
            Self::Kernel | Self::User => "running",
            Self::Gone => "gone",
        }
    }
}
