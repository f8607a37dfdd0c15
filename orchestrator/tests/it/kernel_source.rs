//! Where trees come from: what is taken is what was named, and what belongs to the user stays as it is.

use std::fs;
use std::path::Path;

use crate::kernel_fake::{Bench, MEMORY, UNPIN, compiled, kernel_of, photograph, said, sh, write};
use twinboot::build::Step;
use twinboot::plan::model::{Location, Source};

fn repository(dir: &Path) {
    sh(
        dir,
        "git init -q -b main . && git config user.name t && git config user.email t@example.org \
         && printf '*.o\\n.config\\n' > .gitignore && git add . && git commit -qm first && git tag v1",
    );
}

fn second_commit(dir: &Path) {
    write(&dir.join("mm/memory.c"), &MEMORY.replace("entry + pages", "entry + 3 * pages"));
    sh(dir, "git commit -qam second");
}

#[tokio::test]
async fn a_git_revision_is_exported_and_the_repository_left_untouched() {
    let bench = Bench::new();
    let dir = bench.path("linux");
    repository(&dir);
    second_commit(&dir);
    write(&dir.join("mm/memory.c"), "int uncommitted;\n");
    let before = photograph(&dir);

    let at = |rev: &str| kernel_of(Source::Git { location: Location::Path(dir.clone()), rev: rev.to_owned() });
    let plain = bench.variant("plain", &[]);
    let first = bench.build(&at("v1"), &plain).await.expect("builds");
    assert_eq!(fs::read_to_string(bench.work().join("src/mm/memory.c")).expect("reads"), MEMORY);
    assert!(first.source.starts_with("v1 (commit "), "{}", first.source);
    let second = bench.build(&at("main"), &plain).await.expect("builds");
    assert_ne!(second.info.load_digest, first.info.load_digest);
    let id = sh(&dir, "git rev-parse v1");
    assert!(bench.build(&at(&id), &plain).await.expect("is there").info.cached, "a tag is the commit it names");
    let text = said(bench.build(&at("v9"), &plain).await);
    assert!(text.contains("revision `v9`"), "{text}");

    assert_eq!(photograph(&dir), before);
    assert_eq!(sh(&dir, "git worktree list | wc -l"), "1");
}

#[tokio::test]
async fn a_git_url_is_mirrored_and_a_tag_needs_it_once() {
    let bench = Bench::new();
    let dir = bench.path("linux");
    repository(&dir);
    let url = format!("file://{}", dir.display());
    let at = |rev: &str| kernel_of(Source::Git { location: Location::Url(url.clone()), rev: rev.to_owned() });
    let plain = bench.variant("plain", &[]);
    let tagged = bench.build(&at("v1"), &plain).await.expect("builds");
    second_commit(&dir);
    let branch = bench.build(&at("main"), &plain).await.expect("builds");
    assert_ne!(branch.info.load_digest, tagged.info.load_digest, "a branch is asked for each time");
    let id = sh(&dir, "git rev-parse main");
    assert!(bench.build(&at(&id), &plain).await.expect("is there").info.cached);

    fs::rename(&dir, bench.path("gone")).expect("moves");
    assert!(bench.build(&at("v1"), &plain).await.expect("is there").info.cached);
    assert!(bench.build(&at(&id), &plain).await.expect("is there").info.cached);
    assert_eq!(bench.steps(), [Step::Cached]);
    let text = said(bench.build(&at("main"), &plain).await);
    assert!(text.contains("revision `main`"), "{text}");
}

#[tokio::test]
async fn a_folder_is_taken_as_it_stands_and_never_written_to() {
    let bench = Bench::new();
    let dir = bench.path("linux");
    repository(&dir);
    write(&dir.join("mm/pin.c"), "#include \"mm.h\"\nint pin(int entry) { return entry == 8; }\n");
    write(&dir.join("mm/untracked.c"), "int untracked(void) { return 1; }\n");
    // The remains of a build inside the tree are ignored by git and no part of it.
    write(&dir.join(".config"), "CONFIG_SWAP=m\n");
    write(&dir.join("mm/memory.o"), "old object");
    let before = photograph(&dir);
    let kernel = bench.kernel();
    let built = bench.build(&kernel, &bench.variant("unpinned", &[UNPIN])).await.expect("builds");
    assert!(compiled(&built).contains(&"mm/untracked.o".to_owned()));
    let src = bench.work().join("src");
    assert!(fs::read_to_string(src.join("mm/pin.c")).expect("reads").contains("== 8"));
    assert!(!src.join(".config").exists() && !src.join("mm/memory.o").exists());
    assert_eq!(photograph(&dir), before);

    sh(&dir, "git stash -q --include-untracked && git stash drop -q");
    let clean = bench.build(&kernel, &bench.variant("plain", &[])).await.expect("builds");
    assert_ne!(clean.info.load_digest, built.info.load_digest);
    assert!(!compiled(&clean).contains(&"mm/untracked.o".to_owned()));
}

#[tokio::test]
async fn a_folder_without_git_works_too_unless_it_was_built_in() {
    let bench = Bench::new();
    let dir = bench.path("linux");
    let before = photograph(&dir);
    let plain = bench.variant("plain", &[]);
    bench.build(&bench.kernel(), &plain).await.expect("builds");
    assert!(bench.build(&bench.kernel(), &plain).await.expect("is there").info.cached);
    assert_eq!(photograph(&dir), before);
    write(&dir.join(".config"), "CONFIG_SWAP=y\n");
    let text = said(bench.build(&bench.kernel(), &plain).await);
    assert!(text.contains("mrproper"), "{text}");
}

#[tokio::test]
async fn an_archive_is_checked_before_it_is_unpacked() {
    let bench = Bench::new();
    sh(bench.dir.path(), "tar -cJf linux.tar.xz linux");
    let archive = bench.path("linux.tar.xz");
    let sha256 = sh(bench.dir.path(), "sha256sum linux.tar.xz").split(' ').next().expect("has one").to_owned();
    let url = Location::Url(format!("file://{}", archive.display()));
    let plain = bench.variant("plain", &[]);
    let of = |location: &Location, sha256: &str| {
        kernel_of(Source::Tarball { location: location.clone(), sha256: sha256.to_owned() })
    };

    let wrong = "0".repeat(64);
    for location in [&Location::Path(archive.clone()), &url] {
        let text = said(bench.build(&of(location, &wrong), &plain).await);
        assert!(text.contains(&wrong) && text.contains(&sha256), "both hashes are shown: {text}");
        for kind in ["kernels", "sources"] {
            let left = fs::read_dir(bench.cache.root().join(kind)).map_or(0, Iterator::count);
            assert_eq!(left, 0, "nothing is cached under {kind}");
        }
        assert!(!bench.work().join("src").exists(), "nothing was unpacked");
    }
    let from_url = bench.build(&of(&url, &sha256), &plain).await.expect("builds");
    fs::remove_file(&archive).expect("is there");
    let cached = bench.build(&of(&Location::Path(archive), &sha256), &plain).await.expect("is there");
    assert_eq!(cached.info.key, from_url.info.key, "the same bytes are the same kernel, wherever they lie");
    assert!(cached.info.cached);
}

#[tokio::test]
async fn a_ready_kernel_is_taken_with_what_it_says_of_itself() {
    let bench = Bench::new();
    let plain = bench.variant("plain", &[]);
    let built = bench.build(&bench.kernel(), &plain).await.expect("builds");
    let image =
        |kernel: &Path| Source::Image { kernel: kernel.to_path_buf(), modules: None, config: built.config.clone() };
    let ready = bench.build(&kernel_of(image(&built.boot)), &plain).await.expect("is a kernel");
    assert!(ready.pvh && ready.boot == built.boot);
    assert_eq!(ready.info.release, "6.1.0-fake");
    assert_eq!(ready.info.load_digest, built.info.load_digest);
    assert_eq!(ready.info.config_sha256, built.info.config_sha256);

    let text = said(bench.build(&kernel_of(image(&built.boot)), &bench.variant("patched", &[UNPIN])).await);
    assert!(text.contains("cannot be patched"), "{text}");
    let text = said(bench.build(&kernel_of(image(&bench.path("linux/Makefile"))), &plain).await);
    assert!(text.contains("neither a bzImage nor a vmlinux"), "{text}");
}
