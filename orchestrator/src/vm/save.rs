//! A paused machine written to a file, and a machine that goes on from there.
//!
//! QEMU's own migration does both: the state is sent to a socket on which twinboot listens, and read from a file that is the
//! new QEMU's standard input. Both work alike since long before QEMU 7.2. A machine that cannot take the state in ends;
//! [`Vm::start`] returns once it is read.

use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use twinboot_protocol::WAKE;

use super::qemu::{LOOK, accept, listen};
use super::{Boot, Error, Vm};
use crate::cache::hex;

/// How long the state of a machine may take to be written: tens of megabytes of it, on a disk that may be busy.
const SAVE_DEADLINE: Duration = Duration::from_secs(60);

/// A machine's state in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, lowercase hex.
    pub sha256: String,
}

impl Vm {
    /// Waits for the init's `paused` line, with which it asks to be saved. `deadline` counts from the start of QEMU.
    pub async fn paused(&mut self, deadline: Duration) -> Result<Boot, Error> {
        self.up(deadline, |seen| seen.paused).await
    }

    /// Stops the machine and writes its state to `path`. It is of no use afterwards but to be ended.
    pub async fn save(&self, path: &Path) -> Result<Saved, Error> {
        self.pause().await?;
        let socket = self.run_dir.path().join("state");
        let listener = listen(&socket)?;
        let received = async {
            let mut stream = accept(&listener).await?;
            let failed = |action| move |source| Error::Io { action, path: path.to_path_buf(), source };
            // A guest's memory holds the keys that it was booted with.
            let mut options = tokio::fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)
                .await
                .map_err(failed("write"))?;
            let (mut hash, mut bytes) = (Sha256::new(), 0);
            let mut buffer = vec![0; 1 << 20];
            loop {
                let read = stream.read(&mut buffer).await.map_err(failed("receive the state for"))?;
                if read == 0 {
                    break;
                }
                hash.update(&buffer[..read]);
                bytes += read as u64;
                file.write_all(&buffer[..read]).await.map_err(failed("write"))?;
            }
            file.flush().await.map_err(failed("write"))?;
            Ok(Saved { bytes, sha256: hex(&hash.finalize()) })
        };
        let sent = async {
            self.qmp.migrate(format!("unix:{}", socket.display())).await?;
            while !self.qmp.migrated().await? {
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        match tokio::time::timeout(SAVE_DEADLINE, async { tokio::try_join!(received, sent) }).await {
            Ok(done) => done.map(|(saved, ())| saved),
            Err(_) => Err(Error::Monitor {
                action: "migrate",
                reason: format!("the state was not written within {} s", SAVE_DEADLINE.as_secs()),
            }),
        }
    }

    /// Tells the init of a machine that was saved while it was paused to go on, with `seed` for its entropy pool. It says
    /// `ready` then.
    pub async fn wake(&mut self, seed: u64) -> Result<(), Error> {
        let failed =
            |error: std::io::Error| Error::Monitor { action: "typing at the console", reason: error.to_string() };
        self.console.write(&format!("{WAKE} {seed}\n")).await.map_err(failed)
    }
}
