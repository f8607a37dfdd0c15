//! Git repositories at a revision, exported without touching anybody's checkout.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::{put, short};
use crate::build::{Error, Step};
use crate::cache::{Cache, Filled, Kind, Lock};
use crate::plan::model::Location;
use crate::process;

/// A `git` that writes nothing into `repository` of its own accord: no index refresh, no monitor, no hook.
pub fn git(repository: &Path) -> Command {
    let mut command = Command::new("git");
    command.env("LC_ALL", "C").env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0");
    // Set where twinboot itself runs from a hook, they would lead to another repository.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"] {
        command.env_remove(name);
    }
    command.arg("-C").arg(repository);
    command.args([
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.hooksPath=/dev/null",
        "-c",
        "gc.auto=0",
        "-c",
        "maintenance.auto=false",
    ]);
    command
}

/// A commit and the repository to export it from.
#[derive(Debug, Clone)]
pub struct Revision {
    /// The user's repository, or the mirror of a URL.
    pub repository: PathBuf,
    /// Full id.
    pub commit: String,
    /// Keeps a mirror in the cache.
    #[expect(dead_code, reason = "held for as long as the revision may be exported")]
    pub in_use: Option<Arc<Lock>>,
}

/// The repository to export from and the full id of the commit. A URL is mirrored into the cache, one commit deep; a commit
/// or a tag that is there already needs no network.
pub async fn resolve(
    location: &Location,
    rev: &str,
    cache: &Cache,
    progress: &(dyn Fn(Step) + Sync),
    cancel: &CancellationToken,
) -> Result<Revision, Error> {
    if rev.starts_with('-') {
        return Err(unknown(&format!("{location:?}"), rev, "a revision cannot begin with `-`".to_owned()));
    }
    match location {
        Location::Path(path) => {
            let commit = commit_of(path, rev, cancel)
                .await?
                .map_err(|reason| unknown(&path.display().to_string(), rev, reason))?;
            Ok(Revision { repository: path.clone(), commit, in_use: None })
        }
        Location::Url(url) => {
            let Filled { dir: mirror, in_use, .. } = mirror(url, cache, cancel).await?;
            let kept = format!("refs/twinboot/{}", short(rev));
            let full_id = rev.len() == 40 && rev.bytes().all(|byte| byte.is_ascii_hexdigit());
            // Commits and annotated names under refs/tags do not move; branches do, and are asked for each time.
            if (full_id || commit_of(&mirror, &format!("refs/tags/{rev}"), cancel).await?.is_ok())
                && let Ok(commit) = commit_of(&mirror, &kept, cancel).await?
            {
                return Ok(Revision { repository: mirror, commit, in_use });
            }
            progress(Step::Fetch(format!("{url} {rev}")));
            let _lock = cache.lock(Kind::Git, &short(url), cancel).await?;
            let as_tag = format!("+refs/tags/{rev}:refs/tags/{rev}");
            let plain = format!("+{rev}:{kept}");
            let fetch = async |spec: &str| {
                let mut command = git(&mirror);
                command.args(["fetch", "--quiet", "--depth=1", "--no-tags", "--", url, spec]);
                process::capture(command, cancel).await
            };
            if !full_id && fetch(&as_tag).await.is_ok() {
                let mut command = git(&mirror);
                command.args(["update-ref", &kept, &format!("refs/tags/{rev}")]);
                process::capture(command, cancel).await?;
            } else {
                match fetch(&plain).await {
                    Ok(_) => {}
                    Err(error @ process::Error::Interrupted { .. }) => return Err(error.into()),
                    Err(error) => return Err(unknown(url, rev, error.to_string())),
                }
            }
            let commit = commit_of(&mirror, &kept, cancel).await?.map_err(|reason| unknown(url, rev, reason))?;
            Ok(Revision { repository: mirror, commit, in_use })
        }
    }
}

fn unknown(location: &str, rev: &str, reason: String) -> Error {
    let hint = "name a branch, a tag or a full commit id that the repository has".to_owned();
    Error::Source { what: format!("revision `{rev}` of {location}"), reason, hint }
}

/// The full id of the commit that `rev` names, or git's words why there is none.
async fn commit_of(repository: &Path, rev: &str, cancel: &CancellationToken) -> Result<Result<String, String>, Error> {
    let mut command = git(repository);
    command.args(["rev-parse", "--verify", "--quiet", "--end-of-options"]).arg(format!("{rev}^{{commit}}"));
    match process::capture(command, cancel).await {
        Ok(id) => Ok(Ok(id.trim().to_owned())),
        Err(process::Error::Failed { stderr, .. }) if stderr.trim().is_empty() => {
            Ok(Err("there is no such commit".to_owned()))
        }
        Err(process::Error::Failed { stderr, .. }) => Ok(Err(stderr.trim().to_owned())),
        Err(error) => Err(error.into()),
    }
}

async fn mirror(url: &str, cache: &Cache, cancel: &CancellationToken) -> Result<Filled, Error> {
    cache
        .fill(Kind::Git, &short(url), cancel, async |dir: &Path| {
            let mut command = git(dir);
            command.args(["init", "--quiet", "--bare", "."]);
            process::capture(command, cancel).await.map(|_| ()).map_err(Error::from)
        })
        .await
}

/// Writes the commit's files into `dest`. Its own index beside `dest` keeps the repository's as it is.
pub async fn export(repository: &Path, commit: &str, dest: &Path, cancel: &CancellationToken) -> Result<(), Error> {
    let aside = tempfile::tempdir_in(dest.parent().unwrap_or(dest)).map_err(Error::io("make a folder beside", dest))?;
    let with_index = || {
        let mut command = git(repository);
        command.env("GIT_INDEX_FILE", aside.path().join("index")).env("GIT_WORK_TREE", dest);
        command
    };
    let mut read = with_index();
    read.args(["read-tree", commit]);
    process::capture(with_git_dir(read, repository, cancel).await?, cancel).await?;
    let mut write = with_index();
    write.args(["checkout-index", "--all", "--force", "--quiet"]);
    process::capture(with_git_dir(write, repository, cancel).await?, cancel).await?;
    Ok(())
}

/// Whether the commit has this file; an error where the repository cannot tell.
async fn has(repository: &Path, commit: &str, file: &str, cancel: &CancellationToken) -> Result<bool, process::Error> {
    let mut command = git(repository);
    command.args(["ls-tree", "--name-only", "--full-tree", commit, "--", file]);
    Ok(!process::capture(command, cancel).await?.is_empty())
}

/// Writes single files of the commit into `dest`.
pub async fn take(
    repository: &Path,
    commit: &str,
    files: &BTreeSet<String>,
    dest: &Path,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    for file in files {
        let mut command = git(repository);
        command.args(["cat-file", "blob", "--end-of-options"]).arg(format!("{commit}:{file}"));
        match process::capture(command, cancel).await {
            Ok(text) => put(dest, file, text.as_bytes())?,
            Err(process::Error::Failed { .. }) if !has(repository, commit, file, cancel).await? => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A work tree that is named by hand needs the repository's own folder named too (git(1)).
async fn with_git_dir(mut command: Command, repository: &Path, cancel: &CancellationToken) -> Result<Command, Error> {
    let mut ask = git(repository);
    ask.args(["rev-parse", "--absolute-git-dir"]);
    let dir = process::capture(ask, cancel).await?;
    command.env("GIT_DIR", dir.trim_end());
    Ok(command)
}
