//! A sweep of one kernel: every point and what came of it, and the windows in which it corrupts.

use serde::{Deserialize, Serialize};
use twinboot_protocol::orders::Damage;

use super::diagram::{ForcedState, damage};
use crate::analysis::cell::{BuildState, Met};
use crate::analysis::trouble::{self, Trouble};
use crate::journal::interleaving::{
    Exclusion, Forced, ForcedFailed, ForcedOutcome, ForcedSpec, SweepPoint, SweepTraced, SweepTried, ThreadState,
};

/// What is known of a point in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PointState {
    /// Preempted here, the operation corrupts; also where the others had to wait for the victim first.
    Corrupt(Damage),
    /// Nothing was wrong.
    Clean,
    /// The others could not come through while the victim was held: they waited in this function.
    Excluded(String),
    /// The guest's kernel died.
    Crashed(String),
    /// It was tried and says nothing.
    Lost(String),
    /// A hold is not legal here, and why.
    Illegal(String),
    /// The victim does not come here.
    Unreached,
    /// The victim came here when it was followed, and in no round that was to hold it here: where a reschedule happened to be
    /// due, say.
    Once,
    /// It has not been tried yet.
    Untried,
}

/// One point and its state.
#[derive(Debug, Clone, PartialEq)]
pub struct PointResult {
    /// Where it is.
    pub point: SweepPoint,
    /// What came of it.
    pub state: PointState,
    /// Where the threads were, where one waited.
    pub threads: Vec<ThreadState>,
}

/// Points by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SweepCounts {
    /// Legal points that corrupt.
    pub corrupt: u64,
    /// Legal points that do not.
    pub clean: u64,
    /// Legal points at which the others had to wait for the victim.
    pub excluded: u64,
    /// Legal points at which the guest's kernel died.
    pub crashed: u64,
    /// Legal points that were tried in vain.
    pub lost: u64,
    /// Legal points not tried yet.
    pub untried: u64,
    /// Points on the victim's way at which it must not be put to sleep.
    pub illegal: u64,
    /// Points that are not on the victim's way.
    pub unreached: u64,
    /// Points that the victim came to once, when it was followed, and never again.
    #[serde(default)]
    pub once: u64,
}

impl SweepCounts {
    /// Points on the victim's way at which a hold is legal.
    pub fn legal(&self) -> u64 {
        self.judged() + self.missing()
    }

    /// Legal points whose round says something.
    pub fn judged(&self) -> u64 {
        self.corrupt + self.clean + self.excluded + self.crashed
    }

    /// Legal points of which nothing is known.
    pub fn missing(&self) -> u64 {
        self.lost + self.untried
    }
}

/// Corrupting points that follow one another on the victim's way. Points at which it cannot be held do not end a window;
/// one that is clean or excluded does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Index of the first corrupting point in [`SweepResult::way`].
    pub first: usize,
    /// Index of the last.
    pub last: usize,
    /// Corrupting points from the first to the last.
    pub corrupt: u64,
    /// Points between them at which the victim must not be held.
    pub illegal: u64,
    /// Points between them of which nothing is known.
    pub missing: u64,
}

/// A sweep cell with its points.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepResult {
    /// What it was made from.
    pub spec: ForcedSpec,
    /// Its kernel.
    pub build: BuildState,
    /// The points on the victim's way, in its order.
    pub way: Vec<PointResult>,
    /// The others, by address.
    pub beside: Vec<PointResult>,
    /// All of them by state.
    pub counts: SweepCounts,
    /// Where it corrupts, in the victim's order.
    pub windows: Vec<Window>,
    /// Seconds it took to find the points and to try them, all workers added up.
    pub seconds: f64,
    /// What the guest's kernel complained about; the rounds are places on the victim's way, from 1.
    pub trouble: Vec<Trouble>,
    /// Why it could not be tried (to its end).
    pub failures: Vec<ForcedFailed>,
    /// The points are known and none is missing.
    pub complete: bool,
    /// A sweep expects nothing: whether it came to its end.
    pub met: Met,
}

impl SweepResult {
    /// Puts together what `traced` found and what came of its points; a point counts once, by its last trial.
    pub(super) fn new(
        spec: ForcedSpec,
        build: BuildState,
        traced: Option<SweepTraced>,
        mut tried: std::collections::BTreeMap<u64, SweepTried>,
        failures: Vec<ForcedFailed>,
    ) -> Self {
        let known = traced.is_some();
        let (points, mut seconds) = traced.map_or_else(Default::default, |it| (it.points, it.seconds));
        let (mut way, mut beside) = (Vec::new(), Vec::new());
        let mut problems = Vec::new();
        for point in points {
            let trial = tried.remove(&point.address);
            seconds += trial.as_ref().map_or(0.0, |trial| trial.seconds);
            let state = state(&point, trial.as_ref());
            let place = point.order;
            let threads = trial.map_or_else(Vec::new, |trial| {
                problems.extend(trial.problems.into_iter().map(|problem| (place, problem)));
                trial.threads
            });
            let side = if place.is_some() { &mut way } else { &mut beside };
            side.push(PointResult { point, state, threads });
        }
        way.sort_by_key(|it| (it.point.order, it.point.address));
        beside.sort_by_key(|it| it.point.address);
        problems.sort_by_key(|(place, _)| *place);
        let counts = counts(way.iter().chain(&beside));
        let complete = known && counts.missing() == 0 && failures.is_empty();
        let numbered = problems.iter().map(|(place, problem)| {
            (place.map_or(0, |place| u32::try_from(place).unwrap_or(u32::MAX).saturating_add(1)), problem)
        });
        Self {
            trouble: trouble::of_problems(numbered),
            windows: windows(&way),
            met: if complete {
                Met::Yes
            } else if known && counts.lost == 0 && failures.is_empty() {
                Met::Undecided
            } else {
                Met::Unmeasured
            },
            spec,
            build,
            way,
            beside,
            counts,
            seconds,
            failures,
            complete,
        }
    }

    /// The points that corrupt, in the victim's order.
    pub fn corrupting(&self) -> impl Iterator<Item = &PointResult> {
        self.way.iter().filter(|it| matches!(it.state, PointState::Corrupt(_)))
    }

    /// Call returns only.
    pub fn coarse(&self) -> bool {
        matches!(self.spec.what, Forced::Sweep { coarse: true, .. })
    }

    /// What it showed, in a word.
    pub fn state(&self) -> ForcedState {
        let counts = &self.counts;
        if counts.corrupt > 0 {
            ForcedState::Corrupt
        } else if counts.crashed > 0 {
            ForcedState::Crashed
        } else if counts.clean > 0 {
            ForcedState::Clean
        } else if counts.excluded > 0 {
            ForcedState::Excluded
        } else if self.way.is_empty() && self.failures.is_empty() && !matches!(self.build, BuildState::Failed(_)) {
            ForcedState::Nothing
        } else {
            ForcedState::Unknown
        }
    }

    /// Threads that took part: the victim and the interferers.
    pub fn threads(&self) -> usize {
        let Forced::Sweep { interferers, .. } = &self.spec.what else { return 1 };
        let mut names: Vec<&str> =
            interferers.iter().map(|step| step.split_once(':').map_or("interferer", |(name, _)| name.trim())).collect();
        names.sort_unstable();
        names.dedup();
        1 + names.len()
    }

    /// The author can mend what kept it from being tried.
    pub fn plan_is_wrong(&self) -> bool {
        self.failures.iter().any(|failed| failed.plan)
    }
}

fn state(point: &SweepPoint, trial: Option<&SweepTried>) -> PointState {
    if point.order.is_none() {
        return PointState::Unreached;
    }
    if let Some(why) = &point.illegal {
        return PointState::Illegal(why.clone());
    }
    let Some(trial) = trial else { return PointState::Untried };
    if let Some(damage) = damage(&trial.outcome) {
        return PointState::Corrupt(damage.clone());
    }
    match &trial.outcome {
        ForcedOutcome::Corrupt { .. } | ForcedOutcome::Clean => PointState::Clean,
        ForcedOutcome::Excluded { why: Exclusion::Blocked { function, .. }, .. } => {
            PointState::Excluded(function.clone())
        }
        // Only the victim has a point to get to, and it was tried as often as a lost one is.
        ForcedOutcome::Excluded { why: Exclusion::TookAnotherWay, .. } => PointState::Once,
        ForcedOutcome::Crashed { reason } => PointState::Crashed(reason.clone()),
        ForcedOutcome::Lost { reason } => PointState::Lost(reason.clone()),
    }
}

fn counts<'a>(points: impl Iterator<Item = &'a PointResult>) -> SweepCounts {
    let mut counts = SweepCounts::default();
    for it in points {
        *match it.state {
            PointState::Corrupt(_) => &mut counts.corrupt,
            PointState::Clean => &mut counts.clean,
            PointState::Excluded(_) => &mut counts.excluded,
            PointState::Crashed(_) => &mut counts.crashed,
            PointState::Lost(_) => &mut counts.lost,
            PointState::Illegal(_) => &mut counts.illegal,
            PointState::Unreached => &mut counts.unreached,
            PointState::Once => &mut counts.once,
            PointState::Untried => &mut counts.untried,
        } += 1;
    }
    counts
}

fn windows(way: &[PointResult]) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    // Between the open window's last corrupting point and here.
    let (mut open, mut illegal, mut missing) = (false, 0, 0);
    for (place, it) in way.iter().enumerate() {
        match (&it.state, windows.last_mut().filter(|_| open)) {
            (PointState::Corrupt(_), Some(window)) => {
                window.last = place;
                window.corrupt += 1;
                window.illegal += std::mem::take(&mut illegal);
                window.missing += std::mem::take(&mut missing);
            }
            (PointState::Corrupt(_), None) => {
                windows.push(Window { first: place, last: place, corrupt: 1, illegal: 0, missing: 0 });
                (open, illegal, missing) = (true, 0, 0);
            }
            (PointState::Illegal(_) | PointState::Unreached, _) => illegal += 1,
            (PointState::Lost(_) | PointState::Untried, _) => missing += 1,
            (PointState::Once, _) => {}
            (PointState::Clean | PointState::Excluded(_) | PointState::Crashed(_), _) => open = false,
        }
    }
    windows
}
