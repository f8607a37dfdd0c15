//! What is journalled of forced interleavings and of sweeps.

use kernel_debug::Frame;
use serde::{Deserialize, Serialize};
use twinboot_protocol::SwapEntry;
use twinboot_protocol::orders::Damage;

use super::kernel::PatchInfo;
use super::name;
use crate::crash::CrashReport;
use crate::diagram::Step;

/// A diagram, or a sweep, and the kernel it is tried on. Its id is unique among all cells of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForcedSpec {
    /// Unique, stable and fit for a file name.
    #[serde(deserialize_with = "name::cell_id")]
    pub id: String,
    /// Kernel name.
    #[serde(deserialize_with = "name::kernel")]
    pub kernel: String,
    /// Variant name.
    #[serde(deserialize_with = "name::variant")]
    pub variant: String,
    /// Variant it is held against; none for a base.
    #[serde(default, deserialize_with = "name::base")]
    pub base: Option<String>,
    /// Guest name.
    #[serde(deserialize_with = "name::guest")]
    pub guest: String,
    /// Name of the interleaving or the sweep.
    #[serde(deserialize_with = "name::interleaving")]
    pub name: String,
    /// Program in the guest.
    pub program: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Guest memory in bytes.
    pub memory: u64,
    /// Swap device in words: `zram 64K lzo-rle`.
    pub swap: Option<String>,
    /// Patches of the variant in order.
    #[serde(default)]
    pub patches: Vec<PatchInfo>,
    /// What is done.
    pub what: Forced,
}

/// What is forced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Forced {
    /// A drawn interleaving.
    Diagram {
        /// As drawn.
        drawing: Vec<String>,
        /// Thread names by column.
        #[serde(default)]
        threads: Vec<String>,
        /// Its steps, so that a report can mark the one that could not be taken.
        #[serde(default)]
        steps: Vec<Step>,
        /// Forced rounds planned, and as many again without any hold.
        rounds: u32,
        /// What the plan's author expects.
        expect: ForcedExpectation,
    },
    /// A sweep.
    Sweep {
        /// The thread's operation that is held at every point, in words: `read page`.
        victim: String,
        /// What the others do meanwhile: `interferer: write page`.
        interferers: Vec<String>,
        /// Functions whose points are swept, as the plan names them.
        functions: Vec<String>,
        /// Folders and files whose functions are swept as well when the victim comes through them.
        callees: Vec<String>,
        /// Call returns only.
        coarse: bool,
    },
}

/// What a diagram's author expects of a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForcedExpectation {
    /// The interleaving can be forced, and corrupts.
    Corrupt,
    /// The interleaving can be forced or not, and nothing is corrupted.
    Clean,
    /// A step of it cannot be taken: the kernel does not let it happen.
    Excluded,
    /// The kernel dies of it.
    Crash,
    /// Nothing: report what is seen.
    Any,
}

/// One round of a diagram.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForcedRound {
    /// [`ForcedSpec::id`].
    #[serde(deserialize_with = "name::cell_id")]
    pub cell: String,
    /// From 1, forced rounds and rounds without a hold each for themselves.
    pub round: u32,
    /// Run as the drawing says; false for a round whose holds were left out, to see whether they matter.
    pub held: bool,
    /// How it ended.
    pub outcome: ForcedOutcome,
    /// How far each step came, by [`Diagram::steps`](crate::diagram::Diagram::steps).
    pub steps: Vec<StepTaken>,
    /// Where the threads were when a step could not be taken, or when the last hold stood.
    pub threads: Vec<ThreadState>,
    /// Swap entry before the round.
    pub entry_before: Option<SwapEntry>,
    /// Swap entry after the last operation that swapped the object out.
    pub entry_after: Option<SwapEntry>,
    /// Wall time in seconds.
    pub seconds: f64,
    /// What the guest's kernel complained about during the round.
    pub problems: Vec<CrashReport>,
}

/// How a forced round ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ForcedOutcome {
    /// Every step was taken, and the oracle objects.
    Corrupt {
        /// To what.
        damage: Damage,
    },
    /// Every step was taken, and the oracle is content.
    Clean,
    /// A step could not be taken, and the reason was seen.
    Excluded {
        /// Index of the step.
        step: usize,
        /// Why.
        why: Exclusion,
        /// What the oracle said after everything had been let go; content where absent.
        damage: Option<Damage>,
    },
    /// The guest's kernel died, hung or lost a task.
    Crashed {
        /// How it was noticed.
        reason: String,
    },
    /// The round ended in another way and says nothing: the host, the guest or a deadline.
    Lost {
        /// What happened.
        reason: String,
    },
}

/// Why a step could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Exclusion {
    /// The thread waited in the kernel for as long as the others were held, and went on as soon as they were let go.
    Blocked {
        /// Innermost function of its stack that is not the scheduler's or a wait primitive's: `do_swap_page`.
        function: String,
        /// How long it was watched, in milliseconds.
        for_ms: u64,
    },
    /// The operation came back without ever getting to the point.
    TookAnotherWay,
}

/// How far a step came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepTaken {
    /// Index of the step.
    pub step: usize,
    /// Whether it was done.
    pub taken: bool,
    /// Milliseconds it took.
    pub ms: f64,
    /// What the thread saw, where the guest test said so.
    pub saw: Option<String>,
}

/// Where a thread is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadState {
    /// Name in the diagram.
    pub thread: String,
    /// `held`, `sleeping`, `running`, `idle`, `frozen`.
    pub state: String,
    /// Its kernel stack, innermost frame first; empty for a thread in user space.
    pub stack: Vec<Frame>,
}

/// The points a sweep is about to try, found by following the victim's undisturbed operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepTraced {
    /// [`ForcedSpec::id`].
    #[serde(deserialize_with = "name::cell_id")]
    pub cell: String,
    /// Every instruction boundary of the swept functions, by address.
    pub points: Vec<SweepPoint>,
    /// Instructions that were followed.
    pub steps: u64,
    /// Seconds it took.
    pub seconds: f64,
}

/// One instruction boundary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepPoint {
    /// Address of the instruction that has not been executed when the thread is held there.
    pub address: u64,
    /// Function it belongs to, the outermost one.
    pub function: String,
    /// Offset in it.
    pub offset: u64,
    /// The instruction: `call swap_readpage`.
    pub instruction: String,
    /// Inlined function it comes from, if any, and its source line.
    pub inlined: Option<String>,
    /// Source file relative to the tree.
    pub file: Option<String>,
    /// Line in it.
    pub line: Option<u32>,
    /// That line's text, where the source is at hand.
    pub source: Option<String>,
    /// Position on the victim's way, from 0; none when it does not come here.
    pub order: Option<u64>,
    /// Why a hold is not legal there; none where it is, or where the victim does not come.
    pub illegal: Option<String>,
}

/// What came of one point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepTried {
    /// [`ForcedSpec::id`].
    #[serde(deserialize_with = "name::cell_id")]
    pub cell: String,
    /// [`SweepPoint::address`].
    pub address: u64,
    /// How its round ended; a point that was lost has been tried three times.
    pub outcome: ForcedOutcome,
    /// Stack of the thread that waited, where one did.
    pub threads: Vec<ThreadState>,
    /// What the guest's kernel complained about.
    pub problems: Vec<CrashReport>,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// A forced cell could not be tried at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForcedFailed {
    /// [`ForcedSpec::id`].
    #[serde(deserialize_with = "name::cell_id")]
    pub cell: String,
    /// What failed: a point that does not exist, a kernel without debug information, a guest that never came up.
    pub reason: String,
    /// The plan's author can mend it, not the host.
    pub plan: bool,
    /// Index of the first step whose point the kernel's code does not have, where nothing else is
    /// wrong. If another variant of the kernel has the point, the plan is right, and this kernel
    /// does not go the drawn way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<usize>,
}
