//! One cell of the plan and everything its rounds showed.

use std::collections::{BTreeMap, BTreeSet};

use twinboot_protocol::Counts;

use super::round::{Round, RoundState};
use super::trouble::{self, Trouble};
use crate::analysis::stats::ratio::Count;
use crate::analysis::stats::survival::{self, Time};
use crate::journal;
use crate::journal::entry::{Built, CellSpec, Stopped};
use crate::journal::failure::counts_rounds;
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
    /// No corruption, but at least one round that failed in a way that the test counts.
    Fails,
    /// No corruption, and there were exposures; or no round failed, where rounds are what is counted.
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
    /// Rounds that failed in a way that the test counts; empty where only corruptions count.
    pub failed: BTreeSet<u32>,
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
        let failed = |round: &&Round| {
            counts_rounds(&spec.counts)
                && round.end().and_then(|end| journal::failed(&spec.counts, end)).unwrap_or_default()
        };
        let mut cell = Self {
            failed: rounds.iter().filter(failed).map(|round| round.number).collect(),
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
        } else if !self.failed.is_empty() {
            CellOutcome::Fails
        } else if trouble {
            CellOutcome::Broken
        } else if self.counted_rounds() > 0 {
            let untested = self.totals.exposures == 0 && (self.totals.tries > 0 || !self.counts_rounds());
            if untested { CellOutcome::Unexposed } else { CellOutcome::Clean }
        } else if self.rounds.is_empty() && !matches!(self.build, BuildState::Failed(_)) {
            CellOutcome::Nothing
        } else {
            CellOutcome::Failed
        }
    }

    /// Whether its test counts rounds that fail, not corruptions by exposures.
    pub fn counts_rounds(&self) -> bool {
        counts_rounds(&self.spec.counts)
    }

    /// Whether the round counts: it came to its end, or failed in a way that the test counts.
    pub fn is_counted(&self, round: &Round) -> bool {
        self.count(round).is_some()
    }

    /// Corruptions and exposures of a round that counts. Where rounds are counted, each is one exposure, and one event if it
    /// failed.
    fn count(&self, round: &Round) -> Option<Count> {
        if self.counts_rounds() {
            let failed = journal::failed(&self.spec.counts, round.end()?)?;
            Some(Count { events: u64::from(failed), exposures: 1 })
        } else {
            round.counts().map(|it| Count { events: it.corruptions, exposures: it.exposures })
        }
    }

    /// Events and exposures over all rounds that count.
    pub fn total(&self) -> Count {
        self.counts_per_round().iter().fold(Count { events: 0, exposures: 0 }, |sum, it| Count {
            events: sum.events.saturating_add(it.events),
            exposures: sum.exposures.saturating_add(it.exposures),
        })
    }

    /// Rounds that count towards a rate.
    pub fn counted_rounds(&self) -> u64 {
        self.rounds.iter().filter(|round| self.is_counted(round)).count() as u64
    }

    /// Whether any round tells of an exposure, also one that did not come to its end.
    pub(super) fn was_exposed(&self) -> bool {
        let told = |round: &Round| {
            round.end().is_some_and(|end| {
                let summary = end.summary.as_ref().is_some_and(|summary| summary.counts.exposures > 0);
                summary || end.progress.iter().any(|progress| progress.counts.exposures > 0)
            })
        };
        self.rounds.iter().any(told)
    }

    /// Rounds that came to an end, well or not.
    pub fn ended_rounds(&self) -> usize {
        self.rounds.iter().filter(|round| round.state != RoundState::Lost).count()
    }

    /// Whether all planned rounds have ended.
    pub fn is_used_up(&self) -> bool {
        self.ended_rounds() >= self.spec.rounds as usize
    }

    /// (corrupt or failed, clean) among the rounds that count and had exposures or corruptions.
    pub fn corrupt_and_clean_rounds(&self) -> (u64, u64) {
        let exposed = self.counts_per_round().into_iter().filter(|it| it.exposures > 0 || it.events > 0);
        exposed.fold(
            (0, 0),
            |(corrupt, clean), it| {
                if it.events > 0 { (corrupt + 1, clean) } else { (corrupt, clean + 1) }
            },
        )
    }

    /// Corruptions and exposures of each round that counts.
    pub fn counts_per_round(&self) -> Vec<Count> {
        self.rounds.iter().filter_map(|round| self.count(round)).collect()
    }

    /// Corruptions and exposures of each boot, over its rounds that count: a saved boot has those of all rounds that went on
    /// from it, a cold round is a boot by itself. Older journals name no saved boot, so all their warm rounds are of one.
    pub fn counts_per_boot(&self) -> Vec<Count> {
        let mut boots: BTreeMap<(Warmth, u32), Count> = BTreeMap::new();
        for round in &self.rounds {
            let (Some(end), Some(count)) = (round.end(), self.count(round)) else { continue };
            let number = if end.clone == Warmth::Cold { round.number } else { end.saved_boot.unwrap_or(0) };
            let boot = boots.entry((end.clone, number)).or_insert(Count { events: 0, exposures: 0 });
            boot.events = boot.events.saturating_add(count.events);
            boot.exposures = boot.exposures.saturating_add(count.exposures);
        }
        boots.into_values().collect()
    }

    /// Trouble the kernel has to answer for. What came in rounds alone that failed as the test counts is that failure, in more
    /// words.
    pub fn kernel_trouble(&self) -> impl Iterator<Item = &Trouble> {
        let beside = |trouble: &&Trouble| trouble.rounds.iter().any(|round| !self.failed.contains(round));
        self.trouble.iter().filter(|trouble| trouble.kind.is_kernels()).filter(beside)
    }

    /// The built kernel, where there is one.
    pub fn built(&self) -> Option<&Built> {
        match &self.build {
            BuildState::Built(built) => Some(built),
            BuildState::Unknown | BuildState::Failed(_) => None,
        }
    }
}
