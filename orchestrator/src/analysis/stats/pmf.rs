//! Binomial point probabilities, accurate for counts in the billions.
//!
//! Source: C. Loader, "Fast and Accurate Computation of Binomial Probabilities", 2000: Stirling's error and the
//! deviance are computed apart, so that no large logarithms cancel.

use std::f64::consts::PI;

/// ln P(X = k) for X ~ Binomial(n, p), with `q = 1 - p` given apart so that neither end loses digits.
#[expect(clippy::many_single_char_names, reason = "the distribution's own names")]
pub(super) fn ln_binomial(k: u64, n: u64, p: f64, q: f64) -> f64 {
    if p <= 0.0 {
        return if k == 0 { 0.0 } else { f64::NEG_INFINITY };
    }
    if q <= 0.0 {
        return if k == n { 0.0 } else { f64::NEG_INFINITY };
    }
    let (x, size) = (k as f64, n as f64);
    if k == 0 {
        return size * if p < 0.5 { (-p).ln_1p() } else { q.ln() };
    }
    if k == n {
        return size * if q < 0.5 { (-q).ln_1p() } else { p.ln() };
    }
    stirling_error(size)
        - stirling_error(x)
        - stirling_error(size - x)
        - deviance(x, size * p)
        - deviance(size - x, size * q)
        + 0.5 * (size / (2.0 * PI * x * (size - x))).ln()
}

/// ln n! minus Stirling's approximation `ln(sqrt(2 pi n) (n/e)^n)`.
fn stirling_error(n: f64) -> f64 {
    if n < 16.0 {
        return statrs::function::gamma::ln_gamma(n + 1.0) - (0.5 * (2.0 * PI * n).ln() + n * n.ln() - n);
    }
    let square = n * n;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / (1188.0 * square)) / square) / square) / square)
        / n
}

/// `x ln(x / mean) + mean - x`, by its series where the two nearly agree.
fn deviance(x: f64, mean: f64) -> f64 {
    let gap = x - mean;
    if gap.abs() >= 0.1 * (x + mean) {
        return x * (x / mean).ln() - gap;
    }
    let v = gap / (x + mean);
    let mut sum = gap * v;
    let mut power = 2.0 * x * v;
    for odd in (3..).step_by(2) {
        power *= v * v;
        let next = sum + power / f64::from(odd);
        if next.to_bits() == sum.to_bits() {
            break;
        }
        sum = next;
    }
    sum
}
