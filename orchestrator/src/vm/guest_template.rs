//! A guest of a plan as it can be started again and again: shape, kernel, image, and who may log in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use twinboot_protocol::{GuestConfig, SwapConfig};

use super::Logs;
use crate::build::BuiltKernel;
use crate::build::initramfs::{self, Image, Keys};
use crate::plan::model::{Guest, Swap};
use crate::vm::{self, Accel, ssh};

/// Everything that a guest is made from, resolved.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Guest shape.
    pub guest: Guest,
    /// Kernel.
    pub kernel: BuiltKernel,
    /// Image.
    pub image: Image,
    /// SSH keys of the run.
    pub keys: Arc<Keys>,
    /// QEMU.
    pub qemu: PathBuf,
    /// Accelerator.
    pub accel: Accel,
}

impl Machine {
    /// Makes the guest's own initramfs in `scratch`, with `seed` for its entropy pool, and says what to boot: without
    /// a debugger.
    pub fn spec(&self, seed: u64, scratch: &Path, logs: Logs) -> Result<vm::Spec, initramfs::Error> {
        Ok(self.booted_from(Some(self.seal(&self.config(seed, false), scratch)?), logs))
    }

    /// What the init is told.
    pub(super) fn config(&self, seed: u64, pause: bool) -> GuestConfig {
        GuestConfig {
            protocol: twinboot_protocol::VERSION,
            swap: self.guest.swap.as_ref().map(|swap| match swap {
                Swap::Zram { size, algorithm } => SwapConfig::Zram { size: *size, algorithm: algorithm.clone() },
                Swap::Brd { size } => SwapConfig::Brd { size: *size },
            }),
            sysctl: self.guest.sysctl.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            seed,
            pause,
        }
    }

    /// Makes the guest's own initramfs in `scratch`.
    pub(super) fn seal(&self, config: &GuestConfig, scratch: &Path) -> Result<PathBuf, initramfs::Error> {
        let initrd = scratch.join("initrd");
        initramfs::seal(&self.image, config, &self.keys, &initrd)?;
        Ok(initrd)
    }

    /// What to start, with this initramfs.
    pub(super) fn booted_from(&self, initrd: Option<PathBuf>, logs: Logs) -> vm::Spec {
        vm::Spec {
            qemu: self.qemu.clone(),
            accel: self.accel,
            kernel: self.kernel.boot.clone(),
            initrd,
            incoming: None,
            cmdline: self.guest.cmdline.clone(),
            cpus: self.guest.cpus,
            memory: self.guest.memory,
            network: true,
            gdb: false,
            start_deadline: vm::START_DEADLINE,
            console_log: logs.console,
            qemu_log: logs.qemu,
        }
    }

    /// Whom to be in the guest and whom to expect there.
    pub fn login(&self) -> Result<ssh::Login, initramfs::Error> {
        login(&self.keys)
    }
}

/// Whom to be in a guest with these keys and whom to expect there.
pub(super) fn login(keys: &Keys) -> Result<ssh::Login, initramfs::Error> {
    Ok(ssh::Login {
        user: "root".to_owned(),
        private_key: keys.user_private_pem()?.to_owned(),
        public_key: Some(keys.user_authorized_line()?.to_owned()),
        host_key: keys.host_public_blob(),
    })
}
