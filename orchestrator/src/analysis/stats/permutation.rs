//! Exact tests over independent units: no distribution is assumed, only that the units of both sides could have been dealt
//! out the other way round.

use super::{LnProb, fisher};

/// More units than this are told apart only by whether anything happened in them: the table of rank sums grows with the cube
/// of their number.
const RANKED_MAX: usize = 120;

/// One-sided p-values (lower, higher) of the second side's rates, one rate a unit.
///
/// The exact distribution of the rank sum over all ways to deal the units out, with mid-ranks for ties: F. Wilcoxon,
/// Biometrics Bulletin 1 (1945) 80–83; H. B. Mann, D. R. Whitney, Annals of Mathematical Statistics 18 (1947) 50–60. Where
/// the second side has only zeros this is Fisher's exact test of corrupt against clean units. Both are 1 without units.
pub fn second_is_lower_or_higher(first: &[f64], second: &[f64]) -> (LnProb, LnProb) {
    let lowest = |side: &[f64]| side.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = |side: &[f64]| side.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if first.is_empty() || second.is_empty() {
        (LnProb::ONE, LnProb::ONE)
    } else if highest(second) < lowest(first) {
        (smallest(first.len(), second.len()), LnProb::ONE)
    } else if highest(first) < lowest(second) {
        (LnProb::ONE, smallest(first.len(), second.len()))
    } else if highest(first).max(highest(second)) <= 0.0 {
        (LnProb::ONE, LnProb::ONE)
    } else if highest(second) <= 0.0 || highest(first) <= 0.0 || first.len() + second.len() > RANKED_MAX {
        let split = |side: &[f64]| {
            let corrupt = side.iter().filter(|rate| **rate > 0.0).count() as u64;
            (corrupt, side.len() as u64 - corrupt)
        };
        let (first, second) = (split(first), split(second));
        (fisher::second_is_lower(first, second), fisher::second_is_higher(first, second))
    } else {
        rank_sum(first, second)
    }
}

/// The smallest p-value that so many units can support: one way out of all to deal them out.
pub fn smallest(first: usize, second: usize) -> LnProb {
    LnProb::from_ln(-fisher::ln_choose((first + second) as u64, second as u64))
}

fn rank_sum(first: &[f64], second: &[f64]) -> (LnProb, LnProb) {
    let mut all: Vec<(f64, bool)> =
        first.iter().map(|rate| (*rate, false)).chain(second.iter().map(|rate| (*rate, true))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Twice the mid-rank, so that all are whole numbers.
    let mut ranks = Vec::with_capacity(all.len());
    let mut seen = 0;
    for tied in all.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        ranks.extend(std::iter::repeat_n(2 * seen + tied.len() + 1, tied.len()));
        seen += tied.len();
    }
    let told: usize = ranks.iter().zip(&all).filter(|(_, unit)| unit.1).map(|(rank, _)| rank).sum();
    let whole: usize = ranks.iter().sum();
    // ways[units][sum]: how many choices of so many units have that sum of ranks.
    let mut ways = vec![vec![0.0f64; whole + 1]; second.len() + 1];
    ways[0][0] = 1.0;
    let mut reached = 0;
    for (taken, rank) in ranks.iter().enumerate() {
        reached += rank;
        for units in (1..=second.len().min(taken + 1)).rev() {
            let (fewer, these) = ways.split_at_mut(units);
            let (fewer, these) = (&fewer[units - 1], &mut these[0]);
            for sum in (*rank..=reached).rev() {
                these[sum] += fewer[sum - rank];
            }
        }
    }
    let ways = &ways[second.len()];
    let all: f64 = ways.iter().sum();
    let share = |part: &[f64]| LnProb::from_ln((part.iter().sum::<f64>() / all).ln());
    (share(&ways[..=told]), share(&ways[told..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(p: LnProb, wanted: f64) -> bool {
        (p.value() / wanted - 1.0).abs() < 1e-9
    }

    /// By going through every way to deal the units out.
    fn by_hand(first: &[f64], second: &[f64]) -> (f64, f64) {
        let all: Vec<f64> = first.iter().chain(second).copied().collect();
        let rank = |rate: f64| {
            let below = all.iter().filter(|other| **other < rate).count();
            let same = all.iter().filter(|other| other.total_cmp(&rate).is_eq()).count();
            2 * below + same + 1
        };
        let told: usize = second.iter().map(|rate| rank(*rate)).sum();
        let (mut ways, mut lower, mut higher) = (0.0, 0.0, 0.0);
        for dealt in 0u32..1 << all.len() {
            if dealt.count_ones() as usize != second.len() {
                continue;
            }
            let sum: usize = (0..all.len()).filter(|at| dealt >> at & 1 == 1).map(|at| rank(all[at])).sum();
            ways += 1.0;
            lower += f64::from(u8::from(sum <= told));
            higher += f64::from(u8::from(sum >= told));
        }
        (lower / ways, higher / ways)
    }

    #[test]
    fn twelve_against_twelve_support_what_the_binomial_coefficient_says() {
        // 24! / (12! 12!) = 2704156.
        let (lower, higher) = second_is_lower_or_higher(&[0.4; 12], &[0.0; 12]);
        assert!(near(lower, 1.0 / 2_704_156.0) && near(higher, 1.0), "{lower} {higher}");
        assert!(near(smallest(4, 4), 1.0 / 70.0));
    }

    #[test]
    fn without_units_or_events_nothing_is_known() {
        for (first, second) in [(&[][..], &[0.0][..]), (&[0.1], &[]), (&[0.0; 20], &[0.0; 20])] {
            assert_eq!(second_is_lower_or_higher(first, second), (LnProb::ONE, LnProb::ONE));
        }
    }

    proptest! {
        #[test]
        fn every_way_to_deal_is_counted(
            first in prop::collection::vec(0u8..4, 1..7),
            second in prop::collection::vec(0u8..4, 1..7),
        ) {
            let rates = |side: &[u8]| side.iter().map(|it| f64::from(*it) / 8.0).collect::<Vec<f64>>();
            let (first, second) = (rates(&first), rates(&second));
            let (lower, higher) = second_is_lower_or_higher(&first, &second);
            let (wanted_lower, wanted_higher) = by_hand(&first, &second);
            let all_zero = first.iter().chain(&second).all(|rate| *rate <= 0.0);
            prop_assert!(all_zero || near(lower, wanted_lower), "{lower} is not {wanted_lower}");
            prop_assert!(all_zero || near(higher, wanted_higher), "{higher} is not {wanted_higher}");
            let supported = smallest(first.len(), second.len()).ln() - 1e-9;
            prop_assert!(lower.ln() >= supported && higher.ln() >= supported);
        }
    }
}
