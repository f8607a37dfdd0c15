//! Tails of the binomial and the Poisson distribution, in logarithms.
//!
//! A tail is summed term by term outwards from its largest term, which is exact to rounding; the tail on the far side
//! of the mean is the complement of the near one. The number of terms grows with the standard deviation only.

use super::LnProb;
use super::pmf;

/// Terms smaller than this part of the sum can't change it any more.
const NEGLIGIBLE: f64 = 1e-18;

/// P(X <= k) for X ~ Binomial(n, p).
pub fn binomial_at_most(k: u64, n: u64, p: f64) -> LnProb {
    binomial_at_most_pq(k, n, p, 1.0 - p)
}

/// P(X >= k) for X ~ Binomial(n, p).
pub fn binomial_at_least(k: u64, n: u64, p: f64) -> LnProb {
    binomial_at_least_pq(k, n, p, 1.0 - p)
}

pub(super) fn binomial_at_most_pq(k: u64, n: u64, p: f64, q: f64) -> LnProb {
    if k >= n {
        LnProb::ONE
    } else if k as f64 <= n as f64 * p {
        binomial_sum_down(k, n, p, q)
    } else {
        binomial_sum_down(n - k - 1, n, q, p).complement()
    }
}

pub(super) fn binomial_at_least_pq(k: u64, n: u64, p: f64, q: f64) -> LnProb {
    if k == 0 {
        LnProb::ONE
    } else if k > n {
        LnProb::ZERO
    } else {
        // X >= k exactly when n - X <= n - k, and n - X ~ Binomial(n, q).
        binomial_at_most_pq(n - k, n, q, p)
    }
}

/// Sum of the point probabilities of `k`, `k - 1`, … 0, for `k` at or below the mean.
fn binomial_sum_down(k: u64, n: u64, p: f64, q: f64) -> LnProb {
    let first = pmf::ln_binomial(k, n, p, q);
    if first == f64::NEG_INFINITY {
        return LnProb::ZERO;
    }
    let (mut term, mut sum) = (1.0, 1.0);
    for x in (1..=k).rev() {
        term *= (x as f64 / (n - x + 1) as f64) * (q / p);
        sum += term;
        if term < sum * NEGLIGIBLE {
            break;
        }
    }
    LnProb::from_ln(first + f64::ln(sum))
}

/// P(X <= k) for X ~ Poisson(mean).
pub fn poisson_at_most(k: u64, mean: f64) -> LnProb {
    if k as f64 <= mean { poisson_sum_down(k, mean) } else { poisson_sum_up(k + 1, mean).complement() }
}

/// P(X >= k) for X ~ Poisson(mean).
pub fn poisson_at_least(k: u64, mean: f64) -> LnProb {
    if k == 0 {
        LnProb::ONE
    } else if k as f64 > mean {
        poisson_sum_up(k, mean)
    } else {
        poisson_sum_down(k - 1, mean).complement()
    }
}

fn poisson_sum_down(k: u64, mean: f64) -> LnProb {
    let (mut term, mut sum) = (1.0, 1.0);
    for x in (1..=k).rev() {
        term *= x as f64 / mean;
        sum += term;
        if term < sum * NEGLIGIBLE {
            break;
        }
    }
    LnProb::from_ln(pmf::ln_poisson(k, mean) + f64::ln(sum))
}

fn poisson_sum_up(k: u64, mean: f64) -> LnProb {
    let (mut term, mut sum) = (1.0, 1.0);
    for x in k + 1.. {
        term *= mean / x as f64;
        sum += term;
        if term < sum * NEGLIGIBLE {
            break;
        }
    }
    LnProb::from_ln(pmf::ln_poisson(k, mean) + f64::ln(sum))
}
