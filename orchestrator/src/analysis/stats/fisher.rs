//! Fisher's exact test over rounds: how many were corrupt on either side.

use super::LnProb;

/// P-value of the hypothesis that the second side is corrupt no less often, given `(corrupt, clean)` of both sides.
///
/// Source: R. A. Fisher, Statistical Methods for Research Workers, 1934, section 21.02: the hypergeometric tail with
/// the margins fixed.
pub fn second_is_lower(first: (u64, u64), second: (u64, u64)) -> LnProb {
    let corrupt = first.0 + second.0;
    let clean = first.1 + second.1;
    let size = second.0 + second.1;
    let whole = ln_choose(corrupt + clean, size);
    let least = size.saturating_sub(clean);
    // Smallest term first; counts of rounds are small, so the plain sum is exact enough.
    let logs: Vec<f64> =
        (least..=second.0).map(|hits| ln_choose(corrupt, hits) + ln_choose(clean, size - hits) - whole).collect();
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    LnProb::from_ln(top + logs.iter().map(|log| (log - top).exp()).sum::<f64>().ln())
}

/// P-value of the hypothesis that the second side is corrupt no more often.
pub fn second_is_higher(first: (u64, u64), second: (u64, u64)) -> LnProb {
    second_is_lower((first.1, first.0), (second.1, second.0))
}

/// Natural logarithm of the number of ways to choose `k` of `n`.
pub(super) fn ln_choose(n: u64, k: u64) -> f64 {
    statrs::function::factorial::ln_binomial(n, k)
}
