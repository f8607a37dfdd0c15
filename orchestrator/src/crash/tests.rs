use proptest::prelude::*;

use super::*;
use CrashKind::{Bug, DataLoss, Hang, Leak, Lockdep, Oom, Panic, Warning};

fn kinds(console: &str) -> Vec<CrashKind> {
    scan(console.as_bytes()).into_iter().map(|problem| problem.kind).collect()
}

/// Captured: a guest of 256 MiB with a program that touches more.
const OOM: &str = include_str!("testdata/oom.txt");
/// Captured: 6.1 without a root file system.
const NO_ROOT: &str = include_str!("testdata/no-root.txt");

const WARN_THEN_OOPS: &str = "\
[    3.100000] ------------[ cut here ]------------
[    3.100001] refcount_t: underflow; use-after-free.
[    3.100002] WARNING: CPU: 1 PID: 77 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110
[    3.100003] Modules linked in:
[    3.100004] CPU: 1 PID: 77 Comm: swap-race Not tainted 6.1.192-twinboot #2
[    3.100005] RIP: 0010:refcount_warn_saturate+0xba/0x110
[    3.100006] Call Trace:
[    3.100007]  <TASK>
[    3.100008]  ? __warn+0x7d/0xd0
[    3.100009]  do_swap_page+0x5a1/0x8d0
[    3.100010]  __handle_mm_fault+0x6a0/0xb00
[    3.100011]  </TASK>
[    3.100012] ---[ end trace 0000000000000000 ]---
[    3.200000] random: unrelated
[    3.300000] BUG: kernel NULL pointer dereference, address: 0000000000000008
[    3.300001] #PF: supervisor read access in kernel mode
[    3.300002] Oops: 0000 [#1] PREEMPT SMP NOPTI
[    3.300003] CPU: 0 PID: 78 Comm: swap-race Tainted: G        W          6.1.192-twinboot #2
[    3.300004] RIP: 0010:swap_readpage+0x1f/0x2c0
[    3.300005] Call Trace:
[    3.300006]  <TASK>
[    3.300007]  do_swap_page+0x5a1/0x8d0
[    3.300008]  </TASK>
[    3.300009] CR2: 0000000000000008
[    3.300010] ---[ end trace 0000000000000000 ]---
[    3.300011] Kernel panic - not syncing: Fatal exception
[    3.300012] Kernel Offset: disabled
[    3.300013] ---[ end Kernel panic - not syncing: Fatal exception ]---
";

#[test]
fn a_warning_an_oops_and_its_panic_are_three_reports() {
    let found = scan(WARN_THEN_OOPS.as_bytes());
    let kinds: Vec<_> = found.iter().map(|problem| problem.kind).collect();
    assert_eq!(kinds, [Warning, Bug, Panic]);
    assert_eq!(
        found[0].fingerprint,
        [
            "WARNING: CPU: N PID: N at lib/refcount.c:28 refcount_warn_saturate",
            "refcount_warn_saturate",
            "do_swap_page",
            "__handle_mm_fault",
        ]
    );
    assert!(found[0].excerpt[0].contains("cut here"));
    assert!(found[0].excerpt.last().expect("not empty").contains("---[ end trace"));
    assert_eq!(
        found[1].fingerprint,
        ["BUG: kernel NULL pointer dereference, address: X", "swap_readpage", "do_swap_page"]
    );
    assert!(found[1].excerpt.iter().any(|line| line.contains("Oops: 0000 [#1]")));
    assert!(found[1].excerpt.last().expect("not empty").contains("---[ end trace"));
}

#[test]
fn a_real_oom_kill_is_one_report_that_ends_with_the_victim() {
    let found = scan(OOM.as_bytes());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].kind, Oom);
    assert_eq!(found[0].excerpt.len(), EXCERPT);
    assert!(found[0].excerpt[EXCERPT - 1].contains("Out of memory: Killed process"));
    assert_eq!(
        found[0].fingerprint[1..],
        ["oom_kill_process", "out_of_memory", "__alloc_pages_slowpath", "__alloc_pages"]
    );
}

#[test]
fn a_real_panic_without_an_end_line_is_seen() {
    let found = scan(NO_ROOT.as_bytes());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].kind, Panic);
    assert_eq!(
        found[0].fingerprint,
        [
            "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(N,N)",
            "mount_block_root",
            "mount_root",
            "prepare_namespace",
            "kernel_init_freeable",
        ]
    );
}

#[test]
fn every_headline_has_its_kind() {
    for (line, kind) in [
        ("watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [swap-race:78]", Hang),
        ("watchdog: Watchdog detected hard LOCKUP on cpu 1", Hang),
        ("INFO: task swap-race:78 blocked for more than 20 seconds.", Hang),
        ("INFO: task swap-race:78 blocked on a mutex likely owned by task x:1 for more than 20 seconds.", Hang),
        ("rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", Hang),
        ("rcu: INFO: rcu_preempt self-detected stall on CPU", Hang),
        ("rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-... } 7 jiffies s: 1 root: 0x2/.", Hang),
        ("BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 31s!", Hang),
        ("WARNING: possible circular locking dependency detected", Lockdep),
        ("WARNING: possible recursive locking detected", Lockdep),
        ("WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected", Lockdep),
        ("WARNING: suspicious RCU usage", Lockdep),
        ("[ BUG: Invalid wait context ]", Lockdep),
        ("BUG: sleeping function called from invalid context at mm/page_alloc.c:5171", Bug),
        ("BUG: Bad page state in process swap-race  pfn:0e0ab", Bug),
        ("BUG: Bad page map in process swap-race  pte:00000200 pmd:0e0ab067", Bug),
        ("BUG: Bad rss-counter state mm:00000000f00dcafe type:MM_SWAPENTS val:1", Bug),
        ("BUG: non-zero pgtables_bytes on freeing mm: 4096", Bug),
        ("_swap_info_get: Bad swap file entry 3ffffffffffff", Bug),
        ("swap_free: Unused swap offset entry 00000003", Bug),
        ("get_swap_device: Bad swap offset entry 3ffffff", Bug),
        ("kernel BUG at mm/swapfile.c:1291!", Bug),
        ("general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] PREEMPT SMP", Bug),
        ("invalid opcode: 0000 [#1] PREEMPT SMP NOPTI", Bug),
        ("BUG: KASAN: use-after-free in do_swap_page+0x1b/0x8a0", Bug),
        ("BUG: KCSAN: data-race in swap_free / swap_readpage", Bug),
        ("BUG: KFENCE: out-of-bounds read in x+0x1/0x2", Bug),
        ("UBSAN: shift-out-of-bounds in mm/swapfile.c:12:3", Bug),
        ("Out of memory: Killed process 54 (hog) total-vm:224052kB", Oom),
        ("Memory cgroup out of memory: Killed process 54 (hog)", Oom),
        ("oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),task=hog,pid=54,uid=0", Oom),
        ("hog invoked oom-killer: gfp_mask=0x140dca(GFP_HIGHUSER_MOVABLE), order=0, oom_score_adj=0", Oom),
        ("swap-race: page allocation failure: order:0, mode:0x800(GFP_NOWAIT)", Warning),
        ("WARNING: CPU: 0 PID: 1 at mm/memory.c:1 x+0x1/0x2", Warning),
        ("kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)", Leak),
        ("zram: Decompression failed! err=-22, page=13", DataLoss),
        ("zswap: Decompression error from zswap (0:104 lzo 812->4096)", DataLoss),
        ("Read-error on swap-device (253:0:104)", DataLoss),
        ("Write-error on swap-device (253:0:104)", Warning),
        ("Buffer I/O error on dev zram0, logical block 13, async page read", Warning),
        ("I/O error, dev zram0, sector 104 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2", Warning),
        ("blk_update_request: I/O error, dev zram0, sector 104 op 0x0:(READ) flags 0x0", Warning),
        ("BUG kmalloc-96 (Not tainted): Poison overwritten", Bug),
        ("BUG zspage (Tainted: G    B W         ): Object already free", Bug),
        ("watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1", Hang),
        ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 0", Hang),
        ("rcu: INFO: rcu_tasks detected stalls on tasks:", Hang),
        ("mm/pgtable-generic.c:50: bad pmd 00000000deadbeef(8000000012345067)", Bug),
        ("mm/memory.c:210: bad p4d 0000000012345678(0000000000000001)", Bug),
        ("Bad pagetable: 000d [#1] PREEMPT SMP NOPTI", Bug),
        ("Bad pagetable: 000f [#2] SMP", Bug),
        ("swap-race: Corrupted page table at address 7f12e0a00000", Bug),
        ("Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP", Bug),
        ("Oops: 0003 [#1] PREEMPT SMP", Bug),
        ("stack segment: 0000 [#1] PREEMPT SMP", Bug),
        ("BUG: KMSAN: uninit-value in swap_readpage+0x1/0x2", Bug),
        ("BUG: scheduling while atomic: swap-race/78/0x00000002", Bug),
        ("BUG: TASK stack guard page was hit at 00000000deadbeef (stack is 0..1)", Bug),
        ("CFI failure at do_swap_page+0x1/0x2 (target: f+0x0/0x1; expected type: 0x12345678)", Bug),
        ("WARNING: mm/swapfile.c:77 at swap_range_free+0x1/0x2, CPU#1: race/81", Warning),
        ("irq 9: nobody cared (try booting with the \"irqpoll\" option)", Warning),
        ("Uhhuh. NMI received for unknown reason 3d on CPU 0.", Warning),
        ("swap-race: vmalloc error: size 4096, page order 0, failed to allocate pages", Warning),
        ("Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b", Panic),
    ] {
        assert_eq!(
            kinds(&format!("[   12.000001] quiet\n[   12.345678] {line}\n[   12.345679] after\n")),
            [kind],
            "{line}"
        );
    }
}

#[test]
fn what_is_no_trouble_of_the_kernels_is_left_alone() {
    let console = "\
[    0.000000] Linux version 6.1.192
[    0.010000] WARNING: this configuration is not recommended, see the manual
[    0.020000] mydrv: WARNING: CPU: 0 temperature 40 C
[    0.030000] mydrv: last run said 'BUG: nothing', 'Kernel panic - not syncing' was not seen
[    0.040000] mydrv: self test: 1234 [#1] passed
[    0.050000] a program with a long name says: page allocation failure: order:0
[    0.060000] rcu: INFO: rcu_preempt is fine
BUG: words of a program
WARNING: CPU: 1 PID: 81 at mm/swapfile.c:1 f+0x1/0x2
[    0.346410] mtrr: your CPUs had inconsistent fixed MTRR settings
[    0.400000] Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on
[    1.000000] traps: prog[55] general protection fault ip:401000 sp:7ffc error:0 in prog[400000+1000]
[    1.000001] prog[56]: segfault at 0 ip 0000000000401000 sp 00007ffc error 4 in prog
[    1.000002] oom_reaper: reaped process 54 (hog), now anon-rss:0kB
[    1.000003] kmemleak: Kernel memory leak detector initialized
[    1.000004] sched: RT throttling activated
twinboot-init: ready
==================================================================
";
    assert!(scan(console.as_bytes()).is_empty());
}

#[test]
fn sanitizer_and_lockdep_reports_take_their_rules_along() {
    let console = "\
[    5.000000] ==================================================================
[    5.000001] BUG: KASAN: use-after-free in swap_readpage+0x1f/0x2c0
[    5.000002] Read of size 8 at addr ffff888003a1c008 by task swap-race/78
[    5.000003] Call Trace:
[    5.000004]  <TASK>
[    5.000005]  dump_stack_lvl+0x3a/0x4c
[    5.000006]  print_report+0x170/0x47f
[    5.000007]  do_swap_page+0x5a1/0x8d0
[    5.000008]  </TASK>
[    5.000009] Allocated by task 78:
[    5.000010] ==================================================================
[    5.000011] not part of it
[    6.000000] ======================================================
[    6.000001] WARNING: possible circular locking dependency detected
[    6.000002] 6.1.192-twinboot #2 Not tainted
[    6.000003] ------------------------------------------------------
[    6.000004] swap-race/78 is trying to acquire lock:
[    6.000005]  <TASK>
[    6.000006]  lock_acquire+0xc0/0x2c0
[    6.000007]  </TASK>
[    6.000008] not part of it either
";
    let found = scan(console.as_bytes());
    assert_eq!(found.iter().map(|problem| problem.kind).collect::<Vec<_>>(), [Bug, Lockdep]);
    for problem in &found {
        assert!(problem.excerpt[0].contains("====="), "{:?}", problem.excerpt);
        assert!(!problem.excerpt.iter().any(|line| line.contains("not part")), "{:?}", problem.excerpt);
    }
    assert!(found[0].excerpt[10].contains("====="));
    assert_eq!(found[0].fingerprint, ["BUG: KASAN: use-after-free in swap_readpage", "do_swap_page"]);
}

#[test]
fn two_boots_give_one_fingerprint() {
    let other = WARN_THEN_OOPS
        .replace("[    3.", "[   99.")
        .replace("PID: 7", "PID: 1234")
        .replace("CPU: 1", "CPU: 3")
        .replace("+0x5a1/0x8d0", "+0x5b4/0x8e0")
        .replace("0000000000000008", "ffff88800000dead");
    assert_ne!(other, WARN_THEN_OOPS);
    let prints = |console: &str| scan(console.as_bytes()).into_iter().map(|it| it.fingerprint).collect::<Vec<_>>();
    assert_eq!(prints(&other), prints(WARN_THEN_OOPS));
}

#[test]
fn colours_callers_carriage_returns_and_foreign_bytes_hide_nothing() {
    let console = b"\x1b[31m[    1.000001][   T12] BUG: Bad page state in process \xff\xfe  pfn:0e0ab\r\x1b[0m\r\n";
    let found = scan(console);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].fingerprint, ["BUG: Bad page state in process \u{fffd}\u{fffd}  pfn:X"]);
    assert!(!found[0].excerpt[0].contains('\u{1b}'));
}

#[test]
fn a_headline_in_the_middle_of_a_programs_line_is_found() {
    let found =
        scan(b"twinboot-init: swap o[    2.000001] BUG: Bad rss-counter state mm:1 type:MM_ANONPAGES val:2\nn\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].excerpt[0].starts_with("[    2.000001] BUG"));
}

#[test]
fn a_report_that_breaks_off_is_reported_as_far_as_it_came() {
    let at = WARN_THEN_OOPS.find("RIP: 0010:swap_readpage+0x").expect("is there") + 20;
    let found = scan(&WARN_THEN_OOPS.as_bytes()[..at]);
    assert_eq!(found.iter().map(|problem| problem.kind).collect::<Vec<_>>(), [Warning, Bug]);
    let cut = scan(b"[    1.000000] ------------[ cut here ]------------\n");
    assert_eq!(cut.len(), 1);
}

#[test]
fn silence_ends_a_report() {
    let found = scan(b"[    1.000000] BUG: sleeping function called from invalid context\n[    9.000000] unrelated\n");
    assert_eq!(found[0].excerpt.len(), 1);
}

#[test]
fn a_flood_of_equal_reports_is_counted() {
    let flood = WARN_THEN_OOPS.repeat(100);
    let found = scan(flood.as_bytes());
    assert_eq!(
        found.iter().map(|report| (report.kind, report.count)).collect::<Vec<_>>(),
        [(Warning, 100), (Bug, 100), (Panic, 100)]
    );
}

proptest! {
    /// Whatever the bytes: no panic, the limits hold, and feeding line by line is scanning whole.
    #[test]
    fn limits_hold_for_any_bytes(pieces in prop::collection::vec(prop_oneof![
        Just(WARN_THEN_OOPS.as_bytes().to_vec()),
        Just(OOM.as_bytes().to_vec()),
        Just(b"[    1.000000] ------------[ cut here ]------------\n".to_vec()),
        Just(b"[\x1b[[ 1.123456[ 99999999999999.123456]====================\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..80),
    ], 0..8), cut in 0_usize..4000) {
        let console: Vec<u8> = pieces.concat().into_iter().skip(cut % 97).collect();
        let found = scan(&console);
        prop_assert!(found.len() <= MOST);
        for problem in &found {
            prop_assert!((1..=5).contains(&problem.fingerprint.len()));
            prop_assert!((1..=EXCERPT).contains(&problem.excerpt.len()));
        }
    }
}

/// What somebody who does this job has met, with what is right; each stands in `tests/data/console` with its source.
#[test]
fn consoles_that_were_read_wrong_before() {
    let read = |name: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/console").join(name);
        scan(&std::fs::read(path).expect("is there"))
    };
    let kinds = |name: &str| read(name).iter().map(|report| (report.kind, report.count)).collect::<Vec<_>>();
    assert_eq!(kinds("zram-decompress"), [(DataLoss, 1), (Warning, 1), (DataLoss, 1)]);
    assert_eq!(kinds("slub"), [(Bug, 1)]);
    let slub = &read("slub")[0];
    assert_eq!(slub.fingerprint, ["BUG kmalloc-N (Not tainted): Poison overwritten", "do_swap_page"]);
    assert!(slub.excerpt[0].contains("====") && slub.excerpt.last().expect("has lines").contains("FIX "));
    assert_eq!(kinds("hard-lockup-6.14"), [(Hang, 1)]);
    assert_eq!(kinds("warning"), [(Warning, 1)]);
    for quiet in ["adhoc-warning", "sysrq-t", "module-text"] {
        assert!(read(quiet).is_empty(), "{quiet}: {:?}", read(quiet));
    }
    assert_eq!(kinds("no-time-caller"), [(Bug, 1)]);
    assert_eq!(kinds("level-prefix"), [(Bug, 1), (Warning, 1)]);
    let two = read("two-cpus-interleaved");
    let traces: Vec<&[String]> = two.iter().map(|report| &report.fingerprint[1..]).collect();
    assert_eq!(traces, [["swap_entry_free", "do_swap_page"], ["zs_free", "do_swap_page"]]);
    assert!(two.iter().all(|report| report.excerpt.len() == 11), "{two:?}");
    let junk = read("junk");
    assert_eq!(junk.len(), 1);
    assert!(junk[0].excerpt.iter().all(|line| !line.chars().any(char::is_control)));
    assert_eq!(kinds("kcsan"), [(Bug, 1)]);
    assert_eq!(kinds("page-allocation-failure"), [(Warning, 1), (Warning, 1)]);
    let flood = read("flood-then-panic");
    assert_eq!(flood.last().map(|report| report.kind), Some(Panic));
    assert!(flood.last().expect("a panic").excerpt[0].contains("Kernel panic - not syncing"));
    assert_eq!((flood[0].kind, flood[0].count), (Bug, 40));
    assert_eq!(kinds("swap-bad-entry"), [(Bug, 1), (Bug, 1), (Bug, 1)]);
    let stopped = &read("soft-lockup-one-sided")[0];
    assert!(stopped.note.as_deref().is_some_and(|note| note.contains("host")), "{stopped:?}");
    let page = &read("dump-page-before-bug")[0];
    assert!(page.excerpt[0].contains("refcount:2") && page.excerpt[2].contains("page dumped because"), "{page:?}");
    assert_eq!(kinds("suspicious-rcu"), [(Lockdep, 1)]);
}

#[test]
fn a_panic_has_a_place_behind_any_number_of_different_reports() {
    let mut console = String::new();
    for number in 0..3 * MOST {
        let name: String = (0..=number).map(|_| 'x').collect();
        console.extend(["[   20.000000] BUG: Bad ", &name, " state\n[   30.000000] quiet\n"]);
    }
    console += "[   40.000000] Kernel panic - not syncing: Fatal exception\n";
    let found = scan(console.as_bytes());
    assert_eq!(found.len(), MOST);
    assert_eq!(found[MOST - 1].kind, Panic);
}

#[test]
fn workers_of_the_kernel_are_one_whatever_their_number() {
    let print = |name: &str| {
        scan(format!("[    1.000000] BUG: Bad page state in process {name}  pfn:0e0ab\n").as_bytes())[0]
            .fingerprint
            .clone()
    };
    assert_eq!(print("kworker/u4:2"), print("kworker/1:0H"));
    assert_ne!(print("kworker/u4:2"), print("swap-race"));
}

#[test]
fn many_callers_cost_no_more_than_some() {
    let mut scanner = Scanner::default();
    for caller in 0..10_000 {
        scanner.push(format!("[    1.000000][ T{caller}] ------------[ cut here ]------------").as_bytes());
    }
    assert!(scanner.callers.len() <= CALLERS && scanner.reports().len() <= MOST);
}

#[test]
fn only_what_came_since_is_new() {
    let console = format!("{WARN_THEN_OOPS}[   50.000000] BUG: Bad page state in process x  pfn:0e0ab\n");
    let earlier = scan(WARN_THEN_OOPS.as_bytes());
    let now = scan(format!("{console}{WARN_THEN_OOPS}").as_bytes());
    let news = since(&earlier, now.clone());
    assert_eq!(
        news.iter().map(|it| (it.kind, it.count)).collect::<Vec<_>>(),
        [(Warning, 1), (Bug, 1), (Panic, 1), (Bug, 1)]
    );
    assert!(since(&now, now.clone()).is_empty());
}
