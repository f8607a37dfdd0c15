//! The journal folded into results, and results into verdicts. Pure.

#[cfg(test)]
mod by_rounds_tests;
mod cell;
mod compare;
mod control;
pub mod coverage;
#[cfg(test)]
mod coverage_tests;
pub mod exit;
pub mod forced;
mod numbers;
mod results;
mod round;
pub mod stats;
pub mod stop;
#[cfg(test)]
mod stop_tests;
#[cfg(test)]
pub(crate) mod tests;
mod trouble;
mod verdict;

pub use cell::{BuildState, CellOutcome, CellResult, Met};
pub use coverage::{Coverage, FactorCoverage, LevelCoverage, LevelState};
pub use exit::exit_code;
pub use forced::{ForcedComparison, ForcedResult, ForcedVerdict, SweepResult};
pub use numbers::{Evidence, EvidenceKind, Numbers, Rate, Units};
pub use results::Results;
pub use round::{Round, RoundState};
pub use trouble::{Trouble, TroubleKind};
pub use verdict::{Comparison, Reason, Verdict};
