//! Tails of the binomial distribution, in logarithms.
//!
//! A tail is summed term by term outwards from its largest term, which is exact to rounding; the tail on the far side
//! of the mean is the complement of the near one. The number of terms grows with the standard deviation only; where it
//! would pass `TERMS_MAX`, an integral takes the sum's place, so that no count whatever takes long.

use statrs::function::erf::erfc;

use super::LnProb;
use super::pmf;

/// Terms smaller than this part of the sum can't change it any more.
const NEGLIGIBLE: f64 = 1e-18;

/// More terms than counts of real runs need: a standard deviation of 10^5 takes so many.
const TERMS_MAX: u32 = 1 << 20;

/// The sum of the terms of a tail, the first of which is 1 and each of which is the one before times what `ratio` says.
/// `fall` is the first ratio's negative logarithm, `spread` the standard deviation of the terms were the fall 0: what the
/// sum is made from when there are too many terms.
fn sum_of_terms(ratios: impl Iterator<Item = f64>, fall: f64, spread: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    for (count, ratio) in (0u32..).zip(ratios) {
        if count == TERMS_MAX {
            return integral(fall.max(0.0), spread);
        }
        term *= ratio;
        sum += term;
        if term < sum * NEGLIGIBLE {
            break;
        }
    }
    sum
}

/// The sum over `j` from 0 of `exp(-fall j - j^2 / (2 spread^2))` by Euler and Maclaurin: the integral, which is the spread
/// times Mills' ratio at `fall * spread`, half of the first term, and a twelfth of its slope. The neglected skewness is a part
/// `1 / spread` of it.
///
/// Source: M. Abramowitz, I. A. Stegun, Handbook of Mathematical Functions, 1964, 7.1.23 (erfc far out) and 3.6.28.
fn integral(fall: f64, spread: f64) -> f64 {
    let z = fall * spread;
    let mills = if z < 25.0 {
        (std::f64::consts::PI / 2.0).sqrt() * (z * z / 2.0).exp() * erfc(z / std::f64::consts::SQRT_2)
    } else {
        let square = z * z;
        (1.0 - 1.0 / square + 3.0 / (square * square)) / z
    };
    spread * mills + 0.5 + fall / 12.0
}

/// P(X <= k) for X ~ Binomial(n, p), with `q` = 1 - p, which loses its digits where p is near 1.
pub(super) fn binomial_at_most(k: u64, n: u64, p: f64, q: f64) -> LnProb {
    if k >= n {
        LnProb::ONE
    } else if k as f64 <= n as f64 * p {
        binomial_sum_down(k, n, p, q)
    } else {
        binomial_sum_down(n - k - 1, n, q, p).complement()
    }
}

/// P(X >= k), the same.
pub(super) fn binomial_at_least(k: u64, n: u64, p: f64, q: f64) -> LnProb {
    if k == 0 {
        LnProb::ONE
    } else if k > n {
        LnProb::ZERO
    } else {
        // X >= k exactly when n - X <= n - k, and n - X ~ Binomial(n, q).
        binomial_at_most(n - k, n, q, p)
    }
}

/// Sum of the point probabilities of `k`, `k - 1`, … 0, for `k` at or below the mean.
fn binomial_sum_down(k: u64, n: u64, p: f64, q: f64) -> LnProb {
    let first = pmf::ln_binomial(k, n, p, q);
    if first == f64::NEG_INFINITY {
        return LnProb::ZERO;
    }
    let (hits, misses) = (k as f64, (n - k) as f64 + 1.0);
    let ratios = (1..=k).rev().map(|x| (x as f64 / ((n - x) as f64 + 1.0)) * (q / p));
    let sum = sum_of_terms(ratios, -(hits / misses * (q / p)).ln(), (hits * misses / (hits + misses)).sqrt());
    LnProb::from_ln(first + f64::ln(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The integral against the sum, where both can be had.
    #[test]
    fn too_many_terms_are_an_integral() {
        for (fall, spread) in [(0.0, 3e4), (1e-5, 3e4), (1e-3, 3e4), (3e-3, 1e5), (0.0, 1e5)] {
            let exact: f64 = (0..4_000_000u32)
                .map(f64::from)
                .map(|j| (-fall * j - j * j / (2.0 * spread * spread)).exp())
                .take_while(|term| *term > 1e-18)
                .sum();
            let near = integral(fall, spread);
            assert!((near / exact - 1.0).abs() < 1e-7, "{fall} {spread}: {near} here, {exact} there");
        }
    }

    #[test]
    fn tails_of_any_count_are_had_at_once() {
        // A quarter standard deviation below the mean of a fair coin: Phi(-0.25) = 0.401293674317.
        let n: u64 = 1 << 62;
        let k = (n / 2) - (1 << 30) / 4;
        assert!((binomial_at_most(k, n, 0.5, 0.5).value() - 0.401_293_674).abs() < 1e-6);
        for n in [1 << 53, u64::MAX - 1, u64::MAX] {
            for k in [0, 1, n / 3, n / 2, n - 1, n] {
                for p in [0.0, 1e-18, 0.3, 0.5, 1.0 - 1e-10, 1.0] {
                    let (most, least) =
                        (binomial_at_most(k, n, p, 1.0 - p).ln(), binomial_at_least(k, n, p, 1.0 - p).ln());
                    assert!(most <= 0.0 && least <= 0.0, "{k} of {n} at {p}: {most}, {least}");
                }
            }
        }
    }
}
