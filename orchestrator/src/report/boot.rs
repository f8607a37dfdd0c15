//! Where the time went between the start of QEMU and the first record of a test.

use super::summary::BootSummary;
use super::words::{counted, memory};
use crate::analysis::{CellResult, Results};
use crate::journal::rules::Warmth;

/// How the guests of `cell` came up: cold and warm ones apart.
pub fn of(cell: &CellResult) -> Vec<BootSummary> {
    let mut boots = Vec::new();
    for clone in [Warmth::Warm, Warmth::Cold] {
        let rounds = cell.rounds.iter().filter_map(|round| round.end());
        let rounds: Vec<_> = rounds.filter(|end| end.clone == clone && !end.boot.is_empty()).collect();
        let times = gathered(rounds.iter().flat_map(|end| &end.boot).map(|(name, at)| (stage(name), *at)));
        let milestones = times.into_iter().map(|(name, mut times)| (name.to_owned(), median(&mut times))).collect();
        if !rounds.is_empty() {
            boots.push(BootSummary { clone, rounds: rounds.len(), milestones });
        }
    }
    boots
}

/// For people: who came up, and each step with the time it took.
pub fn words(results: &Results) -> Vec<(String, Vec<String>)> {
    let saved = results.snapshots.iter().map(|saved| {
        let mut milestones = saved.boot.clone();
        milestones.push(("saved".to_owned(), saved.seconds));
        let mut parts = steps(&milestones);
        parts.push(memory(saved.bytes));
        let when = if saved.cached { " in an earlier run" } else { "" };
        (format!("{} {} on {}, saved{when}", saved.kernel, saved.variant, saved.guest), parts)
    });
    let rounds = results.cells.iter().flat_map(|cell| of(cell).into_iter().map(move |boot| (&cell.spec.id, boot)));
    let rounds = rounds.map(|(id, boot)| {
        let told = counted(boot.rounds as u64, "round", "rounds");
        let of = if boot.rounds == 1 { told } else { format!("median of {told}") };
        let how = format!("{id}, {}, {of}", boot.clone.name());
        (how, steps(&boot.milestones))
    });
    saved.chain(rounds).collect()
}

/// Each milestone with the time since the one before it, and the time to the last.
fn steps(milestones: &[(String, f64)]) -> Vec<String> {
    let mut before = 0.0;
    let mut parts = Vec::new();
    for (name, at) in milestones {
        parts.push(format!("{} {:.0} ms", stage(name), (at - before).max(0.0) * 1e3));
        before = *at;
    }
    parts.extend(milestones.last().map(|(_, at)| format!("{at:.2} s in all")));
    parts
}

/// The init's `stage swap 1.429` without what is another one in each boot.
fn stage(milestone: &str) -> &str {
    let Some(named) = milestone.strip_prefix("stage ") else { return milestone };
    named.split_once(' ').map_or(named, |(name, _uptime)| name)
}

/// What stands under each name, the names in the order in which they came first.
pub fn gathered<'a, T>(named: impl Iterator<Item = (&'a str, T)>) -> Vec<(&'a str, Vec<T>)> {
    let mut all: Vec<(&str, Vec<T>)> = Vec::new();
    for (name, it) in named {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, there)) => there.push(it),
            None => all.push((name, vec![it])),
        }
    }
    all
}

/// The middle of `times`, or between the two in the middle; NaN where there are none.
pub fn median(times: &mut [f64]) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    match times.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => times[odd / 2],
        even => f64::midpoint(times[even / 2 - 1], times[even / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_the_time_since_the_one_before() {
        let boot =
            [("monitor", 0.06), ("stage start 0.812", 0.9), ("ready", 1.25)].map(|(name, at)| (name.to_owned(), at));
        assert_eq!(steps(&boot), ["monitor 60 ms", "start 840 ms", "ready 350 ms", "1.25 s in all"]);
        assert!(steps(&[]).is_empty());
    }

    #[test]
    fn medians_are_those_of_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]).total_cmp(&2.0), std::cmp::Ordering::Equal);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]).total_cmp(&2.5), std::cmp::Ordering::Equal);
    }
}
