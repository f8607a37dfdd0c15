//! Taking up a sweep that did not come to its end: what its journal knows, and whether it is about the same thing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::folder::failed;
use super::{Error, journal};
use crate::forced::sweep::Known;
use crate::outcome::entry::{Built, RunStarted};
use crate::outcome::forced::{Exclusion, ForcedOutcome};
use crate::outcome::{Entry, journal_lines};

/// An earlier run.
#[derive(Debug, Clone)]
pub struct Earlier {
    /// Its first line.
    pub started: RunStarted,
    /// All its lines.
    pub entries: Vec<Entry>,
}

/// Why an earlier run cannot be taken up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be taken up: {reason}", results.display())]
pub struct Refused {
    /// Its results folder.
    pub results: PathBuf,
    /// What differs, and what to do.
    pub reason: String,
}

/// Reads the journal of a results folder. A last line that was cut off is not part of it.
pub fn read(results: &Path) -> Result<Earlier, Error> {
    let path = results.join(journal::FILE);
    let bytes = std::fs::read(&path).map_err(|source| failed("read", &path, source))?;
    let refused = |reason: String| Error::Resume(Refused { results: results.to_path_buf(), reason });
    let entries = journal_lines(&bytes)
        .map_err(|error| refused(format!("its journal is not one of this twinboot's: {error}; start a new sweep")))?;
    match entries.first() {
        Some(Entry::RunStarted(started)) => Ok(Earlier { started: (**started).clone(), entries }),
        _ => Err(refused("its journal has no beginning; start a new sweep".to_owned())),
    }
}

/// Whether the earlier run is the one that `now` would be.
pub fn check(results: &Path, earlier: &Earlier, now: &RunStarted, built: &[Built]) -> Result<(), Error> {
    let reason = difference(earlier, now, built);
    reason.map_or(Ok(()), |reason| Err(Error::Resume(Refused { results: results.to_path_buf(), reason })))
}

fn difference(earlier: &Earlier, now: &RunStarted, built: &[Built]) -> Option<String> {
    let then = &earlier.started;
    if then.plan_sha256 != now.plan_sha256 {
        let (then, now) =
            (&then.plan_sha256[..12.min(then.plan_sha256.len())], &now.plan_sha256[..12.min(now.plan_sha256.len())]);
        return Some(format!("the plan has changed since (it was {then}…, it is {now}…); start a new sweep"));
    }
    if then.forced != now.forced {
        let ids = |run: &RunStarted| run.forced.iter().map(|cell| cell.id.as_str()).collect::<Vec<_>>().join(", ");
        return Some(if ids(then) == ids(now) {
            "it was not made in the same way; say --coarse as it did, or start a new sweep".to_owned()
        } else {
            format!("it sweeps other cells ({}); say --only as it did, or start a new sweep", ids(then))
        });
    }
    if then.accelerator != now.accelerator {
        let name = |run: &RunStarted| format!("{} (QEMU {})", run.accelerator.name, run.accelerator.qemu);
        let (then, now) = (name(then), name(now));
        return Some(format!("it ran on {then} and this would run on {now}; results of both are not mixed"));
    }
    if then.seed != now.seed {
        return Some(format!("its seed is {}, not {}; leave --seed out", then.seed, now.seed));
    }
    let digest = |built: &Built| (built.kernel.clone(), built.variant.clone(), built.load_digest.clone());
    let of_entry = |entry: &Entry| if let Entry::Built(built) = entry { Some(digest(built)) } else { None };
    let known: Vec<_> = earlier.entries.iter().filter_map(of_entry).collect();
    let other = built.iter().map(digest).find(|digest| !known.contains(digest))?;
    Some(format!("the kernel {} {} is not the one it swept: its code has changed; start a new sweep", other.0, other.1))
}

impl Earlier {
    /// What need not be done again of a cell. Points that were lost are tried again.
    pub fn known(&self, cell: &str) -> Known {
        let mut known = Known::default();
        let mut tried = BTreeSet::new();
        for entry in &self.entries {
            match entry {
                Entry::SweepTraced(traced) if traced.cell == cell => known.points = Some(traced.points.clone()),
                Entry::SweepTried(it) if it.cell == cell && says_something(&it.outcome) => {
                    tried.insert(it.address);
                }
                _ => {}
            }
        }
        // Without its points nobody knows what was tried.
        if known.points.is_some() {
            known.tried = tried;
        }
        known
    }

    /// Whether the cell ended in a failure.
    pub fn has_failed(&self, cell: &str) -> bool {
        self.entries.iter().any(|entry| matches!(entry, Entry::ForcedFailed(failed) if failed.cell == cell))
    }
}

fn says_something(outcome: &ForcedOutcome) -> bool {
    !matches!(outcome, ForcedOutcome::Lost { .. } | ForcedOutcome::Excluded { why: Exclusion::TookAnotherWay, .. })
}

#[cfg(test)]
#[path = "resume_tests.rs"]
mod tests;
