//! The guest's kernel as seen through its memory: which task is on a CPU, whether it may sleep, how it does.

use super::client::Gdb;
use super::handle::Error;
use super::task::Standing;
use crate::Layout;
use std::collections::HashMap;
use std::sync::Arc;

/// More tasks than a small guest has; a list that is longer goes in circles.
const MOST_TASKS: usize = 1 << 16;

/// Room on the stack of a task that does not run, from `thread.sp` up: `r15` to `r12`, `rbx`, `rbp` and the return address of
/// `__switch_to_asm` (`struct inactive_task_frame`, `arch/x86/include/asm/switch_to.h`).
const SWITCH_FRAME: u64 = 7 * 8;

/// A kernel stack as it was, to be unwound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackImage {
    /// Where the innermost function is.
    pub ip: u64,
    /// Its stack pointer.
    pub sp: u64,
    /// Its frame pointer register.
    pub bp: u64,
    /// Address of the first of the words.
    pub base: u64,
    /// The stack from there to its top.
    pub words: Vec<u64>,
}

impl StackImage {
    /// The word at an address; none where it is not part of the image.
    pub fn word(&self, address: u64) -> Option<u64> {
        let offset = address.checked_sub(self.base).filter(|offset| offset.is_multiple_of(8))?;
        self.words.get(usize::try_from(offset / 8).ok()?).copied()
    }
}

/// What is read of a task at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    pub address: u64,
    pub pid: i32,
    pub comm: String,
    pub state: u64,
    pub on_cpu: bool,
    pub sp: u64,
    pub stack: u64,
    pub rcu_nesting: u32,
}

/// A connection and what is known of the kernel behind it.
pub(super) struct Guest {
    pub gdb: Gdb,
    pub layout: Arc<Layout>,
    /// Per-CPU offsets, by virtual CPU; filled at the first need, when the kernel has long been up.
    offsets: Vec<u64>,
    /// Tasks met before, by thread id.
    met: HashMap<i32, u64>,
}

impl Guest {
    pub fn new(gdb: Gdb, layout: Arc<Layout>) -> Self {
        Self { gdb, layout, offsets: Vec::new(), met: HashMap::new() }
    }

    /// Index of the virtual CPU that the stub calls `thread`.
    pub fn cpu(&self, thread: u32) -> usize {
        self.gdb.threads().iter().position(|known| *known == thread).unwrap_or(0)
    }

    /// The task on a CPU and the CPU's preempt count.
    pub async fn current(&mut self, thread: u32) -> Result<(Task, u32), Error> {
        let offset = self.offset(thread).await?;
        let (current, count) = (self.layout.current_task, self.layout.preempt_count);
        let spots = [(current.wrapping_add(offset), 8), (count.wrapping_add(offset), 4)];
        let read = self.memory(thread, &spots).await?;
        let count = u32::try_from(number(&read[1])).unwrap_or(u32::MAX);
        let task = self.task(thread, number(&read[0])).await?;
        self.met.insert(task.pid, task.address);
        Ok((task, count))
    }

    /// Whether the task that is on a CPU may sleep there.
    pub fn standing(&self, registers: &Registers, task: &Task, preempt_count: u32) -> Standing {
        Standing::of(registers, preempt_count, task.rcu_nesting, task.state, (task.stack, self.layout.stack_size))
    }

    /// A task by its address.
    pub async fn task(&mut self, thread: u32, address: u64) -> Result<Task, Error> {
        let layout = self.layout.task;
        let at = |offset: u64| address.wrapping_add(offset);
        let spots = [
            (at(layout.pid), 4),
            (at(layout.comm), 16),
            (at(layout.state.0), usize::from(layout.state.1)),
            // Kernels without the field get the process id read once more, and it is not used.
            (at(layout.on_cpu.unwrap_or(layout.pid)), 4),
            (at(layout.sp), 8),
            (at(layout.stack), 8),
            (at(layout.rcu_nesting.unwrap_or(layout.pid)), 4),
        ];
        let read = self.memory(thread, &spots).await?;
        let comm = read[1].split(|byte| *byte == 0).next().unwrap_or_default();
        let low = |bytes: &[u8]| u32::try_from(number(bytes)).unwrap_or(u32::MAX);
        Ok(Task {
            address,
            pid: low(&read[0]).cast_signed(),
            comm: String::from_utf8_lossy(comm).into_owned(),
            state: number(&read[2]),
            on_cpu: layout.on_cpu.is_some() && number(&read[3]) != 0,
            sp: number(&read[4]),
            stack: number(&read[5]),
            rcu_nesting: if layout.rcu_nesting.is_some() { low(&read[6]) } else { 0 },
        })
    }

    /// The task with this thread id: where it was met last, else by walking all tasks. None where there is none.
    pub async fn find(&mut self, thread: u32, tid: i32) -> Result<Option<Task>, Error> {
        if let Some(&address) = self.met.get(&tid) {
            // The task may have ended and its memory be another's, or nobody's.
            if let Ok(task) = self.task(thread, address).await
                && task.pid == tid
                && task.state & TASK_DEAD == 0
            {
                return Ok(Some(task));
            }
            self.met.remove(&tid);
        }
        self.walk(thread).await?;
        match self.met.get(&tid) {
            Some(&address) => self.task(thread, address).await.map(Some),
            None => Ok(None),
        }
    }

    /// Meets every task: processes through `init_task.tasks`, and each one's threads through `signal->thread_head`.
    async fn walk(&mut self, thread: u32) -> Result<(), Error> {
        let (layout, first) = (self.layout.task, self.layout.init_task);
        let mut leader = first;
        for _ in 0..MOST_TASKS {
            let spots = [(leader.wrapping_add(layout.signal), 8), (leader.wrapping_add(layout.tasks), 8)];
            let read = self.memory(thread, &spots).await?;
            let head = number(&read[0]).wrapping_add(layout.thread_head);
            self.threads(thread, head).await?;
            leader = number(&read[1]).wrapping_sub(layout.tasks);
            if leader == first {
                return Ok(());
            }
        }
        Err(Error::Unexpected { doing: "the list of all tasks".to_owned(), reply: "a list without an end".to_owned() })
    }

    /// Meets the threads of a process; `init_task` and a process on its way out may have none.
    async fn threads(&mut self, thread: u32, head: u64) -> Result<(), Error> {
        let layout = self.layout.task;
        let mut node = number(&self.memory(thread, &[(head, 8)]).await?[0]);
        for _ in 0..MOST_TASKS {
            if node == head {
                return Ok(());
            }
            let task = node.wrapping_sub(layout.thread_node);
            let read = self.memory(thread, &[(task.wrapping_add(layout.pid), 4), (node, 8)]).await?;
            self.met.insert(u32::try_from(number(&read[0])).unwrap_or(0).cast_signed(), task);
            node = number(&read[1]);
        }
        Err(Error::Unexpected { doing: "a process's threads".to_owned(), reply: "a list without an end".to_owned() })
    }

    /// The kernel stack of a task that does not run, as the scheduler left it.
    pub async fn sleeping_stack(&mut self, thread: u32, task: &Task) -> Result<StackImage, Error> {
        let mut image = self.stack(thread, task, 0, task.sp, 0).await?;
        let word = |index: u64| image.word(task.sp.wrapping_add(index * 8)).unwrap_or(0);
        (image.bp, image.ip, image.sp) = (word(5), word(6), task.sp.wrapping_add(SWITCH_FRAME));
        Ok(image)
    }

    /// The kernel stack from `sp` to its top. On another stack than the task's own, to the end of that page.
    pub async fn stack(&mut self, thread: u32, task: &Task, ip: u64, sp: u64, bp: u64) -> Result<StackImage, Error> {
        let size = self.layout.stack_size;
        let own = sp.checked_sub(task.stack).filter(|offset| *offset < size).map(|offset| size - offset);
        let base = sp & !7;
        let length = own.unwrap_or(4096 - sp % 4096).next_multiple_of(8);
        let bytes = self.memory(thread, &[(base, usize::try_from(length).unwrap_or(0))]).await?;
        let words = bytes[0].as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        Ok(StackImage { ip, sp, bp, base, words })
    }

    /// Memory that is there. A CPU in user space may not have the kernel mapped (page-table isolation), so the others are
    /// asked as well.
    pub async fn memory(&mut self, thread: u32, spots: &[(u64, usize)]) -> Result<Vec<Vec<u8>>, Error> {
        let others: Vec<u32> = self.gdb.threads().iter().copied().filter(|other| *other != thread).collect();
        let mut missing = None;
        for thread in std::iter::once(thread).chain(others) {
            let read = self.gdb.read(thread, spots).await?;
            missing = read.iter().zip(spots).find(|(bytes, _)| bytes.is_none()).map(|(_, spot)| *spot);
            if let Some(read) = read.into_iter().collect() {
                return Ok(read);
            }
        }
        let (address, length) = missing.unwrap_or_default();
        let doing = format!("reading {length} bytes of the guest's memory at {address:#x}");
        Err(Error::Refused { doing, reply: "it is not mapped".to_owned() })
    }

    async fn offset(&mut self, thread: u32) -> Result<u64, Error> {
        if self.offsets.is_empty() {
            let length = self.gdb.threads().len() * 8;
            let bytes = self.memory(thread, &[(self.layout.per_cpu_offset, length)]).await?;
            self.offsets = bytes[0].as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        }
        Ok(self.offsets.get(self.cpu(thread)).copied().unwrap_or(0))
    }
}

/// `TASK_DEAD` (include/linux/sched.h).
pub(super) const TASK_DEAD: u64 = 0x80;

/// A little-endian number of up to 8 bytes.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Bytes of a `g` packet of QEMU's x86-64 target up to what is read here, the base registers of fs and gs included.
const READ: usize = 188;

/// Bytes up to eflags: all that a thread takes along when it changes CPUs in the kernel.
pub(super) const THREAD: usize = 140;

/// The interrupt flag in eflags (Intel SDM volume 1, 3.4.3).
const INTERRUPTS: u32 = 1 << 9;

/// Direction flag and alignment check; the latter also opens user memory to the kernel (SMAP).
const UNFIT_FOR_CALLS: u32 = 1 << 10 | 1 << 18;

/// General registers, instruction pointer and flags of a thread.
///
/// QEMU's `g` packet for x86-64 (gdb-xml/i386-64bit.xml) holds in this order: rax rbx rcx rdx rsi rdi rbp rsp r8 to r15 and
/// rip, 8 bytes each; eflags cs ss ds es fs gs, 4 each; `fs_base` `gs_base` `k_gs_base`, 8 each; cr0 cr2 cr3 cr4 cr8 efer,
/// 8 each; st0 to st7, 10 each; eight x87 control registers, 4 each; xmm0 to xmm15, 16 each; mxcsr, 4: 608 bytes, the
/// numbers little-endian. Its `G` takes a packet that ends early and leaves the registers behind its end alone.
///
/// Only the first 17 and the flags belong to a thread that runs in the kernel. The rest is the CPU's (segments, their bases,
/// control registers) or kept for the thread by the kernel (x87 and SSE), so it is never written back: the thread may
/// come back on another CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    /// rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15.
    pub general: [u64; 16],
    /// Address of the next instruction.
    pub rip: u64,
    /// Flags.
    pub eflags: u32,
    /// Code segment; its lowest two bits are the privilege level, 0 in the kernel.
    pub cs: u32,
    /// Base of gs: in the kernel, behind its entry code, the CPU's own data.
    pub gs_base: u64,
}

impl Registers {
    /// From a `g` packet's bytes; none where it is too short to be one of x86-64's.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        if packet.len() < READ {
            return None;
        }
        let long = |at: usize| Some(u64::from_le_bytes(*packet.get(at..)?.first_chunk()?));
        let word = |at: usize| Some(u32::from_le_bytes(*packet.get(at..)?.first_chunk()?));
        let mut general = [0; 16];
        for (at, register) in general.iter_mut().enumerate() {
            *register = long(at * 8)?;
        }
        Some(Self { general, rip: long(128)?, eflags: word(136)?, cs: word(140)?, gs_base: long(172)? })
    }

    /// The beginning of a `G` packet: what belongs to the thread, and nothing of the CPU.
    pub(super) fn thread_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.general.iter().chain([&self.rip]).flat_map(|long| long.to_le_bytes()).collect();
        bytes.extend(self.eflags.to_le_bytes());
        debug_assert_eq!(bytes.len(), THREAD);
        bytes
    }

    /// rsp.
    pub fn sp(&self) -> u64 {
        self.general[7]
    }

    /// rbp.
    pub fn bp(&self) -> u64 {
        self.general[6]
    }

    /// Whether the CPU executes the kernel.
    pub fn in_kernel(&self) -> bool {
        self.cs.trailing_zeros() >= 2
    }

    /// Whether interrupts are let in.
    pub fn interrupts(&self) -> bool {
        self.eflags & INTERRUPTS != 0
    }

    /// The same thread about to enter `function(argument)` with its return address stored at `sp`. Flags are as the calling
    /// convention wants them (System V ABI for x86-64, 3.2.1).
    pub(super) fn calling(&self, function: u64, argument: u64, sp: u64) -> Self {
        let mut calling = *self;
        calling.rip = function;
        calling.general[5] = argument;
        calling.general[7] = sp;
        calling.eflags &= !UNFIT_FOR_CALLS;
        calling
    }
}

#[cfg(test)]
mod registers_tests {
    use super::*;

    fn packet() -> Vec<u8> {
        (0..608_u32).map(|at| u8::try_from(at % 251).expect("below 251")).collect()
    }

    #[test]
    fn the_layout_is_qemus() {
        let registers = Registers::parse(&packet()).expect("long enough");
        assert_eq!(registers.general[0], 0x0706_0504_0302_0100);
        assert_eq!(registers.sp(), 0x3f3e_3d3c_3b3a_3938);
        assert_eq!(registers.rip, 0x8786_8584_8382_8180);
        assert_eq!(registers.eflags, 0x8b8a_8988);
        assert_eq!(registers.cs, 0x8f8e_8d8c);
        assert_eq!(registers.gs_base, 0xb3b2_b1b0_afae_adac);
        assert_eq!(registers.thread_bytes(), packet()[..THREAD]);
        assert_eq!(Registers::parse(&packet()[..187]), None);
    }

    #[test]
    fn a_call_gets_clean_flags_and_keeps_the_rest() {
        let mut registers = Registers::parse(&packet()).expect("long enough");
        registers.eflags = 0x0004_0646;
        let calling = registers.calling(0xf00, 4, 0x1000);
        assert_eq!((calling.rip, calling.general[5], calling.sp(), calling.eflags), (0xf00, 4, 0x1000, 0x246));
        assert_eq!(calling.general[8..], registers.general[8..]);
        assert!(registers.interrupts() && calling.interrupts());
    }
}
