//! `twinboot clean` and the caches that it, and every other command, lets alone.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn twinboot(cache: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinboot"));
    command.env_clear().env("PATH", "/usr/bin:/bin").args(args).arg("--cache-dir").arg(cache);
    command.output().expect("twinboot starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Somebody's home, with everything in it from long ago.
fn home() -> TempDir {
    let dir = tempfile::tempdir().expect("a scratch folder");
    for file in ["Documents/thesis.tex", ".ssh/id_ed25519", "work/notes", ".bashrc"] {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().expect("has one")).expect("makes");
        fs::write(&path, b"mine").expect("writes");
        let long_ago = SystemTime::now() - Duration::from_secs(400 * 24 * 3600);
        fs::File::open(path).and_then(|file| file.set_modified(long_ago)).expect("sets the time");
    }
    dir
}

#[test]
fn no_command_takes_a_folder_that_is_no_cache() {
    let home = home();
    let plan = home.path().join("work/plan.yaml");
    fs::write(
        &plan,
        "name: p\nkernels:\n  - {name: k, source: {image: {kernel: notes}}}\nvariants:\n  - {name: v, expect: corrupt}\n\
         tests:\n  - {name: t, run: swap-race, rounds: 1}\n",
    )
    .expect("writes");
    let plan = plan.to_str().expect("is text");
    for args in [&["clean"][..], &["clean", "--all"], &["clean", "--older-than", "0"], &["doctor"], &["build", plan]] {
        let output = twinboot(home.path(), args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains("is no cache of twinboot's") && said.contains("--cache-dir"), "{args:?}: {said}");
    }
    for file in ["Documents/thesis.tex", ".ssh/id_ed25519", "work/notes", ".bashrc"] {
        assert_eq!(fs::read(home.path().join(file)).expect("is there"), b"mine");
    }
    assert_eq!(fs::read_dir(home.path()).expect("lists").count(), 4, "nothing was put there either");
}

#[test]
fn clean_says_what_it_removed_and_what_it_left_alone() {
    let home = home();
    let cache = home.path().join("cache");
    assert_eq!(text(&twinboot(&cache, &["clean"]).stderr), "");
    assert!(fs::read_to_string(cache.join("CACHEDIR.TAG")).expect("a tag").starts_with("Signature: 8a477f59"));

    let entry = cache.join("kernels").join(KEY);
    fs::create_dir_all(entry.join("modules")).expect("makes");
    fs::write(entry.join("vmlinux"), b"ELF").expect("writes");
    std::os::unix::fs::symlink(home.path(), entry.join("modules/build")).expect("links");
    std::os::unix::fs::symlink(home.path().join("Documents"), cache.join("sources")).expect("links");
    fs::write(cache.join("kernels/README"), b"mine").expect("writes");
    let output = twinboot(&cache, &["clean", "--all"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains(&format!("removed kernels/{KEY} (")), "{said}");
    assert!(said.contains("left alone kernels/README: twinboot did not put it there"), "{said}");
    assert!(said.contains("left alone sources: it is a link or no folder"), "{said}");
    assert!(!entry.exists());
    for file in ["Documents/thesis.tex", ".ssh/id_ed25519", "work/notes", ".bashrc", "cache/kernels/README"] {
        assert_eq!(fs::read(home.path().join(file)).expect("is there"), b"mine");
    }
}
