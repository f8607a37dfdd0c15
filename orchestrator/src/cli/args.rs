//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::plan::Partition;
use crate::vm::accel::Wanted;

/// Boots a kernel with and without a patch, races both, and says with numbers whether the patch fixes the race.
#[derive(Debug, Parser)]
#[command(name = "twinboot", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// Where things are kept and found.
    #[command(flatten)]
    pub places: Places,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Folders that every command may need.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Places")]
pub struct Places {
    /// Keep builds and downloads here [default: `$XDG_CACHE_HOME/twinboot`].
    #[arg(long, global = true, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Find kernels/ and images/ here [default: above the plan, then above this program].
    #[arg(long, global = true, value_name = "DIR", env = "TWINBOOT_DATA")]
    pub data_dir: Option<PathBuf>,
    /// Find guest programs here before looking beside this program.
    #[arg(long, global = true, value_name = "DIR")]
    pub guest_dir: Option<PathBuf>,
    /// QEMU to run.
    #[arg(long, global = true, value_name = "PROGRAM", default_value = "qemu-system-x86_64")]
    pub qemu: PathBuf,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build, boot and race everything a plan names, then report.
    Run(RunArgs),
    /// Force the interleavings a plan draws, and nothing else.
    Interleave(InterleaveArgs),
    /// Hold a plan's victim at every instruction boundary in turn, and map where that corrupts.
    Sweep(SweepArgs),
    /// Race two revisions, a tree with and without a patch, or a tree with a commit taken out; no plan is needed.
    Compare(CompareArgs),
    /// Check, show or describe plans.
    Plan(PlanArgs),
    /// Only build the kernels a plan names.
    Build(BuildArgs),
    /// Boot a guest of a plan with its console on the terminal, and say how to log in.
    Boot(BootArgs),
    /// Log in to a fresh guest of a plan, or run a command in one.
    Shell(ShellArgs),
    /// Make the reports of a results folder again from its journal.
    Report(ReportArgs),
    /// Put the results folders of several machines together and report them as one.
    Merge(MergeArgs),
    /// Draw runs at known rates and say how often each verdict would be wrong.
    Simulate(SimulateArgs),
    /// Say what this machine lacks, and whether KVM works.
    Doctor(DoctorArgs),
    /// Remove what the cache has not used for a while.
    Clean(CleanArgs),
}

/// How the guests of a run are run, and where its results go.
#[derive(Debug, Clone, Args)]
pub struct GuestArgs {
    /// Guests at a time, as far as their memory goes [default: as many as the CPUs carry, by the plan's `overcommit`; for a
    /// sweep one for each CPU].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// What executes the guests.
    #[arg(long, value_enum, default_value_t = AccelArg::Auto)]
    pub accel: AccelArg,
    /// Seed of every random choice [default: drawn, and printed].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..1 << 53))]
    pub seed: Option<u64>,
    /// Results folder [default: results/<plan>-<utc>].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// What to print at the end.
    #[arg(long, value_enum, default_value_t = FormatArg::Human)]
    pub format: FormatArg,
}

/// `twinboot run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The plan.
    pub plan: PathBuf,
    /// How its guests are run.
    #[command(flatten)]
    pub guests: GuestArgs,
    /// Only cells whose id matches (`*` and `?`; may be repeated).
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,
    /// Run every base against itself instead: the same kernel twice must not differ.
    #[arg(long, value_enum)]
    pub control: Option<ControlArg>,
    /// Go on with the run in this folder, which was killed or interrupted [default: --out, or results/latest]. Rounds
    /// that came to their end are not run again. With --out DIR a first start is no mistake: where DIR holds no run, it
    /// begins.
    #[expect(clippy::option_option, reason = "the form in which clap tells an option without its value")]
    #[arg(long, value_name = "DIR")]
    pub resume: Option<Option<PathBuf>>,
    /// Only this share of the plan's comparisons: `slice:2/5` takes every fifth, beginning with the second,
    /// `hash:2/5` those whose name falls to the second of five.
    #[arg(long, value_name = "KIND:M/N")]
    pub partition: Option<Partition>,
    /// Print what would run, and stop.
    #[arg(long)]
    pub dry_run: bool,
    /// Say the verdicts before everything else.
    #[arg(skip)]
    pub verdict_first: bool,
}

/// `twinboot compare`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twinboot compare --tree ~/linux HEAD~1..HEAD
  twinboot compare --tree ~/linux                    what is not committed, against HEAD
  twinboot compare --kernel debian:linux-source-6.1 --patch fix.patch
  b4 am -o- MESSAGE-ID | twinboot compare --tree ~/linux v6.12 --patch -
  twinboot compare --tree ~/linux --revert 13ddaf26be32")]
pub struct CompareArgs {
    /// BASE..PATCHED, two revisions of the tree, of which `@` is the tree as it lies, with all that is not committed; with
    /// --patch or --revert a single revision [default: HEAD..@; with --patch or --revert HEAD].
    #[arg(value_name = "REVISIONS", conflicts_with = "kernel")]
    pub revisions: Option<String>,
    /// Git repository of a kernel; it is read and never written to.
    #[arg(long, value_name = "DIR", default_value = ".", conflicts_with = "kernel")]
    pub tree: PathBuf,
    /// Race this kernel instead of a tree's: `debian:linux-source-6.1`, or a name of kernels/sources.yaml.
    #[arg(long, value_name = "KERNEL", requires = "patch")]
    pub kernel: Option<String>,
    /// The patched side is the base with this patch, mail, mailbox, folder of patches or quilt series (may be repeated; `-`
    /// is standard input).
    #[arg(long, value_name = "FILE", conflicts_with = "revert")]
    pub patch: Vec<PathBuf>,
    /// Is this commit needed? The base is the tree with the commit taken out, the patched side the tree.
    #[arg(long, value_name = "COMMIT", conflicts_with = "kernel")]
    pub revert: Option<String>,
    /// What to race: a test or a plan of plans/, or the path of a plan, whose guest, tests and drawings are taken.
    #[arg(long, value_name = "NAME", default_value = "quick")]
    pub test: String,
    /// Run this reproducer instead of the tests: C source, a program or a script, as it came.
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// The program of --program goes on for ever unless it sees a failure: still running when its
    /// time is up is clean.
    #[arg(long, requires = "program")]
    pub endless: bool,
    /// A configuration fragment by name or path, on top of what the test needs; a whole `.config` goes below it (may be
    /// repeated).
    #[arg(long, value_name = "FILE|FRAGMENT")]
    pub config: Vec<String>,
    /// A drawn interleaving to force: a file with the drawing alone, or a plan with an `interleaving`.
    #[arg(long, value_name = "FILE")]
    pub interleave: Option<PathBuf>,
    /// How its guests are run.
    #[command(flatten)]
    pub guests: GuestArgs,
    /// Print the plan that says the same, and stop.
    #[arg(long)]
    pub dry_run: bool,
}

/// `twinboot interleave`
#[derive(Debug, Args)]
pub struct InterleaveArgs {
    /// The plan.
    pub plan: PathBuf,
    /// How its guests are run.
    #[command(flatten)]
    pub guests: GuestArgs,
    /// Only interleavings of cells whose id matches (`*` and `?`; may be repeated).
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,
    /// Forced rounds for each cell, and as many in which nothing is held [default: as the plan says].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..1 << 30))]
    pub rounds: Option<u32>,
}

/// `twinboot sweep`
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// The plan.
    pub plan: PathBuf,
    /// How its guests are run.
    #[command(flatten)]
    pub guests: GuestArgs,
    /// Only sweeps of cells whose id matches (`*` and `?`; may be repeated).
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,
    /// Only where a call has returned, and function entries, instead of every instruction boundary.
    #[arg(long)]
    pub coarse: bool,
    /// Take up the sweep of this results folder: only what its journal lacks is tried [default folder: results/latest].
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "results/latest", conflicts_with = "out")]
    pub resume: Option<PathBuf>,
    /// Print what would be swept, and stop.
    #[arg(long)]
    pub dry_run: bool,
}

/// `twinboot plan`
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: PlanCommand,
}

/// The `plan` commands.
#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Check plans without running anything.
    Check {
        /// The plans.
        #[arg(required = true)]
        plans: Vec<PathBuf>,
    },
    /// Show a plan with every default filled in and every axis expanded.
    Show {
        /// The plan.
        plan: PathBuf,
        /// As text for people or as JSON.
        #[arg(long, value_enum, default_value_t = FormatArg::Human)]
        format: FormatArg,
        /// Fetch nothing to try patches on: what is not in the cache stays unknown.
        #[arg(long)]
        offline: bool,
    },
    /// Pin the sources, patches and fragments of a plan in a lock file beside it, or see that they are as it says.
    Lock {
        /// The plan.
        plan: PathBuf,
        /// Write the lock file anew with the newest versions there are.
        #[arg(long)]
        update: bool,
    },
    /// Deal a plan out to jobs of a CI engine, one for each group of cells that are compared with each other.
    Matrix(MatrixArgs),
    /// Print the JSON schema of plans.
    Schema,
}

/// `twinboot plan matrix`
#[derive(Debug, Args)]
pub struct MatrixArgs {
    /// The plan.
    pub plan: PathBuf,
    /// Only cells whose id matches (`*` and `?`; may be repeated); give `twinboot run` the same.
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,
    /// In whose form.
    #[arg(long, value_enum, default_value_t = EngineArg::Human)]
    pub format: EngineArg,
    /// Jobs at most: more groups than that are dealt out in turn [default: what the engine takes: 256 for github, 200
    /// for gitlab].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub jobs: Option<u32>,
}

/// Forms of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineArg {
    /// A line a job: partition, most seconds of racing, cells, name; separated by tabs.
    Human,
    /// For programs.
    Json,
    /// One line for `strategy.matrix` of a GitHub workflow.
    Github,
    /// Jobs of a GitLab child pipeline.
    Gitlab,
}

/// `twinboot build`
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The plan.
    pub plan: PathBuf,
    /// `-j` of make [default: the number of CPUs].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
}

/// `twinboot boot`
#[derive(Debug, Args)]
pub struct BootArgs {
    /// The plan.
    pub plan: PathBuf,
    /// The first cell whose id matches (`*` and `?`) [default: the plan's first].
    #[arg(long, value_name = "GLOB")]
    pub only: Option<String>,
    /// What executes the guest.
    #[arg(long, value_enum, default_value_t = AccelArg::Auto)]
    pub accel: AccelArg,
}

/// `twinboot shell`
#[derive(Debug, Args)]
pub struct ShellArgs {
    /// Which guest.
    #[command(flatten)]
    pub guest: BootArgs,
    /// Run this instead of a login shell and exit as it does; each word reaches the command as it stands
    /// (`-- sh -c '…'` for pipes and the like).
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `twinboot report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// A results folder.
    pub results: PathBuf,
    /// What to print.
    #[arg(long, value_enum, default_value_t = FormatArg::Human)]
    pub format: FormatArg,
}

/// `twinboot merge`
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Results folders of runs of one plan, most often of its `--partition`s.
    #[arg(required = true)]
    pub results: Vec<PathBuf>,
    /// Where the merged results go: a folder that does not exist yet or is empty.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// What to print.
    #[arg(long, value_enum, default_value_t = FormatArg::Human)]
    pub format: FormatArg,
}

/// `twinboot simulate`
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// Runs to draw in each world.
    #[arg(long, value_name = "N", default_value_t = 800, value_parser = clap::value_parser!(u64).range(1..))]
    pub runs: u64,
    /// Seed of every random choice.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Corruptions of the base per exposure (may be repeated).
    #[arg(long, value_name = "RATE", value_delimiter = ',', default_values_t = [0.1, 0.005])]
    pub rate: Vec<f64>,
    /// The patched kernel's rate over the base's; 0 is a true fix. An A/A control comes on top.
    #[arg(long, value_name = "RATIO", value_delimiter = ',', default_values_t = [0.0, 0.1, 0.5, 1.0, 2.0])]
    pub ratio: Vec<f64>,
    /// Variance of the factor that each round's rate is multiplied by, gamma distributed with mean 1.
    #[arg(long, value_name = "VARIANCE", value_delimiter = ',', default_values_t = [0.0, 0.5])]
    pub clustering: Vec<f64>,
    /// Variance of the factor that all rounds of one boot are multiplied by.
    #[arg(long, value_name = "VARIANCE", value_delimiter = ',', default_values_t = [0.0, 0.5])]
    pub boot_clustering: Vec<f64>,
    /// Levels of a factor of which the patch leaves one open; a level is a try's or a round's, and told to the judge or not.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [10],
          value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub levels: Vec<u32>,
    /// Print the exact probability of a false `fixed` by the test over rounds at the worst share of corrupt rounds, and stop.
    #[arg(long)]
    pub exact: bool,
    /// Exposures of each round.
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    pub exposures: u64,
    /// Rounds of each side, at most.
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub rounds: u32,
    /// `stop.min_rounds` of the plan [default: 3].
    #[arg(long, value_name = "N")]
    pub min_rounds: Option<u32>,
    /// `stop.alpha` of the plan.
    #[arg(long, value_name = "P", default_value_t = 1e-6)]
    pub alpha: f64,
    /// `stop.residual` of the plan.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub residual: f64,
    /// Use up all rounds, as with `stop.sequential: false`.
    #[arg(long)]
    pub all_rounds: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `twinboot doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A kernel to try KVM with, such as one of the cache's.
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
}

/// `twinboot clean`
#[derive(Debug, Args)]
pub struct CleanArgs {
    /// Remove what was not used for this many days.
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub older_than: u32,
    /// Remove every entry that is not in use.
    #[arg(long, conflicts_with = "older_than")]
    pub all: bool,
}

/// Accelerators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AccelArg {
    /// KVM if a guest really boots under it, TCG otherwise.
    Auto,
    /// KVM or nothing.
    Kvm,
    /// Software emulation.
    Tcg,
}

impl From<AccelArg> for Wanted {
    fn from(arg: AccelArg) -> Self {
        match arg {
            AccelArg::Auto => Self::Auto,
            AccelArg::Kvm => Self::Kvm,
            AccelArg::Tcg => Self::Tcg,
        }
    }
}

/// Controls of the setup itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ControlArg {
    /// The same kernel on both sides.
    Aa,
}

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// For people.
    Human,
    /// For programs.
    Json,
}
