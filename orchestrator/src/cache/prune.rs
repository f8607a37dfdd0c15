//! Taking old entries out of the cache, and nothing else.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::time::{Duration, SystemTime};

use super::folder::{Folder, Type};
use super::kind::{self, Kind, Name};
use super::{Cache, Error, LOCKS, Lock, mark, printable};

/// A temporary file that has no lock is left over once it is this old: it is written within milliseconds.
const REPLACING: Duration = Duration::from_secs(3600);

/// What may stay in the cache. Without any limit nothing is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Entries used within this time stay.
    pub older_than: Option<Duration>,
    /// Only entries of this kind are looked at; those of all kinds otherwise.
    pub kind: Option<Kind>,
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
    /// What is in the cache and no entry of it.
    pub left_alone: Vec<LeftAlone>,
    /// Bytes on disk of all entries that are left.
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

/// Something in the cache that pruning has no business with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftAlone {
    /// Relative to the cache, fit for a terminal.
    pub name: String,
    /// Why it stays.
    pub why: &'static str,
}

/// An entry as it is found.
struct Found {
    kind: Kind,
    file: OsString,
    is: Name,
    bytes: u64,
    used: SystemTime,
}

/// What there is in a cache.
#[derive(Default)]
struct Walked {
    folders: BTreeMap<Kind, Folder>,
    found: Vec<Found>,
    left_alone: Vec<LeftAlone>,
}

impl Found {
    fn name(&self) -> String {
        format!("{}/{}", self.kind.folder(), printable(&self.file))
    }
}

impl Cache {
    /// Takes away what [`Limits`] do not cover, oldest use first, and never an entry that is in use or being made. What does
    /// not have the name of an entry stays, as do links and other file systems.
    ///
    /// Blocking: it walks the whole cache.
    pub fn prune(&self, limits: Limits) -> Result<Pruned, Error> {
        let Walked { folders, mut found, left_alone } = self.walk()?;
        let mut pruned = Pruned { left_alone, ..Pruned::default() };
        found.retain(|entry| limits.kind.is_none_or(|kind| entry.kind == kind));
        found.sort_by_key(|entry| entry.used);
        let mut left: u64 = found.iter().map(|entry| entry.bytes).sum();
        let now = SystemTime::now();
        for entry in found {
            let unused = now.duration_since(entry.used).unwrap_or_default();
            let old = limits.older_than.is_some_and(|age| unused >= age);
            let over = limits.keep_bytes.is_some_and(|most| left > most);
            let unlimited = limits.older_than.is_none() && limits.keep_bytes.is_none();
            // An unfinished making is of no use to anybody once its maker is gone.
            let left_over = !matches!(entry.is, Name::Entry(_));
            if !(old || over || unlimited || left_over) {
                continue;
            }
            let _locks = match &entry.is {
                Name::Replacing if unused >= REPLACING => None,
                Name::Replacing => {
                    pruned.in_use.push(entry.name());
                    continue;
                }
                Name::Entry(key) | Name::Making(key) => {
                    let lock = entry.kind.lock(key);
                    let (Some(making), Some(using)) = (self.try_lock(&lock)?, self.try_lock(&format!("{lock}.use"))?)
                    else {
                        pruned.in_use.push(entry.name());
                        continue;
                    };
                    Some((making, using))
                }
            };
            let Some(folder) = folders.get(&entry.kind) else { continue };
            let failed = |source| Error::Io { action: "remove", path: self.root.join(entry.name()), source };
            remove(folder, &entry).map_err(failed)?;
            left = left.saturating_sub(entry.bytes);
            pruned.freed.push(Freed { name: entry.name(), bytes: entry.bytes, used: entry.used });
        }
        pruned.kept_bytes = left;
        Ok(pruned)
    }

    fn walk(&self) -> Result<Walked, Error> {
        let io = |source| Error::Io { action: "list", path: self.root.clone(), source };
        let Walked { mut folders, mut found, mut left_alone } = Walked::default();
        let mut leave = |name: String, why| left_alone.push(LeftAlone { name, why });
        let mut root = Folder::open(&self.root).map_err(io)?;
        for name in root.names().map_err(io)? {
            if name == LOCKS || mark::is_own(&name) {
                continue;
            }
            let Some(kind) = Kind::of_folder(&name) else {
                leave(printable(&name), "twinboot did not put it there");
                continue;
            };
            let mut folder = match root.below(&name) {
                Ok(folder) => folder,
                Err(error) => {
                    leave(printable(&name), because(&error));
                    continue;
                }
            };
            for file in folder.names().map_err(io)? {
                match look(&folder, kind, &file) {
                    Ok(Some(entry)) => found.push(entry),
                    Ok(None) => {}
                    Err(why) => leave(format!("{}/{}", kind.folder(), printable(&file)), why),
                }
            }
            folders.insert(kind, folder);
        }
        Ok(Walked { folders, found, left_alone })
    }

    fn try_lock(&self, name: &str) -> Result<Option<Lock>, Error> {
        let file = self.open_lock(name)?.1;
        Ok(file.try_lock().is_ok().then_some(Lock { file }))
    }
}

/// The entry `file`; none where it has vanished meanwhile, or why it is left alone.
fn look(folder: &Folder, kind: Kind, file: &OsStr) -> Result<Option<Found>, &'static str> {
    let Some(is) = kind.parse(file) else { return Err("twinboot did not put it there") };
    let stat = match folder.stat(file) {
        Ok(stat) => stat,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(because(&error)),
    };
    match (stat.is, kind.is_files()) {
        (Type::Folder, false) | (Type::File, true) => {}
        (Type::Link, _) => return Err("it is a link"),
        _ => return Err("twinboot did not put it there"),
    }
    let bytes = folder.bytes(file).map_err(|error| because(&error))?;
    Ok(Some(Found { kind, file: file.to_owned(), is, bytes, used: stat.modified }))
}

fn because(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::CrossesDevices => "another file system is mounted in it",
        io::ErrorKind::NotADirectory => "it is a link or no folder",
        io::ErrorKind::PermissionDenied => "this user may not look into it",
        _ => "it cannot be looked into",
    }
}

/// Moves an entry out of sight first, so that a half-removed one is never taken for a whole one.
fn remove(folder: &Folder, entry: &Found) -> io::Result<()> {
    let Name::Entry(key) = &entry.is else { return folder.remove(&entry.file) };
    if entry.kind.is_files() {
        return folder.remove(&entry.file);
    }
    let aside = OsString::from(format!("{}{key}-{:08x}", kind::MAKING, rand::random::<u32>()));
    folder.rename(&entry.file, &aside)?;
    folder.remove(&aside)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use tokio_util::sync::CancellationToken;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn key(name: &str) -> String {
        super::super::Key::new().part("name", name).finish()
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let cache = Cache::open(Some(&dir.path().join("cache"))).expect("opens");
        (dir, cache)
    }

    fn age(path: &Path, age: Duration) {
        File::open(path).expect("opens").set_modified(SystemTime::now() - age).expect("sets the time");
    }

    async fn put(cache: &Cache, name: &str, bytes: usize, unused: Duration) {
        let make = async |dir: &Path| {
            fs::write(dir.join("content"), vec![b'x'; bytes]).expect("writes");
            Ok::<_, Error>(())
        };
        let filled = cache.fill(Kind::Text, &key(name), &CancellationToken::new(), make).await.expect("fills");
        age(&filled.dir, unused);
    }

    fn names(pruned: &Pruned) -> Vec<&str> {
        pruned.freed.iter().map(|freed| freed.name.as_str()).collect()
    }

    fn text(name: &str) -> String {
        format!("text/{}", key(name))
    }

    #[tokio::test]
    async fn age_and_size_decide_and_what_is_in_use_stays() {
        let (_dir, cache) = cache();
        put(&cache, "ancient", 100_000, HOUR * 48).await;
        put(&cache, "held", 100_000, HOUR * 36).await;
        put(&cache, "old", 100_000, HOUR * 3).await;
        put(&cache, "new", 100_000, Duration::ZERO).await;
        let held = cache.hold(Kind::Text, &key("held"), &CancellationToken::new()).await.expect("is there");

        let by_age = cache.prune(Limits { older_than: Some(HOUR * 24), ..Limits::default() }).expect("prunes");
        assert_eq!(names(&by_age), [text("ancient")]);
        assert_eq!(by_age.in_use, [text("held")]);
        assert!(by_age.freed[0].bytes >= 100_000);
        assert!(!cache.path(Kind::Text, &key("ancient")).exists());

        let by_size = cache.prune(Limits { keep_bytes: Some(250_000), ..Limits::default() }).expect("prunes");
        assert_eq!(names(&by_size), [text("old")], "the held one is passed over, the newest stays");
        assert!(by_size.kept_bytes <= 250_000);

        let others = Limits { kind: Some(Kind::Images), keep_bytes: Some(0), ..Limits::default() };
        assert_eq!(cache.prune(others).expect("prunes").freed, [], "another kind's limits");

        drop(held);
        let all = cache.prune(Limits::default()).expect("prunes");
        assert_eq!(names(&all), [text("held"), text("new")]);
        assert_eq!((all.kept_bytes, all.left_alone), (0, Vec::new()));
    }

    #[tokio::test]
    async fn an_entry_in_the_making_stays_and_its_remains_go() {
        let (_dir, cache) = cache();
        let pruned_meanwhile = cache
            .fill(Kind::Text, &key("k"), &CancellationToken::new(), async |_: &Path| {
                let pruned = cache.prune(Limits::default())?;
                assert!(pruned.freed.is_empty(), "{pruned:?}");
                assert_eq!(pruned.in_use.len(), 1);
                Ok::<_, Error>(())
            })
            .await;
        assert!(pruned_meanwhile.is_ok());

        let remains = format!("text/.making-{}-abc123", key("other"));
        fs::create_dir_all(cache.root().join(&remains).join("half")).expect("makes");
        fs::create_dir_all(cache.root().join("host")).expect("makes");
        for name in ["host/.tmpnew123", "host/.tmpold123"] {
            fs::write(cache.root().join(name), b"").expect("writes");
        }
        age(&cache.root().join("host/.tmpold123"), HOUR * 2);
        let kept = Limits { older_than: Some(HOUR * 24), ..Limits::default() };
        let pruned = cache.prune(kept).expect("prunes");
        assert_eq!(names(&pruned), ["host/.tmpold123", remains.as_str()]);
        assert_eq!(pruned.in_use, ["host/.tmpnew123"]);
        assert!(cache.path(Kind::Text, &key("k")).is_dir());
    }

    #[tokio::test]
    async fn what_twinboot_did_not_put_there_stays_and_is_named() {
        let (dir, cache) = cache();
        let outside = dir.path().join("outside");
        fs::create_dir_all(outside.join(key("linked"))).expect("makes");
        fs::write(outside.join(key("linked")).join("letter"), b"mine").expect("writes");
        put(&cache, "entry", 1, Duration::ZERO).await;
        symlink(&outside, cache.path(Kind::Text, &key("entry")).join("link")).expect("links");
        symlink(&outside, cache.root().join("work")).expect("links");
        symlink(outside.join(key("linked")), cache.path(Kind::Text, &key("linked"))).expect("links");
        symlink(&outside, cache.root().join("text").join(format!(".making-{}-abc123", key("linked")))).expect("links");
        for foreign in ["Documents/letter", "text/notes/letter", "host/letter", "text/evil\u{1b}[2J"] {
            let path = cache.root().join(foreign);
            fs::create_dir_all(path.parent().expect("has one")).expect("makes");
            fs::write(path, b"mine").expect("writes");
        }
        fs::write(cache.path(Kind::Text, &key("file")), b"mine").expect("writes");

        let pruned = cache.prune(Limits::default()).expect("prunes");
        assert_eq!(names(&pruned), [text("entry")]);
        let mut left: Vec<_> = pruned.left_alone.iter().map(|left| (left.name.as_str(), left.why)).collect();
        left.sort_unstable();
        let (linked, file, making) = (text("linked"), text("file"), format!("text/.making-{}-abc123", key("linked")));
        let foreign = "twinboot did not put it there";
        let mut expected = [
            ("Documents", foreign),
            ("host/letter", foreign),
            (making.as_str(), "it is a link"),
            (linked.as_str(), "it is a link"),
            (file.as_str(), foreign),
            ("text/evil\\u{1b}[2J", foreign),
            ("text/notes", foreign),
            ("work", "it is a link or no folder"),
        ];
        expected.sort_unstable();
        assert_eq!(left, expected);
        assert_eq!(fs::read(outside.join(key("linked")).join("letter")).expect("is there"), b"mine");
        for foreign in ["Documents/letter", "text/notes/letter", "host/letter"] {
            assert_eq!(fs::read(cache.root().join(foreign)).expect("is there"), b"mine");
        }
    }
}
