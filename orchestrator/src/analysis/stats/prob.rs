//! A probability kept as its logarithm.

use std::fmt;

/// Natural logarithm of a probability, in `[-inf, 0]`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct LnProb(f64);

impl LnProb {
    /// The sure event.
    pub const ONE: Self = Self(0.0);
    /// The impossible event.
    pub const ZERO: Self = Self(f64::NEG_INFINITY);

    /// From a natural logarithm; rounding above zero is cut off.
    pub fn from_ln(ln: f64) -> Self {
        Self(ln.min(0.0))
    }

    /// Natural logarithm.
    pub fn ln(self) -> f64 {
        self.0
    }

    /// Decimal logarithm.
    pub fn log10(self) -> f64 {
        self.0 / std::f64::consts::LN_10
    }

    /// The probability itself; 0 below about 1e-308.
    pub fn value(self) -> f64 {
        self.0.exp()
    }

    /// Whether the probability is below `alpha`.
    pub fn below(self, alpha: f64) -> bool {
        self.0 < alpha.ln()
    }

    /// `2 p`, at most 1: a one-sided p-value made two-sided.
    #[must_use]
    pub fn twice(self) -> Self {
        Self::from_ln(self.0 + std::f64::consts::LN_2)
    }

    /// `1 - p`, without cancellation at either end.
    #[must_use]
    pub fn complement(self) -> Self {
        // Maechler, "Accurately computing log(1 - exp(-|a|))", Rmpfr vignette, 2012: switch at ln 2.
        if self.0 > -std::f64::consts::LN_2 { Self((-self.0.exp_m1()).ln()) } else { Self((-self.0.exp()).ln_1p()) }
    }
}

/// Below this a probability is only said to be smaller: no model is that good.
const SMALLEST_TOLD_LOG10: f64 = -200.0;

impl fmt::Display for LnProb {
    /// `p = 0.031`, `p = 5.4e-6` or `p < 1e-200`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.told();
        if told.starts_with('<') { write!(f, "p {told}") } else { write!(f, "p = {told}") }
    }
}

impl LnProb {
    /// The number alone: `0.031`, `5.4e-6` or `< 1e-200`.
    pub fn told(self) -> String {
        let log10 = self.log10();
        if log10 < SMALLEST_TOLD_LOG10 {
            format!("< 1e{SMALLEST_TOLD_LOG10}")
        } else if log10 < -3.0 {
            let mut exponent = log10.floor();
            let mut mantissa = (10f64.powf(log10 - exponent) * 10.0).round() / 10.0;
            if mantissa >= 10.0 {
                mantissa = 1.0;
                exponent += 1.0;
            }
            format!("{mantissa}e{exponent}")
        } else {
            let value = self.value();
            let digits = if value < 0.1 { 1000.0 } else { 100.0 };
            ((value * digits).round() / digits).to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiny_probabilities_are_told_truthfully() {
        assert_eq!(LnProb::from_ln(-1e4).to_string(), "p < 1e-200");
        assert_eq!(LnProb::ZERO.to_string(), "p < 1e-200");
        assert_eq!(LnProb::from_ln(5.4e-6_f64.ln()).to_string(), "p = 5.4e-6");
        assert_eq!(LnProb::from_ln(9.99e-6_f64.ln()).to_string(), "p = 1e-5");
        assert_eq!(LnProb::from_ln(0.031_f64.ln()).to_string(), "p = 0.031");
        assert_eq!(LnProb::from_ln(0.5_f64.ln()).to_string(), "p = 0.5");
        assert_eq!(LnProb::ONE.to_string(), "p = 1");
    }

    #[test]
    fn complements_lose_nothing_at_either_end() {
        assert!((LnProb::from_ln(-50.0).complement().ln() + (-50.0f64).exp()).abs() < 1e-30);
        assert!((LnProb::from_ln(-1e-20).complement().ln() - 1e-20f64.ln()).abs() < 1e-9);
        assert_eq!(LnProb::ONE.complement(), LnProb::ZERO);
    }
}
