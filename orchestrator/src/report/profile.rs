//! Where the time of a try went, part by part, as the guest tests measured it.

use serde::Serialize;
use twinboot_protocol::{PartTime, Summary};

use super::boot::{gathered, median};
use super::summary::PartSummary;
use super::words::{count, counted, duration, one_line};
use crate::analysis::{CellResult, Results};
use crate::journal::entry::RoundOutcome;

/// What the shares are of and where the quantiles come from, for people.
pub const LEGEND: &str = "Shares are of the racing time; parts lie within each other and on different threads, so they do \
                          not add up to 100 %. Quantiles are of the tries that came to a part, each the median of the \
                          rounds' own.";

/// Titles of a [`Table`]'s columns; all but the first are numbers.
pub const COLUMNS: [&str; 6] = ["part", "times", "share", "median, µs", "90\u{a0}%, µs", "99\u{a0}%, µs"];

/// One cell's parts, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Cell id.
    pub cell: String,
    /// What it is told of: `4 rounds, 40 s of racing`.
    pub of: String,
    /// A row for each part under [`COLUMNS`], largest share first.
    pub rows: Vec<[String; COLUMNS.len()]>,
}

/// The parts of a try over the finished rounds of `cell`, in the order of the try.
pub fn of(cell: &CellResult) -> Vec<PartSummary> {
    pooled(&told(cell).collect::<Vec<_>>())
}

fn pooled(told: &[&Summary]) -> Vec<PartSummary> {
    let racing: f64 = told.iter().map(|summary| summary.elapsed_ns as f64).sum();
    let parts = gathered(told.iter().flat_map(|summary| &summary.profile).map(|part| (part.name.as_str(), part)));
    parts.iter().map(|(name, rounds)| part(name, rounds, racing)).collect()
}

/// A part's rounds in one. A round in which no try came to it has no quantiles.
fn part(name: &str, rounds: &[&PartTime], racing: f64) -> PartSummary {
    let total = rounds.iter().fold(0, |sum: u64, part| sum.saturating_add(part.total_ns));
    let quantile = |of: fn(&PartTime) -> u64| {
        let mut each: Vec<f64> = rounds.iter().filter(|part| part.count > 0).map(|&part| of(part) as f64).collect();
        (!each.is_empty()).then(|| median(&mut each))
    };
    PartSummary {
        name: name.to_owned(),
        count: rounds.iter().fold(0, |sum: u64, part| sum.saturating_add(part.count)),
        total_ns: total,
        share: (racing > 0.0).then(|| total as f64 / racing),
        p50_ns: quantile(|part| part.p50_ns),
        p90_ns: quantile(|part| part.p90_ns),
        p99_ns: quantile(|part| part.p99_ns),
    }
}

/// A table for each cell whose tests told where their time went.
pub fn tables(results: &Results) -> Vec<Table> {
    let tables = results.cells.iter().filter_map(|cell| {
        let mut parts = of(cell);
        parts.sort_by_key(|part| std::cmp::Reverse(part.total_ns));
        let seconds: f64 = told(cell).map(|summary| summary.elapsed_ns as f64 / 1e9).sum();
        let rounds = counted(told(cell).count() as u64, "round", "rounds");
        (!parts.is_empty()).then(|| Table {
            cell: one_line(&cell.spec.id),
            of: format!("{rounds}, {} of racing", duration(seconds)),
            rows: parts.iter().map(row).collect(),
        })
    });
    tables.collect()
}

/// Last records that a rate counts, too, and that tell where the time went.
fn told(cell: &CellResult) -> impl Iterator<Item = &Summary> {
    let ends = cell.rounds.iter().filter_map(|round| round.end());
    let finished = ends.filter(|end| end.outcome == RoundOutcome::Finished);
    finished.filter_map(|end| end.summary.as_ref()).filter(|summary| !summary.profile.is_empty())
}

fn row(part: &PartSummary) -> [String; COLUMNS.len()] {
    let micros = |ns: Option<f64>| ns.map_or_else(|| "-".to_owned(), micros);
    [
        one_line(&part.name),
        count(part.count),
        part.share.map_or_else(|| "-".to_owned(), percent),
        micros(part.p50_ns),
        micros(part.p90_ns),
        micros(part.p99_ns),
    ]
}

fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.001 { "< 0.1 %".to_owned() } else { format!("{:.1} %", share * 100.0) }
}

/// Nanoseconds as microseconds with three digits: `0.35`, `41.2`, `1,203`.
fn micros(ns: f64) -> String {
    match ns / 1e3 {
        few if few < 9.995 => format!("{few:.2}"),
        tens if tens < 99.95 => format!("{tens:.1}"),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rounded duration, not negative")]
        more => count(more.round() as u64),
    }
}

#[cfg(test)]
mod tests {
    use twinboot_protocol::{Counts, StopReason};

    use super::*;

    /// A round of 1 ms with parts as (name, tries, nanoseconds each).
    fn round(parts: &[(&str, u64, u64)]) -> Summary {
        let part = |&(name, count, each): &(&str, u64, u64)| {
            let (name, total_ns) = (name.to_owned(), count * each);
            PartTime { name, count, total_ns, p50_ns: each, p90_ns: each * 2, p99_ns: each * 3 }
        };
        Summary {
            elapsed_ns: 1_000_000,
            counts: Counts::default(),
            first_corruption_ns: None,
            stopped_by: StopReason::Deadline,
            seed: 1,
            factors: Vec::new(),
            details: Vec::new(),
            profile: parts.iter().map(part).collect(),
        }
    }

    #[test]
    fn sums_are_sums_and_quantiles_medians_of_the_rounds() {
        let rounds = [
            round(&[("lead", 10, 1000), ("shot", 10, 90_000)]),
            round(&[("lead", 20, 3000), ("shot", 1, 10_000)]),
            round(&[("lead", 30, 7000), ("shot", 1, 20_000)]),
        ];
        let parts = pooled(&rounds.iter().collect::<Vec<_>>());
        let lead = &parts[0];
        assert_eq!((lead.name.as_str(), lead.count, lead.total_ns), ("lead", 60, 280_000));
        assert_eq!((lead.p50_ns, lead.p90_ns, lead.p99_ns), (Some(3000.0), Some(6000.0), Some(9000.0)));
        assert_eq!(lead.share.map(percent).as_deref(), Some("9.3 %"));
        assert_eq!(parts[1].p50_ns, Some(20_000.0));
    }

    #[test]
    fn a_round_that_never_came_to_a_part_says_nothing_of_its_quantiles() {
        let rounds = [round(&[("late", 0, 0), ("never", 0, 0)]), round(&[("late", 2, 500), ("never", 0, 0)])];
        let parts = pooled(&rounds.iter().collect::<Vec<_>>());
        assert_eq!((parts[0].count, parts[0].p50_ns), (2, Some(500.0)));
        assert_eq!(row(&parts[1]), ["never", "0", "0.0 %", "-", "-", "-"]);
    }

    #[test]
    fn what_no_test_told_of_is_not_made_up_and_what_it_told_does_not_overflow() {
        assert!(pooled(&[]).is_empty());
        let mut round = round(&[("lead", 1, 1)]);
        round.elapsed_ns = 0;
        round.profile[0].total_ns = u64::MAX;
        let parts = pooled(&[&round, &round]);
        assert_eq!((parts[0].total_ns, parts[0].share), (u64::MAX, None));
    }

    #[test]
    fn microseconds_have_three_digits() {
        let told = [0.0, 350.0, 9994.0, 9996.0, 99_940.0, 99_960.0, 1_203_400.0].map(micros);
        assert_eq!(told, ["0.00", "0.35", "9.99", "10.0", "99.9", "100", "1,203"]);
        assert_eq!([0.0, 0.0001, 0.612, 1.0].map(percent), ["0.0 %", "< 0.1 %", "61.2 %", "100.0 %"]);
    }
}
