//! Chance of nothing at all when every round has its own luck.

use super::LnProb;

/// P(no event in any round) when each round's rate is drawn from a gamma distribution, so that counts are negative
/// binomial with the given variance-to-mean ratio at `mean_per_round` events.
///
/// `shape = mean / (dispersion - 1)`, and a round that expects `m` events stays empty with probability
/// `(1 + m / shape)^-shape`; a dispersion of 1 or less gives Poisson's `exp(-m)`.
/// Source: M. Greenwood, G. U. Yule, Journal of the Royal Statistical Society 83 (1920) 255–279;
/// F. J. Anscombe, Biometrika 37 (1950) 358–382.
pub fn no_event(expected: impl IntoIterator<Item = f64>, mean_per_round: f64, dispersion: f64) -> LnProb {
    let excess = dispersion - 1.0;
    let ln = expected
        .into_iter()
        .map(|events| {
            if excess <= 0.0 || mean_per_round <= 0.0 {
                -events
            } else {
                let shape = mean_per_round / excess;
                -shape * (events / shape).ln_1p()
            }
        })
        .sum();
    LnProb::from_ln(ln)
}
