//! The run as a whole: interrupts, a twinboot that is killed, what is refused, and what goes on although a part is missing.

use nix::sys::signal::Signal;
use twinboot::journal::Entry;
use twinboot::journal::entry::RoundOutcome;

use super::house::{HONEST, House, expect, no_guest, send};

/// A guest program that has lost one update and then races on.
const ENDLESS: &str = "echo \"$corruption\"; sleep 1000";

fn racing(house: &House) -> bool {
    house.cell_logs("records.jsonl").contains("lost_update")
}

#[test]
fn an_interrupt_keeps_what_was_measured_and_leaves_nothing() {
    if no_guest() {
        return;
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let house = House::single("fake.ssh=guest", ENDLESS, "");
        let child = house.start(racing);
        send(&child, signal);
        expect(&child.wait_with_output().expect("ends"), 130);
        house.assert_tidy();
        let seen = house.seen();
        assert_eq!((seen.outcome(), seen.only().corruptions_received), (&RoundOutcome::Interrupted, 1));
        let Some(Entry::RunFinished(end)) = seen.entries.last() else { panic!("{:?}", seen.entries) };
        assert!(end.interrupted);
        assert_eq!(seen.cell(0), "corrupted", "the summary is there and tells what was seen");
    }
}

#[test]
fn an_interrupt_while_guests_boot_ends_all_of_them() {
    let kernels = [("one", "fake.boot=hang", "expect: corrupt"), ("two", "fake.boot=hang", "expect: clean")];
    let house = House::new(&kernels, HONEST, 3, "");
    let child = house.start(|house| house.cell_logs("console.round-1.log").matches("Linux version").count() == 2);
    send(&child, Signal::SIGINT);
    expect(&child.wait_with_output().expect("ends"), 130);
    house.assert_tidy();
    let seen = house.seen();
    assert_eq!(seen.rounds().len(), 2, "no further round was started");
    assert!(seen.rounds().iter().all(|round| round.outcome == RoundOutcome::Interrupted));
}

/// nohup(1) has SIGHUP ignored in what it starts, and a shell SIGINT and SIGQUIT in what it runs in the background.
#[test]
fn signals_that_were_ignored_at_the_start_stay_ignored() {
    let house = House::single("fake.boot=hang", HONEST, "deadlines: {boot: 2s}");
    let child = house.start_by("trap '' HUP INT TERM QUIT", |house| {
        house.cell_logs("console.round-1.log").contains("Linux version")
    });
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGHUP] {
        send(&child, signal);
    }
    expect(&child.wait_with_output().expect("ends"), 1);
    assert!(matches!(house.seen().outcome(), RoundOutcome::TimedOut { .. }), "{:?}", house.seen());
    house.assert_tidy();
}

#[test]
fn a_killed_twinboot_takes_its_guests_along_and_its_journal_can_be_reported() {
    if no_guest() {
        return;
    }
    let house = House::single("fake.ssh=guest", ENDLESS, "");
    let mut child = house.start(racing);
    assert!(house.processes().iter().any(|line| line.contains("fake-qemu")));
    send(&child, Signal::SIGKILL);
    child.wait().expect("ends");
    house.assert_no_process();
    // As if the power had gone in mid-write.
    let journal = house.out().join("journal.jsonl");
    let mut bytes = std::fs::read(&journal).expect("is there");
    bytes.extend_from_slice(br#"{"event":"round_fini"#);
    std::fs::write(&journal, bytes).expect("writes");
    assert!(!house.out().join("summary.json").exists());

    let output = house.twinboot(&["report", "out"]).output().expect("runs");
    expect(&output, 75);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("round lost"), "{text}");
    let seen = house.seen();
    assert_eq!((seen.cell(0), seen.trouble()), ("failed", "round lost"));

    // Its run folder, with the guest's private key in it, goes with the next start or `clean`; nobody else's does.
    let left = || std::fs::read_dir(house.file("run")).expect("is there").count();
    assert!(left() > 0);
    let foreign = house.file("run/twinboot-notes");
    std::fs::create_dir(&foreign).expect("makes");
    let output = house.twinboot(&["clean"]).output().expect("runs");
    expect(&output, 0);
    assert!(String::from_utf8_lossy(&output.stdout).contains("was killed"), "{output:?}");
    assert_eq!(left(), 1, "the folder that carries no mark");
    std::fs::remove_dir(foreign).expect("is empty");
    house.assert_tidy();
}

#[test]
fn only_the_cells_that_are_asked_for_run() {
    if no_guest() {
        return;
    }
    let house = House::pair("fake.ssh=guest", 1);
    let output = house.run_command(&["--only", "*.patched.*", "--format", "json"]).output().expect("runs");
    expect(&output, 0);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON alone on standard output");
    assert_eq!(summary["cells"].as_array().map(Vec::len), Some(1));
    assert_eq!(summary["cells"][0]["variant"], "patched");
    assert_eq!(summary, house.seen().summary);
    house.assert_tidy();
}

#[test]
fn a_glob_that_matches_nothing_lists_the_cells() {
    let house = House::pair("", 1);
    let output = house.run_command(&["--only", "nothing*"]).output().expect("runs");
    expect(&output, 2);
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains("nothing*") && text.contains("unpatched"), "{text}");
    assert!(!house.out().exists());
}

#[test]
fn a_dry_run_names_the_cells_and_touches_nothing() {
    let house = House::pair("", 1);
    let output = house.run_command(&["--dry-run"]).output().expect("runs");
    expect(&output, 0);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(!house.out().exists() && !house.file("cache").exists());
    house.assert_tidy();
}

#[test]
fn a_results_folder_with_something_in_it_is_refused() {
    let house = House::pair("", 1);
    std::fs::create_dir(house.out()).expect("makes it");
    std::fs::write(house.out().join("journal.jsonl"), "mine").expect("writes");
    expect(&house.run_command(&[]).output().expect("runs"), 2);
    assert_eq!(std::fs::read(house.out().join("journal.jsonl")).expect("is there"), b"mine");
    house.assert_tidy();
}

#[test]
fn plans_that_are_not_there_or_name_what_is_not_are_refused() {
    let house = House::pair("", 1);
    let output = house.twinboot(&["run", "no-plan.yaml"]).output().expect("runs");
    expect(&output, 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-plan.yaml"));
    std::fs::remove_file(house.file("patched")).expect("is there");
    let output = house.run_command(&[]).output().expect("runs");
    expect(&output, 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("patched"));
    assert!(!house.out().exists());
}

#[test]
fn a_variant_that_cannot_be_had_costs_only_its_own_cells() {
    if no_guest() {
        return;
    }
    let house = House::pair("fake.ssh=guest", 1);
    std::fs::write(house.file("patched"), "no kernel at all").expect("writes");
    let seen = house.run(3);
    assert_eq!((seen.cell(0), seen.cell(1)), ("corrupted", "failed"));
    let failed: Vec<_> = seen.entries.iter().filter(|entry| matches!(entry, Entry::BuildFailed(_))).collect();
    let [Entry::BuildFailed(failed)] = failed[..] else { panic!("{:?}", seen.entries) };
    assert_eq!(failed.variant, "patched");
    assert!(failed.reason.contains("neither a bzImage nor a vmlinux"), "{}", failed.reason);
    assert_eq!(seen.rounds().len(), 1);
}

#[test]
fn nothing_built_is_nothing_run() {
    let house = House::pair("", 1);
    for kernel in ["unpatched", "patched"] {
        std::fs::write(house.file(kernel), "no kernel at all").expect("writes");
    }
    let output = house.run_command(&[]).output().expect("runs");
    expect(&output, 3);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no kernel could be built"));
    house.assert_tidy();
}

#[test]
fn a_cell_that_never_comes_up_is_given_up_and_the_others_go_on() {
    if no_guest() {
        return;
    }
    let kernels = [
        ("unpatched", "fake.ssh=guest fake.kernel=corrupt", "expect: corrupt"),
        ("patched", "fake.boot=panic", "expect: clean"),
    ];
    let house = House::new(&kernels, HONEST, 5, "");
    let seen = house.run(1);
    let of = |variant: &str| seen.rounds().iter().filter(|round| round.id.cell.contains(variant)).count();
    assert_eq!(of(".patched."), 3);
    assert!(of(".unpatched.") >= 1);
    let told = seen.entries.iter().any(|entry| matches!(entry, Entry::Notice { text } if text.contains("given up")));
    assert!(told, "{:?}", seen.entries);
    assert_eq!(seen.summary["comparisons"][0]["verdict"], "broken");
}
