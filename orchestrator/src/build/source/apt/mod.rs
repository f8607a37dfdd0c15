//! The apt that serves a suite: this machine's own, or one with a private root for suites that the machine's does not list.
//!
//! A private root asks the mirrors and trusts the keys that the machine's apt is set up with, verifies signatures as always,
//! and writes nothing outside twinboot's cache.

mod listed;
mod mirror;
mod root;

use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::build::{Error, Step};
use crate::cache::{Cache, Key};
use crate::process;
use listed::Listed;
use root::Root;

/// What the answers of the machine's apt depend on: as long as none of these files changes, neither does the answer.
const MACHINE_FOLDERS: [&str; 6] = [
    "/etc/apt/apt.conf",
    "/etc/apt/apt.conf.d",
    "/etc/apt/preferences.d",
    "/etc/apt/sources.list.d",
    "/var/lib/apt/lists",
    "/var/lib/dpkg",
];

/// More of them, that are single files.
const MACHINE_FILES: [&str; 3] = ["/etc/apt/preferences", "/etc/apt/sources.list", "/var/lib/dpkg/status"];

/// An apt to ask.
#[derive(Debug)]
pub enum Apt {
    /// This machine's.
    Machine {
        /// `-t` for it.
        suite: Option<String>,
    },
    /// One with a root of its own.
    Private(Root),
}

impl Apt {
    /// The apt that has `suite`; the machine's own where none is asked for. A private root is made where it is missing; its
    /// package lists are fetched when they are first needed, and again when `fresh` ones are asked for.
    pub async fn serving(
        suite: Option<&str>,
        fresh: bool,
        cache: &Cache,
        progress: &(dyn Fn(Step) + Sync),
        cancel: &CancellationToken,
    ) -> Result<Self, Error> {
        let Some(suite) = suite else { return Ok(Self::Machine { suite: None }) };
        let sources = machine_sources(suite, cancel).await?;
        if mirror::lists(&sources, suite) {
            return Ok(Self::Machine { suite: Some(suite.to_owned()) });
        }
        let Some(choice) = mirror::choose(&sources, suite) else {
            return Err(refused(
                &format!("suite {suite}"),
                "this machine's apt does not list it, and has no Debian mirror among its sources to ask for it"
                    .to_owned(),
                "add a Debian mirror to apt's sources, or use a `git` or `tarball` source",
            ));
        };
        if let Some(notice) = &choice.notice {
            progress(Step::Notice(notice.clone()));
        }
        let root = Root::open(choice, cache, cancel).await?;
        root.prepare(fresh, progress, cancel).await?;
        Ok(Self::Private(root))
    }

    /// `apt-get`, set up for this root.
    pub fn get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.env("LC_ALL", "C");
        if let Self::Private(root) = self {
            root.configure(&mut command);
        }
        command
    }

    /// The suite to ask it for.
    pub fn suite(&self) -> Option<&str> {
        match self {
            Self::Machine { suite } => suite.as_deref(),
            Self::Private(root) => Some(root.suite()),
        }
    }

    /// Folder of a private root.
    pub fn root(&self) -> Option<&Path> {
        match self {
            Self::Machine { .. } => None,
            Self::Private(root) => Some(root.dir()),
        }
    }

    /// Fetches the lists of a private root anew, unless that has just been done; says whether they were.
    pub async fn refresh(&self, progress: &(dyn Fn(Step) + Sync), cancel: &CancellationToken) -> Result<bool, Error> {
        match self {
            Self::Machine { .. } => Ok(false),
            Self::Private(root) => root.refresh(progress, cancel).await,
        }
    }
}

/// Something that apt was to give and did not.
fn refused(what: &str, reason: String, hint: &str) -> Error {
    Error::Source { what: what.to_owned(), reason, hint: hint.to_owned() }
}

/// Identity of the lists and settings that an answer rests on, by name, size and time; none where apt was told to look
/// elsewhere. `root` is the private root that answered.
pub fn stamp(root: Option<&Path>) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    if std::env::var_os("APT_CONFIG").is_some() {
        return None;
    }
    let private: Vec<PathBuf> = root.into_iter().flat_map(Root::state).collect();
    let folders = MACHINE_FOLDERS.iter().map(PathBuf::from).chain(private);
    let below = folders.filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        below.chain(MACHINE_FILES.iter().map(PathBuf::from)).filter(|path| path.is_file()).collect();
    files.sort();
    let key = files.iter().filter_map(|path| Some((path, path.metadata().ok()?))).fold(
        Key::new(),
        |key, (path, metadata)| {
            let known =
                [metadata.mtime(), metadata.mtime_nsec(), metadata.size().cast_signed()].map(i64::to_le_bytes).concat();
            key.part(&path.to_string_lossy(), known)
        },
    );
    Some(key.finish())
}

/// Everything that the machine's apt has in its sources. apt itself says where they are.
async fn machine_sources(suite: &str, cancel: &CancellationToken) -> Result<Vec<Listed>, Error> {
    let mut command = Command::new("apt-config");
    command.env("LC_ALL", "C").args(["shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d"]);
    let said = match process::capture(command, cancel).await {
        Ok(said) => said,
        Err(error @ process::Error::Interrupted { .. }) => return Err(error.into()),
        Err(error) => {
            let hint = "use a `git`, `tarball` or `dir` source where there is no apt";
            return Err(refused(&format!("suite {suite}"), error.to_string(), hint));
        }
    };
    let place = |name: &str| {
        let value = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(PathBuf::from(value.trim_matches('\'').replace("'\\''", "'")))
    };
    let mut sources = Vec::new();
    if let Some(text) = place("LIST").and_then(|path| std::fs::read_to_string(path).ok()) {
        sources.extend(listed::one_line(&text));
    }
    let parts = place("PARTS").and_then(|path| std::fs::read_dir(path).ok()).into_iter().flatten().flatten();
    let mut parts: Vec<PathBuf> = parts.map(|entry| entry.path()).collect();
    parts.sort();
    for path in parts {
        // One that only root may read is apt's business; what it has is not known here.
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        match path.extension().and_then(|end| end.to_str()) {
            Some("list") => sources.extend(listed::one_line(&text)),
            Some("sources") => sources.extend(listed::deb822(&text)),
            _ => {}
        }
    }
    Ok(sources)
}
