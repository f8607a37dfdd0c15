//! What every test here stands on: a plan, kernels and a guest program in a folder of their own, and the twinboot that
//! runs them with the fake QEMU.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::signals;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use twinboot::journal::entry::{RoundFinished, RoundOutcome};
use twinboot::journal::{Entry, journal_lines};

/// How long anything may take that is bound to happen.
const AMPLE: Duration = Duration::from_secs(60);

/// Records of a guest program, as shell variables, and how one is cut short.
pub const RECORDS: &str = r#"#!/bin/sh
preflight='{"type":"preflight","protocol":1,"test":"race","strategy":"none","kernel_release":"6.1.0-fake","kernel_version":"fake","cpus":1,"preemption":"full","page_size":4096,"swap":null,"seed":1}'
progress='{"type":"progress","elapsed_ns":500000000,"tries":900,"landings":600,"reuses":600,"exposures":500,"corruptions":0}'
corruption='{"type":"corruption","elapsed_ns":15000000,"try":3,"page":0,"expected":4,"found":3,"kind":"lost_update","entry_before":null,"entry_after":null}'
clean='{"type":"summary","elapsed_ns":1000000000,"tries":9000,"landings":6000,"reuses":6000,"exposures":5000,"corruptions":0,"first_corruption_ns":null,"stopped_by":"deadline","seed":1}'
corrupt='{"type":"summary","elapsed_ns":1000000000,"tries":9000,"landings":6000,"reuses":6000,"exposures":5000,"corruptions":2500,"first_corruption_ns":15000000,"stopped_by":"deadline","seed":1}'
echo "$preflight"
"#;

/// A test program that does what its kernel is called after.
pub const HONEST: &str = r#"
echo "$progress"
case $FAKE_KERNEL in
corrupt) echo "$corruption"; echo "$corrupt" ;;
*) echo "$clean" ;;
esac
"#;

pub struct House {
    dir: TempDir,
    only: Option<&'static str>,
}

impl House {
    /// `kernels` are (variant, wishes of the fake QEMU, further keys of the variant in the plan); the guest program of the
    /// only test is `program`, run for `rounds` rounds; `test` are further keys of the test.
    pub fn new(kernels: &[(&str, &str, &str)], program: &str, rounds: u32, test: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("run").tempdir_in("/tmp").expect("a scratch folder");
        let house = Self { dir, only: None };
        for folder in ["run", "guest"] {
            std::fs::create_dir(house.file(folder)).expect("makes it");
        }
        house.program("twinboot-init", "#!/bin/sh\nexit 1\n");
        house.program("race", &format!("{RECORDS}{program}"));
        let mut variants = String::new();
        for (name, wishes, keys) in kernels {
            std::fs::write(house.file(name), kernel(wishes)).expect("writes");
            let comma = if keys.is_empty() { "" } else { ", " };
            writeln!(variants, "  - {{name: {name}, image: {{kernel: {name}}}{comma}{keys}}}").expect("a string");
        }
        let (first, comma) = (kernels[0].0, if test.is_empty() { "" } else { ", " });
        let plan = format!(
            "name: fake\nkernels:\n  - {{name: linux, source: {{image: {{kernel: {first}}}}}}}\nvariants:\n{variants}\
             guest: {{cpus: 1, memory: 128M, clone: cold}}\ntests:\n  - {{name: race, run: race, rounds: {rounds}{comma}{test}}}\n"
        );
        std::fs::write(house.file("plan.yaml"), plan).expect("writes");
        house
    }

    /// Like [`House::new`], of which one cell runs one round; it is expected to be clean.
    pub fn single(wishes: &str, program: &str, test: &str) -> Self {
        let kernels = [("control", "", "expect: corrupt"), ("single", wishes, "expect: clean")];
        Self::new(&kernels, program, 1, test).only("*single*")
    }

    /// The same of which only these cells run.
    pub fn only(self, cells: &'static str) -> Self {
        Self { only: Some(cells), ..self }
    }

    /// The bug and its fix, with an honest test; both kernels get `wishes` besides.
    pub fn pair(wishes: &str, rounds: u32) -> Self {
        let (corrupt, clean) = (format!("fake.kernel=corrupt {wishes}"), format!("fake.kernel=clean {wishes}"));
        let kernels = [("unpatched", corrupt.as_str(), "expect: corrupt"), ("patched", &clean, "expect: clean")];
        // Three rounds of either side support p = 0.05.
        Self::new(&kernels, HONEST, rounds, "stop: {alpha: 0.1}")
    }

    /// Lets the test run the file `name` with this text, put beside the plan, in place of its guest program; `keys` are further
    /// keys of the test.
    pub fn reproducer(&self, name: &str, text: &str, keys: &str) {
        std::fs::write(self.file(name), text).expect("writes");
        let plan = std::fs::read_to_string(self.file("plan.yaml")).expect("was written");
        let plan = plan.replace(", stop: {alpha: 0.1}", "").replace("run: race", &format!("program: {name}, {keys}"));
        std::fs::write(self.file("plan.yaml"), plan).expect("writes");
    }

    /// The same with rounds that go on from a saved guest.
    pub fn warm(self) -> Self {
        let plan = std::fs::read_to_string(self.file("plan.yaml")).expect("was written");
        std::fs::write(self.file("plan.yaml"), plan.replace("clone: cold", "clone: warm, boots: 1")).expect("writes");
        self
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.file("guest").join(name);
        std::fs::write(&path, text).expect("writes");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("sets");
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn out(&self) -> PathBuf {
        self.file("out")
    }

    /// twinboot with everything it may touch in this house.
    pub fn twinboot(&self, args: &[&str]) -> Command {
        self.twinboot_with(args, Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace"))
    }

    /// The same with the data folder `data`.
    pub fn twinboot_with(&self, args: &[&str], data: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinboot"));
        signals::with_default_actions(&mut command);
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", self.file("home"));
        command.env("XDG_RUNTIME_DIR", self.file("run")).env("TMPDIR", self.file("run"));
        command.arg("--qemu").arg(env!("CARGO_BIN_EXE_fake-qemu"));
        command.arg("--cache-dir").arg(self.file("cache")).arg("--guest-dir").arg(self.file("guest"));
        command.arg("--data-dir").arg(data);
        command
    }

    /// `twinboot run` of the house's plan into its `out`.
    pub fn run_command(&self, more: &[&str]) -> Command {
        let mut command = self.twinboot(&["run", "plan.yaml", "--accel", "tcg", "--jobs", "2", "--seed", "1"]);
        if !more.contains(&"--out") {
            command.args(["--out", "out"]);
        }
        command.args(self.only.iter().flat_map(|only| ["--only", only])).args(more);
        command
    }

    /// Runs the plan and expects the exit code, and that nothing is left behind.
    pub fn run(&self, code: u8) -> Seen {
        let output = self.run_command(&[]).output().expect("twinboot starts");
        let seen = self.seen();
        expect(&output, code);
        self.assert_tidy();
        seen
    }

    /// What stands in the journal and the summary.
    pub fn seen(&self) -> Seen {
        let read = |name: &str| std::fs::read(self.out().join(name)).unwrap_or_default();
        let entries = journal_lines(&read("journal.jsonl")).expect("a journal");
        Seen { entries, summary: serde_json::from_slice(&read("summary.json")).unwrap_or_default() }
    }

    /// The file `name` of the only cell.
    pub fn cell_log(&self, name: &str) -> String {
        assert!(self.only.is_some(), "there is more than one cell");
        self.cell_logs(name)
    }

    /// The files `name` of all cells that have one.
    pub fn cell_logs(&self, name: &str) -> String {
        let cells = std::fs::read_dir(self.out().join("cells")).into_iter().flatten().flatten();
        cells.filter_map(|cell| std::fs::read_to_string(cell.path().join(name)).ok()).collect()
    }

    /// Starts a run and waits until `ready` finds what it looks for in the house.
    pub fn start(&self, ready: impl Fn(&Self) -> bool) -> Child {
        self.start_by(":", ready)
    }

    /// The same, started by a shell after `first`.
    pub fn start_by(&self, first: &str, ready: impl Fn(&Self) -> bool) -> Child {
        let run = self.run_command(&[]);
        let mut command = Command::new("/bin/sh");
        signals::with_default_actions(&mut command);
        command.arg("-c").arg(format!("{first}; exec \"$0\" \"$@\"")).arg(run.get_program()).args(run.get_args());
        command.current_dir(self.dir.path()).stdin(Stdio::null()).env_clear();
        command.envs(run.get_envs().filter_map(|(key, value)| Some((key, value?))));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("twinboot starts");
        let begun = Instant::now();
        while !ready(self) {
            if let Some(status) = child.try_wait().expect("is ours") {
                panic!("twinboot ended with {status} too soon: {:?}", child.wait_with_output());
            }
            if begun.elapsed() > AMPLE {
                let _ = child.kill();
                panic!("twinboot never came so far: {:?}", child.wait_with_output());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }

    /// No process names this house in its command line, and no run directory is left.
    pub fn assert_tidy(&self) {
        self.assert_no_process();
        let left: Vec<_> = std::fs::read_dir(self.file("run")).expect("is there").flatten().collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        assert!(!self.file("home").exists(), "something was written to the home folder");
    }

    pub fn assert_no_process(&self) {
        let begun = Instant::now();
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "left running: {left:?}");
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    /// Command lines of the processes that belong to this house: they name it, or work in it as all its descendants do.
    pub fn processes(&self) -> Vec<String> {
        let place = self.dir.path().display().to_string();
        let all = std::fs::read_dir("/proc").expect("procfs").flatten().map(|entry| entry.path());
        all.filter_map(|process| {
            let line = std::fs::read(process.join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let works_here = std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(self.dir.path()));
            (line.contains(&place) || works_here).then_some(line)
        })
        .collect()
    }
}

/// What a run left in its results.
#[derive(Debug)]
pub struct Seen {
    pub entries: Vec<Entry>,
    pub summary: Value,
}

impl Seen {
    /// Ends of rounds, in the order they came.
    pub fn rounds(&self) -> Vec<&RoundFinished> {
        let ends = self.entries.iter().map(|entry| match entry {
            Entry::RoundFinished(end) => Some(end.as_ref()),
            _ => None,
        });
        ends.flatten().collect()
    }

    /// The end of the only round.
    pub fn only(&self) -> &RoundFinished {
        let rounds = self.rounds();
        assert_eq!(rounds.len(), 1, "{:?}", self.entries);
        rounds[0]
    }

    /// The only round's outcome, whose text the test goes on to look at.
    pub fn outcome(&self) -> &RoundOutcome {
        &self.only().outcome
    }

    /// The kind of the first trouble of the first cell, as the summary spells it.
    pub fn trouble(&self) -> &str {
        self.summary["cells"][0]["trouble"][0]["kind"].as_str().unwrap_or_default()
    }

    /// The cell's outcome as the summary spells it.
    pub fn cell(&self, index: usize) -> &str {
        self.summary["cells"][index]["outcome"].as_str().unwrap_or_default()
    }
}

/// Fails with all that twinboot said unless it ended with `code`.
pub fn expect(output: &Output, code: u8) {
    assert_eq!(
        output.status.code(),
        Some(i32::from(code)),
        "{}\n--- stdout\n{}--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Sends `child` a signal.
pub fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), signal).expect("is there");
}

/// A file with the header of a bzImage (Documentation/arch/x86/boot.rst) that names a release, and the fake QEMU's wishes.
fn kernel(wishes: &str) -> Vec<u8> {
    let mut image = vec![0; 0x300];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    image.extend_from_slice(format!("6.1.0-fake {wishes} ").as_bytes());
    image
}

/// Whether the fake guest can be had; says so where not.
pub fn no_guest() -> bool {
    static GUEST: OnceLock<bool> = OnceLock::new();
    let there = *GUEST.get_or_init(|| {
        let mut command = Command::new("unshare");
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--map-current-user", "--keep-caps"]);
        }
        let bind = ["--mount", "--pid", "--fork", "--kill-child", "mount", "--bind", "/etc/passwd", "/etc/passwd"];
        command.args(bind).output().is_ok_and(|output| output.status.success())
    });
    if !there {
        assert!(
            std::env::var_os("TWINBOOT_NO_SKIPS").is_none(),
            "TWINBOOT_NO_SKIPS is set, and this user may not make mount and PID namespaces (unshare)"
        );
        let _ = writeln!(std::io::stderr(), "skipped: this user may not make mount and PID namespaces (unshare)");
    }
    !there
}
