//! The order of rounds: what leads, what keeps company, what is left to chance.

use std::collections::HashSet;

use proptest::prelude::*;

use super::schedule::{Paired, Schedule, boot_of, boot_seed, round_seed};
use crate::journal::entry::{ComparisonSpec, RoundId};
use crate::journal::rules::Rule;

fn rule(rounds: u32, sequential: bool) -> Rule {
    Rule { min_rounds: 3.min(rounds), rounds, sequential, ..Rule::without_stopping(1e-6) }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<ComparisonSpec> {
    pairs
        .iter()
        .map(|(base, patched)| ComparisonSpec { base: (*base).into(), patched: (*patched).into(), control: false })
        .collect()
}

fn schedule(cells: &[(&str, u32)], sequential: bool, seed: u64) -> Schedule {
    let cells = cells.iter().map(|&(id, rounds)| (id, rounds, Some(rule(rounds, sequential))));
    Schedule::new(cells, &pairs(&[("base", "one"), ("base", "two")]), seed)
}

const THREE: [(&str, u32); 3] = [("base", 10), ("one", 10), ("two", 10)];

fn rest(schedule: &mut Schedule) -> Vec<RoundId> {
    std::iter::from_fn(|| schedule.next_round()).collect()
}

#[test]
fn without_stopping_every_round_runs_once_and_blocks_stay_abreast() {
    let order = rest(&mut schedule(&[("base", 5), ("one", 5), ("two", 2)], false, 7));
    assert_eq!(order.len(), 12);
    assert_eq!(order.iter().collect::<HashSet<_>>().len(), 12);
    assert!(order.is_sorted_by_key(|id| id.round));
}

#[test]
fn the_base_runs_alone_until_it_is_known() {
    let mut it = schedule(&THREE, true, 1);
    for round in 1..=4 {
        assert_eq!(it.next_round(), Some(RoundId { cell: "base".into(), round }));
    }
    it.know("base");
    let block: HashSet<String> = (0..3).filter_map(|_| it.next_round()).map(|id| id.cell).collect();
    assert_eq!(block.len(), 3, "the base keeps the others company");
}

#[test]
fn a_base_that_stays_unknown_keeps_rounds_for_the_others() {
    let order = rest(&mut schedule(&THREE, true, 1));
    let alone = order.iter().take_while(|id| id.cell == "base").count();
    assert!((7..=8).contains(&alone), "7, or 8 when the shuffle puts it first: {alone}");
    assert_eq!(order.len(), 30);
    // With few rounds there is no room for running alone but once.
    let order = rest(&mut schedule(&[("base", 3), ("one", 3), ("two", 3)], true, 1));
    assert_eq!(order.iter().take(4).filter(|id| id.cell == "base").count(), 2);
}

#[test]
fn a_stopped_cell_gets_no_round_and_its_base_stops_for_lack_of_company() {
    let mut it = schedule(&THREE, true, 3);
    it.next_round();
    it.know("base");
    assert!(it.stop("one"));
    let _ = it.next_round();
    assert!(it.stop("two") && !it.stop("two"));
    assert_eq!(rest(&mut it).iter().filter(|id| id.cell != "base").count(), 0);
    assert_eq!(it.next_round(), None);
    assert!(it.started("base").0 < 10);
}

#[test]
fn a_base_given_up_does_not_hold_the_others() {
    let mut it = schedule(&THREE, true, 3);
    it.next_round();
    it.stop("base");
    assert_eq!(rest(&mut it).len(), 20);
}

#[test]
fn a_chain_waits_for_its_first_base() {
    let cells = ["base", "one", "two"].map(|id| (id, 10, Some(rule(10, true))));
    let mut it = Schedule::new(cells, &pairs(&[("base", "one"), ("one", "two")]), 1);
    assert!((0..7).filter_map(|_| it.next_round()).all(|id| id.cell == "base"));
    assert_eq!(rest(&mut it).len(), 23);
}

#[test]
fn a_cell_without_its_kernel_has_no_say_and_comes_in_later() {
    let mut it = schedule(&THREE, true, 3).closed();
    assert_eq!(it.next_round(), None);
    it.open("one", true);
    // Its base is not there, so it runs for itself.
    assert!((1..=3).all(|round| it.next_round() == Some(RoundId { cell: "one".into(), round })));
    it.open("base", true);
    it.open("two", true);
    let order = rest(&mut it);
    assert_eq!(order.len(), 27);
    assert!(order[..7].iter().all(|id| id.cell == "base"), "then the base catches up: {order:?}");
}

#[test]
fn no_base_runs_alone_beside_what_will_end() {
    let mut it = schedule(&THREE, true, 3).closed();
    for cell in ["base", "one", "two"] {
        it.open(cell, false);
    }
    let order = rest(&mut it);
    assert!(order.len() == 30 && order.is_sorted_by_key(|id| id.round), "{order:?}");
}

#[test]
fn a_control_is_never_run_alone() {
    let mut control = pairs(&[("base", "one")]);
    control[0].control = true;
    let cells = [("base", 4, Some(rule(4, true))), ("one", 4, Some(rule(4, true)))];
    let order = rest(&mut Schedule::new(cells, &control, 1));
    assert!(order.len() == 8 && order.is_sorted_by_key(|id| id.round));
}

const TWO_GROUPS: [(&str, u32); 4] = [("base", 6), ("one", 6), ("slow-base", 3), ("slow", 3)];

/// Two comparisons, the second of which has rounds of `length` times the first's.
fn two_groups(length: u64, seed: u64) -> Schedule {
    let cells = TWO_GROUPS.map(|(id, rounds)| (id, rounds, Some(rule(rounds, false))));
    let it = Schedule::new(cells, &pairs(&[("base", "one"), ("slow-base", "slow")]), seed);
    it.longest_first(|id| if id.starts_with("slow") { length } else { 1 })
}

#[test]
fn the_group_that_takes_longest_is_dealt_out_first_and_equals_take_turns() {
    // 3 rounds of 10 against 6 of 1: all of the slow ones but the last are dealt out before.
    let order = rest(&mut two_groups(10, 1));
    assert!(order[..6].iter().all(|id| id.cell.starts_with("slow")), "{order:?}");
    assert_eq!(order.len(), 18);
    // 3 rounds of 3 against 6 of 1, each of two cells: the slow ones until as much is left of either, then by turns.
    let order = rest(&mut two_groups(3, 1));
    let blocks = order.chunks(2).map(|block| if block[0].cell.starts_with("slow") { 'S' } else { 'b' });
    assert_eq!(blocks.collect::<String>(), "SbSbbbSbb", "the last ones are short");
    assert!(order.chunks(2).all(|block| block[0].round == block[1].round && block[0].cell != block[1].cell));
}

#[test]
fn which_side_of_a_comparison_comes_first_is_left_to_chance() {
    let firsts = |seed| {
        let order = rest(&mut two_groups(10, seed));
        order.chunks(2).filter(|block| block[0].cell.ends_with("base")).count()
    };
    let bases: usize = (0..100).map(firsts).sum();
    assert!((380..=520).contains(&bases), "of 900 blocks {bases} begin with the base");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is learnt when: numbers run from 1 without a gap, and between two rounds of a patched cell there is
    /// one of its base as long as the base has any left.
    #[test]
    fn every_block_has_its_base(
        seed: u64, known in 0usize..12, one in 0usize..40, two in 0usize..40, longest_first: bool
    ) {
        let deal = || {
            let mut it = schedule(&THREE, true, seed);
            if longest_first { it = it.longest_first(|id| if id == "two" { 100 } else { 1 }); }
            let mut order = Vec::new();
            while let Some(id) = it.next_round() {
                order.push(id);
                if order.len() >= known { it.know("base"); }
                if order.len() >= one { it.stop("one"); }
                if order.len() >= two { it.stop("two"); }
            }
            order
        };
        let order = deal();
        for cell in ["base", "one", "two"] {
            let rounds: Vec<u32> = order.iter().filter(|id| id.cell == cell).map(|id| id.round).collect();
            prop_assert_eq!(&rounds, &(1..=u32::try_from(rounds.len()).expect("few")).collect::<Vec<_>>());
        }
        for cell in ["one", "two"] {
            let mut bases = 0;
            let mut patched = 0;
            for id in &order {
                bases += u32::from(id.cell == "base");
                patched += u32::from(id.cell == cell);
                // At most one ahead, by the shuffle within a block.
                prop_assert!(patched <= bases + 1 || bases == 10);
            }
        }
        prop_assert_eq!(order, deal());
    }
}

#[test]
fn the_seed_decides_the_order_within_blocks() {
    let order = |seed| rest(&mut schedule(&THREE, false, seed));
    assert!((0..32).any(|seed| order(seed) != order(7)));
}

#[test]
fn rounds_get_seeds_of_their_own_that_survive_a_double() {
    let order = rest(&mut schedule(&THREE, false, 7));
    let paired = |test| Paired { kernel: "k", guest: "g", test };
    let mut seeds: HashSet<u64> = order.iter().map(|id| round_seed(7, paired(&id.cell), id.round)).collect();
    seeds.extend((1..=4).map(|number| boot_seed(7, paired("t"), number)));
    assert_eq!(seeds.len(), 34);
    assert!(seeds.iter().all(|seed| *seed < 1 << 53));
    let split = [("k.g", "t"), ("k", "g.t")].map(|(kernel, test)| round_seed(7, Paired { kernel, guest: "", test }, 1));
    assert_ne!(split[0], split[1], "names do not run into each other");
}

#[test]
fn rounds_take_the_boots_by_turns_and_all_tests_share_them() {
    assert_eq!((1..=9).map(|round| boot_of(round, 4)).collect::<Vec<_>>(), [1, 2, 3, 4, 1, 2, 3, 4, 1]);
    assert_eq!((1..=3).map(|round| boot_of(round, 1)).collect::<Vec<_>>(), [1, 1, 1]);
    let seed = |run, test, number| boot_seed(run, Paired { kernel: "k", guest: "g", test }, number);
    assert_eq!(seed(7, "one", 1), seed(7, "two", 1));
    assert!(seed(7, "one", 1) != seed(7, "one", 2) && seed(7, "one", 1) != seed(8, "one", 1));
}
