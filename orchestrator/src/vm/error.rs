//! Why a machine could not be started, booted or ended.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::death::Death;

/// Why a machine could not be started, booted or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No folder for the machine's sockets.
    #[error("cannot make a private run directory in `{}`; set XDG_RUNTIME_DIR or TMPDIR to a folder you may write to", parent.display())]
    RunDir {
        /// Folder it was to be made in.
        parent: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A unix socket's path holds little more than 100 bytes.
    #[error("the socket path `{}` is longer than {max} bytes; set XDG_RUNTIME_DIR or TMPDIR to a folder with a shorter path", path.display())]
    RunDirTooLong {
        /// Path that was needed.
        path: PathBuf,
        /// Most bytes it may have.
        max: usize,
    },
    /// A file or socket operation failed.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// QEMU is not there.
    #[error("cannot find `{}`; install QEMU's x86 system emulator (Debian and Ubuntu: qemu-system-x86, Fedora: qemu-system-x86-core, Arch: qemu-system-x86) or name it with --qemu", qemu.display())]
    NotInstalled {
        /// Program as it was named.
        qemu: PathBuf,
    },
    /// QEMU is there and could not be executed.
    #[error("cannot start `{}`", qemu.display())]
    Spawn {
        /// Program as it was named.
        qemu: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// QEMU ended before its monitor answered.
    #[error("QEMU ended with {status} before its monitor answered{}\nit was started as:\n  {command}", block(.stderr))]
    StartFailed {
        /// How it ended, in words.
        status: String,
        /// The last lines of its standard error.
        stderr: Vec<String>,
        /// The whole command line, quoted for a shell.
        command: String,
    },
    /// QEMU runs and its monitor never answered.
    #[error("QEMU's monitor did not answer within {} s{}\nit was started as:\n  {command}", after.as_secs_f64(), block(.stderr))]
    StartDeadline {
        /// How long it had.
        after: Duration,
        /// The last lines of its standard error.
        stderr: Vec<String>,
        /// The whole command line, quoted for a shell.
        command: String,
    },
    /// The monitor refused, or broke off.
    #[error("QEMU's monitor failed at {action}: {reason}")]
    Monitor {
        /// Command or step.
        action: &'static str,
        /// What it said.
        reason: String,
    },
    /// The monitor's account of the user network names no forwarded port.
    #[error("QEMU forwards no port to the guest's port 22; `info usernet` said:\n{answer}")]
    NoForwardedPort {
        /// Its answer.
        answer: String,
    },
    /// A debugger was asked for and the machine was started without one.
    #[error("QEMU was started without its gdb stub; boot the guest with it")]
    NoDebugger,
    /// The guest did not come up in time.
    #[error("the guest was not ready {} s after its start{}", after.as_secs_f64(), last_lines(.console))]
    BootDeadline {
        /// How long it had.
        after: Duration,
        /// The last lines of its console.
        console: Vec<String>,
    },
    /// The guest's init gave up.
    #[error("the guest's init gave up: {reason}{}", last_lines(.console))]
    InitFatal {
        /// What it said.
        reason: String,
        /// The last lines of the console.
        console: Vec<String>,
    },
    /// The guest or QEMU ended before the guest was ready.
    #[error("the guest died while booting: {death}{}", last_lines(.console))]
    BootDied {
        /// How.
        death: Death,
        /// The last lines of the console.
        console: Vec<String>,
    },
    /// KVM was asked for by name and no guest runs on it.
    #[error("KVM is not usable: {seen}\n{hint}")]
    KvmUnusable {
        /// What was tried and seen.
        seen: String,
        /// What to do about it.
        hint: String,
    },
    /// A helper command failed.
    #[error(transparent)]
    Process(#[from] crate::process::Error),
    /// twinboot was interrupted.
    #[error("interrupted")]
    Interrupted,
}

fn block(lines: &[String]) -> String {
    if lines.is_empty() { "; it printed nothing".to_owned() } else { indented(lines) }
}

fn last_lines(lines: &[String]) -> String {
    if lines.is_empty() {
        return "; its console stayed empty".to_owned();
    }
    format!("; the last lines of its console:{}", indented(lines))
}

fn indented(lines: &[String]) -> String {
    lines.iter().flat_map(|line| ["\n  ", line]).collect()
}
