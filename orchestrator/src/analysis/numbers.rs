//! Rates of two cells and the evidence for a difference between them.

use super::cell::CellResult;
use crate::analysis::stats::dispersion::{self, Dispersion};
use crate::analysis::stats::interval::{self, Interval};
use crate::analysis::stats::ratio::{self, Count, RateRatio};
use crate::analysis::stats::{LnProb, cluster, fisher, permutation};
use crate::journal::rules::Rule;

/// One-sided error of the base rate's lower limit, which the patched side's zero is held against.
const BASE_RATE_TAIL: f64 = 0.01;
/// Rounds scatter more than Poisson where chance alone would do so more rarely than this. Half: few rounds hide their
/// clustering easily, and to miss it makes wrong verdicts, while to suspect it in vain only costs rounds.
const OVERDISPERSED_P: f64 = 0.5;
/// Confidence of the upper limit of the dispersion, which an empty round's probability is computed with.
const DISPERSION_CONFIDENCE: f64 = 0.9;
/// Zero corruptions must be this improbable at the smallest residual rate that matters.
const RESIDUAL_P: f64 = 1e-3;
/// The same by the rule of older journals.
const OLD_RESIDUAL_P: f64 = 0.01;

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

/// The p-value over boots that a difference must reach where so many boots can support it. They are few, since each costs a
/// boot, so that they only see to it that no single boot makes a difference.
const BOOTS_P: f64 = 0.05;
/// Boots differ more than their rounds do where chance alone would do so more rarely than this. Not half, as for the rounds:
/// the scatter of few boots is known so badly that every second true fix would have to be raced several times as long.
const BOOTS_DIFFER_P: f64 = 0.1;

/// What the evidence counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceKind {
    /// Each exposure by itself, as if they were independent.
    Exposures,
    /// Exposures, each round with its own luck as the scatter between rounds tells.
    Clusters,
    /// Whole rounds by their rates, dealt out in all ways to the two sides.
    Rounds,
    /// Boots, each with the rounds that came from it, dealt out in the same way.
    Boots,
    /// Exposures, each boot with its own luck as the scatter between boots tells.
    BootClusters,
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
    /// Corruptions of a round of the base, on average.
    pub base_corruptions_a_round: f64,
    /// Rounds of the base that corrupted.
    pub base_corrupt_rounds: u64,
    /// Rounds that count and boots of the base.
    pub base_units: Units,
    /// The same of the patched kernel.
    pub patched_units: Units,
    /// Whether boots differ more than the rounds of one boot do, so that rounds are not independent.
    pub boots_differ: bool,
    /// The verdict rests on exact tests ([`Rule::exact`]).
    pub exact: bool,
    /// What a count of exposures counts.
    pub unit: Unit,
}

/// What a p-value rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Units {
    /// Rounds with exposures.
    pub rounds: usize,
    /// Boots with exposures.
    pub boots: usize,
}

/// What stands for an exposure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A try that really tested the race.
    Exposures,
    /// A round, which fails or does not, since the program tells no exposures.
    Rounds,
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
        if patched.counts_rounds() {
            return Self::of_rounds(base, patched);
        }
        let (first, second) = (base.total(), patched.total());
        let (base_rounds, patched_rounds) = (base.counts_per_round(), patched.counts_per_round());
        let dispersion = dispersion::index(&[&base_rounds, &patched_rounds]);
        let by_rounds = base.spec.tells_no_exposures() || patched.spec.tells_no_exposures();
        // Rounds that fail once or not at all are no counts that could scatter.
        let overdispersed = !by_rounds && dispersion.is_some_and(|it| it.index > 1.0 && it.p.below(OVERDISPERSED_P));
        let (inflation, spread) = clustering(dispersion.filter(|_| overdispersed));
        let rate_low =
            |inflation| interval::rate_lower(first.events as f64, first.exposures as f64, inflation, BASE_RATE_TAIL);
        let chance_of_zero = |rate: f64| LnProb::from_ln(-rate * second.exposures as f64);
        let base_rate_low = (first.exposures > 0).then(|| {
            if by_rounds {
                interval::proportion_lower(first.events, first.exposures, BASE_RATE_TAIL)
            } else {
                rate_low(inflation)
            }
        });
        let ratio = ratio::compare(first, second);
        let p_zero = base_rate_low.filter(|_| second.events == 0).map(chance_of_zero);
        let mean = mean_events(&base_rounds);

        let mut evidence = Vec::new();
        if let (Some(ratio), false) = (&ratio, by_rounds) {
            // As if exposures were independent: the zero must be improbable at a low base rate, and the difference too.
            let zero = if second.events == 0 { chance_of_zero(rate_low(1.0)) } else { LnProb::ZERO };
            let p_lower = LnProb::from_ln(zero.ln().max(ratio.p_lower.ln()));
            evidence.push(Evidence { kind: EvidenceKind::Exposures, p_lower, p_higher: ratio.p_higher });
        }
        if let (true, Some(dispersion), Some(rate)) = (overdispersed, &dispersion, base_rate_low) {
            let both = if second.events == 0 {
                let expected = patched_rounds.iter().map(|round| round.exposures as f64 * rate);
                Some((cluster::no_event(expected, mean, spread), LnProb::ONE))
            } else {
                ratio::compare_dispersed(first, second, dispersion.index, dispersion.freedom)
            };
            evidence.extend(both.map(|(p_lower, p_higher)| Evidence {
                kind: EvidenceKind::Clusters,
                p_lower,
                p_higher,
            }));
        }
        let boots = Boots::of(base, patched, dispersion);
        evidence.extend(unit_evidence(rule.exact, (&base_rounds, &patched_rounds), (base, patched), &boots));
        let boots_differ = rule.exact && boots.differ;
        if let (true, Some(dispersion), Some(rate)) = (boots_differ, &boots.dispersion, boots.rate_low(rule.exact)) {
            let both = if second.events == 0 {
                let expected = boots.patched.iter().map(|boot| boot.exposures as f64 * rate);
                let upper = dispersion.upper(DISPERSION_CONFIDENCE);
                Some((cluster::no_event(expected, mean_events(&boots.base), upper), LnProb::ONE))
            } else {
                ratio::compare_dispersed(first, second, dispersion.index, dispersion.freedom)
            };
            let kind = EvidenceKind::BootClusters;
            evidence.extend(both.map(|(p_lower, p_higher)| Evidence { kind, p_lower, p_higher }));
        }

        let p_residual = base_rate_low.filter(|_| second.events == 0).map(|rate| {
            if by_rounds {
                // So many rounds without a failure, each of which would fail at the residual rate.
                return LnProb::from_ln(second.exposures as f64 * (-rate * rule.residual).ln_1p());
            }
            let expected = patched_rounds.iter().map(|round| round.exposures as f64 * rate * rule.residual);
            let by_rounds = cluster::no_event(expected, mean, spread);
            let by_boots = boots.dispersion.filter(|_| boots_differ).zip(boots.rate_low(rule.exact));
            let by_boots = by_boots.map_or(by_rounds, |(dispersion, rate)| {
                let expected = boots.patched.iter().map(|boot| boot.exposures as f64 * rate * rule.residual);
                cluster::no_event(expected, mean_events(&boots.base), dispersion.upper(DISPERSION_CONFIDENCE))
            });
            LnProb::from_ln(by_rounds.ln().max(by_boots.ln()))
        });
        let exposures_enough = base_rate_low.filter(|&rate| rate > 0.0).map(|rate| {
            if by_rounds {
                return whole((residual_p(rule.exact).ln() / (-rate * rule.residual).ln_1p()).ceil());
            }
            let per_round = (second.exposures.max(1) as f64 / patched_rounds.len().max(1) as f64).max(1.0);
            let rounds_for = |p: f64, rate: f64| {
                (p.ln() / cluster::no_event([rate * per_round], mean, spread).ln()).ceil() * per_round
            };
            // Solves (e1 / (e1 + e2))^x = alpha, the conditional test with nothing on the patched side.
            let conditional = first.exposures as f64 * (-rule.alpha.ln() / first.events as f64).exp_m1();
            let plain = (-rule.alpha.ln() / rate).max(conditional);
            let enough = if overdispersed {
                plain.max(rounds_for(rule.alpha, rate)).max(rounds_for(residual_p(rule.exact), rate * rule.residual))
            } else {
                plain.max(-residual_p(rule.exact).ln() / (rate * rule.residual))
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
            base_corruptions_a_round: mean,
            base_corrupt_rounds: base.corrupt_and_clean_rounds().0,
            base_units: units(&base_rounds, &boots.base),
            patched_units: units(&patched_rounds, &boots.patched),
            boots_differ,
            exact: rule.exact,
            unit: if by_rounds { Unit::Rounds } else { Unit::Exposures },
        }
    }

    /// The numbers of tests that count rounds: the exact tests over rounds and boots, and no model.
    fn of_rounds(base: &CellResult, patched: &CellResult) -> Self {
        let (base_rounds, patched_rounds) = (base.counts_per_round(), patched.counts_per_round());
        let boots = Boots::of(base, patched, None);
        Self {
            base: Rate::of(base),
            patched: Rate::of(patched),
            ratio: None,
            base_rate_low: None,
            p_zero: None,
            p_residual: None,
            dispersion: None,
            overdispersed: false,
            evidence: unit_evidence(true, (&base_rounds, &patched_rounds), (base, patched), &boots),
            exposures_enough: None,
            base_corruptions_a_round: mean_events(&base_rounds),
            base_corrupt_rounds: base.corrupt_and_clean_rounds().0,
            base_units: units(&base_rounds, &boots.base),
            patched_units: units(&patched_rounds, &boots.patched),
            boots_differ: false,
            exact: true,
            unit: Unit::Rounds,
        }
    }

    /// The evidence that proves a difference at `alpha`. By an exact rule that is the test over rounds; the boots must agree as
    /// far as their number supports it, and no model may object. By an older one it is the exposures, and where rounds scatter
    /// too much, also the rounds themselves or the model of their scatter.
    pub(super) fn carrying(&self, direction: Direction, alpha: f64) -> Option<Evidence> {
        let proof = |kind: EvidenceKind| self.evidence_of(kind).filter(|it| it.p(direction).below(alpha));
        // Where rounds are the unit, the test over them is all there is.
        let plain = proof(match self.unit {
            Unit::Exposures => EvidenceKind::Exposures,
            Unit::Rounds => EvidenceKind::Rounds,
        })?;
        if self.exact {
            let rounds = proof(EvidenceKind::Rounds)?;
            let over_boots = !self.boots_differ || proof(EvidenceKind::BootClusters).is_some();
            (self.boots_agree(direction) && over_boots).then_some(rounds)
        } else if self.overdispersed {
            proof(EvidenceKind::Rounds).or_else(|| proof(EvidenceKind::Clusters))
        } else {
            Some(plain)
        }
    }

    /// Whether the boots show the difference too, as far as so many boots can.
    pub(super) fn boots_agree(&self, direction: Direction) -> bool {
        let supported = permutation::smallest(self.base_units.boots, self.patched_units.boots);
        let shown = self.evidence_of(EvidenceKind::Boots).is_some_and(|it| it.p(direction).below(BOOTS_P));
        shown || !supported.below(BOOTS_P)
    }

    /// Rounds of each side that are missing to reach alpha over rounds, if the base's go on to corrupt as often and the
    /// patched kernel's stay clean. None where the base has no corrupt round.
    pub(super) fn rounds_needed(&self, rule: &Rule) -> Option<u64> {
        const MOST: u64 = 10_000;
        let (rounds, corrupt) = (self.base_units.rounds as u64, self.base_corrupt_rounds);
        let enough = |rounds_a_side: u64| {
            let hits = rounds_a_side * corrupt / rounds.max(1);
            fisher::second_is_lower((hits, rounds_a_side - hits), (0, rounds_a_side)).below(rule.alpha)
        };
        let have = self.base_units.rounds.min(self.patched_units.rounds) as u64;
        let wanted = (have..MOST).find(|&rounds| enough(rounds)).filter(|_| corrupt > 0)?;
        Some((wanted - have).max(1))
    }

    /// Whether so many boots can support a p-value below `alpha` at all.
    pub(super) fn boots_support(&self, alpha: f64) -> bool {
        permutation::smallest(self.base_units.boots, self.patched_units.boots).below(alpha)
    }

    /// Whether zero corruptions speak against the smallest residual rate that matters.
    pub(super) fn residual_excluded(&self) -> bool {
        self.p_residual.is_some_and(|p| p.below(residual_p(self.exact)))
    }

    /// The evidence to name where none carries: that over rounds, or by an older rule the strongest of those that could.
    pub(super) fn strongest(&self, direction: Direction) -> Option<Evidence> {
        if self.exact {
            return self.evidence_of(EvidenceKind::Rounds);
        }
        let able = |it: &&Evidence| !self.overdispersed || it.kind != EvidenceKind::Exposures;
        let by_p = |a: &&Evidence, b: &&Evidence| a.p(direction).ln().total_cmp(&b.p(direction).ln());
        self.evidence.iter().filter(able).min_by(by_p).copied()
    }

    /// How rounds cluster, for what is expected at one level of a factor: the variance inflation of the base's counts, and the
    /// upper limit of the dispersion. Both are 1 for rounds that do not.
    pub(super) fn clustering(&self) -> (f64, f64) {
        clustering(self.dispersion.filter(|_| self.overdispersed))
    }

    /// The evidence of one kind.
    pub fn evidence_of(&self, kind: EvidenceKind) -> Option<Evidence> {
        self.evidence.iter().find(|it| it.kind == kind).copied()
    }
}

/// The probability at which the residual rate counts as excluded.
fn residual_p(exact: bool) -> f64 {
    if exact { RESIDUAL_P } else { OLD_RESIDUAL_P }
}

/// As [`Numbers::clustering`], by the dispersion of rounds that scatter more than chance would have them.
fn clustering(dispersion: Option<Dispersion>) -> (f64, f64) {
    dispersion.map_or((1.0, 1.0), |it| (it.index.max(1.0), it.upper(DISPERSION_CONFIDENCE)))
}

/// Events of a unit, on average.
fn mean_events(units: &[Count]) -> f64 {
    units.iter().map(|unit| unit.events as f64).sum::<f64>() / units.len().max(1) as f64
}

/// The boots of both sides.
struct Boots {
    base: Vec<Count>,
    patched: Vec<Count>,
    dispersion: Option<Dispersion>,
    differ: bool,
}

impl Boots {
    /// `rounds` is the dispersion of the rounds.
    fn of(base: &CellResult, patched: &CellResult, rounds: Option<Dispersion>) -> Self {
        let (of_base, of_patched) = (base.counts_per_boot(), patched.counts_per_boot());
        let dispersion = dispersion::index(&[&of_base, &of_patched]);
        let differ = dispersion.zip(rounds).is_some_and(|(boots, rounds)| {
            boots.index > 1.0 && dispersion::groups_differ(&boots, &rounds).is_some_and(|p| p.below(BOOTS_DIFFER_P))
        });
        Self { base: of_base, patched: of_patched, dispersion, differ }
    }

    /// The base's rate at least, its counts divided by their variance inflation over boots.
    fn rate_low(&self, exact: bool) -> Option<f64> {
        let inflation = self.dispersion.filter(|_| exact)?.index.max(1.0);
        let events: f64 = self.base.iter().map(|boot| boot.events as f64).sum();
        let exposures: f64 = self.base.iter().map(|boot| boot.exposures as f64).sum();
        (exposures > 0.0).then(|| interval::rate_lower(events, exposures, inflation, BASE_RATE_TAIL))
    }
}

/// The tests over whole rounds and boots.
fn unit_evidence(
    exact: bool,
    (base_rounds, patched_rounds): (&[Count], &[Count]),
    (base, patched): (&CellResult, &CellResult),
    boots: &Boots,
) -> Vec<Evidence> {
    if !exact {
        let rounds = (base.corrupt_and_clean_rounds(), patched.corrupt_and_clean_rounds());
        return vec![Evidence {
            kind: EvidenceKind::Rounds,
            p_lower: fisher::second_is_lower(rounds.0, rounds.1),
            p_higher: fisher::second_is_higher(rounds.0, rounds.1),
        }];
    }
    let of = |kind, first: &[Count], second: &[Count]| {
        let (p_lower, p_higher) = permutation::second_is_lower_or_higher(&rates(first), &rates(second));
        Evidence { kind, p_lower, p_higher }
    };
    vec![of(EvidenceKind::Rounds, base_rounds, patched_rounds), of(EvidenceKind::Boots, &boots.base, &boots.patched)]
}

/// The rate of each unit that had exposures.
pub(super) fn rates(units: &[Count]) -> Vec<f64> {
    let exposed = units.iter().filter(|unit| unit.exposures > 0 || unit.events > 0);
    exposed.map(|unit| unit.events as f64 / unit.exposures.max(1) as f64).collect()
}

fn units(rounds: &[Count], boots: &[Count]) -> Units {
    Units { rounds: rates(rounds).len(), boots: rates(boots).len() }
}

/// A whole number of exposures; what doesn't fit is as good as never.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, which is what is wanted")]
fn whole(exposures: f64) -> u64 {
    exposures as u64
}
