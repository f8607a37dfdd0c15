//! A sweep of `do_swap_page` on a real Linux 6.1, with the fix taken out, with it, and with one that merely narrows the
//! window. Two minutes once the kernels are built, so it is run by name (`--ignored`). Needs what `ci/setup` installs, and the
//! release build of the guest programs.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use twinboot::analysis::Results;
use twinboot::analysis::forced::{PointState, SweepResult};
use twinboot::journal::journal_lines;

const PLAN: &str = "orchestrator/tests/sweep/plan.yaml";

/// `$TWINBOOT_PROGRAM`, such as a release build with the guest programs beside it; else the one built with this test.
fn program() -> std::ffi::OsString {
    std::env::var_os("TWINBOOT_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_twinboot").into())
}

fn sweep(out: &Path) -> std::process::ExitStatus {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut command = Command::new(program());
    command.current_dir(root).args(["sweep", PLAN, "--out"]).arg(out).status().expect("twinboot starts")
}

fn results(out: &Path) -> Results {
    let bytes = std::fs::read(out.join("journal.jsonl")).expect("a journal");
    Results::fold(journal_lines(&bytes).expect("reads"))
}

fn lines(sweep: &SweepResult) -> Vec<u32> {
    sweep.corrupting().filter_map(|it| it.point.line.filter(|_| it.point.inlined.is_none())).collect()
}

fn line_of(sweep: &SweepResult, text: &str) -> u32 {
    let found = sweep.way.iter().find(|it| it.point.source.as_ref().is_some_and(|source| source.contains(text)));
    found.and_then(|it| it.point.line).unwrap_or_else(|| panic!("the victim comes through `{text}`"))
}

#[test]
#[ignore = "builds and boots real kernels"]
fn the_window_is_mapped_and_a_narrower_one_is_caught() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let out = dir.path().join("results");
    let status = sweep(&out);
    assert_eq!(status.code(), Some(0), "every point is known, and a sweep expects nothing");
    let results = results(&out);
    let by_variant: HashMap<&str, &SweepResult> =
        results.sweeps.iter().map(|sweep| (sweep.spec.variant.as_str(), sweep)).collect();
    let (unpatched, patched, late) = (by_variant["unpatched"], by_variant["patched"], by_variant["late-pin"]);
    for sweep in [unpatched, patched, late] {
        assert!(sweep.complete, "{}: {:?}", sweep.spec.id, sweep.counts);
        assert!(sweep.counts.legal() > 100, "{}: {:?}", sweep.spec.id, sweep.counts);
        assert!(sweep.counts.once < 20, "the way is not a matter of luck: {:?}", sweep.counts);
        assert!(sweep.failures.is_empty() && sweep.trouble.is_empty(), "{:?}, {:?}", sweep.failures, sweep.trouble);
    }

    let corrupt = unpatched.counts.corrupt;
    assert!(corrupt > 20, "{:?}", unpatched.counts);
    let (read, lock) = (line_of(unpatched, "swap_readpage"), line_of(unpatched, "pte_offset_map_lock"));
    assert!(
        lines(unpatched).iter().any(|line| (read..=lock).contains(line)),
        "{read} to {lock}: {:?}",
        lines(unpatched)
    );
    let window = |sweep: &SweepResult| sweep.windows.iter().map(|window| window.corrupt).max().unwrap_or(0);
    assert!(window(unpatched) > 20, "the points are neighbours: {:?}", unpatched.windows);

    assert_eq!(patched.counts.corrupt, 0, "{:?}", patched.windows);
    assert!(patched.counts.excluded > 20, "{:?}", patched.counts);
    let waits = patched.way.iter().filter_map(|it| match &it.state {
        PointState::Excluded(function) => Some(function.as_str()),
        _ => None,
    });
    assert!(waits.into_iter().all(|function| function == "do_swap_page"));

    assert!(late.counts.corrupt > 0 && late.counts.corrupt < corrupt, "{:?} of {corrupt}", late.counts);
    assert!(late.counts.excluded > 0, "behind the late pin the others wait: {:?}", late.counts);
}
