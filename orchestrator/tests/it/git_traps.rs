//! Repositories that would have git run something: no command of twinboot lets them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::kernel_fake::{Bench, MEMORY, UNPIN, kernel_of, said, sh, write};
use twinboot::build::{backports, source_identity};
use twinboot::plan::model::{Kernel, Location, Source};
use twinboot::plan::roots::Roots;

/// Commits the tree with attributes that ask for every kind of program, and defines those programs in the repository's own
/// configuration. Each leaves a file behind if it runs.
fn trapped(bench: &Bench) -> std::path::PathBuf {
    let dir = bench.path("linux");
    write(&dir.join(".gitattributes"), "* filter=trap diff=trap ident\n*.c text eol=crlf\n");
    sh(
        &dir,
        "git init -q -b main . && git config user.name t && git config user.email t@example.org && git add . \
         && git commit -qm first && git tag v1",
    );
    let trap = bench.path("trap");
    write(&trap, &format!("#!/bin/sh\ntouch '{}'\ncat\n", bench.path("sprung").display()));
    fs::set_permissions(&trap, fs::Permissions::from_mode(0o755)).expect("is ours");
    let hooks = bench.path("hooks");
    for hook in ["post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc", "post-merge"] {
        write(&hooks.join(hook), &fs::read_to_string(&trap).expect("reads"));
        fs::set_permissions(hooks.join(hook), fs::Permissions::from_mode(0o755)).expect("is ours");
    }
    let run = trap.display().to_string();
    let included = bench.path("included");
    write(&included, &format!("[filter \"trap\"]\n\tclean = {run}\n\tsmudge = {run}\n"));
    for (key, value) in [
        ("include.path", included.display().to_string()),
        ("filter.trap.process", run.clone()),
        ("filter.trap.required", "true".to_owned()),
        ("diff.trap.command", run.clone()),
        ("diff.trap.textconv", run.clone()),
        ("diff.external", run.clone()),
        ("core.fsmonitor", run.clone()),
        ("core.hooksPath", hooks.display().to_string()),
        ("core.sshCommand", run.clone()),
        ("core.gitProxy", run.clone()),
        ("core.askPass", run.clone()),
        ("core.pager", run.clone()),
        ("core.editor", run.clone()),
        ("core.alternateRefsCommand", run.clone()),
        ("pager.diff", run.clone()),
        ("credential.helper", format!("!{run}")),
        ("uploadpack.packObjectsHook", run.clone()),
        ("gpg.program", run.clone()),
        ("alias.rev-parse", format!("!{run}")),
        ("remote.origin.url", "ssh://trap.invalid/linux".to_owned()),
        ("remote.origin.promisor", "true".to_owned()),
        ("remote.origin.uploadpack", run.clone()),
        ("extensions.partialClone", "origin".to_owned()),
        ("core.autocrlf", "true".to_owned()),
    ] {
        sh(&dir, &format!("git config '{key}' '{value}'"));
    }
    sh(&dir, "git config core.repositoryformatversion 1");
    // A file that differs from the index by its time alone has to be compared, which is what a clean filter is for.
    let now = fs::read(dir.join("mm/memory.c")).expect("reads");
    fs::remove_file(dir.join("mm/memory.c")).expect("is there");
    write(&dir.join("mm/memory.c"), std::str::from_utf8(&now).expect("is text"));
    let _ = fs::remove_file(bench.path("sprung"));
    dir
}

fn assert_quiet(bench: &Bench, what: &str) {
    assert!(!bench.path("sprung").exists(), "{what} has run a program that the repository names");
}

async fn all_ways(bench: &Bench, kernel: &Kernel, what: &str) {
    let plain = bench.variant("plain", &[]);
    let unpinned = bench.variant("unpinned", &[UNPIN]);
    source_identity(&kernel.source, true, &bench.cache, &|_| {}, &bench.cancel).await.expect("has an identity");
    assert_quiet(bench, &format!("the identity of {what}"));
    let source = match &kernel.source {
        Source::Git { rev, .. } => format!("{{git: {{path: linux, rev: {rev}}}}}"),
        _ => "{dir: linux}".to_owned(),
    };
    let text = format!(
        "name: p\nkernels:\n- {{name: linux-6.1, source: {source}}}\nvariants:\n\
         - {{name: v, patches: [unpinned-0.patch], expect: corrupt}}\ntests: [{{name: t, run: r}}]\n"
    );
    for folder in ["kernels/config", "images"] {
        fs::create_dir_all(bench.path(folder)).expect("makes folders");
    }
    write(&bench.path("images/default.yaml"), "");
    let read = twinboot::plan::parse(&text, &bench.path("p.yaml"), &Roots::new(bench.path(""))).expect("is a plan");
    backports(&read, true, &bench.cache, &|_, _| {}, &bench.cancel).await.expect("is not interrupted");
    assert_quiet(bench, &format!("the backport map of {what}"));
    bench.build(kernel, &plain).await.expect("builds");
    assert_quiet(bench, &format!("the build of {what}"));
    bench.build(kernel, &unpinned).await.expect("builds");
    assert_quiet(bench, &format!("the patched build of {what}"));
}

#[tokio::test]
async fn neither_a_tree_nor_a_revision_of_it_runs_anything() {
    let bench = Bench::new();
    let dir = trapped(&bench);
    all_ways(&bench, &kernel_of(Source::Dir(dir.clone())), "a folder").await;
    let at = kernel_of(Source::Git { location: Location::Path(dir.clone()), rev: "v1".to_owned() });
    all_ways(&bench, &at, "a revision").await;
    // The trap does work: git itself falls into it.
    sh(&dir, "git diff --stat HEAD || true");
    assert!(bench.path("sprung").exists(), "the trap is no trap");
}

#[tokio::test]
async fn blobs_are_taken_as_they_are() {
    let bench = Bench::new();
    let dir = trapped(&bench);
    let at = kernel_of(Source::Git { location: Location::Path(dir), rev: "v1".to_owned() });
    bench.build(&at, &bench.variant("plain", &[])).await.expect("builds");
    assert_eq!(fs::read_to_string(bench.work().join("src/mm/memory.c")).expect("reads"), MEMORY);
}

/// A commit whose objects are missing is asked of nobody.
#[tokio::test]
async fn a_partial_clone_fetches_nothing_by_itself() {
    let bench = Bench::new();
    let dir = trapped(&bench);
    let blob = sh(&dir, "git rev-parse HEAD:mm/memory.c");
    fs::remove_file(dir.join(".git/objects").join(&blob[..2]).join(&blob[2..])).expect("is loose");
    let at = |rev: &str| kernel_of(Source::Git { location: Location::Path(dir.clone()), rev: rev.to_owned() });
    let plain = bench.variant("plain", &[]);
    said(bench.build(&at("v1"), &plain).await);
    assert_quiet(&bench, "a missing blob");
    said(bench.build(&at(&"1".repeat(40)), &plain).await);
    assert_quiet(&bench, "a missing commit");
}

#[tokio::test]
async fn a_repository_that_cannot_be_read_is_explained() {
    let bench = Bench::new();
    let dir = bench.path("linux");
    sh(
        &dir,
        "git init -q -b main . && git config user.name t && git config user.email t@example.org && git add . \
         && git commit -qm first && git tag old && echo >> mm/memory.c && git commit -qam second",
    );
    let plain = bench.variant("plain", &[]);
    let text = async |path: &Path, rev: &str| {
        let source = Source::Git { location: Location::Path(path.to_path_buf()), rev: rev.to_owned() };
        said(bench.build(&kernel_of(source), &plain).await)
    };
    sh(bench.dir.path(), &format!("git clone -q --depth=1 --no-tags 'file://{}' shallow", dir.display()));
    let shallow = text(&bench.path("shallow"), "old").await;
    assert!(shallow.contains("shallow") && shallow.contains("--unshallow"), "{shallow}");
    let inner = text(&dir.join("mm"), "main").await;
    assert!(inner.contains("no git repository in this folder"), "{inner}");

    let tree = async |path: &Path| said(bench.build(&kernel_of(Source::Dir(path.to_path_buf())), &plain).await);
    sh(&dir, &format!("git worktree add -q '{}'", bench.path("alone").display()));
    fs::rename(&dir, bench.path("moved")).expect("moves");
    let alone = tree(&bench.path("alone")).await;
    assert!(alone.contains("repository that is not here"), "{alone}");
    sh(&bench.path("moved"), "git worktree prune; git sparse-checkout set --cone kernel 2>/dev/null");
    let sparse = tree(&bench.path("moved")).await;
    assert!(sparse.contains("sparse"), "{sparse}");
}

#[tokio::test]
async fn a_tag_that_moved_is_seen() {
    let bench = Bench::new();
    let dir = bench.path("linux");
    sh(
        &dir,
        "git init -q -b main . && git config user.name t && git config user.email t@example.org && git add . \
         && git commit -qm first && git tag -am one for-linus",
    );
    let at = kernel_of(Source::Git {
        location: Location::Url(format!("file://{}", dir.display())),
        rev: "for-linus".to_owned(),
    });
    let plain = bench.variant("plain", &[]);
    let first = bench.build(&at, &plain).await.expect("builds");
    write(&dir.join("mm/memory.c"), &MEMORY.replace("entry + pages", "entry + 3 * pages"));
    sh(&dir, "git commit -qam second && git tag -fam two for-linus");
    let second = bench.build(&at, &plain).await.expect("builds");
    assert_ne!(first.info.load_digest, second.info.load_digest);
}
