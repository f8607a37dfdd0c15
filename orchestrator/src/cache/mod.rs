//! What twinboot has built before: a folder of entries named by what they were made from.
//!
//! `<root>/<kind>/<key>/` is an entry; it appears whole or not at all (made beside it, then renamed), so several
//! twinboots can share one cache. `<root>/locks/<kind>-<key>` serialises the making of one entry;
//! `<root>/locks/<kind>-<key>.use` is held, shared, for as long as somebody uses it, so that pruning leaves it alone.
//!
//! Only a folder that says it is a cache is one (`mark`). What does not have the strict name of a known kind
//! (`kind`) is left alone, by pruning too.

mod entry;
mod folder;
mod kind;
mod manifest;
mod mark;
mod prune;

pub use kind::Kind;
pub use manifest::{Manifest, Place};
pub use prune::{Freed, LeftAlone, Limits, Pruned};

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::printable::one_line;

/// How often a lock that somebody else holds is tried again.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// A lock is waited for this long without a word.
const PATIENCE: Duration = Duration::from_secs(1);

/// Folder of the lock files.
const LOCKS: &str = "locks";

/// Why the cache could not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither `--cache-dir`, `$XDG_CACHE_HOME` nor `$HOME` names a place.
    #[error("no place for the cache: set HOME or XDG_CACHE_HOME, or pass --cache-dir")]
    NoHome,
    /// The folder holds what no twinboot put there.
    #[error(
        "`{}` is no cache of twinboot's: it holds `{found}`, which twinboot did not put there. Nothing in it was changed; \
         name a new or an empty folder with --cache-dir",
        path.display()
    )]
    NotACache {
        /// The folder.
        path: PathBuf,
        /// What is in it, relative to it.
        found: String,
    },
    /// The folder belongs to a twinboot that is newer than this one.
    #[error(
        "`{}` is the cache of a newer twinboot (layout {version}, this one knows {known}): use that one, or name another \
         folder with --cache-dir",
        path.display()
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Version of its layout.
        version: u32,
        /// The newest version that is known here.
        known: u32,
    },
    /// A key that could name something outside its kind.
    #[error("`{key}` is no key of a cache entry: 32 lowercase hex digits are")]
    Key {
        /// The key.
        key: String,
    },
    /// A file operation failed.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Interrupted while another twinboot held the entry.
    #[error("interrupted while waiting for another twinboot to finish `{}`", path.display())]
    Interrupted {
        /// The lock file.
        path: PathBuf,
    },
}

/// A cache folder.
#[derive(Clone)]
pub struct Cache {
    root: PathBuf,
    notices: Arc<dyn Fn(&str) + Send + Sync>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("root", &self.root).finish_non_exhaustive()
    }
}

/// An entry that is there, whole.
#[derive(Debug, Clone)]
pub struct Filled {
    /// Its folder.
    pub dir: PathBuf,
    /// It was there before.
    pub hit: bool,
    /// Why one that was there before was thrown away.
    pub replaced: Option<String>,
    /// Keeps [`Cache::prune`] from taking the entry away; none where the cache cannot be written to.
    pub in_use: Option<Arc<Lock>>,
}

/// A lock on a file, released when dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Lock {
    /// Hands the lock on to the processes that `command` starts: it is free again when the last of them has ended too,
    /// even if twinboot is killed outright before (flock(2): a lock belongs to the open file description).
    pub fn inherit(&self, command: &mut tokio::process::Command) {
        let fd = self.file.as_raw_fd();
        // SAFETY: fcntl(2) is async-signal-safe. Between fork and exec the child still has every descriptor of its
        // parent; should the lock have been dropped by then, fcntl fails with EBADF and the command does not start.
        unsafe {
            command.pre_exec(move || {
                let fd = BorrowedFd::borrow_raw(fd);
                nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))?;
                Ok(())
            });
        }
    }
}

impl Cache {
    /// Opens `dir`, or `$XDG_CACHE_HOME/twinboot`, or `$HOME/.cache/twinboot`, and makes it when it is missing.
    ///
    /// # Errors
    ///
    /// When the folder is neither a cache nor empty ([`Error::NotACache`]).
    pub fn open(dir: Option<&Path>) -> Result<Self, Error> {
        let from_env = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = dir
            .map(Path::to_path_buf)
            .or_else(|| from_env("XDG_CACHE_HOME").map(|base| base.join("twinboot")))
            .or_else(|| from_env("HOME").map(|home| home.join(".cache/twinboot")))
            .ok_or(Error::NoHome)?;
        make_dir(&root)?;
        let root = root.canonicalize().map_err(|source| Error::Io { action: "open", path: root, source })?;
        mark::ensure(&root)?;
        Ok(Self { root, notices: Arc::new(|_| {}) })
    }

    /// Hands what a user should know to `notices`: that a damaged entry is made again, that a lock is waited for.
    #[must_use]
    pub fn with_notices(mut self, notices: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.notices = Arc::new(notices);
        self
    }

    /// Says something that a user should know.
    pub fn notice(&self, text: &str) {
        (self.notices)(text);
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where an entry is or would be.
    pub fn path(&self, kind: Kind, key: &str) -> PathBuf {
        self.root.join(kind.folder()).join(kind.entry(key))
    }

    /// Notes the use of an entry for `twinboot clean`.
    pub fn touch(&self, kind: Kind, key: &str) {
        if let Ok(handle) = File::open(self.path(kind, key)) {
            // Best effort: a read-only cache still serves.
            let _ = handle.set_modified(SystemTime::now());
        }
    }

    /// Whether the entry is there, undamaged: [`Cache::fill`] would make nothing.
    pub async fn has(&self, kind: Kind, key: &str) -> bool {
        check(key).is_ok() && matches!(self.look(kind, key).await, entry::State::Whole)
    }

    /// The entry, made by `make` in an empty folder when it is missing or damaged. A failed or interrupted `make` leaves
    /// nothing, and neither does a crash of the host: everything is on the disk before the entry has its name.
    pub async fn fill<E: From<Error>>(
        &self,
        kind: Kind,
        key: &str,
        cancel: &CancellationToken,
        make: impl AsyncFnOnce(&Path) -> Result<(), E>,
    ) -> Result<Filled, E> {
        let in_use = self.hold(kind, key, cancel).await?;
        let hit = |in_use| {
            self.touch(kind, key);
            Filled { dir: self.path(kind, key), hit: true, replaced: None, in_use }
        };
        if matches!(self.look(kind, key).await, entry::State::Whole) {
            return Ok(hit(in_use));
        }
        let _lock = self.lock(kind, key, cancel).await?;
        let mut replaced = None;
        // Another twinboot may have made it meanwhile.
        match self.look(kind, key).await {
            entry::State::Whole => return Ok(hit(in_use)),
            entry::State::Missing => {}
            entry::State::Damaged(reason) => {
                self.notice(&format!("{}/{key} in the cache {reason}: it is made again", kind.folder()));
                self.take_out(kind, key)?;
                replaced = Some(format!("it {reason}"));
            }
        }
        let parent = self.root.join(kind.folder());
        make_dir(&parent)?;
        let scratch = tempfile::Builder::new()
            .prefix(&format!("{}{key}-", kind::MAKING))
            .tempdir_in(&parent)
            .map_err(|source| Error::Io { action: "make a folder in", path: parent.clone(), source })?;
        make(scratch.path()).await?;
        let dir = self.path(kind, key);
        entry::finish(kind, scratch.path().to_path_buf()).await.map_err(|source| Error::Io {
            action: "write",
            path: dir.clone(),
            source,
        })?;
        let finished = scratch.keep();
        std::fs::rename(&finished, &dir)
            .and_then(|()| File::open(&parent)?.sync_all())
            .map_err(|source| Error::Io { action: "finish", path: dir.clone(), source })?;
        Ok(Filled { dir, hit: false, replaced, in_use })
    }

    /// Removes an entry that is of no use, waiting for whoever is making it. Those who have it open keep what they have.
    pub async fn discard(&self, kind: Kind, key: &str, cancel: &CancellationToken) -> Result<(), Error> {
        let _lock = self.lock(kind, key, cancel).await?;
        self.take_out(kind, key)
    }

    /// [`Cache::discard`] under the entry's lock.
    fn take_out(&self, kind: Kind, key: &str) -> Result<(), Error> {
        let dir = self.path(kind, key);
        let parent = self.root.join(kind.folder());
        let grave = tempfile::Builder::new().prefix(&format!("{}{key}-", kind::MAKING)).tempdir_in(&parent);
        let grave = grave.map_err(|source| Error::Io { action: "make a folder in", path: parent, source })?;
        // At once, so that nobody finds half of it; the folder it is moved to goes with it.
        match std::fs::rename(&dir, grave.path().join("entry")) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::Io { action: "remove", path: dir, source })
            }
            _ => Ok(()),
        }
    }

    /// Says that an entry is being used, until the lock is dropped. Waits for a pruning of it to end; none where the
    /// cache cannot be written to.
    pub async fn hold(&self, kind: Kind, key: &str, cancel: &CancellationToken) -> Result<Option<Arc<Lock>>, Error> {
        check(key)?;
        let Ok((path, file)) = self.open_lock(&format!("{}.use", kind.lock(key))) else { return Ok(None) };
        let what = format!("{}/{key}", kind.folder());
        let file = self.acquire(file, File::try_lock_shared, path, &what, cancel).await?;
        Ok(Some(Arc::new(Lock { file })))
    }

    /// Takes the exclusive lock on an entry, waiting for as long as another process holds it.
    pub async fn lock(&self, kind: Kind, key: &str, cancel: &CancellationToken) -> Result<Lock, Error> {
        check(key)?;
        let (path, file) = self.open_lock(&kind.lock(key))?;
        let what = format!("{}/{key}", kind.folder());
        let file = self.acquire(file, File::try_lock, path, &what, cancel).await?;
        // For whoever waits; best effort.
        let _ = file.set_len(0).and_then(|()| writeln!(&file, "{}", std::process::id()));
        Ok(Lock { file })
    }

    /// Tries a lock until it is had, and says after a while for whom it waits.
    async fn acquire(
        &self,
        file: File,
        try_lock: impl Fn(&File) -> Result<(), TryLockError>,
        path: PathBuf,
        what: &str,
        cancel: &CancellationToken,
    ) -> Result<File, Error> {
        let begun = Instant::now();
        let mut said = false;
        loop {
            match try_lock(&file) {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(source)) => return Err(Error::Io { action: "lock", path, source }),
                Err(TryLockError::WouldBlock) => {}
            }
            if !said && begun.elapsed() >= PATIENCE {
                said = true;
                self.notice(&format!("waiting for {}, which holds {what} in the cache", holder(&path)));
            }
            tokio::select! {
                () = tokio::time::sleep(LOCK_POLL) => {}
                () = cancel.cancelled() => return Err(Error::Interrupted { path }),
            }
        }
    }

    fn open_lock(&self, name: &str) -> Result<(PathBuf, File), Error> {
        let dir = self.root.join(LOCKS);
        make_dir(&dir)?;
        let path = dir.join(name);
        match File::options().create(true).append(true).custom_flags(libc::O_NOFOLLOW).open(&path) {
            Ok(file) => Ok((path, file)),
            Err(source) => Err(Error::Io { action: "lock", path, source }),
        }
    }
}

/// Who holds a lock, by the process id that it has written into the file.
fn holder(lock: &Path) -> String {
    let pid = std::fs::read_to_string(lock).ok().and_then(|text| text.trim().parse::<u32>().ok());
    match pid {
        Some(pid) if Path::new(&format!("/proc/{pid}")).exists() => format!("another twinboot (process {pid})"),
        Some(pid) => format!("what a twinboot that has ended (process {pid}) has started"),
        None => "another twinboot".to_owned(),
    }
}

/// Refuses a key that could lead out of the folder of its kind.
fn check(key: &str) -> Result<(), Error> {
    if kind::is_key(key) { Ok(()) } else { Err(Error::Key { key: key.to_owned() }) }
}

/// A name for people.
fn printable(name: &OsStr) -> String {
    one_line(&name.to_string_lossy())
}

fn make_dir(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(|source| Error::Io { action: "make", path: path.to_path_buf(), source })
}

/// A key from everything an entry is made from, each part with its name: 32 hex digits of SHA-256.
#[derive(Default)]
pub struct Key(Sha256);

impl Key {
    /// Starts a key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part; lengths go in too, so that no two lists of parts give one key.
    #[must_use]
    pub fn part(mut self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.0.update((name.len() as u64).to_le_bytes());
        self.0.update(name);
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// The key.
    pub fn finish(self) -> String {
        hex(&self.0.finalize()[..16])
    }
}

/// Lowercase hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 of bytes, lowercase hex.
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}

/// Size and SHA-256 (lowercase hex) of a file, read off the runtime's own threads.
pub async fn sha256_file(path: &Path) -> io::Result<(u64, String)> {
    let path = path.to_path_buf();
    let hashed = tokio::task::spawn_blocking(move || digest(&mut File::open(path)?));
    hashed.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Size and SHA-256 (lowercase hex) of all that is left to read.
fn digest(from: &mut impl io::Read) -> io::Result<(u64, String)> {
    let mut digest = Sha256::new();
    let bytes = io::copy(from, &mut digest)?;
    Ok((bytes, hex(&digest.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[tokio::test]
    async fn a_failed_making_leaves_nothing_and_the_next_one_fills() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let cache = Cache::open(Some(dir.path())).expect("opens");
        let cancel = CancellationToken::new();
        let failed = cache
            .fill(Kind::Text, KEY, &cancel, async |dir: &Path| {
                std::fs::write(dir.join("half"), b"").expect("writes");
                Err(Error::NoHome)
            })
            .await;
        assert!(matches!(failed, Err(Error::NoHome)));
        assert_eq!(std::fs::read_dir(cache.root().join("text")).expect("is there").count(), 0);

        let filled = cache.fill(Kind::Text, KEY, &cancel, async |_: &Path| Ok::<_, Error>(())).await.expect("fills");
        assert!(!filled.hit);
        let again = cache.fill(Kind::Text, KEY, &cancel, async |_: &Path| Err(Error::NoHome)).await.expect("is there");
        assert!(again.hit);
    }

    #[tokio::test]
    async fn a_discarded_entry_is_made_again() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let cache = Cache::open(Some(dir.path())).expect("opens");
        let cancel = CancellationToken::new();
        let fill = async || {
            cache.fill(Kind::Text, KEY, &cancel, async |_: &Path| Ok::<_, Error>(())).await.expect("fills").hit
        };
        assert_eq!((fill().await, fill().await), (false, true));
        for _ in 0..2 {
            cache.discard(Kind::Text, KEY, &cancel).await.expect("discards, twice as well as once");
        }
        assert_eq!(std::fs::read_dir(cache.root().join("text")).expect("is there").count(), 0);
        assert!(!fill().await);
    }

    #[tokio::test]
    async fn a_key_that_leads_elsewhere_is_refused() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let cache = Cache::open(Some(&dir.path().join("cache"))).expect("opens");
        for key in ["../../outside", "", "/tmp", &KEY.to_uppercase()] {
            let made =
                cache.fill(Kind::Text, key, &CancellationToken::new(), async |_: &Path| Ok::<_, Error>(())).await;
            assert!(matches!(made, Err(Error::Key { .. })), "{key}: {made:?}");
        }
    }

    #[tokio::test]
    async fn a_lock_file_that_is_a_link_is_not_followed() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let cache = Cache::open(Some(&dir.path().join("cache"))).expect("opens");
        std::fs::create_dir(cache.root().join(LOCKS)).expect("makes");
        let outside = dir.path().join("outside");
        std::os::unix::fs::symlink(&outside, cache.root().join(format!("locks/text-{KEY}"))).expect("links");
        assert!(cache.lock(Kind::Text, KEY, &CancellationToken::new()).await.is_err());
        assert!(!outside.exists());
    }

    #[tokio::test]
    async fn whoever_waits_for_a_lock_says_for_whom_and_on_what() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let cache = Cache::open(Some(&dir.path().join("cache"))).expect("opens");
        let cache = cache.with_notices(move |text| {
            let _ = said.send(text.to_owned());
        });
        let cancel = CancellationToken::new();
        let held = cache.lock(Kind::Work, KEY, &cancel).await.expect("is free");
        let waiting = cache.lock(Kind::Work, KEY, &cancel);
        let (waited, text) = tokio::join!(waiting, async {
            let text = heard.recv().await;
            drop(held);
            text
        });
        waited.expect("is free again");
        let text = text.expect("says something");
        assert!(text.contains(&format!("(process {})", std::process::id())) && text.contains(&format!("work/{KEY}")));
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(Key::new().part("ab", "c").finish(), Key::new().part("a", "bc").finish());
    }
}
