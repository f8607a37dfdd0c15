//! Git repositories at a revision, exported without touching anybody's checkout.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::{put, short};
use crate::build::beneath::Content;
use crate::build::tree::Wanted;
use crate::build::{Error, Step};
use crate::cache::{Cache, Filled, Kind, Lock};
use crate::plan::model::Location;
use crate::process;

/// A `git` in `repository` that runs nothing which the repository asks for: no filter, hook, monitor, helper or pager,
/// no lazy fetch of a partial clone, no transport at all. It writes nothing of its own accord and does not take
/// a repository further up for the one that was named.
///
/// What cannot be switched off for all names at once, such as filter drivers, is kept out by [`View`], which every
/// command uses that looks at files or at a work tree.
pub fn git(repository: &Path) -> Command {
    let mut command = plain(repository);
    // An empty list would be taken for none set (git(1), GIT_ALLOW_PROTOCOL).
    command.env("GIT_ALLOW_PROTOCOL", "none").env("GIT_NO_LAZY_FETCH", "1");
    command.env("GIT_SSH_COMMAND", "false").env("GIT_ASKPASS", "false").env("SSH_ASKPASS", "false");
    command
}

/// A `git` that may fetch from the address that a plan names, into a mirror that twinboot made itself. The user's own
/// configuration of ssh, proxies and credentials applies.
fn fetching(mirror: &Path) -> Command {
    let mut command = plain(mirror);
    command.env("GIT_ALLOW_PROTOCOL", "https:http:ssh:git:file");
    // A server that is silent for a minute is given up (git-config(1), http.lowSpeedLimit).
    command.env("GIT_HTTP_LOW_SPEED_LIMIT", "1024").env("GIT_HTTP_LOW_SPEED_TIME", "60");
    command
}

fn plain(repository: &Path) -> Command {
    let mut command = Command::new("git");
    command.env("LC_ALL", "C").env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0");
    if let Some(parent) = repository.canonicalize().ok().as_deref().and_then(Path::parent) {
        command.env("GIT_CEILING_DIRECTORIES", parent);
    }
    // Set where twinboot itself runs from a hook, they would lead to another repository or configuration.
    for name in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_NAMESPACE",
        "GIT_PREFIX",
        "GIT_CONFIG_PARAMETERS",
        "GIT_CONFIG_COUNT",
        "GIT_EXTERNAL_DIFF",
    ] {
        command.env_remove(name);
    }
    command.arg("-C").arg(repository).arg("--no-pager");
    for setting in ["core.fsmonitor=false", "core.hooksPath=/dev/null", "gc.auto=0", "maintenance.auto=false"] {
        command.args(["-c", setting]);
    }
    command
}

/// A bare repository of twinboot's own that borrows the objects of another one and nothing else: neither its configuration
/// nor its attributes. Filter drivers, textconv programs and the like are not defined in it, so none can run, and its
/// attributes switch every conversion off, so that files are the blobs as they are.
#[derive(Debug)]
pub struct View {
    dir: TempDir,
    /// The other repository's folder (`.git`), for its index and its excludes.
    git_dir: PathBuf,
}

impl View {
    /// A view of `repository`.
    ///
    /// # Errors
    /// It is no repository, or a scratch folder cannot be made.
    pub async fn of(repository: &Path, cancel: &CancellationToken) -> Result<Self, Error> {
        let mut command = git(repository);
        command.args(["rev-parse", "--show-object-format", "--absolute-git-dir"]);
        command.args(["--path-format=absolute", "--git-path", "objects"]);
        let said = process::capture(command, cancel).await?;
        let mut lines = said.lines();
        let (Some(format), Some(git_dir), Some(objects)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(Error::Tree {
                path: repository.to_path_buf(),
                reason: "git does not say where its objects are".to_owned(),
            });
        };
        let dir = tempfile::tempdir().map_err(Error::io("make a folder in", std::env::temp_dir()))?;
        // Extensions count from version 1 on (gitrepository-layout(5)).
        let (version, extensions) = match format {
            "sha1" => (0, String::new()),
            format => (1, format!("[extensions]\n\tobjectFormat = {format}\n")),
        };
        let config = format!(
            "[core]\n\trepositoryformatversion = {version}\n\tbare = true\n\tautocrlf = false\n\tsymlinks = true\n\
             {extensions}"
        );
        let files = [
            ("HEAD", "ref: refs/heads/none\n".to_owned()),
            ("config", config),
            ("objects/info/alternates", format!("{}\n", quoted(objects))),
            ("info/attributes", "* -text -ident -filter -working-tree-encoding -diff !eol\n".to_owned()),
        ];
        std::fs::create_dir(dir.path().join("refs")).map_err(Error::io("make", dir.path().join("refs")))?;
        for (name, text) in files {
            put(dir.path(), name, text.as_bytes())?;
        }
        Ok(Self { dir, git_dir: PathBuf::from(git_dir) })
    }

    /// A `git` that works on the view.
    pub fn git(&self) -> Command {
        let mut command = git(self.dir.path());
        command.env("GIT_DIR", self.dir.path());
        command
    }

    /// A `git` that works on the view with an index of its own, and with the work tree `tree`.
    pub fn with_work_tree(&self, tree: &Path) -> Command {
        let mut command = self.git();
        command.args(["-c", "core.bare=false"]).arg("-C").arg(tree);
        command.env("GIT_INDEX_FILE", self.dir.path().join("index")).env("GIT_WORK_TREE", tree);
        command
    }

    /// Takes over the other repository's index and its list of excluded files.
    pub fn take_index(&self) -> Result<(), Error> {
        // With its time: git compares the contents of a file that is no older than the index ("racy git").
        let with_time = |from: &Path, to: &Path| {
            std::fs::copy(from, to)?;
            let modified = from.metadata()?.modified()?;
            std::fs::File::options().write(true).open(to)?.set_modified(modified)
        };
        let copy = |name: &Path, to: PathBuf| match with_time(&self.git_dir.join(name), &to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("copy to", to)(error)),
            _ => Ok(()),
        };
        copy(Path::new("index"), self.dir.path().join("index"))?;
        copy(Path::new("info/exclude"), self.dir.path().join("info/exclude"))?;
        // A split index names the shared one, which stands beside it (git-update-index(1)).
        let listed = std::fs::read_dir(&self.git_dir).map_err(Error::io("list", &self.git_dir))?;
        for name in listed.filter_map(|entry| Some(entry.ok()?.file_name())) {
            if name.to_string_lossy().starts_with("sharedindex.") {
                copy(Path::new(&name), self.dir.path().join(&name))?;
            }
        }
        Ok(())
    }
}

/// A path as `objects/info/alternates` takes it (gitrepository-layout(5)): one with unusual characters is quoted as in C.
fn quoted(path: &str) -> String {
    if !path.starts_with(['"', '#']) && !path.contains(['\n', '\\']) {
        return path.to_owned();
    }
    let escaped = path.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
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

/// The repository to export from and the full id of the commit. A URL is mirrored into the cache, one commit deep. A
/// commit that is there already needs no network; branches and tags are asked for each time.
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
            let commit = match commit_of(path, rev, cancel).await? {
                Ok(commit) => commit,
                Err(reason) => return Err(not_found(path, rev, reason, cancel).await?),
            };
            Ok(Revision { repository: path.clone(), commit, in_use: None })
        }
        Location::Url(url) => {
            let Filled { dir: mirror, in_use, .. } = mirror(url, cache, cancel).await?;
            let kept = format!("refs/twinboot/{}", short(rev));
            let full_id = rev.len() == 40 && rev.bytes().all(|byte| byte.is_ascii_hexdigit());
            let known = commit_of(&mirror, &kept, cancel).await?.ok();
            // Only a commit's full id means the same for ever: a branch grows, and a tag can be moved.
            if let (true, Some(commit)) = (full_id, &known) {
                return Ok(Revision { repository: mirror, commit: commit.clone(), in_use });
            }
            progress(Step::Fetch(format!("{url} {rev}")));
            let _lock = cache.lock(Kind::Git, &short(url), cancel).await?;
            let as_tag = format!("+refs/tags/{rev}:refs/tags/{rev}");
            let plain = format!("+{rev}:{kept}");
            let fetch = async |spec: &str| {
                let mut command = fetching(&mirror);
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
                    Err(error) => {
                        let was_tag = commit_of(&mirror, &format!("refs/tags/{rev}"), cancel).await?.is_ok();
                        let Some(commit) = known.filter(|_| was_tag) else {
                            return Err(unknown(url, rev, error.to_string()));
                        };
                        progress(Step::Notice(format!(
                            "{url} cannot be asked for tag {rev}, so it is taken as it was last time: {commit}"
                        )));
                        return Ok(Revision { repository: mirror, commit, in_use });
                    }
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

/// Why `rev` cannot be had from a repository on this machine, and what to do.
pub async fn not_found(path: &Path, rev: &str, reason: String, cancel: &CancellationToken) -> Result<Error, Error> {
    let what = format!("revision `{rev}` of {}", path.display());
    // "detected dubious ownership in repository at", since git 2.35.2.
    if reason.contains("dubious ownership") {
        return Ok(Error::Source {
            what,
            reason: "the repository belongs to another user, and git reads such a repository only if you say so"
                .to_owned(),
            hint: format!("trust it with `git config --global --add safe.directory {}`", path.display()),
        });
    }
    if reason.contains("not a git repository") {
        return Ok(Error::Source {
            what,
            reason: "there is no git repository in this folder".to_owned(),
            hint: "name the repository's top folder or its bare repository; for a tree without git use `dir`"
                .to_owned(),
        });
    }
    let mut ask = git(path);
    ask.args(["rev-parse", "--is-shallow-repository"]);
    if process::capture(ask, cancel).await.is_ok_and(|said| said.trim() == "true") {
        return Ok(Error::Source {
            what,
            reason: format!("the repository is a shallow clone: {reason}"),
            hint: "fetch the rest with `git fetch --unshallow --tags`, or name a revision that it has".to_owned(),
        });
    }
    Ok(unknown(&path.display().to_string(), rev, reason))
}

/// The full id of the commit that `rev` names, or git's words why there is none.
pub async fn commit_of(
    repository: &Path,
    rev: &str,
    cancel: &CancellationToken,
) -> Result<Result<String, String>, Error> {
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

/// Writes the commit's files into `dest`, each as its blob is.
pub async fn export(repository: &Path, commit: &str, dest: &Path, cancel: &CancellationToken) -> Result<(), Error> {
    let view = View::of(repository, cancel).await?;
    let mut read = view.with_work_tree(dest);
    read.args(["read-tree", commit]);
    process::capture(read, cancel).await?;
    let mut write = view.with_work_tree(dest);
    write.args(["checkout-index", "--all", "--force", "--quiet"]);
    process::capture(write, cancel).await?;
    Ok(())
}

/// Files in which two revisions may differ before each is built by itself: most of the objects are then made anew anyway.
const NEAR: usize = 1000;

/// The files in which `to` differs from `from`, as it has them; none where they are too many, or not all plain.
pub async fn changes(
    repository: &Path,
    from: &str,
    to: &str,
    cancel: &CancellationToken,
) -> Result<Option<Wanted>, Error> {
    let view = View::of(repository, cancel).await?;
    let mut command = view.git();
    command.args(["diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", "--no-ext-diff", from, to, "--"]);
    let raw = process::capture_bytes(command, cancel).await?;
    let Some(differences) = differences(&raw) else { return Ok(None) };
    if differences.len() > NEAR {
        return Ok(None);
    }
    let mut changes = Wanted::new();
    for (file, blob) in differences {
        let content = match blob {
            None => None,
            Some((mode, id)) => {
                let mut command = view.git();
                command.args(["cat-file", "blob", &id]);
                Some(Content { bytes: process::capture_bytes(command, cancel).await?, mode })
            }
        };
        changes.insert(file, content);
    }
    Ok(Some(changes))
}

/// A file, and the mode and blob that it comes to have; none where it goes.
type Difference = (String, Option<(u32, String)>);

/// Reads `git diff-tree --raw -z` (git-diff-tree(1), "raw output format"); none where something is no plain file, or has a
/// name that is not UTF-8.
fn differences(raw: &[u8]) -> Option<Vec<Difference>> {
    let text = std::str::from_utf8(raw).ok()?;
    let mut fields = text.split('\0').filter(|field| !field.is_empty());
    let mut differences = Vec::new();
    while let (Some(change), Some(file)) = (fields.next(), fields.next()) {
        let mut words = change.strip_prefix(':')?.split(' ');
        let (before, after) = (words.next()?, words.next()?);
        let id = words.nth(1)?;
        let plain = |mode: &str| match mode {
            "100644" => Some(Some(0o644)),
            "100755" => Some(Some(0o755)),
            "000000" => Some(None),
            _ => None,
        };
        plain(before)?;
        differences.push((file.to_owned(), plain(after)?.map(|mode| (mode, id.to_owned()))));
    }
    Some(differences)
}

/// Whether the commit has this file; an error where the repository cannot tell.
async fn has(view: &View, commit: &str, file: &str, cancel: &CancellationToken) -> Result<bool, process::Error> {
    let mut command = view.git();
    command.args(["ls-tree", "--name-only", "--full-tree", commit, "--", file]);
    Ok(!process::capture(command, cancel).await?.is_empty())
}

/// Writes single files of the commit into `dest`, each as its blob is.
pub async fn take(
    repository: &Path,
    commit: &str,
    files: &BTreeSet<String>,
    dest: &Path,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let view = View::of(repository, cancel).await?;
    for file in files {
        let mut command = view.git();
        command.args(["cat-file", "blob", "--end-of-options"]).arg(format!("{commit}:{file}"));
        match process::capture_bytes(command, cancel).await {
            Ok(bytes) => put(dest, file, &bytes)?,
            Err(process::Error::Failed { .. }) if !has(&view, commit, file, cancel).await? => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_read_unless_something_is_no_plain_file() {
        let (zero, blob) = ("0".repeat(40), "a".repeat(40));
        let line = |modes: &str, name: &str| format!(":{modes} {zero} {blob} M\0{name}\0");
        let raw = line("100644 100755", "scripts/a b.sh") + &line("100644 000000", "gone.c");
        let told = differences(raw.as_bytes()).expect("plain files");
        assert_eq!(told, [("scripts/a b.sh".to_owned(), Some((0o755, blob.clone()))), ("gone.c".to_owned(), None)]);
        for modes in ["120000 100644", "100644 120000", "160000 160000"] {
            assert_eq!(differences(line(modes, "x").as_bytes()), None, "{modes}");
        }
        assert_eq!(differences(b""), Some(Vec::new()));
    }
}
