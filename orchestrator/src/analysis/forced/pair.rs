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
        let told =
            Told { sweep: false, verdict: diagram(base, patched), corrupt: [base.corrupts(), patched.corrupts()] };
        Some(comparison(&base.spec, &patched.spec, told, Vec::new()))
    });
    let swept = sweeps.iter().filter_map(|patched| {
        let base = sweeps.iter().find(|base| is_base(&base.spec, &patched.spec))?;
        let corrupt = [base, patched].map(|it| it.counts.corrupt > 0);
        let left = patched.corrupting().map(|it| it.point.clone()).collect();
        Some(comparison(&base.spec, &patched.spec, Told { sweep: true, verdict: sweep(base, patched), corrupt }, left))
    });
    diagrams.chain(swept).collect()
}

#[derive(Debug, Clone, Copy)]
struct Told {
    sweep: bool,
    verdict: ForcedVerdict,
    /// Base, patched.
    corrupt: [bool; 2],
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
        patched_corrupts,
        base_corrupts,
        left,
    }
}

/// The rules for a drawn interleaving, in the order in which they decide. Lost rounds never count.
fn diagram(base: &ForcedResult, patched: &ForcedResult) -> ForcedVerdict {
    if base.held.judged() == 0 || patched.held.judged() == 0 || same_code(&base.build, &patched.build) {
        return ForcedVerdict::Inconclusive;
    }
    let harmed = base.held.corrupt + base.held.crashed;
    if patched.crashes() && !base.crashes() {
        ForcedVerdict::Broken
    } else if patched.corrupts() || (patched.held.crashed > 0 && base.held.crashed > 0) {
        ForcedVerdict::NotClosed
    } else if harmed == 0 {
        ForcedVerdict::NotReproduced
    } else if harmed < base.held.judged() || base.control.crashed > 0 || patched.crashes() {
        // What the base does only now and then, the patched kernel may have been spared by chance. What kills a kernel
        // without the hold is not what is drawn.
        ForcedVerdict::Inconclusive
    } else if patched.held.excluded > 0 {
        ForcedVerdict::Closed
    } else {
        ForcedVerdict::Harmless
    }
}

/// The same for a sweep.
fn sweep(base: &SweepResult, patched: &SweepResult) -> ForcedVerdict {
    let (was, is) = (&base.counts, &patched.counts);
    if was.judged() == 0 || is.judged() == 0 || same_code(&base.build, &patched.build) {
        ForcedVerdict::Inconclusive
    } else if is.crashed > 0 && was.crashed == 0 {
        ForcedVerdict::Broken
    } else if is.corrupt > 0 {
        // What is missing counts against the patch.
        if is.corrupt + is.missing() < was.corrupt { ForcedVerdict::Narrowed } else { ForcedVerdict::NotClosed }
    } else if was.corrupt == 0 {
        if base.complete { ForcedVerdict::NotReproduced } else { ForcedVerdict::Inconclusive }
    } else if is.crashed > 0 {
        ForcedVerdict::Inconclusive
    } else if patched.complete {
        ForcedVerdict::Closed
    } else {
        ForcedVerdict::ClosedSoFar
    }
}

fn same_code(base: &BuildState, patched: &BuildState) -> bool {
    match (base, patched) {
        (BuildState::Built(a), BuildState::Built(b)) => !a.load_digest.is_empty() && a.load_digest == b.load_digest,
        _ => false,
    }
}
