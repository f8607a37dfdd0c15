//! What a run holds itself to: what is expected of a variant, where its guests come from, what a verdict must reach, and why
//! rounds may end.

use serde::{Deserialize, Serialize};

/// What a variant is expected to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// At least one corruption in the cell.
    Corrupt,
    /// No corruption, with enough exposures to mean something.
    Clean,
    /// Nothing: report what is seen.
    Any,
}

/// Where a round's guest comes from.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Warmth {
    /// One boot for all rounds: each goes on from a saved state, in a QEMU of its own.
    Warm,
    /// A boot of its own.
    #[default]
    Cold,
}

impl Warmth {
    /// As plans spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Cold => "cold",
        }
    }
}

/// Residual rate, as a share of the base's, that `fixed` must exclude where the plan does not say.
pub const RESIDUAL: f64 = 0.1;

/// What the verdict on a cell must reach and when its rounds may end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Significance of the verdict.
    pub alpha: f64,
    /// Smallest residual rate that matters, as a share of the base's.
    pub residual: f64,
    /// Rounds of either side before anything is known.
    pub min_rounds: u32,
    /// Rounds planned.
    pub rounds: u32,
    /// Stop as soon as the answer is known.
    pub sequential: bool,
    /// The verdict rests on exact tests over rounds and boots, and on the levels that were covered. False in older
    /// journals, which were run by a rule that asked for neither.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exact: bool,
}

impl Rule {
    /// The rule of an older run that names none: all rounds are used, and the verdict is judged at `alpha`.
    pub fn without_stopping(alpha: f64) -> Self {
        Self { alpha, residual: RESIDUAL, min_rounds: 1, rounds: 1, sequential: false, exact: false }
    }

    /// Significance of a difference between two rates that are both not zero; `last` says that no round is left.
    ///
    /// Such a test is looked at after every round of either side. The last look has half of alpha, and the other half is
    /// shared out equally among as many looks as there can be before it. Source: the inequality of C. E. Bonferroni,
    /// Pubblicazioni del R. Istituto Superiore di Scienze Economiche e Commerciali di Firenze 8 (1936) 3–62.
    pub fn ratio_alpha(&self, last: bool) -> f64 {
        match (self.sequential, self.exact && last) {
            (false, _) => self.alpha,
            (true, true) => self.alpha / 2.0,
            (true, false) => self.alpha / f64::from(2 * self.rounds.max(1)) / if self.exact { 2.0 } else { 1.0 },
        }
    }
}

/// Why a cell needs no more rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Its rate is known, and everything held against it is done.
    RateKnown,
    /// It is `fixed`.
    Fixed,
    /// It is `broken`.
    Broken,
    /// It is `reduced`.
    Reduced,
    /// It is `regressed`.
    Regressed,
    /// It corrupts about as often as the base: no number of rounds would make it a reduction or a regression that
    /// matters.
    StillCorrupts,
    /// The base used up its rounds without a corruption, so nothing can be learnt here.
    BaseClean,
    /// It runs the base's own code.
    IdenticalKernels,
    /// Rounds in a row brought no result.
    GivenUp,
}

impl Why {
    /// A few words for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::RateKnown => "its rate is known",
            Self::Fixed => "known to be fixed",
            Self::Broken => "known to be broken",
            Self::Reduced => "known to be reduced",
            Self::Regressed => "known to be regressed",
            Self::StillCorrupts => "known not to be fixed",
            Self::BaseClean => "the base stayed clean",
            Self::IdenticalKernels => "it runs the base's own code",
            Self::GivenUp => "given up: rounds in a row without a result",
        }
    }
}
