//! Tells a blocked thread from a slow one, by several snapshots of its stack.

use std::time::Duration;

use super::control::{TaskSnapshot, TaskState};
use kernel_debug::Frame;

/// Snapshots that must show the thread blocked in the same function before a step counts as
/// blocked.
const STANDING: usize = 4;

/// Snapshots after which sampling ends for now. A thread that polls is running in some of them.
const MOST_LOOKS: usize = 16;

/// Time between two snapshots. Longer than a tick, so that a polling thread is seen in different
/// turns of its loop.
pub const BETWEEN: Duration = Duration::from_millis(7);

/// A step that takes less than this is never sampled.
pub const PATIENCE: Duration = Duration::from_millis(60);

/// A step is sampled when it takes this many times longer than in free rounds.
pub const TIMES_USUAL: u32 = 4;

/// Functions that wait on behalf of their caller; the caller says what is waited for. Prefixes end
/// in `*`. Source: `kernel/sched`, `kernel/locking`, `kernel/time`, `kernel/rcu`, `mm/filemap.c`
/// and `lib` of 5.10 to 7.3.
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

/// Functions that wait without sleeping: spin locks, cross-CPU calls, delays.
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

/// Functions in which a thread waits for another thread of its process, such as for its next order.
/// Such a wait is no evidence. A fault inside a futex call has other functions above these.
const ORDERS: &[&str] = &["futex_*", "__futex_*", "do_futex", "__do_sys_futex"];

/// Functions that an interrupt puts on top of a stack. Source: the x86 entry code and
/// `kernel/softirq.c`.
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
    // A compiler's clone (`f.constprop.0`) counts as its original.
    let name = function.split('.').next().unwrap_or(function);
    list.iter().any(|entry| match entry.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *entry,
    })
}

/// Whether `function` waits on behalf of its caller or belongs to an interrupt.
pub fn is_primitive(function: &str) -> bool {
    [PRIMITIVES, SPINNING, INTERRUPTS].iter().any(|list| is_one_of(list, function))
}

/// The function that a thread with this `stack` waits in: the innermost one that is no wait
/// primitive and no interrupt.
pub fn waits_in(stack: &[Frame]) -> Option<&str> {
    stack.iter().map(|frame| frame.function.as_str()).find(|function| !is_primitive(function))
}

/// Whether a thread is blocked in this snapshot: asleep, or spinning.
fn stands(snapshot: &TaskSnapshot) -> bool {
    let spins = || {
        let mut functions = snapshot.stack.iter().map(|frame| frame.function.as_str());
        functions.find(|function| !is_one_of(INTERRUPTS, function)).is_some_and(|name| is_one_of(SPINNING, name))
    };
    match snapshot.state {
        TaskState::Sleeping => true,
        TaskState::Kernel => spins(),
        TaskState::User | TaskState::Gone => false,
    }
}

/// What successive snapshots of a thread say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitState {
    /// More snapshots are needed.
    Undecided,
    /// It is blocked in the kernel.
    Waiting {
        /// The function it waits in.
        function: String,
        /// Index of the first snapshot that shows it.
        look: usize,
    },
    /// It is not known to be blocked.
    Running,
}

/// Classifies a thread by its snapshots so far. A thread is blocked if it was in the kernel in all
/// of them and waited in the same function in four. A sleeping thread may be seen running between
/// two sleeps; a spinning thread may not. A thread in a futex has finished its operation and its
/// answer is on the way.
pub fn classify_wait(looks: &[TaskSnapshot]) -> WaitState {
    let in_kernel =
        |look: &TaskSnapshot| matches!(look.state, TaskState::Sleeping | TaskState::Kernel) && !look.stack.is_empty();
    if !looks.iter().all(in_kernel) {
        return WaitState::Running;
    }
    let standing = |look: &TaskSnapshot| {
        let function = waits_in(&look.stack).filter(|function| stands(look) && !is_one_of(ORDERS, function));
        function.map(str::to_owned)
    };
    let found: Vec<Option<String>> = looks.iter().map(standing).collect();
    let same = |function: &Option<String>| found.iter().filter(|other| *other == function).count();
    let slept = looks.iter().any(|look| look.state == TaskState::Sleeping);
    let state = found.iter().enumerate().find_map(|(look, function)| {
        let often = same(function) >= STANDING && (slept || same(function) == looks.len());
        function.clone().filter(|_| often).map(|function| WaitState::Waiting { function, look })
    });
    let rest = if looks.len() < MOST_LOOKS { WaitState::Undecided } else { WaitState::Running };
    state.unwrap_or(rest)
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

    fn snapshot(state: TaskState, functions: &[&str]) -> TaskSnapshot {
        TaskSnapshot { state, stack: stack(functions) }
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
        let asleep = snapshot(TaskState::Sleeping, &["schedule", "do_swap_page"]);
        let again = snapshot(TaskState::Kernel, &["do_swap_page", "handle_mm_fault"]);
        let spins = snapshot(
            TaskState::Kernel,
            &["asm_sysvec_apic_timer_interrupt", "native_queued_spin_lock_slowpath", "zap"],
        );
        let preempted = snapshot(TaskState::Kernel, &["__schedule", "preempt_schedule_irq", "do_swap_page"]);
        let idle = snapshot(TaskState::Sleeping, &["schedule", "futex_wait_queue", "futex_wait", "do_futex"]);
        let nobody = snapshot(TaskState::Sleeping, &["schedule"]);
        let user = TaskSnapshot { state: TaskState::User, stack: Vec::new() };
        let many = |parts: &[(usize, &TaskSnapshot)]| {
            classify_wait(
                &parts.iter().flat_map(|(count, snapshot)| vec![(*snapshot).clone(); *count]).collect::<Vec<_>>(),
            )
        };
        let waits = |function: &str, look| WaitState::Waiting { function: function.to_owned(), look };
        assert_eq!(many(&[(4, &asleep)]), waits("do_swap_page", 0));
        assert_eq!(many(&[(3, &asleep)]), WaitState::Undecided);
        assert_eq!(many(&[(5, &again), (3, &asleep)]), WaitState::Undecided);
        assert_eq!(many(&[(5, &again), (4, &asleep)]), waits("do_swap_page", 5), "it polls");
        assert_eq!(many(&[(3, &asleep), (1, &user)]), WaitState::Running, "it was in user space");
        assert_eq!(many(&[(15, &again)]), WaitState::Undecided);
        assert_eq!(many(&[(16, &again)]), WaitState::Running);
        assert_eq!(many(&[(16, &preempted)]), WaitState::Running, "somebody else has its CPU");
        assert_eq!(many(&[(4, &spins)]), waits("zap", 0));
        assert_eq!(many(&[(12, &spins), (4, &again)]), WaitState::Running, "a lock that is often taken is no wait");
        assert_eq!(many(&[(16, &idle)]), WaitState::Running, "it waits for orders");
        assert_eq!(many(&[(16, &nobody)]), WaitState::Running, "nobody to name");
        assert_eq!(classify_wait(&[]), WaitState::Undecided);
    }
}
