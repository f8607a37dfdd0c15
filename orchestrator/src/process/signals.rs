//! Dispositions of signals: which ones whoever started twinboot had it ignore, and an end by a closed pipe.

use std::io;

use nix::sys::signal::{SigHandler, Signal, raise, signal};

/// Whether `signal` is ignored now. Before a handler is installed that is what was inherited: nohup(1) has SIGHUP ignored, a
/// shell without job control has SIGINT and SIGQUIT ignored in what it runs in the background.
pub fn is_ignored(signal: Signal) -> io::Result<bool> {
    // SAFETY: a sigaction is plain data, for which zeros are a valid value.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: without a new action sigaction(2) only writes the present one, to where there is room for it.
    let done = unsafe { libc::sigaction(signal as libc::c_int, std::ptr::null(), &raw mut now) };
    if done == 0 { Ok(now.sa_sigaction == libc::SIG_IGN) } else { Err(io::Error::last_os_error()) }
}

/// Ends the process as a write to a closed pipe ends other programs: by SIGPIPE, which Rust's runtime has ignored, so that a
/// shell sees the usual status. Returns that status where the signal does not end it.
pub fn end_by_closed_pipe() -> u8 {
    // SAFETY: the default action runs no code of this process.
    let restored = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    let _ = restored.and_then(|_| raise(Signal::SIGPIPE));
    128 + Signal::SIGPIPE as u8
}
