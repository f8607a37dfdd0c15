//! What an entry holds, byte for byte, so that damage is seen before the entry is used.
//!
//! A manifest names each file with its size and SHA-256. It is written last, after everything that it names is on the disk,
//! so an entry without one was never finished. Hashing 140 MB at each use would cost more than most of what the cache saves;
//! a memo beside the manifest therefore keeps what stat(2) said of a file when its digest was last found right. As long as
//! device, inode, size, mtime and ctime are the same, nobody has written to it since: the kernel sets ctime at every write
//! and at every change of mtime. A crash of the host may lose writes and keep times, so the memo of an entry ends with the
//! boot that it was made in.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{digest, sha256};
use crate::host;

/// Goes up when older manifests say too little.
const VERSION: u32 = 1;

/// A file that changed so recently may change again without its ctime showing it: the kernel's clock for file times ticks
/// every 1 to 10 ms (`current_time()`, fs/inode.c). git calls this "racily clean".
const RACY: Duration = Duration::from_millis(100);

/// Every file and link below a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    files: BTreeMap<String, Content>,
}

/// What a file holds, or where a link leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    bytes: u64,
    sha256: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    link: bool,
}

/// What stat(2) said of files whose digests were right.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Memo {
    /// The host's boot, where the memo ends with it.
    boot: Option<String>,
    stats: BTreeMap<String, Stamp>,
}

/// Device, inode, size, mtime and ctime with their nanoseconds.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

/// Where a manifest stands and how it is used.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The folder it is about.
    pub dir: &'a Path,
    /// Its own file; the memo is the one beside it that ends in `.seen`.
    pub file: &'a Path,
    /// A memo is good for one boot of the host alone. Without it, what the manifest names must be on the disk before the
    /// manifest is written, and content that rots on the disk is not seen.
    pub each_boot: bool,
}

impl Manifest {
    /// Reads everything below `dir`. With `sync`, each file and folder is on the disk when this returns.
    pub fn of(dir: &Path, sync: bool) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        collect(dir, dir, sync, &mut files)?;
        Ok(Self { version: VERSION, files })
    }

    /// Writes the manifest, and has it on the disk when this returns.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        replace(file, &serde_json::to_vec(self)?, true)
    }

    /// The manifest at `place`; none where there is no file, and what is wrong with it otherwise.
    pub fn read(place: Place<'_>) -> Result<Option<Self>, String> {
        let text = match fs::read(place.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("its manifest: {error}")),
        };
        let read: Self = serde_json::from_slice(&text).map_err(|error| format!("its manifest: {error}"))?;
        if read.version == VERSION { Ok(Some(read)) } else { Err(format!("its manifest has version {}", read.version)) }
    }

    /// Sees whether everything is as it was written, but for the files that `skip` names. What is wrong otherwise.
    ///
    /// Blocking: it reads what the memo does not know.
    pub fn verify(&self, place: Place<'_>, skip: impl Fn(&str) -> bool) -> Result<(), String> {
        let boot = place.each_boot.then(|| host::boot_id().unwrap_or_default());
        let memo_file = place.file.with_extension("seen");
        let memo: Memo =
            fs::read(&memo_file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let known = if memo.boot == boot { memo.stats } else { BTreeMap::new() };
        let mut stats = BTreeMap::new();
        let mut news = false;
        let racy = SystemTime::now().checked_sub(RACY).unwrap_or(SystemTime::UNIX_EPOCH);
        for (name, content) in self.files.iter().filter(|(name, _)| !skip(name)) {
            let path = place.dir.join(name);
            let metadata = path.symlink_metadata().map_err(|error| format!("{name}: {error}"))?;
            let stamp = stamp(&metadata);
            if known.get(name) != Some(&stamp) {
                news = true;
                content.verify(&path, &metadata).map_err(|reason| format!("{name} {reason}"))?;
                if changed(&metadata) > racy {
                    continue;
                }
            }
            stats.insert(name.clone(), stamp);
        }
        if news && let Ok(text) = serde_json::to_vec(&Memo { boot, stats }) {
            // Best effort: without it the next use reads everything again.
            let _ = replace(&memo_file, &text, false);
        }
        Ok(())
    }

    /// Whether `bytes` are what the file `name` holds; none where there is no such file.
    pub fn matches(&self, name: &str, bytes: &[u8]) -> Option<bool> {
        self.files.get(name).map(|content| content.sha256 == sha256(bytes))
    }
}

impl Content {
    fn verify(&self, path: &Path, metadata: &Metadata) -> Result<(), String> {
        if metadata.len() != self.bytes {
            return Err(format!("holds {} bytes of the {} that were written", metadata.len(), self.bytes));
        }
        let found = read(path, metadata, false).map_err(|error| format!("cannot be read: {error}"))?;
        match found {
            Some(found) if found == *self => Ok(()),
            _ => Err(format!("holds {} bytes that are not those that were written", self.bytes)),
        }
    }
}

/// Reads a file or a link; none for anything else.
fn read(path: &Path, metadata: &Metadata, sync: bool) -> io::Result<Option<Content>> {
    if metadata.is_symlink() {
        let target = fs::read_link(path)?;
        return Ok(Some(Content { bytes: metadata.len(), sha256: sha256(target.as_os_str().as_bytes()), link: true }));
    }
    if !metadata.is_file() {
        return Ok(None);
    }
    let mut file = File::open(path)?;
    let (bytes, sha256) = digest(&mut file)?;
    if sync {
        file.sync_all()?;
    }
    Ok(Some(Content { bytes, sha256, link: false }))
}

fn collect(top: &Path, dir: &Path, sync: bool, files: &mut BTreeMap<String, Content>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let metadata = path.symlink_metadata()?;
        if metadata.is_dir() {
            collect(top, &path, sync, files)?;
        } else if let Some(content) = read(&path, &metadata, sync)?
            // A name that is no text is in no path that twinboot or a kernel's makefiles use.
            && let Some(name) = path.strip_prefix(top).ok().and_then(Path::to_str)
        {
            files.insert(name.to_owned(), content);
        }
    }
    if sync { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// Puts a file into place whole. With `sync`, it is on the disk when this returns.
fn replace(file: &Path, text: &[u8], sync: bool) -> io::Result<()> {
    let dir = file.parent().unwrap_or(file);
    let mut beside = tempfile::Builder::new().prefix(".twinboot-").tempfile_in(dir)?;
    io::Write::write_all(&mut beside, text)?;
    if sync {
        beside.as_file().sync_all()?;
    }
    beside.persist(file).map_err(|error| error.error)?;
    if sync { File::open(dir)?.sync_all() } else { Ok(()) }
}

fn stamp(metadata: &Metadata) -> Stamp {
    let m = metadata;
    (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec())
}

fn changed(metadata: &Metadata) -> SystemTime {
    let (seconds, nanoseconds) = (metadata.ctime(), metadata.ctime_nsec());
    let since = Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanoseconds).unwrap_or(0));
    SystemTime::UNIX_EPOCH + since
}

/// Name of an entry's manifest in it.
pub(super) fn in_entry(dir: &Path) -> PathBuf {
    dir.join(".twinboot-entry.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench(tempfile::TempDir);

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a scratch folder");
            fs::create_dir_all(dir.path().join("tree/deep")).expect("makes");
            fs::write(dir.path().join("tree/deep/file"), b"content").expect("writes");
            fs::write(dir.path().join("tree/empty"), b"").expect("writes");
            std::os::unix::fs::symlink("deep/file", dir.path().join("tree/link")).expect("links");
            Manifest::of(&dir.path().join("tree"), true)
                .and_then(|it| it.write(&dir.path().join("list")))
                .expect("writes");
            Self(dir)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join("tree").join(name)
        }

        fn verify(&self) -> Result<(), String> {
            let (dir, file) = (self.0.path().join("tree"), self.0.path().join("list"));
            let place = Place { dir: &dir, file: &file, each_boot: true };
            Manifest::read(place)?.ok_or("there is none")?.verify(place, |_| false)
        }

        fn memo(&self) -> Memo {
            let text = fs::read(self.0.path().join("list.seen")).unwrap_or_default();
            serde_json::from_slice(&text).unwrap_or_default()
        }
    }

    #[test]
    fn every_kind_of_damage_is_seen_with_a_memo_and_without() {
        type Damage = fn(&Bench);
        let cases: [(&str, Damage); 7] = [
            ("deep/file holds 0 bytes of the 7", |b| fs::write(b.path("deep/file"), b"").expect("writes")),
            ("deep/file holds 7 bytes that are not", |b| fs::write(b.path("deep/file"), b"contenT").expect("writes")),
            ("deep/file: No such file", |b| fs::remove_file(b.path("deep/file")).expect("removes")),
            ("empty holds 1 bytes of the 0", |b| fs::write(b.path("empty"), b"x").expect("writes")),
            ("link holds", |b| {
                fs::remove_file(b.path("link")).expect("removes");
                std::os::unix::fs::symlink("deep/fil3", b.path("link")).expect("links");
            }),
            ("link holds", |b| {
                fs::remove_file(b.path("link")).expect("removes");
                fs::write(b.path("link"), b"deep/file").expect("writes");
            }),
            ("its manifest: ", |b| fs::write(b.0.path().join("list"), b"{\"version\": 1").expect("writes")),
        ];
        for (reason, damage) in cases {
            for with_memo in [false, true] {
                let bench = Bench::new();
                if with_memo {
                    std::thread::sleep(RACY * 2);
                    bench.verify().expect("as it was written");
                    assert_eq!(bench.memo().stats.len(), 3);
                }
                damage(&bench);
                let found = bench.verify().expect_err(reason);
                assert!(found.starts_with(reason), "{found} for {reason}, memo: {with_memo}");
            }
        }
    }

    #[test]
    fn a_change_that_keeps_size_and_mtime_is_seen() {
        let bench = Bench::new();
        std::thread::sleep(RACY * 2);
        bench.verify().expect("as it was written");
        let before = fs::metadata(bench.path("deep/file")).and_then(|it| it.modified()).expect("has a time");
        fs::write(bench.path("deep/file"), b"c0ntent").expect("writes");
        File::options()
            .append(true)
            .open(bench.path("deep/file"))
            .and_then(|it| it.set_modified(before))
            .expect("sets");
        bench.verify().expect_err("ctime tells");
    }

    #[test]
    fn a_memo_is_believed_for_its_own_boot_and_never_of_what_has_just_changed() {
        let bench = Bench::new();
        bench.verify().expect("as it was written");
        assert!(bench.memo().stats.is_empty(), "too new to be remembered");
        std::thread::sleep(RACY * 2);
        bench.verify().expect("as it was written");
        let memo = bench.memo();
        assert_eq!((memo.stats.len(), memo.boot.as_deref()), (3, host::boot_id().ok().as_deref()));

        // A wrong digest under a right memo: only the next boot finds it.
        let list = bench.0.path().join("list");
        let text = fs::read_to_string(&list).expect("reads").replace(&sha256("content"), &sha256("other"));
        fs::write(&list, text).expect("writes");
        bench.verify().expect("the memo knows the file");
        let other = Memo { boot: Some("another boot".to_owned()), ..memo };
        fs::write(bench.0.path().join("list.seen"), serde_json::to_vec(&other).expect("plain data")).expect("writes");
        bench.verify().expect_err("is read again");
    }
}
