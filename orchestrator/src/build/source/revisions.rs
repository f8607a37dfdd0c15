//! What a developer's repository says of revisions and of work that is not committed, read without touching the checkout.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::git::{View, commit_of, git, not_found};
use crate::build::Error;
use crate::process;

/// How a diff is asked for: as patch(1) takes it, whatever configuration and attributes say.
const DIFF: [&str; 7] = ["diff-tree", "-p", "--text", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv"];

/// The full id of the commit that `rev` names in the repository at `tree`.
///
/// # Errors
///
/// When there is none, with the reason and what to do.
pub async fn commit(tree: &Path, rev: &str, cancel: &CancellationToken) -> Result<String, Error> {
    match commit_of(tree, rev, cancel).await? {
        Ok(commit) => Ok(commit),
        Err(reason) => Err(not_found(tree, rev, reason, cancel).await?),
    }
}

/// What `commit` changed against its (first) parent, as a patch with the commit's id and subject.
///
/// # Errors
///
/// When it has no parent here.
pub async fn patch_of(tree: &Path, commit: &str, cancel: &CancellationToken) -> Result<Vec<u8>, Error> {
    let Ok(parent) = commit_of(tree, &format!("{commit}^"), cancel).await? else {
        return Err(Error::Source {
            what: format!("what commit {commit} changes"),
            reason: "it has no parent in this repository: it is the first commit, or where a shallow clone ends"
                .to_owned(),
            hint: "name a later commit, or fetch the history with `git fetch --unshallow`".to_owned(),
        });
    };
    let view = View::of(tree, cancel).await?;
    let mut command = view.git();
    command.args(["log", "-1", "--no-show-signature", "--encoding=UTF-8", "--format=%s", commit, "--"]);
    let subject = process::capture(command, cancel).await?;
    let diff = diff(tree, &view, [&parent, commit], None, cancel).await?;
    // The form of `git format-patch`, without a body that could be taken for a diff.
    let head = format!("From {commit} Mon Sep 17 00:00:00 2001\nSubject: [PATCH] {}\n\n---\n", subject.trim());
    Ok([head.into_bytes(), diff].concat())
}

/// What the work tree at `tree` holds against its `HEAD`: changes in the index or not, and new files that are not ignored.
/// Empty where nothing is changed. Objects and index are written in a scratch folder alone.
///
/// # Errors
///
/// When `tree` has no work tree or no commit.
pub async fn uncommitted(tree: &Path, cancel: &CancellationToken) -> Result<Vec<u8>, Error> {
    let head = commit(tree, "HEAD", cancel).await?;
    let mut command = git(tree);
    command.args(["rev-parse", "--is-inside-work-tree"]);
    if process::capture(command, cancel).await?.trim() != "true" {
        let reason = "it is a bare repository, so it has no state that is not committed: name two revisions".to_owned();
        return Err(Error::Tree { path: tree.to_path_buf(), reason });
    }
    let view = View::of(tree, cancel).await?;
    view.take_index()?;
    // Without the repository's own objects: git would renew the time of those that are there already.
    let fresh = tempfile::tempdir().map_err(Error::io("make a folder in", std::env::temp_dir()))?;
    let apart = |args: &[&str]| {
        let mut command = view.with_work_tree(tree);
        command.env("GIT_OBJECT_DIRECTORY", fresh.path()).args(args);
        command
    };
    process::capture(apart(&["add", "--all", "--", "."]), cancel).await?;
    let now = process::capture(apart(&["write-tree", "--missing-ok"]), cancel).await?;
    diff(tree, &view, [&head, now.trim()], Some(fresh.path()), cancel).await
}

/// What the second of two commits or trees changes in the first; `objects` is a folder with more objects.
async fn diff(
    tree: &Path,
    view: &View,
    pair: [&str; 2],
    objects: Option<&Path>,
    cancel: &CancellationToken,
) -> Result<Vec<u8>, Error> {
    let mut command = view.git();
    command.envs(objects.map(|objects| ("GIT_ALTERNATE_OBJECT_DIRECTORIES", objects)));
    command.args(DIFF).args(pair).arg("--");
    let diff = process::capture_bytes(command, cancel).await?;
    if diff.contains(&0) {
        let reason =
            "the change touches a binary file, which cannot go into a patch: commit it, and name two revisions"
                .to_owned();
        return Err(Error::Tree { path: tree.to_path_buf(), reason });
    }
    Ok(diff)
}

/// The series that the kernel's `Makefile` names at `commit`, such as `6.1`.
pub async fn series(tree: &Path, commit: &str, cancel: &CancellationToken) -> Option<String> {
    let view = View::of(tree, cancel).await.ok()?;
    let mut command = view.git();
    command.args(["cat-file", "blob"]).arg(format!("{commit}:Makefile"));
    let makefile = process::capture(command, cancel).await.ok()?;
    let value = |key: &str| {
        let line = makefile.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='))?;
        line.trim().parse::<u32>().ok()
    };
    Some(format!("{}.{}", value("VERSION")?, value("PATCHLEVEL")?))
}
