//! What the guest's init is made of, in the order in which it uses it.

pub mod console;
pub mod header;
pub mod net;
pub mod seed;
pub mod ssh;
pub mod supervise;
pub mod swap;
pub mod system;

use crate::sys::SysError;

/// Why a guest can't be set up; its text follows [`twinboot_protocol::INIT_FATAL`].
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A system call failed.
    #[error(transparent)]
    Sys(#[from] SysError),
    /// The configuration isn't JSON of the expected shape.
    #[error("{path} is not a guest configuration")]
    Config {
        /// File that was read.
        path: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The configuration is of another protocol version.
    #[error("the guest configuration is of protocol version {found}, this init speaks {known}: rebuild the image")]
    Protocol {
        /// Version in the file.
        found: u64,
        /// Version of this init.
        known: u32,
    },
    /// Nobody can tell a paused guest to go on.
    #[error("{node} was closed before the host's order to go on came")]
    NoOrder {
        /// Device node.
        node: &'static str,
    },
    /// The kernel should have configured the network and didn't.
    #[error("eth0 has no address although the kernel was given `{option}`: is a network device attached?")]
    NoAddress {
        /// The `ip=` option.
        option: String,
    },
    /// A device isn't there.
    #[error("{node} is not there: the kernel needs {option}")]
    NoDevice {
        /// Device node or sysfs directory.
        node: String,
        /// Kernel option that brings it.
        option: &'static str,
    },
    /// The kernel lacks the compressor.
    #[error("zram doesn't offer the compressor `{wanted}`, only: {offered}")]
    NoCompressor {
        /// What the plan asks for.
        wanted: String,
        /// What `comp_algorithm` lists.
        offered: String,
    },
    /// The swap device can't be as large, or as small, as asked for.
    #[error("a swap device of {wanted} bytes on {node} is not possible: {why}")]
    SwapSize {
        /// Device node.
        node: String,
        /// Bytes asked for.
        wanted: u64,
        /// The limit that it breaks.
        why: String,
    },
    /// The SSH server ended.
    #[error("the SSH server {program} ended: {status}")]
    SshEnded {
        /// Its path.
        program: &'static str,
        /// How.
        status: String,
    },
    /// The SSH server doesn't listen.
    #[error("the SSH server {program} doesn't listen on port {port} after {seconds} s")]
    SshSilent {
        /// Its path.
        program: &'static str,
        /// TCP port.
        port: u16,
        /// How long it was waited for.
        seconds: u64,
    },
}
