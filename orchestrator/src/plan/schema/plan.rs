//! The plan as a whole.

use serde::{Deserialize, Serialize};

use super::guest::{Guest, Test};
use super::interleaving::{Interleaving, Sweep};
use super::kernel::{Kernel, Variant};
use super::matrix::Matrix;
use super::value::{Interval, OneOrMany, OrText};

/// A test plan: which kernels to build, with and without which patches, in which guests to boot
/// them, and what to race in them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(
    title = "Plan",
    extend(
        "required" = ["name", "kernels"],
        "patternProperties" = { "^x-": { "description": "The author's own, such as maps with an anchor that others take in with `<<: *anchor`." } },
        "anyOf" = [{ "required": ["tests"] }, { "required": ["interleaving"] }, { "required": ["sweep"] }],
    )
)]
pub struct Plan {
    /// Name of the plan: small letters, digits, `.`, `_` and `-`. Result folders carry it.
    #[schemars(regex(pattern = "^[a-z0-9][a-z0-9._-]*$"))]
    pub name: String,
    /// Source trees to build, at least one: written out, or by their names in the catalogue
    /// (`kernels/sources.yaml`).
    #[schemars(length(min = 1))]
    pub kernels: Vec<OrText<Kernel>>,
    /// What to build of every kernel that has no `variants` of its own.
    #[schemars(length(min = 1))]
    pub variants: Vec<Variant>,
    /// The virtual machine.
    pub guest: Guest,
    /// Virtual CPUs of the guests that run beside each other, for each of the host's CPUs; 1 unless
    /// given. 2 runs twice as many guests as have CPUs to themselves, 0.5 leaves half of the CPUs
    /// alone. Whatever it is, guests never get more memory than is free, `--jobs` overrules it, and
    /// results are stamped with what it came to. Guests that share CPUs disturb each other's races:
    /// compare rates per exposure, not per second.
    #[schemars(range(min = 0.01, max = 64))]
    pub overcommit: Option<f64>,
    /// Programs to run in the guest, at least one where there is neither `interleaving` nor
    /// `sweep`.
    pub tests: Vec<Test>,
    /// Interleavings to force: one, or a list.
    pub interleaving: OneOrMany<Interleaving>,
    /// What `twinboot sweep` sweeps: one, or a list; drawn from the interleavings unless given.
    pub sweep: OneOrMany<Sweep>,
    /// Complaints of the kernels that have nothing to do with the patch: those that come in rounds that finish are let pass, and
    /// reports say how often.
    pub known: Vec<Known>,
    /// Settings that take several values in turn.
    pub matrix: Matrix,
    /// Values for tests that do not have their own.
    pub defaults: Defaults,
}

/// Known trouble: a `reason`, and one or more of the other keys, all of which must fit.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["reason"], "minProperties" = 2))]
pub struct Known {
    /// Class of the complaint: `warning`, `bug`, `lockdep`, `hang`, `oom`, `panic`, `data_loss` or `leak`.
    pub class: Option<String>,
    /// Function among the innermost four of its call trace.
    pub function: Option<String>,
    /// Text in one of its lines.
    pub pattern: Option<String>,
    /// Why it is let pass, such as the address of its report.
    pub reason: String,
}

/// Values for tests that do not have their own.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// `stop.alpha` of tests without one: the probability of a wrong `fixed` that is still
    /// accepted.
    pub alpha: f64,
    /// `stop.at_most` of tests without one.
    pub at_most: Interval,
    /// `rounds` of tests without one.
    #[schemars(range(min = 1))]
    pub rounds: u32,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { alpha: 1e-6, at_most: Interval::seconds(10), rounds: 24 }
    }
}
