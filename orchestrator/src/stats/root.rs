//! Bisection, for quantiles whose tails are monotone.

/// The point in `[low, high]` at which `rising` turns from false to true, to the last bits.
pub(super) fn bisect(mut low: f64, mut high: f64, rising: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..200 {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if rising(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    low + (high - low) / 2.0
}
