//! Reproducers as they come: they print text for people, know nothing of twinboot, and may never end.

use twinboot::journal::entry::RoundOutcome;

use super::house::{HONEST, House, RECORDS, no_guest};

/// The shape that reproducers of lost writes have: endless, a line now and then, exit status 1 at the first loss.
const ENDLESS: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const char *kernel = getenv("FAKE_KERNEL");
	if (argc > 1 && strncmp(argv[1], "--for", 5) == 0)
		return 3;
	for (int pass = 1;; pass++) {
		printf("pass %d\n", pass);
		fflush(stdout);
		if (kernel && !strcmp(kernel, "corrupt")) {
			printf("page 7: expected 3, found 2\n");
			return 1;
		}
		usleep(20000);
	}
}
"#;

#[test]
fn an_endless_program_that_exits_with_1_at_a_loss_tells_bug_and_fix_apart_by_rounds() {
    if no_guest() {
        return;
    }
    let house = House::pair("fake.ssh=guest", 18);
    house.reproducer("repro.c", ENDLESS, "stop: {alpha: 1e-6, at_most: 200ms}, oracle: {still_running: clean}");
    let seen = house.run(0);
    assert!(seen.rounds().iter().all(|round| round.outcome == RoundOutcome::Finished), "{:?}", seen.rounds());
    assert_eq!((seen.cell(0), seen.cell(1)), ("corrupted", "clean"));
    let comparison = &seen.summary["comparisons"][0];
    assert_eq!(comparison["verdict"], "fixed", "{comparison}");
    let caveats = comparison["caveats"].to_string();
    assert!(caveats.contains("nothing is known of how often"), "{caveats}");
    assert!(house.cell_logs("output.round-1.log").contains("page 7: expected 3, found 2\n"));
}

#[test]
fn a_program_that_hangs_or_cannot_run_is_no_finding_of_the_kernel() {
    if no_guest() {
        return;
    }
    for (name, text, keys, words) in [
        ("slow.sh", "#!/bin/sh\nsleep 1000\n", "stop: {at_most: 300ms}", "still ran when its time was up"),
        ("gone.sh", "#!/bin/sh\necho no such device >&2; exit 127\n", "oracle: exit", "exit status 127"),
        ("odd.sh", "#!/bin/sh\necho skipped; exit 4\n", "oracle: {exit: {clean: [0], failure: [1]}}", "exit status 4"),
    ] {
        let house = House::single("fake.ssh=guest", "", "");
        house.reproducer(name, text, keys);
        let seen = house.run(75);
        let said = format!("{:?}", seen.outcome());
        assert!(said.starts_with("TestFailed") && said.contains(words), "{name}: {said}");
    }
}

#[test]
fn a_script_gets_its_words_its_environment_and_what_it_started_ends_with_it() {
    if no_guest() {
        return;
    }
    let script = "#!/bin/sh\necho \"$MODE $1 $2\"\ntrap '' TERM\nsleep 1000 &\nwhile :; do sleep 1; done\n";
    let house = House::single("fake.ssh=guest", "", "");
    let keys = "args: [\"t={seconds}\", it's], env: {MODE: a b}, stop: {at_most: 1s}, oracle: {output: {corrupt: 'a b t=1 it.s'}, still_running: clean}";
    house.reproducer("loop.sh", script, keys);
    let seen = house.run(1);
    assert_eq!(*seen.outcome(), RoundOutcome::Finished);
    assert_eq!((seen.cell(0), seen.only().corruptions_received), ("corrupted", 1));
}

#[test]
fn a_binary_of_this_machine_brings_its_libraries() {
    if no_guest() {
        return;
    }
    let house = House::single("fake.ssh=guest", "", "");
    house.reproducer("unused.sh", "#!/bin/sh\n", "oracle: {exit: {failure: [1], clean: [0]}}");
    let plan = std::fs::read_to_string(house.file("plan.yaml")).expect("is there");
    std::fs::write(house.file("plan.yaml"), plan.replace("unused.sh", "/usr/bin/env, args: [\"false\"]"))
        .expect("writes");
    let seen = house.run(1);
    assert_eq!((seen.outcome(), seen.only().corruptions_received), (&RoundOutcome::Finished, 1));
}

#[test]
fn enough_failures_end_the_round_before_its_time() {
    if no_guest() {
        return;
    }
    let script = "#!/bin/sh\nwhile :; do echo pass; echo LOST; sleep 0.01; done\n";
    let house = House::single("fake.ssh=guest", "", "");
    let keys = "stop: {at_most: 1h, corruptions: 3}, oracle: {output: {corrupt: '^LOST$', exposure: '^pass$'}}";
    house.reproducer("loop.sh", script, keys);
    let seen = house.run(1);
    assert_eq!(*seen.outcome(), RoundOutcome::Finished);
    let summary = seen.only().summary.as_ref().expect("it counts");
    assert!(summary.counts.corruptions >= 3 && summary.counts.exposures >= 3, "{summary:?}");
    assert_eq!(summary.stopped_by, twinboot_protocol::StopReason::Corruptions);
}

#[test]
fn a_program_that_speaks_records_may_end_with_a_failure_when_it_found_one() {
    if no_guest() {
        return;
    }
    for (wish, then, outcome, code) in [
        ("fake.kernel=corrupt", "exit 1", "Finished", 1),
        ("fake.kernel=clean", "", "Finished", 0),
        (
            "fake.kernel=clean",
            "exit 1",
            "TestFailed { reason: \"`speaks` ended with exit status 1 after its summary\" }",
            75,
        ),
    ] {
        let house = House::single(&format!("fake.ssh=guest {wish}"), "", "");
        house.reproducer("speaks", &format!("{RECORDS}{HONEST}{then}\n"), "oracle: records");
        let plan = std::fs::read_to_string(house.file("plan.yaml")).expect("was written");
        // Nothing is compared with a cell that runs alone.
        std::fs::write(house.file("plan.yaml"), plan.replace("expect: clean", "expect: clean, alone: true"))
            .expect("writes");
        let seen = house.run(code);
        assert_eq!(format!("{:?}", seen.outcome()), outcome, "{wish} {then}");
    }
}
