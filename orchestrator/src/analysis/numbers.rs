//! Rates of two cells and the evidence for a difference between them.

use super::cell::CellResult;
use crate::analysis::stats::dispersion::{self, Dispersion};
use crate::analysis::stats::interval::{self, Interval};
use crate::analysis::stats::ratio::{self, Count, RateRatio};
use crate::analysis::stats::{LnProb, cluster, fisher};
use crate::journal::rules::Rule;

/// One-sided error of the base rate's lower limit, which the patched side's zero is held against.
const BASE_RATE_TAIL: f64 = 0.01;
/// Rounds scatter more than Poisson where chance alone would do so more rarely than this. Half: few rounds hide their
/// clustering easily, and to miss it makes wrong verdicts, while to suspect it in vain only costs rounds.
const OVERDISPERSED_P: f64 = 0.5;
/// Confidence of the upper limit of the dispersion, which an empty round's probability is computed with.
const DISPERSION_CONFIDENCE: f64 = 0.9;
/// Zero corruptions must be this improbable at the smallest residual rate that matters.
const RESIDUAL_P: f64 = 0.01;

/// How often a cell corrupted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Corruptions per exposure; none without exposures.
    pub per_exposure: Option<f64>,
    /// Its exact 95 % interval.
    pub interval95: Option<Interval>,
    /// Corruptions per try.
    pub per_try: Option<f64>,
    /// Corruptions per second of racing.
    pub per_second: Option<f64>,
}

impl Rate {
    /// The rates of a cell over the rounds that count.
    pub fn of(cell: &CellResult) -> Self {
        let totals = &cell.totals;
        let events = totals.corruptions as f64;
        let over = |whole: f64| (whole > 0.0).then(|| events / whole);
        let exposures = totals.exposures as f64;
        let interval95 = (totals.exposures > 0).then(|| {
            if totals.corruptions <= totals.exposures {
                interval::clopper_pearson(totals.corruptions, totals.exposures, 0.95)
            } else {
                let mean = interval::poisson(events, 0.95);
                Interval { low: mean.low / exposures, high: mean.high / exposures }
            }
        });
        Self {
            per_exposure: over(exposures),
            interval95,
            per_try: over(totals.tries as f64),
            per_second: over(cell.seconds),
        }
    }
}

/// What the evidence counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceKind {
    /// Each exposure by itself, as if they were independent.
    Exposures,
    /// Exposures, each round with its own luck as the scatter between rounds tells.
    Clusters,
    /// Whole rounds, corrupt or clean.
    Rounds,
}

/// One test of the difference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// What it counts.
    pub kind: EvidenceKind,
    /// P-value of the hypothesis that the patched rate is not lower.
    pub p_lower: LnProb,
    /// P-value of the hypothesis that the patched rate is not higher.
    pub p_higher: LnProb,
}

/// Everything the two cells' counts tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// Rate of the base.
    pub base: Rate,
    /// Rate of the patched kernel.
    pub patched: Rate,
    /// Patched over base, per exposure; none where a side has no exposures.
    pub ratio: Option<RateRatio>,
    /// Conservative base rate per exposure: the lower 99 % limit, clustering allowed for.
    pub base_rate_low: Option<f64>,
    /// Probability of as many clean exposures as the patched side had, at that rate. Told for zero corruptions only.
    pub p_zero: Option<LnProb>,
    /// Probability of as many clean exposures at the smallest residual rate that matters, clustering allowed for. Told
    /// for zero corruptions only.
    pub p_residual: Option<LnProb>,
    /// Scatter of the rounds about their cells' rates.
    pub dispersion: Option<Dispersion>,
    /// Whether that is more than chance, so that exposures alone can't carry a verdict.
    pub overdispersed: bool,
    /// All evidence, the kind that counts most finely first.
    pub evidence: Vec<Evidence>,
    /// Clean exposures that would have been enough for `fixed`, at the alpha and the residual rate in force.
    pub exposures_enough: Option<u64>,
}

/// Which way a difference goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Lower,
    Higher,
}

impl Evidence {
    pub(super) fn p(&self, direction: Direction) -> LnProb {
        match direction {
            Direction::Lower => self.p_lower,
            Direction::Higher => self.p_higher,
        }
    }
}

impl Numbers {
    pub(super) fn of(base: &CellResult, patched: &CellResult, rule: &Rule) -> Self {
        let (first, second) = (total(base), total(patched));
        let (base_rounds, patched_rounds) = (base.counts_per_round(), patched.counts_per_round());
        let dispersion = dispersion::index(&[&base_rounds, &patched_rounds]);
        let overdispersed = dispersion.is_some_and(|it| it.index > 1.0 && it.p.below(OVERDISPERSED_P));
        let inflation = dispersion.filter(|_| overdispersed).map_or(1.0, |it| it.index);
        let rate_low = |inflation: f64| {
            // Rao & Scott, Biometrics 48 (1992) 577–585: clustered counts divided by their variance inflation.
            interval::poisson_lower(first.events as f64 / inflation, BASE_RATE_TAIL) * inflation
                / first.exposures as f64
        };
        let chance_of_zero = |rate: f64| LnProb::from_ln(-rate * second.exposures as f64);
        let base_rate_low = (first.exposures > 0).then(|| rate_low(inflation));
        let ratio = ratio::compare(first, second);
        let p_zero =
            base_rate_low.filter(|_| second.events == 0).map(|rate| LnProb::from_ln(-rate * second.exposures as f64));

        let mut evidence = Vec::new();
        if let Some(ratio) = &ratio {
            // As if exposures were independent: the zero must be improbable at a low base rate, and the difference too.
            let zero = if second.events == 0 { chance_of_zero(rate_low(1.0)) } else { LnProb::ZERO };
            let p_lower = LnProb::from_ln(zero.ln().max(ratio.p_lower.ln()));
            evidence.push(Evidence { kind: EvidenceKind::Exposures, p_lower, p_higher: ratio.p_higher });
        }
        if let (true, Some(dispersion), Some(rate)) = (overdispersed, &dispersion, base_rate_low) {
            let both = if second.events == 0 {
                let mean = first.events as f64 / base_rounds.len().max(1) as f64;
                let expected = patched_rounds.iter().map(|round| round.exposures as f64 * rate);
                Some((cluster::no_event(expected, mean, dispersion.upper(DISPERSION_CONFIDENCE)), LnProb::ONE))
            } else {
                ratio::compare_dispersed(first, second, dispersion.index, dispersion.freedom)
            };
            evidence.extend(both.map(|(p_lower, p_higher)| Evidence {
                kind: EvidenceKind::Clusters,
                p_lower,
                p_higher,
            }));
        }
        let rounds = (base.corrupt_and_clean_rounds(), patched.corrupt_and_clean_rounds());
        evidence.push(Evidence {
            kind: EvidenceKind::Rounds,
            p_lower: fisher::second_is_lower(rounds.0, rounds.1),
            p_higher: fisher::second_is_higher(rounds.0, rounds.1),
        });

        let mean = first.events as f64 / base_rounds.len().max(1) as f64;
        let spread = dispersion.filter(|_| overdispersed).map_or(1.0, |it| it.upper(DISPERSION_CONFIDENCE));
        let p_residual = base_rate_low.filter(|_| second.events == 0).map(|rate| {
            let expected = patched_rounds.iter().map(|round| round.exposures as f64 * rate * rule.residual);
            cluster::no_event(expected, mean, spread)
        });
        let exposures_enough = base_rate_low.filter(|&rate| rate > 0.0).map(|rate| {
            let per_round = (second.exposures.max(1) as f64 / patched_rounds.len().max(1) as f64).max(1.0);
            let rounds_for = |p: f64, rate: f64| {
                (p.ln() / cluster::no_event([rate * per_round], mean, spread).ln()).ceil() * per_round
            };
            // Solves (e1 / (e1 + e2))^x = alpha, the conditional test with nothing on the patched side.
            let conditional = first.exposures as f64 * (-rule.alpha.ln() / first.events as f64).exp_m1();
            let plain = (-rule.alpha.ln() / rate).max(conditional);
            let enough = if overdispersed {
                plain.max(rounds_for(rule.alpha, rate)).max(rounds_for(RESIDUAL_P, rate * rule.residual))
            } else {
                plain.max(-RESIDUAL_P.ln() / (rate * rule.residual))
            };
            whole(enough.ceil())
        });
        Self {
            base: Rate::of(base),
            patched: Rate::of(patched),
            ratio,
            base_rate_low,
            p_zero,
            p_residual,
            dispersion,
            overdispersed,
            evidence,
            exposures_enough,
        }
    }

    /// The evidence that proves a difference at `alpha`: exposures, and where rounds scatter too much, also the
    /// rounds themselves or the model of their scatter.
    pub(super) fn carrying(&self, direction: Direction, alpha: f64) -> Option<Evidence> {
        let proof = |kind: EvidenceKind| self.evidence_of(kind).filter(|it| it.p(direction).below(alpha));
        let plain = proof(EvidenceKind::Exposures)?;
        if self.overdispersed {
            proof(EvidenceKind::Rounds).or_else(|| proof(EvidenceKind::Clusters))
        } else {
            Some(plain)
        }
    }

    /// Whether zero corruptions speak against the smallest residual rate that matters.
    pub(super) fn residual_excluded(&self) -> bool {
        self.p_residual.is_some_and(|p| p.below(RESIDUAL_P))
    }

    /// The evidence to name where none carries: the strongest of those that could.
    pub(super) fn strongest(&self, direction: Direction) -> Option<Evidence> {
        let able = |it: &&Evidence| !self.overdispersed || it.kind != EvidenceKind::Exposures;
        let by_p = |a: &&Evidence, b: &&Evidence| a.p(direction).ln().total_cmp(&b.p(direction).ln());
        self.evidence.iter().filter(able).min_by(by_p).copied()
    }

    /// The evidence of one kind.
    pub fn evidence_of(&self, kind: EvidenceKind) -> Option<Evidence> {
        self.evidence.iter().find(|it| it.kind == kind).copied()
    }
}

fn total(cell: &CellResult) -> Count {
    Count { events: cell.totals.corruptions, exposures: cell.totals.exposures }
}

/// A whole number of exposures; what doesn't fit is as good as never.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, which is what is wanted")]
fn whole(exposures: f64) -> u64 {
    exposures as u64
}
