//! What a twinboot that is killed outright leaves: no process, and nothing that stays for good.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::kernel_fake::{tree, write};

/// How long anything may take that is bound to happen.
const AMPLE: Duration = Duration::from_secs(60);

/// A plan whose only kernel takes for ever to build: a child in make's group, and one that has left it.
fn plan(dir: &Path) {
    tree(&dir.join("linux"));
    let makefile = fs::read_to_string(dir.join("linux/Makefile")).expect("reads");
    let endless = "if grep -q TAKES_FOREVER $<; then setsid sleep 100000 & touch $(O)/waiting; sleep 100000; fi";
    let makefile = makefile.replace("if grep -q TAKES_FOREVER $<; then touch $(O)/waiting; sleep 100000; fi", endless);
    assert!(makefile.contains("setsid"));
    write(&dir.join("linux/Makefile"), &makefile);
    write(&dir.join("linux/mm/slow.c"), "/* TAKES_FOREVER */\n");
    fs::create_dir_all(dir.join("kernels/config")).expect("makes");
    write(&dir.join("images/default.yaml"), "");
    write(
        &dir.join("plan.yaml"),
        "name: p\nkernels: [{name: linux-6.1, source: {dir: linux}, base_config: allnoconfig, config: [{SWAP: y}]}]\n\
         variants: [{name: v, expect: corrupt}]\ntests: [{name: t, run: r}]\n",
    );
}

fn twinboot(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinboot"));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("TMPDIR", dir).current_dir(dir).args(["build", "plan.yaml"]);
    command.arg("--cache-dir").arg(dir.join("cache")).arg("--data-dir").arg(dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < AMPLE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Command lines of the processes whose working folder is below `dir`.
fn processes(dir: &Path) -> Vec<String> {
    let pids = fs::read_dir("/proc").expect("lists").flatten().map(|entry| entry.path());
    let below = pids.filter(|pid| fs::read_link(pid.join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir)));
    below.map(|pid| fs::read_to_string(pid.join("cmdline")).unwrap_or_default().replace('\0', " ")).collect()
}

fn started(dir: &Path) -> Child {
    let mut child = twinboot(dir).spawn().expect("starts");
    until("the build waits", || {
        if child.try_wait().expect("is ours").is_some() {
            use std::io::Read as _;
            let mut said = String::new();
            child.stderr.take().expect("is piped").read_to_string(&mut said).expect("reads");
            panic!("twinboot ended too soon: {said}");
        }
        let works = fs::read_dir(dir.join("cache/work")).into_iter().flatten().flatten();
        works.map(|work| work.path()).any(|work| work.join("obj/waiting").exists())
    });
    child
}

#[test]
fn make_and_all_that_it_has_started_end_with_a_killed_twinboot() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    plan(dir.path());
    let mut child = started(dir.path());
    let running = processes(dir.path());
    assert_eq!(running.iter().filter(|line| line.starts_with("sleep")).count(), 2, "{running:?}");
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).expect("is ours");
    child.wait().expect("ends");
    until("all have ended", || processes(dir.path()).is_empty());
}

#[test]
fn a_second_twinboot_says_for_whom_it_waits() {
    use std::io::{BufRead as _, BufReader};
    let dir = tempfile::tempdir().expect("a scratch folder");
    plan(dir.path());
    let mut first = started(dir.path());
    let mut second = twinboot(dir.path()).spawn().expect("starts");
    let lines = BufReader::new(second.stderr.take().expect("is piped")).lines();
    let waiting = lines.map_while(Result::ok).find(|line| line.contains("waiting for"));
    let waiting = waiting.expect("says so");
    assert!(waiting.contains(&format!("process {}", first.id())) && waiting.contains("kernels/"), "{waiting}");
    for child in [&mut second, &mut first] {
        child.kill().expect("is ours");
        child.wait().expect("ends");
    }
    until("all have ended", || processes(dir.path()).is_empty());
}
