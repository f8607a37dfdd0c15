//! `linux-source-*` packages, fetched and verified by apt.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::apt::{self, Apt};
use super::{short, untar, untar_some};
use crate::build::{Error, Step};
use crate::cache::{Cache, Filled, Kind};
use crate::process;

/// Name of a package file in its cache entry.
pub const FILE: &str = "package.deb";

/// A package at a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Debian version.
    pub version: String,
    /// SHA-256 of the `.deb` as the signed package list gives it.
    pub sha256: String,
    /// Suite it was asked for from.
    suite: Option<String>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Package.
    pub name: &'a str,
    /// Suite to take it from; apt's choice when absent.
    pub suite: Option<&'a str>,
    /// Exact version; the newest when absent.
    pub version: Option<&'a str>,
    /// Fetch the package lists anew where twinboot keeps them itself.
    pub fresh: bool,
}

/// Asks apt which package file that would be; no network is used, but for the package lists of a suite that the machine's
/// apt does not list: once, and again when `fresh` ones are asked for or the package is not in those that are there.
///
/// apt takes about a second to start up, so its answer is kept for as long as its lists and settings stay as they are.
pub async fn resolve(
    wanted: Wanted<'_>,
    cache: &Cache,
    progress: &(dyn Fn(Step) + Sync),
    cancel: &CancellationToken,
) -> Result<Package, Error> {
    let Wanted { name, suite, version, fresh } = wanted;
    let what = [Some(name), version, suite].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let answer = cache.path(Kind::Apt, &short(&what)).join("answer.json");
    if !fresh && let Some(known) = remembered(&answer) {
        return Ok(known);
    }
    let apt = Apt::serving(suite, fresh, cache, progress, cancel).await?;
    let uris = match ask(&apt, name, version, cancel).await {
        Err(process::Error::Failed { .. }) if apt.refresh(progress, cancel).await? => {
            ask(&apt, name, version, cancel).await
        }
        asked => asked,
    };
    let uris = match uris {
        Ok(uris) => uris,
        Err(error @ process::Error::Interrupted { .. }) => return Err(error.into()),
        Err(error) => return Err(explain(&what, &error)),
    };
    let Some((version, sha256)) = uris.lines().find_map(|line| parse_uri(line, name)) else {
        return Err(refused(&what, format!("apt gave no address with a SHA-256 for it: `{}`", uris.trim()), UPDATE));
    };
    let package = Package { name: name.to_owned(), version, sha256, suite: suite.map(str::to_owned) };
    let root = apt.root().map(Path::to_path_buf);
    if let Some(stamp) = apt::stamp(root.as_deref()) {
        // Best effort: without it the next run asks apt again.
        let _ = remember(&answer, &Remembered { stamp, root, package: package.clone() });
    }
    Ok(package)
}

async fn ask(
    apt: &Apt,
    name: &str,
    version: Option<&str>,
    cancel: &CancellationToken,
) -> Result<String, process::Error> {
    let mut command = apt.get();
    command.args(["--quiet=2", "download", "--print-uris"]);
    command.args(apt.suite().map(|suite| format!("--target-release={suite}")));
    command.arg(match (version, apt.suite()) {
        (Some(version), _) => format!("{name}={version}"),
        // `/suite` fails where the suite lacks the package; `-t` alone would quietly take it from another one.
        (None, Some(suite)) => format!("{name}/{suite}"),
        (None, None) => name.to_owned(),
    });
    process::capture(command, cancel).await
}

const UPDATE: &str = "run `apt-get update`, and see that the package's suite is in apt's sources";

/// A line of `apt-get download --print-uris`: `'http://…' name_version_arch.deb size SHA256:hex`.
fn parse_uri(line: &str, name: &str) -> Option<(String, String)> {
    let mut fields = line.rsplit(' ');
    let sha256 = fields.next()?.strip_prefix("SHA256:")?;
    let file = fields.nth(1)?;
    let version = file.strip_prefix(name)?.strip_prefix('_')?.rsplit_once('_')?.0;
    // apt writes the colon of an epoch as %3a in file names.
    (sha256.len() == 64).then(|| (version.replace("%3a", ":"), sha256.to_ascii_lowercase()))
}

/// A package that cannot be had.
fn refused(what: &str, reason: String, hint: &str) -> Error {
    Error::Source { what: format!("the Debian package {what}"), reason, hint: hint.to_owned() }
}

fn explain(what: &str, error: &process::Error) -> Error {
    match error {
        process::Error::Spawn { .. } => refused(
            what,
            "apt-get cannot be started".to_owned(),
            "use a `git`, `tarball` or `dir` source where there is no apt",
        ),
        process::Error::Failed { stderr, .. } => {
            let said: Vec<&str> = stderr.lines().filter_map(|line| line.strip_prefix("E: ")).collect();
            let hint = if stderr.contains("APT::Default-Release") || stderr.contains("Release '") {
                "run `apt-get update`, and see how the suite is spelled in apt's sources"
            } else if stderr.contains("Version '") {
                "mirrors keep the newest few versions: name another one, have `twinboot plan lock --update` take the newest, or keep the old one as a `tarball`"
            } else {
                UPDATE
            };
            refused(what, said.first().copied().unwrap_or("apt-get failed").to_owned(), hint)
        }
        other => refused(what, other.to_string(), UPDATE),
    }
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    stamp: String,
    /// The private root that answered; the machine's apt where absent.
    root: Option<PathBuf>,
    package: Package,
}

fn remembered(answer: &Path) -> Option<Package> {
    let known: Remembered = serde_json::from_slice(&std::fs::read(answer).ok()?).ok()?;
    let is_digest =
        known.package.sha256.len() == 64 && known.package.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_digest && apt::stamp(known.root.as_deref())? == known.stamp).then_some(known.package)
}

fn remember(answer: &Path, known: &Remembered) -> std::io::Result<()> {
    let dir = answer.parent().unwrap_or(answer);
    std::fs::create_dir_all(dir)?;
    let file = tempfile::NamedTempFile::new_in(dir)?;
    serde_json::to_writer(&file, known)?;
    file.persist(answer)?;
    Ok(())
}

/// Has apt download and verify the package into the cache.
pub async fn fetch(
    package: &Package,
    cache: &Cache,
    progress: &(dyn Fn(Step) + Sync),
    cancel: &CancellationToken,
) -> Result<Filled, Error> {
    let what = format!("{} {}", package.name, package.version);
    cache
        .fill(Kind::Sources, super::head(&package.sha256, 32), cancel, async |dir: &Path| {
            progress(Step::Fetch(what.clone()));
            let apt = Apt::serving(package.suite.as_deref(), false, cache, progress, cancel).await?;
            let mut command = apt.get();
            command.current_dir(dir).args(["--quiet=2", "download"]);
            command.args(apt.suite().map(|suite| format!("--target-release={suite}")));
            // The exact version: the candidate may have moved on since it was asked for.
            command.arg(format!("{}={}", package.name, package.version));
            match process::capture(command, cancel).await {
                Ok(_) => {}
                Err(error @ process::Error::Interrupted { .. }) => return Err(error.into()),
                Err(error) => {
                    // Lists that are no longer true send apt to a file that the mirror has taken away.
                    apt.refresh(progress, cancel).await?;
                    return Err(explain(&what, &error));
                }
            }
            let found = std::fs::read_dir(dir).map_err(Error::io("list", dir))?.flatten().map(|entry| entry.path());
            let Some(deb) = found.into_iter().find(|path| path.extension().is_some_and(|end| end == "deb")) else {
                return Err(refused(
                    &what,
                    "apt-get download ended well but left no package".to_owned(),
                    "run it by hand to see why",
                ));
            };
            let sum = super::tarball::sha256_of(&deb).await?;
            if sum != package.sha256 {
                return Err(Error::WrongHash { file: what.clone(), expected: package.sha256.clone(), found: sum });
            }
            let file = dir.join(FILE);
            std::fs::rename(&deb, &file).map_err(Error::io("make", &file))
        })
        .await
}

/// Unpacks the `usr/src/linux-source-*.tar.*` in the package.
pub async fn unpack(deb: &Path, dest: &Path, cancel: &CancellationToken) -> Result<PathBuf, Error> {
    let (_parts, archive) = archive(deb, dest.parent().unwrap_or(dest), cancel).await?;
    untar(&archive, dest, cancel).await
}

/// Takes single files out of it.
pub async fn take(deb: &Path, files: &BTreeSet<String>, dest: &Path, cancel: &CancellationToken) -> Result<(), Error> {
    let (_parts, archive) = archive(deb, dest, cancel).await?;
    untar_some(&archive, files, dest, cancel).await
}

/// The archive that the package carries, in a folder of its own in `beside`.
async fn archive(deb: &Path, beside: &Path, cancel: &CancellationToken) -> Result<(tempfile::TempDir, PathBuf), Error> {
    let parts = tempfile::tempdir_in(beside).map_err(Error::io("make a folder in", beside))?;
    let mut command = Command::new("dpkg-deb");
    command.env("LC_ALL", "C").arg("--extract").arg(deb).arg(parts.path());
    process::capture(command, cancel).await?;
    let dir = parts.path().join("usr/src");
    let archive =
        std::fs::read_dir(&dir).map_err(Error::io("list", &dir))?.flatten().map(|entry| entry.path()).find(|path| {
            path.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                name.starts_with("linux-source-") && name.contains(".tar")
            })
        });
    let Some(archive) = archive else {
        return Err(Error::Tree {
            path: deb.to_path_buf(),
            reason: "the package has no usr/src/linux-source-*.tar archive in it".to_owned(),
        });
    };
    Ok((parts, archive))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_answer_is_taken_apart() {
        let sum = "ae95fe63d4c553f8d0e6c86cb1ab566f3894a43743eb19ab585cd97d82f26514";
        let line = format!(
            "'http://host/pool/linux-source-6.1_6.1.192-2_all.deb' linux-source-6.1_6.1.192-2_all.deb 139331676 SHA256:{sum}"
        );
        assert_eq!(parse_uri(&line, "linux-source-6.1"), Some(("6.1.192-2".to_owned(), sum.to_owned())));
        let epoch = format!("'http://host/x.deb' x_1%3a2.0_all.deb 1 SHA256:{sum}");
        assert_eq!(parse_uri(&epoch, "x"), Some(("1:2.0".to_owned(), sum.to_owned())));
        assert_eq!(parse_uri("'http://host/x.deb' x_2.0_all.deb 1 MD5Sum:0123", "x"), None);
    }

    #[test]
    fn apts_refusals_get_a_hint() {
        let error = |stderr: &str| {
            let failed =
                process::Error::Failed { command: String::new(), status: String::new(), stderr: stderr.to_owned() };
            explain("linux-source-9", &failed).to_string()
        };
        let unknown = error(
            "E: Unable to locate package linux-source-9\nE: Couldn't find any package by glob 'linux-source-9'\n",
        );
        assert!(unknown.contains("Unable to locate") && unknown.contains("apt-get update"), "{unknown}");
        let suite = error(
            "E: The value 'nosuch' is invalid for APT::Default-Release as such a release is not available in the sources\n",
        );
        assert!(suite.contains("apt-get update"), "{suite}");
    }
}
