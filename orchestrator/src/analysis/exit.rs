//! What the process that ran a plan says to the one that called it.

use super::cell::{BuildState, CellResult, Met};
use super::forced::ForcedVerdict;
use super::results::Results;
use super::verdict::Verdict;
use crate::journal::interleaving::ForcedFailed;

/// Every expectation was met.
pub const MET: u8 = 0;
/// An expectation was not met.
pub const NOT_MET: u8 = 1;
/// A drawn interleaving or a sweep names what its kernel does not have: the plan is wrong.
pub const PLAN: u8 = 2;
/// The infrastructure failed: a build, a boot, SSH.
pub const INFRASTRUCTURE: u8 = 3;
/// Nothing conclusive because of the infrastructure; worth a retry (`EX_TEMPFAIL` of sysexits.h).
pub const RETRY: u8 = 75;
/// Interrupted by a signal (128 + `SIGINT`, as shells have it).
pub const INTERRUPTED: u8 = 130;

/// The exit code for `results`: 0, 1, 2, 3, 75 or 130. Code 2 is mostly that of plans that never ran; here it is a drawn
/// interleaving or a sweep that its author must mend, which only the kernel's symbols could tell.
///
/// An expectation that came out wrong outweighs a wrong plan and a failing host; a wrong plan outweighs a failing host,
/// which no retry would cure; a failing host outweighs an expectation that is only undecided.
pub fn exit_code(results: &Results) -> u8 {
    let forced = || results.forced.iter().map(|it| it.met).chain(results.sweeps.iter().map(|it| it.met));
    let any = |met: Met| results.cells.iter().map(|cell| cell.met).chain(forced()).any(|it| it == met);
    let failures = || {
        let forced = results.forced.iter().flat_map(|it| &it.failures);
        forced.chain(results.sweeps.iter().flat_map(|it| &it.failures))
    };
    if results.interrupted() {
        INTERRUPTED
    } else if results.run.is_none() {
        INFRASTRUCTURE
    } else if any(Met::No) {
        NOT_MET
    } else if failures().any(|failed: &ForcedFailed| failed.plan) {
        PLAN
    } else if any(Met::Unmeasured) {
        // A build that fails or a guest that never comes up would do so again.
        let hopeless = |cell: &&CellResult| {
            matches!(cell.build, BuildState::Failed(_))
                || cell.counted_rounds() == 0 && cell.kernel_trouble().next().is_some()
        };
        let built = |build: &BuildState| !matches!(build, BuildState::Failed(_));
        let hopeful = results.cells.iter().find(hopeless).is_none()
            && failures().next().is_none()
            && results.forced.iter().all(|it| built(&it.build))
            && results.sweeps.iter().all(|it| built(&it.build));
        let conclusive = results.comparisons.iter().any(|it| it.verdict != Verdict::Inconclusive)
            || results.forced_comparisons.iter().any(|it| it.verdict != ForcedVerdict::Inconclusive)
            || results.cells.iter().any(|cell| cell.met == Met::Yes && results.comparisons.is_empty())
            || forced().any(|met| met == Met::Yes) && results.forced_comparisons.is_empty();
        if hopeful && !conclusive { RETRY } else { INFRASTRUCTURE }
    } else if any(Met::Undecided) {
        NOT_MET
    } else {
        MET
    }
}
