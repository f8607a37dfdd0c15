//! What is damaged in the cache is thrown away with a notice and made again, and never leads to a wrong answer.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::kernel_fake::{Bench, SWAPOUT, UNPIN, compiled, kernel_of, sh, write};
use twinboot::build::{BuiltKernel, Fit, backports};
use twinboot::cache::Kind;
use twinboot::plan::Error;
use twinboot::plan::model::{Location, Source};
use twinboot::plan::roots::Roots;

type Notices = Arc<Mutex<Vec<String>>>;

/// A bench, and what its cache says.
fn bench() -> (Bench, Notices) {
    let mut bench = Bench::new();
    let notices = Notices::default();
    let heard = notices.clone();
    bench.cache = bench.cache.clone().with_notices(move |text| heard.lock().expect("no panic").push(text.to_owned()));
    (bench, notices)
}

fn take(notices: &Notices) -> String {
    std::mem::take(&mut *notices.lock().expect("no panic")).join("\n")
}

/// Changes one byte in the middle and keeps the size.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(path, bytes).expect("writes");
}

fn cut(path: &Path) {
    let bytes = fs::read(path).expect("reads");
    fs::write(path, &bytes[..bytes.len() / 2]).expect("writes");
}

fn empty(path: &Path) {
    fs::write(path, b"").expect("writes");
}

fn remove(path: &Path) {
    fs::remove_file(path).expect("removes");
}

const DAMAGES: [fn(&Path); 4] = [flip, cut, empty, remove];

#[tokio::test]
async fn every_file_of_a_kernel_is_checked_before_it_is_used() {
    let (bench, notices) = bench();
    let (kernel, plain) = (bench.kernel(), bench.variant("plain", &[]));
    let first = bench.build(&kernel, &plain).await.expect("builds");
    let dir = bench.cache.path(Kind::Kernels, &first.info.key);
    for file in ["vmlinux", "meta.json", "kernel.config", "build.log", ".twinboot-entry.json"] {
        for (at, damage) in DAMAGES.iter().enumerate() {
            // A flipped bit of the record is no harm to what the memo knows.
            if file == ".twinboot-entry.json" && at == 0 {
                continue;
            }
            assert!(bench.build(&kernel, &plain).await.expect("is there").info.cached);
            assert_eq!(take(&notices), "");
            damage(&dir.join(file));
            let again = bench.build(&kernel, &plain).await.unwrap_or_else(|error| panic!("{file} {at}: {error}"));
            assert!(!again.info.cached, "{file} {at}");
            assert_eq!(again.info.load_digest, first.info.load_digest);
            let said = take(&notices);
            assert!(said.contains("kernels/") && said.contains("made again"), "{file} {at}: {said}");
        }
    }
}

#[tokio::test]
async fn a_damaged_source_tree_or_object_is_made_again() {
    let (bench, notices) = bench();
    let kernel = bench.kernel();
    let plain = bench.build(&kernel, &bench.variant("plain", &[])).await.expect("builds");
    bench.build(&kernel, &bench.variant("out", &[SWAPOUT])).await.expect("builds");
    let rebuilt = async |name: &str| -> BuiltKernel {
        fs::remove_dir_all(bench.cache.path(Kind::Kernels, &plain.info.key)).expect("is there");
        let built = bench.build(&kernel, &bench.variant("plain", &[])).await;
        built.unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    assert_eq!(compiled(&rebuilt("untouched").await), ["mm/memory.o"], "nothing else is compiled");
    assert_eq!(take(&notices), "");
    // What a variant has changed, its copy, what none has changed, objects, and the records themselves.
    for (file, of) in [
        ("src/mm/pin.c", "source"),
        ("src/Kconfig", "source"),
        ("pristine/mm/memory.c", "source"),
        ("source.json", "source"),
        ("obj/mm/pin.o", "objects"),
        ("obj/vmlinux", "objects"),
    ] {
        for (at, damage) in DAMAGES.iter().enumerate() {
            // A flipped bit of the record is no harm to what the memo knows; without a record it is another test.
            if file == "source.json" && matches!(at, 0 | 3) {
                continue;
            }
            bench.build(&kernel, &bench.variant(&format!("out{at}"), &[SWAPOUT])).await.expect("builds");
            fs::remove_dir_all(bench.cache.root().join("kernels")).expect("is there");
            bench.build(&kernel, &bench.variant("plain", &[])).await.expect("builds");
            bench.build(&kernel, &bench.variant("out", &[SWAPOUT])).await.expect("builds");
            take(&notices);
            damage(&bench.work().join(file));
            let again = rebuilt(file).await;
            assert_eq!(again.info.load_digest, plain.info.load_digest, "{file} {at}");
            let said = take(&notices);
            assert!(said.contains("damaged") && said.contains("made again"), "{file} {at} ({of}): {said}");
        }
    }
}

#[tokio::test]
async fn a_tree_of_an_older_twinboot_is_compared_with_its_source() {
    let (bench, notices) = bench();
    let kernel = bench.kernel();
    let plain = bench.build(&kernel, &bench.variant("plain", &[])).await.expect("builds");
    for (damage, objects) in [(None, &["mm/memory.o"][..]), (Some(flip), &["mm/entry.o", "mm/memory.o", "mm/pin.o"])] {
        bench.build(&kernel, &bench.variant("unpinned", &[UNPIN])).await.expect("builds");
        fs::remove_dir_all(bench.cache.root().join("kernels")).expect("is there");
        for record in ["source.json", "source.seen", "objects.json"] {
            let _ = fs::remove_file(bench.work().join(record));
        }
        if let Some(damage) = damage {
            damage(&bench.work().join("src/mm/pin.c"));
        }
        let again = bench.build(&kernel, &bench.variant("plain", &[])).await.expect("builds");
        assert_eq!(again.info.load_digest, plain.info.load_digest);
        assert_eq!(compiled(&again), objects);
        assert_eq!(take(&notices).contains("is not its source"), damage.is_some());
    }
}

/// The fake tree as an archive, and its SHA-256.
fn archive(bench: &Bench) -> (PathBuf, String) {
    sh(bench.dir.path(), "tar -cf tree.tar linux");
    (bench.path("tree.tar"), sh(bench.dir.path(), "sha256sum tree.tar | cut -c1-64"))
}

#[tokio::test]
async fn a_damaged_download_is_fetched_again_and_one_of_an_older_twinboot_is_taken_over() {
    let (bench, notices) = bench();
    let (file, sha256) = archive(&bench);
    let location = Location::Url(format!("file://{}", file.display()));
    let kernel = kernel_of(Source::Tarball { location, sha256: sha256.clone() });
    let first = bench.build(&kernel, &bench.variant("plain", &[])).await.expect("builds");
    let entry = bench.cache.path(Kind::Sources, &sha256[..32]);
    let anew = async || {
        for kind in ["kernels", "work"] {
            fs::remove_dir_all(bench.cache.root().join(kind)).expect("is there");
        }
        bench.build(&kernel, &bench.variant("plain", &[])).await
    };
    for damage in DAMAGES {
        damage(&entry.join("archive"));
        assert_eq!(anew().await.expect("builds").info.load_digest, first.info.load_digest);
        assert!(take(&notices).contains("sources/"));
    }
    remove(&entry.join(".twinboot-entry.json"));
    fs::rename(&file, bench.path("gone.tar")).expect("moves");
    anew().await.expect("needs no download");
    assert_eq!(take(&notices), "");
    remove(&entry.join(".twinboot-entry.json"));
    cut(&entry.join("archive"));
    let error = anew().await.expect_err("has to be downloaded").to_string();
    assert!(error.contains("tree.tar"), "{error}");
}

#[tokio::test]
async fn an_archive_that_cannot_be_read_makes_no_conflict_and_nothing_is_kept() {
    let (bench, _notices) = bench();
    let (file, _) = archive(&bench);
    // Cut inside a file, with the hash of what is left: nothing can tell but tar.
    let bytes = fs::read(&file).expect("reads");
    let at = bytes.windows(17).position(|it| it == b"linux/mm/memory.c").expect("is there") + 512 + 100;
    fs::write(&file, &bytes[..at]).expect("writes");
    let sum = sh(bench.dir.path(), "sha256sum tree.tar | cut -c1-64");
    for folder in ["kernels/config", "images"] {
        fs::create_dir_all(bench.path(folder)).expect("makes folders");
    }
    write(&bench.path("images/default.yaml"), "");
    write(&bench.path("unpin.patch"), UNPIN);
    let plan = format!(
        "name: p\nkernels: [{{name: linux-6.1, source: {{tarball: {{path: tree.tar, sha256: {sum}}}}}}}]\n\
         variants: [{{name: v, patches: [unpin.patch], expect: corrupt}}]\ntests: [{{name: t, run: r}}]\n"
    );
    let plan = twinboot::plan::parse(&plan, &bench.path("p.yaml"), &Roots::new(bench.path("")))
        .map_err(Error::Plan)
        .unwrap_or_else(|error| panic!("{error}"));
    let rows = backports(&plan, false, &bench.cache, &|_, _| {}, &bench.cancel).await.expect("is not interrupted");
    let Fit::Unknown { reason } = &rows[0].fit else { panic!("{rows:?}") };
    assert!(reason.contains("EOF"), "{reason}");
    let kept = fs::read_dir(bench.cache.root().join("backports")).expect("was tried").count();
    assert_eq!(kept, 0, "an answer that rests on damage is not kept");
}
