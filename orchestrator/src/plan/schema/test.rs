//! Tests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::value::{Interval, Scalar};
use crate::plan::model;

/// A program to run in the guest, and for how long.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name", "run"]))]
pub struct Test {
    /// Name, unique in the plan: letters, digits, `.`, `_`, `+` and `-`.
    #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._+-]*$"))]
    pub name: String,
    /// Program in the guest's image, such as `swap-race`.
    pub run: String,
    /// Its arguments: `memory: anon` is passed as `--memory anon`, `verbose: true` as `--verbose`, and
    /// `verbose: false` not at all.
    pub args: BTreeMap<String, Scalar>,
    /// Rounds for each cell, each in a fresh guest; `defaults.rounds` unless given.
    #[schemars(range(min = 1))]
    pub rounds: Option<u32>,
    /// When a round ends.
    pub stop: Stop,
    /// How long each stage around a round may take before the round counts as lost.
    pub deadlines: Deadlines,
}

/// When a round ends, whichever comes first, and when a cell needs no more rounds.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stop {
    /// Probability of a wrong `fixed` that is still accepted, between 0 and 0.5; `defaults.alpha` unless given.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 0.5))]
    pub alpha: Option<f64>,
    /// Smallest residual rate that matters, as a share of the base's rate, between 0 and 1; 0.1 unless given. A patched
    /// kernel is `fixed` only if it had so many clean exposures that this rate would have shown up with 99 %.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub residual: Option<f64>,
    /// Rounds of each side before its answer counts as known; 3 unless given, or `rounds` where that is less.
    #[schemars(range(min = 1))]
    pub min_rounds: Option<u32>,
    /// Stop the rounds of a cell as soon as its answer is known, the base's rounds coming first; true unless given.
    pub sequential: Option<bool>,
    /// Racing time of a round; `defaults.at_most` unless given.
    pub at_most: Option<Interval>,
    /// Corruptions after which a round ends.
    #[schemars(range(min = 1))]
    pub corruptions: Option<u64>,
    /// Exposures after which a round ends.
    #[schemars(range(min = 1))]
    pub exposures: Option<u64>,
}

/// How long each stage around a round may take before the round counts as lost.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Deadlines {
    /// From the start of QEMU until the guest is ready.
    pub boot: Interval,
    /// Connecting to the guest and authenticating.
    pub ssh: Interval,
    /// From the end of the racing time until the test's last record.
    pub test: Interval,
    /// From the request to power off until QEMU has ended.
    pub shutdown: Interval,
}

impl Default for Deadlines {
    fn default() -> Self {
        let model::Deadlines { boot, ssh, test, shutdown } = model::Deadlines::default();
        Self { boot: Interval(boot), ssh: Interval(ssh), test: Interval(test), shutdown: Interval(shutdown) }
    }
}
