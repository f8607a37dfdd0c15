//! The main job on real kernels: Linux 6.1 built with and without the fix, booted and raced. Minutes long, so `ci/test`
//! asks for it by name (`--ignored`). Needs what `ci/setup` installs, and the release build of the guest programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use twinboot::report::FORMATS;

/// `$TWINBOOT_PROGRAM`, such as a release build with the guest programs beside it; else the one built with this test.
fn program() -> std::ffi::OsString {
    std::env::var_os("TWINBOOT_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_twinboot").into())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// `twinboot`, from the repository's root. Its guests' sockets, which QEMU's command line names, go below `dir`.
fn twinboot(dir: &Path) -> Command {
    let runtime = dir.join("runtime");
    std::fs::create_dir_all(&runtime).expect("a folder for sockets");
    let mut command = Command::new(program());
    crate::signals::with_default_actions(&mut command);
    command.current_dir(root()).env("XDG_RUNTIME_DIR", runtime);
    command
}

/// `twinboot run` of the short plan.
fn run(dir: &Path, out: &Path) -> Command {
    let mut command = twinboot(dir);
    command.args(["run", "plans/quick.yaml", "--out"]).arg(out);
    command
}

/// Every file in `folder` itself: the journal and the reports made from it.
fn reports(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("a results folder").map(|entry| entry.expect("an entry"));
    let files = entries.filter(|entry| entry.file_type().expect("a type").is_file());
    files
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).expect("a file")))
        .collect()
}

fn summary(out: &Path) -> Value {
    let text = std::fs::read(out.join("summary.json")).expect("a summary");
    serde_json::from_slice(&text).expect("JSON")
}

fn cell<'a>(summary: &'a Value, variant: &str) -> &'a Value {
    let cells = summary["cells"].as_array().expect("cells");
    cells.iter().find(|cell| cell["variant"] == variant).expect("the variant was run")
}

/// Guests of the `twinboot`s that `dir` was given to, by their command lines.
fn guests(dir: &Path) -> Vec<String> {
    let needle = dir.to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc").expect("proc");
    processes
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains("qemu") && line.contains(&needle))
        .collect()
}

#[test]
#[ignore = "builds and boots real kernels; ci/test runs it"]
fn the_fix_is_told_from_its_absence() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    // Kept: ci/test has the reports read by the tools of those they are made for.
    let out = root().join("target/real-kernel/quick");
    if out.exists() {
        std::fs::remove_dir_all(&out).expect("an earlier run's results go");
    }
    let status = run(dir.path(), &out).status().expect("twinboot starts");
    assert_eq!(status.code(), Some(0), "every expectation of plans/quick.yaml is met");
    assert_eq!(guests(dir.path()), Vec::<String>::new());

    let summary = summary(&out);
    judge(&summary);
    let base = cell(&summary, "unpatched");
    let records =
        std::fs::read_to_string(out.join("cells").join(base["id"].as_str().expect("an id")).join("records.jsonl"))
            .expect("records");
    let reused =
        records.lines().map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON")).any(|line| {
            line["type"] == "corruption"
                && !line["entry_before"].is_null()
                && line["entry_before"] == line["entry_after"]
        });
    assert!(reused, "some lost update has the same swap entry before and after");

    let made = reports(&out);
    for format in FORMATS {
        assert!(made[format.file_name()].len() > 100, "{} is there and says something", format.file_name());
    }
    for format in FORMATS {
        std::fs::remove_file(out.join(format.file_name())).expect("it is there");
    }
    let status = twinboot(dir.path()).arg("report").arg(&out).status().expect("twinboot starts");
    assert_eq!(status.code(), Some(0), "it ends as the run did");
    let again = reports(&out);
    assert_eq!(made.keys().collect::<Vec<_>>(), again.keys().collect::<Vec<_>>());
    for (name, bytes) in &made {
        assert!(again[name] == *bytes, "{name} is the same again");
    }

    // Nothing is built any more, and the verdict is another run's own.
    let second = dir.path().join("second");
    let output = run(dir.path(), &second).output().expect("twinboot starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(said.matches("in the cache").count(), 2, "both kernels are there already: {said}");
    judge(&self::summary(&second));
}

/// What `plans/quick.yaml` is there to show.
fn judge(summary: &Value) {
    let (base, patched) = (cell(summary, "unpatched"), cell(summary, "patched"));
    let rounds = base["per_round"].as_array().expect("rounds");
    assert!(rounds.len() >= 2);
    for round in rounds {
        assert!(round["corruptions"].as_u64() >= Some(1), "each round of the unfixed kernel corrupts: {round}");
    }
    assert!(base["first_corruption_s"].as_f64().expect("a time") < 60.0);
    assert_eq!(patched["corruptions"], 0, "the fix holds");
    assert!(patched["exposures"].as_u64() >= Some(1000), "and it was really tested: {}", patched["exposures"]);
    assert_eq!(summary["comparisons"][0]["verdict"], "fixed");
}

#[test]
#[ignore = "builds and boots real kernels; ci/test runs it"]
fn an_interrupt_keeps_what_was_measured_and_leaves_nothing_running() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let out = dir.path().join("results");
    let mut child = run(dir.path(), &out).stderr(Stdio::null()).spawn().expect("twinboot starts");
    let journal = out.join("journal.jsonl");
    let patience = Instant::now() + Duration::from_secs(45 * 60);
    let running = |text: &str| text.matches(r#""event":"round_started""#).count() >= 2;
    // A round is journalled before its guest is started, so the guest is waited for too.
    while !std::fs::read_to_string(&journal).is_ok_and(|text| running(&text)) || guests(dir.path()).is_empty() {
        assert!(child.try_wait().expect("a child").is_none(), "twinboot ended before its second round");
        assert!(Instant::now() < patience, "no second round with a guest");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it is there");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));

    assert_eq!(guests(dir.path()), Vec::<String>::new());
    let summary = summary(&out);
    let rounds = |cell: &Value| cell["rounds"].as_u64().expect("a number");
    let counted: u64 = summary["cells"].as_array().expect("cells").iter().map(rounds).sum();
    assert!(counted >= 1, "the finished round is in the summary");
    assert_eq!(summary["interrupted"], true);
    for format in FORMATS {
        assert!(out.join(format.file_name()).is_file(), "{}", format.file_name());
    }
}
