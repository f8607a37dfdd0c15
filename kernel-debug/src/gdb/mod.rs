//! Looking into a running guest and taking hold of its threads, through QEMU's gdb stub.
//!
//! [`Debugger`] is the handle of a task that owns the connection. The layers below it: `packet` (bytes), `gdb` (requests),
//! `guest` (a kernel's tasks), `actor` (watches and holds). What single-steps a thread while all others stand builds on
//! `Guest` beside `actor`: `Gdb::step(thread)` moves one virtual CPU by one instruction, `Guest::current` and
//! `Guest::standing` say whose it is and whether sleep is legal there, `Actor::step_off` leaves a breakpoint.

mod actor;
mod client;
#[cfg(test)]
mod fake;
mod guest;
mod handle;
mod packet;
mod task;
#[cfg(test)]
mod tests;
mod trace;

pub use guest::Registers;
pub use guest::StackImage;
pub use handle::Error;
pub use handle::{Debugger, Event, Hit, OnHit, Options, Watch};
pub use task::Standing;
pub use task::{Seen, State};
pub use trace::{Guide, Trace};
