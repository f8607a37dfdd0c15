//! Where a kernel keeps its tasks.

/// Where the kernel keeps what a hold must know, read from its debug information. Addresses are the kernel's own (`nokaslr`);
/// offsets are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `__per_cpu_offset[]`: what to add to a per-CPU address, by CPU.
    pub per_cpu_offset: u64,
    /// Per-CPU address of the running task's pointer: `current_task`, or `pcpu_hot.current_task` from 6.2 to 6.14.
    pub current_task: u64,
    /// Per-CPU address of the 32-bit preempt count (`__preempt_count`, or `pcpu_hot.preempt_count`).
    pub preempt_count: u64,
    /// `init_task`, where the list of all processes begins.
    pub init_task: u64,
    /// `msleep`, the function that a held thread is sent into.
    pub msleep: u64,
    /// Padding between two functions, where a held thread's sleep returns to: nobody else ever comes there. None where the
    /// kernel has none at hand.
    pub landing: Option<u64>,
    /// In `task_struct`.
    pub task: TaskLayout,
    /// Bytes of a kernel stack (`THREAD_SIZE`).
    pub stack_size: u64,
}

/// Offsets in `task_struct`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskLayout {
    /// `pid`, 32 bits.
    pub pid: u64,
    /// `comm`, 16 bytes.
    pub comm: u64,
    /// `__state` (before 5.14 `state`), and its size.
    pub state: (u64, u8),
    /// `on_cpu`, 32 bits (`CONFIG_SMP`).
    pub on_cpu: Option<u64>,
    /// `thread.sp`, the stack pointer of a task that does not run.
    pub sp: u64,
    /// `stack`, the lowest address of the kernel stack.
    pub stack: u64,
    /// `tasks`, the list through all processes.
    pub tasks: u64,
    /// `thread_node` and, in `signal_struct`, `thread_head`: the list through the threads of a process.
    pub thread_node: u64,
    /// `signal`, a pointer.
    pub signal: u64,
    /// `thread_head` in `signal_struct`.
    pub thread_head: u64,
    /// `rcu_read_lock_nesting`, 32 bits (`CONFIG_PREEMPT_RCU`).
    pub rcu_nesting: Option<u64>,
}
