//! The shape of `summary.json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forced::{ForcedComparisonSummary, ForcedSummary, SweepSummary};
use crate::analysis::{CellOutcome, Coverage, EvidenceKind, Met, Reason, Units, Verdict};
use crate::journal::failure::Counted;
use crate::journal::rules::Why;
use crate::journal::rules::{Expectation, Warmth};

/// What a run found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Version of this document.
    pub schema: u32,
    /// Plan name; null where the journal was cut before its first line ended.
    pub plan: Option<String>,
    /// SHA-256 of the plan file.
    pub plan_sha256: Option<String>,
    /// twinboot's version.
    pub twinboot: Option<String>,
    /// UTC, RFC 3339.
    pub started: Option<String>,
    /// UTC, RFC 3339; null where the run never came to its end.
    pub finished: Option<String>,
    /// Whether a signal ended the run.
    pub interrupted: bool,
    /// Seed of the run.
    pub seed: Option<u64>,
    /// Significance asked for.
    pub alpha: Option<f64>,
    /// Command that runs the same again.
    pub rerun: Option<String>,
    /// Machine.
    pub host: Option<HostSummary>,
    /// What executed the guests.
    pub accelerator: Option<AcceleratorSummary>,
    /// Guests beside each other; absent where the journal is older than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadSummary>,
    /// Things a reader must know.
    pub notices: Vec<String>,
    /// One for each kernel × variant × guest × test, in plan order.
    pub cells: Vec<CellSummary>,
    /// One for each pair held against each other, in plan order.
    pub comparisons: Vec<ComparisonSummary>,
    /// Drawn interleavings, one for each kernel × variant × guest; absent where the run had none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forced: Vec<ForcedSummary>,
    /// Sweeps, one for each kernel × variant × guest; absent where the run had none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sweeps: Vec<SweepSummary>,
    /// Forced cells held against those of their base; absent where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forced_comparisons: Vec<ForcedComparisonSummary>,
    /// Exit code of `twinboot run`: 0, 1, 2, 3, 75 or 130.
    pub exit_code: u8,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostSummary {
    /// Host kernel.
    pub kernel: String,
    /// CPU model.
    pub cpu: String,
    /// Online CPUs.
    pub cpus: u32,
    /// Bytes.
    pub memory: u64,
}

/// Guests beside each other, as many as there could be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadSummary {
    /// Guests at a time.
    pub guests: u32,
    /// Virtual CPUs of that many of the largest guests.
    pub vcpus: u32,
    /// Virtual CPUs for each of the host's CPUs: more than 1 where guests waited for each other.
    pub vcpus_per_host_cpu: f64,
}

/// What executed the guests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AcceleratorSummary {
    /// `kvm` or `tcg`.
    pub name: String,
    /// QEMU's version.
    pub qemu: String,
}

/// One cell. Rates and sums are over the rounds that finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CellSummary {
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
    /// Test name.
    pub test: String,
    /// Strategy, where the test has one.
    pub strategy: Option<String>,
    /// What the plan's author expects.
    pub expect: Expectation,
    /// Whether it came true.
    pub met: Met,
    /// What was seen, in a word.
    pub outcome: CellOutcome,
    /// Rounds that finished.
    pub rounds: u64,
    /// Rounds the plan asks for.
    pub rounds_planned: u32,
    /// Rounds that began.
    pub rounds_started: u64,
    /// What fails a round; empty where only corruptions count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<Counted>,
    /// Rounds that failed so; null where only corruptions count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounds_failed: Option<u64>,
    /// Finished rounds with at least one corruption.
    pub rounds_corrupt: u64,
    /// Attempts at the race.
    pub tries: u64,
    /// Tries in which the interferer started inside the victim's fault.
    pub landings: u64,
    /// Tries after which the page was back at the same swap entry.
    pub reuses: u64,
    /// Tries that really tested the race.
    pub exposures: u64,
    /// Tries whose oracle failed.
    pub corruptions: u64,
    /// The same, with rounds counted in that died or hung before their end.
    pub corruptions_seen: u64,
    /// Racing seconds.
    pub seconds: f64,
    /// Corruptions per exposure.
    pub per_exposure: Option<f64>,
    /// Exact 95 % interval of `per_exposure`: low, high.
    pub per_exposure_interval95: Option<(f64, f64)>,
    /// Corruptions per try.
    pub per_try: Option<f64>,
    /// Corruptions per second.
    pub per_second: Option<f64>,
    /// Seconds from a round's first try to its first corruption, of the round in which that was shortest.
    pub first_corruption_s: Option<f64>,
    /// Kaplan–Meier median of the same over all finished rounds.
    pub first_corruption_median_s: Option<f64>,
    /// Where its rounds ended before they were used up, and why; null where they were.
    pub stopped: Option<StoppedSummary>,
    /// A corruption with the swap entry before and after.
    pub proof: Option<ProofSummary>,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Guest memory in bytes.
    pub memory: u64,
    /// Swap device.
    pub swap: Option<String>,
    /// Where the plan wants each round's guest to come from.
    #[serde(default)]
    pub clone: Warmth,
    /// How the guests came up, warm and cold ones apart.
    #[serde(default)]
    pub boots: Vec<BootSummary>,
    /// Where the time of a try went, in the order of the try; absent where the test did not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profile: Vec<PartSummary>,
    /// Patches of the variant, in order.
    pub patches: Vec<PatchSummary>,
    /// SHA-256 of the final `.config`.
    pub config_sha256: Option<String>,
    /// What the kernel was built from, with its version; null in results of before this was recorded.
    #[serde(default)]
    pub source: Option<String>,
    /// Compiler.
    pub compiler: Option<String>,
    /// SHA-256 over the loadable sections of `vmlinux`.
    pub load_digest: Option<String>,
    /// Why the kernel could not be built.
    pub build_error: Option<String>,
    /// What went wrong apart from corruptions.
    pub trouble: Vec<TroubleSummary>,
    /// Every round that began.
    pub per_round: Vec<RoundSummary>,
}

/// How guests came up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BootSummary {
    /// From a saved guest, or not.
    pub clone: Warmth,
    /// Rounds it is told of.
    pub rounds: usize,
    /// What was reached, and the median of the seconds from QEMU's start to it.
    pub milestones: Vec<(String, f64)>,
}

/// One part of a try, over the finished rounds that tell of it. Parts lie within others and on two threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PartSummary {
    /// Which part.
    pub name: String,
    /// Tries that came to it.
    pub count: u64,
    /// All of them together, nanoseconds.
    pub total_ns: u64,
    /// `total_ns` over the racing time of those rounds; null where that is 0.
    pub share: Option<f64>,
    /// Nanoseconds that half of the tries were not longer than: the median of the rounds' own medians, as the two below
    /// are of theirs; null where no try came to it.
    pub p50_ns: Option<f64>,
    /// Nine in ten were not longer.
    pub p90_ns: Option<f64>,
    /// Ninety-nine in a hundred were not longer.
    pub p99_ns: Option<f64>,
}

/// A patch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PatchSummary {
    /// File name.
    pub file: String,
    /// Subject line.
    pub subject: Option<String>,
    /// Applied in reverse.
    pub reverse: bool,
    /// Identity of the diff.
    pub id: String,
}

/// One corruption, seen whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProofSummary {
    /// Round.
    pub round: u32,
    /// Try within the round, from 1.
    #[serde(rename = "try")]
    pub attempt: u64,
    /// Page, from 0.
    pub page: u64,
    /// Generation written last.
    pub expected: u64,
    /// Generation read.
    pub found: u64,
    /// What kind of wrong.
    pub kind: String,
    /// Swap type and offset before the victim's fault.
    pub entry_before: Option<(u8, u64)>,
    /// Swap type and offset after the interferer's pageout.
    pub entry_after: Option<(u8, u64)>,
}

/// One kind of trouble.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TroubleSummary {
    /// Kind, in words.
    pub kind: String,
    /// Whether the kernel has to answer for it.
    pub kernel: bool,
    /// One line.
    pub headline: String,
    /// Rounds that showed it.
    pub rounds: Vec<u32>,
    /// Console lines.
    pub excerpt: Vec<String>,
}

/// An early end of a cell's rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoppedSummary {
    /// Rounds that had been started.
    pub after_rounds: u32,
    /// Rounds planned.
    pub of_rounds: u32,
    /// Why no more were needed.
    pub why: Why,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoundSummary {
    /// From 1.
    pub round: u32,
    /// How it ended: `finished`, `guest_died`, `timed_out`, `test_failed`, `stuck`, `infrastructure`, `interrupted` or `lost`.
    pub outcome: String,
    /// Where its guest came from; null where it never ended.
    #[serde(default)]
    pub clone: Option<Warmth>,
    /// Seed of the test.
    pub seed: Option<u64>,
    /// Attempts; null unless it finished, as are the numbers below.
    pub tries: Option<u64>,
    /// Exposures.
    pub exposures: Option<u64>,
    /// Corruptions.
    pub corruptions: Option<u64>,
    /// Racing seconds.
    pub seconds: Option<f64>,
    /// Seconds to the first corruption.
    pub first_corruption_s: Option<f64>,
}

/// Two cells held against each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparisonSummary {
    /// Kernel name.
    pub kernel: String,
    /// Guest name.
    pub guest: String,
    /// Test name.
    pub test: String,
    /// Variant name of the positive control.
    pub base: String,
    /// Variant name under judgement.
    pub patched: String,
    /// Cell id of the base.
    pub base_cell: String,
    /// Cell id of the patched variant.
    pub patched_cell: String,
    /// Both sides run the same kernel on purpose (an A/A control).
    pub control: bool,
    /// What can be said.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The same in a sentence.
    pub explanation: String,
    /// The comparison in a sentence.
    pub sentence: String,
    /// Significance asked for.
    pub alpha: f64,
    /// P-value of the deciding evidence; 0 below about 1e-308, see `log10_p_value`.
    pub p_value: Option<f64>,
    /// Its decimal logarithm; null where it is minus infinity.
    pub log10_p_value: Option<f64>,
    /// Which evidence that is.
    pub evidence: Option<EvidenceKind>,
    /// Decimal logarithm of each evidence's p-value.
    pub all_evidence: Vec<EvidenceSummary>,
    /// Corruptions per exposure, patched over base; null where infinite or unknown, as are its limits.
    pub rate_ratio: Option<f64>,
    /// One-sided lower 95 % limit.
    pub rate_ratio_lower95: Option<f64>,
    /// One-sided upper 95 % limit.
    pub rate_ratio_upper95: Option<f64>,
    /// Decimal logarithm of the probability of this many clean exposures at the smallest residual rate that matters.
    pub log10_residual_probability: Option<f64>,
    /// Lower 99 % limit of the base's rate per exposure.
    pub base_rate_lower99: Option<f64>,
    /// Decimal logarithm of the probability of the patched side's zero at that rate.
    pub log10_zero_probability: Option<f64>,
    /// Index of dispersion of corruptions per round; 1 for independent exposures.
    pub dispersion_index: Option<f64>,
    /// Whether that is more than chance.
    pub overdispersed: bool,
    /// Clean exposures still needed.
    pub exposures_needed: Option<u64>,
    /// Rounds of each side still needed; absent where the rounds are enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounds_needed: Option<u64>,
    /// Rounds and boots that the p-values rest on, of the base and of the patched kernel; absent where a side has no round
    /// that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<[Units; 2]>,
    /// Which levels of which factors are covered; without factors where the test names none.
    #[serde(default)]
    pub coverage: Coverage,
    /// What else a reader must know.
    pub caveats: Vec<String>,
    /// Forced evidence on the same kernel and variants; absent where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forced: Vec<ForcedComparisonSummary>,
    /// What the races alone would have said; absent where forced evidence did not overrule them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict_by_races: Option<Verdict>,
    /// Where races and forced evidence do not fit together; absent where they do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contradictions: Vec<String>,
}

/// One evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceSummary {
    /// What it counts.
    pub kind: EvidenceKind,
    /// Decimal logarithm of the p-value that the patched rate is not lower; null where it is minus infinity.
    pub log10_p_lower: Option<f64>,
    /// Decimal logarithm of the p-value that the patched rate is not higher.
    pub log10_p_higher: Option<f64>,
}
