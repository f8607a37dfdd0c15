//! twinboot boots a kernel with and without a proposed patch and says, with numbers, whether the patch fixes the race.
//!
//! Data flows one way: [`plan`] → [`build`] → [`run`] over [`vm`] → [`journal`] → [`analysis`] → [`report`].
//! `docs/architecture.md` draws it.

pub mod analysis;
pub mod build;
pub mod cache;
mod causes;
pub mod cli;
pub mod crash;
pub mod diagram;
mod host;
pub mod interleave;
pub mod journal;
mod nofollow;
pub mod plan;
mod printable;
pub mod process;
pub mod report;
pub mod run;
pub mod simulation;
mod suggest;
pub mod vm;
