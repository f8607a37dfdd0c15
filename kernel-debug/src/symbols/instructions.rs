//! Machine code: instruction boundaries, calls, jumps and returns.

use super::function::merged;
use super::{Function, Piece, Symbols, names};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Formatter, IntelFormatter, Mnemonic, OpKind, Register};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Address of its first byte.
    pub address: u64,
    /// Bytes.
    pub len: u8,
    /// In Intel's form, with the names of what it calls and jumps to: `call swap_readpage`.
    pub text: String,
    /// What it does to control flow.
    pub kind: Kind,
}

/// What an instruction does to control flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Calls the function at this address; none for a call through a register or memory.
    Call(Option<u64>),
    /// Returns, directly or by way of the return thunk (`__x86_return_thunk`).
    Return,
    /// Jumps.
    Jump {
        /// Where to; none for a jump through a register or memory.
        to: Option<u64>,
        /// May also go on behind it.
        conditional: bool,
        /// Address of the table of addresses that it jumps through, as a `switch` does; it stays in its function.
        table: Option<u64>,
    },
    /// Goes nowhere: `ud2`, `hlt`.
    Stop,
    /// Goes on behind it.
    Other,
}

impl Instruction {
    /// Address behind it.
    pub fn end(&self) -> u64 {
        self.address + u64::from(self.len)
    }
}

impl Symbols {
    /// All instructions of a function, its inlined copies included, in address order.
    ///
    /// As they stand in the file: the kernel rewrites a few at boot (alternatives, static branches, paravirtual calls),
    /// some of them with other boundaries inside what they replace.
    pub fn instructions(&self, function: &Function) -> Vec<Instruction> {
        self.decode(&function.ranges)
    }

    pub(super) fn decode(&self, ranges: &[Range<u64>]) -> Vec<Instruction> {
        let mut formatter = IntelFormatter::new();
        let options = formatter.options_mut();
        options.set_hex_prefix("0x");
        options.set_hex_suffix("");
        options.set_uppercase_hex(false);
        options.set_space_after_operand_separator(true);
        let mut all = Vec::new();
        for range in ranges {
            let size = usize::try_from(range.end - range.start).unwrap_or(0);
            let Some(code) = self.memory(range.start, size) else { continue };
            let mut decoder = Decoder::with_ip(64, code, range.start, DecoderOptions::NONE);
            for instruction in &mut decoder {
                let mut text = String::new();
                let to = near_target(&instruction);
                match to.and_then(|to| self.written(to)) {
                    Some(name) => {
                        formatter.format_mnemonic(&instruction, &mut text);
                        text.push(' ');
                        text.push_str(&name);
                    }
                    None => formatter.format(&instruction, &mut text),
                }
                all.push(Instruction {
                    address: instruction.ip(),
                    len: u8::try_from(instruction.len()).unwrap_or(0),
                    text,
                    kind: self.kind(&instruction),
                });
            }
        }
        all
    }

    fn kind(&self, instruction: &iced_x86::Instruction) -> Kind {
        let direct = near_target(instruction);
        match instruction.flow_control() {
            FlowControl::Call => Kind::Call(direct),
            FlowControl::IndirectCall => Kind::Call(None),
            FlowControl::Return => Kind::Return,
            FlowControl::UnconditionalBranch if direct.is_some_and(|to| self.is_return_thunk(to)) => Kind::Return,
            FlowControl::UnconditionalBranch => Kind::Jump { to: direct, conditional: false, table: None },
            FlowControl::ConditionalBranch | FlowControl::XbeginXabortXend => {
                Kind::Jump { to: direct, conditional: true, table: None }
            }
            FlowControl::IndirectBranch => {
                let table = instruction.op0_kind() == OpKind::Memory && instruction.memory_index() != Register::None;
                let table = table.then(|| instruction.memory_displacement64());
                Kind::Jump { to: None, conditional: false, table }
            }
            FlowControl::Exception => Kind::Stop,
            FlowControl::Next if instruction.mnemonic() == Mnemonic::Hlt => Kind::Stop,
            FlowControl::Next | FlowControl::Interrupt => Kind::Other,
        }
    }

    fn is_return_thunk(&self, address: u64) -> bool {
        // `srso_return_thunk`, `retbleed_return_thunk` and their like on some processors' kernels.
        self.table.at(address).iter().any(|symbol| symbol.name.ends_with("_return_thunk"))
    }

    /// The name that is written for an address: `swap_readpage`, `do_swap_page+0x1f`.
    pub(super) fn written(&self, address: u64) -> Option<String> {
        let symbol = self.table.around(address)?;
        let offset = address - symbol.address;
        Some(if offset == 0 { symbol.name.clone() } else { format!("{}+{offset:#x}", symbol.name) })
    }
}

/// Where a direct branch or call goes.
fn near_target(instruction: &iced_x86::Instruction) -> Option<u64> {
    (instruction.op0_kind() == OpKind::NearBranch64).then(|| instruction.near_branch_target())
}

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
