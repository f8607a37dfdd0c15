//! Which levels of which factors a comparison covers, for formats with lines and for formats with tables.

use super::words::{count, counted, one_line};
use crate::analysis::{Comparison, FactorCoverage, LevelCoverage, LevelState};

/// Titles of [`rows`].
pub(super) const COLUMNS: [&str; 7] =
    ["factor", "level", "base exposures", "base corruptions", "patched exposures", "patched corruptions", "state"];

/// One row a level.
pub(super) fn rows(it: &Comparison) -> Vec<[String; 7]> {
    let row = |factor: &FactorCoverage, level: &LevelCoverage| {
        let state = match level.exposures_needed {
            Some(more) => format!("{}, {} more needed", level.state.word(), count(more)),
            None => level.state.word().to_owned(),
        };
        [
            one_line(&factor.factor),
            one_line(&level.level),
            count(level.base_exposures),
            count(level.base_corruptions),
            count(level.patched_exposures),
            count(level.patched_corruptions),
            state,
        ]
    };
    let factors = it.coverage.factors.iter();
    factors.flat_map(|factor| factor.levels.iter().map(move |level| row(factor, level))).collect()
}

/// One line a factor: `access: read 812 clean; write 312 corrupt in 790`.
pub(super) fn lines(it: &Comparison) -> Vec<String> {
    let level = |level: &LevelCoverage| {
        let clean = format!("{} {} clean", level.level, count(level.patched_exposures));
        match level.state {
            LevelState::Covered => clean,
            LevelState::NotCovered => {
                let more = level.exposures_needed.unwrap_or_default();
                format!("{clean}, {} more needed", count(more))
            }
            LevelState::Corrupts => {
                let corrupt = count(level.patched_corruptions);
                format!("{} {corrupt} corrupt in {}", level.level, count(level.patched_exposures))
            }
            LevelState::BaseUnexposed | LevelState::BaseClean => format!("{} {}", level.level, level.state.word()),
        }
    };
    let line = |factor: &FactorCoverage| {
        let levels: Vec<String> = factor.levels.iter().map(level).collect();
        one_line(&format!("{}: {}", factor.factor, levels.join("; ")))
    };
    it.coverage.factors.iter().map(line).collect()
}

/// The levels that miss most: `slot 13 needs 40 more clean exposures`.
pub(super) fn missing(it: &Comparison) -> String {
    const TOLD: usize = 3;
    let missing = it.coverage.missing();
    let told = missing.iter().take(TOLD).map(|(level, more)| {
        format!("{level} needs {}", counted(*more, "more clean exposure", "more clean exposures"))
    });
    let told = told.collect::<Vec<_>>().join(", ");
    match missing.len().saturating_sub(TOLD) {
        0 => told,
        rest => format!("{told}; so do {}", counted(rest as u64, "other level", "other levels")),
    }
}
