//! Forced interleavings and sweeps, folded by cell and compared.

mod diagram;
mod fold;
mod joined;
mod pair;
mod sweep;
#[cfg(test)]
mod tests;

pub use diagram::{ExclusionSeen, ForcedCounts, ForcedResult, ForcedState};
pub use pair::{ForcedComparison, ForcedVerdict};
pub use sweep::{PointResult, PointState, SweepCounts, SweepResult, Window};

pub(super) use fold::ForcedFold;
pub(super) use joined::join;
pub(super) use pair::pairs;
