//! The main job on real kernels: Linux 6.1 built with and without the fix, booted and raced. Minutes long, so `ci/test`
//! asks for it by name (`--ignored`). Needs what `ci/setup` installs, and the release build of the guest programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// `twinboot run` of a plan, from the repository's root.
fn twinboot(plan: &str, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinboot"));
    command.current_dir(root()).args(["run", plan, "--out"]).arg(out);
    command
}

fn summary(out: &Path) -> Value {
    let text = std::fs::read(out.join("summary.json")).expect("a summary");
    serde_json::from_slice(&text).expect("JSON")
}

fn cell<'a>(summary: &'a Value, variant: &str) -> &'a Value {
    let cells = summary["cells"].as_array().expect("cells");
    cells.iter().find(|cell| cell["variant"] == variant).expect("the variant was run")
}

/// Processes whose command line names `folder`: every guest's does.
fn left_running(folder: &Path) -> Vec<String> {
    let needle = folder.to_string_lossy().into_owned();
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
    let out = dir.path().join("results");
    let status = twinboot("plans/quick.yaml", &out).status().expect("twinboot starts");
    assert_eq!(status.code(), Some(0), "every expectation of plans/quick.yaml is met");

    let summary = summary(&out);
    let (base, patched) = (cell(&summary, "unpatched"), cell(&summary, "patched"));
    let rounds = base["rounds"].as_array().expect("rounds");
    assert!(!rounds.is_empty());
    for round in rounds {
        assert!(round["corruptions"].as_u64() >= Some(1), "each round of the unfixed kernel corrupts: {round}");
    }
    assert!(base["first_corruption_s"].as_f64().expect("a time") < 60.0);
    assert_eq!(patched["corruptions"], 0, "the fix holds");
    assert!(patched["exposures"].as_u64() >= Some(1000), "and it was really tested: {}", patched["exposures"]);
    assert_eq!(summary["comparisons"][0]["verdict"], "fixed");

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
    assert_eq!(left_running(&out), Vec::<String>::new());
}

#[test]
#[ignore = "builds and boots real kernels; ci/test runs it"]
fn an_interrupt_keeps_what_was_measured_and_leaves_nothing_running() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let out = dir.path().join("results");
    let mut child = twinboot("plans/quick.yaml", &out).stderr(Stdio::null()).spawn().expect("twinboot starts");
    let journal = out.join("journal.jsonl");
    let patience = Instant::now() + Duration::from_secs(45 * 60);
    let running = |text: &str| text.matches(r#""event":"round_started""#).count() >= 2;
    while !std::fs::read_to_string(&journal).is_ok_and(|text| running(&text)) {
        assert!(child.try_wait().expect("a child").is_none(), "twinboot ended before its second round");
        assert!(Instant::now() < patience, "no second round");
        std::thread::sleep(Duration::from_millis(100));
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it is there");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));

    assert_eq!(left_running(&out), Vec::<String>::new());
    let summary = summary(&out);
    let counted: usize = summary["cells"]
        .as_array()
        .expect("cells")
        .iter()
        .map(|cell| cell["rounds"].as_array().map_or(0, Vec::len))
        .sum();
    assert!(counted >= 1, "the finished round is in the summary");
    assert!(out.join("report.md").is_file());
}
