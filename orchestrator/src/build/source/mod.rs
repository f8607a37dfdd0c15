//! Where kernel trees come from: each kind says what it is, cheaply and for good, and unpacks itself when it is needed.

mod apt;
mod debian;
mod dir;
mod git;
pub mod image;
pub mod revisions;
mod tarball;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::tree::Wanted;
use super::{Error, Step};
use crate::cache::{Cache, Key, Kind};
use crate::plan::model;
use crate::process;
pub use tarball::sha256_of;

/// A source whose content is settled, though perhaps not here yet.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Equal for equal trees: part of every key.
    pub identity: String,
    /// For people: `linux-source-6.1 6.1.192-2`, `v6.1.192 (commit 1234…)`.
    pub label: String,
    /// Version of the Debian package, or the git commit.
    pub version: Option<String>,
    origin: Origin,
}

#[derive(Debug, Clone)]
enum Origin {
    Debian(debian::Package),
    Git(git::Revision),
    Dir(dir::Snapshot),
    Tarball(tarball::Archive),
}

/// Settles what a source is. Neither unpacks nor, where it can be helped, downloads anything.
///
/// `fresh`: what the newest version is, is asked anew where twinboot keeps package lists itself.
pub async fn resolve(
    source: &model::Source,
    fresh: bool,
    cache: &Cache,
    progress: &(dyn Fn(Step) + Sync),
    cancel: &CancellationToken,
) -> Result<Resolved, Error> {
    match source {
        model::Source::Debian { package, suite, version } => {
            let (suite, version) = (suite.as_deref(), version.as_deref());
            let wanted = debian::Wanted { name: package, suite, version, fresh };
            let package = debian::resolve(wanted, cache, progress, cancel).await?;
            let label = format!("{} {}", package.name, package.version);
            let version = Some(package.version.clone());
            let identity = format!("sha256 {}", package.sha256);
            Ok(Resolved { identity, label, version, origin: Origin::Debian(package) })
        }
        model::Source::Git { location, rev } => {
            let revision = git::resolve(location, rev, cache, progress, cancel).await?;
            let commit = &revision.commit;
            let label = if rev == commit { format!("commit {commit}") } else { format!("{rev} (commit {commit})") };
            let version = Some(commit.clone());
            Ok(Resolved { identity: format!("git {commit}"), label, version, origin: Origin::Git(revision) })
        }
        model::Source::Dir(path) => {
            let snapshot = dir::snapshot(path, cancel).await?;
            let label = format!("{} ({})", path.display(), head(&snapshot.identity, 12));
            let identity = format!("dir {}", snapshot.identity);
            Ok(Resolved { identity, label, version: None, origin: Origin::Dir(snapshot) })
        }
        model::Source::Tarball { location, sha256 } => {
            let archive = tarball::Archive { location: location.clone(), sha256: sha256.to_ascii_lowercase() };
            let label = format!("{} (sha256 {})", archive.name(), head(&archive.sha256, 12));
            let identity = format!("sha256 {}", archive.sha256);
            Ok(Resolved { identity, label, version: None, origin: Origin::Tarball(archive) })
        }
        model::Source::Image { kernel, .. } => {
            Err(Error::Image { path: kernel.clone(), reason: "a ready kernel has no source to build from".to_owned() })
        }
    }
}

/// Adds to a key what is known of a source without a network; `home` is the folder that paths are
/// named from.
///
/// # Errors
///
/// When a ready kernel cannot be read.
pub fn ci_key(key: Key, source: &model::Source, home: &Path) -> Result<Key, Error> {
    let place = |path: &Path| path.strip_prefix(home).unwrap_or(path).to_string_lossy().into_owned();
    Ok(match source {
        model::Source::Debian { package, suite, version } => key
            .part("debian", package)
            .part("suite", suite.as_deref().unwrap_or_default())
            .part("version", version.as_deref().unwrap_or_default()),
        model::Source::Git { location, rev } => {
            let from = match location {
                model::Location::Path(path) => place(path),
                model::Location::Url(url) => url.clone(),
            };
            key.part("git", from).part("rev", rev)
        }
        model::Source::Dir(path) => key.part("dir", place(path)),
        model::Source::Tarball { sha256, .. } => key.part("tarball", sha256),
        model::Source::Image { kernel, .. } => {
            let bytes = std::fs::read(kernel).map_err(Error::io("read", kernel))?;
            key.part("image", crate::cache::sha256(bytes))
        }
    })
}

impl Resolved {
    /// Unpacks the tree into `dest`, an empty folder, and returns the top of the tree in it.
    pub async fn unpack(
        &self,
        dest: &Path,
        cache: &Cache,
        progress: &(dyn Fn(Step) + Sync),
        cancel: &CancellationToken,
    ) -> Result<PathBuf, Error> {
        let top = match &self.origin {
            Origin::Debian(package) => {
                let archive = debian::fetch(package, cache, progress, cancel).await?;
                progress(Step::Unpack);
                debian::unpack(&archive.dir.join(debian::FILE), dest, cancel).await?
            }
            Origin::Git(revision) => {
                progress(Step::Unpack);
                git::export(&revision.repository, &revision.commit, dest, cancel).await?;
                dest.to_path_buf()
            }
            Origin::Dir(snapshot) => {
                progress(Step::Unpack);
                dir::copy(snapshot, dest, cancel).await?;
                dest.to_path_buf()
            }
            Origin::Tarball(archive) => {
                let (file, _held) = tarball::fetch(archive, cache, progress, cancel).await?;
                progress(Step::Unpack);
                untar(&file, dest, cancel).await?
            }
        };
        check(&top, &self.label)?;
        Ok(top)
    }
}

impl Resolved {
    /// Whether [`Resolved::take`] needs no network.
    pub async fn is_here(&self, cache: &Cache) -> bool {
        let fetched = async |sha256: &str| cache.has(Kind::Sources, head(sha256, 32)).await;
        match &self.origin {
            Origin::Debian(package) => fetched(&package.sha256).await,
            Origin::Tarball(archive) => {
                matches!(archive.location, model::Location::Path(_)) || fetched(&archive.sha256).await
            }
            // A revision that has been settled is in the repository or its mirror.
            Origin::Git(_) | Origin::Dir(_) => true,
        }
    }

    /// The files in which `other`, another revision of the same repository, differs, as it has them; none where the two are
    /// no such pair, or so far apart that `other` is better built by itself.
    pub async fn changes_to(&self, other: &Self, cancel: &CancellationToken) -> Result<Option<Wanted>, Error> {
        match (&self.origin, &other.origin) {
            (Origin::Git(from), Origin::Git(to)) if from.repository == to.repository => {
                git::changes(&from.repository, &from.commit, &to.commit, cancel).await
            }
            _ => Ok(None),
        }
    }

    /// Writes those of `files` that the source has, and nothing else, into `dest`: a text to show needs no whole tree.
    /// Names are relative to the tree.
    pub async fn take(
        &self,
        files: &BTreeSet<String>,
        dest: &Path,
        cache: &Cache,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let quiet = |_: Step| {};
        match &self.origin {
            Origin::Debian(package) => {
                let archive = debian::fetch(package, cache, &quiet, cancel).await?;
                debian::take(&archive.dir.join(debian::FILE), files, dest, cancel).await
            }
            Origin::Git(revision) => git::take(&revision.repository, &revision.commit, files, dest, cancel).await,
            Origin::Dir(snapshot) => dir::take(snapshot, files, dest),
            Origin::Tarball(archive) => {
                let (file, _held) = tarball::fetch(archive, cache, &quiet, cancel).await?;
                untar_some(&file, files, dest, cancel).await
            }
        }
    }
}

/// Writes a file under `dest`.
pub fn put(dest: &Path, file: &str, bytes: &[u8]) -> Result<(), Error> {
    let path = dest.join(file);
    let parent = path.parent().unwrap_or(dest);
    std::fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
    std::fs::write(&path, bytes).map_err(Error::io("write", &path))
}

/// Takes single files out of a tar archive whose members may lie below one folder or at its top.
async fn untar_some(
    archive: &Path,
    files: &BTreeSet<String>,
    dest: &Path,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let apart = tempfile::tempdir_in(dest).map_err(Error::io("make a folder in", dest))?;
    let mut command = Command::new("tar");
    command.env("LC_ALL", "C").args([
        "--extract",
        "--no-same-owner",
        "--no-same-permissions",
        "--no-wildcards-match-slash",
    ]);
    command.args(["--wildcards", "--anchored", "--file"]).arg(archive).arg("--directory").arg(apart.path()).arg("--");
    command.args(files.iter().flat_map(|file| [file.clone(), format!("./{file}"), format!("*/{file}")]));
    match process::capture(command, cancel).await {
        Ok(_) => {}
        // tar ends with 2 where a pattern matched nothing, and at least two of three do not. An archive that cannot be read
        // is another matter: it has files that were not found.
        Err(process::Error::Failed { stderr, .. }) if is_only_missing(&stderr) => {}
        Err(error) => return Err(error.into()),
    }
    let below = std::fs::read_dir(apart.path()).map_err(Error::io("list", apart.path()))?.flatten();
    let tops: Vec<PathBuf> = below.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    for file in files {
        let found = std::iter::once(apart.path().to_path_buf()).chain(tops.iter().cloned()).map(|top| top.join(file));
        if let Some(bytes) = found.into_iter().find_map(|path| crate::nofollow::read(&path).ok()) {
            put(dest, file, &bytes)?;
        }
    }
    Ok(())
}

/// Whether tar failed for nothing but patterns that matched no member.
fn is_only_missing(stderr: &str) -> bool {
    stderr.lines().all(|line| {
        line.ends_with(": Not found in archive") || line.ends_with("Exiting with failure status due to previous errors")
    })
}

/// Unpacks a tar archive of any compression and finds the tree in it: the one folder at its top, or the top itself.
async fn untar(archive: &Path, dest: &Path, cancel: &CancellationToken) -> Result<PathBuf, Error> {
    let mut command = Command::new("tar");
    command.env("LC_ALL", "C").args(["--extract", "--no-same-owner", "--no-same-permissions", "--file"]).arg(archive);
    command.arg("--directory").arg(dest);
    process::capture(command, cancel).await?;
    let unpacked = dest.to_path_buf();
    let strange = tokio::task::spawn_blocking(move || strangers(&unpacked)).await;
    if let Some((path, what)) = strange.ok().transpose().map_err(Error::io("look through", dest))?.flatten() {
        let reason =
            format!("its archive holds {what}, which no kernel tree has; use an archive from a source you trust");
        return Err(Error::Tree { path, reason });
    }
    let entries: Vec<PathBuf> = std::fs::read_dir(dest)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(Error::io("list", dest))?;
    Ok(match entries.as_slice() {
        [only] if only.is_dir() => only.clone(),
        _ => dest.to_path_buf(),
    })
}

/// The first thing below `top` that is neither a folder, a file nor a link to something below `top`: whoever reads it would
/// wait for ever, or be led out of the tree.
fn strangers(top: &Path) -> std::io::Result<Option<(PathBuf, &'static str)>> {
    let top = top.canonicalize()?;
    let mut folders = vec![top.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
            let kind = entry?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_symlink() {
                // A dangling link leads nowhere, unless what is missing is outside.
                let target = path.read_link()?;
                if target.is_absolute() || path.canonicalize().is_ok_and(|real| !real.starts_with(&top)) {
                    return Ok(Some((path, "a link that leads out of it")));
                }
            } else if !kind.is_file() {
                return Ok(Some((path, "a device, a socket or a FIFO")));
            }
        }
    }
    Ok(None)
}

/// Something that can be built out of tree.
fn check(top: &Path, label: &str) -> Result<(), Error> {
    let tree = |reason: &str| Err(Error::Tree { path: top.to_path_buf(), reason: format!("{label} {reason}") });
    if !top.join("Makefile").is_file() || !top.join("Kconfig").is_file() {
        return tree("has no Makefile and Kconfig at its top, so it is no kernel tree");
    }
    // The same test as in the kernel's own Makefile (outputmakefile).
    if top.join(".config").exists() || top.join("include/config").exists() {
        return tree(
            "holds the remains of a build inside the tree; run `make mrproper` in it, or name a git revision instead",
        );
    }
    Ok(())
}

/// Folder name of a key made from text.
fn short(text: &str) -> String {
    head(&crate::cache::sha256(text), 32).to_owned()
}

/// The first `length` bytes of a digest; all of it where it is shorter, or no digest.
fn head(digest: &str, length: usize) -> &str {
    digest.get(..length).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;

    use super::*;

    #[tokio::test]
    async fn an_archive_that_leads_out_of_its_tree_or_holds_more_than_files_is_refused() {
        type Plant = fn(&Path) -> std::io::Result<()>;
        let cancel = CancellationToken::new();
        let plants: [(&str, Option<&str>, Plant); 5] = [
            ("inner link", None, |at| symlink("Makefile", at)),
            ("dangling link", None, |at| symlink("no/such/file", at)),
            ("fifo", Some("FIFO"), |at| Ok(nix::unistd::mkfifo(at, Mode::S_IRWXU)?)),
            ("zero", Some("leads out"), |at| symlink("/dev/zero", at)),
            ("up", Some("leads out"), |at| symlink("../../../../../../../../etc/passwd", at)),
        ];
        for (name, reason, plant) in plants {
            let dir = tempfile::tempdir().expect("a scratch folder");
            let at = |name: &str| dir.path().join(name);
            std::fs::create_dir_all(at("linux-6.1/mm")).expect("makes");
            std::fs::write(at("linux-6.1/mm/Makefile"), "").expect("writes");
            plant(&at("linux-6.1/mm/planted")).expect("plants");
            let mut tar = Command::new("tar");
            tar.arg("--create").arg("--file").arg(at("a.tar")).arg("--directory").arg(dir.path()).arg("linux-6.1");
            process::capture(tar, &cancel).await.expect("packs");
            std::fs::create_dir(at("out")).expect("makes");
            let unpacked = untar(&at("a.tar"), &at("out"), &cancel).await;
            match (unpacked, reason) {
                (Ok(tree), None) => assert!(tree.ends_with("linux-6.1"), "{name}"),
                (Err(error), Some(reason)) => assert!(error.to_string().contains(reason), "{name}: {error}"),
                (unpacked, _) => panic!("{name}: {unpacked:?}"),
            }
        }
    }
}
