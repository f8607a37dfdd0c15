//! `twinboot plan matrix`, and that what it deals out makes up the plan.

use std::collections::BTreeSet;
use std::process::Output;

use serde_json::Value;

use super::house::{House, expect, no_guest};

/// Two kernels and `tests` tests, the last of which races ten times as long.
fn house(tests: u32) -> House {
    let kernels = [
        ("unpatched", "fake.kernel=corrupt fake.ssh=guest", "expect: corrupt"),
        ("patched", "fake.kernel=clean fake.ssh=guest", "expect: clean"),
    ];
    let house = House::new(&kernels, super::house::HONEST, 1, "");
    let plan = std::fs::read_to_string(house.file("plan.yaml")).expect("is there");
    let (head, _) = plan.split_once("tests:\n").expect("has tests");
    let list: Vec<String> = (1..=tests)
        .map(|n| {
            let seconds = if n == tests { 100 } else { 10 };
            format!("  - {{name: race-{n}, run: race, rounds: 3, stop: {{alpha: 0.1, at_most: {seconds}s, sequential: false}}}}\n")
        })
        .collect();
    std::fs::write(house.file("plan.yaml"), format!("{head}tests:\n{}", list.concat())).expect("writes");
    house
}

fn matrix(house: &House, more: &[&str]) -> Output {
    house.twinboot(&["plan", "matrix", "plan.yaml"]).args(more).output().expect("twinboot starts")
}

fn text(output: &Output) -> String {
    expect(output, 0);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_workflow_takes_one_line_with_a_job_for_each_group() {
    let house = house(3);
    let line = text(&matrix(&house, &["--format", "github"]));
    assert_eq!(line.matches('\n').count(), 1, "{line}");
    let value: Value = serde_json::from_str(&line).expect("JSON");
    let jobs = value["include"].as_array().expect("a list");
    assert_eq!(jobs.len(), 3);
    assert_eq!(jobs[0]["name"], "linux race-3", "the longest comes first");
    assert_eq!(jobs[0]["partition"], "slice:3/3");
    assert_eq!(jobs[0]["id"], "3-of-3");
    assert_eq!(jobs[0]["seconds"], 600);
    assert_eq!(jobs[0]["cells"], serde_json::json!(["linux.unpatched.race-3", "linux.patched.race-3"]));
    assert_eq!(jobs[0]["builds"].as_array().map(Vec::len), Some(2));
    let keys: BTreeSet<&str> = jobs.iter().filter_map(|job| job["cache_key"].as_str()).collect();
    assert_eq!(keys.len(), 1, "all race the same kernels: {keys:?}");

    std::fs::write(house.file("patched"), "another kernel").expect("writes");
    let changed: Value = serde_json::from_str(&text(&matrix(&house, &["--format", "github"]))).expect("JSON");
    assert_ne!(changed["include"][0]["cache_key"], jobs[0]["cache_key"], "its key stayed");
}

#[test]
fn more_groups_than_jobs_are_dealt_out() {
    let house = house(5);
    let lines = text(&matrix(&house, &["--jobs", "2"]));
    let partitions: BTreeSet<&str> = lines.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(partitions, BTreeSet::from(["slice:1/2", "slice:2/2"]), "{lines}");

    let only: Value =
        serde_json::from_str(&text(&matrix(&house, &["--only", "*race-4", "--format", "json"]))).expect("JSON");
    assert_eq!(only["jobs"].as_array().map(Vec::len), Some(1));
    assert_eq!(only["jobs"][0]["partition"], "slice:1/1");
}

#[test]
fn no_engine_gets_more_jobs_than_it_takes() {
    let house = house(260);
    let count = |format: &str| -> usize {
        let made = text(&matrix(&house, &["--format", format]));
        if format == "github" {
            made.matches("\"partition\"").count()
        } else {
            made.matches("extends: .twinboot-run").count()
        }
    };
    assert_eq!((count("github"), count("gitlab")), (256, 200));
    let refused = matrix(&house, &["--format", "github", "--jobs", "257"]);
    expect(&refused, 2);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("more than the engine takes, 256"), "{refused:?}");
}

#[test]
fn a_child_pipeline_is_yaml_with_a_merge() {
    let made = text(&matrix(&house(2), &["--format", "gitlab"]));
    for line in [
        "linux race-2:\n  stage: run\n  extends: .twinboot-run\n",
        "    TWINBOOT_PARTITION: slice:2/2\n",
        "    TWINBOOT_SHARE: 2-of-2\n",
        "twinboot-merge:\n  stage: merge\n  extends: .twinboot-merge\n",
    ] {
        assert!(made.contains(line), "{line} is missing in\n{made}");
    }
}

#[test]
fn a_first_start_with_resume_starts_and_a_held_journal_is_worth_a_retry() {
    if no_guest() {
        return;
    }
    let house = house(1);
    let first = house.run_command(&["--resume"]).output().expect("twinboot starts");
    expect(&first, 0);
    assert!(String::from_utf8_lossy(&first.stderr).contains("nothing to go on with in `out`"), "{first:?}");

    let journal = std::fs::File::open(house.out().join("journal.jsonl")).expect("is there");
    journal.lock().expect("nobody else holds it");
    let held = house.run_command(&["--resume"]).output().expect("twinboot starts");
    expect(&held, 75);
    assert!(String::from_utf8_lossy(&held.stderr).contains("another twinboot is writing"), "{held:?}");
}

#[test]
fn missing_cells_are_worth_a_retry_beside_conclusive_ones() {
    if no_guest() {
        return;
    }
    let house = house(2);
    expect(&house.run_command(&["--partition", "slice:1/2"]).output().expect("twinboot starts"), 0);
    let merged = house.twinboot(&["merge", "out", "--out", "merged"]).output().expect("twinboot starts");
    expect(&merged, 75);
    assert!(String::from_utf8_lossy(&merged.stdout).contains("-> fixed"), "{merged:?}");
}
