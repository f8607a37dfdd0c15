//! In which order rounds run: bases first until their rates are known, then everything interleaved at random, so that
//! nothing that drifts on the host can pass for a fix.

use std::collections::{HashMap, VecDeque};

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::journal::entry::{ComparisonSpec, RoundId};
use crate::journal::rules::Rule;

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
    state: State,
    bases: Vec<usize>,
    patched: Vec<usize>,
    sequential: bool,
    known: bool,
}

/// Whether a cell gets rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not yet; until then it has no say.
    Closed,
    /// As long as it has any left.
    Open,
    /// No more.
    Stopped,
}

impl Cell {
    fn live(&self) -> bool {
        self.state == State::Open && self.started < self.rounds
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
                state: State::Open,
                bases: Vec::new(),
                patched: Vec::new(),
                sequential: rule.is_some_and(|rule| rule.sequential),
                known: false,
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

    /// Like this, but no cell has a round yet: [`Schedule::open`] lets them in.
    pub fn closed(mut self) -> Self {
        for cell in &mut self.cells {
            cell.state = State::Closed;
        }
        self
    }

    /// From here on the cell has rounds. `alone` says whether a base may run alone at first: where the host is busy with
    /// what will end, it may not, since those held against it would then run on a calmer host than it did.
    pub fn open(&mut self, cell: &str, alone: bool) {
        if let Some(cell) = self.get(cell).filter(|cell| cell.state == State::Closed) {
            cell.state = State::Open;
            cell.lead = if alone { cell.lead } else { 0 };
        }
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
            cell.state = State::Stopped;
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
        if self.has_no_base(at) {
            // A base whose rate is known only keeps the others company.
            !cell.known || cell.patched.iter().any(|&patched| self.cells[patched].live())
        } else {
            !self.waits(at, self.cells.len())
        }
    }

    fn has_no_base(&self, at: usize) -> bool {
        !self.cells[at].bases.iter().any(|&base| self.cells[base].state != State::Closed)
    }

    /// Whether a base of this cell, or a base of that, still runs alone.
    fn waits(&self, at: usize, depth: usize) -> bool {
        depth > 0
            && self.cells[at].bases.iter().any(|&base| {
                let it = &self.cells[base];
                let alone = self.has_no_base(base) && it.sequential && it.live() && !it.known && it.started < it.lead;
                alone || self.waits(base, depth - 1)
            })
    }
}

/// What rounds are paired by: those of a kernel's variants in the same guest and test, or drawing, have the same seeds.
#[derive(Debug, Clone, Copy)]
pub struct Paired<'a> {
    /// Kernel name.
    pub kernel: &'a str,
    /// Guest name.
    pub guest: &'a str,
    /// Name of the test, the drawing or the sweep; empty for a boot, which serves all of them.
    pub test: &'a str,
}

/// The seed of one round: the same for the same run seed, number and setting, whichever the variant, so that the base and a
/// patched kernel draw the same levels of each factor; unrelated for any other.
pub fn round_seed(seed: u64, paired: Paired, round: u32) -> u64 {
    hashed("round", seed, paired, round)
}

/// The seed of one saved boot, paired as rounds are.
pub fn boot_seed(seed: u64, paired: Paired, number: u32) -> u64 {
    hashed("boot", seed, Paired { test: "", ..paired }, number)
}

/// The saved boot, from 1, that a round goes on from: rounds take `boots` of them by turns.
pub fn boot_of(round: u32, boots: u32) -> u32 {
    round.saturating_sub(1) % boots.max(1) + 1
}

fn hashed(what: &str, seed: u64, Paired { kernel, guest, test }: Paired, number: u32) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(number.to_le_bytes());
    for part in [what, kernel, guest, test] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    // Below 2^53: many JSON readers keep numbers as doubles.
    u64::from_le_bytes(first) >> 12
}
