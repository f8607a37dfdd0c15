//! Variants that are revisions of one git repository, and what `twinboot compare` asks of a repository.

use std::fs;
use std::path::PathBuf;

use crate::kernel_fake::{Bench, MEMORY, SWAPOUT, UNPIN, compiled, kernel_of, photograph, said, sh, write};
use twinboot::build::{BuiltKernel, revisions};
use twinboot::plan::model::{Kernel, Location, Source};

/// `first`: the tree; `second`: without the pin, with one file more and one gone.
fn repository(bench: &Bench) -> PathBuf {
    let dir = bench.path("linux");
    write(&dir.join("mm/old.c"), "int old;\n");
    sh(
        &dir,
        "git init -q -b main . && git config user.name t && git config user.email t@example.org && git add . \
         && git commit -qm 'the tree' && git tag first",
    );
    write(&dir.join("mm/memory.c"), &MEMORY.replace("\tif (pin(entry))\n\t\treturn -1;\n", ""));
    write(&dir.join("mm/new.c"), "int fresh;\n");
    sh(&dir, "git rm -q mm/old.c && git add . && git commit -qm 'mm: take out the pin' && git tag second");
    dir
}

fn at(dir: &std::path::Path, rev: &str) -> Kernel {
    kernel_of(Source::Git { location: Location::Path(dir.to_path_buf()), rev: rev.to_owned() })
}

fn bytes(kernel: &BuiltKernel) -> Vec<u8> {
    fs::read(kernel.vmlinux.as_ref().expect("was built")).expect("reads")
}

#[tokio::test]
async fn a_revision_is_built_in_the_tree_of_the_other_and_is_the_same_kernel() {
    let bench = Bench::new();
    let dir = repository(&bench);
    let before = photograph(&dir);
    let kernel = at(&dir, "first");
    let base = bench.variant("base", &[]);
    let patched = twinboot::plan::model::Variant { rev: Some("second".to_owned()), ..bench.variant("patched", &[]) };
    let first = bench.build(&kernel, &base).await.expect("builds");
    let second = bench.build(&kernel, &patched).await.expect("builds");
    bench.work();
    assert_eq!(compiled(&second), ["mm/memory.o", "mm/new.o"], "nothing else is compiled");
    assert!(second.source.starts_with("second (commit "), "{}", second.source);
    assert_ne!(bytes(&first), bytes(&second));
    assert!(photograph(&dir) == before, "the checkout and the repository are as they were");

    let elsewhere = Bench::new();
    let alone = elsewhere.build(&at(&dir, "second"), &base).await.expect("builds");
    assert_eq!(alone.info.load_digest, second.info.load_digest, "as built by itself");

    // And back: the file that is gone comes again.
    let other = bench.variant("other", &[SWAPOUT]);
    let back = bench.build(&kernel, &other).await.expect("builds");
    assert_eq!(compiled(&back), ["mm/extra.o", "mm/memory.o", "mm/old.o"]);
}

#[tokio::test]
async fn a_variants_patches_go_onto_its_own_revision() {
    let bench = Bench::new();
    let dir = repository(&bench);
    let mut kernel = at(&dir, "second");
    // The base is the fix taken out, so the patch comes out of `first` alone.
    let own = twinboot::plan::model::Variant { rev: Some("first".to_owned()), ..bench.variant("own", &[UNPIN]) };
    let built = bench.build(&kernel, &own).await.expect("applies to the first");
    let on_second = bench.variant("wrong", &[UNPIN]);
    assert!(said(bench.build(&kernel, &on_second).await).contains("already"));
    kernel.variants = vec![own];
    assert!(built.source.starts_with("first (commit "), "{}", built.source);
}

#[tokio::test]
async fn what_is_not_committed_is_read_and_nothing_is_touched() {
    let bench = Bench::new();
    let dir = repository(&bench);
    write(&dir.join(".gitignore"), "*.o\n");
    write(&dir.join("junk.o"), "x");
    write(&dir.join("mm/untracked.c"), "int untracked;\n");
    write(&dir.join("mm/pin.c"), "int staged;\n");
    sh(&dir, "git add mm/pin.c");
    let before = photograph(&dir);
    let diff = String::from_utf8(revisions::uncommitted(&dir, &bench.cancel).await.expect("reads")).expect("text");
    for words in ["+int untracked;", "+int staged;", "b/.gitignore"] {
        assert!(diff.contains(words), "{words}: {diff}");
    }
    assert!(!diff.contains("junk.o"), "{diff}");
    let head = revisions::commit(&dir, "HEAD", &bench.cancel).await.expect("is there");
    let patch = String::from_utf8(revisions::patch_of(&dir, &head, &bench.cancel).await.expect("reads")).expect("text");
    assert!(patch.starts_with(&format!("From {head} ")) && patch.contains("Subject: [PATCH] mm: take out the pin"));
    assert!(patch.contains("-\tif (pin(entry))"), "{patch}");
    assert!(photograph(&dir) == before, "the checkout, its index and its objects are as they were");
    sh(&dir, "rm junk.o && git stash -q -u");
    assert!(revisions::uncommitted(&dir, &bench.cancel).await.expect("reads").is_empty());
    let gone = revisions::commit(&dir, "nothing", &bench.cancel).await.expect_err("there is none").to_string();
    assert!(gone.contains("nothing"), "{gone}");
}
