//! How a run is to be made.

use std::path::PathBuf;

use crate::plan::Partition;
use crate::plan::model::Plan;

/// How a run is to be made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Results folder, which must be empty; `results/<plan>-<utc>` by default.
    pub out: Option<PathBuf>,
    /// Seed of every random choice.
    pub seed: u64,
    /// Guests at a time, as far as memory allows; by default as many as the host's CPUs carry at
    /// the plan's overcommit.
    pub jobs: Option<usize>,
    /// Command line that repeats the run.
    pub rerun: String,
    /// Set if the run is one share of a larger plan.
    pub share: Option<Box<Share>>,
}

/// One share of a plan.
#[derive(Debug, Clone)]
pub struct Share {
    /// Which.
    pub partition: Partition,
    /// The whole plan.
    pub whole: Plan,
}
