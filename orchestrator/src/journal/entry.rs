//! The lines of `journal.jsonl`: everything a report needs, in the order it happened.

use serde::{Deserialize, Serialize};

use twinboot_protocol::{Corruption, Preflight, Progress, Summary};

use crate::crash::CrashReport;

use super::failure::Counted;
use super::interleaving::{ForcedFailed, ForcedRound, ForcedSpec, SweepTraced, SweepTried};
use super::known::Known;
use super::load::Load;
use super::name;
use super::oracle::Oracle;
use super::rules::{Expectation, Rule, Warmth, Why};

pub use super::kernel::{BuildFailed, Built, PatchInfo};

/// Version of the journal and of `summary.json`.
pub const SCHEMA: u32 = 1;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Entry {
    /// First line of every journal.
    RunStarted(Box<RunStarted>),
    /// A kernel variant was built, or found in the cache.
    Built(Box<Built>),
    /// A kernel variant could not be built; its cells cannot run.
    BuildFailed(BuildFailed),
    /// Something a reader of the report must know, such as a fall-back from KVM to TCG.
    Notice {
        /// One sentence.
        text: String,
    },
    /// A guest was saved for the rounds of a kernel variant on one guest shape, or was found saved.
    Snapshot(Box<Snapshot>),
    /// A fresh guest is about to be started.
    RoundStarted(RoundId),
    /// A round is over, well or not.
    RoundFinished(Box<RoundFinished>),
    /// A cell gets no more rounds although its plan has some left.
    Stopped(Stopped),
    /// One round of a drawn interleaving is over.
    ForcedRound(Box<ForcedRound>),
    /// A sweep knows its points.
    SweepTraced(Box<SweepTraced>),
    /// A sweep has tried one point.
    SweepTried(Box<SweepTried>),
    /// A drawn interleaving or a sweep could not be tried on its kernel.
    ForcedFailed(ForcedFailed),
    /// Last line of a run that came to its end.
    RunFinished(RunFinished),
}

/// Which round of which cell.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RoundId {
    /// Cell id.
    #[serde(deserialize_with = "name::cell_id")]
    pub cell: String,
    /// From 1.
    pub round: u32,
}

/// What was run, where and with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// twinboot's version.
    pub twinboot: String,
    /// UTC, RFC 3339, seconds.
    pub started: String,
    /// Plan name.
    #[serde(deserialize_with = "name::plan")]
    pub plan: String,
    /// SHA-256 of the plan file.
    pub plan_sha256: String,
    /// Command that runs the same again, seed included.
    pub rerun: String,
    /// Seed of every random choice of the run.
    pub seed: u64,
    /// Significance a verdict must reach.
    pub alpha: f64,
    /// Machine.
    pub host: Host,
    /// Accelerator all rounds of this run use; never mixed.
    pub accelerator: Accelerator,
    /// Guests beside each other, as the run was begun; absent in journals of before it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// Cells in plan order.
    pub cells: Vec<CellSpec>,
    /// Pairs of cells, in plan order.
    pub comparisons: Vec<ComparisonSpec>,
    /// Drawn interleavings and sweeps, in plan order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forced: Vec<ForcedSpec>,
    /// Where this run was one share of a plan: the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<Box<FullPlan>>,
}

impl RunStarted {
    /// The load in words, where the journal has it: `2 at a time, 1.5 vCPUs for each host CPU`.
    pub fn load_words(&self) -> Option<String> {
        Some(self.load?.words(self.host.cpus))
    }
}

/// A plan of which a run was one share, so that the shares can be put together again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FullPlan {
    /// Which share: `slice:1/4`.
    pub share: String,
    /// All cells, in plan order.
    pub cells: Vec<CellSpec>,
    /// All pairs of cells, in plan order.
    pub comparisons: Vec<ComparisonSpec>,
    /// All drawn interleavings, in plan order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forced: Vec<ForcedSpec>,
}

/// The machine a run was made on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Host kernel, `uname -sr`.
    pub kernel: String,
    /// CPU model name.
    pub cpu: String,
    /// Online CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
}

/// What executes the guests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accelerator {
    /// `kvm` or `tcg`.
    pub name: String,
    /// `7.2.22 (Debian …)`, as QEMU reports it.
    pub qemu: String,
}

/// A cell and what it was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellSpec {
    /// Cell id.
    #[serde(deserialize_with = "name::cell_id")]
    pub id: String,
    /// Kernel name.
    #[serde(deserialize_with = "name::kernel")]
    pub kernel: String,
    /// Variant name.
    #[serde(deserialize_with = "name::variant")]
    pub variant: String,
    /// Guest name.
    #[serde(deserialize_with = "name::guest")]
    pub guest: String,
    /// Test name.
    #[serde(deserialize_with = "name::test")]
    pub test: String,
    /// Program.
    pub program: String,
    /// `strategy` argument, where the test has one.
    pub strategy: Option<String>,
    /// How a reproducer's failures are told; missing for a guest test, which says so itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oracle: Option<Oracle>,
    /// What the plan's author expects.
    pub expect: Expectation,
    /// What fails a round; empty where only corruptions count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<Counted>,
    /// Trouble that the plan lets pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<Known>,
    /// Rounds planned.
    pub rounds: u32,
    /// Seconds that a round is expected to take at most, its boot included; 0 where the journal does not tell.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub round_s: u64,
    /// What its verdict must reach and when it may stop; absent in journals of runs that always used up their rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Guest memory in bytes.
    pub memory: u64,
    /// Swap device in words: `zram 64K lzo-rle`.
    pub swap: Option<String>,
    /// Where the plan wants each round's guest to come from.
    #[serde(default)]
    pub clone: Warmth,
    /// Saved boots that warm rounds take by turns; 0 in older journals, whose rounds all came from one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub boots: u32,
    /// Patches of the variant in order, as (file name, subject or first line, reversed).
    pub patches: Vec<PatchInfo>,
}

impl CellSpec {
    /// Whether its program tells no exposures, so that each round stands for one.
    pub fn tells_no_exposures(&self) -> bool {
        self.oracle.as_ref().is_some_and(|oracle| !oracle.tells_exposures())
    }
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// Two cells held against each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparisonSpec {
    /// Cell id of the positive control.
    #[serde(deserialize_with = "name::cell_id")]
    pub base: String,
    /// Cell id under judgement.
    #[serde(deserialize_with = "name::cell_id")]
    pub patched: String,
    /// Both run the same kernel on purpose, and must not differ (an A/A control).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub control: bool,
}

/// A guest that rounds go on from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Kernel name.
    #[serde(deserialize_with = "name::kernel")]
    pub kernel: String,
    /// Variant name.
    #[serde(deserialize_with = "name::variant")]
    pub variant: String,
    /// Name of the guest shape.
    #[serde(deserialize_with = "name::guest")]
    pub guest: String,
    /// Taken in an earlier run.
    pub cached: bool,
    /// Seconds it took to boot, save and end the guest, whenever that was.
    pub seconds: f64,
    /// Size of the saved state in bytes.
    pub bytes: u64,
    /// What the boot consisted of, as [`RoundFinished::boot`], up to `paused`.
    pub boot: Vec<(String, f64)>,
    /// Which of the cell's saved boots, from 1; missing in older journals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
}

/// How a round ended. A failure is an outcome like any other, and only `Finished` counts towards a rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RoundOutcome {
    /// The test came to its end and said so.
    Finished,
    /// The guest kernel panicked, reset or died in the middle.
    GuestDied {
        /// How it was noticed.
        reason: String,
    },
    /// A stage overran its deadline.
    TimedOut {
        /// Which.
        stage: Stage,
        /// Its deadline in seconds.
        after_s: f64,
    },
    /// The guest's kernel did not come back from an operation, by the test's own watch.
    Stuck {
        /// The test's message.
        reason: String,
    },
    /// The test program gave up or crashed.
    TestFailed {
        /// Its message, or how it ended.
        reason: String,
    },
    /// twinboot or the host failed: QEMU would not start, SSH broke.
    Infrastructure {
        /// Which stage.
        stage: Stage,
        /// What failed.
        reason: String,
    },
    /// twinboot was interrupted.
    Interrupted,
}

/// The stages of a round, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Starting QEMU and its monitor.
    Start,
    /// QEMU's start to the init's `ready` line.
    Boot,
    /// Connecting and authenticating.
    Ssh,
    /// The test.
    Test,
    /// Power-off.
    Shutdown,
}

/// A round, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundFinished {
    /// Which.
    #[serde(flatten)]
    pub id: RoundId,
    /// Seed handed to the test.
    pub seed: u64,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: RoundOutcome,
    /// The test's first record.
    pub preflight: Option<Preflight>,
    /// The test's last record; absent when it never came.
    pub summary: Option<Summary>,
    /// Progress records, at most 240, evenly thinned.
    pub progress: Vec<Progress>,
    /// Corruption records received (all of them are in `records.jsonl`).
    pub corruptions_received: u64,
    /// The first corruptions, at most [`SAMPLES`].
    pub samples: Vec<Corruption>,
    /// Warnings, BUGs, lockdep splats, hung tasks, OOM kills and panics on the console.
    pub problems: Vec<CrashReport>,
    /// Seconds each stage took, as far as the round came.
    pub stages: Vec<StageTime>,
    /// What the boot consisted of: (what was reached, seconds from QEMU's start), in order. `monitor` answered,
    /// `first line` on the console, then the init's own words up to `ready`, [`LOGIN`], [`FIRST_RECORD`]. Empty for a guest
    /// that never was ready.
    #[serde(default)]
    pub boot: Vec<(String, f64)>,
    /// Where the guest came from.
    #[serde(default)]
    pub clone: Warmth,
    /// The saved boot that a warm guest went on from, from 1; missing for a cold one and in older journals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved_boot: Option<u32>,
    /// Exit status of the test program; missing where it did not end by itself, and in older journals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// Lines of the test program that the plan counts as a failure, at most [`SAMPLES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matched: Vec<String>,
}

/// In [`RoundFinished::boot`]: the SSH session is there.
pub const LOGIN: &str = "login";

/// In [`RoundFinished::boot`]: the test said its first record.
pub const FIRST_RECORD: &str = "first record";

/// Corruption records kept in a [`RoundFinished`].
pub const SAMPLES: usize = 8;

/// Wall time of one stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StageTime {
    /// Which.
    pub stage: Stage,
    /// Seconds.
    pub seconds: f64,
}

/// A cell that was stopped before its rounds were used up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Cell id.
    #[serde(deserialize_with = "name::cell_id")]
    pub cell: String,
    /// Rounds of it that were started; some of them may end after this entry.
    pub after_rounds: u32,
    /// Rounds planned.
    pub of_rounds: u32,
    /// Why.
    pub why: Why,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFinished {
    /// UTC, RFC 3339, seconds.
    pub finished: String,
    /// Ended early by a signal.
    pub interrupted: bool,
}
