//! Orders to a guest test whose threads act out a drawn interleaving, and its answers.
//!
//! The host writes one [`Order`] a line to the test's standard input; the test answers with one [`Answer`] a line on its
//! standard output, after the [`Preflight`](crate::Preflight) record that every test begins with. An order that is impossible
//! (a thread or an operation that is not there, a thread that has not come back) is answered with [`Answer::Failed`] and
//! changes nothing. A test that cannot go on answers the same and ends, with exit status 1; so does a test whose threads
//! can't be started, and the offer then never comes. The end of the orders ends the test like [`Order::End`].

use serde::{Deserialize, Serialize};

use crate::{CorruptionKind, SwapEntry};

/// What the host asks for. A round is one prepare, any number of operations of idle threads, and one judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// Bring every object into the state in which a round begins: [`Answer::Prepared`].
    Prepare {
        /// Number of the round, from 1; comes back in the answers.
        round: u64,
    },
    /// Let `thread` begin an operation: [`Answer::Done`] follows when it has come back from it, however long that takes.
    Begin {
        /// Name of the thread.
        thread: String,
        /// Operation, one of those in [`Answer::Offer`].
        operation: String,
        /// What it is done to, for operations that take one.
        object: Option<String>,
    },
    /// Look what came of the round; every thread is idle: [`Answer::Judged`].
    Judge,
    /// End well.
    End,
}

/// What the test says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// First answer, unasked: who is there and what they can do.
    Offer {
        /// The threads that were asked for, started and idle.
        threads: Vec<Actor>,
        /// What each of them can do.
        operations: Vec<Offered>,
    },
    /// Ready for a round.
    Prepared {
        /// Which.
        round: u64,
        /// Swap entry of the object at stake, where it has one.
        entry: Option<SwapEntry>,
    },
    /// An operation came back.
    Done {
        /// Name of the thread.
        thread: String,
        /// Nanoseconds it took in the guest (`CLOCK_MONOTONIC`).
        elapsed_ns: u64,
        /// What it saw or did, for people: `generation 4`, `swapped out to 0:15`.
        saw: Option<String>,
        /// What the kernel refused, in words; a refused operation is no failure of the test.
        refused: Option<String>,
    },
    /// The oracle has spoken.
    Judged {
        /// Which round.
        round: u64,
        /// What it objected to; none where everything is as it must be.
        damage: Option<Damage>,
        /// Swap entry before the round.
        entry_before: Option<SwapEntry>,
        /// Swap entry after the last operation that swapped the object out.
        entry_after: Option<SwapEntry>,
    },
    /// The test cannot go on, or an order was impossible.
    Failed {
        /// What was tried, on what, and why it failed.
        message: String,
    },
}

/// A thread of the test. Between operations it waits in futex(2), also while its [`Answer::Done`] is still under way to the
/// host; no operation waits there. So a thread seen in `futex_wait` is not one that an operation keeps in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Name in the diagram.
    pub name: String,
    /// Its thread id in the guest's root pid namespace, `task_struct.pid`.
    pub tid: i32,
    /// The CPU it is bound to, where it is.
    pub cpu: Option<u32>,
}

/// An operation a test offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Its word in a diagram.
    pub name: String,
    /// What it can be done to; empty for operations without an object.
    pub objects: Vec<String>,
    /// One sentence for people.
    pub about: String,
}

/// What the oracle found instead of what had to be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// Which object.
    pub object: String,
    /// What kind of wrong.
    pub kind: CorruptionKind,
    /// What had to be there, for people: `generation 4`.
    pub expected: String,
    /// What was there.
    pub found: String,
}
