//! Following a thread through some functions, instruction by instruction.
//!
//! Every instruction that is asked for gets a breakpoint, which goes when the thread has come by: what is learnt is the
//! order of first visits and what held there. The thread itself is never stepped except over an instruction that leads
//! elsewhere, so it may sleep, migrate and take interrupts as it always does, and a string move is one visit.

use std::collections::BTreeSet;
use std::fmt;

use super::guest::Registers;
use super::handle::Error;

/// Which thread to follow, and where.
pub struct Trace {
    /// The thread, by its id in the guest's root pid namespace.
    pub tid: i32,
    /// Instructions to begin with.
    pub addresses: Vec<u64>,
    /// Who is told, and says where to look further.
    pub guide: Box<dyn Guide>,
}

/// Is told of a thread's way. Called while the whole guest stands.
pub trait Guide: Send {
    /// The thread is about to execute the instruction at `address`, for the first time since it was asked for. `illegal` says
    /// why it could not be put to sleep there. True when it matters where the instruction leads.
    fn comes(&mut self, address: u64, illegal: Option<String>) -> bool;

    /// Where the instruction at `from` has led, with the registers there. Returns more instructions to wait at.
    fn went(&mut self, from: u64, registers: &Registers) -> Vec<u64>;
}

impl fmt::Debug for Trace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Trace")
            .field("tid", &self.tid)
            .field("addresses", &self.addresses.len())
            .finish_non_exhaustive()
    }
}

/// A trace under way.
pub(super) struct Tracing {
    pub tid: i32,
    /// Instructions that the thread has not come to.
    pub ahead: BTreeSet<u64>,
    /// Instructions it has come to, so that they are not asked for again.
    behind: BTreeSet<u64>,
    guide: Box<dyn Guide>,
}

impl Tracing {
    pub fn new(trace: Trace) -> Self {
        let (tid, ahead) = (trace.tid, trace.addresses.into_iter().collect());
        Self { tid, ahead, behind: BTreeSet::new(), guide: trace.guide }
    }

    /// The thread has come to `address`; whether to see where it goes from there.
    pub fn comes(&mut self, address: u64, illegal: Option<String>) -> bool {
        self.ahead.remove(&address);
        self.behind.insert(address);
        self.guide.comes(address, illegal)
    }

    pub fn went(&mut self, from: u64, registers: &Registers) {
        let more = self.guide.went(from, registers);
        self.ahead.extend(more.into_iter().filter(|address| !self.behind.contains(address)));
    }
}

impl super::actor::Actor {
    /// The traced thread stands at an instruction that was asked for.
    pub(super) async fn traced(
        &mut self,
        thread: u32,
        registers: Registers,
        illegal: Option<String>,
    ) -> Result<(), Error> {
        let address = registers.rip;
        let Some(tracing) = &mut self.tracing else { return Ok(()) };
        if !tracing.comes(address, illegal) {
            return self.guest.gdb.remove(&[address]).await;
        }
        self.step_off(thread, address).await?;
        let registers = self.guest.gdb.registers(thread).await?;
        if let Some(tracing) = &mut self.tracing {
            tracing.went(address, &registers);
        }
        // Where it stands now may have been asked for as well, and a breakpoint that is set under a CPU is still hit.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Loop;

    impl Guide for Loop {
        fn comes(&mut self, address: u64, _: Option<String>) -> bool {
            address == 2
        }

        fn went(&mut self, _: u64, _: &Registers) -> Vec<u64> {
            vec![1, 7]
        }
    }

    #[test]
    fn what_was_visited_is_not_waited_for_again() {
        let mut tracing = Tracing::new(Trace { tid: 1, addresses: vec![1, 2, 3], guide: Box::new(Loop) });
        assert!(!tracing.comes(1, None));
        assert!(tracing.comes(2, None));
        let registers = Registers { general: [0; 16], rip: 1, eflags: 0, cs: 0x10, gs_base: 0 };
        tracing.went(2, &registers);
        assert_eq!(tracing.ahead.into_iter().collect::<Vec<_>>(), [3, 7]);
    }
}
