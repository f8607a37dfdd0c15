//! The kernels of the first race, built for real from Debian's sources. Minutes of compiling and 140 MB to download: run with
//! `cargo test --test it kernel_debian:: -- --ignored --nocapture`.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use twinboot::build::{BuiltKernel, Request, Step, build};
use twinboot::cache::{Cache, Kind};
use twinboot::journal::rules::Expectation;
use twinboot::plan::model::{BaseConfig, ConfigLayer, Kernel, Patch, Source, Variant};

const COMMENT: &str = "--- a/mm/memory.c\n+++ b/mm/memory.c\n@@ -1,3 +1,7 @@\n // SPDX-License-Identifier: GPL-2.0-only\n+/*\n+ * A comment that says nothing\n+ * and moves every line below it.\n+ */\n /*\n  *  linux/mm/memory.c\n  *\n";

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path).canonicalize().expect("is in the repository")
}

fn variant(name: &str, patches: &[&Path]) -> Variant {
    let patches = patches.iter().map(|path| Patch { path: path.to_path_buf(), reverse: false }).collect();
    Variant { name: name.to_owned(), patches, rev: None, image: None, expect: Expectation::Any, base: None }
}

#[expect(clippy::print_stderr, reason = "figures for whoever runs this by hand")]
async fn timed(kernel: &Kernel, variant: &Variant, cache: &Cache) -> BuiltKernel {
    let started = Instant::now();
    let steps: Mutex<Vec<(f64, Step)>> = Mutex::default();
    let progress = |step: Step| {
        let mut steps = steps.lock().expect("no panic");
        let now = (started.elapsed().as_secs_f64(), step);
        match (&now.1, steps.last_mut()) {
            (Step::Compile { .. }, Some(last)) if matches!(last.1, Step::Compile { .. }) => *last = now,
            _ => steps.push(now),
        }
    };
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let built =
        build(&Request { kernel, variant, jobs, yields: false }, cache, &progress, &CancellationToken::new()).await;
    let took = started.elapsed().as_secs_f64();
    eprintln!("{}: {took:.3} s, steps {:?}", variant.name, steps.lock().expect("no panic"));
    let built = built.unwrap_or_else(|error| panic!("{error}"));
    eprintln!("  {} {:?}", built.source, built.info);
    built
}

#[tokio::test]
#[ignore = "downloads and compiles a whole kernel"]
async fn the_variants_of_the_swap_in_race() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernel-debian");
    let cache = Cache::open(Some(&dir)).expect("opens");
    let fragment = |name: &str| ConfigLayer::Fragment(repository(&format!("kernels/config/{name}.config")));
    let kernel = Kernel {
        name: "linux-6.1".to_owned(),
        series: Some("6.1".to_owned()),
        source: Source::Debian { package: "linux-source-6.1".to_owned(), suite: None, version: None },
        locked: None,
        notes: None,
        base_config: BaseConfig::Allnoconfig,
        config: ["base", "swap", "preempt"].map(fragment).into(),
        variants: Vec::new(),
    };
    let unpin = repository("kernels/patches/6.1/0001-mm-swap-take-out-the-swapin-pin.patch");
    let raise = repository("kernels/patches/6.1/0002-mm-swap-raise-the-count-around-direct-swapin.patch");
    let comment = dir.join("comment.patch");
    std::fs::write(&comment, COMMENT).expect("writes");

    let unpatched = timed(&kernel, &variant("unpatched", &[&unpin]), &cache).await;
    let patched = timed(&kernel, &variant("patched", &[]), &cache).await;
    let count = timed(&kernel, &variant("count", &[&unpin, &raise]), &cache).await;
    let commented = timed(&kernel, &variant("commented", &[&comment]), &cache).await;
    assert!(unpatched.pvh && patched.pvh && count.pvh);
    let digests = [&unpatched, &patched, &count].map(|kernel| kernel.info.load_digest.clone());
    assert_ne!(digests[0], digests[1]);
    assert_ne!(digests[1], digests[2]);
    assert_ne!(digests[0], digests[2]);
    assert_eq!(commented.info.load_digest, digests[1], "a comment makes no other kernel");
    for kernel in [&unpatched, &count] {
        let log = std::fs::read_to_string(kernel.log.as_ref().expect("has one")).expect("reads");
        let warnings: Vec<&str> =
            log.lines().filter(|line| line.contains("memory.c") && line.contains("warning")).collect();
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    // Away and back: an incremental build gives the very same kernel.
    std::fs::remove_dir_all(cache.path(Kind::Kernels, &unpatched.info.key)).expect("is there");
    let again = timed(&kernel, &variant("unpatched", &[&unpin]), &cache).await;
    assert!(!again.info.cached);
    assert_eq!(again.info.load_digest, digests[0]);
    assert!(timed(&kernel, &variant("unpatched", &[&unpin]), &cache).await.info.cached);
}
