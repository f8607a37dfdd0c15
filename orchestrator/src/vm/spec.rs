//! What to boot, as plain data.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A sensible [`Spec::start_deadline`]: QEMU itself takes 60 ms, a busy host longer.
pub const START_DEADLINE: Duration = Duration::from_secs(15);

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accel {
    /// The host's CPU, through `/dev/kvm`.
    Kvm,
    /// QEMU's translator, one host thread for each virtual CPU.
    Tcg,
}

impl Accel {
    /// `kvm` or `tcg`, as summaries spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// QEMU's system emulator: a path, or a name that is looked up in `$PATH`.
    pub qemu: PathBuf,
    /// What executes the guest.
    pub accel: Accel,
    /// `vmlinux` with a PVH entry (`CONFIG_PVH`, boots about 0.15 s sooner in software emulation) or `bzImage`.
    pub kernel: PathBuf,
    /// Initramfs; without one the kernel ends in its "unable to mount root" panic.
    pub initrd: Option<PathBuf>,
    /// Saved state to go on from, in place of a boot: what [`Vm::save`](super::Vm::save) wrote for a machine of the same
    /// shape. The initramfs is then in memory already.
    pub incoming: Option<PathBuf>,
    /// Added behind twinboot's own kernel command line, so that it has the last word.
    pub cmdline: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Guest memory in bytes, a multiple of 1 MiB.
    pub memory: u64,
    /// A network card with the guest's port 22 forwarded to a free loopback port.
    pub network: bool,
    /// QEMU's gdb stub on a socket of the run directory ([`Vm::gdb`](super::Vm::gdb)), and a kernel at the addresses its
    /// `vmlinux` names (`nokaslr`).
    pub gdb: bool,
    /// From the start of QEMU to the end of its monitor's handshake; see [`START_DEADLINE`].
    pub start_deadline: Duration,
    /// Keeps every byte of the serial console.
    pub console_log: PathBuf,
    /// Keeps QEMU's command line, its own output and monitor events.
    pub qemu_log: PathBuf,
}
