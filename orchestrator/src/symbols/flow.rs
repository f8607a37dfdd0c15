//! Where control goes inside a function: what it calls, and where it leaves an inlined copy.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::function::merged;
use super::{Function, Instruction, Kind, Piece, Symbols, names};

/// What a function calls at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// The calling instruction, and the address behind it.
    pub address: u64,
    pub end: u64,
    /// Address called.
    pub callee: u64,
    /// A jump at the function's end instead of a call.
    pub tail: bool,
}

impl Symbols {
    /// Direct calls and tail calls in a function, in address order.
    pub(super) fn calls(&self, function: &Function, code: &[Instruction]) -> Vec<Call> {
        let call = |instruction: &Instruction| {
            let (callee, tail) = match instruction.kind {
                Kind::Call(callee) => (callee?, false),
                Kind::Jump { to, .. } => (to.filter(|to| self.leaves(function, instruction.address, *to))?, true),
                _ => return None,
            };
            Some(Call { address: instruction.address, end: instruction.end(), callee, tail })
        };
        code.iter().filter_map(call).collect()
    }

    /// Whether a jump from a function's own code to `to` leaves the function for another one. Code around an inlined copy
    /// is no other function.
    fn leaves(&self, function: &Function, from: u64, to: u64) -> bool {
        if function.contains(to) {
            return false;
        }
        let base = |address| self.table.around(address).map(names::Symbol::base);
        base(from) != base(to)
    }

    /// Whether a called address is a function of this name, under any of its symbols.
    pub(super) fn is_called(&self, callee: u64, name: &str) -> bool {
        self.table.at(callee).iter().any(|symbol| symbol.base() == name)
    }

    /// Where control leaves an inlined copy for the code around it, for good: the compiler mixes neighbouring statements,
    /// so that a few instructions between two parts of the copy count as the copy's.
    ///
    /// None where that is not well defined: where the code behind the copy is also reached without going through it, or
    /// where control does not come back from it.
    pub(super) fn exits(&self, copy: &Piece) -> Option<Vec<u64>> {
        const FOREIGN: usize = 16;
        let graph = Graph::new(self, &self.around(copy));
        let inside: BTreeSet<usize> =
            (0..graph.code.len()).filter(|at| copy.contains(graph.code[*at].address)).collect();
        let entry = *graph.index.get(&copy.entry)?;
        let behind = graph.reach(inside.iter().flat_map(|at| graph.next[*at].iter().copied()), &inside);
        // Of what comes behind, that from which control gets back into the copy's middle.
        let between: BTreeSet<usize> = behind
            .iter()
            .copied()
            .filter(|at| {
                let from_there = graph.reach([*at], &inside);
                let ahead = from_there.iter().flat_map(|at| graph.next[*at].iter());
                ahead.into_iter().any(|next| inside.contains(next) && *next != entry)
            })
            .take(FOREIGN + 1)
            .collect();
        if between.len() > FOREIGN {
            return None;
        }
        let whole: BTreeSet<usize> = inside.union(&between).copied().collect();
        let exits: BTreeSet<usize> =
            whole.iter().flat_map(|at| graph.next[*at].iter().copied()).filter(|next| !whole.contains(next)).collect();
        let past_it = graph.reach(graph.starts(self), &inside);
        let mixed = exits.iter().any(|exit| past_it.contains(exit));
        (!mixed && !exits.is_empty()).then(|| exits.into_iter().map(|at| graph.code[at].address).collect())
    }

    /// The targets of a `switch`: addresses in a table, up to the first that is not in the function.
    fn switch(&self, table: u64, index: &HashMap<u64, usize>) -> Vec<u64> {
        let entry = |number: u64| {
            let bytes = self.memory(table.checked_add(8 * number)?, 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?)).filter(|target| index.contains_key(target))
        };
        (0..).map_while(entry).collect()
    }

    /// The code of the function that an inlined copy is in, all of its pieces.
    fn around(&self, copy: &Piece) -> Vec<Range<u64>> {
        let Some(symbol) = self.table.around(copy.entry) else { return Vec::new() };
        let pieces = self.table.pieces(symbol.base()).filter(|piece| piece.size > 0);
        merged(pieces.map(|piece| piece.address..piece.address + piece.size).collect())
    }
}

/// A function's code as a graph. What a call does is not followed.
struct Graph {
    code: Vec<Instruction>,
    index: HashMap<u64, usize>,
    /// Where control can go from each instruction, inside the function.
    next: Vec<Vec<usize>>,
}

impl Graph {
    fn new(symbols: &Symbols, ranges: &[Range<u64>]) -> Graph {
        let code = symbols.decode(ranges);
        let index: HashMap<u64, usize> = code.iter().enumerate().map(|(at, code)| (code.address, at)).collect();
        let next = |instruction: &Instruction| -> Vec<usize> {
            let targets = match instruction.kind {
                Kind::Return | Kind::Stop => Vec::new(),
                Kind::Jump { table: Some(table), .. } => symbols.switch(table, &index),
                Kind::Jump { to, conditional, .. } => {
                    let behind = conditional.then(|| instruction.end());
                    to.into_iter().chain(behind).collect()
                }
                Kind::Call(_) | Kind::Other => vec![instruction.end()],
            };
            targets.iter().filter_map(|target| index.get(target).copied()).collect()
        };
        Graph { next: code.iter().map(next).collect(), index, code }
    }

    /// Where control comes in: the beginnings of the function's pieces that are no split-off parts.
    fn starts(&self, symbols: &Symbols) -> Vec<usize> {
        let is_start = |at: &usize| {
            let symbols = symbols.table.at(self.code[*at].address);
            symbols.iter().any(|symbol| symbol.function && !symbol.name.contains(".cold"))
        };
        (0..self.code.len()).filter(is_start).collect()
    }

    /// Everything that control can get to from `from` without going into `closed`, `from` included.
    fn reach(&self, from: impl IntoIterator<Item = usize>, closed: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut open: Vec<usize> = from.into_iter().filter(|at| !closed.contains(at)).collect();
        let mut reached = BTreeSet::new();
        while let Some(at) = open.pop() {
            if reached.insert(at) {
                open.extend(self.next[at].iter().filter(|next| !closed.contains(next)));
            }
        }
        reached
    }
}
