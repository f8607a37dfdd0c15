//! Where a thread may be put to sleep. Pure.

use std::fmt;

use super::registers::Registers;

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
