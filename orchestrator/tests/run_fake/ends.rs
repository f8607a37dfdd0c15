//! Every way a round can end.

use twinboot::outcome::entry::{RoundOutcome, Stage};

use crate::house::{HONEST, House, no_guest};

#[test]
fn a_fix_is_seen_in_a_run_from_plan_to_verdict() {
    if no_guest() {
        return;
    }
    let kernels = [
        ("unpatched", "fake.ssh=guest fake.kernel=corrupt", "expect: corrupt"),
        ("patched", "fake.ssh=guest fake.kernel=clean", "expect: clean"),
    ];
    let house = House::new(&kernels, HONEST, 4, "");
    let seen = house.run(0);
    assert!(seen.rounds().iter().all(|round| round.outcome == RoundOutcome::Finished), "{:?}", seen.entries);
    assert_eq!((seen.cell(0), seen.cell(1)), ("corrupted", "clean"));
    assert_eq!(seen.summary["comparisons"][0]["verdict"], "fixed");
    let boot: Vec<&str> = seen.rounds()[0].boot.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(boot, ["monitor", "first line", "mounted", "ready"]);
    assert!(seen.rounds()[0].boot.is_sorted_by(|a, b| a.1 <= b.1));
}
#[test]
fn probe() {
    for (wishes, program, test) in [
        ("fake.start=mute-monitor", "", ""),
        ("fake.start=exit", "", ""),
        ("fake.boot=hang", "", "deadlines: {boot: 1s}"),
        ("fake.boot=fatal", "", ""),
        ("fake.boot=panic", "", ""),
        ("fake.ssh=refused", "", "deadlines: {ssh: 1s}"),
        ("fake.ssh=guest", "sleep 1000", "deadlines: {test: 1s}, stop: {at_most: 1s}"),
        ("fake.ssh=guest", "echo '{\"type\":\"failure\",\"message\":\"no swap\"}'; exit 1", ""),
        ("fake.ssh=guest", "echo rubbish; echo bad >&2; exit 4", ""),
        ("fake.ssh=guest", "exit 0", ""),
        ("fake.ssh=guest", "echo \"$corruption\"; printf '{\"type\":\"corr'; sleep 1; echo die > $FAKE_GUEST; sleep 100", ""),
        ("fake.ssh=guest", "echo \"$corruption\"; sleep 1; echo panic > $FAKE_GUEST; sleep 100", ""),
        ("fake.ssh=guest fake.poweroff=ignore", HONEST, "deadlines: {shutdown: 1s}"),
        ("fake.ssh=guest fake.say=[+++12.000001]+BUG:+Bad+rss-counter+state+mm:00000000f00dcafe+type:MM_SWAPENTS+val:1", HONEST, ""),
    ] {
        let house = House::single(wishes, program, test);
        let started = std::time::Instant::now();
        let output = house.run_command(&[]).output().unwrap();
        let seen = house.seen();
        eprintln!("== {wishes} | {program}\n code {:?} {:?}\n {:?} boot {:?} cell {} corr {} problems {:?}", output.status.code(), started.elapsed(), seen.outcome(), seen.only().boot, seen.cell(0), seen.only().corruptions_received, seen.only().problems);
        eprintln!(" trouble {}", seen.summary["cells"][0]["trouble"]);
        house.assert_tidy();
    }
    let _ = Stage::Boot;
}
