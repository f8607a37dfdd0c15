//! Which code a sweep covers: the functions that the plan names, and those that the victim passes
//! through in files under the plan's `callees`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use kernel_debug::gdb::{Guide, Registers};
use kernel_debug::symbols::{Instruction, Kind};

/// Functions in these folders are not followed: a sweep of the scheduler or of decompression would
/// take forever and say nothing about the race. Files that the plan names are swept all the same.
const NOT_FOLLOWED: &[&str] = &["arch/", "kernel/", "lib/", "crypto/", "include/asm-generic/"];

/// Most functions that one trace follows.
const MOST_UNITS: usize = 600;

/// Indirect calls go through these functions in a kernel with retpolines
/// (arch/x86/lib/retpoline.S).
const THUNK: &str = "__x86_indirect_thunk_";

/// Register names in the order of [`Registers::general`].
const GENERAL: [&str; 16] =
    ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

/// A function, or a part of a function with its own symbol, such as `f.cold`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeUnit {
    /// Function name in the source.
    pub name: String,
    /// Symbol name.
    pub symbol: String,
    /// First address of the symbol.
    pub start: u64,
    /// Source file, relative to the kernel tree.
    pub file: Option<String>,
    /// Its instructions.
    pub instructions: Vec<Instruction>,
}

/// Looks code up by address.
pub trait Code: Send + Sync {
    /// The code at an address.
    fn unit(&self, address: u64) -> Option<CodeUnit>;
}

/// An instruction that the victim reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// Address.
    pub address: u64,
    /// Why a thread must not sleep there; none if it may.
    pub illegal: Option<String>,
}

/// The execution path found so far.
#[derive(Debug, Clone, Default)]
pub struct ExecutionPath {
    /// Swept functions by first address.
    pub swept: BTreeMap<u64, CodeUnit>,
    /// First visits of their instructions, in execution order.
    pub visits: Vec<Visit>,
    /// Instructions executed, including those of functions that are only passed through.
    pub steps: u64,
}

/// Decides at each breakpoint where to set more.
pub struct PathFollower {
    code: Arc<dyn Code>,
    callees: Vec<String>,
    /// Functions that the plan names. Parts split off by the compiler belong to them.
    roots: BTreeSet<String>,
    path: Arc<Mutex<ExecutionPath>>,
    /// Addresses whose visits are recorded.
    recorded: BTreeSet<u64>,
    /// Instructions that may leave their function, by address, with the start of that function.
    leading: HashMap<u64, u64>,
    seen: BTreeSet<u64>,
}

impl PathFollower {
    /// Starts with the functions that the plan names. Returns the follower, the path it will fill,
    /// and the addresses of the first breakpoints.
    pub fn new(
        code: Arc<dyn Code>,
        roots: Vec<CodeUnit>,
        callees: &[String],
    ) -> (Self, Arc<Mutex<ExecutionPath>>, Vec<u64>) {
        let path = Arc::new(Mutex::new(ExecutionPath::default()));
        let mut follower = Self {
            code,
            callees: callees.to_vec(),
            roots: roots.iter().map(|unit| unit.name.clone()).collect(),
            path: path.clone(),
            recorded: BTreeSet::new(),
            leading: HashMap::new(),
            seen: BTreeSet::new(),
        };
        let addresses = roots.into_iter().flat_map(|unit| follower.sweep(unit)).collect();
        (follower, path, addresses)
    }

    /// Adds a function to the sweep and returns the addresses of its instructions.
    fn sweep(&mut self, unit: CodeUnit) -> Vec<u64> {
        self.seen.insert(unit.start);
        self.note_leading(&unit);
        let addresses: Vec<u64> = unit.instructions.iter().map(|it| it.address).collect();
        self.recorded.extend(&addresses);
        self.path.lock().unwrap_or_else(PoisonError::into_inner).swept.insert(unit.start, unit);
        addresses
    }

    fn note_leading(&mut self, unit: &CodeUnit) -> Vec<u64> {
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

impl Guide for PathFollower {
    fn comes(&mut self, address: u64, illegal: Option<String>) -> bool {
        let mut path = self.path.lock().unwrap_or_else(PoisonError::into_inner);
        path.steps += 1;
        if self.recorded.contains(&address) {
            path.visits.push(Visit { address, illegal });
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
        if Some(unit.start) == here || self.seen.contains(&unit.start) || self.seen.len() >= MOST_UNITS {
            return Vec::new();
        }
        let file = unit.file.clone().unwrap_or_default();
        if self.roots.contains(&unit.name) || self.is_callee(&file) {
            return self.sweep(unit);
        }
        self.seen.insert(unit.start);
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
        fn unit(&self, address: u64) -> Option<CodeUnit> {
            let (name, file, kinds) = self.0.get(usize::try_from(address / 0x100).ok()?.checked_sub(1)?)?;
            let start = address / 0x100 * 0x100;
            let kind = |offset| kinds.iter().find(|(at, _)| *at == offset).map_or(Kind::Other, |(_, kind)| *kind);
            let instruction =
                |offset| Instruction { address: start + offset, len: 1, text: "nop".to_owned(), kind: kind(offset) };
            Some(CodeUnit {
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

    fn follow(callees: &[&str]) -> (PathFollower, Arc<Mutex<ExecutionPath>>, Vec<u64>) {
        let code = toy();
        let root = code.unit(0x100).expect("is there");
        let callees: Vec<String> = callees.iter().map(|&callee| callee.to_owned()).collect();
        PathFollower::new(code, vec![root], &callees)
    }

    #[test]
    fn callees_are_found_through_functions_that_are_not_swept() {
        let (mut follower, path, first) = follow(&["drivers/block/zram/"]);
        assert_eq!(first, (0x100..0x110).collect::<Vec<_>>());
        assert!(!follower.comes(0x100, None));
        assert!(follower.comes(0x102, Some("preempt count 1".to_owned())));
        assert_eq!(follower.went(0x102, &at(0x200, 0)), [0x203], "only what leads out of it is waited for");
        assert!(follower.comes(0x203, None));
        assert_eq!(follower.went(0x203, &at(0x300, 0)).len(), 0x10);
        assert!(follower.went(0x203, &at(0x300, 0)).is_empty(), "known");
        assert!(!follower.comes(0x300, None));
        let path = path.lock().expect("no panic").clone();
        assert_eq!(path.swept.keys().copied().collect::<Vec<_>>(), [0x100, 0x300]);
        let visits: Vec<u64> = path.visits.iter().map(|visit| visit.address).collect();
        assert_eq!(visits, [0x100, 0x102, 0x300], "visits of functions passed through do not count");
        assert_eq!(path.visits[1].illegal.as_deref(), Some("preempt count 1"));
        assert_eq!(path.steps, 4);
    }

    #[test]
    fn neither_the_scheduler_nor_the_caller_is_followed() {
        let (mut follower, path, _) = follow(&["drivers/block/zram/"]);
        assert!(follower.went(0x104, &at(0x400, 0)).is_empty());
        assert!(!follower.comes(0x106, None), "a jump within the function leads nowhere else");
        assert_eq!(follower.went(0x104, &at(0x500, 0x300)).len(), 0x10, "a trampoline's target is what was called");
        assert_eq!(path.lock().expect("no panic").swept.len(), 2);
    }

    #[test]
    fn without_callees_only_what_was_split_off_belongs_to_a_function() {
        let (mut follower, path, _) = follow(&[]);
        assert!(follower.went(0x102, &at(0x200, 0)).is_empty());
        assert!(follower.went(0x104, &at(0x300, 0)).is_empty());
        assert!(follower.comes(0x108, None));
        assert_eq!(follower.went(0x108, &at(0x600, 0)).len(), 0x10);
        assert_eq!(path.lock().expect("no panic").swept.len(), 2);
    }
}
