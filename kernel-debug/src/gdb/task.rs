//! Where a thread may be put to sleep. Pure.

use super::guest::{Guest, Registers, StackImage, TASK_DEAD, Task};
use super::handle::Error;
use std::fmt;

/// Stack that `msleep`, the scheduler below it and an interrupt on top of them are given, in bytes. Measured on 6.1: less
/// than 1 KiB; the kernel itself never counts on the last page.
pub(super) const STACK_NEEDED: u64 = 3 << 10;

/// What decides whether a thread may sleep where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The CPU's preempt count; the top bit, which says that nobody waits for the CPU, is masked out.
    pub preempt_count: u32,
    /// Interrupts are let in.
    pub interrupts: bool,
    /// Nesting of RCU read sides (`CONFIG_PREEMPT_RCU`; other kernels count them as preemption).
    pub rcu_nesting: u32,
    /// `task_struct.__state`.
    pub state: u64,
    /// Bytes between the lowest address of the thread's stack and its stack pointer; none when it is on another stack.
    pub stack_left: Option<u64>,
    /// The CPU executes the kernel.
    pub in_kernel: bool,
}

impl Standing {
    /// From what was read of a CPU and of the task on it.
    pub(super) fn of(
        registers: &Registers,
        preempt_count: u32,
        rcu_nesting: u32,
        state: u64,
        stack: (u64, u64),
    ) -> Self {
        let left = registers.sp().checked_sub(stack.0).filter(|left| *left <= stack.1);
        Self {
            preempt_count: preempt_count & !(1 << 31),
            interrupts: registers.interrupts(),
            rcu_nesting,
            state,
            stack_left: left,
            in_kernel: registers.in_kernel(),
        }
    }

    /// Whether the CPU serves an interrupt: what runs then is not the thread that was interrupted.
    pub fn serves_interrupt(&self) -> bool {
        // NMI, hardirq, and the lowest softirq bit, which is not set where softirqs are only kept off.
        self.preempt_count & 0x00ff_0100 != 0
    }

    /// Everything that forbids sleep, in words; empty where it is legal.
    ///
    /// Fields of the count: include/linux/preempt.h, the same from 2.6.39 to 7.x as far as they are used here.
    pub fn objections(&self) -> Vec<String> {
        let count = self.preempt_count;
        let field = |shift: u32, bits: u32| count >> shift & ((1 << bits) - 1);
        let (preempt, softirq, hardirq, nmi) = (field(0, 8), field(8, 8), field(16, 4), field(20, 4));
        let mut all = Vec::new();
        let mut object = |really: bool, why: String| all.extend(really.then_some(why));
        object(!self.in_kernel, "the thread is not in the kernel".to_owned());
        object(preempt != 0, format!("preempt count {preempt}: a spinlock is held or preemption is off"));
        object(softirq == 1, "a softirq is being served".to_owned());
        object(softirq > 1, format!("softirq count {softirq}: bottom halves are off"));
        object(hardirq != 0, "an interrupt is being served".to_owned());
        object(nmi != 0, "a non-maskable interrupt is being served".to_owned());
        object(count >> 24 != 0, format!("preempt count {count:#x} has unknown bits"));
        object(!self.interrupts, "interrupts are off".to_owned());
        object(self.rcu_nesting != 0, format!("RCU read side, nesting {}", self.rcu_nesting));
        object(self.state != 0, format!("task state {:#x}: the thread is about to wait for something", self.state));
        match self.stack_left {
            None => object(true, "the thread is on an interrupt's or exception's stack".to_owned()),
            Some(left) => object(left < STACK_NEEDED, format!("{left} bytes of stack are left")),
        }
        all
    }

    /// The objections in one line; none where sleep is legal.
    pub fn illegal(&self) -> Option<String> {
        Some(self.objections().join("; ")).filter(|why| !why.is_empty())
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.illegal().as_deref().unwrap_or("sleep is legal"))
    }
}

/// A thread as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The thread.
    pub tid: i32,
    /// Its name (`task_struct.comm`); empty for one that is gone.
    pub comm: String,
    /// What it does.
    pub state: State,
    /// The virtual CPU it is on, from 0.
    pub cpu: Option<usize>,
    /// Its registers: of the CPU for a thread that runs, as they will be again for one that is held.
    pub registers: Option<Registers>,
    /// Its kernel stack; none for a thread in user space, or one that is gone.
    pub stack: Option<StackImage>,
}

/// What a thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The debugger has put it to sleep.
    Held,
    /// The debugger keeps its CPU still.
    Frozen,
    /// It is on a CPU.
    Running,
    /// It could run and another thread has the CPU.
    Runnable,
    /// It waits, and a signal may wake it.
    Interruptible,
    /// It waits for something in the kernel: a lock, a page, a disk.
    Uninterruptible,
    /// It waits for work (`TASK_IDLE`).
    Idle,
    /// It is stopped, traced or parked.
    Stopped,
    /// There is no such thread, or it is about to end.
    Gone,
}

impl State {
    /// From `task_struct.__state` of a thread that is on no CPU (include/linux/sched.h).
    fn waiting(state: u64) -> Self {
        const INTERRUPTIBLE: u64 = 1;
        const UNINTERRUPTIBLE: u64 = 2;
        const NO_LOAD: u64 = 0x400;
        const LOCK_WAIT: u64 = 0x1000;
        if state == 0 {
            Self::Runnable
        } else if state & TASK_DEAD != 0 {
            Self::Gone
        } else if state & INTERRUPTIBLE != 0 {
            Self::Interruptible
        } else if state & (UNINTERRUPTIBLE | NO_LOAD) == UNINTERRUPTIBLE | NO_LOAD {
            Self::Idle
        } else if state & (UNINTERRUPTIBLE | LOCK_WAIT) != 0 {
            Self::Uninterruptible
        } else {
            Self::Stopped
        }
    }

    /// In one word, as reports spell it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Frozen => "frozen",
            Self::Running => "running",
            Self::Runnable => "runnable",
            Self::Interruptible | Self::Uninterruptible => "sleeping",
            Self::Idle => "idle",
            Self::Stopped => "stopped",
            Self::Gone => "gone",
        }
    }

    /// Whether it waits for something by itself.
    pub fn waits(self) -> bool {
        matches!(self, Self::Interruptible | Self::Uninterruptible)
    }
}

/// What the debugger itself does to a thread.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kept {
    /// Asleep, with the registers it had.
    Held(Registers),
    /// Its CPU stands.
    Frozen,
}

/// Looks for one thread while the machine stands.
pub(super) async fn look(guest: &mut Guest, tid: i32, kept: Option<Kept>) -> Result<Seen, Error> {
    let threads = guest.gdb.threads().to_vec();
    let any = threads.first().copied().unwrap_or(1);
    let mut seen = Seen { tid, comm: String::new(), state: State::Gone, cpu: None, registers: None, stack: None };
    let Some(task) = guest.find(any, tid).await? else { return Ok(seen) };
    seen.comm.clone_from(&task.comm);
    if let Some(Kept::Held(registers)) = kept {
        seen.state = State::Held;
        seen.registers = Some(registers);
        seen.stack = Some(guest.stack(any, &task, registers.rip, registers.sp(), registers.bp()).await?);
        return Ok(seen);
    }
    let mut on = None;
    for thread in threads {
        // Kernels without `on_cpu` have one CPU.
        if (task.on_cpu || guest.layout.task.on_cpu.is_none()) && guest.current(thread).await?.0.address == task.address
        {
            on = Some(thread);
        }
    }
    if let Some(thread) = on {
        running(guest, thread, &task, &mut seen).await?;
    } else {
        seen.state = State::waiting(task.state);
        if seen.state != State::Gone {
            seen.stack = Some(guest.sleeping_stack(any, &task).await?);
        }
    }
    if matches!(kept, Some(Kept::Frozen)) {
        seen.state = State::Frozen;
    }
    Ok(seen)
}

async fn running(guest: &mut Guest, thread: u32, task: &Task, seen: &mut Seen) -> Result<(), Error> {
    let registers = guest.gdb.registers(thread).await?;
    seen.state = State::Running;
    seen.cpu = Some(guest.cpu(thread));
    seen.registers = Some(registers);
    if registers.in_kernel() {
        seen.stack = Some(guest.stack(thread, task, registers.rip, registers.sp(), registers.bp()).await?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEGAL: Standing = Standing {
        preempt_count: 0,
        interrupts: true,
        rcu_nesting: 0,
        state: 0,
        stack_left: Some(12 << 10),
        in_kernel: true,
    };

    #[test]
    fn each_objection_is_named() {
        assert_eq!(LEGAL.illegal(), None);
        assert_eq!(LEGAL.to_string(), "sleep is legal");
        for (standing, word) in [
            (Standing { preempt_count: 1, ..LEGAL }, "preempt count 1: a spinlock"),
            (Standing { preempt_count: 0x100, ..LEGAL }, "a softirq is being served"),
            (Standing { preempt_count: 0x200, ..LEGAL }, "bottom halves"),
            (Standing { preempt_count: 0x10000, ..LEGAL }, "an interrupt is"),
            (Standing { preempt_count: 0x0010_0000, ..LEGAL }, "non-maskable"),
            (Standing { preempt_count: 0x0100_0000, ..LEGAL }, "unknown bits"),
            (Standing { interrupts: false, ..LEGAL }, "interrupts are off"),
            (Standing { rcu_nesting: 2, ..LEGAL }, "nesting 2"),
            (Standing { state: 1, ..LEGAL }, "task state 0x1"),
            (Standing { stack_left: None, ..LEGAL }, "exception's stack"),
            (Standing { stack_left: Some(100), ..LEGAL }, "100 bytes"),
            (Standing { in_kernel: false, ..LEGAL }, "not in the kernel"),
        ] {
            let why = standing.objections();
            assert!(why.len() == 1 && why[0].contains(word), "{why:?}");
            let served = ["softirq is being", "interrupt is"].iter().any(|word| why[0].contains(word));
            assert_eq!(standing.serves_interrupt(), served, "{why:?}");
        }
        let both = Standing { preempt_count: 2, interrupts: false, ..LEGAL };
        assert_eq!(both.illegal().expect("illegal").matches("; ").count(), 1);
    }

    #[test]
    fn the_bit_that_says_nobody_waits_is_not_counted() {
        let registers = Registers { general: [0x5000; 16], rip: 0, eflags: 0x200, cs: 0x10, gs_base: 0 };
        let of = |sp: (u64, u64)| Standing::of(&registers, 1 << 31, 0, 0, sp);
        assert_eq!(of((0x1000, 0x4000)).illegal(), None);
        assert_eq!(of((0x1000, 0x4000)).stack_left, Some(0x4000));
        assert_eq!(of((0x9000, 0x4000)).stack_left, None);
        assert_eq!(of((0x0800, 0x4000)).stack_left, None);
    }
}

#[cfg(test)]
mod seen_tests {
    use super::*;

    #[test]
    fn states_are_the_kernels() {
        for (state, want, word) in [
            (0, State::Runnable, "runnable"),
            (1, State::Interruptible, "sleeping"),
            (2, State::Uninterruptible, "sleeping"),
            (0x102, State::Uninterruptible, "sleeping"),
            (0x402, State::Idle, "idle"),
            (0x2001, State::Interruptible, "sleeping"),
            (0x1000, State::Uninterruptible, "sleeping"),
            (4, State::Stopped, "stopped"),
            (0x80, State::Gone, "gone"),
        ] {
            assert_eq!(State::waiting(state), want);
            assert_eq!(want.word(), word);
            assert_eq!(want.waits(), word == "sleeping");
        }
    }
}
