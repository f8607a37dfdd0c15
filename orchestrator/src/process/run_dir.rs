//! Private folders for what a process needs while it lives: sockets, keys, a guest's initramfs.
//!
//! A folder goes with its owner; that of an owner that was killed goes with the next twinboot. So that nothing else is ever
//! removed, a folder says who owns it: host, boot, PID namespace, process id and start time. The start time tells the owner
//! from a later process with the same id (`/proc/PID/stat`, field 22, proc(5)).

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// What the names of the folders begin with.
const PREFIX: &str = "twinboot-";

/// Name of the file that says who owns a folder.
const OWNER: &str = ".twinboot-owner.json";

/// A process, told from all others there ever were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    host: String,
    boot: String,
    pid_namespace: String,
    pid: u32,
    /// Clock ticks from the host's boot to its start.
    started: u64,
}

/// Makes a folder in `parent` with a name nobody can guess that only this user may enter; it goes away when it is dropped.
pub fn make(parent: &Path) -> io::Result<TempDir> {
    let dir = tempfile::Builder::new().prefix(PREFIX).permissions(Permissions::from_mode(0o700)).tempdir_in(parent)?;
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(dir.path().join(OWNER))?;
    file.write_all(&serde_json::to_vec(&Owner::this()?)?)?;
    Ok(dir)
}

/// Removes the folders in `parent` whose owner is gone. Returns them.
pub fn sweep(parent: &Path) -> Vec<PathBuf> {
    let Ok(this) = Owner::this() else { return Vec::new() };
    let found = fs::read_dir(parent).into_iter().flatten().flatten();
    let named = found.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)).map(|entry| entry.path());
    let mut left: Vec<PathBuf> = named.filter(|path| owner(path).is_some_and(|owner| owner.is_gone(&this))).collect();
    // Another twinboot may be sweeping too. Links in the folder are removed and not followed.
    left.retain(|path| fs::remove_dir_all(path).is_ok());
    left.sort();
    left
}

/// Who owns a folder of this user's; none for any other folder, and for links.
fn owner(dir: &Path) -> Option<Owner> {
    let user = nix::unistd::geteuid().as_raw();
    let file = dir.join(OWNER);
    let metadata = dir.symlink_metadata().ok().filter(|it| it.is_dir() && it.uid() == user)?;
    let mark =
        file.symlink_metadata().ok().filter(|it| it.is_file() && it.uid() == user && it.dev() == metadata.dev())?;
    // A mark has some hundred bytes.
    let text = (mark.len() < 4096).then(|| fs::read(file).ok()).flatten()?;
    serde_json::from_slice(&text).ok()
}

impl Owner {
    /// This process.
    fn this() -> io::Result<Self> {
        let pid = std::process::id();
        let started = started(pid).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat tells no start time")))?;
        Ok(Self {
            host: nix::unistd::gethostname()?.to_string_lossy().into_owned(),
            boot: crate::host::boot_id()?,
            pid_namespace: fs::read_link("/proc/self/ns/pid")?.to_string_lossy().into_owned(),
            pid,
            started,
        })
    }

    /// It has ended, as far as `this` process can know.
    fn is_gone(&self, this: &Self) -> bool {
        if self.host != this.host {
            return false;
        }
        if self.boot != this.boot {
            return true;
        }
        // Process ids of other namespaces, as those of containers that share a folder, mean nothing here.
        self.pid_namespace == this.pid_namespace && started(self.pid) != Some(self.started)
    }
}

/// Start time of the process with this id; none where there is none, or one that has ended and not been reaped.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    // Fields 4 to 22.
    fields.nth(18)?.parse().ok().filter(|_| !matches!(state, "Z" | "X"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(dir: &Path, change: impl FnOnce(&mut Owner)) {
        let mut owner = Owner::this().expect("this process");
        change(&mut owner);
        fs::write(dir.join(OWNER), serde_json::to_vec(&owner).expect("plain data")).expect("writes");
    }

    #[test]
    fn a_folder_is_private_and_its_owner_is_this_process() {
        let parent = tempfile::tempdir().expect("a scratch folder");
        let dir = make(parent.path()).expect("makes");
        assert_eq!(dir.path().metadata().expect("is there").mode() & 0o777, 0o700);
        assert_eq!(sweep(parent.path()), Vec::<PathBuf>::new());
        assert!(dir.path().is_dir());
        drop(dir);
        assert_eq!(fs::read_dir(parent.path()).expect("is there").count(), 0);
    }

    #[test]
    fn only_what_an_owner_that_is_gone_has_left_is_removed() {
        let parent = tempfile::tempdir().expect("a scratch folder");
        let outside = parent.path().join("documents");
        fs::create_dir(&outside).expect("makes");
        fs::write(outside.join("letter"), b"mine").expect("writes");
        let folder = |name: &str| {
            let dir = parent.path().join(name);
            fs::create_dir(&dir).expect("makes");
            fs::write(dir.join("initrd"), b"a key").expect("writes");
            std::os::unix::fs::symlink(&outside, dir.join("link")).expect("links");
            dir
        };
        let mut gone = std::process::Command::new("true").spawn().expect("starts");
        let pid = gone.id();
        gone.wait().expect("ends");
        mark(&folder("twinboot-gone"), |owner| owner.pid = pid);
        mark(&folder("twinboot-reused"), |owner| owner.started -= 1);
        mark(&folder("twinboot-rebooted"), |owner| owner.boot = "another".to_owned());
        mark(&folder("twinboot-alive"), |_| {});
        mark(&folder("twinboot-elsewhere"), |owner| {
            owner.host = "another".to_owned();
            owner.boot = "another".to_owned();
        });
        mark(&folder("twinboot-container"), |owner| {
            owner.pid = pid;
            owner.pid_namespace = "another".to_owned();
        });
        mark(&folder("other-gone"), |owner| owner.pid = pid);
        folder("twinboot-unmarked");
        fs::write(folder("twinboot-damaged").join(OWNER), b"{").expect("writes");
        let marked = folder("twinboot-linked-mark");
        std::os::unix::fs::symlink(parent.path().join("other-gone").join(OWNER), marked.join(OWNER)).expect("links");
        std::os::unix::fs::symlink(parent.path().join("other-gone"), parent.path().join("twinboot-link"))
            .expect("links");

        let removed = sweep(parent.path());
        let removed: Vec<_> = removed.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        assert_eq!(removed, ["twinboot-gone", "twinboot-rebooted", "twinboot-reused"]);
        assert_eq!(fs::read(outside.join("letter")).expect("is there"), b"mine");
        assert_eq!(fs::read_dir(parent.path()).expect("lists").count(), 9);
    }

    #[test]
    fn a_process_that_waits_to_be_reaped_has_ended() {
        let mut child = std::process::Command::new("true").spawn().expect("starts");
        while started(child.id()).is_some() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(Path::new(&format!("/proc/{}", child.id())).exists());
        child.wait().expect("ends");
    }
}
