//! A resolved plan: every default filled in, every path absolute, every axis expanded. Plain data,
//! no YAML.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

pub use super::source::{Location, Source};

use crate::diagram::Diagram;
use crate::journal::failure::Counted;
use crate::journal::interleaving::ForcedExpectation;
use crate::journal::oracle::Oracle;
use crate::journal::rules::{Expectation, Warmth};
use kernel_debug::Names;

/// A plan ready to run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Name, used in result folders (`[a-z0-9._-]+`).
    pub name: String,
    /// Where it was read from.
    pub path: PathBuf,
    /// SHA-256 of the file's bytes, lowercase hex.
    pub sha256: String,
    /// Kernels by order of appearance.
    pub kernels: Vec<Kernel>,
    /// What the kernels' versions leave out, in plan order.
    pub left_out: Vec<LeftOut>,
    /// Guest shapes, one per point of the guest axes.
    pub guests: Vec<Guest>,
    /// Virtual CPUs of running guests for each of the host's CPUs.
    pub overcommit: f64,
    /// Tests, one per point of the test axes.
    pub tests: Vec<Test>,
    /// Every kernel × variant × guest × test that is to run, in plan order.
    pub cells: Vec<Cell>,
    /// Which cells are compared with which, in plan order.
    pub comparisons: Vec<Comparison>,
    /// Drawn interleavings, in plan order.
    pub interleavings: Vec<Interleaving>,
    /// What `twinboot sweep` sweeps: written in the plan, or drawn from its interleavings.
    pub sweeps: Vec<Sweep>,
    /// Every kernel × variant × guest × interleaving that is to be forced, in plan order.
    pub forced: Vec<ForcedCell>,
    /// Every kernel × variant × guest × sweep, in plan order; `twinboot run` ignores them.
    pub swept: Vec<ForcedCell>,
}

impl Plan {
    /// Keeps only the cells whose id `wanted` takes, the comparisons between them, and the variants
    /// they are made from.
    pub fn keep_cells(&mut self, wanted: impl Fn(&str) -> bool) {
        self.cells.retain(|cell| wanted(&cell.id));
        self.forced.retain(|cell| wanted(&cell.id));
        self.swept.retain(|cell| wanted(&cell.id));
        let ids: HashSet<&str> = self.cells.iter().map(|cell| cell.id.as_str()).collect();
        self.comparisons.retain(|pair| ids.contains(&*pair.base) && ids.contains(&*pair.patched));
        let cells = self.cells.iter().map(|cell| (&*cell.kernel, &*cell.variant, &*cell.guest));
        let forced = self.forced.iter().chain(&self.swept);
        let all: Vec<_> = cells.chain(forced.map(|cell| (&*cell.kernel, &*cell.variant, &*cell.guest))).collect();
        let variants: HashSet<(&str, &str)> = all.iter().map(|(kernel, variant, _)| (*kernel, *variant)).collect();
        let guests: HashSet<&str> = all.iter().map(|(.., guest)| *guest).collect();
        for kernel in &mut self.kernels {
            kernel.variants.retain(|variant| variants.contains(&(&*kernel.name, &*variant.name)));
        }
        self.kernels.retain(|kernel| !kernel.variants.is_empty());
        self.guests.retain(|guest| guests.contains(&*guest.name));
        let tests: HashSet<&str> = self.cells.iter().map(|cell| &*cell.test).collect();
        self.tests.retain(|test| tests.contains(&*test.name));
        self.interleavings.retain(|it| self.forced.iter().any(|cell| cell.name == it.name));
        self.sweeps.retain(|it| self.swept.iter().any(|cell| cell.name == it.name));
    }
}

/// A source tree at a version, and the variants to build of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// Name, unique in the plan.
    pub name: String,
    /// Patch series directory under `kernels/patches/`, such as `6.1`.
    pub series: Option<String>,
    /// Where the tree comes from.
    pub source: Source,
    /// What the plan's lock file pins it to.
    pub locked: Option<Locked>,
    /// What the catalogue says of it.
    pub notes: Option<String>,
    /// What the fragments are merged over.
    pub base_config: BaseConfig,
    /// Configuration layers, later ones win.
    pub config: Vec<ConfigLayer>,
    /// Variants of this kernel, in plan order.
    pub variants: Vec<Variant>,
}

impl Kernel {
    /// Where `variant` comes from before its patches: the kernel's source, or the variant's own image or revision.
    pub fn source_of(&self, variant: &Variant) -> Source {
        match (&variant.image, &variant.rev, &self.source) {
            (Some(image), ..) => image.clone(),
            (None, Some(rev), Source::Git { location, .. }) => {
                Source::Git { location: location.clone(), rev: rev.clone() }
            }
            (None, _, source) => source.clone(),
        }
    }
}

/// What a lock file says of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Locked {
    /// The lock file.
    pub file: PathBuf,
    /// For people: `linux-source-6.1 6.1.192-2`.
    pub label: String,
    /// What the source must be, as [`crate::build::source_identity`] tells it.
    pub identity: String,
}

/// A variant or a patch that a kernel's version leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// [`Kernel::name`].
    pub kernel: String,
    /// Name of the variant.
    pub variant: String,
    /// The patch, as the plan names it; none where the whole variant is left out.
    pub patch: Option<String>,
    /// The condition that does not hold.
    pub when: String,
}

/// What the configuration fragments are merged over.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BaseConfig {
    /// `make allnoconfig`.
    Allnoconfig,
    /// `make defconfig`.
    Defconfig,
    /// A user's `.config`.
    File(PathBuf),
}

/// One layer of configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigLayer {
    /// A `.config` fragment; `CONFIG_X=v` and `# CONFIG_X is not set` lines. A trailing `#
    /// optional` on the line before an option allows it to be absent from the result.
    Fragment(PathBuf),
    /// Options written in the plan: name without `CONFIG_` → value as `.config` spells it (`y`,
    /// `m`, `n`, `100`, `"text"`).
    Inline(BTreeMap<String, String>),
}

/// A kernel plus patches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Variant {
    /// Name, unique within the kernel.
    pub name: String,
    /// Patches in the order they are applied.
    pub patches: Vec<Patch>,
    /// A revision of the kernel's git repository in place of the one that its source names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rev: Option<String>,
    /// A ready kernel ([`Source::Image`]) in place of the one of a kernel whose source is an image.
    pub image: Option<Source>,
    /// What the plan's author expects to see.
    pub expect: Expectation,
    /// Variant it is compared with; none for a base.
    pub base: Option<String>,
}

/// One patch file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Patch {
    /// The file: a plain diff or a `git format-patch` mail.
    pub path: PathBuf,
    /// Apply it in reverse (take a fix out).
    pub reverse: bool,
}

/// The shape of a virtual machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Guest {
    /// Name, unique in the plan; `default` where the plan has one shape only.
    pub name: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in bytes, a multiple of 1 MiB.
    pub memory: u64,
    /// Swap device the init creates.
    pub swap: Option<Swap>,
    /// Sysctls written by the init.
    pub sysctl: BTreeMap<String, String>,
    /// Extra kernel command line, appended as it stands.
    pub cmdline: String,
    /// Image recipe.
    pub image: PathBuf,
    /// Where each round's guest comes from.
    pub clone: Warmth,
    /// Saved boots that warm rounds take by turns.
    pub boots: u32,
}

/// A swap device, as the plan asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Swap {
    /// Compressed RAM.
    Zram {
        /// `disksize` in bytes.
        size: u64,
        /// Compressor.
        algorithm: String,
    },
    /// Plain RAM block device.
    Brd {
        /// Size in bytes.
        size: u64,
    },
}

/// A guest program and how long to run it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Test {
    /// Name, unique in the plan.
    pub name: String,
    /// Program in the image.
    pub run: String,
    /// The same program where the plan brings it, a reproducer as it came.
    pub program: Option<Program>,
    /// Its arguments, passed as `--key value`; `true` passes `--key` alone and `false` nothing.
    pub args: BTreeMap<String, String>,
    /// Rounds (fresh guests) per cell.
    pub rounds: u32,
    /// What fails a round; empty where only corruptions count.
    pub counts: Vec<Counted>,
    /// When a round ends.
    pub stop: Stop,
    /// Deadlines of the stages around it.
    pub deadlines: Deadlines,
}

/// A program that comes with the plan and knows nothing of twinboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Program {
    /// The file: C source, a program or a script.
    pub path: PathBuf,
    /// What it is.
    pub kind: ProgramKind,
    /// Arguments after those of [`Test::args`]; `{seconds}` stands for the round's time and `{seed}` for its seed.
    pub words: Vec<String>,
    /// Files and folders that are in its working directory.
    pub files: Vec<PathBuf>,
    /// Its environment besides the guest's own.
    pub env: BTreeMap<String, String>,
    /// How it says that something went wrong.
    pub oracle: Oracle,
}

impl Program {
    /// A program at `path` with nothing said about it: it fails by its exit status.
    pub fn plain(path: PathBuf, kind: ProgramKind) -> Self {
        let oracle = Oracle::by_exit();
        Self { path, kind, words: Vec::new(), files: Vec::new(), env: BTreeMap::new(), oracle }
    }
}

/// What a plan's program is before it is in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramKind {
    /// C source, compiled on the host.
    Source {
        /// Link it statically.
        linked_statically: bool,
        /// Words for the compiler besides twinboot's own.
        flags: Vec<String>,
    },
    /// An ELF program of the guest's architecture.
    Binary,
    /// A script, whose first line names its interpreter.
    Script,
}

/// What a round takes besides racing: boot, login and power-off. About two seconds in software
/// emulation, more on a busy host, less with hardware acceleration.
const AROUND_A_ROUND: Duration = Duration::from_secs(3);

impl Test {
    /// What one round is expected to take at most.
    pub fn round(&self) -> Duration {
        self.stop.at_most.saturating_add(AROUND_A_ROUND)
    }

    /// What all rounds of a cell are expected to take at most.
    pub fn all_rounds(&self) -> Duration {
        self.round().saturating_mul(self.rounds)
    }
}

/// When a round ends, whichever comes first, and when no more rounds are needed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stop {
    /// Significance the verdict must reach; 1e-6 unless the plan says otherwise.
    pub alpha: f64,
    /// Smallest residual rate that matters, as a share of the base's: `fixed` excludes it.
    pub residual: f64,
    /// Rounds of either side before a cell may stop; never more than there are rounds.
    pub min_rounds: u32,
    /// Stop a cell's rounds as soon as its answer is known.
    pub sequential: bool,
    /// Racing time of one round.
    pub at_most: Duration,
    /// Corruptions after which a round ends.
    pub corruptions: Option<u64>,
    /// Exposures after which a round ends.
    pub exposures: Option<u64>,
}

/// How long each stage of a round may take before it counts as lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Deadlines {
    /// QEMU's start to the init's `ready` line.
    pub boot: Duration,
    /// Connecting and authenticating.
    pub ssh: Duration,
    /// Grace after a round's racing time until its last record.
    pub test: Duration,
    /// Power-off request to the end of the QEMU process.
    pub shutdown: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            boot: Duration::from_secs(60),
            ssh: Duration::from_secs(30),
            test: Duration::from_secs(30),
            shutdown: Duration::from_secs(15),
        }
    }
}

/// One kernel × variant × guest × test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// Unique, stable and fit for a file name.
    pub id: String,
    /// [`Kernel::name`].
    pub kernel: String,
    /// [`Variant::name`].
    pub variant: String,
    /// [`Guest::name`].
    pub guest: String,
    /// [`Test::name`].
    pub test: String,
}

/// A drawn interleaving, and the guest program whose threads act it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interleaving {
    /// Name, unique among the plan's tests, interleavings and sweeps; `interleaving` where the plan
    /// does not say.
    pub name: String,
    /// Program in the image.
    pub run: String,
    /// Its arguments, as those of a [`Test`].
    pub args: BTreeMap<String, String>,
    /// The drawing.
    pub diagram: Diagram,
    /// Forced rounds for each cell, and as many without a hold.
    pub rounds: u32,
    /// How long a step may take when nothing delays it.
    pub deadline: Duration,
    /// What is expected of each variant, by name; [`ForcedExpectation::Any`] of the others.
    pub expect: BTreeMap<String, ForcedExpectation>,
}

/// One thread held at every point of some functions in turn, while the others run to completion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sweep {
    /// Name, unique among the plan's tests, interleavings and sweeps.
    pub name: String,
    /// Program in the image.
    pub run: String,
    /// Its arguments.
    pub args: BTreeMap<String, String>,
    /// The thread that is held, and what it does.
    pub victim: Operation,
    /// What the others do while it is held, in order.
    pub interferers: Vec<Operation>,
    /// Functions whose points are swept, each with its names in other versions.
    pub functions: Vec<Names>,
    /// Folders (ending in `/`) and files whose functions are swept too when the victim comes
    /// through them.
    pub callees: Vec<String>,
    /// How long an operation may take when nothing delays it.
    pub deadline: Duration,
}

/// One operation of a thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// Thread.
    pub thread: String,
    /// Word of the guest test's.
    pub operation: String,
    /// What it is done to.
    pub object: Option<String>,
}

/// One kernel × variant × guest × (interleaving or sweep).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForcedCell {
    /// Unique among all cells of the plan, stable and fit for a file name.
    pub id: String,
    /// [`Kernel::name`].
    pub kernel: String,
    /// [`Variant::name`].
    pub variant: String,
    /// Variant it is compared with; none for a base.
    pub base: Option<String>,
    /// [`Guest::name`].
    pub guest: String,
    /// [`Interleaving::name`] or [`Sweep::name`].
    pub name: String,
}

/// Two cells that differ in the variant alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Cell id of the positive control.
    pub base: String,
    /// Cell id of the variant under judgement.
    pub patched: String,
    /// Both sides are the same kernel, on purpose.
    pub control: bool,
}
