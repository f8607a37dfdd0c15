//! A drawn interleaving on one kernel, and everything its rounds showed.

use serde::{Deserialize, Serialize};
use twinboot_protocol::orders::Damage;

use crate::analysis::cell::{BuildState, Met};
use crate::analysis::trouble::{self, Trouble};
use crate::journal::interleaving::{
    Exclusion, Forced, ForcedExpectation, ForcedFailed, ForcedOutcome, ForcedRound, ForcedSpec, ThreadState,
};

/// Rounds by how they ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ForcedCounts {
    /// Every step was taken and the oracle objects.
    pub corrupt: u64,
    /// Every step was taken and the oracle is content.
    pub clean: u64,
    /// A step could not be taken.
    pub excluded: u64,
    /// Those of `excluded` after which the oracle objected all the same: another way into the corruption.
    pub excluded_corrupt: u64,
    /// The guest's kernel died.
    pub crashed: u64,
    /// Rounds that say nothing.
    pub lost: u64,
}

impl ForcedCounts {
    fn of(rounds: &[ForcedRound]) -> Self {
        let mut counts = Self::default();
        for round in rounds {
            match &round.outcome {
                ForcedOutcome::Corrupt { .. } => counts.corrupt += 1,
                ForcedOutcome::Clean => counts.clean += 1,
                ForcedOutcome::Excluded { damage, .. } => {
                    counts.excluded += 1;
                    counts.excluded_corrupt += u64::from(damage.is_some());
                }
                ForcedOutcome::Crashed { .. } => counts.crashed += 1,
                ForcedOutcome::Lost { .. } => counts.lost += 1,
            }
        }
        counts
    }

    /// Rounds that say something.
    pub fn judged(&self) -> u64 {
        self.corrupt + self.clean + self.excluded + self.crashed
    }

    /// Rounds after which the oracle objected, however far the drawing was followed.
    pub fn damaged(&self) -> u64 {
        self.corrupt + self.excluded_corrupt
    }
}

/// One way in which a step could not be taken.
#[derive(Debug, Clone, PartialEq)]
pub struct ExclusionSeen {
    /// Index of the step.
    pub step: usize,
    /// Its thread, where the journal has the steps.
    pub thread: Option<String>,
    /// Its words, where the journal has the steps.
    pub text: Option<String>,
    /// Row of the drawing it stands in.
    pub row: Option<usize>,
    /// Function the thread waited in; none where the operation took another way or the kernel has
    /// no such point.
    pub function: Option<String>,
    /// Why the kernel has no such point, where another variant has it.
    pub absent: Option<String>,
    /// Shortest time it was watched waiting, in milliseconds.
    pub for_ms: Option<u64>,
    /// Held rounds that showed it, ascending.
    pub rounds: Vec<u32>,
    /// Where the threads were in the first of them.
    pub threads: Vec<ThreadState>,
}

impl ExclusionSeen {
    /// The thread that could not take the step, where its stack was kept.
    pub fn waiting(&self) -> Option<&ThreadState> {
        self.threads.iter().find(|state| self.thread.as_ref() == Some(&state.thread))
    }
}

/// What a drawn interleaving showed, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForcedState {
    /// Every step could be taken, and a round corrupted.
    Corrupt,
    /// The guest's kernel died.
    Crashed,
    /// A step could not be taken, and nothing worse was seen.
    Excluded,
    /// Every step could be taken, and nothing was corrupted.
    Clean,
    /// It was tried, or could not be, and nothing is known.
    Unknown,
    /// It was not tried.
    Nothing,
}

/// A diagram cell with its rounds and their sums.
#[derive(Debug, Clone, PartialEq)]
pub struct ForcedResult {
    /// What it was made from.
    pub spec: ForcedSpec,
    /// Its kernel.
    pub build: BuildState,
    /// Rounds run as drawn, by number; one run again counts once, by its last end.
    pub rounds: Vec<ForcedRound>,
    /// Rounds without any hold.
    pub controls: Vec<ForcedRound>,
    /// Sums over `rounds`.
    pub held: ForcedCounts,
    /// Sums over `controls`.
    pub control: ForcedCounts,
    /// Every way in which a step could not be taken, most rounds first.
    pub exclusions: Vec<ExclusionSeen>,
    /// What the guest's kernel complained about.
    pub trouble: Vec<Trouble>,
    /// Why it could not be tried (to its end).
    pub failures: Vec<ForcedFailed>,
    /// In a word.
    pub state: ForcedState,
    /// Whether the expectation came true.
    pub met: Met,
}

impl ForcedResult {
    /// Sums up rounds that are sorted by number.
    pub(super) fn new(
        spec: ForcedSpec,
        build: BuildState,
        rounds: Vec<ForcedRound>,
        controls: Vec<ForcedRound>,
        failures: Vec<ForcedFailed>,
    ) -> Self {
        let (held, control) = (ForcedCounts::of(&rounds), ForcedCounts::of(&controls));
        let untried = rounds.is_empty() && failures.is_empty() && !matches!(build, BuildState::Failed(_));
        let problems =
            rounds.iter().chain(&controls).flat_map(|it| it.problems.iter().map(|problem| (it.round, problem)));
        let mut result = Self {
            exclusions: exclusions(&spec, &rounds),
            trouble: trouble::of_problems(problems),
            state: state(&held, untried),
            met: Met::Undecided,
            spec,
            build,
            rounds,
            controls,
            held,
            control,
            failures,
        };
        result.met = result.judge();
        result
    }

    /// Takes "no such point" as an exclusion, since another variant of the same kernel has the
    /// point: the drawing is right, and this variant does not go the drawn way.
    pub(super) fn accept_absence(&mut self) {
        let absent = self.failures.iter().find_map(|failed| Some((failed.absent?, failed.reason.clone())));
        let (true, Some((step, reason))) = (self.rounds.is_empty(), absent) else { return };
        self.failures.retain(|failed| failed.absent.is_none());
        self.exclusions.push(ExclusionSeen { absent: Some(reason), ..exclusion(&self.spec, step) });
        self.state = ForcedState::Excluded;
        self.met = self.judge();
    }

    /// Its kernel has no such point, and another variant has.
    pub fn is_absent(&self) -> bool {
        self.exclusions.iter().any(|it| it.absent.is_some())
    }

    /// What the plan's author expects.
    pub fn expect(&self) -> ForcedExpectation {
        match &self.spec.what {
            Forced::Diagram { expect, .. } => *expect,
            Forced::Sweep { .. } => ForcedExpectation::Any,
        }
    }

    /// The drawing, as drawn.
    pub fn drawing(&self) -> &[String] {
        match &self.spec.what {
            Forced::Diagram { drawing, .. } => drawing,
            Forced::Sweep { .. } => &[],
        }
    }

    /// Held rounds planned.
    pub fn planned(&self) -> u32 {
        match &self.spec.what {
            Forced::Diagram { rounds, .. } => *rounds,
            Forced::Sweep { .. } => 0,
        }
    }

    /// The first held round that corrupted, and what it did; one that followed the whole drawing before one that did not.
    pub fn proof(&self) -> Option<(&ForcedRound, &Damage)> {
        let whole = |round: &ForcedRound| matches!(round.outcome, ForcedOutcome::Corrupt { .. });
        let damaged = |round: &&ForcedRound| damage(&round.outcome).is_some();
        let round = self.rounds.iter().find(|round| whole(round)).or_else(|| self.rounds.iter().find(damaged))?;
        Some((round, damage(&round.outcome)?))
    }

    /// The author can mend what kept it from being tried.
    pub fn plan_is_wrong(&self) -> bool {
        self.failures.iter().any(|failed| failed.plan)
    }

    /// A round of either kind ended in a corruption.
    pub fn corrupts(&self) -> bool {
        self.held.damaged() + self.control.damaged() > 0
    }

    /// A round of either kind killed the guest's kernel.
    pub fn crashes(&self) -> bool {
        self.held.crashed + self.control.crashed > 0
    }

    fn judge(&self) -> Met {
        let held = &self.held;
        let harm = held.damaged() + held.crashed > 0;
        let told = match self.expect() {
            _ if held.judged() == 0 && !self.is_absent() => return Met::Unmeasured,
            ForcedExpectation::Any => true,
            ForcedExpectation::Corrupt => held.corrupt > 0,
            ForcedExpectation::Crash => held.crashed > 0,
            ForcedExpectation::Clean => !harm,
            ForcedExpectation::Excluded => !harm && (held.excluded > 0 || self.is_absent()),
        };
        // A lost round takes nothing back that was seen, but it may have hidden what was not.
        if told {
            if held.lost > 0 || !self.failures.is_empty() { Met::Unmeasured } else { Met::Yes }
        } else if harm || (held.lost == 0 && self.failures.is_empty()) {
            Met::No
        } else {
            Met::Unmeasured
        }
    }
}

/// What the oracle objected to at a round's end.
pub(super) fn damage(outcome: &ForcedOutcome) -> Option<&Damage> {
    match outcome {
        ForcedOutcome::Corrupt { damage } => Some(damage),
        ForcedOutcome::Excluded { damage, .. } => damage.as_ref(),
        ForcedOutcome::Clean | ForcedOutcome::Crashed { .. } | ForcedOutcome::Lost { .. } => None,
    }
}

fn state(held: &ForcedCounts, untried: bool) -> ForcedState {
    if untried {
        ForcedState::Nothing
    } else if held.damaged() > 0 {
        ForcedState::Corrupt
    } else if held.crashed > 0 {
        ForcedState::Crashed
    } else if held.excluded > 0 {
        ForcedState::Excluded
    } else if held.clean > 0 {
        ForcedState::Clean
    } else {
        ForcedState::Unknown
    }
}

fn exclusions(spec: &ForcedSpec, rounds: &[ForcedRound]) -> Vec<ExclusionSeen> {
    let mut all: Vec<ExclusionSeen> = Vec::new();
    for round in rounds {
        let ForcedOutcome::Excluded { step, why, .. } = &round.outcome else { continue };
        let (function, for_ms) = match why {
            Exclusion::Blocked { function, for_ms } => (Some(function), Some(*for_ms)),
            Exclusion::TookAnotherWay => (None, None),
        };
        if let Some(known) = all.iter_mut().find(|it| it.step == *step && it.function.as_ref() == function) {
            known.rounds.push(round.round);
            known.for_ms = known.for_ms.min(for_ms);
            continue;
        }
        all.push(ExclusionSeen {
            function: function.cloned(),
            for_ms,
            rounds: vec![round.round],
            threads: round.threads.clone(),
            ..exclusion(spec, *step)
        });
    }
    // A stable sort: those seen equally often stay in the order in which they were seen.
    all.sort_by_key(|it| std::cmp::Reverse(it.rounds.len()));
    all
}

/// A step that was not taken, with nothing said of why.
fn exclusion(spec: &ForcedSpec, step: usize) -> ExclusionSeen {
    let (thread, drawn) = match &spec.what {
        Forced::Diagram { threads, steps, .. } => {
            let drawn = steps.get(step);
            (drawn.and_then(|drawn| threads.get(drawn.thread)).cloned(), drawn)
        }
        Forced::Sweep { .. } => (None, None),
    };
    ExclusionSeen {
        step,
        thread,
        text: drawn.map(|drawn| drawn.text.trim().to_owned()),
        row: drawn.map(|drawn| drawn.row),
        function: None,
        absent: None,
        for_ms: None,
        rounds: Vec::new(),
        threads: Vec::new(),
    }
}
