//! The rest of the init's life: reaping orphans until it is told to switch off.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

use super::{SetupError, ssh};
use crate::sys::SysError;
use crate::sys::signals::{self, Blocked};

/// Signals that mean "off": busybox's poweroff, halt and reboot send SIGUSR2, SIGUSR1 and SIGTERM to process 1, the kernel
/// SIGINT for Ctrl-Alt-Del.
const OFF: [libc::c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGUSR2];

/// Blocks every signal that [`until_told`] waits for. To be called before children are started, so that none is missed.
pub fn take_signals() -> Result<Blocked, SysError> {
    Blocked::new(&[OFF.as_slice(), &[libc::SIGCHLD]].concat())
}

/// Reaps children until a signal says to switch off. A server that ends by itself leaves a guest that nobody can reach:
/// an error.
pub fn until_told(signals: &Blocked, server: &Child) -> Result<(), SetupError> {
    loop {
        let signal = signals.wait();
        if OFF.contains(&signal) {
            return Ok(());
        }
        while let Some((pid, status)) = signals::reap() {
            if u32::try_from(pid) == Ok(server.id()) {
                let status = ExitStatus::from_raw(status).to_string();
                return Err(SetupError::SshEnded { program: ssh::PROGRAM, status });
            }
        }
    }
}
