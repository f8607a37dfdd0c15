//! `GITHUB_STEP_SUMMARY`, as a workflow sets it: the report on the page of the job.

use std::path::Path;
use std::process::{Command, Output};

/// `twinboot report` on the fixture, with `GITHUB_STEP_SUMMARY` set to `summary`.
fn report(folder: &Path, summary: &Path) -> Output {
    std::fs::write(folder.join("journal.jsonl"), include_bytes!("../data/journal.jsonl")).expect("writes the journal");
    Command::new(env!("CARGO_BIN_EXE_twinboot"))
        .arg("report")
        .arg(folder)
        .env("GITHUB_STEP_SUMMARY", summary)
        .output()
        .expect("twinboot starts")
}

#[test]
fn the_report_is_appended() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let summary = dir.path().join("summary");
    std::fs::write(&summary, "an earlier step\n").expect("writes");
    let output = report(dir.path(), &summary);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let markdown = std::fs::read_to_string(dir.path().join("report.md")).expect("the report");
    assert_eq!(std::fs::read_to_string(&summary).expect("reads"), format!("an earlier step\n{markdown}\n"));
}

#[test]
fn what_cannot_be_appended_is_a_warning() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = report(dir.path(), &dir.path().join("missing/summary"));
    assert_eq!(output.status.code(), Some(0), "the verdict decides, not the summary");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("warning: no step summary") && said.contains("missing/summary"), "{said}");
}

#[test]
fn an_empty_name_is_none() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = report(dir.path(), Path::new(""));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_summary_stays_below_what_github_takes() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let summary = dir.path().join("summary");
    let earlier = "x".repeat((1 << 20) - (6 << 10));
    std::fs::write(&summary, &earlier).expect("writes");
    let output = report(dir.path(), &summary);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let markdown = std::fs::metadata(dir.path().join("report.md")).expect("the report").len();
    let text = std::fs::read_to_string(&summary).expect("reads");
    assert!(text.len() <= 1 << 20, "{}", text.len());
    assert!(markdown > 1 << 10 && text.contains("Left out here"), "{markdown}: {}", &text[earlier.len()..]);

    std::fs::write(&summary, "x".repeat(1 << 20)).expect("writes");
    let output = report(dir.path(), &summary);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("full already"));
}
