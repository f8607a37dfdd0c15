//! What a debugger needs to know of a kernel, and to do to its threads.
//!
//! [`Symbols`] reads a vmlinux: functions, instructions, source lines, structures, stack frames.
//! [`Debugger`] is a client of QEMU's gdb stub that stops, holds, freezes and inspects the threads of
//! a running guest. Neither knows what is debugged, or why.

mod frame;
pub mod gdb;
mod layout;
mod point;
pub mod symbols;

pub use frame::Frame;
pub use gdb::Debugger;
pub use layout::{Layout, TaskLayout};
pub use point::{Names, Point};
pub use symbols::Symbols;
