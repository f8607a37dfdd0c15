//! Telling a thread that waits from one that works: what its stack says, and of how many looks.

use std::time::Duration;

use super::scene::{Posture, Sight};
use crate::journal::interleaving::Frame;

/// Looks that must find the thread standing still in one and the same function before a step counts as blocked.
const STANDING: usize = 4;

/// Looks after which a thread that was not found so is left alone again: one that polls works between its sleeps.
const MOST_LOOKS: usize = 16;

/// Between two looks. Longer than a tick, so that a thread that polls is seen in another turn of its loop.
pub const BETWEEN: Duration = Duration::from_millis(7);

/// A step that takes less than this is never looked at.
pub const PATIENCE: Duration = Duration::from_millis(60);

/// How many times longer than usual a step may take before somebody looks.
pub const TIMES_USUAL: u32 = 4;

/// Functions that wait on behalf of their caller: what a thread waits *for* is told by who called them. Prefixes end in
/// `*`. From `kernel/sched`, `kernel/locking`, `kernel/time`, `kernel/rcu`, `mm/filemap.c` and `lib` of 5.10 to 7.3.
const PRIMITIVES: &[&str] = &[
    // The scheduler.
    "__schedule",
    "schedule",
    "schedule_*",
    "__schedule_loop",
    "preempt_schedule*",
    "__cond_resched",
    "_cond_resched",
    "cond_resched*",
    "context_switch",
    "__switch_to*",
    "switch_to*",
    "io_schedule*",
    "yield",
    "do_sched_yield",
    // Sleeping for a time.
    "msleep*",
    "usleep_range*",
    "fsleep",
    "ssleep",
    "do_nanosleep",
    "hrtimer_*",
    "__hrtimer_*",
    // Completions, wait queues, bits, pages.
    "wait_for_*",
    "do_wait_for_*",
    "__wait_for_*",
    "wait_on_*",
    "__wait_on_*",
    "out_of_line_wait_on_*",
    "bit_wait*",
    "prepare_to_wait*",
    "finish_wait",
    "wait_woken",
    "folio_wait_*",
    "__folio_lock*",
    "folio_lock*",
    "__lock_page*",
    "lock_page*",
    "put_and_wait_on_page_locked",
    // Locks.
    "rwsem_*",
    "down_*",
    "__down_*",
    "down",
    "__down",
    "___down*",
    "mutex_lock*",
    "__mutex_lock*",
    "ww_mutex_lock*",
    "rt_mutex_*",
    "__rt_mutex_*",
    "rtlock_*",
    "percpu_down_*",
    "__percpu_down_*",
    "percpu_rwsem_*",
    "__percpu_rwsem_*",
    "mmap_read_lock*",
    "mmap_write_lock*",
    "__mmap_lock_*",
    "_raw_*",
    "__raw_*",
    "do_raw_*",
    // Read-copy-update, and waiting for other CPUs.
    "synchronize_*",
    "rcu_barrier*",
    "rcu_sync_*",
    "__synchronize_*",
];

/// Functions of those who wait without sleeping: for a lock that spins, for another CPU's answer, for time to pass.
const SPINNING: &[&str] = &[
    "queued_spin_lock*",
    "native_queued_spin_lock*",
    "__pv_queued_spin_lock*",
    "queued_read_lock*",
    "queued_write_lock*",
    "_raw_spin_lock*",
    "_raw_read_lock*",
    "_raw_write_lock*",
    "__raw_spin_lock*",
    "do_raw_spin_lock*",
    "spin_lock*",
    "virt_spin_lock",
    "arch_spin_lock*",
    "osq_lock*",
    "mutex_spin_on_owner*",
    "mutex_optimistic_spin*",
    "rwsem_spin_on_owner*",
    "rwsem_optimistic_spin*",
    "smp_call_function*",
    "on_each_cpu*",
    "csd_lock_wait*",
    "__csd_lock_wait*",
    "cpu_relax",
    "rep_nop",
    "delay_*",
    "__delay",
    "__udelay",
    "__const_udelay",
];

/// A thread that waits for another of its process, such as for its next order: that is no wait for anything the kernel does.
/// A fault on the way into a futex has functions of its own above these.
const ORDERS: &[&str] = &["futex_*", "__futex_*", "do_futex", "__do_sys_futex"];

/// What a tick or another interrupt puts on top of whatever a thread was doing, from the x86 entry and `kernel/softirq.c`.
const INTERRUPTS: &[&str] = &[
    "asm_*",
    "sysvec_*",
    "__sysvec_*",
    "common_interrupt",
    "irqentry_*",
    "irq_exit*",
    "__irq_exit*",
    "__do_softirq",
    "handle_softirqs",
    "do_softirq*",
    "ret_from_*",
];

fn is_one_of(list: &[&str], function: &str) -> bool {
    // A compiler's clone is what it was cloned from.
    let name = function.split('.').next().unwrap_or(function);
    list.iter().any(|entry| match entry.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *entry,
    })
}

/// Whether `function` only waits on behalf of its caller, or came on top of it.
pub fn is_primitive(function: &str) -> bool {
    [PRIMITIVES, SPINNING, INTERRUPTS].iter().any(|list| is_one_of(list, function))
}

/// The innermost function of `stack` that is not the scheduler's, an interrupt's or a wait primitive's.
pub fn waits_in(stack: &[Frame]) -> Option<&str> {
    stack.iter().map(|frame| frame.function.as_str()).find(|function| !is_primitive(function))
}

/// Whether a thread seen so stands still in the kernel: asleep, or spinning for something.
fn stands(sight: &Sight) -> bool {
    let spins = || {
        let mut functions = sight.stack.iter().map(|frame| frame.function.as_str());
        functions.find(|function| !is_one_of(INTERRUPTS, function)).is_some_and(|name| is_one_of(SPINNING, name))
    };
    match sight.posture {
        Posture::Sleeping => true,
        Posture::Kernel => spins(),
        Posture::User | Posture::Gone => false,
    }
}

/// What several looks at a thread tell, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Not enough: look again.
    Open,
    /// It waits, in the kernel and for something that the kernel does.
    Waits {
        /// Innermost function that is not the scheduler's or a wait primitive's.
        function: String,
        /// The look that shows it.
        look: usize,
    },
    /// It cannot be said to wait.
    Works,
}

/// What the looks so far tell. A thread waits that stood still in one and the same function four times and was in the kernel
/// each time: one that polls is seen between two sleeps too, one that spins never is. One that merely takes long is not
/// waiting, and one in a futex has done its operation, whose answer is under way.
pub fn tell(looks: &[Sight]) -> Told {
    let in_kernel =
        |look: &Sight| matches!(look.posture, Posture::Sleeping | Posture::Kernel) && !look.stack.is_empty();
    if !looks.iter().all(in_kernel) {
        return Told::Works;
    }
    let standing = |look: &Sight| {
        let function = waits_in(&look.stack).filter(|function| stands(look) && !is_one_of(ORDERS, function));
        function.map(str::to_owned)
    };
    let found: Vec<Option<String>> = looks.iter().map(standing).collect();
    let same = |function: &Option<String>| found.iter().filter(|other| *other == function).count();
    let slept = looks.iter().any(|look| look.posture == Posture::Sleeping);
    let told = found.iter().enumerate().find_map(|(look, function)| {
        let often = same(function) >= STANDING && (slept || same(function) == looks.len());
        function.clone().filter(|_| often).map(|function| Told::Waits { function, look })
    });
    let rest = if looks.len() < MOST_LOOKS { Told::Open } else { Told::Works };
    told.unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(functions: &[&str]) -> Vec<Frame> {
        let frame = |name: &&str| Frame {
            address: 0xffff_ffff_8100_0000,
            function: (*name).to_owned(),
            offset: Some(1),
            file: None,
            line: None,
        };
        functions.iter().map(frame).collect()
    }

    fn sight(posture: Posture, functions: &[&str]) -> Sight {
        Sight { posture, stack: stack(functions) }
    }

    #[test]
    fn the_one_who_asked_for_the_wait_is_named() {
        let pin = ["__schedule", "schedule", "schedule_timeout", "schedule_timeout_uninterruptible", "do_swap_page"];
        assert_eq!(waits_in(&stack(&pin)), Some("do_swap_page"));
        let lock = ["schedule", "rwsem_down_write_slowpath", "down_write_killable", "__vm_munmap"];
        assert_eq!(waits_in(&stack(&lock)), Some("__vm_munmap"));
        let cloned = ["schedule", "__mutex_lock.constprop.0", "swap_start"];
        assert_eq!(waits_in(&stack(&cloned)), Some("swap_start"));
        assert_eq!(waits_in(&stack(&["__schedule", "schedule"])), None);
        for worker in ["do_swap_page", "schedulable", "downgrade_page", "lock_vma_under_rcu", "handle_mm_fault"] {
            assert!(!is_primitive(worker), "{worker}");
        }
    }

    #[test]
    fn only_a_thread_that_stands_still_waits() {
        let asleep = sight(Posture::Sleeping, &["schedule", "do_swap_page"]);
        let again = sight(Posture::Kernel, &["do_swap_page", "handle_mm_fault"]);
        let spins =
            sight(Posture::Kernel, &["asm_sysvec_apic_timer_interrupt", "native_queued_spin_lock_slowpath", "zap"]);
        let preempted = sight(Posture::Kernel, &["__schedule", "preempt_schedule_irq", "do_swap_page"]);
        let idle = sight(Posture::Sleeping, &["schedule", "futex_wait_queue", "futex_wait", "do_futex"]);
        let nobody = sight(Posture::Sleeping, &["schedule"]);
        let user = Sight { posture: Posture::User, stack: Vec::new() };
        let many = |parts: &[(usize, &Sight)]| {
            tell(&parts.iter().flat_map(|(count, sight)| vec![(*sight).clone(); *count]).collect::<Vec<_>>())
        };
        let waits = |function: &str, look| Told::Waits { function: function.to_owned(), look };
        assert_eq!(many(&[(4, &asleep)]), waits("do_swap_page", 0));
        assert_eq!(many(&[(3, &asleep)]), Told::Open);
        assert_eq!(many(&[(5, &again), (3, &asleep)]), Told::Open);
        assert_eq!(many(&[(5, &again), (4, &asleep)]), waits("do_swap_page", 5), "it polls");
        assert_eq!(many(&[(3, &asleep), (1, &user)]), Told::Works, "it was in user space");
        assert_eq!(many(&[(15, &again)]), Told::Open);
        assert_eq!(many(&[(16, &again)]), Told::Works);
        assert_eq!(many(&[(16, &preempted)]), Told::Works, "somebody else has its CPU");
        assert_eq!(many(&[(4, &spins)]), waits("zap", 0));
        assert_eq!(many(&[(12, &spins), (4, &again)]), Told::Works, "a lock that is often taken is no wait");
        assert_eq!(many(&[(16, &idle)]), Told::Works, "it waits for orders");
        assert_eq!(many(&[(16, &nobody)]), Told::Works, "nobody to name");
        assert_eq!(tell(&[]), Told::Open);
    }
}
