//! The kernel facilities that guest tests and the init use, one file each, every `unsafe` block of the crate among them.

pub mod block;
pub mod child;
pub mod clock;
pub mod entropy;
pub mod epoll;
pub mod guarded;
pub mod memory;
pub mod mount;
pub mod netif;
pub mod pagemap;
pub mod power;
pub mod sched;
pub mod signals;
pub mod swaps;
pub mod timerfd;
pub mod uname;

use std::ffi::CString;
use std::io;

/// A system call that failed: which, on what; the kernel's reason is its source.
#[derive(Debug, thiserror::Error)]
#[error("{call} on {subject} failed")]
pub struct SysError {
    /// Name of the call as its man page has it.
    pub call: &'static str,
    /// What it was called on.
    pub subject: String,
    /// Why.
    pub source: io::Error,
}

impl SysError {
    /// An error with `errno` as its reason.
    pub fn last(call: &'static str, subject: impl Into<String>) -> Self {
        Self::new(call, subject, io::Error::last_os_error())
    }

    /// An error with a reason that is already known.
    pub fn new(call: &'static str, subject: impl Into<String>, source: io::Error) -> Self {
        Self { call, subject: subject.into(), source }
    }
}

/// Turns the `-1` convention of system calls into a [`Result`].
fn check(result: libc::c_int, call: &'static str, subject: impl Into<String>) -> Result<libc::c_int, SysError> {
    if result < 0 { Err(SysError::last(call, subject)) } else { Ok(result) }
}

/// `text` for the kernel; a NUL inside is the caller's mistake and is reported as `EINVAL`.
fn c_string(text: &str, call: &'static str) -> Result<CString, SysError> {
    CString::new(text).map_err(|_| SysError::new(call, text, io::Error::from_raw_os_error(libc::EINVAL)))
}

/// Reads a small file of procfs or sysfs.
pub fn read(path: &str) -> Result<String, SysError> {
    std::fs::read_to_string(path).map_err(|source| SysError::new("read", path, source))
}

/// Writes `value` to a file of procfs or sysfs in one write(2), as those files want it.
pub fn write(path: &str, value: &str) -> Result<(), SysError> {
    std::fs::write(path, value)
        .map_err(|source| SysError::new("write", format!("{path} (value {:?})", value.trim_end()), source))
}
