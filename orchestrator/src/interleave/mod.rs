//! Forces drawn interleavings on a running kernel, and sweeps a function for the points at which it can be cut into.
//!
//! [`Stage`] is one guest under the debugger whose test takes orders. [`play`] takes a drawing through one round on any
//! [`Scene`], and decides how it ended. [`run`] plays all rounds of one drawing on one kernel. None of it draws, prints or
//! journals: what happens is handed out as [`Entry`](crate::journal::Entry).

mod cell;
mod check;
mod error;
mod library;
mod play;
#[cfg(test)]
mod play_tests;
mod scene;
mod stage;
pub mod sweep;
mod usual;
mod waiting;

use crate::causes::chain;
pub use cell::{Task, run};
pub use check::{against_offer, operate};
pub use error::Error;
pub use library::{Library, Read};
pub use play::{Ended, Played, Script, play};
pub use scene::{Catch, End, Happening, Posture, Scene, Sight};
pub use stage::{Setting, Stage};
pub use usual::Usual;
pub use waiting::{Told, is_primitive, tell, waits_in};
