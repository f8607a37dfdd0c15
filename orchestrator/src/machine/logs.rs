//! The two logs of a guest, and how those of many guests become one file.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Where the two logs of a guest are written.
#[derive(Debug, Clone)]
pub struct Logs {
    /// Every byte of the serial console.
    pub console: PathBuf,
    /// QEMU's command line and its own words.
    pub qemu: PathBuf,
}

/// The logs of one of a cell's guests, written live under names of their own and then appended to the cell's.
#[derive(Debug)]
pub struct GuestLogs {
    folder: PathBuf,
    heading: String,
    /// Where they are written while the guest lives.
    pub live: Logs,
}

impl GuestLogs {
    /// Logs of the guest `kind` `number` of the cell in `folder`: `round` 3.
    pub fn new(folder: &Path, kind: &str, number: u32) -> Self {
        let live = |name: &str| folder.join(format!("{name}.{kind}-{number}.log"));
        let live = Logs { console: live("console"), qemu: live("qemu") };
        Self { folder: folder.to_path_buf(), heading: format!("==== {kind} {number} ====\n"), live }
    }

    /// Appends both to the cell's logs; a log that cannot be moved stays where it is, so nothing is lost.
    pub fn keep(&self) {
        for (live, name) in [(&self.live.console, "console.log"), (&self.live.qemu, "qemu.log")] {
            let Ok(text) = std::fs::read(live) else { continue };
            let whole = std::fs::File::options().append(true).create(true).open(self.folder.join(name));
            let kept = whole.and_then(|mut whole| {
                let mut block = self.heading.clone().into_bytes();
                block.extend(&text);
                if !block.ends_with(b"\n") {
                    block.push(b'\n');
                }
                whole.write_all(&block)
            });
            if kept.is_ok() {
                let _ = std::fs::remove_file(live);
            }
        }
    }
}
