//! A world whose rates are known.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use twinboot_protocol::{Counts, Factor, Level, StopReason, Summary};

use super::draw;
use crate::analysis::Verdict;
use crate::journal::entry::{
    Accelerator, CellSpec, ComparisonSpec, Host, RoundFinished, RoundId, RoundOutcome, RunStarted, SCHEMA,
};
use crate::journal::rules::{Expectation, Rule, Warmth};

pub(super) const BASE: &str = "base";
pub(super) const PATCHED: &str = "patched";

/// Boots of a side in a world, and of a control, whose units they are.
const BOOTS: u32 = 4;
const CONTROL_BOOTS: u32 = 10;

/// How the rounds of a run come about: boots, rounds in them, and exposures in those.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct World {
    /// The base's corruptions per exposure, on average.
    pub rate: f64,
    /// Exposures of each round.
    pub exposures: u64,
    /// Variance of the factor, of mean 1, that each round's rate is multiplied by; 0 for rounds that are all alike.
    pub clustering: f64,
    /// The same of each boot's rounds together.
    pub boot_clustering: f64,
    /// What the patch does.
    pub truth: Truth,
}

/// What the patch really does to the rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Truth {
    /// It multiplies it.
    Ratio(f64),
    /// It is a fix at all levels of a factor but one, where it does nothing.
    Open(Open),
    /// There is no patch: an A/A control.
    Same,
}

/// A fix that leaves one level of a factor open, another one in each run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Levels of the factor.
    pub levels: u32,
    /// A round has one level; otherwise its exposures share out all of them.
    pub by_round: bool,
    /// The test names the factor, so that the judge sees each level's counts.
    pub told: bool,
}

impl Truth {
    /// Whether `verdict` says what is not so. Not knowing is never wrong.
    pub fn refutes(self, verdict: Verdict) -> bool {
        match self {
            Self::Same => verdict == Verdict::Difference,
            Self::Open(_) => matches!(verdict, Verdict::Fixed | Verdict::Regressed),
            Self::Ratio(ratio) => match verdict {
                Verdict::Fixed => ratio > 0.0,
                Verdict::NotFixed => ratio <= 0.0,
                Verdict::Reduced => ratio <= 0.0 || ratio >= 1.0,
                Verdict::Regressed => ratio <= 1.0,
                _ => false,
            },
        }
    }

    /// In a few words.
    pub fn words(self) -> String {
        match self {
            Self::Same => "A/A control".to_owned(),
            Self::Ratio(ratio) if ratio <= 0.0 => "true fix".to_owned(),
            Self::Ratio(ratio) => format!("rate × {ratio}"),
            Self::Open(Open { levels, by_round, told }) => {
                let drawn = if by_round { "round" } else { "try" };
                let told = if told { "" } else { ", not told" };
                format!("1 of {levels} levels open, a level a {drawn}{told}")
            }
        }
    }
}

/// What one run was dealt: each boot's factor, and the level that is open.
#[derive(Debug)]
pub(super) struct Luck {
    base: Vec<f64>,
    patched: Vec<f64>,
    open: u32,
}

impl World {
    /// Boots of each side.
    pub fn boots(&self) -> u32 {
        if self.truth == Truth::Same { CONTROL_BOOTS } else { BOOTS }
    }

    pub(super) fn luck(&self, rng: &mut ChaCha8Rng) -> Luck {
        let mut boots = || (0..self.boots()).map(|_| draw::gamma(self.boot_clustering, rng)).collect();
        let (base, patched) = (boots(), boots());
        let open = if let Truth::Open(open) = self.truth { rng.random_range(0..open.levels) } else { 0 };
        Luck { base, patched, open }
    }

    /// The saved boot of a round, from 0.
    pub(super) fn boot(&self, round: u32) -> usize {
        round.saturating_sub(1) as usize % self.boots() as usize
    }

    /// The patched side's rate over the base's at each level of a round, and the level's share of its exposures.
    fn levels(&self, cell: &str, round: u32, open: u32) -> Vec<(f64, f64)> {
        match self.truth {
            Truth::Ratio(ratio) if cell == PATCHED => vec![(ratio, 1.0)],
            Truth::Ratio(_) | Truth::Same => vec![(1.0, 1.0)],
            Truth::Open(it) => {
                let ratio = |level: u32| if cell == PATCHED && level != open { 0.0 } else { 1.0 };
                // Levels are dealt out to the rounds by turns.
                let dealt = |level: u32| if (round - 1) % it.levels == level { 1.0 } else { 0.0 };
                let share = |level: u32| if it.by_round { dealt(level) } else { 1.0 / f64::from(it.levels) };
                (0..it.levels).map(|level| (ratio(level), share(level))).collect()
            }
        }
    }

    /// Corruptions that a patched round expects, its own factor and its boot's aside.
    pub(super) fn expected_of_patched(&self, round: u32, luck: &Luck) -> f64 {
        let levels = self.levels(PATCHED, round, luck.open);
        levels.iter().map(|(ratio, share)| ratio * share).sum::<f64>() * self.rate * self.exposures as f64
    }

    /// A round as its guest would have reported it; a `clean` one has no corruption, whatever its rate.
    pub(super) fn round(&self, id: RoundId, luck: &Luck, clean: bool, rng: &mut ChaCha8Rng) -> RoundFinished {
        let boots = if id.cell == PATCHED { &luck.patched } else { &luck.base };
        let boot = self.boot(id.round);
        let factor = boots.get(boot).copied().unwrap_or(1.0) * draw::gamma(self.clustering, rng);
        let level = |(name, (ratio, share)): (u32, (f64, f64))| {
            let exposures = whole(self.exposures as f64 * share);
            let mean = self.rate * ratio * factor * self.exposures as f64 * share;
            let corruptions = if clean { 0 } else { draw::poisson(mean, rng).min(exposures) };
            Level { name: name.to_string(), tries: exposures, exposures, corruptions }
        };
        let levels: Vec<Level> = (0..).zip(self.levels(&id.cell, id.round, luck.open)).map(level).collect();
        let exposures = levels.iter().map(|level| level.exposures).sum();
        let corruptions = levels.iter().map(|level| level.corruptions).sum();
        let told = matches!(self.truth, Truth::Open(Open { told: true, .. }));
        let factor = Factor { name: "level".to_owned(), phrase: String::new(), levels };
        RoundFinished {
            id,
            seed: 0,
            outcome: RoundOutcome::Finished,
            preflight: None,
            summary: Some(Summary {
                elapsed_ns: 1_000_000_000,
                counts: Counts { tries: exposures, landings: exposures, reuses: exposures, exposures, corruptions },
                first_corruption_ns: (corruptions > 0).then_some(1),
                stopped_by: StopReason::Deadline,
                seed: 0,
                factors: Some(factor).into_iter().filter(|_| told).collect(),
                details: Vec::new(),
                profile: Vec::new(),
            }),
            progress: Vec::new(),
            corruptions_received: corruptions,
            samples: Vec::new(),
            problems: Vec::new(),
            stages: Vec::new(),
            boot: Vec::new(),
            clone: Warmth::Warm,
            saved_boot: u32::try_from(boot + 1).ok(),
            exit: None,
            matched: Vec::new(),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count, and not negative")]
fn whole(exposures: f64) -> u64 {
    exposures.round() as u64
}

/// The first line of the journal of a run in `world`.
pub fn run_started(world: &World, rule: &Rule, seed: u64) -> RunStarted {
    let cell = |id: &str| CellSpec {
        id: id.to_owned(),
        kernel: String::new(),
        variant: id.to_owned(),
        guest: String::new(),
        test: String::new(),
        program: String::new(),
        strategy: None,
        oracle: None,
        expect: Expectation::Any,
        counts: Vec::new(),
        rounds: rule.rounds,
        round_s: 0,
        rule: Some(*rule),
        cpus: 1,
        memory: 0,
        swap: None,
        clone: Warmth::Warm,
        boots: world.boots(),
        patches: Vec::new(),
    };
    RunStarted {
        schema: SCHEMA,
        twinboot: env!("CARGO_PKG_VERSION").to_owned(),
        started: String::new(),
        plan: "simulation".to_owned(),
        plan_sha256: String::new(),
        rerun: String::new(),
        seed,
        alpha: rule.alpha,
        host: Host { kernel: String::new(), cpu: String::new(), cpus: 1, memory: 0 },
        accelerator: Accelerator { name: "none".to_owned(), qemu: String::new() },
        load: None,
        cells: vec![cell(BASE), cell(PATCHED)],
        forced: Vec::new(),
        whole: None,
        comparisons: vec![ComparisonSpec {
            base: BASE.to_owned(),
            patched: PATCHED.to_owned(),
            control: world.truth == Truth::Same,
        }],
    }
}
