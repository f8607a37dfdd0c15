//! Verdicts of tests that count rounds that fail, and known trouble.

use super::tests::{BASE, PATCHED, built, end, start};
use super::{CellOutcome, Met, Reason, Results, Verdict, exit_code};
use crate::crash::{CrashKind, CrashReport};
use crate::journal::Entry;
use crate::journal::entry::{RoundFinished, RoundOutcome, RunFinished, Stage};
use crate::journal::failure::Counted;
use crate::journal::known::Known;
use crate::journal::rules::Rule;

/// What a round does.
#[derive(Clone, Copy)]
enum Does {
    Ends,
    Hangs,
    Panics,
    Exits(i32),
    Corrupts,
    IsLost,
}

fn round(cell: &str, number: u32, does: Does) -> RoundFinished {
    let report = |kind, text: &str| CrashReport {
        kind,
        fingerprint: vec![text.to_owned()],
        excerpt: vec![text.to_owned()],
        count: 1,
        note: None,
    };
    let mut round = end(cell, number, 100, u64::from(matches!(does, Does::Corrupts)));
    match does {
        Does::Ends | Does::Corrupts => {}
        Does::Hangs => {
            round.outcome = RoundOutcome::TimedOut { stage: Stage::Test, after_s: 2.0 };
            round.problems = vec![report(CrashKind::Hang, "BUG: soft lockup - CPU#0 stuck for Ns! [race:N]")];
        }
        Does::Panics => {
            round.outcome = RoundOutcome::GuestDied { reason: "panic".into() };
            round.problems = vec![report(CrashKind::Panic, "Kernel panic - not syncing: fake")];
        }
        Does::Exits(status) => {
            round.summary = None;
            round.exit = Some(status);
        }
        Does::IsLost => {
            round.outcome = RoundOutcome::Infrastructure { stage: Stage::Test, reason: "SSH broke".into() };
        }
    }
    if round.outcome != RoundOutcome::Finished {
        round.summary = None;
    }
    round
}

fn fold(counts: &[Counted], alpha: f64, base: &[Does], patched: &[Does]) -> Results {
    let mut first = start("tcg");
    if let Entry::RunStarted(run) = &mut first {
        for cell in &mut run.cells {
            cell.counts = counts.to_vec();
            cell.rounds = 4;
            cell.rule = Some(Rule { exact: true, rounds: 4, ..Rule::without_stopping(alpha) });
        }
    }
    let mut entries = vec![first, built("base", "one"), built("patched", "two")];
    for (cell, rounds) in [(BASE, base), (PATCHED, patched)] {
        let ends = (1..).zip(rounds).map(|(number, does)| round(cell, number, *does));
        entries.extend(ends.map(|round| Entry::RoundFinished(Box::new(round))));
    }
    entries.push(Entry::RunFinished(RunFinished { finished: "2026-01-01T00:00:00Z".into(), interrupted: false }));
    // What a journal says is what is judged.
    let lines: Vec<String> = entries.iter().map(|entry| serde_json::to_string(entry).expect("serializes")).collect();
    Results::fold(lines.iter().map(|line| serde_json::from_str(line).expect("reads back")))
}

fn verdict(counts: &[Counted], base: &[Does], patched: &[Does]) -> (Verdict, Reason) {
    let results = fold(counts, 0.05, base, patched);
    (results.comparisons[0].verdict, results.comparisons[0].reason)
}

const HANG: &[Counted] = &[Counted::Hang];

#[test]
fn a_base_that_hangs_in_four_rounds_of_four_is_cured_by_a_patch_that_does_in_none() {
    let results = fold(HANG, 0.05, &[Does::Hangs; 4], &[Does::Ends; 4]);
    let it = &results.comparisons[0];
    assert_eq!((it.verdict, it.reason), (Verdict::Fixed, Reason::NoFailures));
    assert!((it.p.expect("told").value() - 1.0 / 70.0).abs() < 1e-12);
    let cells: Vec<_> = results.cells.iter().map(|cell| (cell.outcome, cell.failed.len(), cell.met)).collect();
    assert_eq!(cells, [(CellOutcome::Fails, 4, Met::Yes), (CellOutcome::Clean, 0, Met::Yes)]);
    assert_eq!(exit_code(&results), 0);
    // What so few rounds cannot support, they do not say.
    let strict = fold(HANG, 1e-6, &[Does::Hangs; 4], &[Does::Ends; 4]);
    assert_eq!(strict.comparisons[0].reason, Reason::TooFewRounds);
    assert_eq!(strict.comparisons[0].rounds_needed, Some(8));
}

#[test]
fn a_counted_failure_is_no_broken_kernel_and_another_one_is() {
    assert_eq!(verdict(HANG, &[Does::Hangs; 4], &[Does::Hangs; 4]), (Verdict::NotFixed, Reason::StillFails));
    assert_eq!(verdict(HANG, &[Does::Ends; 4], &[Does::Hangs; 4]), (Verdict::Regressed, Reason::MoreFailures));
    assert_eq!(verdict(HANG, &[Does::Ends; 4], &[Does::Ends; 4]), (Verdict::NotReproduced, Reason::BaseClean));
    let one_panic = [Does::Ends, Does::Ends, Does::Panics, Does::Ends];
    assert_eq!(verdict(HANG, &[Does::Hangs; 4], &one_panic), (Verdict::Broken, Reason::KernelTrouble));
    let both = [Counted::Hang, Counted::Crash];
    assert_eq!(verdict(&both, &[Does::Hangs; 4], &one_panic), (Verdict::NotFixed, Reason::StillFails));
    // Counting nothing else, the same rounds are a broken kernel.
    assert_eq!(verdict(&[], &[Does::Ends; 4], &[Does::Hangs; 4]), (Verdict::Broken, Reason::KernelTrouble));
}

#[test]
fn lost_data_always_counts_and_lost_rounds_never() {
    let one = [Does::Ends, Does::Corrupts, Does::Ends, Does::Ends];
    assert_eq!(verdict(HANG, &[Does::Hangs; 4], &one), (Verdict::NotFixed, Reason::StillFails));
    let lost = [Does::Ends, Does::IsLost, Does::Ends, Does::Ends];
    assert_eq!(verdict(HANG, &[Does::Hangs; 4], &lost), (Verdict::Inconclusive, Reason::RoundsLost));
}

#[test]
fn each_way_to_fail_is_told_from_the_others() {
    let exits = |status| [Does::Exits(status); 4];
    let fixed = (Verdict::Fixed, Reason::NoFailures);
    assert_eq!(verdict(&[Counted::Exit(None)], &exits(1), &exits(0)), fixed);
    assert_eq!(verdict(&[Counted::Exit(Some(3))], &exits(3), &exits(1)), fixed);
    assert_eq!(verdict(&[Counted::Exit(Some(3))], &exits(1), &exits(0)).0, Verdict::NotReproduced);
    assert_eq!(verdict(&[Counted::Crash], &[Does::Panics; 4], &[Does::Ends; 4]), fixed);
    let complaint = |kind| Counted::Complaint(Some(kind));
    assert_eq!(verdict(&[complaint(CrashKind::Panic)], &[Does::Panics; 4], &[Does::Ends; 4]), fixed);
    assert_eq!(verdict(&[complaint(CrashKind::Lockdep)], &[Does::Hangs; 4], &[Does::Ends; 4]).0, Verdict::Inconclusive);
    let mut said = round(BASE, 1, Does::Ends);
    said.matched = vec!["page 3: LOST".into()];
    assert!(Counted::Output("LOST".into()).is_shown_by(&said) && !Counted::Output("lost".into()).is_shown_by(&said));
}

/// A fix whose kernel complains in one round, which ends by `outcome`, under a plan that knows `known`.
fn complains(known: &[Known], outcome: &RoundOutcome) -> Results {
    let mut first = start("tcg");
    if let Entry::RunStarted(run) = &mut first {
        for cell in &mut run.cells {
            cell.known = known.to_vec();
        }
    }
    let mut entries = vec![first, built("base", "one"), built("patched", "two")];
    for number in 1..=5 {
        entries.push(Entry::RoundFinished(Box::new(end(BASE, number, 2000, 500))));
        let mut patched = end(PATCHED, number, 2000, 0);
        if number == 2 {
            patched.outcome = outcome.clone();
            patched.problems = vec![CrashReport {
                kind: CrashKind::Warning,
                fingerprint: vec!["WARNING: CPU: N PID: N at mm/zswap.c:77 zswap_load".into(), "zswap_load".into()],
                excerpt: vec!["WARNING: CPU: 0 PID: 7 at mm/zswap.c:77 zswap_load+0x1/0x2".into()],
                count: 1,
                note: None,
            }];
        }
        entries.push(Entry::RoundFinished(Box::new(patched)));
    }
    Results::fold(entries)
}

fn known(class: Option<CrashKind>, function: Option<&str>, pattern: Option<&str>) -> Known {
    Known { class, function: function.map(Into::into), pattern: pattern.map(Into::into), reason: "bug 77".into() }
}

#[test]
fn known_trouble_is_let_pass_and_told() {
    let fits = [
        known(Some(CrashKind::Warning), None, None),
        known(None, Some("zswap_load"), None),
        known(None, None, Some("mm/zswap.c:77")),
        known(Some(CrashKind::Warning), Some("zswap_load"), Some("zswap")),
    ];
    for known in fits {
        let results = complains(&[known], &RoundOutcome::Finished);
        let it = &results.comparisons[0];
        assert_eq!((it.verdict, results.cells[1].outcome), (Verdict::Fixed, CellOutcome::Clean));
        let told =
            "known trouble of the patched kernel was let pass in 1 round: WARNING: CPU: 0 PID: 7 at mm/zswap.c:77";
        assert!(it.caveats.iter().any(|it| it.starts_with(told) && it.ends_with("(bug 77)")), "{:?}", it.caveats);
    }
    let others = [
        known(Some(CrashKind::Bug), None, None),
        known(None, Some("zswap_store"), None),
        known(None, None, Some("mm/zswap.c:78")),
        known(Some(CrashKind::Warning), Some("zswap_store"), None),
    ];
    assert_eq!(complains(&others, &RoundOutcome::Finished).comparisons[0].verdict, Verdict::Broken);
    assert_eq!(complains(&[], &RoundOutcome::Finished).comparisons[0].verdict, Verdict::Broken);
    // What ended a round took the rest of it away.
    let died = RoundOutcome::GuestDied { reason: "reset".into() };
    let results = complains(&[known(Some(CrashKind::Warning), None, None)], &died);
    assert_eq!(results.comparisons[0].verdict, Verdict::Broken);
}
