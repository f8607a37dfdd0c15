//! The lock file: what it pins, what it refuses, and that it reads back what was written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proptest::prelude::*;
use twinboot::plan;
use twinboot::plan::lock::{Lock, LockFile, LockedKernel};

const PATCH: &str = "--- a/mm/memory.c\n+++ b/mm/memory.c\n@@ -1 +1 @@\n-one\n+two\n";

struct House(tempfile::TempDir);

impl House {
    fn new() -> Self {
        let house = Self(tempfile::tempdir().expect("a scratch folder"));
        for folder in ["kernels/config", "kernels/patches/6.1", "images", "plans/tree", "cache"] {
            fs::create_dir_all(house.path(folder)).expect("makes folders");
        }
        for (name, text) in [
            ("kernels/config/base.config", "CONFIG_SWAP=y\n"),
            ("kernels/patches/6.1/unpin.patch", PATCH),
            ("plans/own.patch", PATCH),
            ("images/default.yaml", "init: init\n"),
            ("plans/tree/Makefile", "all:\n"),
            ("plans/tree/Kconfig", ""),
            (
                "plans/p.yaml",
                "name: p\nkernels: [{name: linux-6.1, source: {dir: tree}, config: [base]}]\n\
                 variants:\n- {name: bad, patches: [unpin.patch], expect: corrupt}\n- {name: good, patches: [own.patch, unpin.patch], expect: clean}\n\
                 tests: [{name: t, run: r}]\n",
            ),
        ] {
            house.write(name, text);
        }
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("writes");
    }

    fn twinboot(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinboot"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.arg("--cache-dir").arg(self.path("cache")).args(["plan"]).args(args).arg(self.path("plans/p.yaml"));
        command.output().expect("starts")
    }

    fn locked(&self) -> String {
        let done = self.twinboot(&["lock"]);
        assert!(done.status.success(), "{done:?}");
        fs::read_to_string(self.path("plans/p.lock.yaml")).expect("was written")
    }

    /// What `plan check` finds wrong.
    fn refusal(&self) -> String {
        let output = self.twinboot(&["check"]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

#[test]
fn every_source_and_file_is_pinned_and_then_checked() {
    let house = House::new();
    let text = house.locked();
    for name in ["'linux-6.1'", "'kernels/config/base.config'", "'kernels/patches/6.1/unpin.patch'", "'./own.patch'"] {
        assert!(text.contains(name), "{name}: {text}");
    }
    let again = house.twinboot(&["lock"]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("holds"), "{again:?}");
    assert!(house.twinboot(&["check"]).status.success());
    let plan = plan::load(&house.path("plans/p.yaml"), None).expect("loads");
    assert!(plan.kernels[0].locked.as_ref().is_some_and(|locked| text.contains(&locked.identity)));

    house.write("plans/own.patch", &PATCH.replace("two", "three"));
    let told = house.refusal();
    assert!(told.contains("./own.patch was changed") && told.contains("lock --update"), "{told}");
    assert!(house.twinboot(&["lock", "--update"]).status.success());
    assert!(house.twinboot(&["check"]).status.success());
}

#[test]
fn a_lock_that_does_not_fit_the_plan_is_refused() {
    let house = House::new();
    house.locked();
    let plan = fs::read_to_string(house.path("plans/p.yaml")).expect("reads");
    for (what, by, told) in [
        ("{dir: tree}", "{dir: ../kernels}", "is locked as"),
        ("name: linux-6.1", "name: other", "'other' is not in the lock"),
        ("name: linux-6.1", "name: other", "has no kernel 'linux-6.1'"),
        (", config: [base]", "", "no longer uses kernels/config/base.config"),
        ("[own.patch, unpin.patch]", "[own.patch, p.yaml]", "./p.yaml is used and not in the lock"),
    ] {
        assert!(plan.contains(what), "{what}");
        house.write("plans/p.yaml", &plan.replace(what, by).replace("name: other,", "name: other, series: '6.1',"));
        let refusal = house.refusal();
        assert!(refusal.contains(told) && refusal.contains("p.lock.yaml"), "{told}: {refusal}");
    }
}

#[test]
fn a_source_that_has_changed_is_not_built() {
    let house = House::new();
    house.locked();
    house.write("plans/tree/Makefile", "all: other\n");
    let done = house.twinboot(&["lock"]);
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(3), "{told}");
    assert!(told.contains("is not what") && told.contains("locked dir ") && told.contains("found  dir "), "{told}");
    let show = house.twinboot(&["show"]);
    assert!(String::from_utf8_lossy(&show.stdout).contains("not known: "), "{show:?}");
}

#[test]
fn the_form_is_checked() {
    let house = House::new();
    let good = house.locked();
    for (what, by, told) in [
        ("format: 1", "format: 9", "format 9"),
        ("format: 1\n", "", "missing key `format`"),
        ("identity: 'dir ", "identity: 'dor ", "no identity"),
        ("identity:", "idenity:", "unknown key"),
    ] {
        house.write("plans/p.lock.yaml", &good.replacen(what, by, 1));
        let refusal = house.refusal();
        assert!(refusal.contains(told), "{told}: {refusal}");
    }
    let cut = good.rfind('\'').expect("a hash");
    house.write("plans/p.lock.yaml", &format!("{}'\n", &good[..cut - 1]));
    assert!(house.refusal().contains("64 hex digits"));
}

#[test]
fn a_version_that_only_the_lock_knows_answers_conditions() {
    let data = House::new();
    let text = "name: p\nkernels: [{name: k, source: {debian: linux-source-6.1}}]\n\
                variants: [{name: v, expect: corrupt}, {name: w, when: '>=6.1.80', patches: [own.patch], expect: clean}]\ntests: [{name: t, run: r}]\n";
    let path = data.path("plans/p.yaml");
    let roots = plan::roots::Roots::new(data.path(""));
    let unlocked = plan::parse(text, &path, &roots).expect_err("6.1 may be 6.1.1").to_string();
    assert!(unlocked.contains("only known to be a 6.1") && unlocked.contains("plan lock"), "{unlocked}");
    let lock = |version: &str| {
        let kernel = LockedKernel {
            source: "debian linux-source-6.1".to_owned(),
            version: Some(version.to_owned()),
            identity: format!("sha256 {}", "a".repeat(64)),
        };
        let lock = Lock { kernels: [("k".to_owned(), kernel)].into(), ..Lock::default() }.with_format();
        LockFile::parse(&lock.text(), Path::new("p.lock.yaml")).expect("has the form")
    };
    let variants = |version: &str| {
        plan::parse_locked(text, &path, &roots, Some(&lock(version))).expect("is right").kernels[0].variants.len()
    };
    assert_eq!((variants("6.1.192-2"), variants("6.1.79-1")), (2, 1));
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        kernels in proptest::collection::btree_map("[A-Za-z0-9][A-Za-z0-9._+-]{0,8}", ("\\PC{1,30}", proptest::option::of("[0-9a-z.:~+-]{1,12}"), "[0-9a-f]{40,64}"), 0..4),
        files in proptest::collection::btree_map("[ -~]{1,30}", "[0-9a-f]{64}", 0..4),
    ) {
        let kernels: BTreeMap<String, LockedKernel> = kernels
            .into_iter()
            .map(|(name, (source, version, digest))| (name, LockedKernel { source, version, identity: format!("git {digest}") }))
            .collect();
        let lock = Lock { kernels, files, ..Lock::default() }.with_format();
        let read = LockFile::parse(&lock.text(), Path::new("p.lock.yaml")).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(read.lock(), &lock);
    }
}
