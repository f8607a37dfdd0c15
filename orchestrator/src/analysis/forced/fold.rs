//! The journal's entries of forced cells, put together by cell.

use std::collections::BTreeMap;

use super::{ForcedResult, SweepResult};
use crate::analysis::cell::BuildState;
use crate::journal::interleaving::{Forced, ForcedFailed, ForcedRound, ForcedSpec, SweepTraced, SweepTried};

/// What has been read so far.
#[derive(Debug, Default)]
pub(in crate::analysis) struct ForcedFold {
    cells: BTreeMap<String, Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    /// By (held, number): a round run again counts once.
    rounds: BTreeMap<(bool, u32), ForcedRound>,
    traced: Option<SweepTraced>,
    /// By address: a point tried again counts once.
    tried: BTreeMap<u64, SweepTried>,
    failures: Vec<ForcedFailed>,
}

impl ForcedFold {
    /// A round; a cell that could not be tried and now has one can be tried after all.
    pub(in crate::analysis) fn round(&mut self, round: ForcedRound) {
        let parts = self.cells.entry(round.cell.clone()).or_default();
        parts.failures.clear();
        parts.rounds.insert((round.held, round.round), round);
    }

    /// The points of a sweep; those of a run that was taken up again are found anew.
    pub(in crate::analysis) fn traced(&mut self, traced: SweepTraced) {
        let parts = self.cells.entry(traced.cell.clone()).or_default();
        parts.failures.clear();
        parts.traced = Some(traced);
    }

    /// What came of a point.
    pub(in crate::analysis) fn tried(&mut self, tried: SweepTried) {
        self.cells.entry(tried.cell.clone()).or_default().tried.insert(tried.address, tried);
    }

    /// A cell that could not be tried (any further).
    pub(in crate::analysis) fn failed(&mut self, failed: ForcedFailed) {
        let failures = &mut self.cells.entry(failed.cell.clone()).or_default().failures;
        if !failures.contains(&failed) {
            failures.push(failed);
        }
    }

    /// Results in the order of `specs`.
    pub(in crate::analysis) fn finish(
        mut self,
        specs: &[ForcedSpec],
        build: impl Fn(&ForcedSpec) -> BuildState,
    ) -> (Vec<ForcedResult>, Vec<SweepResult>) {
        let (mut forced, mut sweeps) = (Vec::new(), Vec::new());
        for spec in specs {
            let parts = self.cells.remove(&spec.id).unwrap_or_default();
            match spec.what {
                Forced::Diagram { .. } => {
                    let (rounds, controls) = parts.rounds.into_values().partition(|round| round.held);
                    forced.push(ForcedResult::new(spec.clone(), build(spec), rounds, controls, parts.failures));
                }
                Forced::Sweep { .. } => {
                    let Parts { traced, tried, failures, .. } = parts;
                    sweeps.push(SweepResult::new(spec.clone(), build(spec), traced, tried, failures));
                }
            }
        }
        // A drawing whose points some variant of a kernel has is right, whatever the others lack.
        for index in 0..forced.len() {
            let it = &forced[index];
            let lacks = it.failures.iter().any(|failed| failed.absent.is_some());
            if lacks && forced.iter().any(|other| resolved_for(it, other)) {
                forced[index].accept_absence();
            }
        }
        (forced, sweeps)
    }
}

/// Whether rounds of `other` show that its variant of the kernel has the points of the drawing.
fn resolved_for(it: &ForcedResult, other: &ForcedResult) -> bool {
    let (a, b) = (&it.spec, &other.spec);
    (&a.kernel, &a.guest, &a.name) == (&b.kernel, &b.guest, &b.name)
        && !(other.rounds.is_empty() && other.controls.is_empty())
}
