//! A forced cell of a patched kernel held against the same cell of its base.

use serde::{Deserialize, Serialize};

use super::{ForcedResult, SweepResult};
use crate::analysis::cell::BuildState;
use crate::journal::interleaving::{ForcedSpec, SweepPoint};

/// What a forced cell says of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForcedVerdict {
    /// The base corrupts or dies, the patched kernel does not: it excludes the drawn interleaving, or no legal point of
    /// the sweep corrupts.
    Closed,
    /// A sweep that is not complete: no point that was tried corrupts any more, but some were not.
    ClosedSoFar,
    /// The patched kernel's code does not have a point of the drawing at which the base corrupts, so it cannot follow
    /// the drawing. Nothing is known of the code that took the point's place.
    NotInKernel,
    /// The patched kernel lets the drawn interleaving happen, and it does no harm.
    Harmless,
    /// Fewer points of the sweep corrupt, but some do.
    Narrowed,
    /// The patched kernel corrupts, or dies of the drawn interleaving as the base does.
    NotClosed,
    /// The patched kernel died of it, the base did not.
    Broken,
    /// The base does not corrupt, nor die of the drawn interleaving: the drawing or the sweep does not hold this race.
    NotReproduced,
    /// Not enough is known.
    Inconclusive,
}

impl ForcedVerdict {
    /// The word as every report writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ClosedSoFar => "closed so far",
            Self::NotInKernel => "not in this kernel",
            Self::Harmless => "harmless",
            Self::Narrowed => "narrowed",
            Self::NotClosed => "not closed",
            Self::Broken => "broken",
            Self::NotReproduced => "not reproduced",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// Two forced cells held against each other.
#[derive(Debug, Clone, PartialEq)]
pub struct ForcedComparison {
    /// Id of the base's cell.
    pub base: String,
    /// Id of the cell under judgement.
    pub patched: String,
    /// Kernel name.
    pub kernel: String,
    /// Variant name of the base.
    pub base_variant: String,
    /// Variant name under judgement.
    pub patched_variant: String,
    /// Guest name.
    pub guest: String,
    /// Name of the interleaving or the sweep.
    pub name: String,
    /// It is a sweep.
    pub sweep: bool,
    /// What can be said.
    pub verdict: ForcedVerdict,
    /// Why it is inconclusive, as a clause; none where it is not.
    pub unclear: Option<&'static str>,
    /// A forced round or a point of the patched kernel corrupts.
    pub patched_corrupts: bool,
    /// One of the base does.
    pub base_corrupts: bool,
    /// Points of a sweep at which the patched kernel corrupts, in the victim's order.
    pub left: Vec<SweepPoint>,
}

/// Pairs each cell with that of its base: same kernel, guest and name.
pub(in crate::analysis) fn pairs(forced: &[ForcedResult], sweeps: &[SweepResult]) -> Vec<ForcedComparison> {
    let diagrams = forced.iter().filter_map(|patched| {
        let base = forced.iter().find(|base| is_base(&base.spec, &patched.spec))?;
        let (verdict, unclear) = told(diagram(base, patched));
        let corrupt = [base.corrupts(), patched.corrupts()];
        let told = Told { sweep: false, verdict, unclear, corrupt };
        Some(comparison(&base.spec, &patched.spec, told, Vec::new()))
    });
    let swept = sweeps.iter().filter_map(|patched| {
        let base = sweeps.iter().find(|base| is_base(&base.spec, &patched.spec))?;
        let corrupt = [base, patched].map(|it| it.counts.corrupt > 0);
        let left = patched.corrupting().map(|it| it.point.clone()).collect();
        let (verdict, unclear) = told(sweep(base, patched));
        Some(comparison(&base.spec, &patched.spec, Told { sweep: true, verdict, unclear, corrupt }, left))
    });
    diagrams.chain(swept).collect()
}

#[derive(Debug, Clone, Copy)]
struct Told {
    sweep: bool,
    verdict: ForcedVerdict,
    unclear: Option<&'static str>,
    /// Base, patched.
    corrupt: [bool; 2],
}

/// A verdict, or why there is none.
fn told(judged: Result<ForcedVerdict, &'static str>) -> (ForcedVerdict, Option<&'static str>) {
    match judged {
        Ok(verdict) => (verdict, None),
        Err(why) => (ForcedVerdict::Inconclusive, Some(why)),
    }
}

fn is_base(base: &ForcedSpec, patched: &ForcedSpec) -> bool {
    patched.base.as_ref() == Some(&base.variant)
        && (&base.kernel, &base.guest, &base.name) == (&patched.kernel, &patched.guest, &patched.name)
}

fn comparison(base: &ForcedSpec, patched: &ForcedSpec, told: Told, left: Vec<SweepPoint>) -> ForcedComparison {
    let [base_corrupts, patched_corrupts] = told.corrupt;
    ForcedComparison {
        base: base.id.clone(),
        patched: patched.id.clone(),
        kernel: patched.kernel.clone(),
        base_variant: base.variant.clone(),
        patched_variant: patched.variant.clone(),
        guest: patched.guest.clone(),
        name: patched.name.clone(),
        sweep: told.sweep,
        verdict: told.verdict,
        unclear: told.unclear,
        patched_corrupts,
        base_corrupts,
        left,
    }
}

const SAME_CODE: &str = "both kernels run the same code";
const NO_BASE_ROUND: &str = "no round of the base counts";
const NO_PATCHED_ROUND: &str = "no round of the patched kernel counts";

/// The rules for a drawn interleaving, in the order in which they decide. Lost rounds never count.
/// Fails with the reason for which nothing can be said.
fn diagram(base: &ForcedResult, patched: &ForcedResult) -> Result<ForcedVerdict, &'static str> {
    if same_code(&base.build, &patched.build) {
        return Err(SAME_CODE);
    }
    if base.held.judged() == 0 {
        return Err(if base.is_absent() { "the base's code does not have the drawn point" } else { NO_BASE_ROUND });
    }
    if patched.held.judged() == 0 && !patched.is_absent() {
        return Err(NO_PATCHED_ROUND);
    }
    let harmed = base.held.corrupt + base.held.crashed;
    if patched.crashes() && !base.crashes() {
        Ok(ForcedVerdict::Broken)
    } else if patched.corrupts() || (patched.held.crashed > 0 && base.held.crashed > 0) {
        Ok(ForcedVerdict::NotClosed)
    } else if harmed == 0 {
        Ok(ForcedVerdict::NotReproduced)
    } else if harmed < base.held.judged() {
        Err("the base comes to harm in some of its rounds only, so chance may have spared the patched kernel")
    } else if base.control.crashed > 0 {
        Err("the base dies without the hold too, so it is not the drawn order that kills it")
    } else if patched.crashes() {
        Err("the patched kernel dies without the hold")
    } else if patched.is_absent() {
        Ok(ForcedVerdict::NotInKernel)
    } else if patched.held.excluded > 0 {
        Ok(ForcedVerdict::Closed)
    } else {
        Ok(ForcedVerdict::Harmless)
    }
}

/// The same for a sweep.
fn sweep(base: &SweepResult, patched: &SweepResult) -> Result<ForcedVerdict, &'static str> {
    let (was, is) = (&base.counts, &patched.counts);
    if same_code(&base.build, &patched.build) {
        Err(SAME_CODE)
    } else if was.judged() == 0 {
        Err(NO_BASE_ROUND)
    } else if is.judged() == 0 {
        Err(NO_PATCHED_ROUND)
    } else if is.crashed > 0 && was.crashed == 0 {
        Ok(ForcedVerdict::Broken)
    } else if is.corrupt > 0 {
        // What is missing counts against the patch.
        let narrower = is.corrupt + is.missing() < was.corrupt;
        Ok(if narrower { ForcedVerdict::Narrowed } else { ForcedVerdict::NotClosed })
    } else if was.corrupt == 0 && base.complete {
        Ok(ForcedVerdict::NotReproduced)
    } else if was.corrupt == 0 {
        Err("no point of the base corrupts so far, and not all were tried")
    } else if is.crashed > 0 {
        Err("both kernels die at some point")
    } else if patched.complete {
        Ok(ForcedVerdict::Closed)
    } else {
        Ok(ForcedVerdict::ClosedSoFar)
    }
}

fn same_code(base: &BuildState, patched: &BuildState) -> bool {
    match (base, patched) {
        (BuildState::Built(a), BuildState::Built(b)) => !a.load_digest.is_empty() && a.load_digest == b.load_digest,
        _ => false,
    }
}
