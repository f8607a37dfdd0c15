//! twinboot boots a kernel with and without a proposed patch and says, with numbers, whether the patch fixes the race.
//!
//! Data flows one way: [`plan`] → [`kernel`] and [`image`] → [`runner`] over [`vm`] → [`outcome`] and [`stats`] →
//! [`report`]. `docs/architecture.md` draws it.

pub mod cache;
mod causes;
pub mod cli;
pub mod debugger;
pub mod diagram;
pub mod forced;
pub mod image;
pub mod kernel;
pub mod machine;
pub mod outcome;
pub mod plan;
pub mod process;
pub mod report;
pub mod runner;
pub mod simulation;
pub mod stats;
pub mod symbols;
pub mod vm;
pub mod yaml;
