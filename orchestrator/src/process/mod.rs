//! Child processes that cannot be left behind: each in a process group of its own, ended TERM → grace → KILL.

mod group;
mod run;

pub use group::{Group, exit_text};
pub use run::{Error, Line, capture, stream};
