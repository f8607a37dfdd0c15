//! Files in a folder that somebody else may have prepared: nothing is written through a link, and nothing is waited for
//! behind a FIFO.
//!
//! This guards against a folder that was received, such as an unpacked archive. It is no guard against a process that
//! changes the folder at the same time: that one has the user's rights already.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Opens the regular file at `path` to be appended to; makes it where there is none.
pub fn append(path: &Path) -> io::Result<File> {
    open(File::options().read(true).append(true).create(true), libc::O_NOFOLLOW, path)
}

/// Opens the regular file at `path` to be read and appended to.
pub fn reopen(path: &Path) -> io::Result<File> {
    open(File::options().read(true).append(true), libc::O_NOFOLLOW, path)
}

/// Replaces whatever is at `path`, other than a folder, by a new file with these bytes. Readers of what was there keep it.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    create(path)?.write_all(bytes)
}

/// Replaces whatever is at `path`, other than a folder, by an empty file.
pub fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().write(true).create_new(true).open(path)
}

/// Copies the regular file at `from`, which may be a link, over whatever is at `to`.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = open(File::options().read(true), 0, from)?;
    io::copy(&mut from, &mut create(to)?).map(|_| ())
}

/// Reads the regular file at `path`, which may be a link.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(File::options().read(true), 0, path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes the folder at `path` unless it is there. Its parent must be there, and a link to a folder is none.
pub fn folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path)?.is_dir() {
                Ok(())
            } else {
                Err(refused("it is a link or a file, where a folder is expected; remove it"))
            }
        }
        made => made,
    }
}

fn open(options: &mut OpenOptions, flags: libc::c_int, path: &Path) -> io::Result<File> {
    // A FIFO without a writer must not hold anybody up; on a regular file O_NONBLOCK has no effect (open(2)).
    let file =
        options.custom_flags(flags | libc::O_NONBLOCK).open(path).map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP) => refused("it is a link, where a file is expected; remove it"),
            _ => error,
        })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(refused("it is no regular file")) }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder with a file `outside`, a link `link` to it, a dangling link, a link to a folder, a folder and a FIFO.
    fn scene() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("outside"), "mine").expect("writes");
        fs::create_dir(at("folder")).expect("makes");
        symlink(at("outside"), at("link")).expect("links");
        symlink(at("nothing"), at("dangling")).expect("links");
        symlink(at("folder"), at("door")).expect("links");
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("makes");
        dir
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let dir = scene();
        let at = |name: &str| dir.path().join(name);
        for name in ["link", "dangling", "fifo", "folder"] {
            append(&at(name)).expect_err(name);
            reopen(&at(name)).expect_err(name);
        }
        replace(&at("link"), b"new").expect("replaces the link");
        copy(&at("link"), &at("dangling")).expect("replaces the link");
        assert_eq!(fs::read(at("outside")).expect("is there"), b"mine");
        assert_eq!(fs::read(at("dangling")).expect("is there"), b"new");
        assert!(!at("nothing").exists());
        assert!(replace(&at("folder"), b"").is_err() && read(&at("folder")).is_err());
    }

    #[test]
    fn a_fifo_holds_nobody_up() {
        let dir = scene();
        read(&dir.path().join("fifo")).expect_err("no regular file");
    }

    #[test]
    fn a_link_to_a_folder_is_no_folder() {
        let dir = scene();
        let at = |name: &str| dir.path().join(name);
        folder(&at("folder")).expect("is there");
        folder(&at("fresh")).expect("is made");
        for name in ["door", "link", "dangling", "outside"] {
            folder(&at(name)).expect_err(name);
        }
    }

    #[test]
    fn a_file_is_appended_to() {
        let dir = scene();
        for _ in 0..2 {
            append(&dir.path().join("log")).and_then(|mut file| file.write_all(b"x")).expect("writes");
        }
        assert_eq!(read(&dir.path().join("log")).expect("is there"), b"xx");
    }
}
