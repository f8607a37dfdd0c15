//! A world whose rates are known.

use rand_chacha::ChaCha8Rng;
use twinboot_protocol::{Counts, StopReason, Summary};

use super::draw;
use crate::analysis::Verdict;
use crate::journal::entry::{
    Accelerator, CellSpec, ComparisonSpec, Host, RoundFinished, RoundId, RoundOutcome, RunStarted, SCHEMA,
};
use crate::journal::rules::Rule;
use crate::journal::rules::{Expectation, Warmth};

const BASE: &str = "base";
const PATCHED: &str = "patched";

/// How the rounds of a run come about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct World {
    /// The base's corruptions per exposure, on average.
    pub rate: f64,
    /// Exposures of each round.
    pub exposures: u64,
    /// Variance of the factor, of mean 1, that each round's rate is multiplied by; 0 for rounds that are all alike.
    pub clustering: f64,
    /// What the patch does.
    pub truth: Truth,
}

/// What the patch really does to the rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Truth {
    /// It multiplies it.
    Ratio(f64),
    /// There is no patch: an A/A control.
    Same,
}

impl Truth {
    /// Whether `verdict` says what is not so. Not knowing is never wrong.
    pub fn refutes(self, verdict: Verdict) -> bool {
        match self {
            Self::Same => verdict == Verdict::Difference,
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
        }
    }
}

impl World {
    /// A round as its guest would have reported it.
    pub(super) fn round(&self, id: RoundId, rng: &mut ChaCha8Rng) -> RoundFinished {
        let ratio = match self.truth {
            Truth::Ratio(ratio) if id.cell == PATCHED => ratio,
            Truth::Ratio(_) | Truth::Same => 1.0,
        };
        let mean = self.rate * ratio * draw::gamma(self.clustering, rng) * self.exposures as f64;
        let corruptions = draw::poisson(mean, rng).min(self.exposures);
        let exposures = self.exposures;
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
                details: Vec::new(),
                profile: Vec::new(),
            }),
            progress: Vec::new(),
            corruptions_received: corruptions,
            samples: Vec::new(),
            problems: Vec::new(),
            stages: Vec::new(),
            boot: Vec::new(),
            clone: Warmth::default(),
        }
    }
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
        expect: Expectation::Any,
        rounds: rule.rounds,
        round_s: 0,
        rule: Some(*rule),
        cpus: 1,
        memory: 0,
        swap: None,
        clone: Warmth::default(),
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
