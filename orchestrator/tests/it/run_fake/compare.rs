//! `twinboot compare` on a git repository of a small tree, from the command line to the verdict.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::house::{HONEST, House, expect, no_guest};
use crate::kernel_fake::{ENTRY, photograph, sh, tree, write};

const QUICK: &str = "name: quick
kernels: [{name: linux, source: {dir: /}}]
variants: [{name: unpatched, expect: corrupt}]
guest: {cpus: 1, memory: 128M, clone: cold}
tests:
  - {name: race, run: race, rounds: 3, stop: {alpha: 0.1}}
";

/// A house with a data folder of its own, and a repository in which `HEAD` fixes what its parent has.
struct Desk {
    house: House,
}

impl Desk {
    fn new() -> Self {
        let house = House::new(&[("unused", "", "expect: corrupt")], HONEST, 1, "");
        for name in ["base", "swap", "preempt", "symbols"] {
            write(&house.file(&format!("data/kernels/config/{name}.config")), "CONFIG_SWAP=y\n");
        }
        write(&house.file("data/plans/quick.yaml"), QUICK);
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("images");
        write(
            &house.file("data/images/default.yaml"),
            &fs::read_to_string(images.join("default.yaml")).expect("is there"),
        );
        let linux = house.file("linux");
        tree(&linux);
        write(&linux.join("mm/entry.c"), &entry("corrupt"));
        sh(
            &linux,
            "git init -q -b main . && git config user.name t && git config user.email t@example.org && git add . \
             && git commit -qm 'the tree'",
        );
        write(&linux.join("mm/entry.c"), &entry("clean"));
        sh(&linux, "git commit -qam 'mm: fix it'");
        Self { house }
    }

    fn linux(&self) -> PathBuf {
        self.house.file("linux")
    }

    fn compare(&self, args: &[&str]) -> Command {
        let all = [&["compare", "--accel", "tcg", "--seed", "1"], args].concat();
        self.house.twinboot_with(&all, &self.house.file("data"))
    }

    fn plan_of(&self, args: &[&str]) -> String {
        let output = self.compare(&[args, &["--dry-run"]].concat()).output().expect("twinboot starts");
        expect(&output, 0);
        String::from_utf8(output.stdout).expect("is text")
    }

    fn refusal(&self, args: &[&str]) -> String {
        let output = self.compare(args).output().expect("twinboot starts");
        expect(&output, 2);
        assert!(!self.house.file("results").exists(), "nothing is left of what was refused");
        String::from_utf8(output.stderr).expect("is text")
    }
}

/// The tree's entry, with the wishes of the fake QEMU in its banner.
fn entry(kernel: &str) -> String {
    ENTRY.replace("6.1.0-fake ", &format!("6.1.0-fake fake.ssh=guest fake.kernel={kernel} "))
}

/// What stands before the first empty line.
fn lead(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).split("\n\n").next().unwrap_or_default().replace('\n', " ")
}

#[test]
fn the_fix_at_head_is_fixed_and_the_plan_says_the_same() {
    if no_guest() {
        return;
    }
    let desk = Desk::new();
    let before = photograph(&desk.linux());
    let output = desk.compare(&["--tree", "linux", "HEAD~1..HEAD", "--out", "out"]).output().expect("twinboot starts");
    expect(&output, 0);
    assert!(lead(&output).contains("-> fixed"), "the verdict leads: {}", lead(&output));
    let summary = desk.house.seen().summary;
    assert_eq!(summary["comparisons"][0]["verdict"], "fixed");
    assert!(photograph(&desk.linux()) == before, "the repository is as it was");

    let again = ["run", "out/plan/plan.yaml", "--accel", "tcg", "--out", "again"];
    let output = desk.house.twinboot_with(&again, &desk.house.file("data")).output().expect("twinboot starts");
    expect(&output, 0);

    let output = desk.compare(&["--tree", "linux", "--revert", "HEAD"]).output().expect("twinboot starts");
    expect(&output, 0);
    assert!(lead(&output).contains("-> fixed"), "{}", lead(&output));
    assert!(desk.house.file("results/latest/plan/plan.yaml").is_file());

    let patch = sh(&desk.linux(), "git format-patch -1 --stdout HEAD") + "\n";
    fs::write(desk.house.file("fix.mbox"), patch).expect("writes");
    let mut command = desk.compare(&["--tree", "linux", "HEAD~1", "--patch", "-"]);
    command.stdin(Stdio::from(fs::File::open(desk.house.file("fix.mbox")).expect("is there")));
    let output = command.output().expect("twinboot starts");
    expect(&output, 0);
    assert!(lead(&output).contains("-> fixed"), "{}", lead(&output));
}

#[test]
fn the_plan_names_commits_and_brings_its_patches() {
    let desk = Desk::new();
    let commit = |rev: &str| sh(&desk.linux(), &format!("git rev-parse {rev}"));
    let plan = desk.plan_of(&["--tree", "linux", "HEAD~1..HEAD"]);
    assert!(plan.contains(&commit("HEAD")) && plan.contains(&commit("HEAD~1")), "{plan}");
    write(&desk.linux().join("mm/entry.c"), &entry("other"));
    let plan = desk.plan_of(&["--tree", "linux", "HEAD~1..@"]);
    assert!(plan.contains("uncommitted.patch") && plan.contains(&format!("rev: {}", commit("HEAD"))), "{plan}");
    let plan = desk.plan_of(&["--tree", "linux"]);
    assert!(plan.contains("uncommitted.patch") && !plan.contains(&commit("HEAD~1")), "{plan}");
    write(&desk.house.file("own.config"), "CONFIG_BLOCK=y\n");
    write(&desk.house.file("whole.config"), "# Automatically generated file; DO NOT EDIT.\nCONFIG_BLOCK=y\n");
    write(&desk.house.file("race.txt"), "victim  interferer\n------  ----------\nread page  .\n");
    let more = ["--config", "own.config", "--config", "whole.config", "--config", "swap", "--interleave", "race.txt"];
    let plan = desk.plan_of(&[&["--kernel", "debian:linux-source-6.1", "--patch", "race.txt"], &more[..]].concat());
    let own = desk.plan_of(&["--tree", "linux", "HEAD~1..HEAD", "--program", "race.txt"]);
    let file = desk.house.file("race.txt");
    assert!(own.contains(&format!("program: {}", file.display())) && !own.contains("run: race"), "{own}");
    assert!(!own.contains("still_running"), "{own}");
    let endless = desk.plan_of(&["--tree", "linux", "HEAD~1..HEAD", "--program", "race.txt", "--endless"]);
    assert!(endless.contains("still_running: clean"), "{endless}");
    for words in ["debian: linux-source-6.1", "- ./own.config", "base_config: ./whole.config", "read page", "race.txt"]
    {
        assert!(plan.contains(words), "{words}: {plan}");
    }
}

#[test]
fn what_cannot_be_compared_is_refused_with_what_to_do() {
    let desk = Desk::new();
    for (args, words) in [
        (&["--tree", "linux"][..], "nothing to compare"),
        (&["--tree", "linux", "HEAD..HEAD"], "nothing to compare"),
        (&["--tree", "linux", "HEAD~1...HEAD"], "BASE..PATCHED"),
        (&["--tree", "linux", "HEAD"], "BASE..PATCHED"),
        (&["--tree", "linux", "HEAD..nowhere"], "nowhere"),
        (&["--tree", "data", "a..b"], "no git repository"),
        (&["--tree", "linux", "HEAD~1..HEAD", "--patch", "x.patch"], "not a range"),
        (&["--tree", "linux", "HEAD", "--patch", "x.patch"], "x.patch"),
        (&["--tree", "linux", "HEAD", "--patch", "https://example.org/raw"], "not fetched"),
        (&["--tree", "linux", "HEAD", "--patch", "-"], "standard input"),
        (&["--tree", "linux", "HEAD~1..HEAD", "--test", "rcae"], "did you mean"),
        (&["--tree", "linux", "--revert", "HEAD~1"], "no parent"),
        (&["--kernel", "tar:x", "--patch", "data"], "no kernel"),
    ] {
        let said = desk.refusal(args);
        assert!(said.contains(words), "{args:?}: {said}");
    }
}
