//! Why a guest could not be debugged.

use std::io;
use std::time::Duration;

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
