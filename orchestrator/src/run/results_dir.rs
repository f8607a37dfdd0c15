//! The results folder: `results/<plan>-<utc>/`, and the link `results/latest` to the newest.

use std::io;
use std::path::{Path, PathBuf};

use super::Error;
use crate::build::BuiltKernel;
use crate::journal::{CELLS, CellId};
use crate::nofollow;

/// Folder in a results folder with the plan that `twinboot compare` has written for the run.
pub const PLAN: &str = "plan";

/// Makes the folder of a run. `out` is taken as it stands and must hold nothing but [`PLAN`];
/// otherwise the folder is made under `results` in the working directory, named by plan and time,
/// and `latest` points to it.
pub fn create(out: Option<&Path>, plan: &str, utc: &jiff::Timestamp) -> Result<PathBuf, Error> {
    if let Some(out) = out {
        make(out)?;
        let entries = std::fs::read_dir(out).map_err(|source| failed("read", out, source))?;
        let mut others = entries.filter(|entry| !entry.as_ref().is_ok_and(|entry| entry.file_name() == PLAN));
        return match others.next() {
            None => absolute(out),
            Some(_) => Err(Error::Occupied { path: out.to_path_buf() }),
        };
    }
    let parent = Path::new("results");
    make(parent)?;
    let stamp = utc.strftime("%Y%m%dT%H%M%SZ");
    let mut name = format!("{plan}-{stamp}");
    let mut duplicate = 1;
    while let Err(source) = std::fs::create_dir(parent.join(&name)) {
        if source.kind() != io::ErrorKind::AlreadyExists {
            return Err(failed("make", &parent.join(&name), source));
        }
        duplicate += 1;
        name = format!("{plan}-{stamp}-{duplicate}");
    }
    point_latest(parent, &name)?;
    absolute(&parent.join(name))
}

/// Moves `latest` in one step, so that a reader never finds it missing. Only a link is ever replaced.
fn point_latest(parent: &Path, name: &str) -> Result<(), Error> {
    let link = parent.join("latest");
    if link.symlink_metadata().is_ok_and(|there| !there.is_symlink()) {
        let there = io::Error::new(
            io::ErrorKind::AlreadyExists,
            "it is no link, so twinboot did not put it there; rename it, or name the folder with --out",
        );
        return Err(failed("replace", &link, there));
    }
    let fresh = tempfile::Builder::new()
        .prefix(".latest-")
        .make_in(parent, |fresh| std::os::unix::fs::symlink(name, fresh))
        .map_err(|source| failed("make a link in", parent, source))?;
    fresh.into_temp_path().persist(&link).map_err(|error| failed("replace", &link, error.error))
}

/// Makes a cell's folder with the build log and the configuration of its kernel, all within `results`: a folder that is gone
/// on with may come from somebody else.
pub fn cell(results: &Path, cell: &str, kernel: Option<&BuiltKernel>) -> Result<PathBuf, Error> {
    let id = CellId::new(cell).map_err(|error| Error::Cell { source: error })?;
    let folder = id.folder(results);
    for folder in [results.join(CELLS), folder.clone()] {
        nofollow::folder(&folder).map_err(|source| failed("make", &folder, source))?;
    }
    let logs = kernel.map(|kernel| [(&kernel.log, "build.log"), (&kernel.config, "kernel.config")]);
    for (from, name) in logs.into_iter().flatten() {
        if let Some(from) = from {
            let to = folder.join(name);
            nofollow::copy(from, &to).map_err(|source| failed("write", &to, source))?;
        }
    }
    Ok(folder)
}

fn make(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(|source| failed("make", path, source))
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    path.canonicalize().map_err(|source| failed("open", path, source))
}

pub(super) fn failed(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_something_in_it_is_refused() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let now = jiff::Timestamp::UNIX_EPOCH;
        create(Some(dir.path()), "plan", &now).expect("empty is fine");
        std::fs::write(dir.path().join("journal.jsonl"), b"").expect("writes");
        assert!(matches!(create(Some(dir.path()), "plan", &now), Err(Error::Occupied { .. })));
    }

    #[test]
    fn latest_moves_to_the_newest() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        for name in ["one", "two"] {
            point_latest(dir.path(), name).expect("links");
            assert_eq!(std::fs::read_link(dir.path().join("latest")).expect("a link"), Path::new(name));
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 1, "nothing else is left");
    }

    #[test]
    fn what_is_no_link_is_never_replaced() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let latest = dir.path().join("latest");
        std::fs::write(&latest, b"mine").expect("writes");
        let error = point_latest(dir.path(), "one").expect_err("is a file");
        assert!(crate::causes::chain(&error).contains("--out"), "{error:?}");
        assert_eq!(std::fs::read(&latest).expect("is there"), b"mine");
        assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 1, "nothing else is left");
    }
    #[test]
    fn a_cells_folder_lies_within_the_results() {
        let (dir, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        for id in ["..", "../x", "/tmp/x", "a/b", ""] {
            assert!(matches!(cell(dir.path(), id, None), Err(Error::Cell { .. })), "{id}");
        }
        cell(dir.path(), "a.b.c", None).expect("makes it");
        cell(dir.path(), "a.b.c", None).expect("finds it");
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("cells/linked")).expect("links");
        assert!(matches!(cell(dir.path(), "linked", None), Err(Error::Io { .. })));
    }
}
