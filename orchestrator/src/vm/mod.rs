//! One virtual machine: QEMU as a child process, its monitor, its serial console and SSH into the guest.
//!
//! [`Spec`] says what to boot, [`args`](args::args) turns it into a command line and [`Vm`] lives its life. [`crate::crash`]
//! reads what the guest's kernel complained about, [`accel`] decides between KVM and software emulation.

pub mod accel;
pub mod args;
mod bounded;
mod console;
mod death;
mod error;
mod guest_logs;
mod guest_template;
mod log;
mod qemu;
mod qmp;
mod run_dir;
mod sandbox;
mod save;
mod snapshot;
mod spec;
pub mod ssh;

pub use death::{Death, DeathKind};
pub use error::Error;
pub use guest_logs::{GuestLogs, Logs};
pub use guest_template::Machine;
pub use qemu::{Boot, Ended, How, Vm};
pub use run_dir::{run_dir_parent, scratch_dir};
pub use save::Saved;
pub use snapshot::{Error as SnapshotError, Origin, Snapshot, Snapshots, Taken, milestones};
pub use spec::{Accel, START_DEADLINE, Spec};
