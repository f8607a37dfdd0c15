//! Why a drawing could not be tried on a kernel.

use crate::build::initramfs;
use crate::{symbols, vm};

/// Why nothing could be played at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel came without the image that names its points.
    #[error(
        "the kernel has no vmlinux with debug information, in which drawings find their points: build it from source with \
         `symbols` among its `config`, or give the vmlinux itself as the image"
    )]
    NoVmlinux,
    /// Its debug information cannot be used.
    #[error("cannot read where the points are in the kernel")]
    Symbols(#[source] symbols::Error),
    /// Points of the drawing that this kernel does not have, a line each.
    #[error("{}", .0.join("\n"))]
    Points(Vec<String>),
    /// What the drawing asks for and the guest test does not offer, a line each.
    #[error("{}", .0.join("\n"))]
    Offer(Vec<String>),
    /// A hold where the kernel may not sleep.
    #[error("{0}")]
    Illegal(String),
    /// The guest test does not act out drawings.
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
    /// Nobody could log in.
    #[error("cannot log in to the guest")]
    Login(#[source] vm::ssh::Error),
    /// The debugger could not take hold of it.
    #[error("cannot debug the guest")]
    Debugger(#[source] crate::debugger::Error),
    /// The guest test, the connection to it or the guest failed before the first round.
    #[error("{0}")]
    Lost(String),
    /// Round after round was lost.
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
    /// The plan's author can mend it, not the host.
    pub fn is_the_plans(&self) -> bool {
        matches!(
            self,
            Self::NoVmlinux
                | Self::Symbols(_)
                | Self::Points(_)
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
