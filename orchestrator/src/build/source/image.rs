//! Kernels that are built already.

use std::path::Path;

use crate::build::{Error, elf};
use crate::cache::sha256;

/// What a ready kernel says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `uname -r` of the guest to be.
    pub release: String,
    /// A `vmlinux`, rather than a compressed bzImage.
    pub vmlinux: bool,
    /// A `vmlinux` that boots through PVH.
    pub pvh: bool,
    /// As of [`elf::read`] for a `vmlinux`; of the whole file for a bzImage, whose sections are compressed.
    pub load_digest: String,
}

/// Reads a bzImage or a vmlinux.
pub fn read(path: &Path) -> Result<Image, Error> {
    let data = std::fs::read(path).map_err(Error::io("read", path))?;
    let refuse = |reason: String| Error::Image { path: path.to_path_buf(), reason };
    if let Some(release) = elf::bzimage_release(&data) {
        return Ok(Image { release, vmlinux: false, pvh: false, load_digest: sha256(&data) });
    }
    let facts = elf::read(&data).map_err(|error| refuse(format!("neither a bzImage nor a vmlinux ({error})")))?;
    let release = elf::banner_release(&data).ok_or_else(|| refuse("no `Linux version` banner in it".to_owned()))?;
    if !facts.pvh {
        return Err(refuse("this vmlinux has no PVH entry (CONFIG_PVH); name its bzImage instead".to_owned()));
    }
    Ok(Image { release, vmlinux: true, pvh: true, load_digest: facts.load_digest })
}
