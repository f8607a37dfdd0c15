//! What a sweep that did not come to its end has left behind.

use std::collections::BTreeSet;

use crate::interleave::sweep::EarlierResults;
use crate::journal::Entry;
use crate::journal::interleaving::{Exclusion, ForcedOutcome};

/// What need not be done again of a cell. Points that were lost are tried again.
pub(super) fn known(entries: &[Entry], cell: &str) -> EarlierResults {
    let mut known = EarlierResults::default();
    let mut tried = BTreeSet::new();
    for entry in entries {
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
pub(super) fn has_failed(entries: &[Entry], cell: &str) -> bool {
    entries.iter().any(|entry| matches!(entry, Entry::ForcedFailed(failed) if failed.cell == cell))
}

fn says_something(outcome: &ForcedOutcome) -> bool {
    !matches!(outcome, ForcedOutcome::Lost { .. } | ForcedOutcome::Excluded { why: Exclusion::TookAnotherWay, .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::interleaving::{ForcedFailed, SweepPoint, SweepTraced, SweepTried};

    fn point(address: u64) -> SweepPoint {
        SweepPoint {
            address,
            function: "f".to_owned(),
            offset: 0,
            instruction: "nop".to_owned(),
            inlined: None,
            file: None,
            line: None,
            source: None,
            order: Some(address),
            illegal: None,
        }
    }

    fn tried(address: u64, outcome: ForcedOutcome) -> Entry {
        let (cell, threads, problems) = ("c".to_owned(), Vec::new(), Vec::new());
        Entry::SweepTried(Box::new(SweepTried { cell, address, outcome, threads, problems, seconds: 0.1 }))
    }

    #[test]
    fn what_was_lost_is_tried_again_and_the_rest_is_not() {
        let points = (1..=4).map(point).collect();
        let mut entries = vec![
            tried(4, ForcedOutcome::Clean),
            Entry::SweepTraced(Box::new(SweepTraced { cell: "c".to_owned(), points, steps: 4, seconds: 0.1 })),
            tried(1, ForcedOutcome::Clean),
            tried(2, ForcedOutcome::Lost { reason: "late".to_owned() }),
            tried(3, ForcedOutcome::Excluded { step: 1, why: Exclusion::TookAnotherWay, damage: None }),
        ];
        let found = known(&entries, "c");
        assert_eq!(found.points.map(|points| points.len()), Some(4));
        assert_eq!(found.tried.into_iter().collect::<Vec<_>>(), [1, 4]);
        let other = known(&entries, "d");
        assert!(other.points.is_none() && other.tried.is_empty());
        assert!(!has_failed(&entries, "c"));
        entries.push(Entry::ForcedFailed(ForcedFailed {
            cell: "c".to_owned(),
            reason: "no guest".to_owned(),
            plan: false,
        }));
        assert!(has_failed(&entries, "c") && !has_failed(&entries, "d"));
    }

    #[test]
    fn without_its_points_nothing_is_known() {
        assert!(known(&[tried(1, ForcedOutcome::Clean)], "c").tried.is_empty());
    }
}
