//! KVM or software emulation: decided by a real boot, not by the existence of a device node.
//!
//! `/dev/kvm` can open, report its API version, create machines and still never run a guest (nested virtualisation that
//! is switched off half-way, a hypervisor that refuses model-specific registers). So the kernel under test is started on it
//! once, with the CPU model a round would use, and has to introduce itself on the console. What was seen is remembered
//! until something it depends on changes.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::run_dir::run_dir_parent;
use super::spec::{Accel, Spec};
use super::{Error, How, Vm};
use crate::cache::{Key, Kind};

/// How long the kernel may take to its first line. With KVM that is under 0.2 s.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// Where KVM is.
const DEVICE: &str = "/dev/kvm";

/// What the user asked for with `--accel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    /// KVM where it runs guests, software emulation elsewhere.
    #[default]
    Auto,
    /// KVM or an error.
    Kvm,
    /// Software emulation.
    Tcg,
}

/// What a run will use, for all of its rounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The accelerator.
    pub accel: Accel,
    /// For people: why it is not the one they may expect.
    pub notice: Option<String>,
    /// `7.2.22 (Debian …)`, from `--version`.
    pub qemu_version: String,
}

/// What a probe saw, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// A guest ran.
    usable: bool,
    /// In words, where it did not.
    reason: String,
}

/// Decides, booting `kernel` on KVM when the answer is not known yet. `cache_root` keeps the answer.
pub async fn decide(
    wanted: Wanted,
    qemu: &Path,
    kernel: &Path,
    cache_root: &Path,
    cancel: &CancellationToken,
) -> Result<Decision, Error> {
    decide_on(Path::new(DEVICE), wanted, qemu, kernel, cache_root, cancel).await
}

/// [`decide`] with another device node than `/dev/kvm`.
pub async fn decide_on(
    device: &Path,
    wanted: Wanted,
    qemu: &Path,
    kernel: &Path,
    cache_root: &Path,
    cancel: &CancellationToken,
) -> Result<Decision, Error> {
    let qemu_version = version(qemu, cancel).await?;
    let tcg = |notice| Ok(Decision { accel: Accel::Tcg, notice, qemu_version: qemu_version.clone() });
    if wanted == Wanted::Tcg {
        return tcg(None);
    }
    let seen = look(device, qemu, &qemu_version, kernel, cache_root, cancel).await?;
    match (seen.usable, wanted) {
        (true, _) => Ok(Decision { accel: Accel::Kvm, notice: None, qemu_version }),
        (false, Wanted::Kvm) => Err(Error::KvmUnusable { seen: seen.reason, hint: hint(device) }),
        (false, _) => {
            tcg(Some(format!("KVM is not usable, so guests run in software emulation (TCG): {}", seen.reason)))
        }
    }
}

/// QEMU's version without the words before it.
async fn version(qemu: &Path, cancel: &CancellationToken) -> Result<String, Error> {
    let mut command = Command::new(qemu);
    command.arg("--version");
    let text = crate::process::capture(command, cancel).await.map_err(|error| match error {
        crate::process::Error::Spawn { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Error::NotInstalled { qemu: qemu.to_path_buf() }
        }
        crate::process::Error::Interrupted { .. } => Error::Interrupted,
        other => Error::Process(other),
    })?;
    let first = text.lines().next().unwrap_or_default();
    Ok(first.strip_prefix("QEMU emulator version ").unwrap_or(first).trim().to_owned())
}

/// The remembered answer or a new one. What is cheap to see is looked at each time.
async fn look(
    device: &Path,
    qemu: &Path,
    qemu_version: &str,
    kernel: &Path,
    cache_root: &Path,
    cancel: &CancellationToken,
) -> Result<Seen, Error> {
    if let Err(error) = File::options().read(true).write(true).open(device) {
        let reason = format!("opening {} failed: {error}", device.display());
        return Ok(Seen { usable: false, reason });
    }
    let memory = memory_file(device, qemu, qemu_version, cache_root);
    if let Some(seen) = std::fs::read(&memory).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        return Ok(seen);
    }
    let seen = probe(qemu, kernel, cancel).await?;
    remember(&memory, &seen);
    Ok(seen)
}

/// The answer depends on this boot of this host, the device node, who asks, and QEMU.
fn memory_file(device: &Path, qemu: &Path, qemu_version: &str, cache_root: &Path) -> PathBuf {
    let read = |path: &str| std::fs::read(path).unwrap_or_default();
    let node =
        device.metadata().map(|meta| format!("{} {} {} {:o}", meta.rdev(), meta.ino(), meta.ctime(), meta.mode()));
    let key = Key::new()
        .part("boot", crate::host::boot_id().unwrap_or_default())
        .part("release", read("/proc/sys/kernel/osrelease"))
        .part("device", node.unwrap_or_default())
        .part("user", nix::unistd::geteuid().to_string())
        .part("qemu", qemu.as_os_str().as_encoded_bytes())
        .part("version", qemu_version)
        .finish();
    cache_root.join(Kind::Host.folder()).join(Kind::Host.entry(&key))
}

/// Best effort: without it the next run probes again.
fn remember(path: &Path, seen: &Seen) {
    let write = || {
        let dir = path.parent().unwrap_or(path);
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer(&mut file, seen)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok::<_, std::io::Error>(())
    };
    let _ = write();
}

/// Boots `kernel` without an initramfs on KVM. Its panic about the missing root is the expected end.
async fn probe(qemu: &Path, kernel: &Path, cancel: &CancellationToken) -> Result<Seen, Error> {
    let parent = run_dir_parent();
    let scratch =
        crate::process::run_dir::make(&parent).map_err(|source| Error::RunDir { parent: parent.clone(), source })?;
    let spec = Spec {
        qemu: qemu.to_path_buf(),
        accel: Accel::Kvm,
        kernel: kernel.to_path_buf(),
        initrd: None,
        incoming: None,
        cmdline: "loglevel=8".to_owned(),
        cpus: 1,
        memory: 256 << 20,
        network: false,
        gdb: false,
        start_deadline: PROBE_DEADLINE,
        console_log: scratch.path().join("console.log"),
        qemu_log: scratch.path().join("qemu.log"),
    };
    let tried = format!("tried `{} -accel kvm -cpu host` with {}", qemu.display(), kernel.display());
    let no = |saw: String| Seen { usable: false, reason: format!("{tried}: {saw}") };
    let mut vm = match Vm::start(&spec, &parent, cancel).await {
        Ok(vm) => vm,
        Err(Error::StartFailed { status, stderr, .. }) => {
            let said: Vec<&str> = stderr.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
            let said = if said.is_empty() { "nothing".to_owned() } else { format!("\"{}\"", said.join(" / ")) };
            return Ok(no(format!("QEMU ended with {status} and printed {said}")));
        }
        Err(Error::StartDeadline { after, .. }) => {
            return Ok(no(format!("QEMU's monitor did not answer within {} s", after.as_secs())));
        }
        Err(other) => return Err(other),
    };
    let runs = tokio::select! {
        runs = vm.kernel_runs(PROBE_DEADLINE) => runs,
        () = cancel.cancelled() => {
            vm.quit().await?;
            return Err(Error::Interrupted);
        }
    };
    let (tail, output) = (vm.console_tail(), vm.output_tail());
    let ended = vm.quit().await?;
    if runs {
        return Ok(Seen { usable: true, reason: String::new() });
    }
    let last =
        tail.last().map_or_else(|| "an empty console".to_owned(), |line| format!("the console ended at \"{line}\""));
    let end = match (ended.how, output.last()) {
        (How::ByItself, Some(said)) => format!("{} and printed \"{said}\"", ended.death),
        (How::ByItself, None) => ended.death.reason,
        (How::Quit | How::Signal, _) => format!("nothing more within {} s", PROBE_DEADLINE.as_secs()),
    };
    Ok(no(format!("the kernel did not introduce itself ({last}); {end}")))
}

fn hint(device: &Path) -> String {
    let mut hints = Vec::new();
    let open = File::options().read(true).write(true).open(device).map_err(|error| error.kind());
    match open {
        Err(std::io::ErrorKind::NotFound) => hints.push(format!(
            "there is no {}: load kvm_intel or kvm_amd, and switch virtualisation (VT-x, AMD-V) on in the firmware",
            device.display()
        )),
        Err(std::io::ErrorKind::PermissionDenied) => {
            hints.push(
                "add yourself to the group that owns it (`sudo usermod -aG kvm $USER`, then log in again)".to_owned(),
            );
        }
        _ => {}
    }
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
    if !has("vmx") && !has("svm") {
        let nested =
            "this CPU shows neither vmx nor svm: on a virtual machine, switch nested virtualisation on in its host";
        hints.push(nested.to_owned());
    }
    hints.push("or let twinboot choose with --accel auto, or ask for software emulation with --accel tcg".to_owned());
    hints.iter().map(|hint| format!("hint: {hint}")).collect::<Vec<_>>().join("\n")
}
