//! Tar archives, checked against their SHA-256 before anything is unpacked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::build::{Error, Step};
use crate::cache::{Cache, Kind, Lock, sha256_file};
use crate::plan::model::Location;
use crate::process;

/// Name of a downloaded archive in its cache entry.
const FILE: &str = "archive";

/// An archive and the hash it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Where it is.
    pub location: Location,
    /// Lowercase hex.
    pub sha256: String,
}

impl Archive {
    /// Path or URL, for messages.
    pub fn name(&self) -> String {
        match &self.location {
            Location::Path(path) => path.display().to_string(),
            Location::Url(url) => url.clone(),
        }
    }
}

/// The archive's file, with its hash checked; the lock keeps a downloaded one in the cache.
pub async fn fetch(
    archive: &Archive,
    cache: &Cache,
    progress: &(dyn Fn(Step) + Sync),
    cancel: &CancellationToken,
) -> Result<(PathBuf, Option<Arc<Lock>>), Error> {
    progress(Step::Fetch(archive.name()));
    let url = match &archive.location {
        Location::Path(path) => {
            verify(archive, path).await?;
            return Ok((path.clone(), None));
        }
        Location::Url(url) => url,
    };
    let key = super::head(&archive.sha256, 32);
    let filled = cache
        .fill(Kind::Sources, key, cancel, async |dir: &Path| {
            let file = dir.join(FILE);
            let mut command = Command::new("curl");
            command
                .env("LC_ALL", "C")
                .args(["--fail", "--location", "--silent", "--show-error", "--output"])
                .arg(&file);
            command.arg("--").arg(url);
            match process::capture(command, cancel).await {
                Ok(_) => verify(archive, &file).await,
                Err(error @ process::Error::Interrupted { .. }) => Err(error.into()),
                Err(error) => Err(Error::Source {
                    what: url.clone(),
                    reason: error.to_string(),
                    hint: "see that the address is right and can be reached, or download the archive and name its path"
                        .to_owned(),
                }),
            }
        })
        .await?;
    Ok((filled.dir.join(FILE), filled.in_use))
}

async fn verify(archive: &Archive, file: &Path) -> Result<(), Error> {
    let found = sha256_of(file).await?;
    if found == archive.sha256 {
        return Ok(());
    }
    Err(Error::WrongHash { file: archive.name(), expected: archive.sha256.clone(), found })
}

/// SHA-256 of a file, lowercase hex.
pub async fn sha256_of(path: &Path) -> Result<String, Error> {
    sha256_file(path).await.map(|(_, digest)| digest).map_err(Error::io("read", path))
}
