//! Pure statistics: no type of the plan, the journal or the reports is known here. Each function names its source.
//!
//! Probabilities that matter to a verdict are far below what a `f64` holds (0.5^8529), so every tail is computed and
//! carried as a natural logarithm, [`LnProb`].

mod beta;
pub mod cluster;
pub mod dispersion;
pub mod fisher;
pub mod interval;
pub mod permutation;
mod pmf;
mod prob;
pub mod ratio;
mod root;
pub mod survival;
pub mod tail;
#[cfg(test)]
mod tests;

pub use prob::LnProb;
