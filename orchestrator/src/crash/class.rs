//! Which lines announce a crash report, and of what kind.
//!
//! The texts are those of Linux 5.10 to 7.3. Where a file is named, it prints the line.

use super::line::is_number;
use super::report::CrashKind::{self, Bug, DataLoss, Hang, Leak, Lockdep, Oom, Panic, Warning};

/// What a line is to a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing special.
    None,
    /// `------------[ cut here ]------------`: a headline follows within a few lines.
    CutHere,
    /// A rule of `=`: reports of sanitizers, SLUB and lockdep stand between two of them or behind one.
    Rule,
    /// What is printed before the report that it belongs to, such as the dump of a page.
    Preface,
    /// A headline.
    Headline(CrashKind),
    /// A headline of its own, unless the report it follows is open already: `Oops: 0002 [#1]`.
    SecondLine(CrashKind),
}

/// Headlines by their beginning; the first that fits counts.
const BEGINNINGS: &[(&str, CrashKind)] = &[
    // kernel/panic.c
    ("Kernel panic - not syncing", Panic),
    // kernel/watchdog.c, kernel/workqueue.c
    ("watchdog: BUG: soft lockup", Hang),
    ("NMI watchdog: BUG: soft lockup", Hang),
    ("BUG: soft lockup", Hang),
    ("BUG: workqueue lockup", Hang),
    ("BUG: workqueue leaked", Bug),
    // kernel/locking/lockdep.c, kernel/rcu/
    ("BUG: MAX_LOCK", Lockdep),
    ("BUG: MAX_STACK_TRACE_ENTRIES", Lockdep),
    ("BUG: Invalid wait context", Lockdep),
    ("BUG: held lock freed", Lockdep),
    ("[ BUG: ", Lockdep),
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
    ("WARNING: HARDIRQ-", Lockdep),
    ("WARNING: SOFTIRQ-", Lockdep),
    ("WARNING: RECLAIM_FS-", Lockdep),
    ("rcu: INFO: rcu_", Hang),
    // mm/slub.c, mm/kfence, mm/kasan, kernel/kcsan, lib/ubsan.c, and whatever else says BUG
    ("BUG: ", Bug),
    ("UBSAN: ", Bug),
    ("CFI failure at ", Bug),
    // arch/x86/kernel/traps.c, arch/x86/mm/fault.c
    ("general protection fault, ", Bug),
    ("general protection fault: ", Bug),
    ("Unable to handle kernel ", Bug),
    ("traps: PANIC: double fault", Bug),
    ("PANIC: double fault", Bug),
    ("Insufficient stack space to handle exception!", Bug),
    ("PANIC: early exception", Panic),
    // arch/x86/kernel/unwind_frame.c, unwind_orc.c
    ("WARNING: kernel stack frame pointer at ", Warning),
    ("WARNING: kernel stack regs at ", Warning),
    ("WARNING: stack recursion on stack type ", Warning),
    // kernel/irq/spurious.c, arch/x86/kernel/nmi.c
    ("Uhhuh. NMI received for unknown reason", Warning),
    // mm/oom_kill.c
    ("Out of memory: Killed process", Oom),
    ("Memory cgroup out of memory: Killed process", Oom),
    ("Out of memory and no killable processes", Oom),
    ("oom-kill:constraint=", Oom),
];

/// Headlines by their beginning that are the whole report.
const SINGLE_LINES: &[(&str, CrashKind)] = &[
    // kernel/fork.c
    ("BUG: Bad rss-counter state", Bug),
    ("BUG: non-zero pgtables_bytes", Bug),
    // mm/zswap.c, drivers/block/zram/zram_drv.c, mm/page_io.c, fs/buffer.c, block/blk-core.c
    ("zram: Decompression failed!", DataLoss),
    ("zswap: Decompression error from zswap", DataLoss),
    ("Decompression error from zswap", DataLoss),
    ("Read-error on swap-device ", DataLoss),
    ("Write-error on swap-device ", Warning),
    ("Buffer I/O error on dev ", Warning),
    ("I/O error, dev ", Warning),
    ("blk_update_request: I/O error, dev ", Warning),
    ("critical medium error, dev ", Warning),
];

/// What stands after the name of a task or of a function.
const AFTER_NAME: &[(&str, CrashKind)] = &[
    // mm/oom_kill.c, mm/page_alloc.c, mm/vmalloc.c
    (" invoked oom-killer: gfp_mask=", Oom),
    (": page allocation failure: order:", Warning),
    (": vmalloc error: size ", Warning),
    // arch/x86/mm/fault.c, before `Bad pagetable: 000d [#1]`
    (": Corrupted page table at address ", Bug),
    // mm/swapfile.c
    (": Bad swap file entry ", Bug),
    (": Bad swap offset entry ", Bug),
    (": Unused swap file entry ", Bug),
    (": Unused swap offset entry ", Bug),
];

/// Longest name of a function before such a text.
const NAME: usize = 32;

/// Lines that `dump_page()`, `dump_vma()`, `dump_mm()` and list and reference checks print before the report.
const PREFACES: &[&str] = &[
    "page:",
    "page: refcount:",
    "page last allocated via",
    "page last free",
    "page_owner ",
    "page dumped because: ",
    "page->mem_cgroup:",
    "page_type: ",
    "head:",
    "head: order:",
    "memcg:",
    "anon flags: ",
    "ksm flags: ",
    "flags: 0x",
    "raw: ",
    "aops:",
    "mapping:",
    "vma ffff",
    "mm ffff",
    "list_add corruption",
    "list_add double add",
    "list_del corruption",
    "kernel tried to execute NX-protected page",
    "unable to execute userspace code (SMEP?)",
    "slab ",
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
    if is_warning(text) {
        return Start::Headline(Warning);
    }
    if let Some((_, kind)) = BEGINNINGS.iter().chain(SINGLE_LINES).find(|(beginning, _)| text.starts_with(beginning)) {
        // Of RCU's information only stalls are trouble.
        if text.starts_with("rcu: INFO: ") && !text.contains("detected") {
            return Start::None;
        }
        return Start::Headline(*kind);
    }
    // A task's name has at most 15 bytes (`TASK_COMM_LEN`) and may have blanks; a function's has none.
    let is_name = |name: &str| !name.is_empty() && (name.len() <= 15 || (name.len() <= NAME && !name.contains(' ')));
    let after_name =
        AFTER_NAME.iter().find(|(middle, _)| text.split_once(middle).is_some_and(|(name, _)| is_name(name)));
    if let Some((_, kind)) = after_name {
        return Start::Headline(*kind);
    }
    if let Some(kind) = by_shape(text) {
        return Start::Headline(kind);
    }
    if PREFACES.iter().any(|beginning| text.starts_with(beginning)) { Start::Preface } else { Start::None }
}

/// Headlines that no fixed beginning tells.
fn by_shape(text: &str) -> Option<CrashKind> {
    // mm/slub.c: `BUG kmalloc-96 (Not tainted): Poison overwritten`.
    let slub = || {
        text.strip_prefix("BUG ")
            .and_then(|rest| rest.split_once(" ("))
            .is_some_and(|(cache, rest)| !cache.contains(' ') && rest.contains("): "))
    };
    // kernel/watchdog.c, with `CPU0: ` before it since 6.14.
    let hard = || {
        text.contains("Watchdog detected hard LOCKUP")
            && (text.starts_with("watchdog: ") || text.starts_with("NMI watchdog: "))
    };
    // kernel/hung_task.c.
    let blocked = || text.starts_with("INFO: task ") && text.contains(" blocked ") && text.contains(" for more than ");
    // kernel/rcu/tree_stall.h, tree_exp.h, tasks.h, whatever `pr_fmt` stands before it.
    let stalled = || {
        let subject = text.split_once("INFO: rcu").is_some_and(|(before, _)| before.len() <= NAME);
        subject && (text.contains("detected stall") || text.contains("detected expedited stalls"))
    };
    // mm/pgtable-generic.c: `mm/pgtable-generic.c:50: bad pmd 00000000deadbeef(8000000012345067)`.
    let bad_table = || {
        text.split_once(": bad ").is_some_and(|(place, rest)| {
            let entry = ["pgd ", "p4d ", "pud ", "pmd ", "pte "].iter().any(|name| rest.starts_with(name));
            entry && !place.contains(' ') && place.rsplit_once(':').is_some_and(|(_, line)| is_number(line))
        })
    };
    // mm/kmemleak.c; its other messages are no trouble.
    let leak = || text.starts_with("kmemleak: ") && text.contains("suspected memory leaks");
    // kernel/irq/spurious.c.
    let nobody = || {
        text.strip_prefix("irq ")
            .and_then(|rest| rest.split_once(": nobody cared"))
            .is_some_and(|(irq, _)| is_number(irq))
    };
    match () {
        () if slub() || bad_table() => Some(Bug),
        () if hard() || blocked() || stalled() => Some(Hang),
        () if leak() => Some(Leak),
        () if nobody() => Some(Warning),
        () => None,
    }
}

/// `WARNING: CPU: 1 PID: 77 at lib/refcount.c:28 f+0xba/0x110` of `__warn()`, and `WARNING: lib/refcount.c:28 at f+0xba/0x110,
/// CPU#1: race/77` since 6.19. Other messages that begin with the word are somebody's words, not a report.
fn is_warning(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("WARNING: ") else { return false };
    let place = |word: &str| {
        word.rsplit_once(':').is_some_and(|(file, line)| {
            is_number(line) && [".c", ".h", ".S", ".rs"].iter().any(|suffix| file.ends_with(suffix))
        })
    };
    let first = rest.split(' ').next().unwrap_or_default();
    let old = rest.strip_prefix("CPU: ").and_then(|rest| rest.split_once(" at "));
    match old {
        Some((before, after)) => before.contains("PID: ") && !after.is_empty(),
        None => place(first) && rest.contains(" at "),
    }
}

/// Whether nothing follows this headline.
pub(super) fn stands_alone(text: &str) -> bool {
    text.starts_with("kmemleak: ")
        || SINGLE_LINES.iter().any(|(beginning, _)| text.starts_with(beginning))
        || [" swap file entry ", " swap offset entry "].iter().any(|middle| text.contains(middle))
        || text.split_once(": bad ").is_some_and(|_| by_shape(text) == Some(Bug) && !text.starts_with("BUG "))
}

/// `Oops: 0002 [#1] PREEMPT SMP`, `Bad pagetable: 000d [#1]`, `invalid opcode: 0000 [#1]`: what `__die()` of
/// arch/x86/kernel/dumpstack.c prints, with any error code and after any words.
fn is_oops(text: &str) -> bool {
    let Some((before, after)) = text.split_once(" [#") else { return false };
    let Some((words, code)) = before.rsplit_once(": ") else { return false };
    let is_code = (4..=16).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_hexdigit());
    // A prefix of a driver would end in a colon; only these two do so themselves.
    let own = words.strip_prefix("Oops: ").or_else(|| words.strip_prefix("Internal error: ")).unwrap_or(words);
    is_code
        && after.starts_with(|c: char| c.is_ascii_digit())
        && own.starts_with(|c: char| c.is_ascii_alphabetic())
        && !own.contains(": ")
}
