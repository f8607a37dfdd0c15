//! Whether rounds differ more than chance allows: tries of one round share their luck.

use statrs::function::beta::beta_reg;
use statrs::function::gamma::{gamma_lr, gamma_ur};

use super::LnProb;
use super::ratio::Count;
use super::root::crossing;

/// How much the rounds of one or more cells scatter about their cells' rates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dispersion {
    /// Pearson's chi-square over its degrees of freedom; 1 for Poisson counts.
    pub index: f64,
    /// Degrees of freedom.
    pub freedom: u64,
    /// Probability of so much scatter if the counts were Poisson.
    pub p: LnProb,
}

impl Dispersion {
    /// Upper limit of the true index at `confidence`, as `index * freedom / chi-square quantile`.
    ///
    /// Source: `McCullagh` & Nelder 1989, section 4.5.2: `freedom * index / true` is near chi-square.
    pub fn upper(&self, confidence: f64) -> f64 {
        let half = self.freedom as f64 / 2.0;
        let (guess, step) = (half.ln(), half.sqrt().recip());
        let rising = |ln: f64| gamma_lr(half, ln.exp()) - (1.0 - confidence);
        let quantile = 2.0 * crossing(-700.0..=guess + 3.0, guess, step, rising).exp();
        self.index * self.freedom as f64 / quantile
    }
}

/// Probability that groups of rounds scatter so much more than the rounds in them, if the groups were made by chance: the
/// F test of the two mean squares, `groups` and what is left of `rounds`. None without degrees of freedom in both.
///
/// Source: R. A. Fisher, Statistical Methods for Research Workers, 1925, section 40 (intraclass analysis of variance), on the
/// Pearson residuals of [`index`].
pub fn groups_differ(groups: &Dispersion, rounds: &Dispersion) -> Option<LnProb> {
    let freedom = rounds.freedom.checked_sub(groups.freedom).filter(|freedom| *freedom > 0)?;
    let within =
        (rounds.index * rounds.freedom as f64 - groups.index * groups.freedom as f64).max(0.0) / freedom as f64;
    let (d1, d2) = (groups.freedom as f64, freedom as f64);
    let ratio = if within > 0.0 { groups.index / within } else { f64::INFINITY };
    let p = if ratio.is_finite() { beta_reg(d2 / 2.0, d1 / 2.0, d2 / (d2 + d1 * ratio)) } else { 0.0 };
    Some(LnProb::from_ln(p.ln()))
}

/// The index of dispersion of events per round about the rate of each cell. None without two rounds with an expectation.
///
/// Source: R. A. Fisher, H. G. Thornton, W. A. Mackenzie, Annals of Applied Biology 9 (1922) 325–359, with each
/// round's expectation in proportion to its exposures.
pub fn index(cells: &[&[Count]]) -> Option<Dispersion> {
    let mut square = 0.0;
    let mut freedom = 0;
    for rounds in cells {
        let exposed: Vec<&Count> = rounds.iter().filter(|round| round.exposures > 0).collect();
        let events: f64 = exposed.iter().map(|round| round.events as f64).sum();
        let exposures: f64 = exposed.iter().map(|round| round.exposures as f64).sum();
        if events == 0.0 || exposed.len() < 2 {
            continue;
        }
        let rate = events / exposures;
        square += exposed
            .iter()
            .map(|round| (round.events as f64, round.exposures as f64 * rate))
            .map(|(seen, expected)| (seen - expected).powi(2) / expected)
            .sum::<f64>();
        freedom += exposed.len() as u64 - 1;
    }
    if freedom == 0 {
        return None;
    }
    let p = if !square.is_finite() {
        0.0
    } else if square > 0.0 {
        gamma_ur(freedom as f64 / 2.0, square / 2.0)
    } else {
        1.0
    };
    Some(Dispersion { index: square / freedom as f64, freedom, p: LnProb::from_ln(p.ln()) })
}
