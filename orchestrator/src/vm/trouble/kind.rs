//! Which lines announce trouble, and of what kind.

use crate::journal::entry::ProblemKind::{self, Bug, Hang, Lockdep, Oom, Panic, Warning};

/// What a line is to a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing special.
    None,
    /// `------------[ cut here ]------------`: a headline follows within a few lines.
    CutHere,
    /// A rule of `=`: sanitizer and lockdep reports stand between two of them or behind one.
    Rule,
    /// A headline.
    Problem(ProblemKind),
    /// A headline of its own, unless the report it follows is open already: `Oops: 0002 [#1]`.
    SecondLine(ProblemKind),
}

/// Headlines by their beginning; the first that fits counts.
const BEGINNINGS: &[(&str, ProblemKind)] = &[
    ("Kernel panic - not syncing", Panic),
    ("watchdog: BUG: soft lockup", Hang),
    ("watchdog: Watchdog detected hard LOCKUP", Hang),
    ("NMI watchdog: Watchdog detected hard LOCKUP", Hang),
    ("NMI watchdog: BUG: soft lockup", Hang),
    ("BUG: soft lockup", Hang),
    ("BUG: workqueue lockup", Hang),
    ("BUG: MAX_LOCK", Lockdep),
    ("BUG: MAX_STACK_TRACE_ENTRIES", Lockdep),
    ("BUG: Invalid wait context", Lockdep),
    ("[ BUG: Invalid wait context ]", Lockdep),
    ("INFO: possible ", Lockdep),
    ("INFO: trying to register non-static key", Lockdep),
    ("INFO: suspicious RCU usage", Lockdep),
    ("WARNING: possible circular locking", Lockdep),
    ("WARNING: possible recursive locking", Lockdep),
    ("WARNING: possible irq lock inversion", Lockdep),
    ("WARNING: suspicious RCU usage", Lockdep),
    ("WARNING: inconsistent lock state", Lockdep),
    ("WARNING: bad unlock balance", Lockdep),
    ("WARNING: bad contention detected", Lockdep),
    ("WARNING: held lock freed", Lockdep),
    ("WARNING: lock held when returning to user space", Lockdep),
    ("WARNING: Nested lock was not taken", Lockdep),
    ("BUG: ", Bug),
    ("[ BUG: ", Bug),
    ("UBSAN: ", Bug),
    ("general protection fault, ", Bug),
    ("general protection fault: ", Bug),
    ("Unable to handle kernel ", Bug),
    ("traps: PANIC: double fault", Bug),
    ("PANIC: double fault", Bug),
    ("WARNING: ", Warning),
    ("kmemleak: ", Warning),
];

/// Headlines by something in them, where a name stands before it.
const MIDDLES: &[(&str, ProblemKind)] = &[
    (" invoked oom-killer: ", Oom),
    ("Out of memory: Killed process", Oom),
    ("Memory cgroup out of memory: Killed process", Oom),
    ("Out of memory and no killable processes", Oom),
    ("oom-kill:constraint=", Oom),
    (": Bad swap file entry ", Bug),
    (": Bad swap offset entry ", Bug),
    (": Unused swap file entry ", Bug),
    (": Unused swap offset entry ", Bug),
    ("WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order", Lockdep),
    ("WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order", Lockdep),
    (" page allocation failure: order:", Warning),
];

pub(super) fn classify(text: &str) -> Start {
    if text.contains("[ cut here ]") {
        return Start::CutHere;
    }
    if text.len() >= 20 && text.bytes().all(|byte| byte == b'=') {
        return Start::Rule;
    }
    if text.starts_with("kernel BUG at ") || is_oops(text) {
        return Start::SecondLine(Bug);
    }
    let in_the_middle = MIDDLES.iter().find(|(needle, _)| text.contains(needle));
    let at_the_start = || BEGINNINGS.iter().find(|(needle, _)| text.starts_with(needle));
    if let Some((_, kind)) = in_the_middle.or_else(at_the_start) {
        // `kmemleak: 3 new suspected memory leaks` is trouble, its other messages are not.
        if text.starts_with("kmemleak: ") && !text.contains("suspected memory leaks") {
            return Start::None;
        }
        return Start::Problem(*kind);
    }
    let stalled = text.contains("rcu") && (text.contains("detected stall") || text.contains("self-detected stall"));
    let expedited = text.contains("rcu") && text.contains("detected expedited stalls");
    let blocked = text.starts_with("INFO: task ") && text.contains(" blocked ") && text.contains(" for more than ");
    if stalled || expedited || blocked { Start::Problem(Hang) } else { Start::None }
}

/// Whether nothing follows this headline.
pub(super) fn stands_alone(text: &str) -> bool {
    let alone = ["BUG: Bad rss-counter state", "BUG: non-zero pgtables_bytes", "kmemleak: "];
    alone.iter().any(|beginning| text.starts_with(beginning))
        || [" swap file entry ", " swap offset entry "].iter().any(|middle| text.contains(middle))
}

/// `Oops: 0002 [#1] PREEMPT SMP`, `invalid opcode: 0000 [#1]`, `divide error: 0000 [#1]`: what `die()` prints. A general
/// protection fault prints the same, and nothing before it.
fn is_oops(text: &str) -> bool {
    let numbered = || text.split_once("[#").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
    (text.starts_with("Oops: ") || text.starts_with("Internal error: ") || text.contains(": 0000 [#")) && numbered()
}
