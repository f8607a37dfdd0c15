//! Why an interleaving could not be run on a kernel.

use crate::build::initramfs;
use kernel_debug::symbols;

use crate::vm;

/// Why no round could be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel has no vmlinux to resolve points in.
    #[error(
        "the kernel has no vmlinux with debug information, in which drawings find their points: build it from source with \
         `symbols` among its `config`, or give the vmlinux itself as the image"
    )]
    NoVmlinux,
    /// The debug information cannot be read.
    #[error("cannot read where the points are in the kernel")]
    Symbols(#[source] symbols::Error),
    /// Points that this kernel does not have, one message each.
    #[error("{}", .0.join("\n"))]
    Points(Vec<String>),
    /// Points that the kernel's code does not have, one message each, and nothing else wrong. With
    /// the index of the first step that has such a point.
    #[error("{}", .wrong.join("\n"))]
    Absent {
        /// Index in the diagram's steps.
        step: usize,
        /// Messages.
        wrong: Vec<String>,
    },
    /// Threads and operations that the guest test does not offer, one message each.
    #[error("{}", .0.join("\n"))]
    Offer(Vec<String>),
    /// A hold at a point where the kernel must not sleep.
    #[error("{0}")]
    Illegal(String),
    /// The guest test takes no orders.
    #[error("`{command}` {ended} before it offered any operation{}; does it take `--interleave THREAD,…`?", said(.stderr))]
    NoOffer {
        /// Command line.
        command: String,
        /// How it ended.
        ended: String,
        /// What it said.
        stderr: String,
    },
    /// The guest's own initramfs could not be made.
    #[error("cannot make the guest's initramfs")]
    Seal(#[source] initramfs::Error),
    /// A folder or a log of the guest could not be made.
    #[error("cannot make a place for the guest's files")]
    Place(#[source] std::io::Error),
    /// The guest did not come up.
    #[error("the guest did not come up")]
    Guest(#[source] vm::Error),
    /// SSH login failed.
    #[error("cannot log in to the guest")]
    Login(#[source] vm::ssh::Error),
    /// The debugger could not attach.
    #[error("cannot debug the guest")]
    Debugger(#[source] kernel_debug::gdb::Error),
    /// The guest test, the connection to it or the guest failed before the first round.
    #[error("{0}")]
    Lost(String),
    /// Too many rounds in a row were lost.
    #[error("{rounds} rounds in a row were lost; the last: {reason}")]
    GivenUp {
        /// How many.
        rounds: u32,
        /// The last one's reason.
        reason: String,
    },
    /// Interrupted.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Whether the plan is wrong, not the host. With [`Error::Absent`] the plan is right after all
    /// if another variant of the kernel has the points.
    pub fn is_the_plans(&self) -> bool {
        matches!(
            self,
            Self::NoVmlinux
                | Self::Symbols(_)
                | Self::Points(_)
                | Self::Absent { .. }
                | Self::Offer(_)
                | Self::Illegal(_)
                | Self::NoOffer { .. }
        )
    }
}

fn said(stderr: &str) -> String {
    let stderr = stderr.trim();
    if stderr.is_empty() { String::new() } else { format!(", and said: {stderr}") }
}
