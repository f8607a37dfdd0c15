//! The debugger on a real kernel: threads are held, frozen and looked at, and get back exactly what they had.
//!
//! Needs QEMU, gcc with a static C library, and in `TWINBOOT_VMLINUX` a kernel with debug information, built with
//! `CONFIG_PREEMPT=y` and an initramfs (such as `twinboot build` leaves in the cache).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use kernel_debug::Layout;
use kernel_debug::gdb::{Debugger, Event, Hit, OnHit, State, Watch};
use kernel_debug::symbols::Symbols;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use twinboot::vm::{Accel, START_DEADLINE, Spec, Vm};

const AMPLE: Duration = Duration::from_secs(60);

struct Guest {
    dir: TempDir,
    vm: Vm,
    tid: i32,
}

fn vmlinux() -> PathBuf {
    std::env::var_os("TWINBOOT_VMLINUX").expect("TWINBOOT_VMLINUX names a vmlinux with debug information").into()
}

impl Guest {
    async fn boot(cpus: u32) -> Self {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let file = |name: &str| dir.path().join(name);
        std::fs::write(file("initrd"), initramfs(dir.path())).expect("writes");
        let spec = Spec {
            qemu: "qemu-system-x86_64".into(),
            accel: Accel::Tcg,
            kernel: vmlinux(),
            initrd: Some(file("initrd")),
            incoming: None,
            cmdline: String::new(),
            cpus,
            memory: 256 << 20,
            network: false,
            gdb: true,
            start_deadline: START_DEADLINE,
            console_log: file("console.log"),
            qemu_log: file("qemu.log"),
        };
        let vm = Vm::start(&spec, dir.path(), &CancellationToken::new()).await.expect("starts");
        let mut guest = Self { dir, vm, tid: 0 };
        guest.tid = guest.says("debuggee: up ").await.parse().expect("a thread id");
        guest
    }

    fn console(&self) -> String {
        let bytes = std::fs::read(self.dir.path().join("console.log")).expect("a console log");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The rest of the first console line with these words.
    async fn says(&self, words: &str) -> String {
        let end = Instant::now() + AMPLE;
        loop {
            let console = self.console();
            let whole = console.rfind('\n').map_or("", |end| &console[..end]);
            if let Some(rest) = whole.lines().find_map(|line| line.split_once(words)) {
                return rest.1.trim().to_owned();
            }
            assert!(Instant::now() < end, "never said `{words}`:\n{console}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How often the second thread has come round, and how many system calls the first has made, when it next says so.
    async fn progress(&self) -> (u64, u64) {
        let said = self.console().matches("debuggee: beats").count();
        let end = Instant::now() + AMPLE;
        loop {
            let console = self.console();
            let whole = console.rfind('\n').map_or("", |end| &console[..end]);
            let lines: Vec<_> = whole.lines().filter(|line| line.contains("debuggee: beats")).collect();
            if lines.len() > said {
                let words: Vec<_> = lines[lines.len() - 1].split_whitespace().collect();
                return (words[2].parse().expect("a number"), words[4].parse().expect("a number"));
            }
            assert!(Instant::now() < end, "the second thread stands still:\n{console}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn attach(&self) -> Debugger {
        let stream = self.vm.gdb().await.expect("connects");
        Debugger::attach(stream, Arc::new(layout())).await.expect("attaches")
    }

    fn assert_unharmed(&self) {
        let console = self.console();
        let harm: Vec<_> =
            console.lines().filter(|l| l.contains("BROKEN") || l.contains("BUG") || l.contains("WARNING")).collect();
        assert!(harm.is_empty(), "{harm:#?}");
        assert!(self.vm.problems().is_empty(), "{:?}", self.vm.problems());
    }
}

/// An archive with nothing but `init.c` as its `/init`.
fn initramfs(dir: &Path) -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hold-init.c");
    let init = dir.join("init");
    let mut gcc = Command::new("gcc");
    gcc.args(["-O1", "-static", "-pthread", "-no-pie", "-o"]).arg(&init).arg(source);
    assert!(gcc.status().expect("gcc is installed").success());
    let bytes = std::fs::read(init).expect("it was built");
    let entry = cpio::newc::Builder::new("init").mode(0o755).set_mode_file_type(cpio::newc::ModeFileType::Regular);
    cpio::write_cpio([(entry, std::io::Cursor::new(bytes))].into_iter(), Vec::new()).expect("an archive")
}

fn symbols() -> &'static Symbols {
    static SYMBOLS: OnceLock<Symbols> = OnceLock::new();
    SYMBOLS.get_or_init(|| Symbols::load(&vmlinux()).expect("debug information"))
}

fn symbol(name: &str) -> u64 {
    symbols().address(name).expect("the symbol is there")
}

fn layout() -> Layout {
    symbols().layout().expect("a layout")
}

async fn event(debugger: &mut Debugger) -> Event {
    tokio::time::timeout(AMPLE, debugger.event()).await.expect("something happens")
}

async fn held(debugger: &mut Debugger, watch: Watch) -> Hit {
    debugger.watch(watch).await.expect("watches");
    match event(debugger).await {
        Event::Held(hit) => hit,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "boots a real kernel, named by TWINBOOT_VMLINUX"]
async fn a_held_thread_gets_back_exactly_what_it_had() {
    let guest = Guest::boot(2).await;
    let mut debugger = guest.attach().await;
    let (tid, entry) = (guest.tid, symbol("__x64_sys_getppid"));
    let at = |address: u64| Watch { tid, addresses: vec![address], on_hit: OnHit::Hold };
    let mut cpus = std::collections::BTreeSet::new();
    for _ in 0..20 {
        // push %rbp; mov %rsp,%rbp
        let first = held(&mut debugger, at(entry)).await;
        assert_eq!((first.tid, first.address), (tid, entry));
        let before = debugger.look(&[tid]).await.expect("looks").remove(0);
        assert_eq!(before.state, State::Held);
        tokio::time::sleep(Duration::from_millis(30)).await;
        let after = debugger.look(&[tid]).await.expect("looks").remove(0);
        assert_eq!(before, after, "nothing of the thread's stack has changed");
        debugger.watch(at(entry + 1)).await.expect("watches");
        assert!(debugger.release(tid).await.expect("releases"));
        let Event::Held(second) = event(&mut debugger).await else { panic!("not held") };
        assert_eq!(second.address, entry + 1);
        assert_eq!(second.registers.general[..7], first.registers.general[..7]);
        assert_eq!(second.registers.general[8..], first.registers.general[8..]);
        assert_eq!(second.registers.sp(), first.registers.sp() - 8);
        assert_eq!(second.registers.eflags, first.registers.eflags);
        cpus.extend([first.cpu, second.cpu]);
        assert!(debugger.release(tid).await.expect("releases"));
    }
    assert_eq!(cpus.len(), 2, "the thread was moved meanwhile");
    // The other thread goes its way while this one is held.
    held(&mut debugger, at(entry)).await;
    let (first, second) = (guest.progress().await, guest.progress().await);
    assert!(second.0 > first.0, "{first:?} {second:?}");
    assert_eq!(second.1, first.1, "the held thread makes no call");
    debugger.release(tid).await.expect("releases");
    assert!(guest.progress().await.1 >= second.1);
    assert!(guest.progress().await.1 > second.1);
    debugger.detach().await.expect("detaches");
    let first = guest.progress().await;
    assert!(guest.progress().await.1 > first.1);
    guest.assert_unharmed();
    guest.vm.quit().await.expect("ends");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "boots a real kernel, named by TWINBOOT_VMLINUX"]
async fn where_sleep_is_illegal_the_thread_goes_on_and_can_be_frozen() {
    let guest = Guest::boot(2).await;
    let mut debugger = guest.attach().await;
    let tid = guest.tid;
    // Inside its RCU read side: the instruction behind the call of __rcu_read_lock.
    let inside = symbol("__x64_sys_getppid") + 10;
    let watch = |on_hit| Watch { tid, addresses: vec![inside], on_hit };
    debugger.watch(watch(OnHit::Hold)).await.expect("watches");
    match event(&mut debugger).await {
        Event::Illegal { tid: who, address, why } => {
            assert_eq!((who, address), (tid, inside));
            assert!(why.contains("RCU"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    debugger.watch(watch(OnHit::Pass)).await.expect("watches");
    assert!(matches!(event(&mut debugger).await, Event::Reached(_)));
    debugger.watch(watch(OnHit::Freeze)).await.expect("watches");
    let Event::Frozen(hit) = event(&mut debugger).await else { panic!("not frozen") };
    tokio::time::sleep(Duration::from_millis(100)).await;
    let seen = debugger.look(&[tid]).await.expect("looks").remove(0);
    assert_eq!((seen.state, seen.cpu), (State::Frozen, Some(hit.cpu)));
    assert_eq!(seen.registers, Some(hit.registers));
    assert!(debugger.release(tid).await.expect("releases"));
    assert!(!debugger.release(tid).await.expect("is free"));
    debugger.watch(watch(OnHit::Freeze)).await.expect("watches");
    assert!(matches!(event(&mut debugger).await, Event::Frozen(_)));
    assert_eq!(event(&mut debugger).await, Event::Thawed { tid });
    drop(debugger);
    let first = guest.progress().await;
    assert!(guest.progress().await.1 > first.1);
    guest.assert_unharmed();
    // Whoever comes next finds no breakpoint of the last one.
    let debugger = guest.attach().await;
    let all = debugger.look(&[1, 2, tid, 99_999]).await.expect("looks");
    assert_eq!(all[1].comm, "kthreadd");
    assert!(all[1].state.waits() && all[1].stack.as_ref().expect("a stack").ip >> 32 == 0xffff_ffff);
    assert_eq!(all[3].state, State::Gone);
    drop(debugger);
    guest.vm.quit().await.expect("ends");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "boots a real kernel, named by TWINBOOT_VMLINUX; prints what things cost"]
async fn what_it_costs() {
    let guest = Guest::boot(2).await;
    let mut debugger = Debugger::attach(guest.vm.gdb().await.expect("connects"), Arc::new(layout())).await.expect("ok");
    debugger.detach().await.expect("detaches");
    let known = Arc::new(layout());
    let mut costs: Vec<(&str, Duration, u32)> = Vec::new();
    let start = Instant::now();
    for _ in 0..20 {
        debugger = Debugger::attach(guest.vm.gdb().await.expect("connects"), known.clone()).await.expect("attaches");
        debugger.look(&[]).await.expect("looks");
        debugger.detach().await.expect("detaches");
    }
    costs.push(("attach, stop, resume, detach", start.elapsed(), 20));
    debugger = guest.attach().await;
    let mut stops = Duration::ZERO;
    for _ in 0..100 {
        // Let it really run in between.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let start = Instant::now();
        debugger.look(&[]).await.expect("looks");
        stops += start.elapsed();
    }
    costs.push(("stop", stops, 100));
    let (tid, entry) = (guest.tid, symbol("__x64_sys_getppid"));
    let watch = |on_hit| Watch { tid, addresses: vec![entry], on_hit };
    let start = Instant::now();
    for _ in 0..100 {
        held(&mut debugger, watch(OnHit::Hold)).await;
        debugger.release(tid).await.expect("releases");
    }
    costs.push(("hold and release", start.elapsed(), 100));
    debugger.watch(watch(OnHit::Pass)).await.expect("watches");
    let start = Instant::now();
    for _ in 0..200 {
        while !matches!(event(&mut debugger).await, Event::Reached(_)) {}
        debugger.watch(watch(OnHit::Pass)).await.expect("watches");
    }
    costs.push(("watch, reach, step off", start.elapsed(), 200));
    let start = Instant::now();
    debugger.look(&[1, tid]).await.expect("looks");
    costs.push(("first look at two threads", start.elapsed(), 1));
    let start = Instant::now();
    for _ in 0..50 {
        debugger.look(&[1, tid]).await.expect("looks");
    }
    costs.push(("look at two threads", start.elapsed(), 50));
    let start = Instant::now();
    let everywhere =
        Watch { tid: 99_999, addresses: (0..2000).map(|at| entry + 0x10000 + at).collect(), on_hit: OnHit::Pass };
    debugger.watch(everywhere).await.expect("watches");
    costs.push(("2000 breakpoints", start.elapsed(), 1));
    let start = Instant::now();
    debugger.unwatch(99_999).await.expect("unwatches");
    costs.push(("their removal", start.elapsed(), 1));
    for (what, time, times) in costs {
        writeln!(std::io::stderr(), "{what}: {:.3} ms", time.as_secs_f64() * 1e3 / f64::from(times)).expect("writes");
    }
    guest.assert_unharmed();
    guest.vm.quit().await.expect("ends");
}
