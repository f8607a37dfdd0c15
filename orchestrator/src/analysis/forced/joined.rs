//! Statistical and forced evidence of one comparison, held side by side. `docs/verdicts.md` tells the rules.

use super::{ForcedComparison, ForcedVerdict};
use crate::analysis::cell::CellResult;
use crate::analysis::verdict::{Comparison, Reason, Verdict};

/// Gives `it` the forced evidence on the same kernel and variants, and lets it overrule the races where it must.
pub(in crate::analysis) fn join(
    it: &mut Comparison,
    (base, patched): (&CellResult, &CellResult),
    pairs: &[ForcedComparison],
) {
    // The two sides of a control are one kernel: nothing is forced on it to compare.
    if it.control {
        return;
    }
    let ours = |pair: &&ForcedComparison| {
        pair.kernel == patched.spec.kernel
            && pair.base_variant == base.spec.variant
            && pair.patched_variant == patched.spec.variant
    };
    it.forced = pairs.iter().filter(ours).cloned().collect();
    overrule(it, base);
    it.contradictions = contradictions(it, patched);
    let told: Vec<String> = it.forced.iter().filter_map(|pair| caveat(it, pair)).collect();
    it.caveats.extend(told);
}

fn overrule(it: &mut Comparison, base: &CellResult) {
    if matches!(it.reason, Reason::BuildFailed | Reason::IdenticalKernels) {
        return;
    }
    let corrupts = it.forced.iter().any(|pair| pair.patched_corrupts);
    let reproduced = base.corruptions_seen > 0 || it.forced.iter().any(|pair| pair.base_corrupts);
    let now = if it.forced.iter().any(|pair| pair.verdict == ForcedVerdict::Broken) && it.verdict != Verdict::Broken {
        (Verdict::Broken, Reason::ForcedCrash)
    } else if corrupts
        && reproduced
        && matches!(it.verdict, Verdict::Fixed | Verdict::Inconclusive | Verdict::NotReproduced)
    {
        (Verdict::NotFixed, Reason::ForcedCorruption)
    } else {
        return;
    };
    it.by_races = Some((it.verdict, it.reason));
    (it.verdict, it.reason) = now;
    it.exposures_needed = None;
}

fn contradictions(it: &Comparison, patched: &CellResult) -> Vec<String> {
    let mut found = Vec::new();
    if it.by_races.is_some_and(|(verdict, _)| verdict == Verdict::Fixed) {
        found.push(match it.reason {
            Reason::ForcedCrash => {
                "the races alone would say fixed, but the patched kernel dies of a forced interleaving".to_owned()
            }
            _ => "the races alone would say fixed, but the patched kernel corrupts when the interleaving is forced: they \
                  did not hit what it takes"
                .to_owned(),
        });
    }
    if patched.corruptions_seen > 0 {
        for pair in &it.forced {
            let shut = matches!(pair.verdict, ForcedVerdict::Closed | ForcedVerdict::Harmless);
            if shut && pair.sweep {
                found.push(format!(
                    "the races corrupt although no point of the sweep {} does: it happens by a way the sweep does not cover",
                    pair.name
                ));
            } else if shut {
                found.push(format!(
                    "the race also happens by a way the diagram does not draw: the races corrupt, {} is {}",
                    pair.name,
                    pair.verdict.word()
                ));
            }
        }
    }
    found
}

/// What a reader of the verdict must know of one piece of forced evidence, where it does not simply agree.
fn caveat(it: &Comparison, pair: &ForcedComparison) -> Option<String> {
    let what = if pair.sweep { "sweep" } else { "interleaving" };
    match pair.verdict {
        ForcedVerdict::NotReproduced if it.verdict == Verdict::Fixed => Some(format!(
            "the {what} {} does not corrupt the base when it is forced, so it is not what the races hit",
            pair.name
        )),
        ForcedVerdict::Closed | ForcedVerdict::Narrowed if it.verdict == Verdict::NotReproduced => Some(format!(
            "the {what} {} corrupts the base when it is forced: the race is there, the races did not hit it",
            pair.name
        )),
        ForcedVerdict::NotClosed if it.verdict == Verdict::NotReproduced => {
            Some(format!("the patched kernel corrupts when the {what} {} is forced, the base never did", pair.name))
        }
        ForcedVerdict::NotInKernel => Some(format!(
            "the patched kernel does not have the point at which the {what} {} holds: it rules that order out, and says \
             nothing of the code that took its place",
            pair.name
        )),
        ForcedVerdict::Inconclusive => Some(format!(
            "the {what} {} says nothing of this pair: {}",
            pair.name,
            pair.unclear.unwrap_or("too little is known")
        )),
        _ => None,
    }
}
