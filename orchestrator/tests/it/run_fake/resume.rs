//! Runs that are killed and taken up again, and shares of a plan that are put together again.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use twinboot::analysis::{CellResult, Results};

use super::house::{HONEST, House, expect, no_guest, send};

/// A house whose plan has `tests` tests, each on two kernels for one round.
fn many(tests: usize) -> House {
    let kernels = [
        ("unpatched", "fake.kernel=corrupt fake.ssh=guest", "expect: corrupt"),
        ("patched", "fake.kernel=clean fake.ssh=guest", "expect: any"),
    ];
    let house = House::new(&kernels, HONEST, 1, "");
    let plan = std::fs::read_to_string(house.file("plan.yaml")).expect("is there");
    let (head, _) = plan.split_once("tests:\n").expect("has tests");
    let tests: Vec<String> = (1..=tests).map(|n| format!("  - {{name: race-{n}, run: race, rounds: 1}}\n")).collect();
    std::fs::write(house.file("plan.yaml"), format!("{head}tests:\n{}", tests.concat())).expect("writes");
    house
}

/// What counts of each cell: times differ from run to run.
fn counted(cells: &[CellResult]) -> Vec<String> {
    let of = |cell: &CellResult| {
        let rounds: Vec<String> = cell
            .rounds
            .iter()
            .map(|round| {
                let end = round.end();
                let seed = end.map(|end| end.seed);
                format!("{} {seed:?} {:?} {:?}", round.number, end.map(|end| &end.outcome), round.counts())
            })
            .collect();
        format!("{} {:?} {:?} {rounds:?}", cell.spec.id, cell.outcome, cell.totals)
    };
    cells.iter().map(of).collect()
}

fn output(mut command: Command) -> Output {
    command.output().expect("twinboot starts")
}

/// `TWINBOOT_KILLS` and `TWINBOOT_CELLS` make it as long as wanted; `ci/test --full` asks for 20 and 60.
#[test]
fn killed_at_any_moment_a_run_goes_on_and_counts_nothing_twice() {
    if no_guest() {
        return;
    }
    let number = |name: &str, default: usize| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number of kills or cells"))
    };
    let (kills, cells) = (number("TWINBOOT_KILLS", 4), number("TWINBOOT_CELLS", 8));
    let house = many(cells / 2);
    let whole = {
        let done = output(house.run_command(&["--out", "whole", "--format", "json"]));
        expect(&done, 0);
        std::fs::read(house.file("whole/journal.jsonl")).expect("is there")
    };
    let whole = Results::fold(twinboot::journal::journal_lines(&whole).expect("a journal"));

    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut killed = 0;
    for _ in 0..kills {
        let resume: &[&str] = if house.out().join("journal.jsonl").exists() { &["--resume"] } else { &[] };
        let mut child = house.run_command(resume).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        std::thread::sleep(Duration::from_millis(rng.random_range(50..1500)));
        send(&child, Signal::SIGKILL);
        killed += u32::from(!child.wait().expect("is ours").success());
        house.assert_no_process();
    }
    assert!(killed > 0, "every run ended before it could be killed");
    let done = output(house.run_command(&["--resume", "--format", "json"]));
    expect(&done, 0);
    let seen = house.seen();
    assert_eq!(counted(&Results::fold(seen.entries.clone()).cells), counted(&whole.cells));
    let mut ends: Vec<_> = seen.rounds().iter().map(|round| round.id.clone()).collect();
    ends.sort();
    ends.dedup();
    assert_eq!(ends.len(), seen.rounds().len(), "a round that had ended was run again");
}

#[test]
fn another_plan_or_seed_is_not_gone_on_with() {
    if no_guest() {
        return;
    }
    let house = many(1);
    expect(&output(house.run_command(&[])), 0);
    let refused = output(house.twinboot(&["run", "plan.yaml", "--accel", "tcg", "--seed", "2", "--resume", "out"]));
    expect(&refused, 2);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("its seed is 1, not 2"), "{refused:?}");

    let plan = std::fs::read_to_string(house.file("plan.yaml")).expect("is there");
    std::fs::write(house.file("plan.yaml"), plan + "# changed\n").expect("writes");
    let journal = house.out().join("journal.jsonl");
    let text = std::fs::read_to_string(&journal).expect("is there");
    let cut: Vec<&str> = text.lines().take(4).collect();
    std::fs::write(&journal, cut.join("\n") + "\n").expect("writes");
    let refused = output(house.twinboot(&["run", "plan.yaml", "--accel", "tcg", "--resume", "out"]));
    expect(&refused, 2);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the plan has changed"), "{refused:?}");
    house.assert_tidy();
}

#[test]
fn shares_of_a_plan_merge_into_the_whole() {
    if no_guest() {
        return;
    }
    let house = many(3);
    expect(&output(house.run_command(&["--out", "whole"])), 0);
    for (share, out) in [("slice:1/2", "one"), ("slice:2/2", "two")] {
        expect(&output(house.run_command(&["--partition", share, "--out", out])), 0);
    }
    let incomplete = output(house.twinboot(&["merge", "one", "--out", "some"]));
    expect(&incomplete, 75);
    let said = String::from_utf8_lossy(&incomplete.stdout).into_owned();
    assert!(said.contains("linux.unpatched.race-2"), "{said}");
    expect(&output(house.twinboot(&["merge", "one", "two", "--out", "both"])), 0);
    let read = |name: &str| {
        let bytes = std::fs::read(house.file(name).join("journal.jsonl")).expect("is there");
        counted(&Results::fold(twinboot::journal::journal_lines(&bytes).expect("a journal")).cells)
    };
    assert_eq!(read("both"), read("whole"));
    assert!(house.file("both/cells/linux.patched.race-2/records.jsonl").exists());
    assert!(house.file("both/report.html").exists());
    let refused = output(house.twinboot(&["merge", "one", "two", "--out", "both"]));
    expect(&refused, 2);
}

/// A folder that was received from somebody else may hold links, and a run that is gone on with writes there.
#[test]
fn a_run_is_not_gone_on_with_through_links() {
    let house = House::single("fake.boot=fatal", HONEST, "");
    house.run(75);
    let journal = house.out().join("journal.jsonl");
    let text = std::fs::read_to_string(&journal).expect("is there");
    let begun: Vec<&str> = text.lines().take_while(|line| !line.contains("round_finished")).collect();
    let begun = begun.join("\n") + "\n";
    let cell = std::fs::read_dir(house.out().join("cells")).expect("is there").flatten().next().expect("a cell").path();
    let mine = house.file("mine");
    std::fs::create_dir(&mine).expect("makes");
    let places = [
        journal.clone(),
        house.out().join("cells"),
        cell.clone(),
        cell.join("records.jsonl"),
        cell.join("console.log"),
        cell.join("qemu.log"),
    ];
    for place in &places {
        std::fs::write(&journal, &begun).expect("writes");
        let aside = mine.join("aside");
        std::fs::rename(place, &aside).expect("was made by the run");
        std::os::unix::fs::symlink(&aside, place).expect("links");
        let before = everything(&mine);
        let refused = output(house.run_command(&["--resume"]));
        expect(&refused, 2);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        let name = place.file_name().expect("has a name").to_string_lossy();
        assert!(said.contains(&*name) && said.contains("remove it"), "{said}");
        assert_eq!(everything(&mine), before, "{} was followed", place.display());
        std::fs::remove_file(place).expect("is a link");
        std::fs::rename(&aside, place).expect("moves back");
    }
    std::fs::write(&journal, &begun).expect("writes");
    expect(&output(house.run_command(&["--resume"])), 75);
    house.assert_tidy();
}

/// Every file below `folder`, with what it holds.
fn everything(folder: &std::path::Path) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut files = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("readable").flatten() {
        if entry.path().is_dir() {
            files.extend(everything(&entry.path()));
        } else {
            files.insert(entry.path(), std::fs::read(entry.path()).expect("readable"));
        }
    }
    files
}
