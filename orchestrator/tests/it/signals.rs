//! Signals of the programs that tests start.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::signal::{SigHandler, Signal, signal};

/// Has `command` start with the default action of the signals that end a program. A test may itself run with some of them
/// ignored, as in the background of a script, and twinboot heeds that.
pub fn with_default_actions(command: &mut Command) {
    let restore = || {
        for one in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
            // SAFETY: the default action runs no code of this process.
            unsafe { signal(one, SigHandler::SigDfl) }?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec it only calls sigaction(2), which is async-signal-safe (signal-safety(7)).
    unsafe { command.pre_exec(restore) };
}
