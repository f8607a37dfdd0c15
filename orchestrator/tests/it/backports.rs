//! The backport map, on small trees: every way in which a patch can go onto a kernel.

use crate::kernel_fake::{Bench, MEMORY, SWAPOUT, UNPIN, write};
use twinboot::build::{Backport, Fit, backports};
use twinboot::plan::Error;
use twinboot::plan::roots::Roots;

/// The rows for a plan with the fake tree as `linux-6.1` and whatever `change` made of it as `linux-6.12`.
async fn map(bench: &Bench, patches: &[(&str, &str)], variants: &str, changed: &str) -> Vec<Backport> {
    for folder in ["kernels/config", "images"] {
        std::fs::create_dir_all(bench.path(folder)).expect("makes folders");
    }
    write(&bench.path("images/default.yaml"), "");
    crate::kernel_fake::tree(&bench.path("other"));
    write(&bench.path("other/mm/memory.c"), changed);
    for (name, text) in patches {
        write(&bench.path(name), text);
    }
    let plan = format!(
        "name: p\nkernels:\n- {{name: linux-6.1, source: {{dir: linux}}}}\n- {{name: linux-6.12, source: {{dir: other}}}}\n\
         variants:\n{variants}tests: [{{name: t, run: r}}]\n"
    );
    let plan = twinboot::plan::parse(&plan, &bench.path("p.yaml"), &Roots::new(bench.path("")))
        .map_err(Error::Plan)
        .unwrap_or_else(|error| panic!("{error}"));
    backports(&plan, false, &bench.cache, &|_, _| {}, &bench.cancel).await.expect("is not interrupted")
}

fn fit<'a>(rows: &'a [Backport], kernel: &str, variant: &str) -> &'a Fit {
    let row = rows.iter().find(|row| row.kernel == kernel && row.variant == variant);
    &row.unwrap_or_else(|| panic!("no {kernel} {variant} in {rows:?}")).fit
}

#[tokio::test]
async fn a_patch_applies_further_on_with_fuzz_or_not_at_all() {
    let bench = Bench::new();
    let one = "- {name: v, patches: [unpin.patch], expect: corrupt}\n";
    let patches = [("unpin.patch", UNPIN)];
    let rows = map(&bench, &patches, one, &format!("/* two\n * lines */\n{MEMORY}")).await;
    assert_eq!(*fit(&rows, "linux-6.1", "v"), Fit::Applies { notes: Vec::new() });
    let Fit::Applies { notes } = fit(&rows, "linux-6.12", "v") else { panic!("{rows:?}") };
    assert!(notes[0].contains("offset 2 lines"), "{notes:?}");

    let rows = map(&bench, &patches, one, &MEMORY.replace("\n\nint swapout", "\n/* new */\nint swapout")).await;
    let Fit::Fuzz { lines: 1, notes } = fit(&rows, "linux-6.12", "v") else { panic!("{rows:?}") };
    assert!(notes[0].starts_with("mm/memory.c: hunk 1"), "{notes:?}");

    let rows = map(&bench, &patches, one, &MEMORY.replace("pin(entry)", "hold(entry)")).await;
    let Fit::Conflict { failures, reject } = fit(&rows, "linux-6.12", "v") else { panic!("{rows:?}") };
    assert!(failures[0].contains("mm/memory.c: hunk 1") && reject.contains("-\tif (pin(entry))"), "{rows:?}");
}

#[tokio::test]
async fn what_is_there_already_and_what_is_not_needed_are_told_apart() {
    let bench = Bench::new();
    let unpinned = MEMORY.replace("\tif (pin(entry))\n\t\treturn -1;\n", "");
    let rows = map(
        &bench,
        &[("unpin.patch", UNPIN), ("out.patch", SWAPOUT)],
        "- {name: v, patches: [unpin.patch, out.patch], expect: corrupt}\n\
         - {name: w, patches: [{file: out.patch}, {file: nowhere.patch, when: '>=7'}], expect: any}\n\
         - {name: x, when: '<6.12', patches: [{file: unpin.patch, reverse: true}], expect: any}\n",
        &unpinned,
    )
    .await;
    assert_eq!(*fit(&rows, "linux-6.12", "v"), Fit::AlreadyThere);
    let behind = rows.iter().find(|row| row.kernel == "linux-6.12" && row.patch.as_deref() == Some("out.patch"));
    assert_eq!(behind.map(|row| &row.fit), Some(&Fit::Behind { patch: "unpin.patch".to_owned() }));
    let unneeded = rows.iter().find(|row| row.patch.as_deref() == Some("nowhere.patch"));
    assert_eq!(unneeded.map(|row| &row.fit), Some(&Fit::NotNeeded { when: ">=7".to_owned() }));
    let whole = rows.iter().find(|row| row.kernel == "linux-6.12" && row.variant == "x");
    assert_eq!(whole.map(|row| (&row.patch, &row.fit)), Some((&None, &Fit::NotNeeded { when: "<6.12".to_owned() })));
    assert_eq!(*fit(&rows, "linux-6.1", "x"), Fit::AlreadyThere, "it cannot be taken out of what never had it");
}

#[tokio::test]
async fn a_source_that_is_gone_makes_its_rows_unknown() {
    let bench = Bench::new();
    write(&bench.path("linux/unpin.patch"), UNPIN);
    let rows =
        map(&bench, &[("unpin.patch", UNPIN)], "- {name: v, patches: [unpin.patch], expect: corrupt}\n", MEMORY).await;
    assert!(matches!(fit(&rows, "linux-6.12", "v"), Fit::Applies { .. }));
    let plan = "name: p\nkernels: [{name: linux-6.1, source: {tarball: {url: 'file:///nowhere/linux-6.1.1.tar.xz', sha256: SUM}}}]\n\
                variants: [{name: v, patches: [unpin.patch], expect: corrupt}]\ntests: [{name: t, run: r}]\n"
        .replace("SUM", &"a".repeat(64));
    let plan = twinboot::plan::parse(&plan, &bench.path("p.yaml"), &Roots::new(bench.path(""))).expect("is right");
    let rows = backports(&plan, true, &bench.cache, &|_, _| {}, &bench.cancel).await.expect("is not interrupted");
    let Fit::Unknown { reason } = &rows[0].fit else { panic!("{rows:?}") };
    assert!(reason.contains("offline"), "{reason}");
}
