//! What `fixed` asks for by an exact rule: rounds, boots, and every level of every factor.

use twinboot_protocol::{Factor, Level};

use super::tests::{BASE, PATCHED, built, end, start};
use super::{LevelState, Reason, Results, Verdict};
use crate::journal::Entry;
use crate::journal::entry::RoundFinished;
use crate::journal::rules::{Rule, Warmth};

const RULE: Rule = Rule { alpha: 1e-6, residual: 0.1, min_rounds: 3, rounds: 24, sequential: true, exact: true };
const ROUNDS: u32 = 14;
const BOOTS: u32 = 4;

/// Exposures and corruptions of one level in one round.
type Seen = (&'static str, u64, u64);

/// A round in its saved boot, whose totals are those of the first factor.
fn round(cell: &str, number: u32, factors: &[(&str, &str, &[Seen])]) -> RoundFinished {
    let total = |part: fn(&Seen) -> u64| factors.first().map_or(0, |(_, _, levels)| levels.iter().map(part).sum());
    let mut round = end(cell, number, total(|it| it.1), total(|it| it.2));
    round.clone = Warmth::Warm;
    round.saved_boot = Some((number - 1) % BOOTS + 1);
    let level = |&(name, exposures, corruptions): &Seen| Level {
        name: name.to_owned(),
        tries: exposures * 2,
        exposures,
        corruptions,
    };
    let factor = |(name, phrase, levels): &(&str, &str, &[Seen])| Factor {
        name: (*name).to_owned(),
        phrase: (*phrase).to_owned(),
        levels: levels.iter().map(level).collect(),
    };
    round.summary.as_mut().expect("it ended well").factors = factors.iter().map(factor).collect();
    round
}

fn judged(rounds: impl IntoIterator<Item = RoundFinished>) -> Results {
    let Entry::RunStarted(mut run) = start("tcg") else { unreachable!("the first line") };
    for cell in &mut run.cells {
        (cell.rounds, cell.boots, cell.rule) = (RULE.rounds, BOOTS, Some(RULE));
    }
    let opening = [Entry::RunStarted(run), built("base", "one"), built("patched", "two")];
    Results::fold(opening.into_iter().chain(rounds.into_iter().map(|round| Entry::RoundFinished(Box::new(round)))))
}

/// Rounds of both sides that all see the same.
fn all(base: &[(&str, &str, &[Seen])], patched: &[(&str, &str, &[Seen])]) -> Results {
    let of = |cell, factors| (1..=ROUNDS).map(move |number| round(cell, number, factors));
    judged(of(BASE, base).chain(of(PATCHED, patched)))
}

const ACCESS: &str = "on {} faults";

#[test]
fn clean_at_every_level_is_fixed_and_says_what_it_rests_on() {
    let base: &[Seen] = &[("read", 200, 60), ("write", 200, 70)];
    let patched: &[Seen] = &[("read", 200, 0), ("write", 200, 0)];
    let results = all(&[("access", ACCESS, base)], &[("access", ACCESS, patched)]);
    let it = &results.comparisons[0];
    assert_eq!((it.verdict, it.reason), (Verdict::Fixed, Reason::CleanAndExposed), "{it:#?}");
    // 28! / (14! 14!) = 40116600 ways to deal the rounds out, and no p-value below one in so many.
    assert!((it.p.expect("a p-value").value() * 40_116_600.0 - 1.0).abs() < 1e-6);
    let numbers = it.numbers.as_ref().expect("both were measured");
    assert_eq!((numbers.base_units.rounds, numbers.patched_units.boots), (14, 4));
    assert_eq!(it.coverage.words(), "access 2 of 2 levels, boot 4 of 4");
    assert_eq!(it.coverage.only, None);
}

#[test]
fn a_level_that_was_hardly_raced_leaves_it_open_and_names_what_is_missing() {
    let base: &[Seen] = &[("read", 200, 60), ("write", 200, 70)];
    let patched: &[Seen] = &[("read", 399, 0), ("write", 1, 0)];
    let results = all(&[("access", ACCESS, base)], &[("access", ACCESS, patched)]);
    let it = &results.comparisons[0];
    assert_eq!((it.verdict, it.reason), (Verdict::Inconclusive, Reason::NotCovered), "{it:#?}");
    let missing = it.coverage.missing();
    let [(level, needed)] = missing.as_slice() else { panic!("{missing:?}") };
    assert_eq!(level, "access write");
    // With as many more it is covered, with half of them it is not.
    let with = |more: u64| {
        let level: &'static str = "write";
        let each = more.div_ceil(u64::from(ROUNDS));
        let patched = [("read", 399, 0), (level, 1 + each, 0)];
        all(&[("access", ACCESS, base)], &[("access", ACCESS, &patched)]).comparisons[0].verdict
    };
    assert_eq!((with(*needed), with(*needed / 2)), (Verdict::Fixed, Verdict::Inconclusive));
}

#[test]
fn a_level_the_patched_kernel_never_met_is_not_covered() {
    let base: &[Seen] = &[("even", 200, 60), ("odd", 200, 70)];
    let results = all(&[("slot", "", base)], &[("slot", "", &[("even", 400, 0)])]);
    assert_eq!(results.comparisons[0].reason, Reason::NotCovered);
    let named = all(&[("slot", "", base)], &[("slot", "", &[("even", 400, 0), ("odd", 0, 0)])]);
    assert_eq!(named.comparisons[0].reason, Reason::NotCovered);
}

#[test]
fn nothing_is_asked_where_the_base_was_not_exposed_or_does_not_corrupt() {
    let base: &[Seen] = &[("a", 300, 90), ("never met", 0, 0), ("never corrupt", 2000, 0), ("thin", 2, 0)];
    let patched: &[Seen] = &[("a", 300, 0), ("never met", 0, 0), ("never corrupt", 0, 0), ("thin", 0, 0)];
    let results = all(&[("way", "", base)], &[("way", "", patched)]);
    let states: Vec<LevelState> = results.comparisons[0].coverage.factors[0].levels.iter().map(|it| it.state).collect();
    // A level that was hardly tried on the base may corrupt: its silence frees nobody.
    assert_eq!(states, [LevelState::Covered, LevelState::BaseUnexposed, LevelState::BaseClean, LevelState::NotCovered]);
}

#[test]
fn a_kernel_that_corrupts_at_some_levels_only_says_so_in_the_tests_own_words() {
    let access: &[Seen] = &[("read", 200, 60), ("write", 200, 70)];
    let only_writes: &[Seen] = &[("read", 200, 0), ("write", 200, 68)];
    let cpus: &[Seen] = &[("0", 150, 50), ("1", 150, 50), ("2", 100, 30)];
    let two: &[Seen] = &[("0", 150, 30), ("1", 150, 0), ("2", 100, 38)];
    let results = all(
        &[("access", ACCESS, access), ("victim's CPU", "on CPU {}", cpus)],
        &[("access", ACCESS, only_writes), ("victim's CPU", "on CPU {}", two)],
    );
    let it = &results.comparisons[0];
    assert_eq!(it.coverage.only.as_deref(), Some("corrupts on write faults only, on CPU 0 or 2 only"), "{it:#?}");
    assert!(matches!(it.verdict, Verdict::NotFixed | Verdict::Reduced));
    // Without a phrase, the factor's name.
    let plain = all(&[("access", "", access)], &[("access", "", only_writes)]);
    assert_eq!(plain.comparisons[0].coverage.only.as_deref(), Some("corrupts at access write only"));
    // Numbers in a row are told by their ends.
    let slots: Vec<Seen> = ["1", "2", "3", "4", "5"].map(|slot| (slot, 80, 26)).to_vec();
    let upper: Vec<Seen> =
        slots.iter().map(|&(slot, all, bad)| (slot, all, if slot < "3" { 0 } else { bad })).collect();
    let told = all(&[("slot", "at slot {}", &slots)], &[("slot", "at slot {}", &upper)]);
    assert_eq!(told.comparisons[0].coverage.only.as_deref(), Some("corrupts at slot 3 to 5 only"));
    // Too few to say that the other level is free.
    let few: &[Seen] = &[("read", 1, 0), ("write", 399, 13)];
    assert_eq!(all(&[("access", "", access)], &[("access", "", few)]).comparisons[0].coverage.only, None);
}

#[test]
fn too_few_rounds_for_alpha_say_how_many_are_missing() {
    let (base, patched): (&[Seen], &[Seen]) = (&[("read", 400, 130)], &[("read", 4000, 0)]);
    let of = |cell, rounds: u32, levels| {
        (1..=rounds).map(move |number| round(cell, number, &[("access", ACCESS, levels)])).collect::<Vec<_>>()
    };
    let with = |rounds| judged([of(BASE, rounds, base), of(PATCHED, rounds, patched)].concat()).comparisons.remove(0);
    let short = with(8);
    assert_eq!((short.verdict, short.reason), (Verdict::Inconclusive, Reason::TooFewRounds));
    assert_eq!(short.rounds_needed, Some(4));
    assert_eq!(with(11).reason, Reason::TooFewRounds);
    assert_eq!(with(12).verdict, Verdict::Fixed);
}

#[test]
fn one_boot_cannot_make_a_fix() {
    let (corrupt, clean): (&[Seen], &[Seen]) = (&[("read", 400, 130)], &[("read", 400, 0)]);
    // Two of the base's four boots never corrupt: what spared them may have spared the patched kernel's.
    let base = (1..=24).map(|number| {
        let levels = if number % BOOTS < 2 { corrupt } else { clean };
        round(BASE, number, &[("access", ACCESS, levels)])
    });
    let patched = (1..=24).map(|number| round(PATCHED, number, &[("access", ACCESS, clean)]));
    let results = judged(base.chain(patched));
    assert_ne!(results.comparisons[0].verdict, Verdict::Fixed, "{:#?}", results.comparisons[0]);
}

#[test]
fn without_factors_the_coverage_is_not_known_and_says_so() {
    let of = |cell, corruptions| {
        (1..=ROUNDS).map(move |number| {
            let mut round = round(cell, number, &[("x", "", &[("x", 400, 0)])]);
            let summary = round.summary.as_mut().expect("it ended well");
            summary.factors.clear();
            summary.counts.corruptions = corruptions;
            round.saved_boot = None;
            round.clone = Warmth::Cold;
            round
        })
    };
    let results = judged(of(BASE, 130).chain(of(PATCHED, 0)));
    let it = &results.comparisons[0];
    assert_eq!(it.verdict, Verdict::Fixed);
    assert_eq!(it.coverage.words(), "not known: the test named no factor");
}
