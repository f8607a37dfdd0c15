//! What every guest has, whatever its recipe says: places to mount on, a console, and a root user who can log in.

use super::tree::{Node, Tree};
use super::{Error, PROGRAM_DIR};

/// Directories, in the guest, with their permissions.
const DIRECTORIES: [(&str, u32); 15] = [
    ("/bin", 0o755),
    ("/dev", 0o755),
    ("/etc/dropbear", 0o700),
    ("/etc/twinboot", 0o755),
    ("/mnt", 0o755),
    ("/proc", 0o555),
    ("/root", 0o700),
    ("/root/.ssh", 0o700),
    ("/run", 0o755),
    ("/sbin", 0o755),
    ("/sys", 0o555),
    ("/tmp", 0o1777),
    (PROGRAM_DIR, 0o755),
    ("/usr/sbin", 0o755),
    ("/var/log", 0o755),
];

/// Small files.
const FILES: [(&str, &str); 6] = [
    // `*`: no password fits; the key alone opens the door.
    ("/etc/passwd", "root:*:0:0:root:/root:/bin/sh\n"),
    ("/etc/group", "root:x:0:\n"),
    // Dropbear lets in only users whose shell is listed here (getusershell(3)).
    ("/etc/shells", "/bin/sh\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n"),
    ("/etc/hostname", "twinboot\n"),
    ("/etc/profile", "export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"),
];

/// Adds what is not there yet.
pub(super) fn fill(tree: &mut Tree) -> Result<(), Error> {
    for (path, mode) in DIRECTORIES {
        tree.fill(path, Node::Directory { mode })?;
    }
    for (path, content) in FILES {
        tree.fill(path, Node::file(0o644, content))?;
    }
    tree.fill("/var/run", Node::Symlink { target: "/run".to_owned() })?;
    // The kernel opens /dev/console for process 1 before anything can mount devtmpfs (init/main.c,
    // console_on_rootfs); numbers from Documentation/admin-guide/devices.txt.
    tree.fill("/dev/console", Node::CharDevice { mode: 0o600, major: 5, minor: 1 })?;
    tree.fill("/dev/null", Node::CharDevice { mode: 0o666, major: 1, minor: 3 })
}
