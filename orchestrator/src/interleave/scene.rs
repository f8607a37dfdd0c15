//! What a round needs of the machine it is played on: orders to the guest test, holds, looks. [`Stage`](super::Stage) is the real
//! one; tests script their own.

use std::future::Future;

use twinboot_protocol::orders::{Answer, Order};

use crate::journal::interleaving::Frame;

/// A guest whose threads take orders and can be held.
pub trait Scene: Send {
    /// Gives the guest test an order; its answers come as [`Happening::Answer`].
    fn order(&mut self, order: Order) -> impl Future<Output = Result<(), End>> + Send;

    /// The next thing that happens. Safe to cancel: nothing is lost.
    fn next(&mut self) -> impl Future<Output = Happening> + Send;

    /// From now on `tid` is caught at the first of `addresses` it gets to; replaces what it was watched for before. May be
    /// called while the thread is held.
    fn watch(&mut self, tid: i32, addresses: &[u64], how: Catch) -> impl Future<Output = Result<(), End>> + Send;

    /// Watches `tid` no longer. A thread that is held stays so.
    fn unwatch(&mut self, tid: i32) -> impl Future<Output = Result<(), End>> + Send;

    /// Lets a held thread go on from where it was caught.
    fn release(&mut self, tid: i32) -> impl Future<Output = Result<(), End>> + Send;

    /// Where these threads are now, in the same order.
    fn look(&mut self, tids: &[i32]) -> impl Future<Output = Result<Vec<Sight>, End>> + Send;
}

/// What becomes of a thread that gets to a watched address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Catch {
    /// It is put to sleep there.
    Sleep,
    /// Its virtual CPU stands still there.
    Freeze,
    /// It goes on; that it came by is told.
    Note,
}

/// Something that happens while a round is played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// The guest test answered.
    Answer(Answer),
    /// A watched thread came by.
    Noted {
        /// Which.
        tid: i32,
    },
    /// A watched thread is held where it was to be caught.
    Held {
        /// Which.
        tid: i32,
    },
    /// A thread could not be held where it was to be: the kernel may not sleep there.
    Illegal {
        /// Which.
        tid: i32,
        /// Address of the instruction it had come to.
        address: u64,
        /// What was found: `preempt count 1`.
        why: String,
    },
    /// A frozen thread went on by itself: its virtual CPU may not stand for longer.
    Slipped {
        /// Which.
        tid: i32,
    },
    /// Nothing more will happen.
    Ended(End),
}

/// Why nothing more happens.
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

/// Where a thread was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// What it was doing.
    pub posture: Posture,
    /// Its kernel stack, innermost first; empty in user space. That of a held thread begins where it was caught.
    pub stack: Vec<Frame>,
}

/// What a thread may be doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posture {
    /// It waits to be woken.
    Sleeping,
    /// It runs, or could, in the kernel.
    Kernel,
    /// It runs, or could, in user space.
    User,
    /// It does not exist (any more).
    Gone,
}

impl Posture {
    /// The word that reports use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sleeping => "sleeping",
            Self::Kernel | Self::User => "running",
            Self::Gone => "gone",
        }
    }
}
