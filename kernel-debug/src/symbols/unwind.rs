//! Kernel stacks, frame by frame.

use gimli::{
    BaseAddresses, CfaRule, DebugFrame, EndianSlice, EvaluationResult, LittleEndian, Register, RegisterRule, SectionId,
    UnwindContext, UnwindSection, Value, X86_64,
};

use super::dwarf::Slice;
use super::{Kind, Symbols};

/// No kernel stack is deeper than this by far; a loop in a damaged one ends here.
const FRAMES: usize = 64;
/// Stack words that are searched for the caller of assembly, which has no frame information.
const SEARCHED: u64 = 64;

/// Where a stack begins: registers of a thread that is in the kernel. What is not known of the others is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// `rbp`.
    pub bp: Option<u64>,
    /// `rbx`.
    pub bx: Option<u64>,
    /// `r12` to `r15`.
    pub r12_to_r15: [Option<u64>; 4],
}

/// What of `.debug_frame` is worth keeping: which entry describes which addresses.
#[derive(Debug, Default)]
pub(super) struct FrameTable(Vec<(u64, u64, usize)>);

/// Registers of one frame.
#[derive(Debug, Clone, Copy)]
struct Registers {
    ip: u64,
    sp: u64,
    /// By DWARF number.
    others: [Option<u64>; 16],
}

type Read<'a> = &'a mut dyn FnMut(u64) -> Option<u64>;

impl Start {
    /// A running or a stopped thread, of which nothing but these is known.
    pub fn new(ip: u64, sp: u64, bp: u64) -> Start {
        Start { ip, sp, bp: Some(bp), bx: None, r12_to_r15: [None; 4] }
    }

    /// A task that does not run, from its `thread.sp` and its stack: `__switch_to_asm` left a `struct inactive_task_frame`
    /// there, from the lowest word r15, r14, r13, r12, bx, bp, return address (`arch/x86/include/asm/switch_to.h`, the same
    /// from 5.10 on). None where the stack cannot be read.
    pub fn asleep(thread_sp: u64, read: &mut dyn FnMut(u64) -> Option<u64>) -> Option<Start> {
        let mut word = |index: u64| read(thread_sp.checked_add(8 * index)?);
        Some(Start {
            r12_to_r15: [word(3), word(2), word(1), word(0)],
            bx: word(4),
            bp: word(5),
            ip: word(6)?,
            sp: thread_sp.checked_add(8 * 7)?,
        })
    }
}

impl Symbols {
    /// The frames of a kernel stack: the instruction pointer, then the return addresses, the innermost first, 64 at most.
    ///
    /// Reads 64-bit words of the stack through `read`, which answers none for what it cannot read. Ends at the code
    /// through which the kernel was entered. Functions in assembly have no frame information: their caller is the nearest
    /// word on the stack that is a return address.
    pub fn unwind(&self, start: Start, read: &mut dyn FnMut(u64) -> Option<u64>) -> Vec<u64> {
        let mut registers = Registers { ip: start.ip, sp: start.sp, others: [None; 16] };
        registers.set(X86_64::RBX, start.bx);
        registers.set(X86_64::RBP, start.bp);
        for (register, value) in [X86_64::R12, X86_64::R13, X86_64::R14, X86_64::R15].into_iter().zip(start.r12_to_r15)
        {
            registers.set(register, value);
        }
        let mut context = UnwindContext::new();
        let mut frames = vec![start.ip];
        while frames.len() < FRAMES && !self.is_entry_code(registers.ip) {
            // A return address may be behind its function's last instruction.
            let within = if frames.len() == 1 { registers.ip } else { registers.ip.wrapping_sub(1) };
            let by_table = self.step(&mut context, within, &registers, read).filter(|caller| self.is_return(caller.ip));
            let Some(caller) = by_table.or_else(|| self.search(&registers, read)) else { break };
            if caller.sp <= registers.sp {
                break;
            }
            registers = caller;
            frames.push(registers.ip);
        }
        frames
    }

    /// Whether code is what a system call, an exception or a new thread begins in.
    fn is_entry_code(&self, address: u64) -> bool {
        let entry = self.address("__entry_text_start").zip(self.address("__entry_text_end"));
        let new_thread = || self.table.around(address).is_some_and(|symbol| symbol.name.starts_with("ret_from_fork"));
        entry.is_some_and(|(start, end)| (start..end).contains(&address)) || new_thread()
    }

    /// The caller, by the frame information of the function that `within` is in.
    fn step<'a>(
        &'a self,
        context: &mut UnwindContext<usize>,
        within: u64,
        registers: &Registers,
        read: Read<'_>,
    ) -> Option<Registers> {
        let section = self.frame_section();
        let offset = self.frame_table().at(within)?;
        let bases = BaseAddresses::default();
        let partial = section.fde_from_offset(&bases, offset.into(), DebugFrame::cie_from_offset);
        let description = partial.ok()?;
        let row = description.unwind_info_for_address(&section, &bases, context, within).ok()?;
        let evaluate = |expression: gimli::UnwindExpression<usize>, read: Read<'_>, on: Option<u64>| {
            let expression: gimli::Expression<Slice<'a>> = expression.get(&section).ok()?;
            evaluate(expression, description.cie().encoding(), registers, on, read)
        };
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => registers.get(*register)?.checked_add_signed(*offset)?,
            CfaRule::Expression(expression) => evaluate(*expression, read, None)?,
        };
        let mut caller = Registers { ip: 0, sp: cfa, others: registers.others };
        for (register, rule) in row.registers() {
            let value = match rule {
                RegisterRule::Offset(offset) => read(cfa.checked_add_signed(*offset)?),
                RegisterRule::ValOffset(offset) => cfa.checked_add_signed(*offset),
                RegisterRule::Register(other) => registers.get(*other),
                RegisterRule::Expression(expression) => evaluate(*expression, read, Some(cfa)).and_then(&mut *read),
                RegisterRule::ValExpression(expression) => evaluate(*expression, read, Some(cfa)),
                RegisterRule::SameValue => registers.get(*register),
                _ => None,
            };
            if *register == X86_64::RA {
                caller.ip = value?;
            } else {
                caller.set(*register, value);
            }
        }
        Some(caller)
    }

    /// The caller of assembly: the first word on the stack that is behind a call of this very function; where there is
    /// none (a call through a register, a jump from another function), the first that is behind any call. Words left
    /// over from earlier calls look like the latter.
    fn search(&self, registers: &Registers, read: Read<'_>) -> Option<Registers> {
        if self.frame_table().at(registers.ip).is_some() {
            return None;
        }
        let function = self.table.around(registers.ip)?;
        let mut any = None;
        for index in 0..SEARCHED {
            let at = registers.sp.checked_add(8 * index)?;
            let Some(word) = read(at) else { break };
            let Some(target) = self.call_before(word) else { continue };
            let mut caller = Registers { ip: word, sp: at + 8, ..*registers };
            // With a frame pointer the word below is the caller's, if assembly made a frame at all.
            if index > 0 && registers.get(X86_64::RBP) == Some(at - 8) {
                caller.set(X86_64::RBP, read(at - 8));
            }
            if target
                .and_then(|target| self.table.around(target))
                .is_some_and(|target| target.address == function.address)
            {
                return Some(caller);
            }
            any = any.or(Some(caller));
        }
        any
    }

    /// Whether an address is behind a call.
    fn is_return(&self, address: u64) -> bool {
        self.call_before(address).is_some()
    }

    /// The call that an address is behind, if it is behind one; inside, what it calls, if it says so itself.
    #[expect(clippy::option_option, reason = "no call, a call of something unknown, a call of something known")]
    fn call_before(&self, address: u64) -> Option<Option<u64>> {
        if !self.is_code(address) {
            return None;
        }
        // Direct calls have five bytes, others two to seven, and prefixes one more. The bytes of a direct call may end in
        // what looks like a shorter one.
        [5, 2, 3, 4, 6, 7, 8].into_iter().find_map(|back| {
            let from = address.wrapping_sub(back);
            match self.decode(std::slice::from_ref(&(from..address))).as_slice() {
                [call] if call.end() == address => match call.kind {
                    Kind::Call(callee) => Some(callee),
                    _ => None,
                },
                _ => None,
            }
        })
    }

    fn frame_section(&self) -> DebugFrame<Slice<'_>> {
        let mut section = DebugFrame::from(EndianSlice::new(self.section(SectionId::DebugFrame), LittleEndian));
        section.set_address_size(8);
        section
    }

    fn frame_table(&self) -> &FrameTable {
        self.frames.get_or_init(|| FrameTable::read(&self.frame_section()))
    }
}

impl FrameTable {
    /// Lists the frame descriptions. What comes behind a damaged one is left out.
    fn read(section: &DebugFrame<Slice<'_>>) -> FrameTable {
        let bases = BaseAddresses::default();
        let mut table = Vec::new();
        let mut entries = section.entries(&bases);
        while let Ok(Some(entry)) = entries.next() {
            let gimli::CieOrFde::Fde(partial) = entry else { continue };
            let Ok(entry) = partial.parse(DebugFrame::cie_from_offset) else { continue };
            if entry.initial_address() != 0 && entry.len() > 0 {
                table.push((entry.initial_address(), entry.end_address(), entry.offset()));
            }
        }
        table.sort_unstable();
        FrameTable(table)
    }

    fn at(&self, address: u64) -> Option<usize> {
        let end = self.0.partition_point(|(start, ..)| *start <= address);
        let (start, stop, offset) = *self.0.get(end.checked_sub(1)?)?;
        (start..stop).contains(&address).then_some(offset)
    }
}

impl Registers {
    fn get(&self, register: Register) -> Option<u64> {
        if register == X86_64::RSP { Some(self.sp) } else { *self.others.get(usize::from(register.0))? }
    }

    fn set(&mut self, register: Register, value: Option<u64>) {
        if register == X86_64::RSP {
            self.sp = value.unwrap_or(self.sp);
        } else if let Some(slot) = self.others.get_mut(usize::from(register.0)) {
            *slot = value;
        }
    }
}

/// The value of an expression, with which functions that align their stack describe their frame.
fn evaluate(
    expression: gimli::Expression<Slice<'_>>,
    encoding: gimli::Encoding,
    registers: &Registers,
    on: Option<u64>,
    read: Read<'_>,
) -> Option<u64> {
    let mut evaluation = expression.evaluation(encoding);
    evaluation.set_max_iterations(100);
    if let Some(initial) = on {
        evaluation.set_initial_value(initial);
    }
    let mut result = evaluation.evaluate().ok()?;
    loop {
        result = match result {
            EvaluationResult::Complete => return evaluation.value_result()?.to_u64(u64::MAX).ok(),
            EvaluationResult::RequiresRegister { register, .. } => {
                evaluation.resume_with_register(Value::Generic(registers.get(register)?)).ok()?
            }
            EvaluationResult::RequiresMemory { address, size: 8, .. } => {
                evaluation.resume_with_memory(Value::Generic(read(address)?)).ok()?
            }
            _ => return None,
        };
    }
}
