//! Why a guest test can't go on.

use crate::sys::SysError;

/// A reason to give up; its text goes to the host as the [`twinboot_protocol::Failure`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed that the test can't do without.
    #[error(transparent)]
    Sys(#[from] SysError),
    /// No swap device is on.
    #[error("no swap device is on: give the guest one, for example `swap: {{zram: {{size: 64K}}}}`")]
    NoSwap,
    /// More than one swap device: a page could go to either.
    #[error("{0} swap devices are on, the test needs exactly one: switch the others off")]
    SeveralSwaps(usize),
    /// The device has too many slots to be filled with ballast.
    #[error(
        "{path} has {slots} swap slots, more than the {most} that can be kept full of ballast: make it smaller, 64K is best"
    )]
    SwapTooLarge {
        /// Device node.
        path: String,
        /// Slots it has.
        slots: u64,
        /// Slots it may have.
        most: u64,
    },
    /// Too few slots for ballast and the raced page.
    #[error("{free} free swap slots are not enough, the test needs {least}: make the swap device larger, 64K is best")]
    SwapTooSmall {
        /// Free slots.
        free: u64,
        /// Slots needed.
        least: u64,
    },
    /// Ballast pages didn't go to swap or didn't stay there.
    #[error(
        "filling the swap device left {free} slots free instead of {wanted} after {swapped} of {pages} ballast pages went out"
    )]
    BallastIncomplete {
        /// Free slots at the end.
        free: u64,
        /// Slots that should be free.
        wanted: u64,
        /// Ballast pages on the device.
        swapped: usize,
        /// Ballast pages there are.
        pages: usize,
    },
    /// Every spare slot was lost.
    #[error("the kernel lost {0} swap slots, all there were: the page can't be swapped out any more")]
    SlotsLost(u64),
    /// The raced page doesn't go to swap though there is room.
    #[error("the raced page stays in memory after {attempts} times MADV_PAGEOUT, with {free} free swap slots")]
    PageStuck {
        /// How often it was tried.
        attempts: u32,
        /// Free slots at the end.
        free: u64,
    },
    /// The kernel doesn't let real-time threads into a fault.
    #[error(
        "the preempt strategy needs a kernel with CONFIG_PREEMPT, this one has preemption model `{model}` ({version}): use --strategy smp"
    )]
    NotPreemptible {
        /// Preemption model.
        model: &'static str,
        /// `uname -v`.
        version: String,
    },
    /// Too few CPUs for two sides.
    #[error(
        "the smp strategy needs 2 CPUs, this guest has {0}: give it more, or use --strategy preempt on a kernel with CONFIG_PREEMPT"
    )]
    TooFewCpus(usize),
    /// The kernel's pages aren't 4 KiB.
    #[error("pages of {0} bytes are not supported, only 4096")]
    PageSize(u64),
    /// The interferer's thread didn't answer.
    #[error("the interferer did not come back within {seconds} s of try {attempt}: it hangs in the kernel")]
    InterfererGone {
        /// How long it was waited for.
        seconds: u64,
        /// Number of the try.
        attempt: u64,
    },
    /// No try ended for long.
    #[error("no try ended within {seconds} s after {tries} tries: a thread hangs in the kernel")]
    Stalled {
        /// How long it was waited for.
        seconds: u64,
        /// Tries before.
        tries: u64,
    },
    /// A thread of the test panicked.
    #[error("the racing thread panicked, its message is on standard error")]
    Panicked,
}

impl Error {
    /// Whether the test gave up because an operation of the kernel's did not come to its end.
    pub fn blames_the_kernel(&self) -> bool {
        matches!(self, Self::InterfererGone { .. } | Self::Stalled { .. })
    }
}

/// `error` and its sources, outermost first.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_ends_with_the_kernels_reason() {
        let refused = std::io::Error::from_raw_os_error(libc::EPERM);
        let error = Error::from(SysError::new("swapon", "/dev/zram0", refused));
        assert_eq!(chain(&error), "swapon on /dev/zram0 failed: Operation not permitted (os error 1)");
    }
}
