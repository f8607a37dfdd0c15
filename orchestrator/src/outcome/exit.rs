//! What the process that ran a plan says to the one that called it.

use super::cell::{BuildState, CellResult, Met};
use super::results::Results;
use super::verdict::Verdict;

/// Every expectation was met.
pub const MET: u8 = 0;
/// An expectation was not met.
pub const NOT_MET: u8 = 1;
/// The infrastructure failed: a build, a boot, SSH.
pub const INFRASTRUCTURE: u8 = 3;
/// Nothing conclusive because of the infrastructure; worth a retry (`EX_TEMPFAIL` of sysexits.h).
pub const RETRY: u8 = 75;
/// Interrupted by a signal (128 + `SIGINT`, as shells have it).
pub const INTERRUPTED: u8 = 130;

/// The exit code for `results`: 0, 1, 3, 75 or 130. Code 2 belongs to plans that never ran.
///
/// An expectation that came out wrong outweighs a failing host; a failing host outweighs one that is only undecided.
pub fn exit_code(results: &Results) -> u8 {
    let any = |met: Met| results.cells.iter().any(|cell| cell.met == met);
    if results.interrupted() {
        INTERRUPTED
    } else if results.run.is_none() {
        INFRASTRUCTURE
    } else if any(Met::No) {
        NOT_MET
    } else if any(Met::Unmeasured) {
        // A build that fails or a guest that never comes up would do so again.
        let hopeless = |cell: &&CellResult| {
            matches!(cell.build, BuildState::Failed(_))
                || cell.counted_rounds() == 0 && cell.kernel_trouble().next().is_some()
        };
        let hopeful = results.cells.iter().find(hopeless).is_none();
        let conclusive = results.comparisons.iter().any(|it| it.verdict != Verdict::Inconclusive)
            || results.cells.iter().any(|cell| cell.met == Met::Yes && results.comparisons.is_empty());
        if hopeful && !conclusive { RETRY } else { INFRASTRUCTURE }
    } else if any(Met::Undecided) {
        NOT_MET
    } else {
        MET
    }
}
