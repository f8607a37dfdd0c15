//! The text of a variant's files is that which it was built from, wherever the source lies and whatever was built since.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use crate::kernel_fake::{Bench, MEMORY, SWAPOUT, UNPIN, kernel_of, sh};
use twinboot::build::{Request, source_text};
use twinboot::plan::model::{Kernel, Location, Source, Variant};

async fn text(bench: &Bench, kernel: &Kernel, variant: &Variant, files: &[&str]) -> HashMap<String, Vec<String>> {
    let files: BTreeSet<String> = files.iter().map(|&file| file.to_owned()).collect();
    source_text(&Request { kernel, variant, jobs: 1, yields: false }, &bench.cache, &files, &bench.cancel).await
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn each_variant_has_its_own_text_from_one_work_tree() {
    let bench = Bench::new();
    let kernel = bench.kernel();
    let plain = bench.variant("plain", &[]);
    let unpinned = bench.variant("unpinned", &[UNPIN]);
    let doubled = bench.variant("doubled", &[SWAPOUT]);
    for variant in [&plain, &unpinned, &doubled] {
        bench.build(&kernel, variant).await.expect("builds");
    }
    let before = text(&bench, &kernel, &plain, &["mm/memory.c", "mm/extra.c", "mm/pin.c"]).await;
    assert_eq!(before["mm/memory.c"], lines(MEMORY));
    assert!(before.contains_key("mm/pin.c") && !before.contains_key("mm/extra.c"), "{before:?}");
    let without = text(&bench, &kernel, &unpinned, &["mm/memory.c"]).await;
    assert_eq!(without["mm/memory.c"].len(), before["mm/memory.c"].len() - 2);
    assert!(!without["mm/memory.c"].iter().any(|line| line.contains("pin(entry)")));
    let more = text(&bench, &kernel, &doubled, &["mm/memory.c", "mm/extra.c"]).await;
    assert!(more["mm/memory.c"].iter().any(|line| line.contains("2 * pages")));
    assert_eq!(more["mm/extra.c"], ["int extra(void) { return 3; }"]);

    // The tree holds what was built last, untouched by the questions.
    let now = fs::read_to_string(bench.work().join("src/mm/memory.c")).expect("reads");
    assert!(now.contains("2 * pages"), "{now}");
}

#[tokio::test]
async fn without_a_work_tree_every_kind_of_source_is_asked() {
    let bench = Bench::new();
    let dir = bench.path("linux");
    sh(bench.dir.path(), "tar -cJf linux.tar.xz linux && cd linux && tar -cf ../bare.tar .");
    let sha256 =
        |name: &str| sh(bench.dir.path(), &format!("sha256sum {name}")).split(' ').next().expect("has one").to_owned();
    let archive = |name: &str| Source::Tarball { location: Location::Path(bench.path(name)), sha256: sha256(name) };
    let sources = [archive("linux.tar.xz"), archive("bare.tar"), Source::Dir(dir.clone())];
    sh(&dir, "git init -q -b main . && git config user.name t && git config user.email t@example.org");
    sh(&dir, "git add . && git commit -qm first && git tag v1");
    let git = Source::Git { location: Location::Path(dir.clone()), rev: "v1".to_owned() };
    let doubled = bench.variant("doubled", &[SWAPOUT]);
    for source in sources.into_iter().chain([git]) {
        let found = text(&bench, &kernel_of(source.clone()), &doubled, &["mm/pin.c", "mm/extra.c", "mm/none.c"]).await;
        assert_eq!(found.len(), 2, "{source:?}: {found:?}");
        assert_eq!(found["mm/pin.c"][1], "int pin(int entry) { return entry == 7; }", "{source:?}");
        assert_eq!(found["mm/extra.c"], ["int extra(void) { return 3; }"], "{source:?}");
    }
    assert!(!bench.cache.root().join("work").exists(), "nothing was unpacked");
}

#[tokio::test]
async fn what_cannot_be_had_is_missing_and_no_error() {
    let bench = Bench::new();
    let plain = bench.variant("plain", &[]);
    let asked = ["../linux/mm/pin.c", "/etc/hostname", "mm/pin.c"];
    let found = text(&bench, &bench.kernel(), &plain, &asked).await;
    assert_eq!(found.keys().collect::<Vec<_>>(), ["mm/pin.c"]);
    let gone = kernel_of(Source::Dir(bench.path("gone")));
    assert!(text(&bench, &gone, &plain, &["mm/pin.c"]).await.is_empty());
    let rejected = bench.variant("rejected", &[&UNPIN.replace("pin(entry)", "pin(nothing)")]);
    assert!(text(&bench, &bench.kernel(), &rejected, &["mm/pin.c"]).await.is_empty());
    let ready = Source::Image { kernel: Path::new("vmlinux").to_path_buf(), modules: None, config: None };
    assert!(text(&bench, &kernel_of(ready), &plain, &["mm/pin.c"]).await.is_empty());
}
