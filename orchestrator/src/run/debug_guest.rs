//! A guest outside any run, for people to look into. It has the kernel, image and machine of a
//! round, but no test and no journal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::artifacts::Artifacts;
use super::executor::RoundTask;
use super::results_dir::failed;
use super::test_command::{command_line, quote};
use super::{Error, run_header};
use crate::build::initramfs::Keys;
use crate::journal::entry::RoundId;
use crate::plan::model::{Cell, Plan};
use crate::process;
use crate::vm::{self, Boot, Vm, ssh};
use crate::vm::{Logs, Machine, Origin};

/// A guest with a private folder for its logs and login files. Dropping it kills the guest.
pub struct DebugGuest {
    vm: Vm,
    task: RoundTask,
    /// Holds the run directory, so it must be dropped after the virtual machine.
    dir: TempDir,
}

impl DebugGuest {
    /// Starts a guest of `cell`, which stands on `artifacts`; `cmdline` is added to the kernel's command line.
    pub async fn start(
        plan: &Plan,
        cell: &Cell,
        artifacts: &Artifacts,
        cmdline: &str,
        cancel: &CancellationToken,
    ) -> Result<Self, Error> {
        let mut guest = run_header::guest(plan, cell).clone();
        guest.cmdline = format!("{cmdline} {}", guest.cmdline);
        let parent = vm::run_dir_parent();
        let dir = process::run_dir::make(&parent).map_err(|source| failed("make a folder in", &parent, source))?;
        let kernel = artifacts.kernels.get(&(cell.kernel.clone(), cell.variant.clone())).ok_or(Error::NothingBuilt)?;
        let image = artifacts.images.get(&guest.image).ok_or(Error::NothingBuilt)?;
        let task = RoundTask {
            id: RoundId { cell: cell.id.clone(), round: 0 },
            seed: rand::random_range(0..1 << 53),
            test: run_header::test(plan, cell).clone(),
            machine: Machine {
                kernel: kernel.clone(),
                image: image.clone(),
                keys: Arc::new(Keys::generate().map_err(Error::Keys)?),
                qemu: artifacts.qemu.clone(),
                accel: artifacts.accelerator.accel,
                guest,
            },
            folder: dir.path().to_path_buf(),
            snapshots: None,
            origin: Origin::default(),
        };
        let logs = Logs { console: dir.path().join("console.log"), qemu: dir.path().join("qemu.log") };
        let spec = task.machine.spec(task.seed, dir.path(), logs).map_err(Error::Seal)?;
        let vm = Vm::start(&spec, dir.path(), cancel).await.map_err(|error| match error {
            vm::Error::Interrupted => Error::Interrupted,
            error => Error::Guest(error),
        })?;
        Ok(Self { vm, task, dir })
    }

    /// Waits until the guest is ready, within the plan's deadline. Cancel safe.
    pub async fn ready(&mut self) -> Result<Boot, Error> {
        self.vm.ready(self.task.test.deadlines.boot).await.map_err(Error::Guest)
    }

    /// The machine.
    pub fn vm(&mut self) -> &mut Vm {
        &mut self.vm
    }

    /// The file that gets every byte of the console.
    pub fn console_log(&self) -> PathBuf {
        self.dir.path().join("console.log")
    }

    /// The command line of the cell's test.
    pub fn test_command(&self) -> String {
        command_line(&self.task.test, self.task.seed)
    }

    /// Logs in as root, within the plan's deadline.
    pub async fn log_in(&self) -> Result<ssh::Session, Error> {
        let login = self.task.machine.login().map_err(Error::Keys)?;
        ssh::connect(self.vm.ssh_port(), &login, self.task.test.deadlines.ssh).await.map_err(Error::Login)
    }

    /// Writes the private key and a `known_hosts` that holds this guest's key alone, and returns the arguments of ssh(1)
    /// for a login that reads nobody's configuration and trusts nobody else.
    pub fn ssh_arguments(&self) -> Result<Vec<String>, Error> {
        let (key, hosts) = (self.dir.path().join("key"), self.dir.path().join("known_hosts"));
        let port = self.vm.ssh_port();
        let line = self.task.machine.keys.host_public_line().map_err(Error::Keys)?;
        private(&key, self.task.machine.keys.user_private_pem().map_err(Error::Keys)?)?;
        private(&hosts, &format!("[127.0.0.1]:{port} {line}\n"))?;
        let file = |path: &Path| path.display().to_string();
        let words = ["-F", "/dev/null", "-i", &file(&key), "-p", &port.to_string()].map(str::to_owned);
        let options = [
            format!("UserKnownHostsFile={}", file(&hosts)),
            "GlobalKnownHostsFile=/dev/null".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "LogLevel=ERROR".to_owned(),
        ];
        let options = options.into_iter().flat_map(|option| ["-o".to_owned(), option]);
        Ok(words.into_iter().chain(options).chain(["root@127.0.0.1".to_owned()]).collect())
    }

    /// [`DebugGuest::ssh_arguments`] as a line for a shell.
    pub fn ssh_line(&self) -> Result<String, Error> {
        let words = self.ssh_arguments()?;
        Ok(std::iter::once("ssh".to_owned()).chain(words.iter().map(|word| quote(word))).collect::<Vec<_>>().join(" "))
    }

    /// Ends the guest at once and removes its folder.
    pub async fn end(self) -> Result<(), Error> {
        self.vm.quit().await.map_err(Error::Guest)?;
        let path = self.dir.path().to_path_buf();
        self.dir.close().map_err(|source| failed("remove", &path, source))
    }
}

/// Writes a file that only this user may read.
fn private(path: &Path, text: &str) -> Result<(), Error> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|source| failed("write", path, source))
}
