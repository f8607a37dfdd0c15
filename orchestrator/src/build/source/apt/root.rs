//! A root for apt of its own, in the cache: settings, sources and package lists of one suite.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::mirror::{self, Choice};
use super::refused;
use crate::build::{Error, Step};
use crate::cache::{Cache, Key, Kind, Lock, Manifest, Place};
use crate::process;

/// Lists that are younger are not fetched again by themselves.
const YOUNG: Duration = Duration::from_secs(60);

/// A private root, and what it is asked for.
#[derive(Debug)]
pub struct Root {
    dir: PathBuf,
    choice: Choice,
    cache: Cache,
    key: String,
    #[expect(dead_code, reason = "held for as long as the root is used")]
    in_use: Option<Arc<Lock>>,
}

impl Root {
    /// Makes the root's folder and settings, where they are missing.
    pub async fn open(choice: Choice, cache: &Cache, cancel: &CancellationToken) -> Result<Self, Error> {
        let key = Key::new().part("sources", sources(&choice, false)).finish();
        let in_use = cache.hold(Kind::AptRoots, &key, cancel).await?;
        let root = Self { dir: cache.path(Kind::AptRoots, &key), choice, cache: cache.clone(), key, in_use };
        let _lock = root.lock(cancel).await?;
        for folder in ["lists/partial", "archives/partial", "sources.list.d", "preferences.d"] {
            let path = root.dir.join(folder);
            fs::create_dir_all(&path).map_err(Error::io("make", &path))?;
        }
        // Notes the use for `twinboot clean`.
        cache.touch(Kind::AptRoots, &root.key);
        root.write("status", "")?;
        root.write("apt.conf", &root.settings())?;
        if !root.sources_file().is_file() {
            root.write("sources.list.d/twinboot.sources", &sources(&root.choice, false))?;
        }
        Ok(root)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The suite it has.
    pub fn suite(&self) -> &str {
        &self.choice.suite
    }

    /// Folders in a root whose files decide what it answers.
    pub fn state(dir: &Path) -> [PathBuf; 2] {
        [dir.join("lists"), dir.join("sources.list.d")]
    }

    /// Has `command`, an apt tool, use this root. Settings given by `-c` are read after the machine's and win over them.
    pub fn configure(&self, command: &mut Command) {
        command.arg("-c").arg(self.dir.join("apt.conf"));
    }

    /// Fetches the package lists when there are none yet, or `fresh` ones are asked for.
    pub async fn prepare(
        &self,
        fresh: bool,
        progress: &(dyn Fn(Step) + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        if self.updated().is_some() && !fresh {
            match self.verify() {
                Ok(()) => return Ok(()),
                Err(reason) => {
                    let suite = &self.choice.suite;
                    self.cache.notice(&format!("the package lists of {suite} in the cache {reason}: fetched again"));
                    let _lock = self.lock(cancel).await?;
                    let gone = fs::remove_file(self.dir.join("updated"));
                    // apt takes lists that are there for those of the Release file, whatever they hold.
                    gone.and_then(|()| fs::remove_dir_all(self.dir.join("lists")))
                        .and_then(|()| fs::create_dir_all(self.dir.join("lists/partial")))
                        .map_err(Error::io("remove", self.dir.join("lists")))?;
                }
            }
        }
        self.refresh(progress, cancel).await.map(|_| ())
    }

    /// Fetches the package lists anew; false where that has just been done.
    pub async fn refresh(&self, progress: &(dyn Fn(Step) + Sync), cancel: &CancellationToken) -> Result<bool, Error> {
        let _lock = self.lock(cancel).await?;
        let young = |at: SystemTime| SystemTime::now().duration_since(at).is_ok_and(|age| age < YOUNG);
        if self.updated().is_some_and(young) {
            return Ok(false);
        }
        progress(Step::Fetch(format!("the package lists of {} from {}", self.choice.suite, self.addresses())));
        let mut done = self.update(cancel).await;
        if let Err(process::Error::Failed { stderr, .. }) = &done
            && has_run_out(stderr)
            && mirror::is_closed(&self.choice.suite)
        {
            progress(Step::Notice(format!(
                "{} is closed and its Release file has run out: its date is not checked, its signature is",
                self.choice.suite
            )));
            self.write("sources.list.d/twinboot.sources", &sources(&self.choice, true))?;
            done = self.update(cancel).await;
        }
        match done {
            Ok(()) => {
                let lists = self.dir.join("lists");
                let file = self.dir.join("updated");
                let manifest = Manifest::of(&lists, true).map_err(Error::io("read", &lists))?;
                manifest.write(&file).map_err(Error::io("write", &file))?;
                Ok(true)
            }
            Err(error @ process::Error::Interrupted { .. }) => Err(error.into()),
            Err(error) => Err(self.explain(&error)),
        }
    }

    async fn update(&self, cancel: &CancellationToken) -> Result<(), process::Error> {
        let mut command = Command::new("apt-get");
        command.env("LC_ALL", "C");
        self.configure(&mut command);
        command.args(["--quiet=2", "update"]);
        process::capture(command, cancel).await.map(|_| ())
    }

    fn updated(&self) -> Option<SystemTime> {
        fs::metadata(self.dir.join("updated")).and_then(|metadata| metadata.modified()).ok()
    }

    /// Whether the lists are as apt has left them; otherwise what is wrong with them.
    fn verify(&self) -> Result<(), String> {
        let (dir, file) = (self.dir.join("lists"), self.dir.join("updated"));
        let place = Place { dir: &dir, file: &file, each_boot: true };
        let damaged = |reason: String| format!("are damaged ({reason})");
        let manifest = Manifest::read(place).map_err(damaged)?;
        manifest.map_or(Ok(()), |manifest| manifest.verify(place, |_| false)).map_err(damaged)
    }

    fn sources_file(&self) -> PathBuf {
        self.dir.join("sources.list.d/twinboot.sources")
    }

    async fn lock(&self, cancel: &CancellationToken) -> Result<Lock, Error> {
        Ok(self.cache.lock(Kind::AptRoots, &self.key, cancel).await?)
    }

    /// Replaces a file in one step: another twinboot may be reading it.
    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.dir.join(name);
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        let beside = path.with_extension("new");
        fs::write(&beside, text).and_then(|()| fs::rename(&beside, &path)).map_err(Error::io("write", &path))
    }

    /// apt.conf(5). Everything else is as the machine has it: proxies, certificates, credentials, its trusted keys.
    fn settings(&self) -> String {
        let at = |name: &str| self.dir.join(name).display().to_string();
        let mut text = String::from("// Written by twinboot.\n");
        for (name, value) in [
            ("Dir::State", at("")),
            ("Dir::State::lists", at("lists")),
            ("Dir::State::status", at("status")),
            ("Dir::State::extended_states", at("extended_states")),
            ("Dir::Cache", at("")),
            ("Dir::Cache::archives", at("archives")),
            // Built in memory: it is asked a question or two.
            ("Dir::Cache::pkgcache", String::new()),
            ("Dir::Cache::srcpkgcache", String::new()),
            ("Dir::Etc::sourcelist", "/dev/null".to_owned()),
            ("Dir::Etc::sourceparts", at("sources.list.d")),
            ("Dir::Etc::preferences", "/dev/null".to_owned()),
            ("Dir::Etc::preferencesparts", at("preferences.d")),
            ("Acquire::Languages", "none".to_owned()),
            ("Acquire::AllowInsecureRepositories", "false".to_owned()),
            ("Acquire::AllowWeakRepositories", "false".to_owned()),
            ("Acquire::AllowDowngradeToInsecureRepositories", "false".to_owned()),
            ("APT::Get::AllowUnauthenticated", "false".to_owned()),
            ("APT::Default-Release", String::new()),
            // Without it a list that could not be fetched is only warned of.
            ("APT::Update::Error-Mode", "any".to_owned()),
        ] {
            let _ = writeln!(text, "{name} \"{value}\";");
        }
        // Another user could not read the cache where it lies below a private home.
        if nix::unistd::geteuid().is_root() {
            text.push_str("APT::Sandbox::User \"root\";\n");
        }
        // The machine's own hooks are about the machine's own lists.
        for hook in ["Pre-Invoke", "Post-Invoke", "Post-Invoke-Success"] {
            let _ = writeln!(text, "#clear APT::Update::{hook};");
        }
        text
    }

    fn addresses(&self) -> String {
        let uris: Vec<&str> =
            self.choice.archives.iter().flat_map(|archive| &archive.uris).map(String::as_str).collect();
        uris.join(", ")
    }

    /// What `apt-get update` said, in words of what was wanted.
    fn explain(&self, error: &process::Error) -> Error {
        let (suite, mirror) = (&self.choice.suite, self.addresses());
        let what = format!("the package lists of {suite} from {mirror}");
        let process::Error::Failed { stderr, .. } = error else {
            return refused(&what, error.to_string(), "see that apt-get works on this machine");
        };
        let told = stderr.lines().filter(|line| line.starts_with("E: ") || line.starts_with("W: "));
        let told = told.map(|line| &line[3..]).next().unwrap_or("apt-get update failed").to_owned();
        let (reason, hint) = if has_run_out(stderr) {
            (
                format!("the Release file has run out ({told})"),
                "the mirror is out of date, or this machine's clock is wrong: use a mirror that is kept up, or set the clock",
            )
        } else if stderr.contains("NO_PUBKEY") || stderr.contains("is not signed") || stderr.contains("EXPKEYSIG") {
            (
                format!("its signature cannot be verified with the keys that this machine's apt trusts ({told})"),
                "upgrade the package debian-archive-keyring; nothing unsigned is ever used",
            )
        } else if stderr.contains("does not have a Release file") || stderr.contains("404 ") {
            (
                format!("the mirror does not have the suite ({told})"),
                "see how the suite is spelled and whether it has moved to an archive; another mirror is used when apt's sources name it, or name another `suite`, `git` or `tarball` source",
            )
        } else {
            (told, "see that the mirror can be reached; what the cache has already can be used without it")
        };
        refused(&what, reason, hint)
    }
}

fn has_run_out(stderr: &str) -> bool {
    stderr.contains("is expired (invalid since") || stderr.contains("is not valid anymore")
}

/// The archives in the format of sources.list(5), each with the keys that the machine's apt checks it against. What could turn
/// that check off (`Trusted`, `Allow-Insecure`) is never taken over.
fn sources(choice: &Choice, run_out: bool) -> String {
    let mut text = String::new();
    for archive in &choice.archives {
        let _ = writeln!(
            text,
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: {}\nTargets: Packages",
            archive.uris.join(" "),
            choice.suite,
            archive.components.join(" ")
        );
        if let Some(keys) = &archive.signed_by {
            let _ = writeln!(text, "Signed-By: {keys}");
        }
        if run_out {
            text.push_str("Check-Valid-Until: no\n");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::listed::Listed;
    use super::*;

    fn choice(suite: &str) -> Choice {
        let archive = Listed {
            uris: vec!["http://host/debian".to_owned()],
            suites: Vec::new(),
            components: vec!["main".to_owned()],
            signed_by: Some("/k.gpg".to_owned()),
        };
        Choice { suite: suite.to_owned(), archives: vec![archive], notice: None }
    }

    #[test]
    fn the_sources_carry_the_keys_and_nothing_that_turns_them_off() {
        let text = sources(&choice("trixie"), false);
        assert!(text.contains("Suites: trixie\n") && text.contains("Signed-By: /k.gpg\n"), "{text}");
        assert!(!text.contains("Check-Valid-Until") && !text.to_lowercase().contains("trusted"), "{text}");
        assert!(sources(&choice("bullseye"), true).contains("Check-Valid-Until: no\n"));
    }

    #[tokio::test]
    async fn every_refusal_names_suite_and_mirror_and_what_to_do() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let cache = Cache::open(Some(dir.path())).expect("opens");
        let root = Root::open(choice("trixie"), &cache, &CancellationToken::new()).await.expect("opens");
        for (stderr, reason, hint) in [
            (
                "E: The repository 'http://host/debian trixie Release' does not have a Release file.",
                "does not have the suite",
                "spelled",
            ),
            (
                "E: Release file for http://host/x is expired (invalid since 3d). Updates will not be applied.",
                "has run out",
                "clock",
            ),
            (
                "W: GPG error: http://host trixie InRelease: NO_PUBKEY 0123",
                "cannot be verified",
                "debian-archive-keyring",
            ),
            ("E: Failed to fetch http://host/x  Could not resolve 'host'", "Could not resolve", "be reached"),
        ] {
            let failed =
                process::Error::Failed { command: String::new(), status: String::new(), stderr: stderr.to_owned() };
            let told = root.explain(&failed).to_string();
            for part in ["trixie", "http://host/debian", reason, hint] {
                assert!(told.contains(part), "{part}: {told}");
            }
        }
    }
}
