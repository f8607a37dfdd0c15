//! Taking old entries out of the cache.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Cache, Error, LOCKS, Lock, MAKING};

/// What may stay in the cache. Without any limit nothing is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Entries used within this time stay.
    pub older_than: Option<Duration>,
    /// The entries used last stay, as long as they hold no more than this many bytes together.
    pub keep_bytes: Option<u64>,
}

/// What a pruning did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Entries taken away, the one unused for longest first.
    pub freed: Vec<Freed>,
    /// Entries that should have gone but that a twinboot uses or makes right now, as `kind/key`.
    pub in_use: Vec<String>,
    /// Bytes on disk of everything that is left.
    pub kept_bytes: u64,
}

/// An entry that was taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freed {
    /// `kind/key`.
    pub name: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// When it was used last.
    pub used: SystemTime,
}

/// An entry as it is found.
struct Found {
    name: String,
    path: PathBuf,
    lock: String,
    bytes: u64,
    used: SystemTime,
    /// An unfinished making: of no use to anybody once its maker is gone.
    left_over: bool,
}

impl Cache {
    /// Takes away what [`Limits`] do not cover, oldest use first, and never an entry that is in use or being made.
    ///
    /// Blocking: it walks the whole cache.
    pub fn prune(&self, limits: Limits) -> Result<Pruned, Error> {
        let mut found = self.entries()?;
        found.sort_by_key(|entry| entry.used);
        let mut left: u64 = found.iter().map(|entry| entry.bytes).sum();
        let now = SystemTime::now();
        let mut pruned = Pruned::default();
        for entry in found {
            let old =
                limits.older_than.is_some_and(|age| now.duration_since(entry.used).is_ok_and(|unused| unused >= age));
            let over = limits.keep_bytes.is_some_and(|most| left > most);
            let unlimited = limits == Limits::default();
            if !(old || over || unlimited || entry.left_over) {
                continue;
            }
            let (Some(_making), Some(_using)) =
                (self.try_lock(&entry.lock)?, self.try_lock(&format!("{}.use", entry.lock))?)
            else {
                pruned.in_use.push(entry.name);
                continue;
            };
            remove(&entry.path)?;
            left = left.saturating_sub(entry.bytes);
            pruned.freed.push(Freed { name: entry.name, bytes: entry.bytes, used: entry.used });
        }
        pruned.kept_bytes = left;
        Ok(pruned)
    }

    fn entries(&self) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        for kind in list(&self.root)? {
            let kind_name = name_of(&kind);
            if kind_name == LOCKS || !kind.is_dir() {
                continue;
            }
            for path in list(&kind)? {
                let entry = name_of(&path);
                let making = entry.strip_prefix(MAKING).and_then(|rest| rest.rsplit_once('-'));
                let key = making.map_or(entry.as_str(), |(key, _random)| key).to_owned();
                let Ok(metadata) = path.symlink_metadata() else { continue };
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.push(Found {
                    name: format!("{kind_name}/{entry}"),
                    lock: format!("{kind_name}-{key}"),
                    bytes: size(&path),
                    used,
                    left_over: making.is_some(),
                    path,
                });
            }
        }
        Ok(found)
    }

    fn try_lock(&self, name: &str) -> Result<Option<Lock>, Error> {
        let file: File = self.open_lock(name)?.1;
        Ok(file.try_lock().is_ok().then_some(Lock { file }))
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let io = |source| Error::Io { action: "list", path: dir.to_path_buf(), source };
    fs::read_dir(dir).map_err(io)?.map(|entry| entry.map(|entry| entry.path()).map_err(io)).collect()
}

/// Bytes on disk of a file or a folder; what vanishes meanwhile counts as nothing.
fn size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = path.symlink_metadata() else { return 0 };
    // st_blocks counts units of 512 bytes, stat(2).
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return own;
    }
    let inside: u64 = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path())).sum();
    own + inside
}

/// Moves an entry out of sight first, so that a half-removed one is never taken for a whole one.
fn remove(path: &Path) -> Result<(), Error> {
    let io = |source| Error::Io { action: "remove", path: path.to_path_buf(), source };
    if !path.is_dir() {
        return fs::remove_file(path).or_else(gone).map_err(io);
    }
    let key = name_of(path);
    let aside =
        if key.starts_with(MAKING) { path.to_path_buf() } else { path.with_file_name(format!("{MAKING}{key}-pruned")) };
    fs::rename(path, &aside).map_err(io)?;
    fs::remove_dir_all(&aside).or_else(gone).map_err(io)
}

fn gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_util::sync::CancellationToken;

    const HOUR: Duration = Duration::from_secs(3600);

    async fn put(cache: &Cache, key: &str, bytes: usize, age: Duration) {
        let make = async |dir: &Path| {
            fs::write(dir.join("content"), vec![b'x'; bytes]).expect("writes");
            Ok::<_, Error>(())
        };
        let filled = cache.fill("things", key, &CancellationToken::new(), make).await.expect("fills");
        let used = SystemTime::now() - age;
        File::open(filled.dir).expect("opens").set_modified(used).expect("sets the time");
    }

    fn names(pruned: &Pruned) -> Vec<&str> {
        pruned.freed.iter().map(|freed| freed.name.as_str()).collect()
    }

    #[tokio::test]
    async fn age_and_size_decide_and_what_is_in_use_stays() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let cache = Cache::open(Some(dir.path())).expect("opens");
        put(&cache, "ancient", 100_000, HOUR * 48).await;
        put(&cache, "held", 100_000, HOUR * 36).await;
        put(&cache, "old", 100_000, HOUR * 3).await;
        put(&cache, "new", 100_000, Duration::ZERO).await;
        let held = cache.hold("things", "held", &CancellationToken::new()).await.expect("is there");

        let by_age = cache.prune(Limits { older_than: Some(HOUR * 24), keep_bytes: None }).expect("prunes");
        assert_eq!(names(&by_age), ["things/ancient"]);
        assert_eq!(by_age.in_use, ["things/held"]);
        assert!(by_age.freed[0].bytes >= 100_000);
        assert!(!cache.path("things", "ancient").exists());

        let by_size = cache.prune(Limits { older_than: None, keep_bytes: Some(250_000) }).expect("prunes");
        assert_eq!(names(&by_size), ["things/old"], "the held one is passed over, the newest stays");
        assert!(by_size.kept_bytes <= 250_000);

        drop(held);
        let all = cache.prune(Limits::default()).expect("prunes");
        assert_eq!(names(&all), ["things/held", "things/new"]);
        assert_eq!(all.kept_bytes, 0);
    }

    #[tokio::test]
    async fn an_entry_in_the_making_stays_and_its_remains_go() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let cache = Cache::open(Some(dir.path())).expect("opens");
        let pruned_meanwhile = cache
            .fill("things", "k", &CancellationToken::new(), async |_: &Path| {
                let pruned = cache.prune(Limits::default())?;
                assert!(pruned.freed.is_empty(), "{pruned:?}");
                assert_eq!(pruned.in_use.len(), 1);
                Ok::<_, Error>(())
            })
            .await;
        assert!(pruned_meanwhile.is_ok());

        fs::create_dir_all(cache.root().join("things/.making-other-abc123/half")).expect("makes");
        let kept = Limits { older_than: Some(HOUR), keep_bytes: None };
        let pruned = cache.prune(kept).expect("prunes");
        assert_eq!(names(&pruned), ["things/.making-other-abc123"]);
        assert!(cache.path("things", "k").is_dir());
    }
}
