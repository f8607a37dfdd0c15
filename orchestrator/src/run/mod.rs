//! Runs a plan: builds what it names, boots every round in a fresh guest, and journals what happens.
//!
//! One dispatcher owns the signals, the schedule and the journal; one executor owns each guest. Both only emit
//! [`messages::Event`]s: what people see of them is decided in `report`.

mod builds;
mod course;
mod dispatcher;
mod executor;
mod folder;
mod forced;
mod group;
mod host;
pub mod messages;
mod overlap;
mod places;
mod prepare;
mod records;
pub mod resume;
mod schedule;
#[cfg(test)]
mod schedule_tests;
pub mod sequence;
pub mod shell;
mod signals;
mod single;
mod stamp;
mod sweep;
mod swept;
mod warm;

pub use builds::build_kernels;
pub use dispatcher::{Options, Run, Share, Start};
pub use overlap::build_and_run;
pub use prepare::{Ground, Tools, prepare, variants};
pub use signals::interrupts;
pub use single::Single;
pub use sweep::{SweepOptions, sweeps};

use std::path::PathBuf;

/// Why a run could not be carried out at all. What goes wrong inside a round is an outcome, not an error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the results could not be written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The results folder holds something else already.
    #[error("`{}` is not empty: name another --out, or remove it", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// A cell cannot have a folder.
    #[error("cannot make a folder for a cell")]
    Cell {
        /// What is wrong with its id.
        source: crate::journal::BadName,
    },
    /// A run cannot be taken up again.
    #[error("cannot go on with the run in `{}`: {reason}", results.display())]
    Resume {
        /// Its results folder.
        results: PathBuf,
        /// What stands in the way.
        reason: String,
    },
    /// The guest image could not be made.
    #[error("cannot make the guest image from `{}`", recipe.display())]
    Image {
        /// Its recipe.
        recipe: PathBuf,
        /// Why.
        source: crate::build::initramfs::Error,
    },
    /// No kernel variant could be built, so there is nothing to boot.
    #[error("no kernel could be built")]
    NothingBuilt,
    /// The accelerator asked for cannot be used.
    #[error("cannot choose an accelerator")]
    Accelerator(#[source] crate::vm::Error),
    /// The guests' SSH keys could not be made.
    #[error("cannot make the guests' SSH keys")]
    Keys(#[source] crate::build::initramfs::Error),
    /// A single guest's own initramfs could not be made.
    #[error("cannot make the guest's initramfs")]
    Seal(#[source] crate::build::initramfs::Error),
    /// A single guest did not come up.
    #[error("the guest did not come up")]
    Guest(#[source] crate::vm::Error),
    /// Nobody could log in to a single guest.
    #[error("cannot log in to the guest")]
    Login(#[source] crate::vm::ssh::Error),
    /// Interrupted before the first round.
    #[error("interrupted")]
    Interrupted,
}
