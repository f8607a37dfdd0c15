//! Merging: whatever was dealt out comes back as it was.

use super::entry::{Entry, FullPlan, RoundOutcome, RunFinished};
use super::merge::{Part, merge};
use super::rules::Rule;
use crate::analysis::Results;
use crate::simulation::{Truth, World, play, started};

const RULE: Rule = Rule { alpha: 1e-6, residual: 0.1, min_rounds: 3, rounds: 4, sequential: false, exact: false };
const WORLD: World =
    World { rate: 0.1, exposures: 2000, clustering: 0.0, boot_clustering: 0.0, truth: Truth::Ratio(0.0) };

/// A whole run, as one machine writes it.
fn journal() -> Vec<Entry> {
    let run = started(&WORLD, &RULE, 1);
    let results = play(&WORLD, &RULE, 1, 0);
    let mut entries = vec![Entry::RunStarted(Box::new(run))];
    for cell in &results.cells {
        for end in cell.rounds.iter().filter_map(|round| round.end()) {
            entries.push(Entry::RoundStarted(end.id.clone()));
            entries.push(Entry::RoundFinished(Box::new(end.clone())));
        }
    }
    entries.push(Entry::RunFinished(RunFinished { finished: "2026-01-01T00:00:00Z".into(), interrupted: false }));
    entries
}

/// The part of `entries` that has the rounds `take` takes.
fn part(name: &str, entries: &[Entry], take: impl Fn(&str, u32) -> bool) -> Part {
    let keep = |entry: &&Entry| match entry {
        Entry::RoundStarted(id) => take(&id.cell, id.round),
        Entry::RoundFinished(round) => take(&round.id.cell, round.id.round),
        _ => true,
    };
    Part { name: name.to_owned(), entries: entries.iter().filter(keep).cloned().collect() }
}

fn run(entries: &mut [Entry]) -> &mut super::entry::RunStarted {
    match &mut entries[0] {
        Entry::RunStarted(run) => run,
        other => panic!("{other:?}"),
    }
}

#[test]
fn shares_put_together_are_the_run_of_one_machine() {
    let whole = journal();
    let mut parts = [part("a", &whole, |cell, _| cell == "base"), part("b", &whole, |cell, _| cell == "patched")];
    for (part, own) in parts.iter_mut().zip(["base", "patched"]) {
        let run = run(&mut part.entries);
        run.whole = Some(Box::new(FullPlan {
            share: "slice:1/2".to_owned(),
            cells: run.cells.clone(),
            comparisons: run.comparisons.clone(),
            forced: Vec::new(),
        }));
        run.cells.retain(|cell| cell.id == own);
        run.comparisons.clear();
    }
    let merged = merge(&parts).expect("no contradiction");
    let (ours, theirs) = (Results::fold(merged.entries), Results::fold(whole));
    assert_eq!((ours.cells, ours.comparisons, ours.finished), (theirs.cells, theirs.comparisons, theirs.finished));
    assert!(merged.missing.is_empty());
    assert_eq!(merged.origin, [("base".to_owned(), 0), ("patched".to_owned(), 1)]);
}

#[test]
fn a_round_that_two_parts_hold_counts_once_and_must_be_the_same() {
    let whole = journal();
    let mut parts = [part("a", &whole, |_, _| true), part("b", &whole, |_, round| round <= 2)];
    let merged = merge(&parts).expect("they agree");
    assert_eq!(Results::fold(merged.entries).cells, Results::fold(whole).cells);

    let Some(Entry::RoundFinished(round)) =
        parts[1].entries.iter_mut().find(|entry| matches!(entry, Entry::RoundFinished(_)))
    else {
        panic!("a round")
    };
    round.seed += 1;
    let wrong = merge(&parts).expect_err("a contradiction");
    assert_eq!(wrong.len(), 1);
    let text = wrong[0].to_string();
    assert!(text.contains("round 1 of base ended in a and, differently, in b"), "{text}");
}

#[test]
fn an_interrupted_round_gives_way_to_one_that_ended() {
    let whole = journal();
    let mut parts = [part("a", &whole, |_, round| round == 1), part("b", &whole, |_, _| true)];
    for entry in &mut parts[0].entries {
        if let Entry::RoundFinished(round) = entry {
            round.outcome = RoundOutcome::Interrupted;
        }
    }
    let merged = merge(&parts).expect("no contradiction");
    assert_eq!(Results::fold(merged.entries).cells, Results::fold(whole).cells);
}

#[test]
fn another_plan_and_a_part_without_a_start_are_refused_together() {
    let whole = journal();
    let mut parts =
        vec![part("a", &whole, |_, _| true), part("b", &whole, |_, _| true), part("c", &whole[1..], |_, _| true)];
    run(&mut parts[1].entries).plan_sha256 = "f".repeat(64);
    let text: Vec<String> = merge(&parts).expect_err("both").iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), 2, "{text:?}");
    assert!(text[0].starts_with("c: its journal does not say") && text[1].contains("b is of another plan than a"));
}

#[test]
fn cells_nobody_ran_are_named() {
    let whole = journal();
    let merged = merge(&[part("a", &whole, |cell, _| cell == "base")]).expect("no contradiction");
    assert_eq!(merged.missing, ["patched"]);
    let said = Results::fold(merged.entries).notices;
    assert_eq!(said, ["no results for 1 of the plan's cells: patched"]);
}

#[test]
fn rounds_of_one_cell_on_two_accelerators_are_refused() {
    let whole = journal();
    let mut parts = [part("a", &whole, |_, round| round <= 2), part("b", &whole, |_, round| round > 2)];
    run(&mut parts[1].entries).accelerator.name = "kvm".to_owned();
    let text = merge(&parts).expect_err("never pooled")[0].to_string();
    assert!(text.contains("base ran under none") && text.contains("under kvm"), "{text}");
}
