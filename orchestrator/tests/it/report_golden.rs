//! Every report of one journal, as committed: a change of wording or of a number shows up in review.

use std::path::{Path, PathBuf};

use twinboot::analysis::{Results, Verdict, exit_code};
use twinboot::journal::{Entry, journal_lines};
use twinboot::report::{self, FORMATS, Format as _, terminal};

const JOURNAL: &[u8] = include_bytes!("../data/journal.jsonl");

fn entries() -> Vec<Entry> {
    journal_lines(JOURNAL).expect("the journal is well-formed")
}

fn results() -> Results {
    Results::fold(entries())
}

#[test]
fn verdicts_of_the_fixture() {
    let results = results();
    let verdicts: Vec<Verdict> = results.comparisons.iter().map(|it| it.verdict).collect();
    assert_eq!(verdicts, [Verdict::Fixed, Verdict::Broken]);
    assert_eq!(exit_code(&results), 0, "the count-raise variant expects nothing and the others came true");
}

#[test]
fn terminal_table() {
    insta::assert_snapshot!("terminal", terminal::render(&results(), terminal::Look::PLAIN));
    insta::assert_snapshot!(
        "terminal_narrow",
        terminal::render(&results(), terminal::Look { width: 60, fancy: false })
    );
    insta::assert_snapshot!("terminal_fancy", terminal::render(&results(), terminal::Look { width: 120, fancy: true }));
}

#[test]
fn every_file() {
    let results = results();
    for format in FORMATS {
        let text = format.render(&results).expect("renders");
        insta::assert_snapshot!(format.file_name(), text);
        assert_eq!(text, format.render(&results).expect("renders"), "{} differs the second time", format.name());
    }
}

#[test]
fn written_files_are_what_was_rendered() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let results = results();
    let paths = report::write_all(dir.path(), &results).expect("writes");
    let names = |dir: &Path| {
        let mut names: Vec<PathBuf> =
            std::fs::read_dir(dir).expect("reads").map(|entry| entry.expect("an entry").path()).collect();
        names.sort();
        names
    };
    let mut expected = paths.clone();
    expected.sort();
    assert_eq!(names(dir.path()), expected, "nothing but the reports is left behind");
    for (path, format) in paths.iter().zip(FORMATS) {
        assert_eq!(std::fs::read_to_string(path).expect("reads"), format.render(&results).expect("renders"));
    }
    report::write_all(dir.path(), &results).expect("writes over what is there");
    // Where `ci/validate-reports` finds them.
    if let Some(folder) = std::env::var_os("TWINBOOT_KEEP_REPORTS") {
        let folder = Path::new(&folder).join("golden");
        std::fs::create_dir_all(&folder).expect("makes the folder");
        report::write_all(&folder, &results).expect("writes");
    }
}

#[test]
fn the_step_summary_is_the_markdown_behind_what_was_there() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("summary");
    std::fs::write(&path, "earlier\n").expect("writes");
    report::append_step_summary(&path, &results()).expect("appends");
    let markdown = report::Markdown.render(&results()).expect("renders");
    assert_eq!(std::fs::read_to_string(&path).expect("reads"), format!("earlier\n{markdown}\n"));
}

#[test]
fn a_missing_directory_is_told_by_name() {
    let error = report::write_all(Path::new("/nonexistent/results"), &results()).expect_err("cannot be written");
    assert!(error.to_string().contains("/nonexistent/results/summary.json"), "{error}");
}

/// `TWINBOOT_REGENERATE=1 cargo test --test it report_golden` writes the schema anew.
#[test]
fn the_committed_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/summary.schema.json");
    let schema = report::summary_schema();
    if std::env::var_os("TWINBOOT_REGENERATE").is_some() {
        std::fs::write(&path, &schema).expect("writes the schema");
    }
    let committed = std::fs::read_to_string(&path).expect("docs/summary.schema.json is committed");
    assert_eq!(committed, schema, "run TWINBOOT_REGENERATE=1 cargo test --test it report_golden");
}
