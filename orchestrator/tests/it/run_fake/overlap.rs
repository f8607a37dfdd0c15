//! Two kernels: one that is there, and one that is built by a fake kernel tree and a real `make`, which waits for what the
//! first one's guests do.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use twinboot::journal::Entry;
use twinboot::journal::entry::RoundId;

use super::house::{House, Seen, expect, no_guest, send};
use crate::kernel_fake;

const WISHES: &str = "const char wishes[] = \" fake.kernel=corrupt fake.ssh=guest \";\n";

/// Makes another kernel's guest of it.
const FIX: &str = "--- a/mm/wishes.c\n+++ b/mm/wishes.c\n@@ -1 +1 @@\n-const char wishes[] = \" fake.kernel=corrupt \
                   fake.ssh=guest \";\n+const char wishes[] = \" fake.kernel=clean fake.ssh=guest \";\n";

/// A plan with the kernel `linux`, which is ready, and the kernel `slow`, whose build goes on once `until`, a condition for
/// the shell in which HOUSE is the house's folder, holds; it gives up before long.
fn house(until: &str) -> House {
    let house = House::pair("fake.ssh=guest", 3);
    kernel_fake::tree(&house.file("slow"));
    kernel_fake::write(&house.file("slow/mm/wishes.c"), WISHES);
    kernel_fake::write(&house.file("fix.patch"), FIX);
    let makefile = house.file("slow/Makefile");
    let text = fs::read_to_string(&makefile).expect("is there");
    let until = until.replace("HOUSE", &house.file("").display().to_string());
    let wait = format!("prepare:\n\t@for n in $$(seq 400); do if {until}; then exit 0; fi; sleep 0.05; done; exit 1\n");
    fs::write(makefile, text.replace("prepare:\n", &wait)).expect("writes");
    let plan = "name: fake
kernels:
  - name: linux
    source: {image: {kernel: unpatched}}
    variants:
      - {name: unpatched, image: {kernel: unpatched}, expect: corrupt}
      - {name: patched, image: {kernel: patched}, expect: clean}
  - name: slow
    source: {dir: slow}
    config: [{SWAP: y}]
    variants:
      - {name: unpatched, expect: corrupt}
      - {name: patched, patches: [fix.patch], expect: clean}
guest: {cpus: 1, memory: 128M}
tests:
  - {name: race, run: race, rounds: 3, stop: {alpha: 0.1}}
";
    fs::write(house.file("plan.yaml"), plan).expect("writes");
    house
}

fn output(mut command: Command) -> Output {
    command.output().expect("twinboot starts")
}

/// Index of the first entry that `is` it.
fn first(seen: &Seen, is: impl Fn(&Entry) -> bool) -> usize {
    seen.entries.iter().position(is).unwrap_or_else(|| panic!("not in the journal: {:?}", seen.entries))
}

fn ended(entries: &[Entry]) -> Vec<RoundId> {
    let ends = entries.iter().filter_map(|entry| match entry {
        Entry::RoundFinished(end) => Some(end.id.clone()),
        _ => None,
    });
    ends.collect()
}

fn is_journalled(journal: &Path, words: &[&str]) -> bool {
    let text = fs::read_to_string(journal).unwrap_or_default();
    words.iter().all(|word| text.contains(word))
}

#[test]
fn the_first_kernel_races_while_the_next_is_built() {
    if no_guest() {
        return;
    }
    let house = house("grep -q round_finished HOUSE/out/journal.jsonl 2>/dev/null");
    let seen = house.run(0);
    let built = |name: &'static str| move |entry: &Entry| matches!(entry, Entry::Built(built) if built.kernel == name);
    let raced =
        |name: &'static str| move |entry: &Entry| matches!(entry, Entry::RoundStarted(id) if id.cell.starts_with(name));
    assert!(first(&seen, built("linux")) < first(&seen, raced("linux")));
    assert!(first(&seen, raced("linux")) < first(&seen, built("slow")), "the build waited for a round");
    assert!(first(&seen, built("slow")) < first(&seen, raced("slow")));
    assert_eq!((0..4).map(|at| seen.cell(at)).collect::<Vec<_>>(), ["corrupted", "clean", "corrupted", "clean"]);
}

#[test]
fn killed_in_the_middle_of_a_build_a_run_goes_on_with_it() {
    if no_guest() {
        return;
    }
    let house = house("test -e HOUSE/go");
    let mut child = house.start(|house| {
        is_journalled(&house.out().join("journal.jsonl"), &["\"cell\":\"linux.unpatched.race\"", "round_finished"])
    });
    send(&child, Signal::SIGKILL);
    child.wait().expect("is ours");
    // What `make` had started goes on until then, and keeps the work tree's lock.
    fs::write(house.file("go"), "").expect("writes");
    house.assert_no_process();
    expect(&output(house.run_command(&["--resume"])), 0);
    let seen = house.seen();
    let mut ends = ended(&seen.entries);
    let all = ends.len();
    ends.sort();
    ends.dedup();
    assert_eq!(ends.len(), all, "no round ended twice");
    assert!(ends.iter().any(|id| id.cell.starts_with("slow.")), "{ends:?}");
    let raced = seen.entries.iter().any(|entry| matches!(entry, Entry::RunFinished(end) if !end.interrupted));
    assert!(raced, "{:?}", seen.entries);
}

#[test]
fn an_interrupt_ends_the_build_and_the_guests() {
    if no_guest() {
        return;
    }
    let house = house("test -e HOUSE/go");
    let mut child = house.start(|house| is_journalled(&house.out().join("journal.jsonl"), &["round_finished"]));
    send(&child, Signal::SIGINT);
    assert_eq!(child.wait().expect("is ours").code(), Some(130));
    house.assert_tidy();
    assert!(!house.seen().entries.iter().any(|entry| matches!(entry, Entry::BuildFailed(_))), "it was not tried");
}

#[test]
fn a_kernel_that_does_not_build_beside_the_guests_costs_its_own_cells_alone() {
    if no_guest() {
        return;
    }
    let house = house("grep -q round_finished HOUSE/out/journal.jsonl 2>/dev/null");
    kernel_fake::write(&house.file("slow/mm/memory.c"), "this is no C\n");
    let seen = house.run(3);
    let failed = |entry: &Entry| matches!(entry, Entry::BuildFailed(failed) if failed.kernel == "slow");
    assert!(first(&seen, |entry| matches!(entry, Entry::RoundFinished(_))) < first(&seen, failed));
    assert_eq!((0..4).map(|at| seen.cell(at)).collect::<Vec<_>>(), ["corrupted", "clean", "failed", "failed"]);
}
