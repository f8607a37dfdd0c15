//! `twinboot clean`

use std::io::Write;
use std::time::Duration;

use super::args::{CleanArgs, Places};
use super::exit::{Failure, OK};
use crate::cache::{self, Cache};

/// A day in seconds.
const DAY: u64 = 24 * 60 * 60;

/// Prunes the cache and says what was freed.
pub fn run(places: &Places, args: &CleanArgs, out: &mut dyn Write) -> Result<u8, Failure> {
    let cache = Cache::open(places.cache_dir.as_deref())?;
    let age = if args.all { Duration::ZERO } else { Duration::from_secs(u64::from(args.older_than) * DAY) };
    let freed = cache::prune(&cache, age)?;
    writeln!(out, "{}: {freed}", cache.root().display())?;
    Ok(OK)
}
