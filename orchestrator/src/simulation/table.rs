//! Tallies as a table for people, and as it is committed in docs/simulation.md.

use std::fmt::Write as _;

use super::Tally;
use crate::analysis::Verdict;

/// Verdicts that rounds without trouble can come to, in the order of the columns.
const COLUMNS: [Verdict; 8] = [
    Verdict::Fixed,
    Verdict::Reduced,
    Verdict::NotFixed,
    Verdict::Regressed,
    Verdict::NotReproduced,
    Verdict::Inconclusive,
    Verdict::NoDifference,
    Verdict::Difference,
];

/// A Markdown table with one line for each tally.
pub fn markdown(tallies: &[Tally]) -> String {
    let mut rows = vec![["truth", "base rate", "clustering", "boots"].map(str::to_owned).to_vec()];
    rows[0].extend(COLUMNS.iter().map(|verdict| verdict.word().to_owned()));
    rows[0].extend(["false fixed", "wrong", "95 % interval of wrong", "rounds base + patched"].map(str::to_owned));
    rows.extend(tallies.iter().map(row));
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        if number == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            let _ = writeln!(text, "| {} |", rules.join(" | "));
        }
    }
    text
}

fn row(tally: &Tally) -> Vec<String> {
    let (world, wrong95) = (&tally.world, tally.wrong95());
    let mut row = vec![
        world.truth.words(),
        world.rate.to_string(),
        world.clustering.to_string(),
        world.boot_clustering.to_string(),
    ];
    row.extend(COLUMNS.iter().map(|&verdict| match tally.count(verdict) {
        0 => "·".to_owned(),
        count => count.to_string(),
    }));
    row.push(tally.false_fixed.map_or_else(|| "·".to_owned(), |p| format!("{p:.1e}")));
    row.push(tally.wrong.to_string());
    row.push(format!("{:.2} % – {:.2} %", wrong95.low * 100.0, wrong95.high * 100.0));
    row.push(format!("{:.1} + {:.1}", tally.base_rounds, tally.patched_rounds));
    row
}
