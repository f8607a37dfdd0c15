//! Every rule of stopping and of the control, each by rounds that only that rule tells apart.

use super::stop;
use super::tests::{BASE, Case, PATCHED, built, end};
use super::{Met, Reason, Results, Verdict, exit_code};
use crate::crash::CrashKind;
use crate::journal::Entry;
use crate::journal::entry::{RoundOutcome, Stage, Stopped};
use crate::journal::rules::{Rule, Why};

const RULE: Rule = Rule { alpha: 1e-6, residual: 0.1, min_rounds: 3, rounds: 5, sequential: true, exact: false };

/// Folds `case` with `rule` in both cells, as a control if so wished.
fn with_rule(mut case: Case, rule: Rule, control: bool) -> Results {
    if let Some(Entry::RunStarted(run)) = case.entries.first_mut() {
        for cell in &mut run.cells {
            cell.rule = Some(rule);
            cell.rounds = rule.rounds;
        }
        run.comparisons[0].control = control;
    }
    case.results()
}

/// What is known of the base and of the patched cell.
fn known(case: Case) -> (Option<Why>, Option<Why>) {
    let results = with_rule(case, RULE, false);
    (stop::answer(&results, BASE), stop::answer(&results, PATCHED))
}

const DENSE: [(u64, u64); 3] = [(2000, 310), (2000, 290), (2000, 300)];
const CLEAN: [(u64, u64); 3] = [(2000, 0); 3];

#[test]
fn a_rate_is_known_by_rounds_corruptions_and_their_spread() {
    let rate_known = |rounds: &[(u64, u64)]| stop::rate_known(&with_rule(Case::new(rounds, &[]), RULE, false).cells[0]);
    assert!(rate_known(&[(2000, 10), (2000, 10), (2000, 10)]));
    assert!(!rate_known(&[(2000, 10), (2000, 10), (2000, 9)]), "29 corruptions");
    assert!(!rate_known(&[(2000, 100), (2000, 100)]), "two rounds");
    assert!(!rate_known(&[(2000, 300), (2000, 0), (2000, 0)]), "all in one round");
}

#[test]
fn a_base_goes_on_until_everything_held_against_it_is_done() {
    assert_eq!(known(Case::new(&DENSE, &[])), (None, None));
    assert_eq!(known(Case::new(&DENSE, &CLEAN[..2])), (None, None), "fewer rounds than min_rounds");
    assert_eq!(known(Case::new(&DENSE, &CLEAN)), (Some(Why::RateKnown), Some(Why::Fixed)));
    assert_eq!(known(Case::new(&DENSE[..2], &CLEAN)), (None, None), "fewer rounds of the base");
    // Given up: the patched cell says nothing more, so neither need the base.
    let gone = Stopped { cell: PATCHED.into(), after_rounds: 1, of_rounds: 5, why: Why::GivenUp };
    assert_eq!(known(Case::new(&DENSE, &CLEAN[..1]).with(Entry::Stopped(gone))).0, Some(Why::RateKnown));
    // Used up without an answer.
    assert_eq!(known(Case::new(&DENSE, &[(10, 0); 5])), (Some(Why::RateKnown), None));
    // A base whose rate is not known uses up its rounds, whatever the others came to.
    assert_eq!(known(Case::new(&[(2000, 5); 3], &[(2000, 300); 3])), (None, Some(Why::Regressed)));
}

#[test]
fn zero_that_does_not_exclude_the_residual_rate_is_no_answer() {
    // 120 corruptions in 6000 exposures: alpha needs about 900 exposures, a tenth of the rate 3000.
    let base = [(2000, 40); 3];
    assert_eq!(known(Case::new(&base, &[(500, 0); 3])).1, None);
    let results = with_rule(Case::new(&base, &[(500, 0); 3]), RULE, false);
    let it = &results.comparisons[0];
    assert_eq!((it.verdict, it.reason), (Verdict::Inconclusive, Reason::ResidualNotExcluded));
    assert!(it.p.is_some_and(|p| p.below(1e-6)) && it.exposures_needed.is_some_and(|more| more > 1000));
    assert_eq!(known(Case::new(&base, &[(1500, 0); 3])).1, Some(Why::Fixed));
    // A larger residual rate is excluded sooner.
    let lax = Rule { residual: 0.5, ..RULE };
    assert_eq!(with_rule(Case::new(&base, &[(500, 0); 3]), lax, false).comparisons[0].verdict, Verdict::Fixed);
}

#[test]
fn a_residual_rate_is_excluded_by_rounds_where_they_cluster() {
    let base = [(2000, 300), (2000, 900), (2000, 60), (2000, 500), (2000, 120)];
    let one = Case::new(&base, &[(20_000, 0); 2]).results();
    let many = Case::new(&base, &[(2000, 0); 20]).results();
    let p = |results: &Results| results.comparisons[0].numbers.as_ref().and_then(|it| it.p_residual).expect("zero");
    assert!(p(&many).ln() < p(&one).ln(), "twenty rounds say more than two of the same exposures");
}

#[test]
fn broken_is_known_after_the_fewest_rounds_whether_they_ended_or_not() {
    let hung = RoundOutcome::TimedOut { stage: Stage::Boot, after_s: 60.0 };
    assert_eq!(known(Case::new(&DENSE, &CLEAN[..1]).ended(PATCHED, hung.clone())).1, None);
    assert_eq!(known(Case::new(&DENSE, &CLEAN[..2]).ended(PATCHED, hung)).1, Some(Why::Broken));
    let warned = Case::new(&DENSE, &CLEAN[..2]).problem(PATCHED, CrashKind::Warning);
    assert_eq!(known(warned), (Some(Why::RateKnown), Some(Why::Broken)));
}

#[test]
fn corrupting_cells_stop_when_the_ratio_is_settled() {
    let thin = [(2000, 31), (2000, 29), (2000, 30)];
    assert_eq!(known(Case::new(&DENSE, &thin)).1, Some(Why::Reduced));
    assert_eq!(known(Case::new(&DENSE, &thin[..2])).1, None);
    assert_eq!(known(Case::new(&thin, &DENSE)).1, Some(Why::Regressed));
    assert_eq!(known(Case::new(&DENSE, &DENSE)).1, Some(Why::StillCorrupts));
    // As often by the numbers so far, but a halving or a doubling is not ruled out.
    assert_eq!(known(Case::new(&[(2000, 8); 3], &[(2000, 6); 3])).1, None);
    assert_eq!(known(Case::new(&[(2000, 40); 3], &[(2000, 70); 3])).1, None);
    // The same totals as `DENSE` twice, but the rounds scatter: too early to say.
    let wild = [(2000, 750), (2000, 10), (2000, 140)];
    assert_eq!(known(Case::new(&wild, &wild)).1, None);
}

#[test]
fn a_ratio_is_tested_at_the_share_of_alpha_of_one_look() {
    assert!((RULE.ratio_alpha(false) - 1e-7).abs() < 1e-20);
    assert!((Rule { sequential: false, ..RULE }.ratio_alpha(false) - 1e-6).abs() < 1e-20);
    // By an exact rule the last look has half of it, and those before share the other half.
    let exact = Rule { exact: true, ..RULE };
    assert!((exact.ratio_alpha(true) - 5e-7).abs() < 1e-20 && (exact.ratio_alpha(false) - 5e-8).abs() < 1e-20);
    // p between 1e-7 and 1e-6: a reduction when looked at once, not when looked at after each round.
    let case = || Case::new(&[(2000, 40); 2], &[(2000, 14); 2]);
    let once = with_rule(case(), Rule { sequential: false, ..RULE }, false);
    let p = once.comparisons[0].p.expect("a p-value");
    assert!(p.below(1e-6) && !p.below(1e-7), "{p}");
    assert_eq!(once.comparisons[0].verdict, Verdict::Reduced);
    assert_eq!(with_rule(case(), RULE, false).comparisons[0].verdict, Verdict::NotFixed);
}

#[test]
fn a_clean_base_ends_the_others_once_it_is_used_up() {
    assert_eq!(known(Case::new(&[(2000, 0); 4], &CLEAN)), (None, None));
    assert_eq!(known(Case::new(&[(2000, 0); 5], &CLEAN)).1, Some(Why::BaseClean));
    assert_eq!(known(Case::new(&[(2000, 0); 5], &[(2000, 0), (2000, 1), (2000, 0)])).1, None);
}

#[test]
fn identical_kernels_need_no_budget() {
    let same = |patched: &[(u64, u64)]| known(Case::new(&DENSE, patched).with(built("patched", "one"))).1;
    assert_eq!(same(&CLEAN), Some(Why::IdenticalKernels));
    assert_eq!(same(&CLEAN[..2]), None);
}

#[test]
fn nothing_stops_where_the_plan_wants_every_round_or_in_a_control() {
    for (rule, control) in [(Rule { sequential: false, ..RULE }, false), (RULE, true)] {
        let results = with_rule(Case::new(&DENSE, &CLEAN), rule, control);
        assert_eq!((stop::answer(&results, BASE), stop::answer(&results, PATCHED)), (None, None));
    }
}

#[test]
fn a_stop_is_told_of_its_cell_until_the_cell_goes_on() {
    let stopped = Stopped { cell: PATCHED.into(), after_rounds: 3, of_rounds: 5, why: Why::Fixed };
    let case = Case::fixed().with(Entry::Stopped(stopped.clone()));
    assert_eq!(case.results().cells[1].stopped, Some(stopped));
    let taken_up = case.with(Entry::RoundStarted(end(PATCHED, 4, 0, 0).id));
    assert_eq!(taken_up.results().cells[1].stopped, None);
}

#[test]
fn a_control_finds_no_difference_or_fails() {
    let control = |base: &[(u64, u64)], again: &[(u64, u64)]| {
        let results = with_rule(Case::new(base, again).with(built("patched", "one")), RULE, true);
        let it = &results.comparisons[0];
        assert!(it.control);
        (it.verdict, it.reason, results.cells[1].met, exit_code(&results))
    };
    let agree = (Verdict::NoDifference, Reason::SidesAgree, Met::Yes, 0);
    let differ = (Verdict::Difference, Reason::SidesDiffer, Met::No, 1);
    assert_eq!(control(&DENSE, &[(2000, 305), (2000, 280), (2000, 300)]), agree);
    assert_eq!(control(&DENSE, &[(2000, 31), (2000, 29), (2000, 30)]), differ);
    assert_eq!(control(&[(2000, 31), (2000, 29), (2000, 30)], &DENSE), differ);
    // 0.001 two-sided: p one-sided is about 3e-4 for these and 6e-4 for those.
    assert_eq!(control(&[(2000, 60); 2], &[(2000, 90); 2]), differ);
    assert_eq!(control(&[(2000, 60); 2], &[(2000, 88); 2]), agree);
    // Nothing corrupted, so nothing was seen that could differ.
    let clean = control(&CLEAN, &CLEAN);
    assert_eq!((clean.0, clean.3), (Verdict::NotReproduced, 1));
    assert_eq!(control(&DENSE, &[]).0, Verdict::Inconclusive);
    assert_eq!(control(&DENSE[..1], &DENSE).1, Reason::TooFewRounds);
}
