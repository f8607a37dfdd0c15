//! Guest images: an initramfs put together from a recipe, without root and without a distribution's own tools.
//!
//! ```text
//! recipe.yaml ─▶ recipe ─▶ assemble ─▶ tree ─▶ newc ─▶ cache ─▶ Image, the same for every round
//!                              ▲ closure ◀ elf, libraries
//!               GuestConfig, Keys ─▶ seal ─▶ one round's initramfs: the image and a small archive behind it
//! ```

mod assemble;
mod closure;
mod elf;
mod error;
mod host;
mod keys;
mod libraries;
mod newc;
mod recipe;
mod seal;
mod skeleton;
mod spares;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use crate::cache::{Cache, Key, Kind};
use assemble::Assembly;
use host::Host;

pub use error::Error;
pub use keys::Keys;
pub use recipe::{Directory, File, Mode, ProgramRef, Recipe};
pub use seal::seal;
pub use spares::Spares;

/// Folder of the guest that holds every program a plan names: the runner calls `/usr/local/bin/<name>`.
pub const PROGRAM_DIR: &str = "/usr/local/bin";

/// Where the guest's SSH server is.
pub const DROPBEAR_PATH: &str = "/usr/sbin/dropbear";

/// The server's private key inside the guest, in dropbear's own format.
pub const HOST_KEY_PATH: &str = "/etc/dropbear/host_ed25519";

/// Where the public key that may log in as root is.
pub const AUTHORIZED_KEYS_PATH: &str = "/root/.ssh/authorized_keys";

/// File name of the archive inside its cache entry.
const ARCHIVE: &str = "initramfs.cpio";

/// An initramfs that serves every round: it holds neither keys nor a guest configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// An uncompressed newc archive (Documentation/driver-api/early-userspace/buffer-format.rst) in the cache.
    pub path: PathBuf,
    /// Key of the archive's bytes: equal keys are equal images.
    pub key: String,
    /// Size of the archive in bytes.
    pub bytes: u64,
    /// Copies that guests were started from.
    pub spares: Spares,
}

/// A program that a plan brings, ready to run.
#[derive(Debug, Clone)]
pub struct Brought {
    /// The ELF program or script on this machine.
    pub from: PathBuf,
    /// Its name in the guest.
    pub name: String,
    /// Files and folders that lie beside each other in its working directory.
    pub files: Vec<PathBuf>,
}

/// Builds the image that `recipe` describes, with the guest tests `programs` and the plan's own `brought` in it, or finds it in the cache.
///
/// `program_dirs` are searched in order for the init and for guest tests; what the recipe puts under
/// `/usr/local/bin` itself, and what the image holds on its usual path, serves as a test as well.
pub async fn build(
    recipe: &Path,
    programs: &[String],
    brought: &[Brought],
    program_dirs: &[PathBuf],
    cache: &Cache,
    cancel: &CancellationToken,
) -> Result<Image, Error> {
    let host = Host::of_this_machine();
    let assembly = Assembly::prepare(recipe, (programs, brought), program_dirs, host, cancel).await?;
    let made = tokio::task::spawn_blocking(move || {
        let archive = newc::write(&assembly.tree()?)?;
        let key = Key::new().part("newc", &archive).finish();
        Ok::<_, Error>((Arc::new(archive), key))
    });
    let (archive, key) = made.await.map_err(|_| Error::Lost)??;
    let filled = cache
        .fill(Kind::Images, &key, cancel, async |dir: &Path| {
            let path = dir.join(ARCHIVE);
            write_private(&path, &archive).await.map_err(|source| Error::Io { action: "write", path, source })
        })
        .await?;
    Ok(Image { path: filled.dir.join(ARCHIVE), key, bytes: archive.len() as u64, spares: Spares::default() })
}

/// Writes an archive that nobody else may read: it can hold a file that its owner keeps private.
async fn write_private(path: &Path, archive: &[u8]) -> std::io::Result<()> {
    let mut file = tokio::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).await?;
    file.write_all(archive).await?;
    file.flush().await
}
