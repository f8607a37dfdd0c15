//! Machine code: instruction boundaries, calls, jumps and returns.

use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Formatter, IntelFormatter, Mnemonic, OpKind, Register};

use super::{Function, Symbols};

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
