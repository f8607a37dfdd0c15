//! Verdicts on patches whose truth is known, on a real Linux 6.1: the plans in `verdicts/` say which. Minutes long, so
//! `ci/test` asks for it by name (`--ignored`). Needs what `ci/setup` installs, and the release build of the guest programs.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

const PLAN: &str = "orchestrator/tests/verdicts/plan.yaml";

/// Fixes that work at some levels of a factor only.
const FACTORS: &str = "orchestrator/tests/verdicts/factors.yaml";

/// `$TWINBOOT_PROGRAM`, such as a release build with the guest programs beside it; else the one built with this test.
fn program() -> std::ffi::OsString {
    std::env::var_os("TWINBOOT_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_twinboot").into())
}

fn run(plan: &str, out: &Path) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut command = Command::new(program());
    let status = command.current_dir(root).args(["run", plan, "--out"]).arg(out).status().expect("twinboot starts");
    assert_eq!(status.code(), Some(0), "the base corrupts, and of the others anything is expected");
    serde_json::from_slice(&std::fs::read(out.join("summary.json")).expect("a summary")).expect("JSON")
}

/// What a run says of its variants; complaints are gathered, so that one run shows all of them.
struct Told {
    summary: Value,
    complaints: Vec<String>,
}

impl Told {
    fn cell(&self, variant: &str) -> &Value {
        let cells = self.summary["cells"].as_array().expect("cells");
        cells.iter().find(|cell| cell["variant"] == variant).expect("the variant was run")
    }

    fn expect(&mut self, variant: &str, verdict: &str, reason: &str) {
        let comparisons = self.summary["comparisons"].as_array().expect("comparisons");
        let it = comparisons.iter().find(|it| it["patched"] == variant).expect("the variant was judged");
        if it["verdict"] != verdict || it["reason"] != reason {
            self.complaints.push(format!(
                "{variant} is {} ({}) and should be {verdict} ({reason}): {}",
                it["verdict"], it["reason"], it["sentence"]
            ));
        }
    }

    /// The kernel has to answer for trouble of this kind, and a line of its console says so.
    fn expect_trouble(&mut self, variant: &str, kind: &str, line: &str) {
        let trouble = self.cell(variant)["trouble"].as_array().expect("trouble").clone();
        let says = |it: &Value| {
            it["excerpt"].as_array().expect("lines").iter().any(|it| it.as_str().expect("text").contains(line))
        };
        if !trouble.iter().any(|it| it["kind"] == kind && it["kernel"] == true && (line.is_empty() || says(it))) {
            self.complaints.push(format!("{variant} shows no {kind} with `{line}`: {trouble:#?}"));
        }
    }
}

#[test]
#[ignore = "builds and boots real kernels; ci/test runs it"]
fn right_and_wrong_fixes_get_the_verdict_they_deserve() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let mut told = Told { summary: run(PLAN, &dir.path().join("results")), complaints: Vec::new() };

    told.expect("merged-fix", "fixed", "clean-and-exposed");
    told.expect("noop-unrelated", "not-fixed", "still-corrupts");
    told.expect("thins", "reduced", "fewer-corruptions");
    told.expect("pins-most", "reduced", "fewer-corruptions");
    told.expect("warns", "broken", "kernel-trouble");
    told.expect_trouble("warns", "kernel warning", "do_swap_page");
    told.expect("panics", "broken", "kernel-trouble");
    told.expect_trouble("panics", "panic", "past the swap cache");
    told.expect("hangs", "broken", "kernel-trouble");
    told.expect_trouble("hangs", "timed out", "");
    told.expect_trouble("hangs", "hang", "blocked for more than");

    // Another patch file, the same code: nothing to compare, whatever the rounds showed.
    told.expect("noop-comment", "inconclusive", "identical-kernels");
    let digest = |variant: &str| told.cell(variant)["load_digest"].as_str().expect("a digest").to_owned();
    assert_eq!(digest("noop-comment"), digest("unpatched"));
    for other in ["noop-unrelated", "merged-fix", "thins", "pins-most", "late-pin", "warns", "panics", "hangs"] {
        assert_ne!(digest(other), digest("unpatched"), "{other} is another kernel");
    }
    let patches = |variant: &str| told.cell(variant)["patches"].as_array().expect("patches").len();
    assert_eq!((patches("unpatched"), patches("noop-comment")), (1, 2));

    // Clean rounds do not outweigh the warning.
    assert_eq!(told.cell("warns")["corruptions"], 0);
    assert!(told.cell("warns")["exposures"].as_u64() >= Some(100), "{}", told.cell("warns")["exposures"]);
    assert_eq!(told.cell("panics")["rounds"], 0);
    assert!(told.complaints.is_empty(), "{}", told.complaints.join("\n"));
}

#[test]
#[ignore = "builds and boots real kernels; ci/test runs it"]
fn fixes_that_work_at_some_levels_only_are_not_fixed() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let summary = run(FACTORS, &dir.path().join("results"));
    let comparisons = summary["comparisons"].as_array().expect("comparisons");
    assert_eq!(comparisons.len(), 3);
    for it in comparisons {
        let (variant, verdict) = (it["patched"].as_str().expect("a name"), it["verdict"].as_str().expect("a verdict"));
        assert!(["not-fixed", "reduced"].contains(&verdict), "{variant} is {verdict}: {}", it["sentence"]);
        let words = match variant {
            "reads-only" => "corrupts on write faults only",
            "even-slots-only" => "corrupts at swap slot",
            _ => "corrupts on CPU 0 only",
        };
        let sentence = it["sentence"].as_str().expect("a sentence");
        assert!(sentence.contains(words) && sentence.contains(" only"), "{variant}: {sentence}");
    }
}
