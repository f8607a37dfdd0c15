//! The life of a machine, with a fake QEMU: every stage's end and deadline, and that nothing is left behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{kill, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use twinboot::crash::CrashKind;
use twinboot::vm::{Accel, DeathKind, Error, How, START_DEADLINE, Spec, Vm};

/// Long enough for any step of a fake machine on a busy host.
const AMPLE: Duration = Duration::from_secs(60);

/// A stage that is bound to overrun need not take long.
const SHORT: Duration = Duration::from_millis(300);

/// A machine of a fake QEMU's, whose files are in `dir`.
pub(crate) fn fake_machine(dir: &Path, cmdline: String, cpus: u32) -> Spec {
    Spec {
        qemu: env!("CARGO_BIN_EXE_fake-qemu").into(),
        accel: Accel::Tcg,
        kernel: dir.join("kernel"),
        initrd: Some("/dev/null".into()),
        incoming: None,
        cmdline,
        cpus,
        memory: 256 << 20,
        network: true,
        gdb: false,
        start_deadline: START_DEADLINE,
        console_log: dir.join("console.log"),
        qemu_log: dir.join("qemu.log"),
    }
}

struct House {
    dir: TempDir,
    spec: Spec,
    cancel: CancellationToken,
}

impl House {
    fn new(wishes: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("vm").tempdir_in("/tmp").expect("a scratch folder");
        let file = |name: &str| dir.path().join(name);
        std::fs::create_dir(file("run")).expect("makes it");
        std::fs::write(file("kernel"), "no kernel").expect("writes");
        let spec = fake_machine(dir.path(), wishes.to_owned(), 2);
        Self { dir, spec, cancel: CancellationToken::new() }
    }

    fn run(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    async fn start(&self) -> Result<Vm, Error> {
        Vm::start(&self.spec, &self.run(), &self.cancel).await
    }

    async fn up(&self) -> Vm {
        let mut vm = self.start().await.expect("starts");
        vm.ready(AMPLE).await.expect("boots");
        vm
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).expect("the log is there")
    }

    /// No socket, no folder.
    fn assert_tidy(&self) {
        let left: Vec<_> = std::fs::read_dir(self.run()).expect("is there").collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

/// Neither the process nor any of its group is there; a killed process may take a moment to be reaped.
async fn assert_gone(pid: i32) {
    let pid = Pid::from_raw(pid);
    for _ in 0..200 {
        if kill(pid, None) == Err(Errno::ESRCH) && killpg(pid, None) == Err(Errno::ESRCH) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("process {pid} or one of its group is still there");
}

#[tokio::test]
async fn a_machine_boots_and_is_ended_by_its_monitor() {
    let house = House::new("fake.child=yes");
    let mut vm = house.start().await.expect("starts");
    let pid = vm.pid();
    assert_ne!(vm.ssh_port(), 0);
    assert_eq!(vm.qemu_version(), "7.2.99 (fake)");
    let boot = vm.ready(AMPLE).await.expect("boots");
    let said: Vec<_> = boot.stages.iter().map(|(said, _)| said.as_str()).collect();
    assert_eq!(said, ["mounted", "ready"]);
    assert!(boot.monitor <= boot.ready);
    let ended = vm.quit().await.expect("ends");
    assert_eq!(ended.how, How::Quit);
    assert!(ended.problems.is_empty());
    assert!(house.log("console.log").contains("Linux version 6.1.0-fake"));
    // Events of other QEMU versions are kept in the log and stop nothing.
    assert!(house.log("qemu.log").contains("EVENT_FROM_THE_FUTURE"));
    assert!(house.log("qemu.log").contains("-nodefaults"));
    house.assert_tidy();
    assert_gone(pid).await;
}

#[tokio::test]
async fn a_guest_may_power_itself_off_within_its_grace() {
    let house = House::new("fake.then=poweroff");
    let vm = house.up().await;
    let pid = vm.pid();
    let ended = vm.power_off(AMPLE).await.expect("ends");
    assert_eq!((ended.how, ended.death.kind), (How::ByItself, DeathKind::PoweredOff));
    house.assert_tidy();
    assert_gone(pid).await;
}

#[tokio::test]
async fn a_guest_that_does_not_power_off_is_ended() {
    let house = House::new("");
    let vm = house.up().await;
    let ended = vm.power_off(SHORT).await.expect("ends");
    assert_eq!(ended.how, How::Quit);
    house.assert_tidy();
}

#[tokio::test]
async fn a_machine_that_ignores_quit_is_signalled() {
    for wish in ["fake.quit=ignore fake.child=yes", "fake.quit=ignore-term fake.child=yes"] {
        let house = House::new(wish);
        let vm = house.up().await;
        let pid = vm.pid();
        let ended = tokio::time::timeout(AMPLE, vm.quit()).await.expect("bounded").expect("ends");
        assert_eq!((ended.how, ended.death.kind), (How::Signal, DeathKind::Exited), "{wish}");
        house.assert_tidy();
        assert_gone(pid).await;
    }
}

#[tokio::test]
async fn a_dropped_machine_leaves_nothing() {
    let house = House::new("fake.quit=ignore-term fake.child=yes");
    let vm = house.up().await;
    let pid = vm.pid();
    drop(vm);
    house.assert_tidy();
    assert_gone(pid).await;
}

#[tokio::test]
async fn a_qemu_that_is_not_installed_names_the_package() {
    let mut house = House::new("");
    house.spec.qemu = house.dir.path().join("qemu-system-nowhere");
    let error = house.start().await.err().expect("cannot start");
    assert!(matches!(error, Error::NotInstalled { .. }));
    assert!(error.to_string().contains("qemu-system-x86"), "{error}");
    house.assert_tidy();
}

#[tokio::test]
async fn a_qemu_that_refuses_its_arguments_is_quoted_with_them() {
    let house = House::new("fake.start=exit");
    let error = house.start().await.err().expect("cannot start");
    let text = error.to_string();
    assert!(matches!(error, Error::StartFailed { .. }), "{text}");
    assert!(text.contains("exit status 1") && text.contains("not a valid device model name"), "{text}");
    assert!(text.contains("-nodefaults") && text.contains("fake-qemu"), "{text}");
    assert!(house.log("qemu.log").contains("not a valid device model name"));
    house.assert_tidy();
}

#[tokio::test]
async fn a_monitor_that_never_answers_overruns_its_deadline() {
    for wish in ["fake.start=no-monitor", "fake.start=mute-monitor"] {
        let mut house = House::new(wish);
        house.spec.start_deadline = SHORT;
        let error = house.start().await.err().expect("cannot start");
        assert!(matches!(error, Error::StartDeadline { .. }), "{error}");
        house.assert_tidy();
    }
}

#[tokio::test]
async fn a_monitor_that_hangs_up_is_an_error_and_leaves_nothing() {
    let house = House::new("fake.start=hang-up");
    let error = house.start().await.err().expect("cannot start");
    assert!(matches!(error, Error::Monitor { .. }), "{error}");
    house.assert_tidy();
}

#[tokio::test]
async fn a_start_can_be_cancelled() {
    let house = House::new("fake.start=mute-monitor");
    let cancel = house.cancel.clone();
    let (error, ()) = tokio::join!(house.start(), async move {
        tokio::time::sleep(SHORT).await;
        cancel.cancel();
    });
    assert!(matches!(error.err(), Some(Error::Interrupted)));
    house.assert_tidy();
}

#[tokio::test]
async fn a_boot_that_hangs_overruns_its_deadline_and_shows_the_console() {
    let house = House::new("fake.boot=hang");
    let mut vm = house.start().await.expect("starts");
    let error = vm.ready(Duration::from_secs(3)).await.expect_err("never ready");
    assert!(matches!(error, Error::BootDeadline { .. }), "{error}");
    assert!(error.to_string().contains("[    0.100000] fake: up"), "{error}");
    let pid = vm.pid();
    drop(vm);
    house.assert_tidy();
    assert_gone(pid).await;
}

#[tokio::test]
async fn an_init_that_gives_up_is_told_apart_from_a_power_off() {
    let house = House::new("fake.boot=fatal");
    let mut vm = house.start().await.expect("starts");
    match vm.ready(AMPLE).await {
        Err(Error::InitFatal { reason, .. }) => assert_eq!(reason, "cannot create zram0: no such device"),
        other => panic!("{other:?}"),
    }
    vm.quit().await.expect("ends");
    house.assert_tidy();
}

#[tokio::test]
async fn deaths_while_booting_are_told_apart() {
    for (boot, kind, word) in [
        ("panic", DeathKind::Panicked, "Kernel panic - not syncing: fake trouble"),
        ("reset", DeathKind::Reset, "rebooted"),
        ("poweroff", DeathKind::PoweredOff, "powered off"),
        ("exit", DeathKind::Exited, "exit status 3"),
        ("die", DeathKind::Exited, "SIGKILL"),
    ] {
        let house = House::new(&format!("fake.boot={boot}"));
        let mut vm = house.start().await.expect("starts");
        match vm.ready(AMPLE).await {
            Err(Error::BootDied { death, console }) => {
                assert_eq!(death.kind, kind, "{boot}: {death}");
                assert!(death.reason.contains(word), "{boot}: {death}");
                assert!(console[0].contains("Linux version"), "{console:?}");
            }
            other => panic!("{boot}: {other:?}"),
        }
        let ended = vm.quit().await.expect("ends");
        assert_eq!((ended.how, ended.death.kind), (How::ByItself, kind), "{boot}");
        let panics = ended.problems.iter().filter(|problem| problem.kind == CrashKind::Panic).count();
        assert_eq!(panics, usize::from(boot == "panic"), "{boot}");
        house.assert_tidy();
    }
}

#[tokio::test]
async fn a_death_in_the_middle_is_noticed_with_the_console_read_to_its_end() {
    for (then, kind) in [("panic", DeathKind::Panicked), ("die", DeathKind::Exited)] {
        let house = House::new(&format!("fake.then={then}"));
        let mut vm = house.up().await;
        // Cancelling the wait loses nothing.
        let _ = tokio::time::timeout(Duration::from_millis(1), vm.died()).await;
        let death = tokio::time::timeout(AMPLE, vm.died()).await.expect("dies");
        assert_eq!(death.kind, kind, "{death}");
        assert_eq!(vm.died().await, death);
        assert_eq!(vm.problems().len(), usize::from(then == "panic"));
        if then == "panic" {
            assert!(house.log("console.log").contains("---[ end Kernel panic"));
        }
        vm.quit().await.expect("ends");
        house.assert_tidy();
    }
}

#[tokio::test]
async fn a_guest_that_warns_and_goes_on_has_a_problem() {
    let house =
        House::new("fake.say=[+++12.000001]+BUG:+Bad+rss-counter+state+mm:00000000f00dcafe+type:MM_SWAPENTS+val:1");
    let vm = house.up().await;
    let ended = vm.quit().await.expect("ends");
    assert_eq!(ended.problems.len(), 1, "{:?}", ended.problems);
    assert_eq!(ended.problems[0].kind, CrashKind::Bug);
    assert_eq!(ended.problems[0].fingerprint, ["BUG: Bad rss-counter state mm:X type:MM_SWAPENTS val:N"]);
}

#[tokio::test]
async fn a_full_disk_or_missing_folder_is_named() {
    let mut house = House::new("");
    house.spec.console_log = "/nowhere/at/all/console.log".into();
    let error = house.start().await.err().expect("cannot start").to_string();
    assert!(error.contains("/nowhere/at/all/console.log"), "{error}");
    house.assert_tidy();
    assert!(Path::new("/nowhere").metadata().is_err());
}

#[tokio::test]
async fn a_guest_that_floods_its_console_fills_no_disk() {
    let house = House::new("fake.boot=flood");
    let mut vm = house.up().await;
    vm.died().await;
    let ended = vm.quit().await.expect("ends");
    let log = house.log("console.log");
    assert!(log.len() < 6 << 20, "{}", log.len());
    assert!(log.starts_with("\u{1b}[0m[    0.000000] Linux version"));
    assert!(log.contains("bytes left out here") && log.contains("the last line\r\n"), "first and last part");
    assert!(ended.console_left_out > 50 << 20, "{ended:?}");
    house.assert_tidy();
}

#[tokio::test]
async fn qemu_runs_in_a_sandbox_where_it_can_and_sees_nothing_of_our_environment() {
    let house = House::new("");
    let vm = house.up().await;
    assert!(vm.command().contains("spawn=deny"), "{}", vm.command());
    let environment = std::fs::read(format!("/proc/{}/environ", vm.pid())).expect("is there");
    let names: Vec<_> = environment.split(|&byte| byte == 0).filter_map(|it| it.split(|&b| b == b'=').next()).collect();
    let kept = ["PATH", "LD_LIBRARY_PATH", "QEMU_MODULE_DIR", "TMPDIR", "LC_ALL", ""].map(str::as_bytes);
    assert!(names.iter().all(|name| kept.contains(name)), "{}", String::from_utf8_lossy(&environment));
    vm.quit().await.expect("ends");

    // One that knows no sandbox starts without.
    let mut house = House::new("");
    let old = house.dir.path().join("old-qemu");
    let script =
        format!("#!/bin/sh\ncase \"$*\" in *-sandbox*) exit 1;; esac\nexec '{}' \"$@\"\n", house.spec.qemu.display());
    std::fs::write(&old, script).expect("writes");
    std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("sets");
    house.spec.qemu = old;
    let vm = house.up().await;
    assert!(!vm.command().contains("-sandbox"), "{}", vm.command());
    assert!(house.log("qemu.log").contains("without a system call filter"));
    vm.quit().await.expect("ends");
}
