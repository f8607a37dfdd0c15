//! What the runner tells whoever watches it.

use std::sync::Arc;

use twinboot_protocol::Progress;

use crate::build::Step;
use crate::journal::Entry;
use crate::journal::entry::{BuildFailed, Built, RoundId, Stage};

/// Something that happened, for people to follow. Only [`Event::Journal`] is kept.
#[derive(Debug, Clone)]
pub enum Event {
    /// A line that went into the journal.
    Journal(Box<Entry>),
    /// A kernel variant's build came to a new step.
    Build {
        /// Kernel name.
        kernel: String,
        /// Variant name.
        variant: String,
        /// The step.
        step: Step,
    },
    /// A kernel variant is ready.
    Built(Box<Built>),
    /// A kernel variant could not be built.
    BuildFailed(Box<BuildFailed>),
    /// The guest image is being made.
    Image,
    /// The accelerator is being tried out.
    Accelerator,
    /// A round entered a stage.
    Stage {
        /// Which round.
        id: RoundId,
        /// The stage it is in now.
        stage: Stage,
    },
    /// Counters of a running round.
    Progress {
        /// Which round.
        id: RoundId,
        /// Its counters.
        progress: Progress,
    },
}

/// Receives events from every task of a run, in each task's order. Called often and from several threads: must not block.
pub type Observer = Arc<dyn Fn(Event) + Send + Sync>;
