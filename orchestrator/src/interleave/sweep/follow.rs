//! Which functions a sweep covers: those that the plan names, and, under the plan's `callees`, those that the victim comes
//! through.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::debugger::{Guide, Registers};
use crate::symbols::{Instruction, Kind};

/// Functions beyond which nothing is looked for: a sweep through the scheduler or through decompression would be endless and
/// tell nothing of the race. Functions in files that the plan names are swept all the same.
const NOT_FOLLOWED: &[&str] = &["arch/", "kernel/", "lib/", "crypto/", "include/asm-generic/"];

/// Most functions that one trace goes through.
const MOST_UNITS: usize = 600;

/// Indirect calls of a kernel with return trampolines go through these (arch/x86/lib/retpoline.S).
const THUNK: &str = "__x86_indirect_thunk_";

/// Registers by the order in which [`Registers::general`] holds them.
const GENERAL: [&str; 16] =
    ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

/// A function, or a part of one with a symbol of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Name in the source.
    pub name: String,
    /// Symbol.
    pub symbol: String,
    /// First address of the symbol.
    pub start: u64,
    /// Source file relative to the tree.
    pub file: Option<String>,
    /// Its code.
    pub instructions: Vec<Instruction>,
}

/// Where code is looked up.
pub trait Code: Send + Sync {
    /// What is at an address.
    fn unit(&self, address: u64) -> Option<Unit>;
}

/// An instruction boundary that the victim came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// Where.
    pub address: u64,
    /// Why it cannot be put to sleep there; none where it can.
    pub illegal: Option<String>,
}

/// What a trace has found so far.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// Swept functions by first address.
    pub swept: BTreeMap<u64, Unit>,
    /// First visits of their instructions, in order.
    pub visits: Vec<Visit>,
    /// Instructions that were followed, those of functions merely passed through included.
    pub steps: u64,
}

/// Decides at each step what else to look at.
pub struct Follower {
    code: Arc<dyn Code>,
    callees: Vec<String>,
    /// Names of the functions that the plan names: what is split off from them belongs to them.
    roots: BTreeSet<String>,
    way: Arc<Mutex<Way>>,
    /// Addresses whose visits count.
    recorded: BTreeSet<u64>,
    /// Instructions that lead out of their function.
    leading: HashMap<u64, u64>,
    met: BTreeSet<u64>,
}

impl Follower {
    /// Begins with the functions that the plan names. Returns the follower, what it will have found, and the addresses to wait
    /// at first.
    pub fn new(code: Arc<dyn Code>, roots: Vec<Unit>, callees: &[String]) -> (Self, Arc<Mutex<Way>>, Vec<u64>) {
        let way = Arc::new(Mutex::new(Way::default()));
        let mut follower = Self {
            code,
            callees: callees.to_vec(),
            roots: roots.iter().map(|unit| unit.name.clone()).collect(),
            way: way.clone(),
            recorded: BTreeSet::new(),
            leading: HashMap::new(),
            met: BTreeSet::new(),
        };
        let addresses = roots.into_iter().flat_map(|unit| follower.sweep(unit)).collect();
        (follower, way, addresses)
    }

    /// Takes a function into the sweep; returns its instructions.
    fn sweep(&mut self, unit: Unit) -> Vec<u64> {
        self.met.insert(unit.start);
        self.note_leading(&unit);
        let addresses: Vec<u64> = unit.instructions.iter().map(|it| it.address).collect();
        self.recorded.extend(&addresses);
        self.way.lock().unwrap_or_else(PoisonError::into_inner).swept.insert(unit.start, unit);
        addresses
    }

    fn note_leading(&mut self, unit: &Unit) -> Vec<u64> {
        let own: BTreeSet<u64> = unit.instructions.iter().map(|it| it.address).collect();
        let outward = |kind: Kind| match kind {
            Kind::Call(_) | Kind::Jump { to: None, table: None, .. } => true,
            Kind::Jump { to: Some(to), .. } => !own.contains(&to),
            _ => false,
        };
        let leading: Vec<u64> = unit.instructions.iter().filter(|it| outward(it.kind)).map(|it| it.address).collect();
        self.leading.extend(leading.iter().map(|&address| (address, unit.start)));
        leading
    }

    fn is_callee(&self, file: &str) -> bool {
        self.callees.iter().any(|callee| if callee.ends_with('/') { file.starts_with(callee) } else { file == callee })
    }
}

impl Guide for Follower {
    fn comes(&mut self, address: u64, illegal: Option<String>) -> bool {
        let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        way.steps += 1;
        if self.recorded.contains(&address) {
            way.visits.push(Visit { address, illegal });
        }
        self.leading.contains_key(&address)
    }

    fn went(&mut self, from: u64, registers: &Registers) -> Vec<u64> {
        let here = self.leading.get(&from).copied();
        let Some(mut unit) = self.code.unit(registers.rip) else { return Vec::new() };
        if let Some(register) = unit.symbol.strip_prefix(THUNK)
            && let Some(index) = GENERAL.iter().position(|name| *name == register)
        {
            let Some(target) = self.code.unit(registers.general[index]) else { return Vec::new() };
            unit = target;
        }
        if Some(unit.start) == here || self.met.contains(&unit.start) || self.met.len() >= MOST_UNITS {
            return Vec::new();
        }
        let file = unit.file.clone().unwrap_or_default();
        if self.roots.contains(&unit.name) || self.is_callee(&file) {
            return self.sweep(unit);
        }
        self.met.insert(unit.start);
        if self.callees.is_empty() || file.is_empty() || NOT_FOLLOWED.iter().any(|prefix| file.starts_with(prefix)) {
            return Vec::new();
        }
        self.note_leading(&unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Functions of 0x10 one-byte instructions each, at 0x100, 0x200 …, with the given kinds at the given offsets.
    struct Toy(Vec<Function>);

    /// Name, file, and what its instructions are.
    type Function = (&'static str, &'static str, Vec<(u64, Kind)>);

    impl Code for Toy {
        fn unit(&self, address: u64) -> Option<Unit> {
            let (name, file, kinds) = self.0.get(usize::try_from(address / 0x100).ok()?.checked_sub(1)?)?;
            let start = address / 0x100 * 0x100;
            let kind = |offset| kinds.iter().find(|(at, _)| *at == offset).map_or(Kind::Other, |(_, kind)| *kind);
            let instruction =
                |offset| Instruction { address: start + offset, len: 1, text: "nop".to_owned(), kind: kind(offset) };
            Some(Unit {
                name: name.split('.').next().unwrap_or(name).to_owned(),
                symbol: (*name).to_owned(),
                start,
                file: (!file.is_empty()).then(|| (*file).to_owned()),
                instructions: (0..0x10).map(instruction).collect(),
            })
        }
    }

    fn toy() -> Arc<Toy> {
        Arc::new(Toy(vec![
            (
                "root",
                "mm/memory.c",
                vec![
                    (2, Kind::Call(Some(0x200))),
                    (4, Kind::Call(None)),
                    (6, Kind::Jump { to: Some(0x108), conditional: true, table: None }),
                    (8, Kind::Jump { to: Some(0x600), conditional: true, table: None }),
                ],
            ),
            ("submit", "block/bdev.c", vec![(3, Kind::Call(Some(0x300)))]),
            ("zram_rw", "drivers/block/zram/zram_drv.c", vec![]),
            ("schedule", "kernel/sched/core.c", vec![(1, Kind::Call(Some(0x300)))]),
            ("__x86_indirect_thunk_rbx", "arch/x86/lib/retpoline.S", vec![]),
            ("root.cold", "mm/memory.c", vec![]),
        ]))
    }

    fn at(rip: u64, rbx: u64) -> Registers {
        let mut general = [0; 16];
        general[1] = rbx;
        Registers { general, rip, eflags: 0, cs: 0x10, gs_base: 0 }
    }

    fn follow(callees: &[&str]) -> (Follower, Arc<Mutex<Way>>, Vec<u64>) {
        let code = toy();
        let root = code.unit(0x100).expect("is there");
        let callees: Vec<String> = callees.iter().map(|&callee| callee.to_owned()).collect();
        Follower::new(code, vec![root], &callees)
    }

    #[test]
    fn callees_are_found_through_functions_that_are_not_swept() {
        let (mut follower, way, first) = follow(&["drivers/block/zram/"]);
        assert_eq!(first, (0x100..0x110).collect::<Vec<_>>());
        assert!(!follower.comes(0x100, None));
        assert!(follower.comes(0x102, Some("preempt count 1".to_owned())));
        assert_eq!(follower.went(0x102, &at(0x200, 0)), [0x203], "only what leads out of it is waited for");
        assert!(follower.comes(0x203, None));
        assert_eq!(follower.went(0x203, &at(0x300, 0)).len(), 0x10);
        assert!(follower.went(0x203, &at(0x300, 0)).is_empty(), "known");
        assert!(!follower.comes(0x300, None));
        let way = way.lock().expect("no panic").clone();
        assert_eq!(way.swept.keys().copied().collect::<Vec<_>>(), [0x100, 0x300]);
        let visits: Vec<u64> = way.visits.iter().map(|visit| visit.address).collect();
        assert_eq!(visits, [0x100, 0x102, 0x300], "visits of functions passed through do not count");
        assert_eq!(way.visits[1].illegal.as_deref(), Some("preempt count 1"));
        assert_eq!(way.steps, 4);
    }

    #[test]
    fn neither_the_scheduler_nor_the_caller_is_followed() {
        let (mut follower, way, _) = follow(&["drivers/block/zram/"]);
        assert!(follower.went(0x104, &at(0x400, 0)).is_empty());
        assert!(!follower.comes(0x106, None), "a jump within the function leads nowhere else");
        assert_eq!(follower.went(0x104, &at(0x500, 0x300)).len(), 0x10, "a trampoline's target is what was called");
        assert_eq!(way.lock().expect("no panic").swept.len(), 2);
    }

    #[test]
    fn without_callees_only_what_was_split_off_belongs_to_a_function() {
        let (mut follower, way, _) = follow(&[]);
        assert!(follower.went(0x102, &at(0x200, 0)).is_empty());
        assert!(follower.went(0x104, &at(0x300, 0)).is_empty());
        assert!(follower.comes(0x108, None));
        assert_eq!(follower.went(0x108, &at(0x600, 0)).len(), 0x10);
        assert_eq!(way.lock().expect("no panic").swept.len(), 2);
    }
}
