//! What the init says, in lines that the host acts on.

use std::fs::File;
use std::io::Write;

use twinboot_protocol::{INIT_FATAL, INIT_PREFIX, INIT_READY};

use crate::sys::clock;

/// The console, or wherever the kernel pointed standard output if there is none.
#[derive(Debug)]
pub struct Console(Option<File>);

impl Console {
    /// Opens `/dev/console`; before devtmpfs is mounted that is the initramfs's own node.
    pub fn open() -> Self {
        Self(File::options().write(true).open("/dev/console").ok())
    }

    /// One line in one write(2), so that the kernel's own lines don't cut into it. Nobody can be told if it fails.
    fn say(&mut self, text: &str) {
        let line = format!("{INIT_PREFIX}{text}\n");
        let _ = match &mut self.0 {
            Some(console) => console.write_all(line.as_bytes()),
            None => std::io::stdout().write_all(line.as_bytes()),
        };
    }

    /// `stage` is over, so many seconds after the kernel's start.
    pub fn stage(&mut self, stage: &str) {
        self.say(&stage_line(stage, clock::uptime()));
    }

    /// The guest can be used.
    pub fn ready(&mut self) {
        self.say(INIT_READY);
    }

    /// The guest can't be used. Stays on one line whatever `reason` holds.
    pub fn fatal(&mut self, reason: &str) {
        self.say(&format!("{INIT_FATAL}{}", reason.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
}

fn stage_line(stage: &str, uptime: u64) -> String {
    format!("stage {stage} {}.{:03}", uptime / 1_000_000_000, uptime / 1_000_000 % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_shows_milliseconds() {
        assert_eq!(stage_line("mounts", 412_999_999), "stage mounts 0.412");
        assert_eq!(stage_line("ssh", 12_007_000_000), "stage ssh 12.007");
    }
}
