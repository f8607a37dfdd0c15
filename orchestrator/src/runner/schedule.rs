//! In which order rounds run: bases first until their rates are known, then everything interleaved at random, so that
//! nothing that drifts on the host can pass for a fix.

use std::collections::{HashMap, VecDeque};

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::outcome::entry::{ComparisonSpec, RoundId};
use crate::outcome::stop::Rule;

/// The order of a run's rounds, made as it goes: blocks of at most one round of each cell, shuffled.
///
/// Where guests run beside each other, a block holds the cells of one group alone, those that are held against each
/// other, and the group that will take longest comes first ([`Schedule::longest_first`]): the last rounds of the run are
/// then short ones, and no guest is waited for while the others' places are empty. Which of a group's cells comes first
/// is left to the shuffle all the same.
///
/// A base without a base of its own runs alone at first. Once its rate is known, or only as many of its rounds are left
/// as are needed beside the others, each block holds a round of every cell that still needs one *and* a round of its
/// base, as long as the base has any left: what is held against each other ran at the same time. The seed and what is
/// told by [`Schedule::know`] and [`Schedule::stop`] decide the order, nothing else.
#[derive(Debug)]
pub struct Schedule {
    cells: Vec<Cell>,
    index: HashMap<String, usize>,
    block: VecDeque<usize>,
    rng: ChaCha8Rng,
    /// The groups of cells that hang together, where the longest goes first.
    groups: Option<Vec<Vec<usize>>>,
}

#[derive(Debug)]
struct Cell {
    id: String,
    rounds: u32,
    started: u32,
    /// What one round is expected to take at most, in any unit.
    length: u64,
    /// Rounds to run alone at most.
    lead: u32,
    bases: Vec<usize>,
    patched: Vec<usize>,
    sequential: bool,
    known: bool,
    stopped: bool,
}

impl Cell {
    fn live(&self) -> bool {
        !self.stopped && self.started < self.rounds
    }

    /// What is left of it takes at most.
    fn left(&self) -> u64 {
        if self.live() { u64::from(self.rounds - self.started).saturating_mul(self.length) } else { 0 }
    }
}

impl Schedule {
    /// The rounds of `cells`, each with its number of rounds and its rule; comparisons of cells that are not among them
    /// have no say.
    pub fn new<'a>(
        cells: impl IntoIterator<Item = (&'a str, u32, Option<Rule>)>,
        comparisons: &[ComparisonSpec],
        seed: u64,
    ) -> Self {
        let mut cells: Vec<Cell> = cells
            .into_iter()
            .map(|(id, rounds, rule)| Cell {
                id: id.to_owned(),
                rounds,
                started: 0,
                length: 1,
                lead: rule.map_or(0, |rule| rounds.saturating_sub(rule.min_rounds).max(1)),
                bases: Vec::new(),
                patched: Vec::new(),
                sequential: rule.is_some_and(|rule| rule.sequential),
                known: false,
                stopped: false,
            })
            .collect();
        let index: HashMap<String, usize> = cells.iter().enumerate().map(|(at, cell)| (cell.id.clone(), at)).collect();
        for pair in comparisons {
            let (Some(&base), Some(&patched)) = (index.get(&pair.base), index.get(&pair.patched)) else { continue };
            cells[base].patched.push(patched);
            cells[patched].bases.push(base);
            if pair.control {
                // A control looks at what happens without any of this.
                cells[base].sequential = false;
                cells[patched].sequential = false;
            }
        }
        Self { cells, index, block: VecDeque::new(), rng: ChaCha8Rng::seed_from_u64(seed), groups: None }
    }

    /// Deals out the rounds of that group first of which most is left, a block of it at a time; groups of which the same
    /// is left take turns. `length` is what one round of a cell takes at most, in any unit.
    pub fn longest_first(mut self, length: impl Fn(&str) -> u64) -> Self {
        for cell in &mut self.cells {
            cell.length = length(&cell.id).max(1);
        }
        self.groups = Some(self.connected());
        self
    }

    /// The round to start next; none when all have been started that are needed.
    pub fn next_round(&mut self) -> Option<RoundId> {
        loop {
            while let Some(at) = self.block.pop_front() {
                let cell = &mut self.cells[at];
                if cell.live() {
                    cell.started += 1;
                    return Some(RoundId { cell: cell.id.clone(), round: cell.started });
                }
            }
            let mut block = self.next_block();
            if block.is_empty() {
                return None;
            }
            block.shuffle(&mut self.rng);
            self.block = block.into();
        }
    }

    /// The rate of this cell is known: those held against it may run.
    pub fn know(&mut self, cell: &str) {
        if let Some(cell) = self.get(cell) {
            cell.known = true;
        }
    }

    /// No more rounds of this cell. False if there was none left anyway.
    pub fn stop(&mut self, cell: &str) -> bool {
        self.get(cell).is_some_and(|cell| {
            let live = cell.live();
            cell.stopped = true;
            live
        })
    }

    /// Rounds of this cell that were started, and how many were planned.
    pub fn started(&self, cell: &str) -> (u32, u32) {
        self.index.get(cell).map_or((0, 0), |&at| (self.cells[at].started, self.cells[at].rounds))
    }

    fn get(&mut self, cell: &str) -> Option<&mut Cell> {
        self.index.get(cell).map(|&at| &mut self.cells[at])
    }

    /// The cells of the next block, in plan order.
    fn next_block(&self) -> Vec<usize> {
        let Some(groups) = &self.groups else {
            return (0..self.cells.len()).filter(|&at| self.wanted(at)).collect();
        };
        let wanted =
            |group: &Vec<usize>| -> Vec<usize> { group.iter().copied().filter(|&at| self.wanted(at)).collect() };
        let left = |group: &Vec<usize>| group.iter().map(|&at| self.cells[at].left()).fold(0, u64::saturating_add);
        let blocks = groups.iter().map(|group| (left(group), group)).filter(|(left, _)| *left > 0);
        let blocks = blocks.map(|(left, group)| (left, wanted(group))).filter(|(_, block)| !block.is_empty());
        // Of equals the first.
        let longest = blocks.reduce(|longest, other| if other.0 > longest.0 { other } else { longest });
        longest.map_or_else(Vec::new, |(_, block)| block)
    }

    /// Cells that are held against each other, directly or through others; in plan order.
    fn connected(&self) -> Vec<Vec<usize>> {
        let mut seen = vec![false; self.cells.len()];
        let mut groups = Vec::new();
        for first in 0..self.cells.len() {
            let (mut group, mut reached) = (Vec::new(), vec![first]);
            while let Some(at) = reached.pop() {
                if !std::mem::replace(&mut seen[at], true) {
                    group.push(at);
                    reached.extend(self.cells[at].bases.iter().chain(&self.cells[at].patched));
                }
            }
            group.sort_unstable();
            groups.extend(Some(group).filter(|group| !group.is_empty()));
        }
        groups
    }

    /// Whether the next block has a round of this cell.
    fn wanted(&self, at: usize) -> bool {
        let cell = &self.cells[at];
        if !cell.live() {
            return false;
        }
        if !cell.sequential {
            return true;
        }
        if cell.bases.is_empty() {
            // A base whose rate is known only keeps the others company.
            !cell.known || cell.patched.iter().any(|&patched| self.cells[patched].live())
        } else {
            !self.waits(at, self.cells.len())
        }
    }

    /// Whether a base of this cell, or a base of that, still runs alone.
    fn waits(&self, at: usize, depth: usize) -> bool {
        depth > 0
            && self.cells[at].bases.iter().any(|&base| {
                let it = &self.cells[base];
                let alone = it.bases.is_empty() && it.sequential && it.live() && !it.known && it.started < it.lead;
                alone || self.waits(base, depth - 1)
            })
    }
}

/// The seed of one round: the same for the same run seed, cell and round, unrelated for any other.
pub fn round_seed(seed: u64, id: &RoundId) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(id.round.to_le_bytes());
    hash.update(&id.cell);
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    // Below 2^53: many JSON readers keep numbers as doubles.
    u64::from_le_bytes(first) >> 12
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

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
            let fresh = || {
                let it = schedule(&THREE, true, seed);
                if longest_first { it.longest_first(|id| if id == "two" { 100 } else { 1 }) } else { it }
            };
            let mut it = fresh();
            let mut order = Vec::new();
            while let Some(id) = it.next_round() {
                order.push(id);
                if order.len() >= known { it.know("base"); }
                if order.len() >= one { it.stop("one"); }
                if order.len() >= two { it.stop("two"); }
            }
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
            let again: Vec<RoundId> = {
                let mut it = fresh();
                let mut order = Vec::new();
                while let Some(id) = it.next_round() {
                    order.push(id);
                    if order.len() >= known { it.know("base"); }
                    if order.len() >= one { it.stop("one"); }
                    if order.len() >= two { it.stop("two"); }
                }
                order
            };
            prop_assert_eq!(order, again);
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
        let seeds: HashSet<u64> = order.iter().map(|id| round_seed(7, id)).collect();
        assert_eq!(seeds.len(), 30);
        assert!(seeds.iter().all(|seed| *seed < 1 << 53));
    }
}
