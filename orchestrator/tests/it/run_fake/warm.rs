//! Rounds that go on from a saved guest: taken once, used again, and never trusted further than it carries.

use std::path::PathBuf;

use twinboot::crash::CrashKind;
use twinboot::journal::Entry;
use twinboot::journal::entry::{RoundOutcome, Snapshot};
use twinboot::journal::rules::Warmth;

use super::house::{HONEST, House, Seen, no_guest};

fn snapshots(seen: &Seen) -> Vec<&Snapshot> {
    seen.entries.iter().filter_map(|entry| if let Entry::Snapshot(it) = entry { Some(&**it) } else { None }).collect()
}

fn notices(seen: &Seen) -> Vec<&str> {
    seen.entries
        .iter()
        .filter_map(|entry| if let Entry::Notice { text } = entry { Some(&**text) } else { None })
        .collect()
}

/// How each round's guest came up.
fn warmth(seen: &Seen) -> Vec<Warmth> {
    seen.rounds().iter().map(|round| round.clone).collect()
}

/// The saved states in the cache.
fn states(house: &House) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(house.file("cache/snapshots")).expect("is there").flatten();
    entries.map(|entry| entry.path().join("state")).filter(|path| path.exists()).collect()
}

fn again(house: &House) -> Seen {
    std::fs::remove_dir_all(house.out()).expect("an earlier run");
    house.run(0)
}

#[test]
fn one_boot_serves_all_rounds_of_this_run_and_of_the_next_until_its_state_is_damaged() {
    if no_guest() {
        return;
    }
    let house = House::pair("fake.ssh=guest", 4).warm();
    let seen = house.run(0);
    assert_eq!(seen.summary["comparisons"][0]["verdict"], "fixed");
    assert!(warmth(&seen).iter().all(|it| *it == Warmth::Warm), "{:?}", warmth(&seen));
    let boot: Vec<&str> = seen.rounds()[0].boot.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(boot, ["monitor", "first line", "ready", "login", "first record"]);
    let taken = snapshots(&seen);
    assert_eq!(taken.len(), 2, "one of each kernel: {taken:?}");
    for it in taken {
        let boot: Vec<&str> = it.boot.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((it.cached, boot), (false, vec!["monitor", "first line", "mounted", "paused"]));
        assert!(it.bytes > 0);
    }

    let seen = again(&house);
    assert!(snapshots(&seen).iter().all(|it| it.cached), "{:?}", snapshots(&seen));

    let state = states(&house).pop().expect("two of them");
    let mut bytes = std::fs::read(&state).expect("is there");
    *bytes.last_mut().expect("not empty") ^= 1;
    std::fs::write(&state, bytes).expect("writes");
    let seen = again(&house);
    assert_eq!(snapshots(&seen).iter().filter(|it| !it.cached).count(), 1);
    assert!(notices(&seen).iter().any(|text| text.contains("was replaced") && text.contains("damaged")), "{seen:?}");
    assert!(warmth(&seen).iter().all(|it| *it == Warmth::Warm));
}

#[test]
fn rounds_take_several_boots_by_turns_alike_on_both_sides_and_another_seed_takes_others() {
    if no_guest() {
        return;
    }
    let house = House::pair("fake.ssh=guest", 3).warm();
    let plan = std::fs::read_to_string(house.file("plan.yaml")).expect("was written");
    std::fs::write(house.file("plan.yaml"), plan.replace("boots: 1", "boots: 2")).expect("writes");
    let seen = house.run(0);
    let of = |variant: &str| {
        let ends = seen.rounds().into_iter().filter(|end| end.id.cell.contains(variant));
        let mut told: Vec<_> = ends.map(|end| (end.id.round, end.saved_boot, end.seed)).collect();
        told.sort_unstable();
        told
    };
    let boots: Vec<Option<u32>> = of(".patched.").iter().map(|(_, boot, _)| *boot).collect();
    assert_eq!(boots, [Some(1), Some(2), Some(1)]);
    assert_eq!(of(".patched."), of(".unpatched."), "boots and seeds are paired");
    assert_eq!(snapshots(&seen).len(), 4, "two boots of each kernel");
    std::fs::remove_dir_all(house.out()).expect("an earlier run");
    let status = house.twinboot(&["run", "plan.yaml", "--accel", "tcg", "--seed", "2", "--out", "out"]).status();
    assert_eq!(status.expect("twinboot starts").code(), Some(0));
    assert_eq!(states(&house).len(), 8, "none of them is the first run's");
}

#[test]
fn a_clone_is_not_spoken_to_before_it_is_there() {
    if no_guest() {
        return;
    }
    let house = House::single("fake.ssh=guest fake.load=slow", HONEST, "deadlines: {boot: 5s}").warm();
    let seen = house.run(0);
    assert_eq!((&seen.only().outcome, seen.only().clone), (&RoundOutcome::Finished, Warmth::Warm));
    assert!(!notices(&seen).iter().any(|text| text.contains("thrown away")), "{:?}", notices(&seen));
}

#[test]
fn rounds_of_guests_that_cannot_be_restored_boot_cold_and_say_so() {
    if no_guest() {
        return;
    }
    for (wish, why) in [("fake.load=fail", "load of migration failed"), ("fake.load=mute", "did not come to life")] {
        let house = House::single(&format!("fake.ssh=guest {wish}"), HONEST, "deadlines: {boot: 2s}").warm();
        let seen = house.run(0);
        assert_eq!((&seen.only().outcome, seen.only().clone), (&RoundOutcome::Finished, Warmth::Cold), "{wish}");
        assert_eq!(snapshots(&seen).len(), 2, "{wish}: one more try");
        let told = notices(&seen);
        let thrown: Vec<_> = told.iter().filter(|text| text.contains("thrown away") && text.contains(why)).collect();
        assert_eq!(thrown.len(), 2, "{told:?}");
        assert!(thrown[0].contains("another one is taken") && thrown[1].contains("boot cold"), "{thrown:?}");
        assert!(states(&house).is_empty(), "{wish}: it is not kept");
    }
}

#[test]
fn a_kernel_that_cannot_be_saved_because_it_panics_is_seen_to_panic() {
    let house = House::single("fake.boot=panic", HONEST, "").warm();
    let seen = house.run(1);
    let RoundOutcome::GuestDied { reason } = seen.outcome() else { panic!("{:?}", seen.outcome()) };
    assert!(reason.contains("fake trouble"), "{reason}");
    assert_eq!((seen.only().problems[0].kind, seen.only().clone), (CrashKind::Panic, Warmth::Cold));
    assert!(notices(&seen).iter().any(|text| text.contains("rounds boot cold")), "{:?}", notices(&seen));
}
