//! What was seen: plain data, written to the journal as it happens and folded into results.

mod cell;
mod compare;
mod control;
pub mod entry;
pub mod exit;
pub mod forced;
mod journal;
mod load;
pub mod merge;
#[cfg(test)]
mod merge_tests;
mod numbers;
mod results;
pub mod stop;
#[cfg(test)]
mod stop_tests;
#[cfg(test)]
mod tests;
mod trouble;
mod verdict;

pub use cell::{BuildState, CellOutcome, CellResult, Met, Round, RoundState};
pub use entry::Entry;
pub use exit::exit_code;
pub use forced::{ForcedComparison, ForcedResult, ForcedVerdict, SweepResult};
pub use journal::{JournalError, journal_lines};
pub use load::Load;
pub use numbers::{Evidence, EvidenceKind, Numbers, Rate};
pub use results::Results;
pub use trouble::{Trouble, TroubleKind};
pub use verdict::{Comparison, Reason, Verdict};
