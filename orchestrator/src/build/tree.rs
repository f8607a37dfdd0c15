//! The work tree that all variants of a kernel are built from, one after the other.
//!
//! ```text
//! <cache>/work/<key>/src       the source tree, as the variant built last has it
//!                   /pristine  the touched files as the source has them
//!                   /obj       the object tree
//!                   /source.json, objects.json  what src and obj hold, and .seen beside them
//!                   /state.json
//! ```
//!
//! Going over to another variant writes only the files whose content differs, so that `make` rebuilds only what depends on
//! them. What is about to change is on record before it changes: whatever interrupts the work, the next use finds every file
//! that may be other than the source has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::beneath::{Content, Found, Root};
use super::patch::{self, Loaded};
use super::{Error, objects};
use crate::cache::{Key, Lock, Manifest, Place};

/// Touched files of a variant and what they hold; none for a file that is not there.
pub type Wanted = BTreeMap<String, Option<Content>>;

/// What is on record about a work tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Files that may be other than the source has them.
    touched: BTreeSet<String>,
    /// Touched files that the source does not have.
    absent: BTreeSet<String>,
    /// What the configuration in the object tree was made from.
    configured: Option<String>,
    /// A build began and was not seen to end.
    building: bool,
    /// Object files of a build from nothing.
    objects: Option<u64>,
}

/// What the names of scratch folders in a work tree begin with.
pub const UNPACKING: &str = "unpack-";
const PATCHING: &str = "patch-";

/// Records of what `src` and `obj` hold.
const SOURCE: &str = "source.json";
const OBJECTS: &str = "objects.json";

/// A work tree under its lock.
#[derive(Debug)]
pub struct Tree {
    dir: PathBuf,
    lock: Lock,
    state: State,
}

impl Tree {
    /// Opens the work tree in `dir`, and repairs what an interrupted build has left in its object tree.
    pub fn open(dir: PathBuf, lock: Lock) -> Result<Self, Error> {
        fs::create_dir_all(dir.join("obj")).map_err(Error::io("make", &dir))?;
        // Best effort: `twinboot clean` goes by this time.
        let _ = fs::File::open(&dir).and_then(|dir| dir.set_modified(std::time::SystemTime::now()));
        let state = match fs::read(dir.join("state.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !dir.join("src").exists() => {
                Some(State::default())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("read", dir.join("state.json"))(error)),
        };
        let mut tree = Self { dir, lock, state: state.clone().unwrap_or_default() };
        tree.remove_scratch()?;
        if state.is_none() {
            // Without its record nothing in the tree can be trusted.
            tree.give_up()?;
        }
        if tree.state.building {
            objects::repair(&tree.obj())?;
            tree.state.configured = None;
            tree.built(None)?;
        }
        Ok(tree)
    }

    /// Removes the scratch folders of a twinboot that was killed: whoever has the lock has none yet.
    fn remove_scratch(&self) -> Result<(), Error> {
        let list = Error::io("list", &self.dir);
        for entry in fs::read_dir(&self.dir).map_err(list)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(UNPACKING) || name.starts_with(PATCHING) {
                remove_dir(&entry.path())?;
            }
        }
        Ok(())
    }

    /// There is a record of what the source tree holds; older twinboots have left none.
    pub fn is_recorded(&self) -> bool {
        self.source_file().exists()
    }

    /// What is wrong with the source tree, as against its record.
    ///
    /// Blocking: it looks at every file.
    pub fn damage(&self) -> Option<String> {
        let (src, file) = (self.src(), self.source_file());
        match Manifest::read(place(&src, &file)) {
            Ok(None) => None,
            Ok(Some(source)) => self.differs(&source).err(),
            Err(reason) => Some(reason),
        }
    }

    /// Takes over a tree without a record that is what `source`, unpacked once more, holds; what differs otherwise.
    ///
    /// Blocking: it reads every file.
    pub fn record(&self, source: &Manifest) -> Result<(), String> {
        self.differs(source)?;
        source.write(&self.source_file()).map_err(|error| error.to_string())
    }

    fn differs(&self, source: &Manifest) -> Result<(), String> {
        let kept = self.dir.join("pristine");
        // A file that a variant has changed is known by its copy.
        for file in &self.state.touched {
            match fs::read(kept.join(file)).map(|bytes| source.matches(file, &bytes)) {
                Ok(Some(true)) => {}
                Err(_) if source.matches(file, &[]).is_none() => {}
                _ => return Err(format!("the copy of {file} is not the source's")),
            }
        }
        let (src, list) = (self.src(), self.source_file());
        source.verify(place(&src, &list), |file| self.state.touched.contains(file))
    }

    fn source_file(&self) -> PathBuf {
        self.dir.join(SOURCE)
    }

    fn objects_file(&self) -> PathBuf {
        self.dir.join(OBJECTS)
    }

    /// Throws everything away, to be made from nothing.
    pub fn give_up(&mut self) -> Result<(), Error> {
        self.state = State { objects: self.state.objects, ..State::default() };
        for part in ["src", "pristine", "obj"] {
            remove_dir(&self.dir.join(part))?;
        }
        for file in [SOURCE, OBJECTS] {
            put(&root(&self.dir)?, file, None)?;
        }
        fs::create_dir_all(self.obj()).map_err(Error::io("make", self.obj()))?;
        self.save()
    }

    /// What is wrong with the object tree, as against what the last build left.
    ///
    /// Blocking: it looks at every file.
    pub fn objects_damage(&self) -> Option<String> {
        let (dir, file) = (self.obj(), self.objects_file());
        let place = place(&dir, &file);
        match Manifest::read(place) {
            // An object tree of an older twinboot, or one that was cut short: `make` and `repair` know it.
            Ok(None) => None,
            Ok(Some(objects)) => objects.verify(place, |_| false).err(),
            Err(reason) => Some(reason),
        }
    }

    /// Throws the object tree away.
    pub fn give_up_objects(&mut self) -> Result<(), Error> {
        put(&root(&self.dir)?, OBJECTS, None)?;
        self.state.configured = None;
        self.save()?;
        remove_dir(&self.obj())?;
        fs::create_dir_all(self.obj()).map_err(Error::io("make", self.obj()))
    }

    /// The source tree; it is there once [`Tree::adopt`] was called.
    pub fn src(&self) -> PathBuf {
        self.dir.join("src")
    }

    /// The object tree.
    pub fn obj(&self) -> PathBuf {
        self.dir.join("obj")
    }

    /// Where the output of the build under way goes.
    pub fn log(&self) -> PathBuf {
        self.dir.join("build.log")
    }

    /// Where ccache stands in for the compiler, when it does.
    pub fn ccache(&self) -> PathBuf {
        self.dir.join("ccache")
    }

    /// The lock on the tree.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// The source tree is there.
    pub fn has_source(&self) -> bool {
        self.src().is_dir()
    }

    /// Object files that a build from nothing makes, when one has been seen to its end.
    pub fn objects(&self) -> Option<u64> {
        self.state.objects
    }

    /// Moves an unpacked source, which holds what `source` says, into place.
    pub fn adopt(&mut self, unpacked: &Path, source: &Manifest) -> Result<(), Error> {
        remove_dir(&self.dir.join("pristine"))?;
        sync(unpacked)?;
        let file = self.source_file();
        source.write(&file).map_err(Error::io("write", &file))?;
        self.state = State { objects: self.state.objects, ..State::default() };
        self.save()?;
        fs::rename(unpacked, self.src()).map_err(Error::io("make", self.src()))
    }

    /// What `patches` make of the files they touch, on top of the files that `revision` has in place of the source's, worked
    /// out in a scratch folder; and a note for each hunk with an offset or fuzz. The tree stays as it is.
    pub async fn patched(
        &mut self,
        revision: &Wanted,
        patches: &[Loaded],
        cancel: &CancellationToken,
    ) -> Result<(Wanted, Vec<String>), Error> {
        let scratch = tempfile::Builder::new()
            .prefix(PATCHING)
            .tempdir_in(&self.dir)
            .map_err(Error::io("make a folder in", &self.dir))?;
        let files: BTreeSet<(&Path, &String)> =
            patches.iter().flat_map(|patch| patch.files.iter().map(|file| (patch.path.as_path(), file))).collect();
        for (path, file) in &files {
            let outside = || patch::Error::Outside { path: path.to_path_buf(), file: (*file).clone() };
            let content = match revision.get(*file) {
                Some(content) => content.clone(),
                None => self.original(file, outside)?,
            };
            if let Some(content) = content {
                put(&root(scratch.path())?, file, Some(&content))?;
            }
        }
        let notes = patch::apply(patches, scratch.path(), cancel).await?;
        let mut wanted = Wanted::new();
        for (file, content) in revision {
            let outside = || patch::Error::Outside { path: PathBuf::new(), file: file.clone() };
            if *content != self.original(file, outside)? {
                wanted.insert(file.clone(), content.clone());
            }
        }
        for (path, file) in files {
            let outside = || patch::Error::Outside { path: path.to_path_buf(), file: file.clone() };
            let content = look(&root(scratch.path())?, file, outside)?;
            if content == self.original(file, outside)? {
                wanted.remove(file);
            } else {
                wanted.insert(file.clone(), content);
            }
        }
        Ok((wanted, notes))
    }

    /// Makes the source tree hold `wanted`, and everything else as the source has it. Returns the files it wrote.
    pub fn switch(&mut self, wanted: &Wanted) -> Result<Vec<String>, Error> {
        let concerned: BTreeSet<String> = self.state.touched.iter().chain(wanted.keys()).cloned().collect();
        let src = root(&self.src())?;
        let mut changes = Wanted::new();
        for file in &concerned {
            let outside = || patch::Error::Outside { path: self.src(), file: file.clone() };
            let now = look(&src, file, outside)?;
            let then = match wanted.get(file) {
                Some(content) => content.clone(),
                None => self.original(file, || patch::Error::Outside { path: PathBuf::new(), file: file.clone() })?,
            };
            if now != then {
                changes.insert(file.clone(), then);
            }
        }
        if !changes.is_empty() || self.state.touched != concerned {
            self.state.touched = concerned;
            self.save()?;
        }
        for (file, content) in &changes {
            put(&src, file, content.as_ref())?;
        }
        let touched = wanted.keys().cloned().collect();
        if self.state.touched != touched {
            self.state.touched = touched;
            self.save()?;
        }
        Ok(changes.into_keys().collect())
    }

    /// The object tree is configured for these sources and this `recipe` already.
    pub fn is_configured(&self, recipe: &str) -> bool {
        self.state.configured.as_deref() == Some(recipe) && self.obj().join(".config").is_file()
    }

    /// Notes that the object tree is configured.
    pub fn configured(&mut self, recipe: String) -> Result<(), Error> {
        self.state.configured = Some(recipe);
        self.save()
    }

    /// Notes that `make` is about to change the object tree, and its configuration unless `recipe` is what it was made for.
    pub fn building(&mut self, recipe: &str) -> Result<(), Error> {
        // What it was before says nothing any more.
        put(&root(&self.dir)?, OBJECTS, None)?;
        self.state.building = true;
        self.state.configured = self.state.configured.take().filter(|configured| configured == recipe);
        self.save()
    }

    /// Notes that `make` has ended by itself; `objects` when it made everything from nothing.
    pub fn built(&mut self, objects: Option<u64>) -> Result<(), Error> {
        let obj = self.obj();
        let made = Manifest::of(&obj, false).map_err(Error::io("read", &obj))?;
        sync(&obj)?;
        let file = self.objects_file();
        made.write(&file).map_err(Error::io("write", &file))?;
        self.state.building = false;
        self.state.objects = objects.or(self.state.objects);
        self.save()
    }

    /// A file as the source has it; kept aside before anything can change it.
    fn original(&mut self, file: &str, outside: impl FnOnce() -> patch::Error) -> Result<Option<Content>, Error> {
        if self.state.absent.contains(file) {
            return Ok(None);
        }
        let pristine = self.dir.join("pristine");
        fs::create_dir_all(&pristine).map_err(Error::io("make", &pristine))?;
        let pristine = root(&pristine)?;
        if let Found::File(content) = pristine.read(file).map_err(Error::io("read", pristine.path().join(file)))? {
            return Ok(Some(content));
        }
        let content = look(&root(&self.src())?, file, outside)?;
        if let Some(content) = &content {
            put(&pristine, file, Some(content))?;
        } else {
            self.state.absent.insert(file.to_owned());
            self.save()?;
        }
        Ok(content)
    }

    fn save(&self) -> Result<(), Error> {
        let path = self.dir.join("state.json");
        let bytes = serde_json::to_vec(&self.state).map_err(|error| Error::io("write", &path)(error.into()))?;
        put(&root(&self.dir)?, "state.json", Some(&Content { bytes, mode: 0o644 }))
    }
}

/// The files of a work tree as the source has them, for those who read while others may build in it.
#[derive(Debug)]
pub struct Pristine {
    dir: PathBuf,
    source: Manifest,
}

impl Pristine {
    /// Opens the work tree in `dir`; none where there is none, or no record of what its source holds.
    pub fn open(dir: &Path) -> Option<Self> {
        let (src, file) = (dir.join("src"), dir.join(SOURCE));
        let source = Manifest::read(place(&src, &file)).ok()??;
        src.is_dir().then(|| Self { dir: dir.to_path_buf(), source })
    }

    /// A file of the source; the inner none where the source has no such file, the outer none where it cannot be had.
    pub fn read(&self, file: &str) -> Option<Option<Vec<u8>>> {
        if self.source.matches(file, &[]).is_none() {
            return Some(None);
        }
        // Kept aside before it is first written to.
        let places = [self.dir.join("pristine").join(file), self.dir.join("src").join(file)];
        let mut found = places.iter().filter_map(|path| fs::read(path).ok());
        found.find(|bytes| self.source.matches(file, bytes) == Some(true)).map(Some)
    }
}

/// Digests are compared once and not after each boot of the host: hashing 1.3 GB would cost more than the build after a
/// small patch. What is recorded was on the disk before its record, so no crash can take from it.
fn place<'a>(dir: &'a Path, file: &'a Path) -> Place<'a> {
    Place { dir, file, each_boot: false }
}

/// Identity of the touched files that decide how Kconfig sees the tree.
pub fn kconfig_identity(wanted: &Wanted) -> String {
    let decides = |file: &str| {
        let name = file.rsplit('/').next().unwrap_or(file);
        name.starts_with("Kconfig")
            || name.starts_with("Makefile")
            || file.starts_with("scripts/")
            || file.contains("/configs/")
    };
    let key = wanted.iter().filter(|(file, _)| decides(file)).fold(Key::new(), |key, (file, content)| match content {
        Some(content) => key.part(file, &content.bytes),
        None => key.part("absent", file),
    });
    key.finish()
}

fn root(path: &Path) -> Result<Root, Error> {
    Root::open(path).map_err(Error::io("open", path))
}

/// A plain file's content; none if there is no such file.
fn look(root: &Root, file: &str, outside: impl FnOnce() -> patch::Error) -> Result<Option<Content>, Error> {
    match root.read(file).map_err(Error::io("read", root.path().join(file)))? {
        Found::File(content) => Ok(Some(content)),
        Found::Absent => Ok(None),
        Found::NotPlain => Err(outside().into()),
    }
}

/// Writes a file whole or not at all, or removes it.
fn put(root: &Root, file: &str, content: Option<&Content>) -> Result<(), Error> {
    match content {
        Some(content) => root.write(file, content).map_err(Error::io("write", root.path().join(file))),
        None => root.remove(file).map_err(Error::io("remove", root.path().join(file))),
    }
}

/// Has everything on the file system of `path` on the disk: one syncfs(2) for 80,000 files.
fn sync(path: &Path) -> Result<(), Error> {
    let synced = fs::File::open(path).and_then(|dir| Ok(nix::unistd::syncfs(dir)?));
    synced.map_err(Error::io("write", path))
}

fn remove_dir(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Cache, Kind};
    use crate::plan::model;

    const HELLO: &str = "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-one\n+hello\n";
    const BOTH: &str = "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-one\n+hello\n--- a/b\n+++ b/b\n@@ -1 +1 @@\n-two\n+world\n";
    const MADE: &str =
        "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-one\n+hello\n--- /dev/null\n+++ b/z/made\n@@ -0,0 +1 @@\n+new\n";

    struct Bench {
        dir: tempfile::TempDir,
        cache: Cache,
        cancel: CancellationToken,
    }

    impl Bench {
        async fn new() -> Self {
            let dir = tempfile::tempdir().expect("a scratch folder");
            let cache = Cache::open(Some(dir.path())).expect("opens");
            let bench = Self { dir, cache, cancel: CancellationToken::new() };
            let unpacked = bench.dir.path().join("unpacked");
            fs::create_dir(&unpacked).expect("makes");
            for (name, text) in [("a", "one\n"), ("b", "two\n"), ("c", "three\n")] {
                fs::write(unpacked.join(name), text).expect("writes");
            }
            let source = Manifest::of(&unpacked, false).expect("reads");
            bench.open().await.adopt(&unpacked, &source).expect("adopts");
            bench
        }

        async fn open(&self) -> Tree {
            let lock = self.cache.lock(Kind::Work, &Key::new().finish(), &self.cancel).await.expect("is free");
            Tree::open(self.dir.path().join("work"), lock).expect("opens")
        }

        async fn wanted(&self, tree: &mut Tree, diff: &str) -> Wanted {
            let path = self.dir.path().join("x.patch");
            fs::write(&path, diff).expect("writes");
            let patches = [patch::load(&model::Patch { path, reverse: false }).expect("reads")];
            tree.patched(&Wanted::new(), &patches, &self.cancel).await.expect("applies").0
        }

        fn text(&self, file: &str) -> String {
            fs::read_to_string(self.dir.path().join("work/src").join(file)).expect("reads")
        }
    }

    #[tokio::test]
    async fn only_files_that_differ_are_written() {
        let bench = Bench::new().await;
        let mut tree = bench.open().await;
        let hello = bench.wanted(&mut tree, HELLO).await;
        assert_eq!(tree.switch(&hello).expect("switches"), ["a"]);
        let time = |file: &str| {
            fs::metadata(tree.src().join(file)).and_then(|metadata| metadata.modified()).expect("has a time")
        };
        let before = [time("a"), time("c")];
        let both = bench.wanted(&mut tree, BOTH).await;
        assert_eq!(tree.switch(&both).expect("switches"), ["b"], "a holds what is wanted already");
        let time = |file: &str| {
            fs::metadata(tree.src().join(file)).and_then(|metadata| metadata.modified()).expect("has a time")
        };
        assert_eq!([time("a"), time("c")], before);
        assert_eq!(tree.switch(&Wanted::new()).expect("switches"), ["a", "b"]);
        assert_eq!((bench.text("a"), bench.text("b")), ("one\n".to_owned(), "two\n".to_owned()));
    }

    #[tokio::test]
    async fn a_switch_that_breaks_off_is_repaired_by_the_next() {
        let bench = Bench::new().await;
        let mut tree = bench.open().await;
        let made = bench.wanted(&mut tree, MADE).await;
        // A file where the patch needs a folder: the switch fails after its first file.
        fs::write(tree.src().join("z"), "in the way").expect("writes");
        tree.switch(&made).expect_err("cannot write z/made");
        assert_eq!(bench.text("a"), "hello\n");
        drop(tree);

        fs::remove_file(bench.dir.path().join("work/src/z")).expect("is there");
        let mut tree = bench.open().await;
        assert_eq!(tree.switch(&Wanted::new()).expect("switches"), ["a"]);
        assert_eq!(bench.text("a"), "one\n");
        let made = bench.wanted(&mut tree, MADE).await;
        assert_eq!(tree.switch(&made).expect("switches"), ["a", "z/made"]);
        assert_eq!(tree.switch(&Wanted::new()).expect("switches"), ["a", "z/made"]);
        assert!(!tree.src().join("z/made").exists());
    }

    #[tokio::test]
    async fn a_tree_without_its_record_is_given_up() {
        let bench = Bench::new().await;
        fs::write(bench.dir.path().join("work/state.json"), "{ not json").expect("writes");
        assert!(!bench.open().await.has_source());
    }

    #[tokio::test]
    async fn a_symbolic_link_is_not_followed() {
        let bench = Bench::new().await;
        let mut tree = bench.open().await;
        let outside = bench.dir.path().join("outside");
        fs::write(&outside, "one\n").expect("writes");
        fs::remove_file(tree.src().join("a")).expect("is there");
        std::os::unix::fs::symlink(&outside, tree.src().join("a")).expect("links");
        let path = bench.dir.path().join("x.patch");
        fs::write(&path, HELLO).expect("writes");
        let patches = [patch::load(&model::Patch { path, reverse: false }).expect("reads")];
        let refused = tree.patched(&Wanted::new(), &patches, &bench.cancel).await;
        assert!(matches!(refused, Err(Error::Patch(patch::Error::Outside { .. }))), "{refused:?}");
    }

    #[tokio::test]
    async fn a_folder_that_is_a_link_is_not_followed() {
        let bench = Bench::new().await;
        let mut tree = bench.open().await;
        let outside = bench.dir.path().join("outside");
        fs::create_dir(&outside).expect("makes");
        fs::write(outside.join("memory.c"), "one\n").expect("writes");
        std::os::unix::fs::symlink(&outside, tree.src().join("mm")).expect("links");
        for diff in [
            HELLO.replace("/a", "/mm/memory.c"),
            "--- /dev/null\n+++ b/mm/fresh.c\n@@ -0,0 +1 @@\n+new\n".to_owned(),
            "--- a/mm/memory.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n".to_owned(),
        ] {
            let path = bench.dir.path().join("x.patch");
            fs::write(&path, diff).expect("writes");
            let patches = [patch::load(&model::Patch { path, reverse: false }).expect("reads")];
            let refused = tree.patched(&Wanted::new(), &patches, &bench.cancel).await;
            assert!(matches!(refused, Err(Error::Patch(patch::Error::Outside { .. }))), "{refused:?}");
        }
        // Should a link appear between the check and the switch, the switch does not follow it either.
        let wanted = Wanted::from([("mm/memory.c".to_owned(), Some(Content { bytes: b"evil".to_vec(), mode: 0o644 }))]);
        tree.switch(&wanted).expect_err("does not follow the link");
        assert_eq!(fs::read_to_string(outside.join("memory.c")).expect("is there"), "one\n");
        assert_eq!(fs::read_dir(&outside).expect("lists").count(), 1);
    }

    #[test]
    fn only_some_files_decide_the_configuration() {
        let wanted =
            |file: &str| Wanted::from([(file.to_owned(), Some(Content { bytes: b"x".to_vec(), mode: 0o644 }))]);
        let nothing = kconfig_identity(&Wanted::new());
        assert_eq!(kconfig_identity(&wanted("mm/memory.c")), nothing);
        for file in [
            "mm/Kconfig",
            "lib/Kconfig.debug",
            "arch/x86/Makefile",
            "scripts/kconfig/conf.c",
            "arch/x86/configs/x86_64_defconfig",
        ] {
            assert_ne!(kconfig_identity(&wanted(file)), nothing, "{file}");
        }
    }
}
