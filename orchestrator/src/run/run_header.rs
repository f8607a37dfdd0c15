//! The header of a run, which is the first entry of its journal: plan, cells, host, accelerator,
//! seed.

use super::artifacts::Artifacts;
use super::capacity as host;
use super::options::Options;
use crate::build::patch;
use crate::interleave::sweep::diagram::words;
use crate::journal::Load;
use crate::journal::entry::{self, Accelerator, CellSpec, ComparisonSpec, FullPlan, PatchInfo, RunStarted};
use crate::journal::interleaving::{Forced, ForcedExpectation, ForcedSpec};
use crate::journal::rules::{Rule, Warmth};
use crate::plan::model::{Cell, Comparison, ForcedCell, Guest, Interleaving, Kernel, Plan, Swap, Sweep, Test, Variant};

/// Significance in the header of a run without statistical tests, where it has no effect.
const UNTESTED_ALPHA: f64 = 1e-6;

/// UTC to the second, RFC 3339.
pub fn utc(time: &jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// First line of the journal.
pub fn run_started(
    plan: &Plan,
    artifacts: &Artifacts,
    options: &Options,
    load: Load,
    now: &jiff::Timestamp,
) -> RunStarted {
    RunStarted {
        schema: entry::SCHEMA,
        twinboot: env!("CARGO_PKG_VERSION").to_owned(),
        started: utc(now),
        plan: plan.name.clone(),
        plan_sha256: plan.sha256.clone(),
        rerun: options.rerun.clone(),
        seed: options.seed,
        // JSON has no infinity for a plan without tests.
        alpha: plan.tests.iter().map(|test| test.stop.alpha).reduce(f64::min).unwrap_or(UNTESTED_ALPHA),
        host: host::describe(),
        accelerator: Accelerator {
            name: artifacts.accelerator.accel.name().to_owned(),
            qemu: artifacts.accelerator.qemu_version.clone(),
        },
        load: Some(load),
        cells: cells(plan),
        forced: forced(plan),
        comparisons: comparisons(plan),
        whole: options.share.as_ref().map(|share| {
            Box::new(FullPlan {
                share: share.partition.to_string(),
                cells: cells(&share.whole),
                comparisons: comparisons(&share.whole),
                forced: forced(&share.whole),
            })
        }),
    }
}

fn cells(plan: &Plan) -> Vec<CellSpec> {
    plan.cells.iter().map(|cell| cell_spec(plan, cell)).collect()
}

fn forced(plan: &Plan) -> Vec<ForcedSpec> {
    plan.forced.iter().map(|cell| forced_spec(plan, cell)).collect()
}

fn comparisons(plan: &Plan) -> Vec<ComparisonSpec> {
    let spec = |pair: &Comparison| ComparisonSpec {
        base: pair.base.clone(),
        patched: pair.patched.clone(),
        control: pair.control,
    };
    plan.comparisons.iter().map(spec).collect()
}

fn cell_spec(plan: &Plan, cell: &Cell) -> CellSpec {
    let (guest, test, variant) = (guest(plan, cell), test(plan, cell), variant(plan, cell));
    CellSpec {
        id: cell.id.clone(),
        kernel: cell.kernel.clone(),
        variant: cell.variant.clone(),
        guest: cell.guest.clone(),
        test: cell.test.clone(),
        program: test.run.clone(),
        strategy: test.args.get("strategy").cloned(),
        oracle: test.program.as_ref().map(|program| program.oracle.clone()),
        expect: variant.expect,
        counts: test.counts.clone(),
        rounds: test.rounds,
        // Whole seconds: it is only an estimate.
        round_s: test.round().as_secs(),
        rule: Some(rule(test)),
        cpus: guest.cpus,
        memory: guest.memory,
        swap: guest.swap.as_ref().map(swap_text),
        clone: guest.clone,
        boots: if guest.clone == Warmth::Warm { guest.boots } else { 0 },
        patches: variant.patches.iter().map(patch_info).collect(),
    }
}

fn forced_spec(plan: &Plan, cell: &ForcedCell) -> ForcedSpec {
    let drawn = interleaving(plan, cell);
    let what = Forced::Diagram {
        drawing: drawn.diagram.drawing.clone(),
        threads: drawn.diagram.threads.clone(),
        steps: drawn.diagram.steps.clone(),
        rounds: drawn.rounds,
        expect: drawn.expect.get(&cell.variant).copied().unwrap_or(ForcedExpectation::Any),
    };
    spec_of(plan, cell, &drawn.run, what)
}

/// A sweep cell, for the journal.
pub fn sweep_spec(plan: &Plan, cell: &ForcedCell, coarse: bool) -> ForcedSpec {
    let swept = sweep(plan, cell);
    let what = Forced::Sweep {
        victim: words(&swept.victim),
        interferers: swept.interferers.iter().map(|it| format!("{}: {}", it.thread, words(it))).collect(),
        functions: swept.functions.iter().map(|names| names.join("|")).collect(),
        callees: swept.callees.clone(),
        coarse,
    };
    spec_of(plan, cell, &swept.run, what)
}

/// What interleavings and sweeps have in common.
fn spec_of(plan: &Plan, cell: &ForcedCell, program: &str, what: Forced) -> ForcedSpec {
    let guest = guest_named(plan, &cell.guest);
    ForcedSpec {
        id: cell.id.clone(),
        kernel: cell.kernel.clone(),
        variant: cell.variant.clone(),
        base: cell.base.clone(),
        guest: cell.guest.clone(),
        name: cell.name.clone(),
        program: program.to_owned(),
        cpus: guest.cpus,
        memory: guest.memory,
        swap: guest.swap.as_ref().map(swap_text),
        patches: patches(plan, &cell.kernel, &cell.variant),
        what,
    }
}

fn rule(test: &Test) -> Rule {
    Rule {
        alpha: test.stop.alpha,
        residual: test.stop.residual,
        min_rounds: test.stop.min_rounds,
        rounds: test.rounds,
        sequential: test.stop.sequential,
        exact: true,
    }
}

fn swap_text(swap: &Swap) -> String {
    match swap {
        Swap::Zram { size, algorithm } => format!("zram {} KiB {algorithm}", size / 1024),
        Swap::Brd { size } => format!("brd {} KiB", size / 1024),
    }
}

/// Describes a patch. One that has disappeared since the build is still named.
fn patch_info(patch: &crate::plan::model::Patch) -> PatchInfo {
    let named = |_| PatchInfo {
        file: patch.path.display().to_string(),
        subject: None,
        reverse: patch.reverse,
        id: String::new(),
    };
    patch::load(patch).map_or_else(named, |loaded| loaded.info)
}

fn patches(plan: &Plan, kernel: &str, variant: &str) -> Vec<PatchInfo> {
    let kernel = named(&plan.kernels, |kernel| &kernel.name, kernel);
    named(&kernel.variants, |variant| &variant.name, variant).patches.iter().map(patch_info).collect()
}

/// The cell's test. Cells are made from the plan's own tests, so it is always there.
pub fn test<'a>(plan: &'a Plan, cell: &Cell) -> &'a Test {
    named(&plan.tests, |test| &test.name, &cell.test)
}

/// The cell's guest shape.
pub fn guest<'a>(plan: &'a Plan, cell: &Cell) -> &'a Guest {
    guest_named(plan, &cell.guest)
}

/// The guest shape of this name.
pub fn guest_named<'a>(plan: &'a Plan, name: &str) -> &'a Guest {
    named(&plan.guests, |guest| &guest.name, name)
}

/// The forced cell's drawing.
pub fn interleaving<'a>(plan: &'a Plan, cell: &ForcedCell) -> &'a Interleaving {
    named(&plan.interleavings, |drawn| &drawn.name, &cell.name)
}

/// The sweep of a swept cell.
pub fn sweep<'a>(plan: &'a Plan, cell: &ForcedCell) -> &'a Sweep {
    named(&plan.sweeps, |sweep| &sweep.name, &cell.name)
}

/// The kernel and the variant of a forced cell.
pub fn kernel_and_variant<'a>(plan: &'a Plan, cell: &ForcedCell) -> (&'a Kernel, &'a Variant) {
    let kernel = named(&plan.kernels, |kernel| &kernel.name, &cell.kernel);
    (kernel, named(&kernel.variants, |variant| &variant.name, &cell.variant))
}

fn variant<'a>(plan: &'a Plan, cell: &Cell) -> &'a Variant {
    let kernel = named(&plan.kernels, |kernel| &kernel.name, &cell.kernel);
    named(&kernel.variants, |variant| &variant.name, &cell.variant)
}

#[expect(clippy::panic, reason = "a resolved plan whose cells name what it lacks is a bug in the resolver")]
fn named<'a, T>(all: &'a [T], name: impl Fn(&T) -> &String, wanted: &str) -> &'a T {
    all.iter().find(|one| name(one) == wanted).unwrap_or_else(|| panic!("the plan has no `{wanted}`"))
}
