//! Warm clones: a guest is booted, saved when it is set up, and rounds go on from there in a QEMU of their own. A cell has
//! several such boots, which its rounds take by turns: what a boot leaves to chance is then no trait of the cell.
//!
//! ```text
//! cold   start ─▶ kernel ─▶ init ─▶ swap ─▶ ssh ─▶ paused ─▶ saved in the cache
//! round                                            restored ─▶ woken with a seed of its own ─▶ ready
//! ```
//!
//! A snapshot is used for the very machine it was taken of: kernel and variant, image, guest shape, QEMU, accelerator, the
//! host's own boot and the seed of the guest's are its key. Its bytes are compared with their digest before the first clone, and a clone must come to life and show
//! the host key that was made for it; one that fails in any of this is thrown away and taken anew, once.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use twinboot_protocol::INIT_PAUSED;

use super::{GuestLogs, Logs, Machine};
use crate::build::initramfs::{self, Keys};
use crate::cache::{self, Cache, Key, Kind, Limits, Lock};
use crate::process;
use crate::vm::{self, Boot, Vm, ssh};

/// Part of every key: goes up when snapshots are taken in another way.
const RECIPE: &str = "3";

/// Snapshots of one machine that may fail in a run before its rounds boot cold.
const PATIENCE: u32 = 2;

/// Bytes of snapshots that stay in the cache: some twenty runs of a small guest in four boots of two kernels.
const KEPT_BYTES: u64 = 2 << 30;

const STATE: &str = "state";
const META: &str = "meta.json";

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The guest to be saved could not be started, booted or saved.
    #[error(transparent)]
    Guest(#[from] vm::Error),
    /// Its initramfs or its keys could not be made.
    #[error(transparent)]
    Image(#[from] initramfs::Error),
    /// The cache could not serve.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// A file of the snapshot could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What is in the cache is not what was put there.
    #[error("the snapshot `{}` is damaged: {reason}", dir.display())]
    Damaged {
        /// Its folder.
        dir: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// Too many of them failed.
    #[error("{PATIENCE} snapshots of this guest were of no use; the last one: {reason}")]
    GivenUp {
        /// Why the last one was thrown away.
        reason: String,
    },
}

/// Which boot of a machine is saved. Others of the same machine differ in all that a boot leaves to chance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// Number among the boots that a cell's rounds take by turns, from 1.
    pub number: u32,
    /// Seed of its entropy pool; the same for the boot of the same number of every variant.
    pub seed: u64,
}

/// A saved guest.
#[derive(Debug)]
pub struct Snapshot {
    /// What a clone goes on from.
    state: PathBuf,
    /// Who may log in to the clones, and who they are.
    keys: Keys,
    key: String,
    /// Keeps `twinboot clean` from taking the files away.
    _in_use: Option<Arc<Lock>>,
}

/// How a snapshot came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// It was there from an earlier run.
    pub cached: bool,
    /// Seconds it took to boot the guest, save it and end it, whenever that was.
    pub seconds: f64,
    /// Size of the saved state in bytes.
    pub bytes: u64,
    /// The boot's milestones: (what was reached, seconds from QEMU's start).
    pub boot: Vec<(String, f64)>,
    /// Why one that was in the cache already was thrown away.
    pub replaced: Option<String>,
}

/// What is kept beside the state.
#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    bytes: u64,
    sha256: String,
    seconds: f64,
    boot: Vec<(String, f64)>,
}

/// The snapshots of one run. Each is looked for, and taken where it is missing, when the first round needs it.
#[derive(Debug)]
pub struct Snapshots {
    cache: Cache,
    slots: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Slot>>>>,
}

/// What is known of the snapshot with one key.
#[derive(Debug, Default)]
struct Slot {
    snapshot: Option<Arc<Snapshot>>,
    failures: u32,
    reason: String,
}

impl Snapshots {
    /// Keeps snapshots in `cache`.
    pub fn new(cache: Cache) -> Self {
        Self { cache, slots: Mutex::default() }
    }

    /// The snapshot of this boot of `machine`; with it, the first time it is asked for, how it came about. A guest that has to be booted
    /// for it has until `deadline` to be set up and writes to `logs`. Others that need the same one wait.
    pub async fn get(
        &self,
        machine: &Machine,
        origin: Origin,
        logs: &GuestLogs,
        deadline: Duration,
        cancel: &CancellationToken,
    ) -> Result<(Arc<Snapshot>, Option<Taken>), Error> {
        let key = key(machine, origin)?;
        let slot = self.slot(&key);
        let mut slot = slot.lock().await;
        if let Some(snapshot) = &slot.snapshot {
            return Ok((snapshot.clone(), None));
        }
        if slot.failures >= PATIENCE {
            return Err(Error::GivenUp { reason: slot.reason.clone() });
        }
        match self.find(&key, (machine, origin), logs, deadline, cancel).await {
            Ok((snapshot, taken)) => {
                let snapshot = Arc::new(snapshot);
                slot.snapshot = Some(snapshot.clone());
                Ok((snapshot, Some(taken)))
            }
            Err(error) => {
                // A guest that does not boot is for the rounds to report, each booted cold.
                slot.failures = PATIENCE;
                slot.reason = crate::causes::chain(&error);
                Err(error)
            }
        }
    }

    /// Throws away a snapshot whose clone did not come to life, for `reason`. The next [`Snapshots::get`] takes a new one,
    /// or has had enough: false.
    pub async fn invalidate(
        &self,
        snapshot: &Arc<Snapshot>,
        reason: &str,
        cancel: &CancellationToken,
    ) -> Result<bool, Error> {
        let slot = self.slot(&snapshot.key);
        let mut slot = slot.lock().await;
        // Another round may have been here with the same one.
        if slot.snapshot.as_ref().is_some_and(|known| Arc::ptr_eq(known, snapshot)) {
            slot.snapshot = None;
            slot.failures += 1;
            reason.clone_into(&mut slot.reason);
            self.cache.discard(Kind::Snapshots, &snapshot.key, cancel).await?;
        }
        Ok(slot.failures < PATIENCE)
    }

    /// Takes the oldest snapshots out of the cache where there are more than `KEPT_BYTES`: every run takes new ones, and only
    /// one that repeats a seed finds its own again. Those in use stay. What cannot be removed waits for the next run.
    pub async fn prune(&self) {
        let cache = self.cache.clone();
        let limits = Limits { kind: Some(Kind::Snapshots), keep_bytes: Some(KEPT_BYTES), ..Limits::default() };
        let _pruned = tokio::task::spawn_blocking(move || cache.prune(limits)).await;
    }

    fn slot(&self, key: &str) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(key.to_owned()).or_default().clone()
    }

    async fn find(
        &self,
        key: &str,
        (machine, origin): (&Machine, Origin),
        logs: &GuestLogs,
        deadline: Duration,
        cancel: &CancellationToken,
    ) -> Result<(Snapshot, Taken), Error> {
        let mut replaced = None;
        loop {
            let make = async |dir: &Path| take(machine, origin, dir, logs, deadline, cancel).await;
            let filled = self.cache.fill(Kind::Snapshots, key, cancel, make).await?;
            replaced = replaced.or(filled.replaced);
            match open(&filled.dir).await {
                Ok((meta, keys)) => {
                    let Meta { bytes, seconds, boot, .. } = meta;
                    let state = filled.dir.join(STATE);
                    let snapshot = Snapshot { state, keys, key: key.to_owned(), _in_use: filled.in_use };
                    return Ok((snapshot, Taken { cached: filled.hit, seconds, bytes, boot, replaced }));
                }
                Err(error) if filled.hit => {
                    replaced = Some(crate::causes::chain(&error));
                    self.cache.discard(Kind::Snapshots, key, cancel).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Machine {
    /// What to start so that it goes on from `snapshot`, which is one of this machine, and how to log in to it.
    pub fn clone_of(&self, snapshot: &Snapshot, logs: Logs) -> Result<(vm::Spec, ssh::Login), initramfs::Error> {
        let spec = vm::Spec { incoming: Some(snapshot.state.clone()), ..self.booted_from(None, logs) };
        Ok((spec, super::guest_template::login(&snapshot.keys)?))
    }
}

/// Everything that a saved state depends on. A new boot of the host gives a new key: its clocks have started anew, and its
/// kernel or its CPU's microcode may be others.
fn key(machine: &Machine, origin: Origin) -> Result<String, Error> {
    let qemu = find_program(&machine.qemu);
    let program = fs::metadata(&qemu).map_err(|source| Error::Io { action: "read", path: qemu.clone(), source })?;
    let spec = machine.booted_from(None, Logs { console: PathBuf::new(), qemu: PathBuf::new() });
    let config =
        serde_json::to_vec(&machine.config(0, true)).map_err(|error| initramfs::Error::Archive(error.into()))?;
    let host = crate::host::boot_id().unwrap_or_default();
    Ok(Key::new()
        .part("recipe", RECIPE)
        .part("host", host)
        .part("qemu", qemu.as_os_str().as_encoded_bytes())
        .part("qemu size", program.size().to_le_bytes())
        .part("qemu time", [program.mtime(), program.mtime_nsec()].map(i64::to_le_bytes).concat())
        .part("arguments", vm::args::shell_line(&qemu, &vm::args::args(&spec, Path::new("/"))))
        .part("kernel", &machine.kernel.info.key)
        .part("kernel code", &machine.kernel.info.load_digest)
        .part("image", &machine.image.key)
        .part("guest", config)
        // Each variant boots for itself, two of the same code too: what one boot happened to be like is no trait of theirs.
        .part("variant", format!("{}\n{}", machine.kernel.info.kernel, machine.kernel.info.variant))
        .part("boot", [u64::from(origin.number), origin.seed].map(u64::to_le_bytes).concat())
        .finish())
}

/// The file that is run as `program`.
fn find_program(program: &Path) -> PathBuf {
    let named = program.components().count() > 1;
    let found = if named { None } else { process::on_path(program) };
    let found = found.unwrap_or_else(|| program.to_path_buf());
    found.canonicalize().unwrap_or(found)
}

/// Boots the guest with keys of its own and writes it to `dir`.
async fn take(
    machine: &Machine,
    origin: Origin,
    dir: &Path,
    logs: &GuestLogs,
    deadline: Duration,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let started = Instant::now();
    let machine = Machine { keys: Arc::new(machine.keys.of_another_guest()?), ..machine.clone() };
    let parent = vm::run_dir_parent();
    let scratch = process::run_dir::make(&parent);
    let scratch = scratch.map_err(|source| Error::Io { action: "make a folder in", path: parent.clone(), source })?;
    let initrd = machine.seal(&machine.config(origin.seed, true), scratch.path())?;
    let mut vm = Vm::start(&machine.booted_from(Some(initrd), logs.begin()), &parent, cancel).await?;
    let saved = async {
        let boot = tokio::select! {
            boot = vm.paused(deadline) => boot?,
            () = cancel.cancelled() => return Err(vm::Error::Interrupted),
        };
        Ok((boot, vm.save(&dir.join(STATE)).await?))
    }
    .await;
    // Ended whatever came of it; what counts is what was saved.
    let ended = vm.quit().await;
    let (boot, saved) = saved?;
    ended?;
    machine.keys.store(dir)?;
    let boot = milestones(boot, INIT_PAUSED);
    let meta = Meta { bytes: saved.bytes, sha256: saved.sha256, seconds: started.elapsed().as_secs_f64(), boot };
    let path = dir.join(META);
    let written =
        serde_json::to_vec_pretty(&meta).map_err(std::io::Error::from).and_then(|text| fs::write(&path, text));
    written.map_err(|source| Error::Io { action: "write", path, source })
}

/// A boot's milestones for the journal, in seconds from QEMU's start; `last` is the init's word that was waited for.
pub fn milestones(boot: Boot, last: &str) -> Vec<(String, f64)> {
    let known = [("monitor", Some(boot.monitor)), ("first line", boot.first_line)];
    let known = known.into_iter().filter_map(|(name, at)| Some((name.to_owned(), at?)));
    // It ends what the init said, unless that was too much to be kept.
    let said = boot.stages.into_iter().filter(|(said, _)| said != last);
    known.chain(said).chain([(last.to_owned(), boot.ready)]).map(|(name, at)| (name, at.as_secs_f64())).collect()
}

/// Reads what is beside the state in `dir`, and sees to it that the state is what was written.
async fn open(dir: &Path) -> Result<(Meta, Keys), Error> {
    let damaged = |reason: String| Error::Damaged { dir: dir.to_path_buf(), reason };
    let text = fs::read(dir.join(META)).map_err(|error| damaged(format!("{META}: {error}")))?;
    let meta: Meta = serde_json::from_slice(&text).map_err(|error| damaged(format!("{META}: {error}")))?;
    let digest = cache::sha256_file(&dir.join(STATE)).await.map_err(|error| damaged(format!("{STATE}: {error}")))?;
    if digest != (meta.bytes, meta.sha256.clone()) {
        return Err(damaged(format!(
            "{STATE} holds {} bytes that are not the {} that were saved",
            digest.0, meta.bytes
        )));
    }
    let keys = Keys::load(dir).map_err(|error| damaged(error.to_string()))?;
    Ok((meta, keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry as it is written, with `state` for a state.
    async fn entry(dir: &Path, state: &[u8]) {
        fs::write(dir.join(STATE), state).expect("writes");
        Keys::generate().and_then(|keys| keys.store(dir)).expect("keys");
        let (bytes, sha256) = cache::sha256_file(&dir.join(STATE)).await.expect("is there");
        let meta = Meta { bytes, sha256, seconds: 1.5, boot: vec![("paused".to_owned(), 1.2)] };
        fs::write(dir.join(META), serde_json::to_vec(&meta).expect("plain data")).expect("writes");
    }

    #[tokio::test]
    async fn what_is_not_as_it_was_written_is_never_trusted() {
        for (reason, file, bytes) in [
            ("not the 11", STATE, &b"hello w0rld"[..]),
            ("holds 5 bytes", STATE, b"hello"),
            ("meta.json: ", META, b"{"),
            ("SSH key", "user", b"no key"),
            ("SSH key", "host", b"no key"),
        ] {
            let dir = tempfile::tempdir().expect("a scratch folder");
            entry(dir.path(), b"hello world").await;
            open(dir.path()).await.expect("as it was written");
            fs::write(dir.path().join(file), bytes).expect("writes");
            let error = open(dir.path()).await.expect_err(reason).to_string();
            assert!(error.contains("damaged") && error.contains(reason), "{error}");
        }
    }
}
