//! What makes a folder a cache of twinboot's: two files that say so. Nothing is ever written to or removed from another.
//!
//! `CACHEDIR.TAG` tells backup programs to leave the folder out (Cache Directory Tagging Specification,
//! <https://bford.info/cachedir/>); `twinboot-cache.json` says whose it is, and in which version of the layout.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::folder::{Folder, Type};
use super::kind::{self, Kind};
use super::{Error, LOCKS};

/// Name of the tag and what it begins with, as the specification has them.
const TAG: &str = "CACHEDIR.TAG";
const SIGNATURE: &str = "Signature: 8a477f597d28d172789f06886806bc55";

/// Name of twinboot's own marker.
const MARKER: &str = "twinboot-cache.json";

/// What the name of a marker that is being written begins with.
const WRITING: &str = ".twinboot-cache-";

/// Goes up when older twinboots could harm what newer ones keep.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    twinboot_cache: u32,
}

/// Sees to it that the folder `root` is a cache: one with twinboot's marker, one that is empty, or one of an older twinboot,
/// which has no marker but nothing in it either that twinboot did not put there. The latter two are marked.
pub(super) fn ensure(root: &Path) -> Result<(), Error> {
    let io = |source| Error::Io { action: "open", path: root.to_path_buf(), source };
    let mut folder = Folder::open(root).map_err(io)?;
    let marked = match read(root) {
        Some(Marker { twinboot_cache: version }) if version > VERSION => {
            return Err(Error::Newer { path: root.to_path_buf(), version, known: VERSION });
        }
        marked => marked.is_some(),
    };
    if marked && has_tag(root) {
        return Ok(());
    }
    let content = if marked { Content::Entries } else { content(&mut folder).map_err(io)? };
    if let Content::Foreign(name) = content {
        return Err(Error::NotACache { path: root.to_path_buf(), found: super::printable(&name) });
    }
    let written = write(root, MARKER, &marker()).and_then(|()| write(root, TAG, &tag()));
    match written {
        // A cache that cannot be written to still serves.
        Err(_) if content == Content::Entries => Ok(()),
        written => written.map_err(|source| Error::Io { action: "mark the cache", path: root.to_path_buf(), source }),
    }
}

/// A file of a cache that is no entry.
pub(super) fn is_own(name: &OsStr) -> bool {
    name == TAG || name == MARKER || name.to_str().is_some_and(|name| name.starts_with(WRITING))
}

/// What is in a folder without a marker.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    Nothing,
    /// Entries and locks of twinboot's alone.
    Entries,
    /// Something else: the name of one.
    Foreign(OsString),
}

fn content(root: &mut Folder) -> io::Result<Content> {
    let mut entries = 0;
    for name in root.names()? {
        let foreign = || Ok(Content::Foreign(name.clone()));
        let is = root.stat(&name)?.is;
        if is_own(&name) && is == Type::File {
            continue;
        }
        let kind = Kind::of_folder(&name);
        if is != Type::Folder || (kind.is_none() && name != LOCKS) {
            return foreign();
        }
        let Ok(mut below) = root.below(&name) else { return foreign() };
        for entry in below.names()? {
            let wanted = if kind.is_some_and(|kind| !kind.is_files()) { Type::Folder } else { Type::File };
            let known = kind.map_or_else(|| kind::is_lock(&entry), |kind| kind.parse(&entry).is_some());
            if !known || below.stat(&entry)?.is != wanted {
                return Ok(Content::Foreign(Path::new(&name).join(entry).into_os_string()));
            }
            entries += 1;
        }
        if entries == 0 && kind.is_none() {
            return foreign();
        }
    }
    match (entries, root.names()?.iter().find(|name| !is_own(name))) {
        // Folders with the right names and nothing in them could be anybody's.
        (0, Some(name)) => Ok(Content::Foreign(name.clone())),
        (0, None) => Ok(Content::Nothing),
        _ => Ok(Content::Entries),
    }
}

fn read(root: &Path) -> Option<Marker> {
    let path = root.join(MARKER);
    path.symlink_metadata().ok().filter(fs::Metadata::is_file)?;
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn has_tag(root: &Path) -> bool {
    fs::read(root.join(TAG)).is_ok_and(|text| text.starts_with(SIGNATURE.as_bytes()))
}

fn marker() -> String {
    format!("{{\"twinboot_cache\": {VERSION}}}\n")
}

fn tag() -> String {
    format!(
        "{SIGNATURE}\n# This folder is a cache of twinboot's: everything in it can be made again.\n\
         # About cache directory tags: https://bford.info/cachedir/\n"
    )
}

/// Puts a file into place whole, and on the disk before it has its name.
fn write(root: &Path, name: &str, text: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let readable = fs::Permissions::from_mode(0o644);
    let mut file = tempfile::Builder::new().prefix(WRITING).permissions(readable).tempfile_in(root)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(root.join(name)).map(|_| ()).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn folder(entries: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a scratch folder");
        for entry in entries {
            let path = dir.path().join(entry.trim_end_matches('/'));
            fs::create_dir_all(path.parent().expect("has one")).expect("makes");
            if entry.ends_with('/') {
                fs::create_dir_all(&path).expect("makes");
            } else {
                fs::write(&path, b"x").expect("writes");
            }
        }
        dir
    }

    #[test]
    fn an_empty_folder_is_marked_once_and_for_all() {
        let dir = folder(&[]);
        ensure(dir.path()).expect("is empty");
        assert!(has_tag(dir.path()) && read(dir.path()).is_some());
        fs::write(dir.path().join("notes"), b"").expect("writes");
        ensure(dir.path()).expect("is a cache, whatever else is in it");
        fs::remove_file(dir.path().join(TAG)).expect("removes");
        ensure(dir.path()).expect("is a cache");
        assert!(has_tag(dir.path()), "the tag is made again");
    }

    #[test]
    fn a_cache_of_an_older_twinboot_is_known_by_its_layout() {
        let work = format!("work/{KEY}/src/Documents/letter");
        let locks = [format!("locks/kernels-{KEY}"), format!("locks/kernels-{KEY}.use")];
        let making = format!("kernels/.making-{KEY}-abc123/vmlinux");
        let host = format!("host/accel-{KEY}.json");
        let dir = folder(&[&work, &locks[0], &locks[1], &making, &host, "text/"]);
        ensure(dir.path()).expect("is a cache");
        assert!(read(dir.path()).is_some());
        let pruned = folder(&[&locks[0], "kernels/"]);
        ensure(pruned.path()).expect("is a cache that was pruned");
    }

    #[test]
    fn anything_else_is_refused_and_named_and_stays_as_it_is() {
        let inside = format!("kernels/{KEY}/vmlinux");
        let file = format!("kernels/{KEY}");
        let lock = format!("locks/kernels-{KEY}/");
        for (entries, named) in [
            (&["Documents/letter"][..], "Documents"),
            (&[".ssh/id_ed25519"], ".ssh"),
            (&["work/", "text/"], "text"),
            (&["work/notes"], "work/notes"),
            (&["work/2024/"], "work/2024"),
            (&[&inside, "notes"], "notes"),
            (&[&inside, "locks/notes"], "locks/notes"),
            (&[&file], &file),
            (&[&inside, &lock], lock.trim_end_matches('/')),
            (&["locks/"], "locks"),
            (&["host/accel-1.json"], "host/accel-1.json"),
            (&["git"], "git"),
            (&[&format!("{TAG}/")], TAG),
            (&[MARKER, "notes"], "notes"),
        ] {
            let dir = folder(entries);
            let before = walk(dir.path());
            let error = ensure(dir.path()).expect_err(named).to_string();
            assert!(error.contains(&format!("`{named}`")) && error.contains("--cache-dir"), "{error}");
            assert_eq!(walk(dir.path()), before);
        }
    }

    #[test]
    fn links_are_no_part_of_an_older_cache() {
        let outside = folder(&[&format!("{KEY}/document")]);
        let dir = folder(&[&format!("locks/kernels-{KEY}")]);
        symlink(outside.path(), dir.path().join("work")).expect("links");
        ensure(dir.path()).expect_err("the kind is a link");
        let dir = folder(&[&format!("locks/kernels-{KEY}"), "work/"]);
        symlink(outside.path().join(KEY), dir.path().join("work").join(KEY)).expect("links");
        ensure(dir.path()).expect_err("the entry is a link");
    }

    #[test]
    fn a_newer_layout_is_left_alone() {
        let dir = folder(&[]);
        fs::write(dir.path().join(MARKER), "{\"twinboot_cache\": 2}").expect("writes");
        let error = ensure(dir.path()).expect_err("is newer").to_string();
        assert!(error.contains("newer twinboot"), "{error}");
    }

    fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
        let mut found: Vec<_> = fs::read_dir(dir)
            .expect("lists")
            .flatten()
            .flat_map(|entry| {
                let path = entry.path();
                let below = if path.is_dir() { walk(&path) } else { Vec::new() };
                std::iter::once(path).chain(below)
            })
            .collect();
        found.sort();
        found
    }
}
