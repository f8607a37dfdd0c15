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

    /// Where control leaves an inlined copy for the code around it; none where the two are mixed, so that code behind the
    /// copy is reached without going through it, or where it does not come back at all.
    pub(super) fn exits(&self, copy: &Piece) -> Option<Vec<u64>> {
        let around = self.around(copy);
        let code = self.decode(&around);
        let index: HashMap<u64, usize> = code.iter().enumerate().map(|(index, code)| (code.address, index)).collect();
        let mut exits = BTreeSet::new();
        for instruction in code.iter().filter(|instruction| copy.contains(instruction.address)) {
            for next in successors(instruction).into_iter().filter(|next| !copy.contains(*next)) {
                if index.contains_key(&next) && !comes_back(copy, &code, &index, next) {
                    exits.insert(next);
                }
            }
        }
        let outside = code.iter().filter(|instruction| !copy.contains(instruction.address));
        let interleaved = |address| {
            code.iter().any(|instruction| copy.contains(instruction.address) && instruction.end() == address)
                && comes_back(copy, &code, &index, address)
        };
        let mixed = outside
            .filter(|instruction| !interleaved(instruction.address))
            .any(|instruction| successors(instruction).iter().any(|next| exits.contains(next)));
        (!mixed && !exits.is_empty()).then(|| exits.into_iter().collect())
    }

    /// The code of the function that an inlined copy is in, all of its pieces.
    fn around(&self, copy: &Piece) -> Vec<Range<u64>> {
        let Some(symbol) = self.table.around(copy.entry) else { return Vec::new() };
        let pieces = self.table.pieces(symbol.base()).filter(|piece| piece.size > 0);
        merged(pieces.map(|piece| piece.address..piece.address + piece.size).collect())
    }
}

/// Where control can go from an instruction inside its function.
fn successors(instruction: &Instruction) -> Vec<u64> {
    match instruction.kind {
        Kind::Return | Kind::Stop => Vec::new(),
        Kind::Jump { to, conditional, .. } => {
            let mut all: Vec<u64> = to.into_iter().collect();
            all.extend(conditional.then(|| instruction.end()));
            all
        }
        Kind::Call(_) | Kind::Other => vec![instruction.end()],
    }
}

/// Whether control only touches a few foreign instructions and is then in the copy again: the compiler mixes neighbouring
/// statements where nothing depends on their order.
fn comes_back(copy: &Piece, code: &[Instruction], index: &HashMap<u64, usize>, mut at: u64) -> bool {
    const FOREIGN: usize = 16;
    for _ in 0..FOREIGN {
        let Some(instruction) = index.get(&at).map(|index| &code[*index]) else { return false };
        if instruction.kind != Kind::Other {
            return false;
        }
        at = instruction.end();
        if copy.contains(at) {
            return true;
        }
    }
    false
}
