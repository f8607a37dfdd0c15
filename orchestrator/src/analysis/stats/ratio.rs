//! Two Poisson rates held against each other.

use super::interval::{proportion_lower, proportion_upper};
use super::tail;
use super::{LnProb, beta};

/// Events seen in so many exposures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Events.
    pub events: u64,
    /// Exposures, not zero where a ratio is asked for.
    pub exposures: u64,
}

/// What two counts say about the ratio of their rates, second over first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateRatio {
    /// Point estimate; infinite where the first saw nothing, none where neither did.
    pub estimate: Option<f64>,
    /// One-sided lower 95 % limit.
    pub lower95: f64,
    /// One-sided upper 95 % limit; infinite where the first saw nothing.
    pub upper95: f64,
    /// P-value of the hypothesis that the second rate is not lower.
    pub p_lower: LnProb,
    /// P-value of the hypothesis that the second rate is not higher.
    pub p_higher: LnProb,
}

/// The conditional exact test: given the sum, the second count is binomial with `e2 / (e1 + e2)` if the rates agree.
///
/// Source: J. Przyborowski, H. Wilenski, Biometrika 31 (1940) 313–323; limits from Clopper–Pearson's by
/// `ratio = pi / (1 - pi) * e1 / e2`. None where a side has no exposures.
pub fn compare(first: Count, second: Count) -> Option<RateRatio> {
    if first.exposures == 0 || second.exposures == 0 {
        return None;
    }
    let (e1, e2) = (first.exposures as f64, second.exposures as f64);
    let (p, q) = (e2 / (e1 + e2), e1 / (e1 + e2));
    let sum = first.events.saturating_add(second.events);
    let odds_to_ratio = |pi: f64| if pi >= 1.0 { f64::INFINITY } else { pi / (1.0 - pi) * (e1 / e2) };
    let estimate = match (first.events, second.events) {
        (0, 0) => None,
        (0, _) => Some(f64::INFINITY),
        (a, b) => Some(b as f64 / e2 / (a as f64 / e1)),
    };
    let (lower95, upper95) = if sum == 0 {
        (0.0, f64::INFINITY)
    } else {
        (
            odds_to_ratio(proportion_lower(second.events, sum, 0.05)),
            odds_to_ratio(proportion_upper(second.events, sum, 0.05)),
        )
    };
    Some(RateRatio {
        estimate,
        lower95,
        upper95,
        p_lower: tail::binomial_at_most(second.events, sum, p, q),
        p_higher: tail::binomial_at_least(second.events, sum, p, q),
    })
}

/// One-sided p-values (lower, higher) for the second rate when the counts vary `dispersion` times as much as Poisson's.
///
/// The signed root of the deviance, divided by the root of the dispersion, is held against Student's t with the degrees
/// of freedom that the dispersion was estimated from. Source: P. `McCullagh`, J. A. Nelder, Generalized Linear Models,
/// 2nd ed. 1989, sections 4.5 and 6.2 (quasi-likelihood). None without events, exposures or degrees of freedom.
pub fn compare_dispersed(first: Count, second: Count, dispersion: f64, freedom: u64) -> Option<(LnProb, LnProb)> {
    let sum = first.events as f64 + second.events as f64;
    if sum == 0.0 || first.exposures == 0 || second.exposures == 0 || freedom == 0 {
        return None;
    }
    let all = first.exposures as f64 + second.exposures as f64;
    let expected = |side: Count| sum * side.exposures as f64 / all;
    let part = |side: Count| {
        let seen = side.events as f64;
        if side.events == 0 { 0.0 } else { seen * (seen / expected(side)).ln() }
    };
    let deviance = 2.0 * (part(first) + part(second)).max(0.0);
    let t = (deviance / dispersion).sqrt();
    let far = beta::student_upper(t, freedom as f64);
    let near = far.complement();
    Some(if (second.events as f64) < expected(second) { (far, near) } else { (near, far) })
}
