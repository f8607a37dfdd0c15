//! The regularised incomplete beta function in logarithms, for Student tails far below 1e-300.

use statrs::function::beta::ln_beta;

use super::LnProb;

/// P(T >= t) for Student's t with `freedom` degrees of freedom and `t >= 0`.
///
/// Source: DLMF 8.17 with `x = v / (v + t^2)`: half of `I_x(v/2, 1/2)`.
pub(super) fn student_upper(t: f64, freedom: f64) -> LnProb {
    let square = t * t;
    let x = freedom / (freedom + square);
    let y = square / (freedom + square);
    LnProb::from_ln(ln_regularised(freedom / 2.0, 0.5, x, y) - std::f64::consts::LN_2)
}

/// ln `I_x(a, b)` with `y = 1 - x`.
///
/// Source: DLMF 8.17.7, `I_x = x^a y^b / (a B(a, b)) * F(a + b, 1; a + 1; x)`; past the mean by 8.17.4,
/// `I_x(a, b) = 1 - I_y(b, a)`.
fn ln_regularised(a: f64, b: f64, x: f64, y: f64) -> f64 {
    if x <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if y <= 0.0 {
        return 0.0;
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return LnProb::from_ln(ln_regularised(b, a, y, x)).complement().ln();
    }
    let (mut term, mut sum, mut step) = (1.0, 1.0, 0.0);
    while term > sum * 1e-18 {
        term *= (a + b + step) / (a + 1.0 + step) * x;
        sum += term;
        step += 1.0;
    }
    a * x.ln() + b * y.ln() - a.ln() - ln_beta(a, b) + f64::ln(sum)
}
