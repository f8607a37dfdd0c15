//! Every rule of forced evidence, each by a run that only that rule tells apart.

use proptest::prelude::*;
use twinboot_protocol::orders::Damage;
use twinboot_protocol::{CorruptionKind, SwapEntry};

use super::*;
use crate::analysis::tests::{Case, built, start};
use crate::analysis::{Met, Reason, Results, Verdict, exit_code};
use crate::diagram::Action;
use crate::diagram::Step;
use crate::journal::Entry;
use crate::journal::entry::{BuildFailed, RunFinished};
use crate::journal::interleaving::*;
use crate::journal::rules::Expectation;

const DRAWN_BASE: &str = "k.base.g.drawn";
const DRAWN_PATCHED: &str = "k.patched.g.drawn";
const SWEPT_BASE: &str = "k.base.g.swept";
const SWEPT_PATCHED: &str = "k.patched.g.swept";

fn spec(variant: &str, name: &str, what: Forced) -> ForcedSpec {
    ForcedSpec {
        id: format!("k.{variant}.g.{name}"),
        kernel: "k".into(),
        variant: variant.into(),
        base: (variant != "base").then(|| "base".into()),
        guest: "g".into(),
        name: name.into(),
        program: "swap-race".into(),
        cpus: 2,
        memory: 512 << 20,
        swap: None,
        patches: Vec::new(),
        what,
    }
}

fn diagram(expect: ForcedExpectation) -> Forced {
    let step = |thread, row, text: &str| Step { thread, action: Action::Finish, row, text: text.into() };
    Forced::Diagram {
        drawing: vec!["victim      interferer".into(), "read page   .".into(), ".           write page".into()],
        threads: vec!["victim".into(), "interferer".into()],
        steps: vec![step(0, 1, "read page"), step(1, 2, "write page")],
        rounds: 3,
        expect,
    }
}

fn sweep() -> Forced {
    Forced::Sweep {
        victim: "read page".into(),
        interferers: vec!["interferer: write page".into(), "interferer: pageout page".into()],
        functions: vec!["do_swap_page".into()],
        callees: Vec::new(),
        coarse: false,
    }
}

/// The run of `case`, with these forced cells besides.
fn with(mut case: Case, forced: &[ForcedSpec]) -> Case {
    for entry in &mut case.entries {
        if let Entry::RunStarted(run) = entry {
            run.forced = forced.to_vec();
        }
    }
    case
}

/// A run of forced cells alone.
fn alone(forced: &[ForcedSpec]) -> Case {
    let mut case = with(Case::new(&[], &[]), forced);
    if let Some(Entry::RunStarted(run)) = case.entries.first_mut() {
        run.cells.clear();
        run.comparisons.clear();
    }
    case
}

fn drawn(base: ForcedExpectation, patched: ForcedExpectation) -> Vec<ForcedSpec> {
    vec![spec("base", "drawn", diagram(base)), spec("patched", "drawn", diagram(patched))]
}

fn swept() -> Vec<ForcedSpec> {
    vec![spec("base", "swept", sweep()), spec("patched", "swept", sweep())]
}

fn damage_done() -> Damage {
    Damage {
        object: "page".into(),
        kind: CorruptionKind::LostUpdate,
        expected: "generation 4".into(),
        found: "generation 3".into(),
    }
}

fn corrupt() -> ForcedOutcome {
    ForcedOutcome::Corrupt { damage: damage_done() }
}

fn blocked(function: &str) -> ForcedOutcome {
    let why = Exclusion::Blocked { function: function.into(), for_ms: 200 };
    ForcedOutcome::Excluded { step: 1, why, damage: None }
}

fn crashed() -> ForcedOutcome {
    ForcedOutcome::Crashed { reason: "panic".into() }
}

fn lost() -> ForcedOutcome {
    ForcedOutcome::Lost { reason: "SSH broke".into() }
}

fn round(cell: &str, number: u32, held: bool, outcome: ForcedOutcome) -> Entry {
    let entry = Some(SwapEntry { kind: 0, offset: 15 });
    Entry::ForcedRound(Box::new(ForcedRound {
        cell: cell.into(),
        round: number,
        held,
        outcome,
        steps: Vec::new(),
        threads: Vec::new(),
        entry_before: entry,
        entry_after: entry,
        seconds: 0.2,
        problems: Vec::new(),
    }))
}

/// `case` with three held rounds of each cell.
fn rounds(mut case: Case, cells: &[(&str, &ForcedOutcome)]) -> Case {
    for (cell, outcome) in cells {
        for number in 1..=3 {
            case = case.with(round(cell, number, true, (*outcome).clone()));
        }
    }
    case
}

fn point(address: u64, order: Option<u64>, illegal: Option<&str>) -> SweepPoint {
    SweepPoint {
        address,
        function: "do_swap_page".into(),
        offset: address - 0x1000,
        instruction: "nop".into(),
        inlined: None,
        file: Some("mm/memory.c".into()),
        line: u32::try_from(3700 + address - 0x1000).ok(),
        source: None,
        order,
        illegal: illegal.map(str::to_owned),
    }
}

/// Eight points against the order of their addresses, the fourth on the way illegal, and one beside the way.
fn traced(cell: &str) -> Entry {
    let mut points: Vec<SweepPoint> =
        (0..8).map(|place| point(0x1010 - place, Some(place), (place == 3).then_some("preempt count 1"))).collect();
    points.push(point(0x1020, None, None));
    Entry::SweepTraced(Box::new(SweepTraced { cell: cell.into(), points, steps: 500, seconds: 1.0 }))
}

fn tried(cell: &str, place: u64, outcome: ForcedOutcome) -> Entry {
    Entry::SweepTried(Box::new(SweepTried {
        cell: cell.into(),
        address: 0x1010 - place,
        outcome,
        threads: Vec::new(),
        problems: Vec::new(),
        seconds: 0.1,
    }))
}

/// A whole sweep in which these places corrupt.
fn sweeping(mut case: Case, cell: &str, bad: &[u64]) -> Case {
    case = case.with(traced(cell));
    for place in [0, 1, 2, 4, 5, 6, 7] {
        case = case.with(tried(cell, place, if bad.contains(&place) { corrupt() } else { ForcedOutcome::Clean }));
    }
    case
}

use ForcedExpectation as Expect;

#[track_caller]
fn word(case: &Case) -> ForcedVerdict {
    let results = case.results();
    assert_eq!(results.forced_comparisons.len(), 1);
    results.forced_comparisons[0].verdict
}

#[test]
fn a_diagram_the_patched_kernel_excludes_is_closed() {
    let case = rounds(
        alone(&drawn(Expect::Corrupt, Expect::Excluded)),
        &[(DRAWN_BASE, &corrupt()), (DRAWN_PATCHED, &blocked("do_swap_page"))],
    );
    assert_eq!(word(&case), ForcedVerdict::Closed);
    let results = case.results();
    assert_eq!(exit_code(&results), 0);
    let patched = &results.forced[1];
    assert_eq!((patched.met, patched.state), (Met::Yes, ForcedState::Excluded));
    assert_eq!(patched.exclusions.len(), 1);
    let seen = &patched.exclusions[0];
    assert_eq!(
        (seen.thread.as_deref(), seen.text.as_deref(), seen.row),
        (Some("interferer"), Some("write page"), Some(2))
    );
    assert_eq!((seen.rounds.as_slice(), seen.function.as_deref()), (&[1, 2, 3][..], Some("do_swap_page")));
    let (proof, damage) = results.forced[0].proof().expect("it corrupted");
    assert_eq!((proof.round, damage), (1, &damage_done()));
}

#[test]
fn every_word_of_a_diagram() {
    let case = |base: &ForcedOutcome, patched: &ForcedOutcome| {
        word(&rounds(alone(&drawn(Expect::Any, Expect::Any)), &[(DRAWN_BASE, base), (DRAWN_PATCHED, patched)]))
    };
    let excluded_but_damaged =
        ForcedOutcome::Excluded { step: 0, why: Exclusion::TookAnotherWay, damage: Some(damage_done()) };
    assert_eq!(case(&corrupt(), &ForcedOutcome::Clean), ForcedVerdict::Harmless);
    assert_eq!(case(&corrupt(), &corrupt()), ForcedVerdict::NotClosed);
    assert_eq!(case(&corrupt(), &excluded_but_damaged), ForcedVerdict::NotClosed);
    assert_eq!(case(&corrupt(), &crashed()), ForcedVerdict::Broken);
    assert_eq!(case(&corrupt(), &lost()), ForcedVerdict::Inconclusive);
    assert_eq!(case(&ForcedOutcome::Clean, &ForcedOutcome::Clean), ForcedVerdict::NotReproduced);
    assert_eq!(case(&ForcedOutcome::Clean, &corrupt()), ForcedVerdict::NotClosed);
    assert_eq!(case(&crashed(), &crashed()), ForcedVerdict::NotClosed);
    assert_eq!(case(&crashed(), &corrupt()), ForcedVerdict::NotClosed);
    assert_eq!(case(&crashed(), &blocked("f")), ForcedVerdict::Closed);
    assert_eq!(case(&crashed(), &ForcedOutcome::Clean), ForcedVerdict::Harmless);
    assert_eq!(case(&lost(), &blocked("f")), ForcedVerdict::Inconclusive);
}

#[test]
fn a_base_that_dies_without_the_hold_closes_nothing() {
    let case =
        || rounds(alone(&drawn(Expect::Any, Expect::Any)), &[(DRAWN_BASE, &crashed()), (DRAWN_PATCHED, &blocked("f"))]);
    assert_eq!(word(&case().with(round(DRAWN_BASE, 1, false, ForcedOutcome::Clean))), ForcedVerdict::Closed);
    assert_eq!(word(&case().with(round(DRAWN_BASE, 1, false, crashed()))), ForcedVerdict::Inconclusive);
}

#[test]
fn a_base_that_corrupts_now_and_then_closes_nothing() {
    let case =
        rounds(alone(&drawn(Expect::Any, Expect::Any)), &[(DRAWN_BASE, &corrupt()), (DRAWN_PATCHED, &blocked("f"))]);
    assert_eq!(
        word(&case.with(round(DRAWN_BASE, 2, true, lost()))),
        ForcedVerdict::Closed,
        "a lost round never counts"
    );
    let case =
        rounds(alone(&drawn(Expect::Any, Expect::Any)), &[(DRAWN_BASE, &corrupt()), (DRAWN_PATCHED, &blocked("f"))]);
    assert_eq!(word(&case.with(round(DRAWN_BASE, 2, true, ForcedOutcome::Clean))), ForcedVerdict::Inconclusive);
}

#[test]
fn the_same_code_on_both_sides_says_nothing() {
    let case = rounds(
        alone(&drawn(Expect::Any, Expect::Any)).with(built("patched", "one")),
        &[(DRAWN_BASE, &corrupt()), (DRAWN_PATCHED, &blocked("f"))],
    );
    assert_eq!(word(&case), ForcedVerdict::Inconclusive);
}

#[test]
fn expectations_of_forced_cells() {
    let met = |expect, outcomes: &[ForcedOutcome]| {
        let mut case = alone(&[spec("base", "drawn", diagram(expect))]);
        for (number, outcome) in (1..).zip(outcomes) {
            case = case.with(round(DRAWN_BASE, number, true, outcome.clone()));
        }
        let results = case.results();
        (results.forced[0].met, exit_code(&results))
    };
    let (clean, none) = (ForcedOutcome::Clean, blocked("f"));
    assert_eq!(met(Expect::Corrupt, &[corrupt(), clean.clone()]), (Met::Yes, 0));
    assert_eq!(met(Expect::Corrupt, &[clean.clone(), none.clone()]), (Met::No, 1));
    assert_eq!(met(Expect::Corrupt, &[corrupt(), lost()]), (Met::Unmeasured, 75));
    assert_eq!(met(Expect::Excluded, &[none.clone(), clean.clone()]), (Met::Yes, 0));
    assert_eq!(met(Expect::Excluded, std::slice::from_ref(&clean)), (Met::No, 1));
    assert_eq!(met(Expect::Excluded, &[none.clone(), corrupt()]), (Met::No, 1));
    assert_eq!(met(Expect::Excluded, &[none.clone(), corrupt(), lost()]), (Met::No, 1), "a loss excuses no corruption");
    assert_eq!(met(Expect::Excluded, &[lost()]), (Met::Unmeasured, 75));
    assert_eq!(met(Expect::Clean, &[none]), (Met::Yes, 0));
    assert_eq!(met(Expect::Clean, &[clean.clone(), crashed()]), (Met::No, 1));
    assert_eq!(met(Expect::Crash, &[crashed()]), (Met::Yes, 0));
    assert_eq!(met(Expect::Crash, &[clean]), (Met::No, 1));
    assert_eq!(met(Expect::Any, &[crashed()]), (Met::Yes, 0));
    assert_eq!(met(Expect::Any, &[]), (Met::Unmeasured, 75));
}

#[test]
fn rounds_without_a_hold_meet_no_expectation() {
    let case = alone(&[spec("base", "drawn", diagram(Expect::Corrupt))]);
    let results = case.with(round(DRAWN_BASE, 1, false, corrupt())).results();
    assert_eq!(results.forced[0].met, Met::Unmeasured);
    assert_eq!((results.forced[0].control.corrupt, results.forced[0].held.corrupt), (1, 0));
}

#[test]
fn what_could_not_be_tried_says_whose_fault_it_is() {
    let failed = |plan| {
        let case = alone(&[spec("base", "drawn", diagram(Expect::Corrupt))]);
        case.with(Entry::ForcedFailed(ForcedFailed {
            cell: DRAWN_BASE.into(),
            reason: "no function".into(),
            plan,
            absent: None,
        }))
    };
    assert_eq!(exit_code(&failed(true).results()), 2);
    assert_eq!(exit_code(&failed(false).results()), 3);
    // Tried again, and well.
    assert_eq!(exit_code(&failed(true).with(round(DRAWN_BASE, 1, true, corrupt())).results()), 0);
    // An expectation that came out wrong is the more important news.
    let both = rounds(
        alone(&drawn(Expect::Corrupt, Expect::Excluded)),
        &[(DRAWN_BASE, &corrupt()), (DRAWN_PATCHED, &corrupt())],
    );
    let failure = ForcedFailed { cell: DRAWN_BASE.into(), reason: "late".into(), plan: true, absent: None };
    assert_eq!(exit_code(&both.with(Entry::ForcedFailed(failure)).results()), 1);
    let built = BuildFailed { kernel: "k".into(), variant: "base".into(), reason: "cc".into() };
    let case = alone(&[spec("base", "drawn", diagram(Expect::Any))]).with(Entry::BuildFailed(built));
    assert_eq!(exit_code(&case.results()), 3);
    let finished = RunFinished { finished: "x".into(), interrupted: true };
    assert_eq!(exit_code(&failed(true).with(Entry::RunFinished(finished)).results()), 130);
}

/// `cell` lacks the point of its first step.
fn absent(cell: &str) -> Entry {
    let reason = "`do_swap_page` does not call `swap_readpage`".into();
    Entry::ForcedFailed(ForcedFailed { cell: cell.into(), reason, plan: true, absent: Some(0) })
}

#[test]
fn a_point_that_only_one_variant_lacks_is_an_exclusion() {
    let case = |expect| {
        let case = alone(&drawn(Expect::Corrupt, expect));
        case.with(round(DRAWN_BASE, 1, true, corrupt())).with(absent(DRAWN_PATCHED))
    };
    let results = case(Expect::Excluded).results();
    assert_eq!(exit_code(&results), 0);
    let patched = &results.forced[1];
    assert_eq!((patched.state, patched.met), (ForcedState::Excluded, Met::Yes));
    assert!(patched.failures.is_empty());
    let seen = &patched.exclusions[0];
    assert_eq!((seen.thread.as_deref(), seen.text.as_deref()), (Some("victim"), Some("read page")));
    assert!(seen.absent.as_ref().is_some_and(|why| why.contains("does not call")));
    assert_eq!(word(&case(Expect::Excluded)), ForcedVerdict::NotInKernel);
    assert_eq!(exit_code(&case(Expect::Clean).results()), 0);
    assert_eq!(exit_code(&case(Expect::Corrupt).results()), 1);

    // Nothing can be learnt of a patch where the base lacks the point.
    let reversed = alone(&drawn(Expect::Any, Expect::Any)).with(absent(DRAWN_BASE)).with(round(
        DRAWN_PATCHED,
        1,
        true,
        ForcedOutcome::Clean,
    ));
    let results = reversed.results();
    assert_eq!(results.forced_comparisons[0].verdict, ForcedVerdict::Inconclusive);
    assert_eq!(results.forced_comparisons[0].unclear, Some("the base's code does not have the drawn point"));
}

#[test]
fn a_point_that_no_variant_has_is_the_plans_error() {
    let case = alone(&drawn(Expect::Any, Expect::Any)).with(absent(DRAWN_BASE)).with(absent(DRAWN_PATCHED));
    assert_eq!(exit_code(&case.results()), 2);
    assert_eq!(word(&case), ForcedVerdict::Inconclusive);
    // Another drawing of the same kernel says nothing of this one's points.
    let mut specs = drawn(Expect::Any, Expect::Any);
    specs.push(spec("base", "other", diagram(Expect::Any)));
    let case = alone(&specs).with(absent(DRAWN_PATCHED)).with(round("k.base.g.other", 1, true, corrupt()));
    assert_eq!(exit_code(&case.results()), 2);
}

#[test]
fn windows_follow_the_victim_and_not_the_addresses() {
    let results = sweeping(alone(&swept()), SWEPT_BASE, &[1, 2, 4, 6]).results();
    let it = &results.sweeps[0];
    assert!(it.complete);
    let windows: Vec<(usize, usize, u64, u64)> =
        it.windows.iter().map(|window| (window.first, window.last, window.corrupt, window.illegal)).collect();
    assert_eq!(windows, [(1, 4, 3, 1), (6, 6, 1, 0)], "an illegal point does not end a window, a clean one does");
    assert_eq!(it.way[1].point.address, 0x100f);
    assert_eq!((it.counts.corrupt, it.counts.legal(), it.counts.illegal, it.counts.unreached), (4, 7, 1, 1));
    assert_eq!(it.threads(), 2);
}

#[test]
fn a_point_met_once_and_never_again_is_not_on_the_way_and_a_lost_one_is_missing() {
    let astray = || ForcedOutcome::Excluded { step: 1, why: Exclusion::TookAnotherWay, damage: None };
    let with = |what: ForcedOutcome| {
        let case = sweeping(alone(&swept()), SWEPT_BASE, &[1, 4]).with(tried(SWEPT_BASE, 2, what));
        case.results().sweeps.remove(0)
    };
    let it = with(astray());
    assert!(it.complete);
    assert_eq!((it.counts.once, it.counts.lost, it.counts.legal()), (1, 0, 6));
    let told: Vec<_> = it.windows.iter().map(|it| (it.corrupt, it.illegal, it.missing)).collect();
    assert_eq!(told, [(2, 1, 0)], "it does not end a window");
    let it = with(lost());
    assert!(!it.complete);
    assert_eq!((it.counts.once, it.counts.lost, it.counts.legal()), (0, 1, 7));
}

#[test]
fn every_word_of_a_sweep() {
    let case =
        |base: &[u64], patched: &[u64]| sweeping(sweeping(alone(&swept()), SWEPT_BASE, base), SWEPT_PATCHED, patched);
    assert_eq!(word(&case(&[1, 2, 4], &[])), ForcedVerdict::Closed);
    assert_eq!(word(&case(&[1, 2, 4], &[2])), ForcedVerdict::Narrowed);
    assert_eq!(word(&case(&[1], &[2])), ForcedVerdict::NotClosed);
    assert_eq!(word(&case(&[], &[])), ForcedVerdict::NotReproduced);
    assert_eq!(word(&case(&[1], &[]).with(tried(SWEPT_PATCHED, 5, crashed()))), ForcedVerdict::Broken);
    assert_eq!(exit_code(&case(&[1, 2, 4], &[2]).results()), 0, "a sweep expects nothing");

    let left = case(&[1, 2, 4], &[2]).results().forced_comparisons[0].left.clone();
    assert_eq!(left.iter().map(|point| point.address).collect::<Vec<_>>(), [0x100e]);

    let missing = case(&[1, 2, 4], &[]).with(tried(SWEPT_PATCHED, 5, lost()));
    assert_eq!(word(&missing), ForcedVerdict::ClosedSoFar);
    assert_eq!(exit_code(&missing.results()), 3, "the rest is conclusive");
    let narrowed = case(&[1, 2], &[2]).with(tried(SWEPT_PATCHED, 5, lost()));
    assert_eq!(word(&narrowed), ForcedVerdict::NotClosed, "what is missing counts against the patch");
    // The victim never was at the point: it is not on its way.
    let elsewhere = ForcedOutcome::Excluded { step: 0, why: Exclusion::TookAnotherWay, damage: None };
    assert_eq!(word(&case(&[1, 2, 4], &[]).with(tried(SWEPT_PATCHED, 5, elsewhere))), ForcedVerdict::Closed);
}

#[test]
fn a_sweep_cut_short_is_undecided() {
    let results = alone(&swept()).with(traced(SWEPT_BASE)).with(tried(SWEPT_BASE, 0, corrupt())).results();
    let it = &results.sweeps[0];
    assert_eq!((it.complete, it.met, it.counts.untried), (false, Met::Undecided, 6));
    assert_eq!(results.sweeps[1].met, Met::Unmeasured);
}

/// Races that say fixed, not fixed, and what forced evidence makes of it.
#[test]
fn a_forced_corruption_overrules_races_that_say_fixed() {
    let drawings = || with(Case::fixed(), &drawn(Expect::Any, Expect::Any));
    let results = rounds(drawings(), &[(DRAWN_BASE, &corrupt()), (DRAWN_PATCHED, &corrupt())]).results();
    let it = &results.comparisons[0];
    assert_eq!((it.verdict, it.reason), (Verdict::NotFixed, Reason::ForcedCorruption));
    assert_eq!(it.by_races, Some((Verdict::Fixed, Reason::CleanAndExposed)));
    assert_eq!(it.contradictions.len(), 1);
    assert_eq!((results.cells[1].met, exit_code(&results)), (Met::No, 1));

    let results = sweeping(sweeping(with(Case::fixed(), &swept()), SWEPT_BASE, &[1, 2]), SWEPT_PATCHED, &[1]).results();
    assert_eq!(results.comparisons[0].reason, Reason::ForcedCorruption);

    let results = rounds(drawings(), &[(DRAWN_BASE, &corrupt()), (DRAWN_PATCHED, &crashed())]).results();
    assert_eq!((results.comparisons[0].verdict, results.comparisons[0].reason), (Verdict::Broken, Reason::ForcedCrash));
    assert_eq!(exit_code(&results), 1);

    for harmless in [blocked("f"), lost(), ForcedOutcome::Clean] {
        let results = rounds(drawings(), &[(DRAWN_BASE, &corrupt()), (DRAWN_PATCHED, &harmless)]).results();
        let it = &results.comparisons[0];
        assert_eq!((it.verdict, it.by_races, it.forced.len()), (Verdict::Fixed, None, 1));
        assert!(it.contradictions.is_empty());
    }
}

#[test]
fn too_few_races_do_not_hide_a_forced_corruption() {
    let case = with(Case::new(&[(2000, 21), (2000, 19)], &[(0, 0), (0, 0)]), &drawn(Expect::Any, Expect::Any));
    let results = rounds(case, &[(DRAWN_BASE, &corrupt()), (DRAWN_PATCHED, &corrupt())]).results();
    assert_eq!(results.comparisons[0].reason, Reason::ForcedCorruption);
    assert_eq!(results.comparisons[0].exposures_needed, None);
    assert_eq!(results.cells[1].met, Met::No);
    // Where the base never corrupts in any way, there is nothing to have been fixed.
    let case = with(Case::new(&[(2000, 0), (2000, 0)], &[(2000, 0), (2000, 0)]), &drawn(Expect::Any, Expect::Any));
    let results = rounds(case, &[(DRAWN_BASE, &ForcedOutcome::Clean), (DRAWN_PATCHED, &corrupt())]).results();
    assert_eq!(results.comparisons[0].verdict, Verdict::NotReproduced);
    assert!(results.comparisons[0].caveats.iter().any(|it| it.contains("the base never did")));
}

#[test]
fn an_excluded_drawing_takes_nothing_back_from_races_that_corrupt() {
    let case =
        with(Case::new(&[(2000, 310), (2000, 290)], &[(2000, 305), (2000, 280)]), &drawn(Expect::Any, Expect::Any));
    let results = rounds(case, &[(DRAWN_BASE, &corrupt()), (DRAWN_PATCHED, &blocked("f"))]).results();
    let it = &results.comparisons[0];
    assert_eq!((it.verdict, it.reason, it.by_races), (Verdict::NotFixed, Reason::StillCorrupts, None));
    assert!(it.contradictions[0].contains("by a way the diagram does not draw"), "{:?}", it.contradictions);
}

#[test]
fn a_closed_drawing_alone_fixes_nothing() {
    let case = with(Case::new(&[(2000, 21), (2000, 19)], &[(200, 0), (200, 0)]), &drawn(Expect::Any, Expect::Any));
    let results = rounds(case, &[(DRAWN_BASE, &corrupt()), (DRAWN_PATCHED, &blocked("f"))]).results();
    assert_eq!(results.comparisons[0].verdict, Verdict::Inconclusive);
}

#[test]
fn other_kernels_and_controls_are_left_alone() {
    let mut other = drawn(Expect::Any, Expect::Any);
    for spec in &mut other {
        spec.kernel = "another".into();
    }
    let results =
        rounds(with(Case::fixed(), &other), &[(DRAWN_BASE, &corrupt()), (DRAWN_PATCHED, &corrupt())]).results();
    assert_eq!(results.comparisons[0].verdict, Verdict::Fixed);
    let mut case = with(Case::fixed(), &drawn(Expect::Any, Expect::Any));
    if let Some(Entry::RunStarted(run)) = case.entries.first_mut() {
        run.comparisons[0].control = true;
        run.cells[1].expect = Expectation::Any;
    }
    let before = case.results().comparisons[0].verdict;
    let results = rounds(case, &[(DRAWN_BASE, &corrupt()), (DRAWN_PATCHED, &corrupt())]).results();
    assert_eq!(results.comparisons[0].verdict, before);
}

#[test]
fn another_accelerators_rounds_are_set_aside() {
    let case = rounds(alone(&drawn(Expect::Any, Expect::Any)), &[(DRAWN_BASE, &corrupt())]);
    let before = case.results().forced;
    let results = case.with(start("kvm")).with(round(DRAWN_BASE, 1, true, ForcedOutcome::Clean)).results();
    assert_eq!(results.forced, before);
}

#[test]
fn a_run_merged_in_brings_its_forced_cells() {
    let first = rounds(alone(&[spec("base", "drawn", diagram(Expect::Any))]), &[(DRAWN_BASE, &corrupt())]);
    let second = rounds(alone(&drawn(Expect::Any, Expect::Any)), &[(DRAWN_PATCHED, &blocked("f"))]);
    let results = Results::fold(first.entries.into_iter().chain(second.entries));
    assert_eq!(results.forced.len(), 2);
    assert_eq!(results.forced_comparisons[0].verdict, ForcedVerdict::Closed);
}

#[test]
fn entries_survive_the_journal() {
    let case = rounds(
        sweeping(with(Case::fixed(), &[drawn(Expect::Corrupt, Expect::Excluded), swept()].concat()), SWEPT_BASE, &[1]),
        &[(DRAWN_BASE, &corrupt()), (DRAWN_PATCHED, &blocked("f"))],
    );
    let lines: Vec<String> =
        case.entries.iter().map(|entry| serde_json::to_string(entry).expect("plain data") + "\n").collect();
    let read = crate::journal::journal_lines(lines.concat().as_bytes()).expect("what was written");
    assert_eq!(Results::fold(read), case.results());
    assert_eq!(case.results().cells, Case::fixed().results().cells, "the races' rounds are untouched");
}

fn outcome(kind: u8) -> ForcedOutcome {
    match kind % 5 {
        0 => corrupt(),
        1 => ForcedOutcome::Clean,
        2 => blocked("f"),
        3 => crashed(),
        _ => lost(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn points_tried_twice_count_once_and_the_last_trial_counts(
        trials in proptest::collection::vec((0u64..8, 0u8..5), 0..40), again in 0usize..40,
    ) {
        let fold = |trials: &[(u64, u8)]| {
            let mut case = alone(&swept()).with(traced(SWEPT_BASE));
            for &(place, kind) in trials {
                case = case.with(tried(SWEPT_BASE, place, outcome(kind)));
            }
            case.results().sweeps.remove(0)
        };
        let whole = fold(&trials);
        // Nine points, however often each was tried.
        let counts = &whole.counts;
        prop_assert_eq!(counts.legal() + counts.illegal + counts.unreached + counts.once, 9);
        // The last trial of each place, alone.
        let mut last: Vec<(u64, u8)> = Vec::new();
        for &(place, kind) in &trials {
            last.retain(|(known, _)| *known != place);
            last.push((place, kind));
        }
        prop_assert_eq!(&fold(&last).counts, counts);
        // And those of a run cut off anywhere and taken up again.
        let cut = again.min(trials.len());
        let resumed: Vec<_> = trials[..cut].iter().chain(&trials).copied().collect();
        prop_assert_eq!(&fold(&resumed).windows, &whole.windows);
        prop_assert_eq!(&fold(&resumed).counts, counts);
        let corrupt: u64 = whole.windows.iter().map(|window| window.corrupt).sum();
        prop_assert_eq!(corrupt, counts.corrupt);
    }

    #[test]
    fn another_forced_corruption_never_helps(kinds in proptest::collection::vec(0u8..5, 1..6)) {
        let mut case = with(Case::fixed(), &drawn(Expect::Any, Expect::Excluded));
        case = rounds(case, &[(DRAWN_BASE, &corrupt())]);
        for (number, kind) in (1..).zip(&kinds) {
            case = case.with(round(DRAWN_PATCHED, number, true, outcome(*kind)));
        }
        let results = case.with(round(DRAWN_PATCHED, 99, true, corrupt())).results();
        prop_assert_ne!(results.comparisons[0].verdict, Verdict::Fixed);
        prop_assert_eq!(results.forced[1].met, Met::No);
        prop_assert_eq!(exit_code(&results), 1);
    }
}
