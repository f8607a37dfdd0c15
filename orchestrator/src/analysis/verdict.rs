//! The verdict on one variant and the numbers it stands on. `docs/verdicts.md` tells how it is reached.

use super::coverage::Coverage;
use super::forced::ForcedComparison;
use super::numbers::{Evidence, EvidenceKind, Numbers};
use crate::analysis::stats::LnProb;

/// What can be said of a patched kernel next to its base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The base reproduced the race, the patched kernel was exposed to it often enough and nothing went wrong.
    Fixed,
    /// The patched kernel corrupts, and not significantly less.
    NotFixed,
    /// It corrupts significantly less, but it does.
    Reduced,
    /// It corrupts significantly more.
    Regressed,
    /// It crashed, hung or complained.
    Broken,
    /// The base did not corrupt anything, so there was nothing to fix.
    NotReproduced,
    /// Not enough is known; the reason says what is missing.
    Inconclusive,
    /// An A/A control: the same kernel twice, and no difference was found.
    NoDifference,
    /// An A/A control that failed: the same kernel twice, and the two sides differ. No verdict of such a host holds.
    Difference,
}

impl Verdict {
    /// The word as every report writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::NotFixed => "not-fixed",
            Self::Reduced => "reduced",
            Self::Regressed => "regressed",
            Self::Broken => "broken",
            Self::NotReproduced => "not-reproduced",
            Self::Inconclusive => "inconclusive",
            Self::NoDifference => "no-difference",
            Self::Difference => "difference",
        }
    }
}

/// Why this verdict and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// `fixed`: zero corruptions in enough exposures.
    CleanAndExposed,
    /// `not-fixed`: it corrupts.
    StillCorrupts,
    /// `reduced`: significantly fewer.
    FewerCorruptions,
    /// `regressed`: significantly more.
    MoreCorruptions,
    /// `broken`: the kernel died, hung or complained.
    KernelTrouble,
    /// `fixed`: no round failed, in enough rounds; of tests that count rounds.
    NoFailures,
    /// `not-fixed`: rounds still fail.
    StillFails,
    /// `reduced`: significantly fewer rounds fail.
    FewerFailures,
    /// `regressed`: significantly more rounds fail.
    MoreFailures,
    /// `not-reproduced`: the base is clean.
    BaseClean,
    /// `inconclusive`: a kernel could not be built.
    BuildFailed,
    /// `inconclusive`: both kernels run the same code.
    IdenticalKernels,
    /// `inconclusive`: a side has no round that counts.
    NoRounds,
    /// `inconclusive`: the base corrupted but was never seen to be exposed, so there is no rate to hold against.
    BaseUnexposed,
    /// `inconclusive`: the patched kernel never was exposed to the race.
    NoExposures,
    /// `inconclusive`: zero corruptions, but too few exposures for that to mean anything.
    NotEnoughExposures,
    /// `inconclusive`: zero corruptions, fewer than the base's, but so few exposures that the smallest residual rate
    /// that matters would have stayed unseen too often.
    ResidualNotExcluded,
    /// `inconclusive`: fewer rounds than the test over rounds needs to reach alpha.
    TooFewRounds,
    /// `inconclusive`: the boots do not show the difference, though so many could.
    TooFewBoots,
    /// `inconclusive`: clean, but at a level of a factor not often enough to exclude the residual rate there.
    NotCovered,
    /// `inconclusive`: rounds of the patched kernel were lost and might have hidden a failure.
    RoundsLost,
    /// `no-difference`: both sides of a control corrupt alike.
    SidesAgree,
    /// `difference`: they do not.
    SidesDiffer,
    /// `not-fixed`: a forced interleaving or a point of a sweep corrupts the patched kernel.
    ForcedCorruption,
    /// `broken`: the patched kernel died of a forced interleaving, and the base did not.
    ForcedCrash,
}

/// Two cells held against each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Cell id of the positive control.
    pub base: String,
    /// Cell id under judgement.
    pub patched: String,
    /// Both are the same kernel on purpose.
    pub control: bool,
    /// What can be said.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Significance asked for.
    pub alpha: f64,
    /// The numbers; absent where a side has no round that counts.
    pub numbers: Option<Numbers>,
    /// The evidence that decided, or the strongest there is where none did.
    pub evidence: Option<Evidence>,
    /// P-value of that evidence in the verdict's direction: that the patched rate is not lower, or for `regressed`,
    /// not higher. For a control, two-sided: that the rates are equal.
    pub p: Option<LnProb>,
    /// Clean exposures of the patched kernel still needed for `fixed`, where only those are missing.
    pub exposures_needed: Option<u64>,
    /// Rounds of each side still needed for `fixed`, should they be like those so far, where the rounds are too few.
    pub rounds_needed: Option<u64>,
    /// Which levels of which factors are covered.
    pub coverage: Coverage,
    /// What else a reader must know, one sentence each.
    pub caveats: Vec<String>,
    /// Forced interleavings and sweeps of the same kernel and variants, in any guest.
    pub forced: Vec<ForcedComparison>,
    /// What the races alone would have said, where forced evidence overruled them.
    pub by_races: Option<(Verdict, Reason)>,
    /// Where races and forced evidence do not fit together, one sentence each.
    pub contradictions: Vec<String>,
}

impl Comparison {
    /// Which evidence carried the verdict, where it is one that evidence carries.
    pub fn carried_by(&self) -> Option<EvidenceKind> {
        let statistical = matches!(self.verdict, Verdict::Fixed | Verdict::Reduced | Verdict::Regressed);
        self.evidence.filter(|_| statistical).map(|evidence| evidence.kind)
    }
}
