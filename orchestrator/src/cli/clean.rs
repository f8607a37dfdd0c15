//! `twinboot clean`

use std::io::Write;
use std::time::Duration;

use super::args::{CleanArgs, Places};
use super::exit::{Failure, OK};
use super::setup;
use crate::cache::{Cache, Limits};
use crate::report::progress::HumanBytes;

/// A day in seconds.
const DAY: u64 = 24 * 60 * 60;

/// Prunes the cache and says what was freed, what is in use, and what is no entry of it.
pub fn run(places: &Places, args: &CleanArgs, out: &mut dyn Write) -> Result<u8, Failure> {
    let cache = Cache::open(places.cache_dir.as_deref())?;
    let age = Duration::from_secs(u64::from(args.older_than) * DAY);
    let pruned = cache.prune(Limits { older_than: (!args.all).then_some(age), ..Limits::default() })?;
    for entry in &pruned.freed {
        writeln!(out, "removed {} ({})", entry.name, HumanBytes(entry.bytes))?;
    }
    for name in &pruned.in_use {
        writeln!(out, "kept {name}: in use")?;
    }
    for left in &pruned.left_alone {
        writeln!(out, "left alone {}: {}", left.name, left.why)?;
    }
    for left in setup::sweep() {
        writeln!(out, "removed {}: the twinboot that it belonged to was killed", left.display())?;
    }
    let freed: u64 = pruned.freed.iter().map(|entry| entry.bytes).sum();
    let (freed, kept) = (HumanBytes(freed), HumanBytes(pruned.kept_bytes));
    writeln!(out, "{}: {freed} freed, {kept} kept", cache.root().display())?;
    Ok(OK)
}
