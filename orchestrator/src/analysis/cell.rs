//! One cell of the plan and everything its rounds showed.

use std::collections::BTreeMap;

use twinboot_protocol::Counts;

use super::round::{Round, RoundState};
use super::trouble::{self, Trouble};
use crate::analysis::stats::ratio::Count;
use crate::analysis::stats::survival::{self, Time};
use crate::journal::entry::{Built, CellSpec, Stopped};
use crate::journal::rules::Warmth;

/// What became of a variant's kernel.
#[derive(Debug, Clone, PartialEq)]
pub enum BuildState {
    /// The journal does not say (yet).
    Unknown,
    /// Ready to boot.
    Built(Box<Built>),
    /// Could not be built, and why.
    Failed(String),
}

/// What a cell showed, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CellOutcome {
    /// At least one corruption.
    Corrupted,
    /// No corruption, and there were exposures.
    Clean,
    /// No corruption and no exposure either: the race was never tested.
    Unexposed,
    /// The kernel died, hung or complained, and nothing was corrupted.
    Broken,
    /// No round counts: the build, the test or the host failed.
    Failed,
    /// No round was started.
    Nothing,
}

/// Whether what the plan's author expected of a cell came true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Met {
    /// It came true.
    Yes,
    /// It did not.
    No,
    /// Not enough is known.
    Undecided,
    /// Not enough is known because the host, the build or the test failed.
    Unmeasured,
}

/// A cell with its rounds and their sums.
#[derive(Debug, Clone, PartialEq)]
pub struct CellResult {
    /// What it was made from.
    pub spec: CellSpec,
    /// Its kernel.
    pub build: BuildState,
    /// Rounds by number; a round run again counts once, by its last end.
    pub rounds: Vec<Round>,
    /// Sums over the rounds that count.
    pub totals: Counts,
    /// Racing seconds over the rounds that count.
    pub seconds: f64,
    /// Corruptions in all rounds, also those that died or hung before their end.
    pub corruptions_seen: u64,
    /// Earliest first corruption of any round, in seconds from the round's first try.
    pub first_corruption_s: Option<f64>,
    /// Kaplan–Meier median of the rounds' first corruptions, in seconds.
    pub median_first_corruption_s: Option<f64>,
    /// Everything that went wrong apart from corruptions.
    pub trouble: Vec<Trouble>,
    /// In a word.
    pub outcome: CellOutcome,
    /// Whether the expectation came true.
    pub met: Met,
    /// Where its rounds ended before they were used up, and why.
    pub stopped: Option<Stopped>,
}

impl CellResult {
    /// Sums up `rounds`, which are sorted by number. `met` is left undecided: it hangs on the comparisons.
    pub(super) fn new(spec: CellSpec, build: BuildState, rounds: Vec<Round>) -> Self {
        let mut totals = Counts::default();
        for counts in rounds.iter().filter_map(Round::counts) {
            totals.tries = totals.tries.saturating_add(counts.tries);
            totals.landings = totals.landings.saturating_add(counts.landings);
            totals.reuses = totals.reuses.saturating_add(counts.reuses);
            totals.exposures = totals.exposures.saturating_add(counts.exposures);
            totals.corruptions = totals.corruptions.saturating_add(counts.corruptions);
        }
        let times: Vec<Time> = rounds
            .iter()
            .filter_map(|round| {
                let first = round.first_corruption_s();
                round.seconds().map(|end| Time { seconds: first.unwrap_or(end), event: first.is_some() })
            })
            .collect();
        let mut cell = Self {
            spec,
            build,
            totals,
            seconds: rounds.iter().filter_map(Round::seconds).sum(),
            corruptions_seen: rounds.iter().map(Round::corruptions_seen).fold(0, u64::saturating_add),
            first_corruption_s: rounds.iter().filter_map(Round::first_corruption_s).min_by(f64::total_cmp),
            median_first_corruption_s: survival::median(&times),
            trouble: trouble::of_rounds(&rounds),
            rounds,
            outcome: CellOutcome::Nothing,
            met: Met::Undecided,
            stopped: None,
        };
        cell.outcome = cell.judge();
        cell
    }

    /// Judges the cell as if its kernel had complained of nothing, since its base complains of the same.
    pub(super) fn disregard_trouble(&mut self) {
        self.outcome = self.judge_by(false);
    }

    fn judge(&self) -> CellOutcome {
        self.judge_by(self.kernel_trouble().next().is_some())
    }

    fn judge_by(&self, trouble: bool) -> CellOutcome {
        if self.corruptions_seen > 0 {
            CellOutcome::Corrupted
        } else if trouble {
            CellOutcome::Broken
        } else if self.counted_rounds() > 0 {
            if self.totals.exposures > 0 { CellOutcome::Clean } else { CellOutcome::Unexposed }
        } else if self.rounds.is_empty() && !matches!(self.build, BuildState::Failed(_)) {
            CellOutcome::Nothing
        } else {
            CellOutcome::Failed
        }
    }

    /// Rounds that count towards a rate.
    pub fn counted_rounds(&self) -> u64 {
        self.rounds.iter().filter(|round| round.counts().is_some()).count() as u64
    }

    /// Rounds that came to an end, well or not.
    pub fn ended_rounds(&self) -> usize {
        self.rounds.iter().filter(|round| round.state != RoundState::Lost).count()
    }

    /// Whether all planned rounds have ended.
    pub fn is_used_up(&self) -> bool {
        self.ended_rounds() >= self.spec.rounds as usize
    }

    /// (corrupt, clean) among the rounds that count and had exposures or corruptions.
    pub fn corrupt_and_clean_rounds(&self) -> (u64, u64) {
        let exposed = self.rounds.iter().filter_map(Round::counts).filter(|it| it.exposures > 0 || it.corruptions > 0);
        exposed.fold(
            (0, 0),
            |(corrupt, clean), it| {
                if it.corruptions > 0 { (corrupt + 1, clean) } else { (corrupt, clean + 1) }
            },
        )
    }

    /// Corruptions and exposures of each round that counts.
    pub fn counts_per_round(&self) -> Vec<Count> {
        let counts = self.rounds.iter().filter_map(Round::counts);
        counts.map(|it| Count { events: it.corruptions, exposures: it.exposures }).collect()
    }

    /// Corruptions and exposures of each boot, over its rounds that count: a saved boot has those of all rounds that went on
    /// from it, a cold round is a boot by itself. Older journals name no saved boot, so all their warm rounds are of one.
    pub fn counts_per_boot(&self) -> Vec<Count> {
        let mut boots: BTreeMap<(Warmth, u32), Count> = BTreeMap::new();
        for round in &self.rounds {
            let (Some(end), Some(counts)) = (round.end(), round.counts()) else { continue };
            let number = if end.clone == Warmth::Cold { round.number } else { end.saved_boot.unwrap_or(0) };
            let boot = boots.entry((end.clone, number)).or_insert(Count { events: 0, exposures: 0 });
            boot.events = boot.events.saturating_add(counts.corruptions);
            boot.exposures = boot.exposures.saturating_add(counts.exposures);
        }
        boots.into_values().collect()
    }

    /// Trouble the kernel has to answer for.
    pub fn kernel_trouble(&self) -> impl Iterator<Item = &Trouble> {
        self.trouble.iter().filter(|trouble| trouble.kind.is_kernels())
    }

    /// The built kernel, where there is one.
    pub fn built(&self) -> Option<&Built> {
        match &self.build {
            BuildState::Built(built) => Some(built),
            BuildState::Unknown | BuildState::Failed(_) => None,
        }
    }
}
