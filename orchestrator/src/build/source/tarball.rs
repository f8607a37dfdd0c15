//! Tar archives, checked against their SHA-256 before anything is unpacked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::build::{Error, Step};
use crate::cache::{Cache, Kind, Lock, sha256_file};
use crate::plan::model::Location;
use crate::process;

/// Name of a downloaded archive in its cache entry.
const FILE: &str = "archive";

/// How long a server may send nothing to speak of before a download is given up.
const STALLED: Duration = Duration::from_secs(60);

/// Bytes a second below which a download counts as stalled.
const SLOWEST: u32 = 1024;

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
            match process::capture(curl(url, &file, STALLED), cancel).await {
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

/// Downloads `url` to `file`, and gives up a server that is silent for `stalled`.
fn curl(url: &str, file: &Path, stalled: Duration) -> Command {
    let seconds = stalled.as_secs().max(1).to_string();
    let mut command = Command::new("curl");
    command.env("LC_ALL", "C").args(["--fail", "--location", "--silent", "--show-error"]);
    command.args(["--max-redirs", "10", "--connect-timeout", &seconds]);
    command.args(["--speed-limit", &SLOWEST.to_string(), "--speed-time", &seconds]);
    command.arg("--output").arg(file).arg("--").arg(url);
    command
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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_server_that_stalls_does_not_hold_a_download_up() {
        let server = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let url = format!("http://{}/linux.tar.xz", server.local_addr().expect("has one"));
        let dir = tempfile::tempdir().expect("a scratch folder");
        // Some bytes of what it promises, and then nothing for as long as the client cares to wait.
        let serving = std::thread::spawn(move || {
            let (mut client, _) = server.accept().expect("a client");
            let _ = client.read(&mut [0; 1024]);
            client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nsome").expect("sends");
            while client.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {}
        });
        let mut command = curl(&url, &dir.path().join("archive"), Duration::from_secs(1));
        // Proxies of the host know nothing of this server.
        command.env("no_proxy", "127.0.0.1").env("NO_PROXY", "127.0.0.1");
        let ended = process::capture(command, &CancellationToken::new()).await;
        let said = ended.expect_err("is given up").to_string();
        assert!(said.contains("too slow") || said.contains("timed out"), "{said}");
        serving.join().expect("the client hung up");
    }
}
