//! Copies of an image that no guest uses any more, kept for the next one: an image has megabytes, what is a guest's own in
//! it some hundred bytes.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::{NamedTempFile, TempDir};

/// The copies of one image. A copy is in use for as long as it has a second name, the one that its guest knows it by:
/// with a guest's scratch folder goes that name, and the copy is spare again. All go with the last owner.
#[derive(Debug, Clone, Default)]
pub struct Spares(Arc<Mutex<Option<Shelf>>>);

#[derive(Debug)]
struct Shelf {
    dir: TempDir,
    copies: Vec<NamedTempFile>,
}

/// Two images are the same whatever copies there are of them.
impl PartialEq for Spares {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Spares {}

impl Spares {
    /// Gives a copy the name `out` after `own` was put behind the first `bytes` bytes of it; `copy` makes a new one where
    /// none is spare. False where names cannot be shared, as between two file systems: nothing is at `out` then.
    pub(super) fn lend(
        &self,
        bytes: u64,
        own: &[u8],
        out: &Path,
        copy: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Shelf { dir, copies } = match &mut *kept {
            Some(there) => there,
            // Beside the guests' scratch folders: a name is shared within one file system only.
            empty => empty.insert(Shelf::beside(out)?),
        };
        let mut spare = None;
        for (at, copy) in copies.iter().enumerate() {
            if copy.as_file().metadata()?.nlink() == 1 {
                spare = Some(at);
                break;
            }
        }
        if spare.is_none() {
            let mut file =
                tempfile::Builder::new().permissions(Permissions::from_mode(0o600)).tempfile_in(dir.path())?;
            copy(file.as_file_mut())?;
            copies.push(file);
        }
        let lent = &copies[spare.unwrap_or(copies.len() - 1)];
        lent.as_file().set_len(bytes)?;
        lent.as_file().write_all_at(own, bytes)?;
        match std::fs::hard_link(lent.path(), out) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Shelf {
    /// A folder beside the one that `out` stands in, or in it where it has none beside.
    fn beside(out: &Path) -> io::Result<Self> {
        let folder = out.parent().unwrap_or(Path::new("."));
        let parent = folder.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(folder);
        let dir = crate::process::run_dir::make(parent)?;
        Ok(Self { dir, copies: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_lent_again_once_its_guest_is_gone_and_never_before() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let spares = Spares::default();
        let guest = |name: &str| {
            let folder = dir.path().join(name);
            std::fs::create_dir(&folder).expect("makes it");
            folder.join("initrd")
        };
        let mut made = 0;
        let mut lend = |out: &Path, own: &[u8]| {
            let lent = spares.lend(5, own, out, |file| {
                made += 1;
                io::Write::write_all(file, b"image")
            });
            assert!(lent.expect("lends"));
            made
        };
        let (one, two, three) = (guest("one"), guest("two"), guest("three"));
        assert_eq!(lend(&one, b"a long tail"), 1);
        assert_eq!(lend(&two, b"b"), 2, "the first is in use");
        std::fs::remove_dir_all(one.parent().expect("has one")).expect("removes");
        assert_eq!(lend(&three, b"c"), 2, "the first is spare");
        assert_eq!(std::fs::read(&two).expect("is there"), b"imageb");
        assert_eq!(std::fs::read(&three).expect("is there"), b"imagec", "nothing is left of the first guest's own");
        drop(spares);
        let left: Vec<_> =
            std::fs::read_dir(dir.path()).expect("is there").flatten().map(|it| it.file_name()).collect();
        assert_eq!(left.len(), 2, "the guests' folders alone: {left:?}");
    }
}
