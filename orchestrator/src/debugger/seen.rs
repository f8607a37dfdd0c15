//! Where threads are.

use super::error::Error;
use super::guest::{Guest, StackImage, TASK_DEAD, Task};
use super::registers::Registers;

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
