//! One round's initramfs: the image everyone shares, and behind it what is this guest's own.

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use twinboot_protocol::{GUEST_CONFIG_PATH, GuestConfig};

use super::tree::{Node, Tree};
use super::{AUTHORIZED_KEYS_PATH, Error, HOST_KEY_PATH, Image, Keys, newc};

/// Puts `image` and a small second archive with `config` and `keys` at `out` (mode 0600), whole or not at all. Where that
/// can be, it is a further name of one of the image's [`Spares`](super::Spares), which are not copied anew for each guest:
/// whoever boots from it must have ended before the name is removed.
///
/// The kernel unpacks archives that stand one behind the other, each starting at a multiple of four bytes; a later
/// file replaces an earlier one (Documentation/driver-api/early-userspace/buffer-format.rst).
pub fn seal(image: &Image, config: &GuestConfig, keys: &Keys, out: &Path) -> Result<(), Error> {
    let own = newc::write(&own_files(config, keys)?)?;
    let failed = |action| move |source| Error::Io { action, path: out.to_path_buf(), source };
    let mut found = image.bytes;
    let lent = image.spares.lend(image.bytes, &own, out, |copy| {
        found = io::copy(&mut File::open(&image.path)?, copy)?;
        if found == image.bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    });
    if found != image.bytes {
        return Err(Error::Damaged { path: image.path.clone(), expected: image.bytes, found });
    }
    // Whatever keeps copies from being shared does not keep a guest from having its own.
    if lent.unwrap_or(false) {
        return Ok(());
    }
    let folder = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut shared = File::open(&image.path).map_err(|source| Error::Io {
        action: "open the cached image",
        path: image.path.clone(),
        source,
    })?;
    let mut sealed = tempfile::Builder::new()
        .prefix(".initramfs-")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(folder)
        .map_err(failed("make the guest's initramfs beside"))?;
    let copied = io::copy(&mut shared, sealed.as_file_mut()).map_err(failed("copy the image to"))?;
    if copied != image.bytes {
        return Err(Error::Damaged { path: image.path.clone(), expected: image.bytes, found: copied });
    }
    sealed.write_all(&own).map_err(failed("write"))?;
    sealed.persist(out).map_err(|error| failed("write")(error.error))?;
    Ok(())
}

fn own_files(config: &GuestConfig, keys: &Keys) -> Result<Tree, Error> {
    let json = serde_json::to_vec_pretty(config).map_err(|error| Error::Archive(error.into()))?;
    let mut tree = Tree::default();
    // Dropbear refuses keys that stand in folders others may write to.
    for private in ["/root", "/root/.ssh", "/etc/dropbear"] {
        tree.insert(private, Node::Directory { mode: 0o700 })?;
    }
    tree.insert(GUEST_CONFIG_PATH, Node::file(0o600, json))?;
    tree.insert(HOST_KEY_PATH, Node::file(0o600, keys.host_dropbear()))?;
    tree.insert(AUTHORIZED_KEYS_PATH, Node::file(0o600, format!("{}\n", keys.user_authorized_line()?)))?;
    Ok(tree)
}
