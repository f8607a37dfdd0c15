//! Exact confidence limits for proportions and for rates.

use statrs::function::erf::erfc_inv;
use statrs::function::gamma::{gamma_lr, gamma_ur};

use super::root::crossing;
use super::tail;

/// Lower and upper limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower limit.
    pub low: f64,
    /// Upper limit.
    pub high: f64,
}

/// Two-sided Clopper–Pearson interval for `k` successes of `n` at `confidence` (such as 0.95).
///
/// Source: C. J. Clopper, E. S. Pearson, Biometrika 26 (1934) 404–413. With `n = 0` everything is possible: 0 to 1.
pub fn clopper_pearson(k: u64, n: u64, confidence: f64) -> Interval {
    let tail = (1.0 - confidence) / 2.0;
    Interval { low: proportion_lower(k, n, tail), high: proportion_upper(k, n, tail) }
}

/// One-sided lower Clopper–Pearson limit: P(X >= k) equals `tail` there.
pub fn proportion_lower(k: u64, n: u64, tail: f64) -> f64 {
    if k == 0 {
        return 0.0;
    }
    if k >= n {
        return (tail.ln() / n as f64).exp();
    }
    near_odds(k, n, |p, q| tail::binomial_at_least(k, n, p, q).ln() - tail.ln())
}

/// One-sided upper Clopper–Pearson limit: P(X <= k) equals `tail` there.
pub fn proportion_upper(k: u64, n: u64, tail: f64) -> f64 {
    if k >= n {
        return 1.0;
    }
    if k == 0 {
        return -(tail.ln() / n as f64).exp_m1();
    }
    near_odds(k, n, |p, q| tail.ln() - tail::binomial_at_most(k, n, p, q).ln())
}

/// The probability at which `rising`, of it and its complement, turns positive; looked for from the odds of `k` successes
/// of `n` on, of which there are some of either kind, in steps of their logit's standard error.
fn near_odds(k: u64, n: u64, rising: impl Fn(f64, f64) -> f64) -> f64 {
    let (successes, failures) = (k as f64, (n - k) as f64);
    let step = (1.0 / successes + 1.0 / failures).sqrt();
    let of_logit = |logit: f64| rising(from_logit(logit), from_logit(-logit));
    from_logit(crossing(-60.0..=60.0, (successes / failures).ln(), step, of_logit))
}

fn from_logit(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// Two-sided exact interval for the mean of a Poisson count `k` at `confidence`.
///
/// Source: F. Garwood, "Fiducial limits for the Poisson distribution", Biometrika 28 (1936) 437–442.
pub fn poisson(k: f64, confidence: f64) -> Interval {
    let tail = (1.0 - confidence) / 2.0;
    Interval { low: poisson_lower(k, tail), high: poisson_upper(k, tail) }
}

/// Counts from which on the closed form of [`far_quantile`] takes the search's place: it is right to 10 digits there, and
/// the incomplete gamma function takes ever longer, and overflows in the end.
const FAR: f64 = 1e8;

/// One-sided lower Garwood limit of the mean: P(X >= k) equals `tail` there.
///
/// By the identity with the gamma distribution `k` need not be whole, which clustered counts make use of.
pub fn poisson_lower(k: f64, tail: f64) -> f64 {
    if k.is_nan() || k <= 0.0 {
        return 0.0;
    }
    if k >= FAR {
        return far_quantile(k, -1.0, tail);
    }
    // P(X >= k; mean) is the lower regularised gamma function of (k, mean).
    crossing(-700.0..=k.ln(), k.ln(), k.sqrt().recip(), |ln| gamma_lr(k, ln.exp()) - tail).exp()
}

/// One-sided lower limit of a rate whose events come in clusters: counts divided by their variance inflation, 1 for events
/// that do not.
///
/// Source: J. N. K. Rao, A. J. Scott, "A Simple Method for the Analysis of Clustered Binary Data", Biometrics 48 (1992)
/// 577–585.
pub fn rate_lower(events: f64, exposures: f64, inflation: f64, tail: f64) -> f64 {
    poisson_lower(events / inflation, tail) * inflation / exposures
}

/// One-sided upper Garwood limit of the mean: P(X <= k) equals `tail` there.
pub fn poisson_upper(k: f64, tail: f64) -> f64 {
    let shape = k + 1.0;
    if k.is_nan() {
        return f64::INFINITY;
    }
    if k >= FAR {
        return far_quantile(shape, 1.0, tail);
    }
    let top = shape.ln() + (2.0 - tail.ln() / shape).ln() + 2.0;
    crossing(-10.0..=top, shape.ln(), shape.sqrt().recip(), |ln| tail - gamma_ur(shape, ln.exp())).exp()
}

/// Quantile of the gamma distribution of a large `shape`, with `tail` below it (`side` -1) or above it (`side` 1).
///
/// Source: E. B. Wilson, M. M. Hilferty, "The Distribution of Chi-Square", Proceedings of the National Academy of Sciences 17
/// (1931) 684–688.
fn far_quantile(shape: f64, side: f64, tail: f64) -> f64 {
    let z = side * std::f64::consts::SQRT_2 * erfc_inv(2.0 * tail);
    shape * (1.0 - 1.0 / (9.0 * shape) + z / (3.0 * shape.sqrt())).powi(3)
}

/// Upper limit at `confidence` of a rate after `exposures` without an event: `-ln(1 - confidence) / exposures`.
///
/// At 95 % this is the rule of three: J. A. Hanley, A. Lippman-Hand, JAMA 249 (1983) 1743–1745. Infinite without exposures.
pub fn rule_of_three(exposures: u64, confidence: f64) -> f64 {
    -(1.0 - confidence).ln() / exposures as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closed_form_goes_on_where_the_search_ends() {
        for tail in [0.025, 1e-3, 1e-6] {
            let k = FAR - 1.0;
            let (low, high) = (far_quantile(k, -1.0, tail), far_quantile(k + 1.0, 1.0, tail));
            assert!((poisson_lower(k, tail) / low - 1.0).abs() < 1e-9, "{tail}: {low}");
            assert!((poisson_upper(k, tail) / high - 1.0).abs() < 1e-9, "{tail}: {high}");
        }
    }

    #[test]
    fn any_count_has_its_interval_at_once() {
        for k in [1, 1 << 40, 1 << 53, u64::MAX - 1, u64::MAX] {
            let mean = poisson(k as f64, 0.95);
            assert!(mean.low < k as f64 * (1.0 + 1e-15) && mean.high >= k as f64, "{k}: {mean:?}");
            for n in [k, k.saturating_add(1), u64::MAX] {
                let rate = k as f64 / n as f64;
                let it = clopper_pearson(k, n, 0.95);
                assert!(it.low <= rate && rate <= it.high, "{k} of {n}: {it:?}");
            }
        }
        for k in [f64::NAN, f64::INFINITY, f64::MAX] {
            let _ = poisson(k, 0.95);
        }
    }
}
