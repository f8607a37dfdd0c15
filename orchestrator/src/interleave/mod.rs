//! Forces drawn interleavings on a running kernel, and sweeps a function for the points at which
//! preemption corrupts.
//!
//! [`GuestSession`] is one guest under the debugger whose test takes orders. [`run_round`] takes a
//! diagram through one round on any [`GuestControl`] and decides how it ended. [`run`] runs all
//! rounds of one interleaving on one kernel. Results leave this module as
//! [`Entry`](crate::journal::Entry).

mod cell;
mod check;
mod control;
mod error;
mod latency;
mod round;
mod session;
pub mod sweep;
mod symbol_cache;
mod test_process;
mod wait_state;

use crate::causes::chain;
pub use cell::{InterleaveTask, run};
pub use check::{against_offer, operate};
pub use control::{BreakAction, End, Event, GuestControl, TaskSnapshot, TaskState};
pub use error::Error;
pub use latency::OperationLatency;
pub use round::{RoundEnd, RoundResult, RoundSpec, run_round};
pub use session::{GuestSession, SessionSpec};
pub use symbol_cache::{LoadedSymbols, SymbolCache};
pub use wait_state::{WaitState, classify_wait, is_primitive, waits_in};
