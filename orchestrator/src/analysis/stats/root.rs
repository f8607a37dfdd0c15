//! Roots of rising functions, for the quantiles of monotone tails.

use std::ops::RangeInclusive;

/// Half the width of the bracket at the end, as a part of where it stands, or absolute below 1: what rounding leaves of the tails.
const WIDTH: f64 = 5e-15;

/// The point in `range` at which `rising` turns from negative to positive; an end of it where that does not happen within.
///
/// The root is first bracketed by ever wider steps from `guess`, the first one `step` wide, then closed in on by the ITP method,
/// which takes no more steps than bisection at its worst and a fifth of them as a rule. Source: I. F. D. Oliveira, R. H. C.
/// Takahashi, "An Enhancement of the Bisection Method Average Performance Preserving Minmax Optimality", ACM Transactions on
/// Mathematical Software 47 (2020) 5:1–5:24, with `kappa_1 = 0.2 / width`, `kappa_2 = 2`, `n_0 = 1`.
pub(super) fn crossing(range: RangeInclusive<f64>, guess: f64, mut step: f64, rising: impl Fn(f64) -> f64) -> f64 {
    let (bottom, top) = range.into_inner();
    let guess = guess.clamp(bottom, top);
    let (mut low, mut high) = (guess, guess);
    let mut at_low = rising(guess);
    let mut at_high = at_low;
    while at_low > 0.0 && low > bottom {
        (high, at_high) = (low, at_low);
        low = (low - step).max(bottom);
        at_low = rising(low);
        step *= 2.0;
    }
    while at_high < 0.0 && high < top {
        (low, at_low) = (high, at_high);
        high = (high + step).min(top);
        at_high = rising(high);
        step *= 2.0;
    }
    let shift = 0.2 / (high - low);
    // What bisection would need, and one step more: the bracket may be as wide as bisection from here on would leave it then.
    let mut allowed = WIDTH * ((high - low) / (2.0 * WIDTH)).log2().ceil().max(0.0).exp2() * 2.0;
    while high - low > 2.0 * WIDTH * low.abs().max(high.abs()).max(1.0) {
        let (half, width) = (low + (high - low) / 2.0, high - low);
        let reach = allowed - width / 2.0;
        let chord = (at_high * low - at_low * high) / (at_high - at_low);
        let side = if half > chord { 1.0 } else { -1.0 };
        // Infinite values have no chord: what is compared with it is false.
        let shifted =
            if shift * width * width <= (half - chord).abs() { chord + side * shift * width * width } else { half };
        let next = if (shifted - half).abs() <= reach { shifted } else { half - side * reach };
        let next = if next > low && next < high { next } else { half };
        let at_next = rising(next);
        if at_next > 0.0 {
            (high, at_high) = (next, at_next);
        } else {
            (low, at_low) = (next, at_next);
        }
        allowed /= 2.0;
    }
    low + (high - low) / 2.0
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// The root, and how often the function was asked.
    fn find(range: RangeInclusive<f64>, guess: f64, step: f64, rising: impl Fn(f64) -> f64) -> (f64, u32) {
        let asked = Cell::new(0);
        let root = crossing(range, guess, step, |x| {
            asked.set(asked.get() + 1);
            rising(x)
        });
        (root, asked.get())
    }

    #[test]
    fn a_root_is_found_from_either_side_and_far_away() {
        for guess in [-900.0, -3.0, 1.2, 1.3, 40.0, 900.0] {
            let (root, asked) = find(-1e3..=1e3, guess, 0.1, |x| x.powi(3) - 2.0);
            assert!((root - 2.0_f64.cbrt()).abs() < 2e-14, "{guess}: {root}");
            assert!(asked < 40, "{guess}: asked {asked} times");
        }
    }

    #[test]
    fn steps_and_infinite_values_do_no_harm() {
        for at in [-2.0, 0.0, 0.7] {
            let step = |x: f64| if x < at { f64::NEG_INFINITY } else { 1.0 };
            assert!((find(-5.0..=5.0, 3.0, 0.5, step).0 - at).abs() < 1e-13, "{at}");
            let flat = |x: f64| if x < at { -1e-300 } else { 1e300 };
            assert!((find(-5.0..=5.0, -3.0, 0.5, flat).0 - at).abs() < 1e-13, "{at}");
        }
    }

    #[test]
    fn without_a_root_the_nearer_end_is_it() {
        assert!((find(-5.0..=5.0, 0.0, 1.0, |_| 1.0).0 - -5.0).abs() < 1e-13);
        assert!((find(-5.0..=5.0, 0.0, 1.0, |_| -1.0).0 - 5.0).abs() < 1e-13);
    }
}
