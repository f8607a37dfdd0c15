//! Runs a plan: builds its kernels, runs every round in a fresh guest, and journals the results.
//!
//! One dispatcher owns the schedule and the journal; one executor owns each guest. Both emit
//! [`messages::Event`]s; how they are shown is decided in `report`.

mod artifacts;
mod capacity;
mod comparison_group;
mod debug_guest;
mod dispatcher;
mod event_loop;
mod executor;
mod interleavings;
pub mod messages;
mod options;
mod pipeline;
mod records;
mod reproduce;
mod reproducer;
pub mod results_dir;
pub mod resume;
mod run_header;
mod schedule;
#[cfg(test)]
mod schedule_tests;
pub mod sequence;
mod sweep;
pub mod test_command;
mod warm_clone;

pub use artifacts::build_kernels;
pub use artifacts::{Artifacts, Tools, prepare, variants};
pub use debug_guest::DebugGuest;
pub use dispatcher::{Run, Start};
pub use options::{Options, Share};
pub use pipeline::build_and_run;
pub use sweep::{SweepOptions, sweeps};

use std::path::PathBuf;

/// Why a run could not be carried out. A failure inside a round is an outcome, not an error.
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
    /// The results folder is not empty.
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
    /// A run cannot be resumed.
    #[error("cannot go on with the run in `{}`: {reason}", results.display())]
    Resume {
        /// Its results folder.
        results: PathBuf,
        /// Why not.
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
    /// A program of the plan's own is not ready.
    #[error("a program of the plan cannot be made ready")]
    Program(#[source] crate::build::program::Error),
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
    /// A single guest did not boot.
    #[error("the guest did not come up")]
    Guest(#[source] crate::vm::Error),
    /// SSH login to a single guest failed.
    #[error("cannot log in to the guest")]
    Login(#[source] crate::vm::ssh::Error),
    /// Interrupted before the first round.
    #[error("interrupted")]
    Interrupted,
}
