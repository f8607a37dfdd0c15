//! Forced interleavings and sweeps in `summary.json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TroubleSummary;
use crate::analysis::forced::{
    ExclusionSeen, ForcedCounts, ForcedState, ForcedVerdict, PointResult, PointState, SweepCounts, Window,
};
use crate::analysis::{BuildState, ForcedComparison, ForcedResult, Met, Results, SweepResult, Trouble};
use crate::journal::interleaving::{ForcedExpectation, ForcedSpec, SweepPoint, ThreadState};
use crate::report::{forced, story};

/// A drawn interleaving on one kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ForcedSummary {
    /// Cell id.
    pub id: String,
    /// Kernel name.
    pub kernel: String,
    /// `make kernelrelease`; null where the kernel was not built.
    pub version: Option<String>,
    /// Variant name.
    pub variant: String,
    /// Guest name.
    pub guest: String,
    /// Name of the interleaving.
    pub name: String,
    /// As drawn.
    pub drawing: Vec<String>,
    /// What the plan's author expects.
    pub expect: ForcedExpectation,
    /// Whether it came true.
    pub met: Met,
    /// What was seen, in a word.
    pub outcome: ForcedState,
    /// Rounds planned, and as many without a hold.
    pub rounds_planned: u32,
    /// Rounds run as drawn.
    pub held: ForcedCounts,
    /// Rounds without any hold.
    pub without_hold: ForcedCounts,
    /// Every way in which a step could not be taken.
    pub exclusions: Vec<ExclusionSummary>,
    /// The first corrupt round.
    pub proof: Option<ForcedProofSummary>,
    /// Why it could not be tried.
    pub failures: Vec<String>,
    /// A failure that the plan's author can mend.
    pub plan_error: bool,
    /// What the guest's kernel complained about.
    pub trouble: Vec<TroubleSummary>,
}

/// A step that could not be taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExclusionSummary {
    /// Index of the step, from 0.
    pub step: usize,
    /// Its thread.
    pub thread: Option<String>,
    /// Its words.
    pub text: Option<String>,
    /// Function the thread waited in; null where the operation took another way or the kernel has no such point.
    pub blocked_in: Option<String>,
    /// Why the kernel has no such point, where another variant has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_in_kernel: Option<String>,
    /// Shortest time it was watched waiting, in milliseconds.
    pub watched_ms: Option<u64>,
    /// Rounds that showed it.
    pub rounds: Vec<u32>,
    /// Where the threads were in the first of them.
    pub threads: Vec<ThreadSummary>,
}

/// A thread and its kernel stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadSummary {
    /// Name in the diagram.
    pub thread: String,
    /// `held`, `sleeping`, `running`, `idle`, `frozen`.
    pub state: String,
    /// `function+0xoffset file:line`, innermost frame first.
    pub stack: Vec<String>,
}

/// A corrupt round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ForcedProofSummary {
    /// Round.
    pub round: u32,
    /// What kind of wrong.
    pub kind: String,
    /// What had to be there.
    pub expected: String,
    /// What was there.
    pub found: String,
    /// Swap type and offset before the round.
    pub entry_before: Option<(u8, u64)>,
    /// Swap type and offset after the last operation that swapped the object out.
    pub entry_after: Option<(u8, u64)>,
}

/// A sweep on one kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SweepSummary {
    /// Cell id.
    pub id: String,
    /// Kernel name.
    pub kernel: String,
    /// `make kernelrelease`; null where the kernel was not built.
    pub version: Option<String>,
    /// Variant name.
    pub variant: String,
    /// Guest name.
    pub guest: String,
    /// Name of the sweep.
    pub name: String,
    /// What is held where, and what the others do meanwhile, in a sentence.
    pub what: String,
    /// Whether it came to its end; a sweep expects nothing.
    pub met: Met,
    /// What was seen, in a word.
    pub outcome: ForcedState,
    /// Points on the victim's way at which it may be held.
    pub legal: u64,
    /// Points by state.
    pub counts: SweepCounts,
    /// No legal point is lost or untried.
    pub complete: bool,
    /// Where it corrupts.
    pub windows: Vec<WindowSummary>,
    /// The points on the victim's way, in its order.
    pub points: Vec<PointSummary>,
    /// Exactly what a sweep without a corrupting point shows; null for any other.
    pub bound: Option<String>,
    /// Seconds, all workers added up.
    pub seconds: f64,
    /// Why it could not be tried (to its end).
    pub failures: Vec<String>,
    /// A failure that the plan's author can mend.
    pub plan_error: bool,
    /// What the guest's kernel complained about.
    pub trouble: Vec<TroubleSummary>,
}

/// Corrupting points that follow one another on the victim's way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WindowSummary {
    /// `file:line` of the first corrupting point.
    pub first: String,
    /// `file:line` of the last.
    pub last: String,
    /// Index of the first in `points`.
    pub first_point: usize,
    /// Index of the last in `points`.
    pub last_point: usize,
    /// Corrupting points.
    pub corrupt: u64,
    /// Points between them at which the victim must not be held.
    pub illegal: u64,
    /// Points between them of which nothing is known.
    pub missing: u64,
}

/// A point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PointSummary {
    /// Address, hexadecimal.
    pub address: String,
    /// Function.
    pub function: String,
    /// Offset in it.
    pub offset: u64,
    /// Inlined function it comes from.
    pub inlined: Option<String>,
    /// Source file.
    pub file: Option<String>,
    /// Line in it.
    pub line: Option<u32>,
    /// `corrupt`, `clean`, `excluded`, `crashed`, `lost`, `illegal` or `untried`.
    pub state: String,
    /// Why, where there is more to say: what was waited for, why a hold is not legal, how it was lost.
    pub why: Option<String>,
}

/// A forced cell held against that of its base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ForcedComparisonSummary {
    /// Kernel name.
    pub kernel: String,
    /// Guest name.
    pub guest: String,
    /// Name of the interleaving or the sweep.
    pub name: String,
    /// It is a sweep.
    pub sweep: bool,
    /// Variant name of the base.
    pub base: String,
    /// Variant name under judgement.
    pub patched: String,
    /// Cell id of the base.
    pub base_cell: String,
    /// Cell id of the patched variant.
    pub patched_cell: String,
    /// What can be said.
    pub verdict: ForcedVerdict,
    /// The same in a sentence.
    pub explanation: String,
    /// The comparison in a sentence.
    pub sentence: String,
    /// `file:line` of each point of a sweep at which the patched kernel still corrupts.
    pub left: Vec<String>,
}

impl ForcedSummary {
    pub(super) fn of(it: &ForcedResult) -> Self {
        let spec = &it.spec;
        Self {
            id: spec.id.clone(),
            kernel: spec.kernel.clone(),
            version: version(&it.build),
            variant: spec.variant.clone(),
            guest: spec.guest.clone(),
            name: spec.name.clone(),
            drawing: it.drawing().to_vec(),
            expect: it.expect(),
            met: it.met,
            outcome: it.state,
            rounds_planned: it.planned(),
            held: it.held,
            without_hold: it.control,
            exclusions: it.exclusions.iter().map(exclusion).collect(),
            proof: it.proof().map(|(round, damage)| ForcedProofSummary {
                round: round.round,
                kind: story::kind_words(damage.kind).to_owned(),
                expected: damage.expected.clone(),
                found: damage.found.clone(),
                entry_before: round.entry_before.map(|entry| (entry.kind, entry.offset)),
                entry_after: round.entry_after.map(|entry| (entry.kind, entry.offset)),
            }),
            failures: it.failures.iter().map(|failed| failed.reason.clone()).collect(),
            plan_error: it.plan_is_wrong(),
            trouble: trouble(&it.trouble),
        }
    }
}

impl SweepSummary {
    pub(super) fn of(it: &SweepResult) -> Self {
        let ForcedSpec { id, kernel, variant, guest, name, .. } = &it.spec;
        Self {
            id: id.clone(),
            kernel: kernel.clone(),
            version: version(&it.build),
            variant: variant.clone(),
            guest: guest.clone(),
            name: name.clone(),
            what: forced::what(it),
            met: it.met,
            outcome: it.state(),
            legal: it.counts.legal(),
            counts: it.counts,
            complete: it.complete,
            windows: it.windows.iter().filter_map(|window| self::window(it, window)).collect(),
            points: it.way.iter().map(point).collect(),
            bound: (it.counts.judged() > 0 && it.counts.corrupt == 0).then(|| forced::bound(it)),
            seconds: it.seconds,
            failures: it.failures.iter().map(|failed| failed.reason.clone()).collect(),
            plan_error: it.plan_is_wrong(),
            trouble: trouble(&it.trouble),
        }
    }
}

pub(super) fn comparisons(results: &Results, pairs: &[ForcedComparison]) -> Vec<ForcedComparisonSummary> {
    let told = pairs.iter().map(|it| ForcedComparisonSummary {
        kernel: it.kernel.clone(),
        guest: it.guest.clone(),
        name: it.name.clone(),
        sweep: it.sweep,
        base: it.base_variant.clone(),
        patched: it.patched_variant.clone(),
        base_cell: it.base.clone(),
        patched_cell: it.patched.clone(),
        verdict: it.verdict,
        explanation: forced::reason(results, it),
        sentence: forced::sentence(results, it, "->"),
        left: it.left.iter().map(forced::place).collect(),
    });
    told.collect()
}

fn version(state: &BuildState) -> Option<String> {
    match state {
        BuildState::Built(built) => Some(built.release.clone()),
        BuildState::Failed(_) | BuildState::Unknown => None,
    }
}

fn exclusion(it: &ExclusionSeen) -> ExclusionSummary {
    ExclusionSummary {
        step: it.step,
        thread: it.thread.clone(),
        text: it.text.clone(),
        blocked_in: it.function.clone(),
        not_in_kernel: it.absent.clone(),
        watched_ms: it.for_ms,
        rounds: it.rounds.clone(),
        threads: it.threads.iter().map(thread).collect(),
    }
}

fn thread(it: &ThreadState) -> ThreadSummary {
    ThreadSummary { thread: it.thread.clone(), state: it.state.clone(), stack: forced::stack(&it.stack) }
}

fn trouble(all: &[Trouble]) -> Vec<TroubleSummary> {
    let told = all.iter().map(|trouble| TroubleSummary {
        kind: trouble.kind.label().to_owned(),
        kernel: trouble.kind.is_kernels(),
        headline: trouble.headline.clone(),
        rounds: trouble.rounds.clone(),
        excerpt: trouble.excerpt.clone(),
    });
    told.collect()
}

fn window(sweep: &SweepResult, window: &Window) -> Option<WindowSummary> {
    let place = |at: usize| sweep.way.get(at).map(|it| forced::place(&it.point));
    Some(WindowSummary {
        first: place(window.first)?,
        last: place(window.last)?,
        first_point: window.first,
        last_point: window.last,
        corrupt: window.corrupt,
        illegal: window.illegal,
        missing: window.missing,
    })
}

fn point(it: &PointResult) -> PointSummary {
    let SweepPoint { address, function, offset, inlined, file, line, .. } = &it.point;
    let (state, why) = match &it.state {
        PointState::Corrupt(damage) => ("corrupt", Some(story::kind_words(damage.kind).to_owned())),
        PointState::Clean => ("clean", None),
        PointState::Excluded(function) => ("excluded", Some(function.clone())),
        PointState::Crashed(reason) => ("crashed", Some(reason.clone())),
        PointState::Lost(reason) => ("lost", Some(reason.clone())),
        PointState::Illegal(why) => ("illegal", Some(why.clone())),
        PointState::Unreached => ("unreached", None),
        PointState::Once => ("once", None),
        PointState::Untried => ("untried", None),
    };
    PointSummary {
        address: format!("{address:#x}"),
        function: function.clone(),
        offset: *offset,
        inlined: inlined.clone(),
        file: file.clone(),
        line: *line,
        state: state.to_owned(),
        why,
    }
}
