//! A folder by its descriptor: what is done in it is done there, whatever becomes of the path that led to it.
//!
//! No operation follows a symbolic link or crosses into another file system. See openat(2), "Rationale for `openat()`".

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

const OPEN: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// What its owner may do with a folder so that it can be emptied.
const OWNERS: Mode = Mode::S_IRWXU;

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    dir: Dir,
    /// The file system it is on.
    device: libc::dev_t,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Folder,
    File,
    Link,
    Other,
}

/// What is known of a name, by lstat(2).
#[derive(Debug, Clone, Copy)]
pub(super) struct Stat {
    pub is: Type,
    /// Bytes on disk of this alone.
    pub bytes: u64,
    pub modified: SystemTime,
    device: libc::dev_t,
}

impl Folder {
    /// Opens the folder at `path`, which is no link itself.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::of(Dir::open(path, OPEN, Mode::empty())?)
    }

    /// Opens the folder `name` in this one.
    pub fn below(&self, name: &OsStr) -> io::Result<Self> {
        let below = Self::of(Dir::openat(&self.dir, name, OPEN, Mode::empty())?)?;
        if below.device == self.device { Ok(below) } else { Err(io::ErrorKind::CrossesDevices.into()) }
    }

    fn of(dir: Dir) -> io::Result<Self> {
        let device = fstat(&dir)?.st_dev;
        Ok(Self { dir, device })
    }

    /// The names in it.
    pub fn names(&mut self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in self.dir.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// What `name` stands for.
    pub fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        let stat = fstatat(&self.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        Ok(Stat { is: type_of(&stat), bytes: on_disk(&stat), modified: modified(&stat), device: stat.st_dev })
    }

    /// Bytes on disk of `name` with all that is below; what vanishes meanwhile counts as nothing. An error where another
    /// file system is mounted below.
    pub fn bytes(&self, name: &OsStr) -> io::Result<u64> {
        let stat = match self.stat(name) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        if stat.device != self.device {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        if stat.is != Type::Folder {
            return Ok(stat.bytes);
        }
        let mut below = match self.below(name) {
            Ok(below) => below,
            // Nothing that cannot be looked into can be counted.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                return Ok(stat.bytes);
            }
            Err(error) => return Err(error),
        };
        let names = below.names()?;
        names.iter().try_fold(stat.bytes, |sum, name| Ok(sum + below.bytes(name)?))
    }

    /// Gives `name` the name `to`.
    pub fn rename(&self, name: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(nix::fcntl::renameat(&self.dir, name, &self.dir, to)?)
    }

    /// Removes `name` with all that is below. A link is removed itself; what is gone already is no error.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        match self.remove_found(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn remove_found(&self, name: &OsStr) -> io::Result<()> {
        let stat = self.stat(name)?;
        if stat.device != self.device {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        if stat.is != Type::Folder {
            return Ok(unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir)?);
        }
        let mut below = self.below(name)?;
        let names = below.names()?;
        if !names.is_empty() {
            let mode = Mode::from_bits_truncate(fstat(&below.dir)?.st_mode);
            if !mode.contains(OWNERS) {
                // An archive may have brought a folder that nothing can be removed from.
                fchmod(&below.dir, mode | OWNERS)?;
            }
        }
        for name in names {
            below.remove(&name)?;
        }
        Ok(unlinkat(&self.dir, name, UnlinkatFlags::RemoveDir)?)
    }
}

fn type_of(stat: &FileStat) -> Type {
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    match kind {
        SFlag::S_IFDIR => Type::Folder,
        SFlag::S_IFREG => Type::File,
        SFlag::S_IFLNK => Type::Link,
        _ => Type::Other,
    }
}

/// `st_blocks` counts units of 512 bytes, stat(2).
fn on_disk(stat: &FileStat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
}

fn modified(stat: &FileStat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn links_are_removed_and_never_followed() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).expect("makes");
        fs::write(outside.join("document"), b"mine").expect("writes");
        let tree = dir.path().join("cache/tree/deep");
        fs::create_dir_all(&tree).expect("makes");
        fs::write(tree.join("file"), vec![b'x'; 10_000]).expect("writes");
        symlink(&outside, tree.join("folder-link")).expect("links");
        symlink(outside.join("document"), tree.join("file-link")).expect("links");
        symlink(&outside, dir.path().join("cache/link")).expect("links");

        let cache = Folder::open(&dir.path().join("cache")).expect("opens");
        assert!(cache.below(OsStr::new("link")).is_err(), "a link is not opened");
        let bytes = cache.bytes(OsStr::new("tree")).expect("counts");
        assert!((10_000..100_000).contains(&bytes), "{bytes}");
        cache.remove(OsStr::new("tree")).expect("removes");
        cache.remove(OsStr::new("link")).expect("removes the link");
        cache.remove(OsStr::new("tree")).expect("is gone already");
        assert_eq!(fs::read(outside.join("document")).expect("is there"), b"mine");
        assert_eq!(fs::read_dir(dir.path().join("cache")).expect("is there").count(), 0);
    }

    #[test]
    fn a_folder_that_may_not_be_written_to_goes_too() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let sealed = dir.path().join("tree/sealed");
        fs::create_dir_all(&sealed).expect("makes");
        fs::write(sealed.join("file"), b"").expect("writes");
        fs::set_permissions(&sealed, fs::Permissions::from_mode(0o555)).expect("sets");
        Folder::open(dir.path()).expect("opens").remove(OsStr::new("tree")).expect("removes");
        assert!(!dir.path().join("tree").exists());
    }
}
