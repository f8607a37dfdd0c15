//! What the init says, in lines that the host acts on.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};

use twinboot_protocol::{INIT_FATAL, INIT_PAUSED, INIT_PREFIX, INIT_READY, WAKE};

use super::SetupError;
use crate::sys::{SysError, clock};

/// The console's device node.
const NODE: &str = "/dev/console";

/// The console, or wherever the kernel pointed standard output if there is none.
#[derive(Debug)]
pub struct Console(Option<File>);

impl Console {
    /// Opens `/dev/console`; before devtmpfs is mounted that is the initramfs's own node.
    pub fn open() -> Self {
        Self(File::options().write(true).open(NODE).ok())
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

    /// Everything is set up: waits for the host's order to go on and returns the seed that comes with it. Between the two the
    /// machine may have been saved, and this may be one of many that were restored from it.
    pub fn pause(&mut self) -> Result<u64, SetupError> {
        let failed = |source| SysError::new("read", NODE, source);
        let mut orders = BufReader::new(File::open(NODE).map_err(failed)?);
        self.say(INIT_PAUSED);
        loop {
            let mut line = String::new();
            if orders.read_line(&mut line).map_err(failed)? == 0 {
                return Err(SetupError::NoOrder { node: NODE });
            }
            if let Some(seed) = wake_seed(&line) {
                return Ok(seed);
            }
        }
    }

    /// The guest can't be used. Stays on one line whatever `reason` holds.
    pub fn fatal(&mut self, reason: &str) {
        self.say(&format!("{INIT_FATAL}{}", reason.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
}

fn stage_line(stage: &str, uptime: u64) -> String {
    format!("stage {stage} {}.{:03}", uptime / 1_000_000_000, uptime / 1_000_000 % 1000)
}

/// The seed in an order to go on; none in anything else that somebody may have typed.
fn wake_seed(line: &str) -> Option<u64> {
    line.trim().strip_prefix(WAKE)?.strip_prefix(' ')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_order_wakes() {
        assert_eq!(wake_seed("wake 9007199254740991\r\n"), Some(9_007_199_254_740_991));
        for line in ["", "wake", "wake \n", "wake up", "awake 7", "wake 7 8", "wake -1"] {
            assert_eq!(wake_seed(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_stage_shows_milliseconds() {
        assert_eq!(stage_line("mounts", 412_999_999), "stage mounts 0.412");
        assert_eq!(stage_line("ssh", 12_007_000_000), "stage ssh 12.007");
    }
}
