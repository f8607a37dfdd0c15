//! Building variants of a small tree: what is compiled, what is refused, and what an interruption leaves.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::kernel_fake::{Bench, ENTRY, MEMORY, SWAPOUT, UNPIN, compiled, said, write};
use twinboot::build::{Error, Step};
use twinboot::cache::Kind;
use twinboot::plan::model::{BaseConfig, ConfigLayer};

#[tokio::test]
async fn the_second_variant_costs_what_its_patches_touch_and_a_cached_one_nothing() {
    let bench = Bench::new();
    let kernel = bench.kernel();
    let (plain, unpinned) = (bench.variant("plain", &[]), bench.variant("unpinned", &[UNPIN]));

    let first = bench.build(&kernel, &plain).await.expect("builds");
    assert_eq!(compiled(&first), ["mm/entry.o", "mm/memory.o", "mm/pin.o"]);
    assert!(first.pvh && first.boot.ends_with("vmlinux") && !first.info.cached);
    assert_eq!(first.info.release, "6.1.0-fake");
    assert!(fs::read_to_string(first.config.as_ref().expect("has one")).expect("reads").contains("CONFIG_SWAP=y"));
    assert!(bench.steps().contains(&Step::Compile { done: 3, total: Some(3) }), "{:?}", bench.steps());
    assert!(bench.steps().contains(&Step::Link));

    let second = bench.build(&kernel, &unpinned).await.expect("builds");
    assert_eq!(compiled(&second), ["mm/memory.o"]);
    assert!(!bench.steps().contains(&Step::Configure), "nothing that Kconfig reads has changed");
    assert_ne!(second.info.load_digest, first.info.load_digest);

    // Away and back, with the entry gone: the same kernel again.
    fs::remove_dir_all(bench.cache.path(Kind::Kernels, &first.info.key)).expect("is there");
    let again = bench.build(&kernel, &plain).await.expect("builds");
    assert_eq!(compiled(&again), ["mm/memory.o"]);
    assert_eq!(again.info.load_digest, first.info.load_digest);
    assert_eq!(again.info.key, first.info.key);

    // Cached: without a work tree there is nothing that could be made from.
    fs::remove_dir_all(bench.cache.root().join("work")).expect("is there");
    let cached = bench.build(&kernel, &unpinned).await.expect("is there");
    assert!(cached.info.cached);
    assert_eq!(bench.steps(), [Step::Cached]);
    assert!(!bench.cache.root().join("work").exists());
    assert_eq!(cached.info.load_digest, second.info.load_digest);
}

#[tokio::test]
async fn only_a_kernel_without_a_pvh_entry_has_a_boot_image_made() {
    let bench = Bench::new();
    let pvh = bench.build(&bench.kernel(), &bench.variant("plain", &[])).await.expect("builds");
    let entry = pvh.boot.parent().expect("has one");
    assert!(pvh.boot.ends_with("vmlinux") && !entry.join("bzImage").exists());
    assert!(!bench.work().join("obj/arch").exists(), "nothing was made for it");

    let without = ENTRY.split_once("const char").expect("has the note in front").1;
    write(&bench.path("linux/mm/entry.c"), &format!("const char{without}"));
    let plain = bench.build(&bench.kernel(), &bench.variant("plain", &[])).await.expect("builds");
    assert!(!plain.pvh && plain.boot.ends_with("bzImage") && plain.boot.is_file());
    assert!(plain.vmlinux.is_some_and(|vmlinux| vmlinux.is_file()), "for its symbols");
}

#[tokio::test]
async fn files_that_patches_add_go_away_again() {
    let bench = Bench::new();
    let kernel = bench.kernel();
    let both = bench.build(&kernel, &bench.variant("both", &[UNPIN, SWAPOUT])).await.expect("builds");
    assert!(compiled(&both).contains(&"mm/extra.o".to_owned()));
    assert_eq!(both.info.patch_notes, ["both-1.patch: mm/memory.c: hunk 1 succeeded at 9 (offset -2 lines)"]);
    let plain = bench.build(&kernel, &bench.variant("plain", &[])).await.expect("builds");
    assert!(!bench.work().join("src/mm/extra.c").exists());
    assert_eq!(fs::read_to_string(bench.work().join("src/mm/memory.c")).expect("reads"), MEMORY);
    assert_ne!(plain.info.load_digest, both.info.load_digest);
}

#[tokio::test]
async fn a_patch_and_its_reverse_are_two_kernels() {
    let bench = Bench::new();
    let fixed = bench.build(&bench.kernel(), &bench.variant("fixed", &[])).await.expect("builds");
    write(&bench.path("linux/mm/memory.c"), &MEMORY.replace("\tif (pin(entry))\n\t\treturn -1;\n", ""));
    let kernel = bench.kernel();
    let broken = bench.build(&kernel, &bench.variant("broken", &[])).await.expect("builds");
    let back = bench.build(&kernel, &bench.variant("back", &[&format!("REVERSE{UNPIN}")])).await.expect("builds");
    assert_eq!(back.info.load_digest, fixed.info.load_digest);
    assert_ne!(back.info.load_digest, broken.info.load_digest);
}

#[tokio::test]
async fn a_patch_that_does_not_apply_shows_its_reject_and_changes_nothing() {
    let bench = Bench::new();
    let kernel = bench.kernel();
    bench.build(&kernel, &bench.variant("plain", &[])).await.expect("builds");
    let bad = UNPIN.replace("if (pin(entry))", "if (pins(entry))");
    let text = said(bench.build(&kernel, &bench.variant("bad", &[SWAPOUT, &bad])).await);
    assert!(text.contains("bad-1.patch") && text.contains("mm/memory.c: hunk 1 at line 4"), "{text}");
    assert!(text.contains("-\tif (pins(entry))"), "{text}");
    assert_eq!(fs::read_to_string(bench.work().join("src/mm/memory.c")).expect("reads"), MEMORY);
    assert!(!bench.work().join("src/mm/extra.c").exists());
    let twice = said(bench.build(&kernel, &bench.variant("twice", &[UNPIN, UNPIN])).await);
    assert!(twice.contains("is applied to `mm/memory.c` already"), "{twice}");
}

#[tokio::test]
async fn an_option_that_vanishes_is_named_with_its_dependency() {
    let bench = Bench::new();
    let mut kernel = bench.kernel();
    let fragment = bench.path("zram.config");
    write(&fragment, "# compressed swap\nCONFIG_ZRAM=y\n# only newer trees have it # optional\nCONFIG_NEWER=y\n");
    kernel.config.push(ConfigLayer::Fragment(fragment.clone()));
    let plain = bench.variant("plain", &[]);
    let text = said(bench.build(&kernel, &plain).await);
    assert!(text.contains("CONFIG_ZRAM=y") && text.contains("zram.config:2"), "{text}");
    assert!(text.contains("needs `BLOCK`, but BLOCK=n"), "{text}");
    assert!(!text.contains("NEWER"), "{text}");

    write(&fragment, "CONFIG_ZRAM=y\nCONFIG_BLOCK=y\nCONFIG_TYPO=y\n");
    let text = said(bench.build(&kernel, &plain).await);
    assert!(text.contains("CONFIG_TYPO=y") && text.contains("no such option"), "{text}");

    write(&fragment, "CONFIG_BLOCK=y\nCONFIG_ZRAM=m\n");
    let built = bench.build(&kernel, &plain).await.expect("builds");
    let modules = built.modules.expect("an option is =m");
    assert!(modules.ends_with("lib/modules/6.1.0-fake") && modules.join("kernel/fake.ko").is_file());
    assert!(modules.join("build").symlink_metadata().is_err(), "the link into the work tree is gone");
}

#[tokio::test]
async fn a_patch_to_kconfig_does_not_spoil_the_next_variant() {
    let bench = Bench::new();
    let kernel = bench.kernel();
    let plain = bench.variant("plain", &[]);
    let first = bench.build(&kernel, &plain).await.expect("builds");
    let diff =
        "--- a/Kconfig\n+++ b/Kconfig\n@@ -3,3 +3,4 @@\n config SWAP\n \tbool \"Swap\"\n+\tdepends on BLOCK\n \n";
    let text = said(bench.build(&kernel, &bench.variant("kconfig", &[diff])).await);
    assert!(text.contains("needs `BLOCK`"), "{text}");
    fs::remove_dir_all(bench.cache.path(Kind::Kernels, &first.info.key)).expect("is there");
    let again = bench.build(&kernel, &plain).await.expect("builds");
    assert_eq!(again.info.config_sha256, first.info.config_sha256);
}

#[tokio::test]
async fn a_config_file_can_be_the_base() {
    let bench = Bench::new();
    let mut kernel = bench.kernel();
    write(&bench.path("own.config"), "CONFIG_BLOCK=y\nCONFIG_ZRAM=y\n# CONFIG_SWAP is not set\n");
    kernel.base_config = BaseConfig::File(bench.path("own.config"));
    let built = bench.build(&kernel, &bench.variant("plain", &[])).await.expect("builds");
    let config = fs::read_to_string(built.config.expect("has one")).expect("reads");
    assert_eq!(config, "CONFIG_BLOCK=y\nCONFIG_ZRAM=y\nCONFIG_SWAP=y\n");
}

#[tokio::test]
async fn the_first_compiler_error_is_shown_and_the_tree_recovers() {
    let bench = Bench::new();
    let kernel = bench.kernel();
    let broken = UNPIN
        .replace("@@ -4,8 +4,6 @@", "@@ -4,8 +4,7 @@")
        .replace(" \treturn entry + pages;", "+\tundeclared = 1;\n \treturn entry + pages;");
    let error = bench.build(&kernel, &bench.variant("broken", &[&broken])).await.expect_err("does not compile");
    let Error::Make { first, log, .. } = &error else { panic!("make failed: {error}") };
    assert!(first.contains("mm/memory.c:7:") && first.contains("undeclared"), "{first}");
    assert!(!first.contains("make"), "{first}");
    assert!(log.is_file(), "the log can still be read");
    assert!(fs::read_dir(bench.cache.root().join("kernels")).expect("lists").next().is_none(), "no half entry");
    bench.build(&kernel, &bench.variant("plain", &[])).await.expect("builds");
}

#[tokio::test]
async fn a_cancelled_build_leaves_no_process_and_no_entry_and_the_next_one_is_whole() {
    let bench = Bench::new();
    let kernel = bench.kernel();
    let plain = bench.build(&kernel, &bench.variant("plain", &[])).await.expect("builds");
    let slow = format!("{SWAPOUT}+/* TAKES_FOREVER */\n").replace("+1 @@", "+1,2 @@");
    let slow = bench.variant("slow", &[&slow]);
    let waiting = bench.work().join("obj/waiting");
    let (built, ()) = tokio::join!(bench.build(&kernel, &slow), async {
        while !waiting.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bench.cancel.cancel();
    });
    let error = built.expect_err("was cancelled");
    assert!(error.is_interrupted(), "{error}");
    assert_eq!(processes_below(bench.dir.path()), Vec::<String>::new());
    assert_eq!(
        fs::read_dir(bench.cache.root().join("kernels")).expect("lists").count(),
        1,
        "the first one's entry alone"
    );

    let mut bench = bench;
    bench.cancel = tokio_util::sync::CancellationToken::new();
    fs::remove_dir_all(bench.cache.path(Kind::Kernels, &plain.info.key)).expect("is there");
    let again = bench.build(&kernel, &bench.variant("plain", &[])).await.expect("builds");
    assert_eq!(again.info.load_digest, plain.info.load_digest);
}

/// Command lines of the processes whose working folder is below `dir`.
fn processes_below(dir: &Path) -> Vec<String> {
    let pids = fs::read_dir("/proc").expect("lists").filter_map(|entry| Some(entry.ok()?.path()));
    pids.filter(|process| process.join("cwd").read_link().is_ok_and(|cwd| cwd.starts_with(dir)))
        .map(|process| fs::read_to_string(process.join("cmdline")).unwrap_or_default())
        .collect()
}

#[tokio::test]
async fn a_build_that_was_killed_is_repaired() {
    let bench = Bench::new();
    let kernel = bench.kernel();
    let plain = bench.build(&kernel, &bench.variant("plain", &[])).await.expect("builds");
    // As a kill -9 in the middle of compiling memory.c leaves it: an object newer than its source and its record.
    let state = bench.work().join("state.json");
    let text = fs::read_to_string(&state).expect("reads");
    fs::write(&state, text.replace("\"building\":false", "\"building\":true")).expect("writes");
    fs::write(bench.work().join("obj/mm/memory.o"), "half an obj").expect("writes");
    fs::remove_dir_all(bench.cache.path(Kind::Kernels, &plain.info.key)).expect("is there");
    let again = bench.build(&kernel, &bench.variant("plain", &[])).await.expect("builds");
    assert_eq!(compiled(&again), ["mm/memory.o"]);
    assert_eq!(again.info.load_digest, plain.info.load_digest);
}

#[tokio::test]
async fn two_at_once_build_one_after_the_other_from_one_tree() {
    let bench = Bench::new();
    let kernel = bench.kernel();
    let (one, two) = (bench.variant("one", &[UNPIN]), bench.variant("two", &[SWAPOUT]));
    let (first, second) = tokio::join!(bench.build(&kernel, &one), bench.build(&kernel, &two));
    let (first, second) = (first.expect("builds"), second.expect("builds"));
    assert_ne!(first.info.load_digest, second.info.load_digest);
    bench.work();
}

#[tokio::test]
async fn a_build_can_be_spawned() {
    let bench = Bench::new();
    let task = tokio::spawn(async move {
        let kernel = bench.kernel();
        bench.build(&kernel, &bench.variant("plain", &[])).await.map(|kernel| kernel.info.release)
    });
    assert_eq!(task.await.expect("no panic").expect("builds"), "6.1.0-fake");
}
