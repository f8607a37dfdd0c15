//! Signals as something to wait for: [sigaction(2)](https://man7.org/linux/man-pages/man2/sigaction.2.html),
//! [sigwaitinfo(2)](https://man7.org/linux/man-pages/man2/sigwaitinfo.2.html),
//! [waitpid(2)](https://man7.org/linux/man-pages/man2/waitpid.2.html).

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{SysError, check};

static ASKED_TO_STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: libc::c_int) {
    ASKED_TO_STOP.store(true, Ordering::Relaxed);
}

/// Notes SIGINT, SIGTERM and SIGHUP (a closed session) instead of dying from them; [`asked_to_stop`] then says so.
pub fn note_stop_signals() -> Result<(), SysError> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: an all-zero sigaction is valid: no flags, empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = note as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        let result = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
        check(result, "sigaction", format!("signal {signal}"))?;
    }
    Ok(())
}

/// Whether one of the signals came.
pub fn asked_to_stop() -> bool {
    ASKED_TO_STOP.load(Ordering::Relaxed)
}

/// A set of signals that the process takes only by waiting for them.
#[derive(Clone, Copy)]
pub struct Blocked(libc::sigset_t);

impl Blocked {
    /// Blocks `signals` for the calling thread and the threads and children it starts later.
    pub fn new(signals: &[libc::c_int]) -> Result<Self, SysError> {
        // SAFETY: an all-zero sigset_t is overwritten by sigemptyset before any use.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is a valid signal set; invalid signal numbers are refused, not undefined.
        unsafe {
            libc::sigemptyset(&raw mut set);
            for &signal in signals {
                libc::sigaddset(&raw mut set, signal);
            }
        }
        // SAFETY: `set` is initialised; the old mask is not asked for.
        let result = unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        check(result, "sigprocmask", "the signals of init")?;
        Ok(Self(set))
    }

    /// Waits for the next signal of the set and returns its number.
    pub fn wait(&self) -> libc::c_int {
        loop {
            // SAFETY: the set is initialised; the siginfo is not asked for.
            let signal = unsafe { libc::sigwaitinfo(&raw const self.0, std::ptr::null_mut()) };
            if signal > 0 {
                return signal;
            }
        }
    }

    /// Lets `command`'s process start with nothing blocked: the mask would be inherited through execve(2).
    pub fn unblock_in(self, command: &mut Command) {
        let set = self.0;
        // SAFETY: sigprocmask(2) is async-signal-safe and changes only the child.
        unsafe {
            command.pre_exec(move || {
                libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
                Ok(())
            });
        }
    }
}

/// One ended child, if there is one: its process id and raw wait status.
pub fn reap() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: `status` is valid for the kernel to fill.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}
