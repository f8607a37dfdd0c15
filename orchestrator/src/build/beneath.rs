//! Plain files below a folder, reached without following any symbolic link.
//!
//! A source tree comes from somewhere else, and so do the names in a patch. A tree whose `mm` is a link to
//! `/elsewhere` must not lead a patch for `mm/memory.c` out of it, as `git apply` refuses it too. Every
//! component of a path is therefore opened relative to the one before it with `O_NOFOLLOW` (openat(2)). That
//! holds what openat2(2) holds with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`, on every kernel and under
//! every seccomp filter.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// A file's bytes and permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Permission bits, such as `0o644`.
    pub mode: u32,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A plain file.
    File(Content),
    /// Nothing.
    Absent,
    /// A symbolic link, a folder or a special file, or the path leads through a link or out of the folder.
    NotPlain,
}

/// A folder whose files are read and written.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    dir: OwnedFd,
}

/// A file's folder, opened, and its name in there.
struct Place<'a> {
    folder: OwnedFd,
    name: &'a str,
}

/// Why a folder on the way could not be opened.
enum Blocked {
    /// It does not exist, or a plain file stands in its place.
    Absent(Errno),
    /// The way leads through a link, or out of the folder.
    NotPlain,
    Failed(Errno),
}

impl Root {
    /// Opens the folder at `path`, which may itself be reached through links.
    pub fn open(path: &Path) -> io::Result<Self> {
        let dir = File::open(path)?;
        if !dir.metadata()?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        Ok(Self { path: path.to_owned(), dir: dir.into() })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads `file`, a path relative to the folder.
    pub fn read(&self, file: &str) -> io::Result<Found> {
        let place = match self.place(file, false) {
            Ok(place) => place,
            Err(Blocked::Absent(_)) => return Ok(Found::Absent),
            Err(Blocked::NotPlain) => return Ok(Found::NotPlain),
            Err(Blocked::Failed(error)) => return Err(error.into()),
        };
        // O_NONBLOCK: a FIFO must not hold anybody up.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mut opened: File = match openat(&place.folder, place.name, flags, Mode::empty()) {
            Ok(opened) => opened.into(),
            Err(Errno::ENOENT) => return Ok(Found::Absent),
            Err(Errno::ELOOP | Errno::ENXIO) => return Ok(Found::NotPlain),
            Err(error) => return Err(error.into()),
        };
        let metadata = opened.metadata()?;
        if !metadata.is_file() {
            return Ok(Found::NotPlain);
        }
        let mut bytes = Vec::new();
        opened.read_to_end(&mut bytes)?;
        Ok(Found::File(Content { bytes, mode: metadata.permissions().mode() & 0o777 }))
    }

    /// Writes `file` whole or not at all, and makes the folders on the way to it. Replaces what stands there, links too; a
    /// link on the way is an error.
    pub fn write(&self, file: &str, content: &Content) -> io::Result<()> {
        let place = self.place(file, true).map_err(|blocked| blocked.into_error(file))?;
        let beside = format!(".twinboot-{:016x}", rand::random::<u64>());
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut fresh: File = openat(&place.folder, beside.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?.into();
        let written = fresh
            .write_all(&content.bytes)
            .and_then(|()| fresh.set_permissions(fs::Permissions::from_mode(content.mode)))
            .and_then(|()| fresh.sync_all())
            .and_then(|()| Ok(renameat(&place.folder, beside.as_str(), &place.folder, place.name)?));
        if written.is_err() {
            let _ = unlinkat(&place.folder, beside.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    /// Removes `file`; it is no error if it is not there.
    pub fn remove(&self, file: &str) -> io::Result<()> {
        match self.place(file, false) {
            Err(Blocked::Absent(_)) => Ok(()),
            Err(blocked) => Err(blocked.into_error(file)),
            Ok(place) => match unlinkat(&place.folder, place.name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => Ok(()),
                Err(error) => Err(error.into()),
            },
        }
    }

    fn place<'a>(&self, file: &'a str, make: bool) -> Result<Place<'a>, Blocked> {
        let mut names = Vec::new();
        for component in Path::new(file).components() {
            match component {
                Component::Normal(name) => names.push(name.to_str().ok_or(Blocked::NotPlain)?),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(Blocked::NotPlain),
            }
        }
        let name = names.pop().ok_or(Blocked::NotPlain)?;
        let mut folder = self.dir.try_clone().map_err(|_| Blocked::Failed(Errno::EMFILE))?;
        for below in names {
            if make {
                match mkdirat(&folder, below, Mode::from_bits_truncate(0o777)) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(error) => return Err(Blocked::Failed(error)),
                }
            }
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            folder = match openat(&folder, below, flags, Mode::empty()) {
                Ok(next) => next,
                Err(error @ Errno::ENOENT) => return Err(Blocked::Absent(error)),
                Err(error @ (Errno::ENOTDIR | Errno::ELOOP)) => return Err(Blocked::behind(&folder, below, error)),
                Err(error) => return Err(Blocked::Failed(error)),
            };
        }
        Ok(Place { folder, name })
    }
}

impl Blocked {
    /// `name` in `folder` is no folder: a link, or a file?
    fn behind(folder: &OwnedFd, name: &str, error: Errno) -> Self {
        match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK => Self::NotPlain,
            Ok(_) => Self::Absent(error),
            Err(error) => Self::Failed(error),
        }
    }

    fn into_error(self, file: &str) -> io::Error {
        match self {
            Self::Absent(error) | Self::Failed(error) => error.into(),
            Self::NotPlain => io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{file}` leads through a symbolic link or out of the folder"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn text(bytes: &str) -> Content {
        Content { bytes: bytes.as_bytes().to_vec(), mode: 0o640 }
    }

    /// `tree` with a file `a`, links `away` and `loop` to folders in and out of it, and `outside` with a file `f`.
    fn scratch() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let at = |name: &str| dir.path().join(name);
        for folder in ["outside", "tree", "tree/real"] {
            fs::create_dir(at(folder)).expect("makes");
        }
        fs::write(at("outside/f"), "mine").expect("writes");
        fs::write(at("tree/a"), "one").expect("writes");
        symlink(at("outside"), at("tree/away")).expect("links");
        symlink("../outside/f", at("tree/real/link")).expect("links");
        symlink("real", at("tree/near")).expect("links");
        symlink("..", at("tree/real/up")).expect("links");
        let root = Root::open(&at("tree")).expect("opens");
        (dir, root)
    }

    #[test]
    fn plain_files_are_read_written_and_removed() {
        let (dir, root) = scratch();
        assert!(matches!(root.read("a").expect("reads"), Found::File(it) if it.bytes == b"one"));
        assert_eq!(root.read("b").expect("looks"), Found::Absent);
        assert_eq!(root.read("a/below/a/file").expect("looks"), Found::Absent);
        root.write("new/folder/f", &text("two")).expect("writes");
        assert_eq!(root.read("./new/folder/f").expect("reads"), Found::File(text("two")));
        root.remove("new/folder/f").expect("removes");
        root.remove("new/folder/f").expect("is gone already");
        root.remove("nowhere/f").expect("was never there");
        assert_eq!(
            fs::read_dir(dir.path().join("tree/new/folder")).expect("lists").count(),
            0,
            "nothing is left beside"
        );
    }

    #[test]
    fn no_path_leads_through_a_link_or_out() {
        let (dir, root) = scratch();
        for file in
            ["away/f", "near/f", "real/link", "real/up/a", "../outside/f", "/etc/passwd", "", ".", "real", "a/../a"]
        {
            assert_eq!(root.read(file).expect("looks"), Found::NotPlain, "{file}");
        }
        for file in ["away/f", "away/deeper/f", "near/f", "real/up/b", "../outside/f", "/tmp/f", "", "a/../b"] {
            root.write(file, &text("evil")).expect_err(file);
            root.remove(file).expect_err(file);
        }
        assert_eq!(fs::read(dir.path().join("outside/f")).expect("is there"), b"mine");
        assert_eq!(fs::read_dir(dir.path().join("outside")).expect("lists").count(), 1);
        assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 2);
    }

    #[test]
    fn a_link_in_a_files_place_is_replaced_and_not_followed() {
        let (dir, root) = scratch();
        root.write("real/link", &text("new")).expect("writes");
        assert_eq!(root.read("real/link").expect("reads"), Found::File(text("new")));
        assert_eq!(fs::read(dir.path().join("outside/f")).expect("is there"), b"mine");
    }

    #[test]
    fn special_files_hold_nobody_up() {
        let (dir, root) = scratch();
        nix::unistd::mkfifo(&dir.path().join("tree/fifo"), Mode::S_IRWXU).expect("makes");
        assert_eq!(root.read("fifo").expect("looks"), Found::NotPlain);
    }
}
