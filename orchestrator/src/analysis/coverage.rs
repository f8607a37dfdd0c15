//! Which levels of which factors a comparison covers. A fix that works at some levels only must not pass for a fix, however
//! often the others were raced. Factors and levels are the guest test's; nothing here knows what they mean.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use twinboot_protocol::Factor;

use super::cell::CellResult;
use super::numbers::Numbers;
use crate::analysis::stats::{LnProb, cluster, interval};
use crate::journal::rules::{Rule, Warmth};

/// Together the levels may hide a residual rate with this probability.
const FAMILY_P: f64 = 0.01;
/// One-sided error of the base rate's lower limit at a level.
const RATE_TAIL: f64 = 0.01;
/// A level counts as free of corruption where its zero has at most this probability at the rate of the others.
const FREE_P: f64 = 0.01;
/// The residual rate that is excluded in each boot, as a share of the base's: a boot in which the fix does nothing. Boots of the
/// two sides are not the same boots, so that less than that is not a matter of one boot.
const BOOT_RESIDUAL: f64 = 1.0;
/// Levels that share out all corruptions by chance do so at most with this probability where a report says "only".
const ONLY_P: f64 = 1e-3;

/// What a comparison covers, factor by factor; no factor where the test names none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Coverage {
    /// The factors, in the test's order; the saved boots last.
    pub factors: Vec<FactorCoverage>,
    /// Where the patched kernel corrupts at some levels only: `corrupts on write faults only`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
}

/// One factor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FactorCoverage {
    /// Its name.
    pub factor: String,
    /// Its levels, in the test's order.
    pub levels: Vec<LevelCoverage>,
    #[serde(skip)]
    phrase: String,
    /// The test named it; otherwise it is the saved boots.
    #[serde(skip)]
    of_test: bool,
}

/// One level of a factor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LevelCoverage {
    /// Its name.
    pub level: String,
    /// Exposures of the base.
    pub base_exposures: u64,
    /// Corruptions of the base.
    pub base_corruptions: u64,
    /// Exposures of the patched kernel.
    pub patched_exposures: u64,
    /// Corruptions of the patched kernel.
    pub patched_corruptions: u64,
    /// What can be said of it.
    pub state: LevelState,
    /// Decimal logarithm of the probability of so many clean exposures at the smallest residual rate that matters here; null
    /// where nothing is asked of the level, or where it corrupts.
    pub log10_residual_probability: Option<f64>,
    /// Clean exposures of the patched kernel still needed here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposures_needed: Option<u64>,
}

/// What can be said of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LevelState {
    /// The patched kernel was clean here, often enough to exclude the residual rate.
    Covered,
    /// It was clean here, but not often enough.
    NotCovered,
    /// It corrupts here.
    Corrupts,
    /// The base was never exposed here, so nothing is asked.
    BaseUnexposed,
    /// The base was exposed here, and clean so often that the race does not happen here.
    BaseClean,
}

impl LevelState {
    /// As every report writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Covered => "covered",
            Self::NotCovered => "not covered",
            Self::Corrupts => "corrupts",
            Self::BaseUnexposed => "base not exposed",
            Self::BaseClean => "base clean",
        }
    }
}

impl Coverage {
    pub(super) fn of(base: &CellResult, patched: &CellResult, numbers: &Numbers, rule: &Rule) -> Self {
        let (of_base, of_patched) = (sums(base), sums(patched));
        let mut factors: Vec<FactorCoverage> = Vec::new();
        let mut tests = Vec::new();
        for sum in of_base.iter().chain(of_patched.iter().filter(|sum| find(&of_base, &sum.name).is_none())) {
            let theirs = find(&of_base, &sum.name);
            let ours = find(&of_patched, &sum.name);
            let names = union(theirs, ours);
            let residual = if sum.of_test { rule.residual } else { BOOT_RESIDUAL };
            let judged = names.iter().map(|name| {
                let nothing = LevelSum::default();
                let level = |sum: Option<&FactorSum>| sum.and_then(|sum| sum.level(name)).unwrap_or(&nothing).clone();
                judge(name, &level(theirs), &level(ours), numbers, residual)
            });
            let (levels, asked): (Vec<LevelCoverage>, Vec<Option<Test>>) = judged.unzip();
            let at = factors.len();
            tests.extend(asked.into_iter().enumerate().filter_map(|(level, test)| Some(((at, level), test?))));
            factors.push(FactorCoverage {
                factor: sum.name.clone(),
                levels,
                phrase: sum.phrase.clone(),
                of_test: sum.of_test,
            });
        }
        let mut coverage = Self { factors, only: None };
        coverage.exclude(tests);
        coverage.only = coverage.only_words(numbers.clustering().0);
        coverage
    }

    /// Every level at which the base was exposed and corrupts is covered. True as well where the test names no factor: then
    /// [`Coverage::words`] says that nothing is known.
    pub fn is_complete(&self) -> bool {
        self.levels().all(|(_, level)| level.state != LevelState::NotCovered)
    }

    /// The levels that are not covered, those first that miss most: (factor and level in words, exposures needed).
    pub fn missing(&self) -> Vec<(String, u64)> {
        let mut missing: Vec<(String, u64)> = self
            .levels()
            .filter_map(|(factor, level)| Some((format!("{} {}", factor.factor, level.level), level.exposures_needed?)))
            .collect();
        missing.sort_by_key(|(_, needed)| std::cmp::Reverse(*needed));
        missing
    }

    /// What is covered, on one line: `access 2 of 2 levels, slot 13 of 14`.
    pub fn words(&self) -> String {
        if self.factors.is_empty() {
            return "not known: the test named no factor".to_owned();
        }
        let told = self.factors.iter().enumerate().map(|(at, factor)| {
            let asked = factor.levels.iter().filter(|level| level.is_asked());
            let covered = asked.clone().filter(|level| level.state == LevelState::Covered).count();
            let unit = match (at, factor.levels.len()) {
                (0, 1) => " level",
                (0, _) => " levels",
                _ => "",
            };
            format!("{} {covered} of {}{unit}", factor.factor, asked.count())
        });
        let told = told.collect::<Vec<_>>().join(", ");
        if self.factors.iter().any(|factor| factor.of_test) {
            told
        } else {
            format!("{told}; more is not known: the test named no factor")
        }
    }

    fn levels(&self) -> impl Iterator<Item = (&FactorCoverage, &LevelCoverage)> {
        self.factors.iter().flat_map(|factor| factor.levels.iter().map(move |level| (factor, level)))
    }

    /// Decides which levels are covered, with as many tests as there are levels to ask.
    ///
    /// Source: S. Holm, Scandinavian Journal of Statistics 6 (1979) 65–70: from the smallest p-value on, each against the
    /// family's error over the number of those that are left; the first that fails takes all that follow with it.
    fn exclude(&mut self, mut tests: Vec<((usize, usize), Test)>) {
        tests.sort_by(|(_, a), (_, b)| a.p.ln().total_cmp(&b.p.ln()));
        let many = tests.len();
        let mut holds = true;
        for (rank, ((factor, level), test)) in tests.into_iter().enumerate() {
            holds &= test.p.below(FAMILY_P / (many - rank) as f64);
            let level = &mut self.factors[factor].levels[level];
            let log10 = test.p.log10();
            level.log10_residual_probability = Some(log10).filter(|log10| log10.is_finite());
            if !holds {
                level.state = LevelState::NotCovered;
                level.exposures_needed = Some(test.missing(FAMILY_P / many as f64));
            }
        }
    }

    /// Where the patched kernel corrupts at some levels of a factor only.
    fn only_words(&self, inflation: f64) -> Option<String> {
        let mut told: Vec<(usize, String)> = Vec::new();
        for factor in &self.factors {
            let (bad, free): (Vec<&LevelCoverage>, Vec<&LevelCoverage>) = factor
                .levels
                .iter()
                .filter(|level| level.base_corruptions > 0 || level.patched_corruptions > 0)
                .partition(|level| level.patched_corruptions > 0);
            let exposures =
                |levels: &[&LevelCoverage]| levels.iter().map(|it| it.patched_exposures as f64).sum::<f64>();
            let corruptions = bad.iter().map(|it| it.patched_corruptions as f64).sum::<f64>() / inflation;
            let (at_bad, at_free) = (exposures(&bad), exposures(&free));
            if bad.is_empty() || free.is_empty() || at_bad <= 0.0 {
                continue;
            }
            let by_chance = LnProb::from_ln(corruptions * (at_bad / (at_bad + at_free)).ln());
            let rate = corruptions / at_bad;
            let is_free =
                |level: &&LevelCoverage| LnProb::from_ln(-rate * level.patched_exposures as f64).below(FREE_P);
            if by_chance.below(ONLY_P / self.factors.len() as f64) && free.iter().all(is_free) {
                told.push((bad.len(), factor.at(&bad)));
            }
        }
        told.sort_by_key(|(levels, _)| *levels);
        let told: Vec<String> = told.into_iter().map(|(_, words)| format!("{words} only")).collect();
        (!told.is_empty()).then(|| format!("corrupts {}", told.join(", ")))
    }
}

impl FactorCoverage {
    /// `on CPU 0 or 1`: the levels in the test's own phrase.
    fn at(&self, levels: &[&LevelCoverage]) -> String {
        let names: Vec<&str> = levels.iter().map(|level| level.level.as_str()).collect();
        let names = match names.as_slice() {
            [first, .., last] if is_run(&names) => format!("{first} to {last}"),
            [most @ .., last] if !most.is_empty() => format!("{} or {last}", most.join(", ")),
            names => names.join(""),
        };
        if self.phrase.contains("{}") {
            self.phrase.replace("{}", &names)
        } else {
            format!("at {} {names}", self.factor)
        }
    }
}

/// Three or more names that are whole numbers in a row.
fn is_run(names: &[&str]) -> bool {
    let numbers: Option<Vec<u64>> = names.iter().map(|name| name.parse().ok()).collect();
    numbers.is_some_and(|it| it.len() > 2 && it.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1])))
}

impl LevelCoverage {
    /// Something is asked of the patched kernel here.
    pub fn is_asked(&self) -> bool {
        !matches!(self.state, LevelState::BaseUnexposed | LevelState::BaseClean)
    }
}

/// The test of one level: that a residual rate has gone unseen.
struct Test {
    p: LnProb,
    /// Exposures so far.
    exposures: u64,
    /// `-ln p` of each exposure, about.
    each: f64,
}

impl Test {
    /// Exposures that are missing to reach `p`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, which is what is wanted"
    )]
    fn missing(&self, p: f64) -> u64 {
        let so_far = if self.exposures > 0 { -self.p.ln() / self.exposures as f64 } else { self.each };
        let each = if so_far > 0.0 { so_far } else { self.each };
        (((-p.ln() + self.p.ln()) / each).ceil().max(1.0)) as u64
    }
}

/// Holds one level of the patched kernel against the base's.
fn judge(
    name: &str,
    base: &LevelSum,
    patched: &LevelSum,
    numbers: &Numbers,
    residual: f64,
) -> (LevelCoverage, Option<Test>) {
    let level = |state| LevelCoverage {
        level: name.to_owned(),
        base_exposures: base.exposures,
        base_corruptions: base.corruptions,
        patched_exposures: patched.exposures,
        patched_corruptions: patched.corruptions,
        state,
        log10_residual_probability: None,
        exposures_needed: None,
    };
    if patched.corruptions > 0 {
        return (level(LevelState::Corrupts), None);
    }
    if base.exposures == 0 {
        return (level(LevelState::BaseUnexposed), None);
    }
    let overall = numbers.base_rate_low.unwrap_or(0.0);
    let (inflation, spread) = numbers.clustering();
    let exposures = base.exposures as f64;
    let rate = if base.corruptions > 0 {
        interval::rate_lower(base.corruptions as f64, exposures, inflation, RATE_TAIL)
    } else if interval::poisson(0.0, 0.9).high * inflation / exposures < residual * overall {
        // The upper 95 % limit of its rate is below what matters.
        return (level(LevelState::BaseClean), None);
    } else {
        overall
    };
    let mean = numbers.base_corruptions_a_round;
    let expected = patched.per_round.iter().map(|exposures| *exposures as f64 * rate * residual);
    let p = cluster::no_event(expected, mean, spread);
    let test = Test { p, exposures: patched.exposures, each: rate * residual };
    (level(LevelState::Covered), Some(test))
}

/// A factor summed over the rounds of a cell that count.
struct FactorSum {
    name: String,
    phrase: String,
    of_test: bool,
    levels: Vec<(String, LevelSum)>,
}

#[derive(Debug, Clone, Default)]
struct LevelSum {
    exposures: u64,
    corruptions: u64,
    /// Exposures of each round that had any.
    per_round: Vec<u64>,
}

impl FactorSum {
    fn level(&self, name: &str) -> Option<&LevelSum> {
        self.levels.iter().find(|(known, _)| known == name).map(|(_, sum)| sum)
    }

    fn add(&mut self, level: &str, exposures: u64, corruptions: u64) {
        let at = self.levels.iter().position(|(known, _)| known == level).unwrap_or_else(|| {
            self.levels.push((level.to_owned(), LevelSum::default()));
            self.levels.len() - 1
        });
        let sum = &mut self.levels[at].1;
        sum.exposures = sum.exposures.saturating_add(exposures);
        sum.corruptions = sum.corruptions.saturating_add(corruptions);
        sum.per_round.extend(Some(exposures).filter(|exposures| *exposures > 0));
    }
}

fn find<'a>(sums: &'a [FactorSum], name: &str) -> Option<&'a FactorSum> {
    sums.iter().find(|sum| sum.name == name)
}

/// The levels of both sides, the base's first.
fn union(base: Option<&FactorSum>, patched: Option<&FactorSum>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in base.into_iter().chain(patched).flat_map(|sum| &sum.levels) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn sums(cell: &CellResult) -> Vec<FactorSum> {
    let mut sums: Vec<FactorSum> = Vec::new();
    let summaries = cell.rounds.iter().filter(|round| round.counts().is_some()).filter_map(|round| round.end());
    for Factor { name, phrase, levels } in summaries.filter_map(|end| end.summary.as_ref()).flat_map(|it| &it.factors) {
        let at = sums.iter().position(|sum| &sum.name == name).unwrap_or_else(|| {
            sums.push(FactorSum { name: name.clone(), phrase: phrase.clone(), of_test: true, levels: Vec::new() });
            sums.len() - 1
        });
        for level in levels {
            sums[at].add(&level.name, level.exposures, level.corruptions);
        }
    }
    sums.extend(boots(cell));
    sums
}

/// The saved boots as a factor: a round's luck may be its boot's. Only where rounds take several by turns.
fn boots(cell: &CellResult) -> Option<FactorSum> {
    let mut rounds: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
    for round in &cell.rounds {
        let (Some(end), Some(counts)) = (round.end(), round.counts()) else { continue };
        if let (Warmth::Warm, Some(number)) = (end.clone, end.saved_boot) {
            rounds.entry(number).or_default().push((counts.exposures, counts.corruptions));
        }
    }
    let (name, phrase) = ("boot".to_owned(), "in saved boot {}".to_owned());
    let mut sum = FactorSum { name, phrase, of_test: false, levels: Vec::new() };
    for (number, rounds) in rounds.iter().filter(|_| cell.spec.boots > 1) {
        for (exposures, corruptions) in rounds {
            sum.add(&number.to_string(), *exposures, *corruptions);
        }
    }
    Some(sum).filter(|sum| !sum.levels.is_empty())
}
