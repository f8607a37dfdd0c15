//! Every rule of the verdict, each by a run that only that rule tells apart, and the journal's ends.

use proptest::prelude::*;
use twinboot_protocol::{Counts, StopReason, Summary};

use super::{CellOutcome, EvidenceKind, Met, Reason, Results, Verdict, exit_code};
use crate::crash::{CrashKind, CrashReport};
use crate::journal::entry::{
    Accelerator, BuildFailed, Built, CellSpec, ComparisonSpec, Host, RoundFinished, RoundId, RoundOutcome, RunFinished,
    RunStarted, Stage,
};
use crate::journal::rules::{Expectation, Rule, Warmth};
use crate::journal::{Entry, journal_lines};

pub(super) const BASE: &str = "k.base.g.t";
pub(super) const PATCHED: &str = "k.patched.g.t";

pub(super) fn spec(variant: &str, expect: Expectation) -> CellSpec {
    CellSpec {
        id: format!("k.{variant}.g.t"),
        kernel: "k".into(),
        variant: variant.into(),
        guest: "g".into(),
        test: "t".into(),
        program: "swap-race".into(),
        strategy: None,
        oracle: None,
        expect,
        counts: Vec::new(),
        rounds: 5,
        round_s: 0,
        rule: None,
        cpus: 2,
        memory: 512 << 20,
        swap: None,
        clone: Warmth::default(),
        boots: 0,
        patches: Vec::new(),
    }
}

pub(crate) fn start(accelerator: &str) -> Entry {
    Entry::RunStarted(Box::new(RunStarted {
        schema: 1,
        twinboot: "0.1.0".into(),
        started: "2026-01-01T00:00:00Z".into(),
        plan: "p".into(),
        plan_sha256: String::new(),
        rerun: "twinboot run p.yaml".into(),
        seed: 1,
        alpha: 1e-6,
        host: Host { kernel: "Linux".into(), cpu: "cpu".into(), cpus: 2, memory: 1 << 30 },
        accelerator: Accelerator { name: accelerator.into(), qemu: "7.2".into() },
        load: None,
        cells: vec![spec("base", Expectation::Corrupt), spec("patched", Expectation::Clean)],
        forced: Vec::new(),
        whole: None,
        comparisons: vec![ComparisonSpec { base: BASE.into(), patched: PATCHED.into(), control: false }],
    }))
}

pub(super) fn built(variant: &str, digest: &str) -> Entry {
    Entry::Built(Box::new(Built {
        kernel: "k".into(),
        variant: variant.into(),
        release: "6.1".into(),
        source: String::new(),
        config_sha256: String::new(),
        compiler: String::new(),
        key: String::new(),
        load_digest: digest.into(),
        cached: true,
        seconds: 0.0,
        patch_notes: Vec::new(),
    }))
}

/// A round's end with (exposures, corruptions).
pub(super) fn end(cell: &str, round: u32, exposures: u64, corruptions: u64) -> RoundFinished {
    RoundFinished {
        id: RoundId { cell: cell.into(), round },
        seed: 1,
        outcome: RoundOutcome::Finished,
        preflight: None,
        summary: Some(Summary {
            elapsed_ns: 10_000_000_000,
            counts: Counts { tries: exposures * 4, landings: exposures, reuses: exposures, exposures, corruptions },
            first_corruption_ns: (corruptions > 0).then_some(20_000_000 * u64::from(round)),
            stopped_by: StopReason::Deadline,
            seed: 1,
            factors: Vec::new(),
            details: Vec::new(),
            profile: Vec::new(),
        }),
        progress: Vec::new(),
        corruptions_received: corruptions,
        samples: Vec::new(),
        problems: Vec::new(),
        stages: Vec::new(),
        boot: Vec::new(),
        clone: Warmth::default(),
        saved_boot: None,
        exit: None,
        matched: Vec::new(),
    }
}

/// A run of both cells, by the (exposures, corruptions) of their rounds.
pub(super) struct Case {
    pub(super) entries: Vec<Entry>,
}

impl Case {
    pub(super) fn new(base: &[(u64, u64)], patched: &[(u64, u64)]) -> Self {
        let mut entries = vec![start("tcg"), built("base", "one"), built("patched", "two")];
        for (cell, rounds) in [(BASE, base), (PATCHED, patched)] {
            for (number, &(exposures, corruptions)) in (1..).zip(rounds) {
                entries.push(Entry::RoundStarted(RoundId { cell: cell.into(), round: number }));
                entries.push(Entry::RoundFinished(Box::new(end(cell, number, exposures, corruptions))));
            }
        }
        Self { entries }
    }

    /// A case that is `fixed` unless something is done to it.
    pub(super) fn fixed() -> Self {
        Self::new(&[(2000, 310), (2000, 290), (2000, 300)], &[(2000, 0), (2000, 0), (2000, 0)])
    }

    pub(super) fn with(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    /// Another round of `cell` that ended with `outcome` and no summary.
    pub(super) fn ended(self, cell: &str, outcome: RoundOutcome) -> Self {
        let mut round = end(cell, 9, 0, 0);
        round.outcome = outcome;
        round.summary = None;
        self.with(Entry::RoundFinished(Box::new(round)))
    }

    pub(super) fn problem(self, cell: &str, kind: CrashKind) -> Self {
        let mut round = end(cell, 9, 2000, if cell == BASE { 300 } else { 0 });
        round.problems.push(CrashReport {
            kind,
            fingerprint: vec!["WARNING: at mm/x.c:#".into()],
            excerpt: vec!["[    1.000000] WARNING: at mm/x.c:12".into()],
            count: 1,
            note: None,
        });
        self.with(Entry::RoundFinished(Box::new(round)))
    }

    pub(super) fn results(&self) -> Results {
        Results::fold(self.entries.clone())
    }

    #[track_caller]
    fn gives(&self, verdict: Verdict, reason: Reason, code: u8) -> Results {
        let results = self.results();
        let it = &results.comparisons[0];
        assert_eq!((it.verdict, it.reason), (verdict, reason), "{it:#?}");
        assert_eq!(exit_code(&results), code);
        results
    }
}

#[test]
fn zero_in_enough_exposures_against_a_reproducing_base_is_fixed() {
    let results = Case::fixed().gives(Verdict::Fixed, Reason::CleanAndExposed, 0);
    let it = &results.comparisons[0];
    assert_eq!(it.carried_by(), Some(EvidenceKind::Exposures));
    assert!(it.p.expect("a p-value").log10() < -200.0);
    assert!(it.exposures_needed.is_none());
    assert_eq!(results.cells[0].outcome, CellOutcome::Corrupted);
    assert_eq!(results.cells[0].first_corruption_s, Some(0.02));
    assert_eq!(results.cells[0].median_first_corruption_s, Some(0.04));
    assert_eq!(results.cells[1].outcome, CellOutcome::Clean);
}

#[test]
fn a_fix_that_prevents_exposures_is_never_fixed() {
    let case = Case::new(&[(2000, 310), (2000, 290)], &[(0, 0), (0, 0)]);
    let results = case.gives(Verdict::Inconclusive, Reason::NoExposures, 1);
    assert_eq!(results.cells[1].outcome, CellOutcome::Unexposed);
}

#[test]
fn too_few_exposures_say_how_many_are_missing_and_that_many_are_enough() {
    let case = Case::new(&[(2000, 21), (2000, 19)], &[(200, 0), (200, 0)]);
    let more = case.gives(Verdict::Inconclusive, Reason::NotEnoughExposures, 1).comparisons[0]
        .exposures_needed
        .expect("a number");
    let each = 200 + more.div_ceil(2);
    Case::new(&[(2000, 21), (2000, 19)], &[(each, 0), (each, 0)]).gives(Verdict::Fixed, Reason::CleanAndExposed, 0);
    let less = each * 9 / 10;
    Case::new(&[(2000, 21), (2000, 19)], &[(less, 0), (less, 0)]).gives(
        Verdict::Inconclusive,
        Reason::ResidualNotExcluded,
        1,
    );
}

#[test]
fn corrupting_as_before_is_not_fixed() {
    Case::new(&[(2000, 310), (2000, 290)], &[(2000, 305), (2000, 280)]).gives(
        Verdict::NotFixed,
        Reason::StillCorrupts,
        1,
    );
}

#[test]
fn a_thinner_race_is_reduced_and_a_thicker_one_regressed() {
    let dense = [(2000, 310), (2000, 290), (2000, 300)];
    let thin = [(2000, 31), (2000, 29), (2000, 30)];
    Case::new(&dense, &thin).gives(Verdict::Reduced, Reason::FewerCorruptions, 1);
    Case::new(&thin, &dense).gives(Verdict::Regressed, Reason::MoreCorruptions, 1);
    // One corruption is one too many for `fixed`.
    Case::new(&dense, &[(2000, 0), (2000, 1), (2000, 0)]).gives(Verdict::Reduced, Reason::FewerCorruptions, 1);
}

#[test]
fn a_clean_base_proves_nothing() {
    let results =
        Case::new(&[(2000, 0), (2000, 0)], &[(2000, 0), (2000, 0)]).gives(Verdict::NotReproduced, Reason::BaseClean, 1);
    assert_eq!((results.cells[0].met, results.cells[1].met), (Met::No, Met::Undecided));
    Case::new(&[(2000, 0), (2000, 0)], &[(2000, 3), (2000, 0)]).gives(Verdict::NotReproduced, Reason::BaseClean, 1);
}

#[test]
fn any_kernel_trouble_of_the_patched_kernel_is_broken() {
    use CrashKind::{Bug, DataLoss, Hang, Leak, Lockdep, Oom, Panic, Warning};
    for kind in [Warning, Bug, Lockdep, Hang, Oom, Panic, DataLoss, Leak] {
        let results = Case::fixed().problem(PATCHED, kind).gives(Verdict::Broken, Reason::KernelTrouble, 1);
        assert_eq!(results.cells[1].trouble[0].headline, "WARNING: at mm/x.c:12");
    }
    for outcome in [
        RoundOutcome::GuestDied { reason: "reset".into() },
        RoundOutcome::TimedOut { stage: Stage::Boot, after_s: 60.0 },
        RoundOutcome::TimedOut { stage: Stage::Test, after_s: 60.0 },
        RoundOutcome::TimedOut { stage: Stage::Shutdown, after_s: 60.0 },
    ] {
        Case::fixed().ended(PATCHED, outcome).gives(Verdict::Broken, Reason::KernelTrouble, 1);
    }
}

#[test]
fn trouble_of_the_base_is_told_but_does_not_stop_fixed() {
    let results = Case::fixed()
        .problem(BASE, CrashKind::Bug)
        .ended(BASE, RoundOutcome::GuestDied { reason: "reset".into() })
        .gives(Verdict::Fixed, Reason::CleanAndExposed, 0);
    assert!(results.comparisons[0].caveats.iter().any(|caveat| caveat.contains("the base showed")));
}

#[test]
fn trouble_of_both_kernels_alike_is_not_the_patchs() {
    let both = Case::fixed().problem(BASE, CrashKind::Warning).problem(PATCHED, CrashKind::Warning);
    let results = both.gives(Verdict::Fixed, Reason::CleanAndExposed, 0);
    assert_eq!(results.cells[1].outcome, CellOutcome::Clean);
    let caveats = &results.comparisons[0].caveats;
    assert!(caveats.iter().any(|caveat| caveat.contains("is the base's as well")), "{caveats:?}");

    let mut often = Case::fixed().problem(BASE, CrashKind::Warning);
    for number in 20..40 {
        for cell in [BASE, PATCHED] {
            let mut round = end(cell, number, 2000, if cell == BASE { 300 } else { 0 });
            if cell == PATCHED {
                let shown = Case::fixed().problem(PATCHED, CrashKind::Warning);
                let Some(Entry::RoundFinished(like)) = shown.entries.last() else { unreachable!("it ends a round") };
                round.problems.clone_from(&like.problems);
            }
            often = often.with(Entry::RoundFinished(Box::new(round)));
        }
    }
    often.gives(Verdict::Broken, Reason::KernelTrouble, 1);
}

#[test]
fn what_the_base_alone_complains_of_is_told_with_numbers() {
    let results = Case::fixed().problem(BASE, CrashKind::Hang).results();
    let caveats = &results.comparisons[0].caveats;
    assert!(caveats.iter().any(|caveat| caveat.starts_with("hang (") && caveat.contains("in 0 of ")), "{caveats:?}");
}

#[test]
fn rounds_lost_to_the_host_leave_it_open_unless_no_guest_ran() {
    let ssh = RoundOutcome::Infrastructure { stage: Stage::Ssh, reason: "broken pipe".into() };
    Case::fixed().ended(PATCHED, ssh.clone()).gives(Verdict::Inconclusive, Reason::RoundsLost, 75);
    Case::fixed().with(Entry::RoundStarted(RoundId { cell: PATCHED.into(), round: 9 })).gives(
        Verdict::Inconclusive,
        Reason::RoundsLost,
        75,
    );
    let crashed = RoundOutcome::TestFailed { reason: "signal 11".into() };
    Case::fixed().ended(PATCHED, crashed).gives(Verdict::Inconclusive, Reason::RoundsLost, 75);
    let never = RoundOutcome::Infrastructure { stage: Stage::Start, reason: "no memory".into() };
    Case::fixed().ended(PATCHED, never).gives(Verdict::Fixed, Reason::CleanAndExposed, 0);
    Case::fixed().ended(PATCHED, RoundOutcome::Interrupted).gives(Verdict::Fixed, Reason::CleanAndExposed, 0);
    Case::fixed().ended(BASE, ssh).gives(Verdict::Fixed, Reason::CleanAndExposed, 0);
}

#[test]
fn corruptions_of_a_round_that_died_forbid_fixed() {
    let mut died = end(PATCHED, 9, 0, 0);
    died.summary = None;
    died.outcome = RoundOutcome::Infrastructure { stage: Stage::Test, reason: "SSH broke".into() };
    died.corruptions_received = 2;
    let results = Case::fixed().with(Entry::RoundFinished(Box::new(died))).results();
    assert_eq!(results.comparisons[0].verdict, Verdict::NotFixed);
    assert!(results.comparisons[0].caveats.iter().any(|caveat| caveat.contains("2 more corruptions")));
    assert_eq!(results.cells[1].outcome, CellOutcome::Corrupted);
}

#[test]
fn the_same_kernel_twice_is_refused_but_measured() {
    let case = Case::fixed().with(built("patched", "one"));
    let results = case.gives(Verdict::Inconclusive, Reason::IdenticalKernels, 1);
    assert!(results.comparisons[0].numbers.is_some(), "an A/A control reads them");
}

#[test]
fn one_round_cannot_tell_clusters() {
    Case::new(&[(6000, 900)], &[(2000, 0), (2000, 0), (2000, 0)]).gives(Verdict::Inconclusive, Reason::TooFewRounds, 1);
}

#[test]
fn clustered_corruptions_must_be_proven_by_rounds() {
    // Exposures alone would say p < 1e-200, but the base's luck turns on and off between rounds.
    let base = [(2000, 900), (2000, 0), (2000, 0), (2000, 2)];
    let results = Case::new(&base, &[(2000, 0), (2000, 0), (2000, 0)]).gives(
        Verdict::Inconclusive,
        Reason::NotEnoughExposures,
        1,
    );
    let it = &results.comparisons[0];
    let numbers = it.numbers.as_ref().expect("measured");
    assert!(numbers.overdispersed);
    assert!(numbers.evidence_of(EvidenceKind::Exposures).expect("exposed").p_lower.below(1e-100));
    assert_ne!(it.evidence.expect("told").kind, EvidenceKind::Exposures);
    assert!(it.exposures_needed.is_some());

    // Scatter without empty rounds: the model of the scatter carries it.
    let base = [(2000, 300), (2000, 420), (2000, 210), (2000, 350)];
    let clean = [(2000, 0); 4];
    let results = Case::new(&base, &clean).gives(Verdict::Fixed, Reason::CleanAndExposed, 0);
    assert_eq!(results.comparisons[0].carried_by(), Some(EvidenceKind::Clusters));

    // Thirty rounds against thirty carry it by themselves.
    let base: Vec<(u64, u64)> = (0..30).map(|round| (2000, 1 + round * round)).collect();
    let results = Case::new(&base, &[(2000, 0); 30]).gives(Verdict::Fixed, Reason::CleanAndExposed, 0);
    assert_eq!(results.comparisons[0].carried_by(), Some(EvidenceKind::Rounds));
}

#[test]
fn failed_builds_and_missing_rounds_are_infrastructure() {
    let failed = Entry::BuildFailed(BuildFailed { kernel: "k".into(), variant: "patched".into(), reason: "cc".into() });
    Case::new(&[(2000, 300), (2000, 310)], &[]).with(failed).gives(Verdict::Inconclusive, Reason::BuildFailed, 3);
    Case::new(&[(2000, 300), (2000, 310)], &[]).gives(Verdict::Inconclusive, Reason::NoRounds, 75);
    let hung = RoundOutcome::TimedOut { stage: Stage::Boot, after_s: 60.0 };
    Case::new(&[], &[]).ended(BASE, hung.clone()).ended(PATCHED, hung).gives(
        Verdict::Inconclusive,
        Reason::NoRounds,
        3,
    );
    assert_eq!(exit_code(&Results::default()), 3);
}

#[test]
fn an_interrupted_run_says_so_above_all() {
    let finished = RunFinished { finished: "2026-01-01T00:01:00Z".into(), interrupted: true };
    assert_eq!(exit_code(&Case::fixed().with(Entry::RunFinished(finished)).results()), 130);
}

#[test]
fn a_round_run_again_counts_once() {
    let case = Case::fixed().ended(PATCHED, RoundOutcome::Interrupted);
    let case = case.with(start("tcg")).with(Entry::RoundFinished(Box::new(end(PATCHED, 9, 500, 0))));
    assert_eq!(case.results().cells[1].totals.exposures, 6500);
}

#[test]
fn accelerators_are_never_pooled() {
    let before = Case::fixed().results();
    let mut case = Case::fixed().with(start("kvm"));
    case = case.with(Entry::RoundFinished(Box::new(end(PATCHED, 7, 100_000, 50))));
    let results = case.results();
    assert_eq!(results.cells, before.cells);
    assert!(results.notices.iter().any(|notice| notice.contains("not pooled")), "{:?}", results.notices);
}

#[test]
fn a_broken_line_in_the_middle_is_told_by_number() {
    let text =
        b"{\"event\":\"notice\",\"text\":\"a\"}\n\n{\"event\":\"notice\",\n{\"event\":\"notice\",\"text\":\"b\"}\n";
    let error = journal_lines(text).expect_err("line 3 is broken");
    assert_eq!(error.line, 3);
    assert!(error.to_string().contains("line 3"));
}

fn journal() -> Vec<u8> {
    let mut case = Case::fixed().problem(PATCHED, CrashKind::Warning);
    case = case.with(Entry::RunFinished(RunFinished { finished: "x".into(), interrupted: false }));
    let lines: Vec<String> =
        case.entries.iter().map(|entry| serde_json::to_string(entry).expect("plain data") + "\n").collect();
    lines.concat().into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_journal_cut_anywhere_folds(share in 0.0f64..=1.0) {
        let bytes = journal();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place within the journal")]
        let cut = (share * bytes.len() as f64) as usize;
        let entries = journal_lines(&bytes[..cut]).expect("a cut is no error");
        let whole = bytes[..cut].split(|&byte| byte == b'\n').count() - 1;
        prop_assert!(entries.len() == whole || entries.len() == whole + 1);
        let results = Results::fold(entries);
        let code = exit_code(&results);
        prop_assert!([0, 1, 3, 75].contains(&code), "{code}");
    }

    #[test]
    fn more_corruptions_in_the_patched_kernel_never_help(a in 0u64..400, b in 0u64..400, more in 1u64..400) {
        let rank = |x: u64, y: u64| {
            match Case::new(&[(2000, 310), (2000, 290), (2000, 300)], &[(2000, x), (2000, y)]).results().comparisons[0].verdict {
                Verdict::Fixed => 0,
                Verdict::Reduced => 1,
                Verdict::NotFixed => 2,
                Verdict::Regressed => 3,
                verdict => panic!("{verdict:?}"),
            }
        };
        // Both rounds alike, so that the scatter stays small and only the rate moves.
        prop_assert!(rank(a, a) <= rank(a + more, a + more));
        prop_assert!(rank(a, b) > 0 || (a == 0 && b == 0));
    }
}

#[test]
fn extreme_counts_are_judged_all_the_same() {
    let (million, billion) = (1_000_000, 1_000_000_000);
    let many = [(10 * million, million), (10 * million, million + 900)];
    Case::new(&many, &[(10 * million, 0); 2]).gives(Verdict::Fixed, Reason::CleanAndExposed, 0);
    Case::new(&many, &[(10 * million, million + 50); 2]).gives(Verdict::NotFixed, Reason::StillCorrupts, 1);
    Case::new(&[(billion, 1), (billion, 0)], &[(1, 0), (1, 0)]).gives(
        Verdict::Inconclusive,
        Reason::NotEnoughExposures,
        1,
    );
    // More corruptions than exposures, and hardly any effective count once the scatter is taken out.
    Case::new(&[(1, 5000), (20_000, 3)], &[(10, 0), (10, 0)]).gives(
        Verdict::Inconclusive,
        Reason::NotEnoughExposures,
        1,
    );
    Case::new(&[(0, 5), (0, 7)], &[(10, 0), (10, 0)]).gives(Verdict::Inconclusive, Reason::BaseUnexposed, 1);
}

#[test]
fn an_older_journal_reads_without_its_load_boots_and_factors() {
    let Entry::RunStarted(mut run) = start("tcg") else { unreachable!("it is a start") };
    run.load = None;
    let line = serde_json::to_string(&run).expect("serializes");
    assert!(!line.contains("load") && !line.contains("boots"), "{line}");
    let read: RunStarted = serde_json::from_str(&line).expect("reads back");
    assert_eq!((read.load, read.cells[0].boots), (None, 0));
    let line = serde_json::to_string(&end(BASE, 1, 10, 1)).expect("serializes");
    assert!(!line.contains("factors") && !line.contains("saved_boot"), "{line}");
    let read: RoundFinished = serde_json::from_str(&line).expect("reads back");
    assert_eq!((read.saved_boot, read.summary.expect("a summary").factors), (None, Vec::new()));
}

/// Rounds of a program that tells no exposures: so many of the base's and of the patched kernel's fail, of so many.
fn by_rounds(base: (u64, u64), patched: (u64, u64)) -> (Verdict, Reason) {
    let rounds =
        |(failed, of): (u64, u64)| -> Vec<(u64, u64)> { (0..of).map(|it| (1, u64::from(it < failed))).collect() };
    let mut case = Case::new(&rounds(base), &rounds(patched));
    let Some(Entry::RunStarted(run)) = case.entries.first_mut() else { panic!("the run starts") };
    for cell in &mut run.cells {
        cell.oracle = Some(crate::journal::oracle::Oracle::by_exit());
        cell.rule =
            Some(Rule { alpha: 1e-6, residual: 0.5, min_rounds: 3, rounds: 100, sequential: false, exact: true });
    }
    let results = Results::fold(case.entries);
    let comparison = &results.comparisons[0];
    assert!(comparison.caveats.iter().any(|caveat| caveat.contains("tells no exposures")), "{comparison:?}");
    (comparison.verdict, comparison.reason)
}

#[test]
fn a_program_that_tells_no_exposures_is_judged_by_its_rounds_alone() {
    for (base, patched, verdict, reason) in [
        ((24, 24), (0, 14), Verdict::Fixed, Reason::CleanAndExposed),
        // Fisher's exact test reaches 1e-6 with 12 against 12 and not with 10 against 10.
        ((10, 10), (0, 10), Verdict::Inconclusive, Reason::TooFewRounds),
        // Different beyond doubt, and yet a kernel that fails half as often as this base would have stayed clean too often.
        ((20, 60), (0, 60), Verdict::Inconclusive, Reason::ResidualNotExcluded),
        ((24, 60), (0, 60), Verdict::Fixed, Reason::CleanAndExposed),
        ((60, 60), (0, 12), Verdict::Fixed, Reason::CleanAndExposed),
        ((60, 300), (0, 60), Verdict::Inconclusive, Reason::TooFewRounds),
        ((24, 24), (24, 24), Verdict::NotFixed, Reason::StillCorrupts),
        ((24, 24), (2, 24), Verdict::Reduced, Reason::FewerCorruptions),
        ((0, 24), (0, 24), Verdict::NotReproduced, Reason::BaseClean),
    ] {
        assert_eq!(by_rounds(base, patched), (verdict, reason), "{base:?} {patched:?}");
    }
}
