//! What goes into a session and what comes out of it: plain data.

use std::fmt;
use std::io;
use std::time::Duration;

/// Whom to be and whom to expect.
#[derive(Clone)]
pub struct Login {
    /// User in the guest.
    pub user: String,
    /// Private key, as a PEM text or in OpenSSH's format.
    pub private_key: String,
    /// Its public half, as a line of `authorized_keys`. Where it is absent it is worked out of the private one, for which that
    /// is decoded once more: with OpenSSL 3 as much work as the signature.
    pub public_key: Option<String>,
    /// The guest's public host key as it goes over the wire (RFC 4253, section 6.6): nothing else is accepted.
    pub host_key: Vec<u8>,
}

/// Why a session or a command could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answered in time; the reason is the last try's.
    #[error("the guest's SSH server on 127.0.0.1:{port} did not answer within {} s: {last}", after.as_secs_f64())]
    Deadline {
        /// Forwarded port.
        port: u16,
        /// How long it had.
        after: Duration,
        /// What the last try ended with.
        last: String,
    },
    /// Somebody else answered.
    #[error("whoever answers on 127.0.0.1:{port} is not the guest: its host key is {found}, expected {expected}")]
    HostKey {
        /// Forwarded port.
        port: u16,
        /// SHA-256 of the pinned key.
        expected: String,
        /// SHA-256 of the key that was shown.
        found: String,
    },
    /// The guest refused the key.
    #[error("the guest refused the key of user `{user}`: {reason}; is it in the image's authorized_keys?")]
    Login {
        /// User in the guest.
        user: String,
        /// What the library said.
        reason: String,
    },
    /// A command could not be started.
    #[error("cannot run `{command}` in the guest: {reason}")]
    Exec {
        /// Command line.
        command: String,
        /// What the library said.
        reason: String,
    },
    /// A command's output ended without its end.
    #[error("lost the guest while `{command}` ran: {reason}")]
    Lost {
        /// Command line.
        command: String,
        /// How it was noticed.
        reason: String,
    },
    /// This machine gave no socket or thread.
    #[error("cannot set up an SSH session")]
    Io(#[from] io::Error),
}

/// What a running command does. [`Event::Exit`] or [`Event::Lost`] is the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A line of standard output without its newline. The last one before the end may lack its newline.
    Out(Vec<u8>),
    /// The same of standard error.
    Err(Vec<u8>),
    /// The command ended.
    Exit(Exit),
    /// The guest is gone; all that had come from it was handed out before.
    Lost(String),
}

/// How a command in the guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// Exit status.
    Code(i32),
    /// Signal name without `SIG`.
    Signal(String),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(name) => write!(f, "signal SIG{name}"),
        }
    }
}

/// All that a command said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Standard output, lines ended by newlines.
    pub stdout: Vec<u8>,
    /// Standard error, lines ended by newlines.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub exit: Exit,
}
