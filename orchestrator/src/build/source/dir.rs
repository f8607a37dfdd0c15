//! A tree that lies on this machine, taken as it stands and never written to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::git::{View, git};
use super::put;
use crate::build::Error;
use crate::cache::{Key, sha256};
use crate::process;

/// A tree at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    dir: PathBuf,
    /// Under git: the commit and the content of every file that differs from it. Otherwise path, size, time and mode of
    /// every file.
    pub identity: String,
    /// Files and links to copy, relative to the tree.
    files: Vec<PathBuf>,
}

/// Fingerprints a tree. Under git, ignored files (what a build inside the tree has left) are not part of it.
pub async fn snapshot(dir: &Path, cancel: &CancellationToken) -> Result<Snapshot, Error> {
    let dir = dir.canonicalize().map_err(Error::io("open", dir))?;
    if dir.join(".git").exists() { tracked(dir, cancel).await } else { plain(dir).await }
}

async fn tracked(dir: PathBuf, cancel: &CancellationToken) -> Result<Snapshot, Error> {
    let mut command = git(&dir);
    command.args(["rev-parse", "--verify", "HEAD"]);
    let head = match process::capture(command, cancel).await {
        Ok(head) => head,
        Err(process::Error::Failed { stderr, .. }) => {
            return Err(Error::Tree { path: dir, reason: unreadable(&stderr) });
        }
        Err(error) => return Err(error.into()),
    };
    // Comparing files with the index must not run the repository's filters.
    let view = View::of(&dir, cancel).await?;
    view.take_index()?;
    let ask = async |args: &[&str]| -> Result<Vec<String>, Error> {
        let mut command = view.with_work_tree(&dir);
        command.args(args);
        let said = process::capture(command, cancel).await?;
        Ok(said.trim_end_matches('\n').split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
    };
    let tagged = ask(&["ls-files", "--cached", "-t", "-z"]).await?;
    if tagged.iter().any(|entry| entry.starts_with("S ")) {
        let reason =
            "it is a sparse checkout, so files of the kernel are missing: run `git sparse-checkout disable` in \
                      it, or name its revision with `git`"
                .to_owned();
        return Err(Error::Tree { path: dir, reason });
    }
    let paths = |names: Vec<String>| -> Vec<PathBuf> { names.into_iter().map(PathBuf::from).collect() };
    let difference = ["diff-index", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv"];
    let against = ["--ignore-submodules=all", "-z", head.trim(), "--"];
    let changed = paths(ask(&[&difference[..], &against[..]].concat()).await?);
    let untracked = paths(ask(&["ls-files", "--others", "--exclude-standard", "-z"]).await?);
    let known = tagged.iter().filter_map(|entry| entry.split_once(' ').map(|(_, name)| PathBuf::from(name)));
    let mut key = Key::new().part("head", head.trim());
    for file in changed.iter().chain(&untracked) {
        key = key.part(&file.to_string_lossy(), content_identity(&dir.join(file))?);
    }
    let files = known.chain(untracked).filter(|file| is_leaf(&dir.join(file))).collect();
    Ok(Snapshot { dir, identity: key.finish(), files })
}

/// Why git cannot read the repository of a tree, by what it said.
fn unreadable(stderr: &str) -> String {
    if stderr.contains("not a git repository") {
        return "its `.git` names a repository that is not here, as in a worktree without its repository: bring the \
                repository back, or remove `.git` to have the tree taken as it stands"
            .to_owned();
    }
    if stderr.contains("dubious ownership") {
        return "it belongs to another user, and git reads such a tree only if you say so: run `git config --global --add \
                safe.directory` with its path"
            .to_owned();
    }
    if stderr.contains("Needed a single revision") {
        return "its repository has no commit yet: commit something, or remove `.git`".to_owned();
    }
    format!("git cannot read it: {}", stderr.trim())
}

/// What a file is: its mode, and its content's hash or its target; where there is none, so much.
fn content_identity(path: &Path) -> Result<String, Error> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() => {
            Ok(format!("link {}", fs::read_link(path).map_err(Error::io("read", path))?.display()))
        }
        Ok(metadata) if metadata.is_file() => {
            let bytes = fs::read(path).map_err(Error::io("read", path))?;
            Ok(format!("{} {}", metadata.permissions().mode() & 0o100, sha256(bytes)))
        }
        Ok(_) => Ok("folder".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok("absent".to_owned()),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

fn is_leaf(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() || metadata.is_symlink())
}

async fn plain(dir: PathBuf) -> Result<Snapshot, Error> {
    let walked = tokio::task::spawn_blocking(move || {
        let mut found = BTreeMap::new();
        walk(&dir, Path::new(""), &mut found)?;
        let key = found.iter().fold(Key::new().part("dir", dir.to_string_lossy().as_bytes()), |key, (path, seen)| {
            key.part(&path.to_string_lossy(), seen.map(i64::to_le_bytes).concat())
        });
        Ok(Snapshot { identity: key.finish(), files: found.into_keys().collect(), dir })
    });
    walked.await.unwrap_or_else(|error| Err(Error::io("walk", "the source tree")(io::Error::other(error))))
}

/// Size, time and mode of every file and link below.
fn walk(dir: &Path, below: &Path, found: &mut BTreeMap<PathBuf, [i64; 4]>) -> Result<(), Error> {
    let here = dir.join(below);
    for entry in fs::read_dir(&here).map_err(Error::io("list", &here))? {
        let entry = entry.map_err(Error::io("list", &here))?;
        let path = below.join(entry.file_name());
        let metadata = entry.metadata().map_err(Error::io("look at", dir.join(&path)))?;
        if metadata.is_dir() {
            walk(dir, &path, found)?;
        } else if metadata.is_file() || metadata.is_symlink() {
            let seen =
                [metadata.size().cast_signed(), metadata.mtime(), metadata.mtime_nsec(), i64::from(metadata.mode())];
            found.insert(path, seen);
        }
    }
    Ok(())
}

/// Copies the tree into `dest`, sharing blocks where the file system can (`copy_file_range(2)`) and never as hard links: what
/// a build writes must not reach the user's files. A tree that changes meanwhile is refused.
pub async fn copy(snapshot: &Snapshot, dest: &Path, cancel: &CancellationToken) -> Result<(), Error> {
    let (from, to, stop) = (snapshot.clone(), dest.to_path_buf(), cancel.clone());
    let copied = tokio::task::spawn_blocking(move || {
        for file in from.files.iter().take_while(|_| !stop.is_cancelled()) {
            copy_file(&from.dir.join(file), &to.join(file))?;
        }
        Ok(())
    });
    copied.await.unwrap_or_else(|error| Err(Error::io("copy", dest)(io::Error::other(error))))?;
    if cancel.is_cancelled() {
        return Err(process::Error::Interrupted { program: "copying the tree".to_owned() }.into());
    }
    if self::snapshot(&snapshot.dir, cancel).await?.identity != snapshot.identity {
        return Err(Error::Tree {
            path: snapshot.dir.clone(),
            reason: "it changed while it was being copied; try again".to_owned(),
        });
    }
    Ok(())
}

/// Copies single files of the tree into `dest`, as they are now.
pub fn take(snapshot: &Snapshot, files: &BTreeSet<String>, dest: &Path) -> Result<(), Error> {
    for file in files {
        match fs::read(snapshot.dir.join(file)) {
            Ok(bytes) => put(dest, file, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", snapshot.dir.join(file))(error)),
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<(), Error> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
    }
    let io = Error::io("copy", from);
    let copied = match fs::read_link(from) {
        Ok(target) => std::os::unix::fs::symlink(target, to),
        Err(_) => fs::copy(from, to).and_then(|_| {
            let mode = to.metadata()?.permissions().mode();
            fs::set_permissions(to, fs::Permissions::from_mode(mode | 0o200))
        }),
    };
    copied.map_err(io)
}
