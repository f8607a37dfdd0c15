//! What tells this host, and its present boot, from others.

use std::io;

/// The id of this boot of the host's kernel (random(4), `/proc/sys/kernel/random/boot_id`).
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
