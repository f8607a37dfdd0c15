//! Every way a round can end, and what the run then says and exits with: 0 met, 1 not met, 3 the infrastructure failed,
//! 75 nothing conclusive because of it and worth a retry.

use twinboot::crash::CrashKind;
use twinboot::journal::entry::{RoundOutcome, Stage};

use super::house::{HONEST, House, Seen, no_guest};

#[test]
fn a_fix_is_seen_in_a_run_from_plan_to_verdict() {
    if no_guest() {
        return;
    }
    let house = House::pair("fake.ssh=guest", 4);
    let seen = house.run(0);
    assert!(seen.rounds().iter().all(|round| round.outcome == RoundOutcome::Finished), "{:?}", seen.entries);
    assert_eq!((seen.cell(0), seen.cell(1)), ("corrupted", "clean"));
    assert_eq!(seen.summary["comparisons"][0]["verdict"], "fixed");
    let round = seen.rounds()[0];
    let boot: Vec<&str> = round.boot.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(boot, ["monitor", "first line", "mounted", "ready", "login", "first record"]);
    assert!(round.boot.is_sorted_by(|before, after| before.1 <= after.1), "{:?}", round.boot);
    let stages: Vec<Stage> = round.stages.iter().map(|time| time.stage).collect();
    assert_eq!(stages, [Stage::Start, Stage::Boot, Stage::Ssh, Stage::Test, Stage::Shutdown]);
}

#[test]
fn a_monitor_that_never_answers_overruns_the_start() {
    let seen = House::single("fake.start=mute-monitor", HONEST, "").run(75);
    assert_eq!(*seen.outcome(), timed_out(Stage::Start, twinboot::vm::START_DEADLINE.as_secs_f64()));
    assert_eq!((seen.cell(0), seen.trouble()), ("failed", "infrastructure"));
}

#[test]
fn a_qemu_that_refuses_to_start_says_why() {
    let seen = House::single("fake.start=exit", HONEST, "").run(75);
    let RoundOutcome::Infrastructure { stage: Stage::Start, reason } = seen.outcome() else {
        panic!("{:?}", seen.outcome())
    };
    assert!(reason.contains("exit status 1") && reason.contains("'nonsense' is not a valid device"), "{reason}");
    assert_eq!(seen.trouble(), "infrastructure");
}

#[test]
fn a_guest_that_hangs_in_boot_overruns_it_and_its_kernel_answers_for_it() {
    let house = House::single("fake.boot=hang", HONEST, "deadlines: {boot: 1s}");
    let seen = house.run(1);
    assert_eq!(*seen.outcome(), timed_out(Stage::Boot, 1.0));
    assert_eq!((seen.cell(0), seen.trouble()), ("broken", "timed out"));
    assert!(seen.only().boot.is_empty());
    assert!(house.cell_log("console.log").contains("Linux version 6.1.0-fake"));
}

#[test]
fn an_init_that_gives_up_is_no_fault_of_the_kernels() {
    let seen = House::single("fake.boot=fatal", HONEST, "").run(75);
    let RoundOutcome::Infrastructure { stage: Stage::Boot, reason } = seen.outcome() else {
        panic!("{:?}", seen.outcome())
    };
    assert!(reason.contains("cannot create zram0: no such device"), "{reason}");
    assert_eq!(seen.cell(0), "failed");
}

#[test]
fn a_panic_while_booting_breaks_the_kernel() {
    let seen = House::single("fake.boot=panic", HONEST, "").run(1);
    let RoundOutcome::GuestDied { reason } = seen.outcome() else { panic!("{:?}", seen.outcome()) };
    assert!(reason.contains("Kernel panic - not syncing: fake trouble"), "{reason}");
    assert_eq!(seen.only().problems[0].kind, CrashKind::Panic);
    assert_eq!(seen.cell(0), "broken");
}

#[test]
fn a_guest_that_lets_nobody_in_overruns_the_login() {
    for way in ["refused", "silent", "closing"] {
        let seen = House::single(&format!("fake.ssh={way}"), HONEST, "deadlines: {ssh: 1s}").run(75);
        assert_eq!(*seen.outcome(), timed_out(Stage::Ssh, 1.0), "{way}");
        assert_eq!(seen.cell(0), "failed", "{way}");
        assert_eq!(seen.trouble(), "late login", "{way}");
    }
}

#[test]
fn a_test_that_does_not_stop_in_time_is_stopped() {
    if no_guest() {
        return;
    }
    let test = "deadlines: {test: 1s}, stop: {at_most: 1s}";
    let seen = House::single("fake.ssh=guest", "echo \"$progress\"; sleep 1000", test).run(1);
    assert_eq!(*seen.outcome(), timed_out(Stage::Test, 2.0));
    assert_eq!(seen.only().progress.len(), 1);
    assert_eq!((seen.cell(0), seen.trouble()), ("broken", "timed out"));
}

#[test]
fn a_test_that_gives_up_is_quoted() {
    if no_guest() {
        return;
    }
    let program = r#"echo '{"type":"failure","message":"the swap device has 3 slots"}'; exit 1"#;
    let seen = House::single("fake.ssh=guest", program, "").run(75);
    assert_eq!(*seen.outcome(), RoundOutcome::TestFailed { reason: "the swap device has 3 slots".to_owned() });
    assert!(seen.only().preflight.is_some());
    assert_eq!((seen.cell(0), seen.trouble()), ("failed", "test failed"));
}

#[test]
fn a_test_that_talks_rubbish_and_never_sums_up_has_failed() {
    if no_guest() {
        return;
    }
    for (program, words) in [
        ("echo rubbish; echo 'bad idea' >&2; exit 4", "`race` ended with exit status 4: bad idea"),
        ("echo rubbish", "`race` ended with exit status 0 and no summary"),
        // A summary is worth nothing from a program that then fails.
        ("echo rubbish; echo \"$clean\"; echo 'late' >&2; exit 1", "`race` ended with exit status 1: late"),
    ] {
        let house = House::single("fake.ssh=guest", program, "");
        let seen = house.run(75);
        assert_eq!(*seen.outcome(), RoundOutcome::TestFailed { reason: words.to_owned() });
        assert!(house.cell_log("records.jsonl").contains(r#""unparsed":"rubbish""#), "{program}");
        assert_eq!(seen.cell(0), "failed", "{program}");
    }
}

#[test]
fn a_guest_that_dies_in_the_middle_of_a_record_loses_nothing_that_was_whole() {
    if no_guest() {
        return;
    }
    for death in ["die", "panic", "reset"] {
        let program = format!(
            r#"echo "$corruption"; echo "$corruption"; printf '{{"type":"corr'; sleep 1; echo {death} > "$FAKE_GUEST"; sleep 1000"#
        );
        let house = House::single("fake.ssh=guest", &program, "");
        let seen = house.run(1);
        // A QEMU that somebody killed says nothing of the kernel in it.
        let blamed = matches!(seen.outcome(), RoundOutcome::GuestDied { .. });
        let lost = matches!(seen.outcome(), RoundOutcome::Infrastructure { stage: Stage::Test, .. });
        assert!(if death == "die" { lost } else { blamed }, "{death}: {:?}", seen.outcome());
        let round = seen.only();
        assert_eq!((round.corruptions_received, round.samples.len()), (2, 2), "{death}");
        assert!(round.summary.is_none(), "{death}");
        let records = house.cell_log("records.jsonl");
        assert_eq!(records.lines().count(), 4, "{death}: {records}");
        assert!(records.ends_with("{\"round\":1,\"unparsed\":\"{\\\"type\\\":\\\"corr\"}\n"), "{death}: {records}");
        assert_eq!(seen.cell(0), "corrupted", "{death}");
        let panics = round.problems.iter().filter(|problem| problem.kind == CrashKind::Panic).count();
        assert_eq!(panics, usize::from(death == "panic"));
    }
}

#[test]
fn a_guest_that_ignores_its_power_button_hangs() {
    if no_guest() {
        return;
    }
    let seen = House::single("fake.ssh=guest fake.poweroff=ignore", HONEST, "deadlines: {shutdown: 1s}").run(1);
    assert_eq!(*seen.outcome(), timed_out(Stage::Shutdown, 1.0));
    assert!(seen.only().summary.is_some());
    assert_eq!((seen.cell(0), seen.trouble()), ("broken", "timed out"));
}

#[test]
fn a_qemu_that_ignores_quit_and_term_is_killed() {
    let seen =
        House::single("fake.boot=hang fake.quit=ignore-term fake.child=yes", HONEST, "deadlines: {boot: 1s}").run(1);
    assert_eq!(*seen.outcome(), timed_out(Stage::Boot, 1.0));
}

#[test]
fn a_kernel_that_complains_is_broken_although_the_test_was_clean() {
    if no_guest() {
        return;
    }
    let complaint = r#"echo "say [   12.000001] BUG: Bad rss-counter state mm:00000000f00dcafe type:MM_SWAPENTS val:1" > "$FAKE_GUEST""#;
    let seen = House::single("fake.ssh=guest", &format!("{complaint}\n{HONEST}"), "").run(1);
    assert_eq!(*seen.outcome(), RoundOutcome::Finished);
    let problem = &seen.only().problems[0];
    assert_eq!(problem.kind, CrashKind::Bug);
    assert_eq!(problem.fingerprint, ["BUG: Bad rss-counter state mm:X type:MM_SWAPENTS val:N"]);
    assert_eq!((seen.cell(0), seen.trouble()), ("broken", "kernel BUG"));
}

fn timed_out(stage: Stage, after_s: f64) -> RoundOutcome {
    RoundOutcome::TimedOut { stage, after_s }
}

/// Four rounds of `program` on a kernel that is called `base` in the guest and on one that is called `clean`: the first must
/// fail, and the second be fixed.
fn judged_fixed(base: &str, program: &str, test: &str) -> Seen {
    let unpatched = format!("fake.ssh=guest fake.kernel={base}");
    let kernels = [
        ("unpatched", unpatched.as_str(), "expect: corrupt"),
        ("patched", "fake.ssh=guest fake.kernel=clean", "expect: clean"),
    ];
    let seen = House::new(&kernels, program, 4, test).run(0);
    assert_eq!((seen.cell(0), seen.cell(1)), ("fails", "clean"), "{test}");
    assert_eq!(seen.summary["comparisons"][0]["verdict"], "fixed", "{test}: {}", seen.summary);
    seen
}

#[test]
fn a_hang_that_the_test_counts_is_what_a_fix_is_judged_by() {
    if no_guest() {
        return;
    }
    let program = "case $FAKE_KERNEL in hang) sleep 1000 ;; *) echo \"$clean\" ;; esac";
    let test = "counts: hang, deadlines: {test: 1s}, stop: {at_most: 1s, alpha: 0.05}";
    let seen = judged_fixed("hang", program, test);
    let sentence = seen.summary["comparisons"][0]["sentence"].as_str().expect("told");
    assert!(sentence.contains("failed in 4 of 4 rounds (a hang)"), "{sentence}");
}

#[test]
fn a_program_without_records_is_judged_by_its_exit_status_and_its_output() {
    if no_guest() {
        return;
    }
    let program = "case $FAKE_KERNEL in bad) echo \"page 3: LOST\"; exit 1 ;; *) echo fine ;; esac";
    for counts in ["exit", "[{exit: 1}]", "[{output: LOST}]"] {
        let test = format!("counts: {counts}, stop: {{at_most: 1s, alpha: 0.05}}");
        judged_fixed("bad", program, &test);
    }
}
