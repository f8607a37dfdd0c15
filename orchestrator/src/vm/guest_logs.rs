//! The two logs of a guest, and how those of many guests become one file.

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::nofollow;

/// Where the two logs of a guest are written, each behind what is there already.
#[derive(Debug, Clone)]
pub struct Logs {
    /// Every byte of the serial console.
    pub console: PathBuf,
    /// QEMU's command line and its own words.
    pub qemu: PathBuf,
}

/// The logs of one of a cell's guests, written live under names of their own and then put behind the cell's.
#[derive(Debug)]
pub struct GuestLogs {
    folder: PathBuf,
    heading: String,
    live: Logs,
}

impl GuestLogs {
    /// Logs of the guest `kind` `number` of the cell in `folder`: `round` 3.
    pub fn new(folder: &Path, kind: &str, number: u32) -> Self {
        let live = |name: &str| folder.join(format!("{name}.{kind}-{number}.log"));
        let live = Logs { console: live("console"), qemu: live("qemu") };
        Self { folder: folder.to_path_buf(), heading: format!("==== {kind} {number} ====\n"), live }
    }

    /// Where they are written while the guest lives; each has a heading now and nothing of an earlier guest. That one cannot be
    /// written is for the guest to find out.
    pub fn begin(&self) -> Logs {
        for live in [&self.live.console, &self.live.qemu] {
            let _ = nofollow::replace(live, self.heading.as_bytes());
        }
        self.live.clone()
    }

    /// Puts both behind the cell's logs; a log that cannot be moved stays where it is, so nothing is lost.
    pub fn keep(&self) {
        for (live, name) in [(&self.live.console, "console.log"), (&self.live.qemu, "qemu.log")] {
            let whole = self.folder.join(name);
            // The first guest's log becomes the cell's under another name; a cell has seldom more than a handful of guests.
            if fs::hard_link(live, &whole).is_ok() || append(live, &whole).is_ok() {
                let _ = fs::remove_file(live);
            }
        }
    }
}

/// Writes what is in `part` behind what is in `whole`, from the start of a line on.
fn append(part: &Path, whole: &Path) -> io::Result<()> {
    let mut text = nofollow::read(part)?;
    let mut whole = nofollow::append(whole)?;
    let mut last = [b'\n'];
    if whole.seek(SeekFrom::End(0))? > 0 {
        whole.seek(SeekFrom::End(-1))?;
        whole.read_exact(&mut last)?;
    }
    if last != [b'\n'] {
        text.insert(0, b'\n');
    }
    whole.write_all(&text)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    /// What a guest says at its console.
    fn say(logs: &Logs, text: &str) {
        let mut console = File::options().append(true).open(&logs.console).expect("it was begun");
        console.write_all(text.as_bytes()).expect("writes");
    }

    #[test]
    fn the_logs_of_a_cells_guests_stand_one_behind_the_other() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        for (number, text) in [(1, "Linux\nand then noth"), (2, ""), (3, "Linux\n")] {
            let logs = GuestLogs::new(folder.path(), "round", number);
            say(&logs.begin(), text);
            logs.keep();
        }
        let whole = fs::read_to_string(folder.path().join("console.log")).expect("is there");
        let expected = "==== round 1 ====\nLinux\nand then noth\n==== round 2 ====\n==== round 3 ====\nLinux\n";
        assert_eq!(whole, expected);
        assert_eq!(fs::read_dir(folder.path()).expect("is there").count(), 2, "console.log and qemu.log");
    }

    #[test]
    fn guests_that_were_never_begun_leave_nothing() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        GuestLogs::new(folder.path(), "round", 1).keep();
        assert_eq!(fs::read_dir(folder.path()).expect("is there").count(), 0);
    }
    #[test]
    fn logs_are_not_written_through_links() {
        let (folder, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let mine = elsewhere.path().join("mine");
        fs::write(&mine, "mine").expect("writes");
        for name in ["console.log", "console.round-1.log", "qemu.log", "qemu.round-1.log"] {
            std::os::unix::fs::symlink(&mine, folder.path().join(name)).expect("links");
        }
        let logs = GuestLogs::new(folder.path(), "round", 1);
        say(&logs.begin(), "Linux\n");
        logs.keep();
        assert_eq!(fs::read_to_string(&mine).expect("is there"), "mine");
        let kept =
            fs::read_to_string(folder.path().join("console.round-1.log")).expect("a log that cannot be moved stays");
        assert_eq!(kept, "==== round 1 ====\nLinux\n");
    }
}
