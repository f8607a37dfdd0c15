//! Whole runs of the twinboot binary with a fake QEMU: every way a round can end, interrupts, and the command line's own
//! refusals. No kernel, no network, no home folder.
//!
//! Rounds that come as far as a login have a real dropbear (package dropbear-bin) in namespaces of its own; where a user may
//! not make them, those tests say so on standard error and pass.

mod compare;
mod ends;
mod house;
mod login;
mod matrix;
mod overlap;
mod reproducer;
mod resume;
mod terminal;
mod warm;
mod whole;
