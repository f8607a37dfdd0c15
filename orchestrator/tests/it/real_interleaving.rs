//! Drawn interleavings on real kernels: Linux 6.1 with and without the fix, booted and forced. Builds kernels with debug
//! information the first time, so `ci/test` asks for it by name (`--ignored`). Needs what `ci/setup` installs, and the
//! release build of the guest programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use twinboot::journal::interleaving::{Exclusion, ForcedOutcome, ForcedRound};
use twinboot::journal::{Entry, journal_lines};

const ROUNDS: usize = 20;

/// The race as the mailing list drew it, on the kernel without the fix and on the one with it.
const RACE: &str = r"
    victim                               interferer
    ------                               ----------
    read page                            .
      do_swap_page: after swap_readpage  .
    hold                                 .
    .                                    write page
    .                                    pageout page
    release                              .
";

/// In the middle of what `do_swap_page` does under the page-table lock.
const UNDER_A_LOCK: &str = r"
    victim                               interferer
    ------                               ----------
    read page                            .
      do_swap_page: before swap_free     .
    HOLD                                 .
    .                                    write page
    release                              .
";

/// `$TWINBOOT_PROGRAM`, such as a release build with the guest programs beside it; else the one built with this test.
fn program() -> std::ffi::OsString {
    std::env::var_os("TWINBOOT_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_twinboot").into())
}

/// A folder with a plan in it.
struct House(tempfile::TempDir);

impl House {
    fn new(drawing: &str, expect: &str) -> Self {
        let dir = tempfile::tempdir().expect("a scratch folder");
        std::fs::create_dir(dir.path().join("runtime")).expect("a folder for sockets");
        let plan = format!(
            "name: drawn\nkernels:\n  - {{name: linux-6.1, source: {{debian: linux-source-6.1}}, \
             config: [base, swap, preempt, symbols]}}\nvariants:\n  - {{name: unpatched, patches: \
             [0001-mm-swap-take-out-the-swapin-pin.patch], expect: corrupt}}\n  - {{name: patched, expect: clean}}\n\
             guest: {{cpus: 2, memory: 512M, swap: {{zram: {{size: 64K, algorithm: lzo-rle}}}}}}\n\
             interleaving:\n  run: swap-race\n  args: {{memory: anon}}\n  rounds: {ROUNDS}\n  expect: {expect}\n  diagram: |{drawing}"
        );
        std::fs::write(dir.path().join("plan.yaml"), plan).expect("writes");
        Self(dir)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn interleave(&self, more: &[&str]) -> Output {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let mut command = Command::new(program());
        command.env("XDG_RUNTIME_DIR", self.file("runtime")).env("TMPDIR", self.file("runtime"));
        command.arg("interleave").arg(self.file("plan.yaml")).arg("--out").arg(self.file("out"));
        command.arg("--data-dir").arg(root).args(more);
        let output = command.output().expect("twinboot starts");
        let left: Vec<_> = std::fs::read_dir(self.file("runtime")).expect("is there").flatten().collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        assert_eq!(self.guests(), Vec::<String>::new());
        output
    }

    /// Guests of this house, by their command lines.
    fn guests(&self) -> Vec<String> {
        let needle = self.0.path().to_string_lossy().into_owned();
        let lines = std::fs::read_dir("/proc").expect("proc").flatten();
        let lines = lines.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
        lines.filter(|line| line.contains("-gdb") && line.contains(&needle)).collect()
    }

    fn entries(&self) -> Vec<Entry> {
        journal_lines(&std::fs::read(self.file("out/journal.jsonl")).expect("a journal")).expect("entries")
    }

    fn rounds(&self, variant: &str, held: bool) -> Vec<ForcedRound> {
        let rounds = self.entries().into_iter().filter_map(|entry| match entry {
            Entry::ForcedRound(round) => Some(*round),
            _ => None,
        });
        rounds.filter(|round| round.held == held && round.cell.contains(&format!(".{variant}."))).collect()
    }

    /// The reason why the drawing could not be tried, which must be the plan's fault.
    fn plan_error(&self) -> String {
        let failed = self.entries().into_iter().find_map(|entry| match entry {
            Entry::ForcedFailed(failed) => Some(failed),
            _ => None,
        });
        let failed = failed.expect("it could not be tried");
        assert!(failed.plan, "{}", failed.reason);
        failed.reason
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
#[ignore = "builds and boots real kernels; ci/test runs it"]
fn the_drawn_race_always_corrupts_the_unfixed_kernel_and_never_happens_in_the_fixed_one() {
    let house = House::new(RACE, "{unpatched: corrupt, patched: excluded}");
    let output = house.interleave(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));

    for variant in ["unpatched", "patched"] {
        let free = house.rounds(variant, false);
        assert_eq!(free.len(), ROUNDS);
        for round in &free {
            assert_eq!(round.outcome, ForcedOutcome::Clean, "nobody is held, nobody races: {round:?}");
        }
    }

    let unpatched = house.rounds("unpatched", true);
    assert_eq!(unpatched.len(), ROUNDS);
    for round in &unpatched {
        assert!(matches!(round.outcome, ForcedOutcome::Corrupt { .. }), "{round:?}");
        assert!(round.entry_before.is_some() && round.entry_before == round.entry_after, "{round:?}");
        assert!(round.problems.is_empty(), "the kernel notices nothing: {round:?}");
    }

    let patched = house.rounds("patched", true);
    assert_eq!(patched.len(), ROUNDS);
    for round in &patched {
        let ForcedOutcome::Excluded { step, why: Exclusion::Blocked { function, .. }, damage } = &round.outcome else {
            panic!("{round:?}")
        };
        assert_eq!((*step, function.as_str(), damage), (3, "do_swap_page", &None), "{round:?}");
        let stack = |thread: &str| {
            let state = round.threads.iter().find(|state| state.thread == thread).expect("it was looked at");
            state.stack.iter().map(|frame| frame.function.as_str()).collect::<Vec<_>>()
        };
        let waits = stack("interferer");
        let (sleeps, fault) = (place(&waits, "schedule"), place(&waits, "do_swap_page"));
        assert!(sleeps < fault && fault < place(&waits, "handle_mm_fault"), "{waits:?}");
        assert_eq!(stack("victim")[0], "do_swap_page", "held where it was to be");
        assert!(round.problems.is_empty(), "{round:?}");
    }
}

fn place(stack: &[&str], function: &str) -> usize {
    stack.iter().position(|frame| *frame == function).unwrap_or_else(|| panic!("no {function} in {stack:?}"))
}

#[test]
#[ignore = "builds and boots real kernels; ci/test runs it"]
fn where_sleep_is_illegal_a_hold_is_refused_and_a_freeze_is_not() {
    let house = House::new(&UNDER_A_LOCK.replace("HOLD", "hold"), "any");
    let output = house.interleave(&["--only", "*.unpatched.*"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let reason = house.plan_error();
    for words in ["`do_swap_page: before swap_free`", "mm/memory.c:", "preempt count 1", "`freeze`"] {
        assert!(reason.contains(words), "{words}: {reason}");
    }

    let house = House::new(&UNDER_A_LOCK.replace("HOLD", "freeze"), "any");
    let output = house.interleave(&["--only", "*.unpatched.*", "--rounds", "3"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let rounds = house.rounds("unpatched", true);
    assert_eq!(rounds.len(), 3);
    for round in &rounds {
        let ForcedOutcome::Excluded { step: 3, why: Exclusion::Blocked { .. }, .. } = &round.outcome else {
            panic!("it spins for the page-table lock: {round:?}")
        };
    }
}

#[test]
#[ignore = "builds and boots real kernels; ci/test runs it"]
fn a_drawing_that_cannot_be_is_the_plans_error() {
    for (wrong, with, words) in [
        ("do_swap_page:", "do_swap_pag:", &["`do_swap_pag`", "did you mean `do_swap_page`?"][..]),
        ("after swap_readpage", "after swap_raedpage", &["does not call `swap_raedpage`", "`swap_readpage`"]),
        ("write page", "wriet page", &["no operation `wriet`", "did you mean `write`?"]),
        ("write page", "write pgae", &["`write` knows no `pgae`", "did you mean `page`?"]),
    ] {
        let house = House::new(&RACE.replace(wrong, with), "any");
        let output = house.interleave(&["--only", "*.unpatched.*"]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        let reason = house.plan_error();
        assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
    }

    let house = House::new(RACE, "any");
    let plan = std::fs::read_to_string(house.file("plan.yaml")).expect("is there");
    std::fs::write(house.file("plan.yaml"), plan.replace("run: swap-race", "run: twinboot-init")).expect("writes");
    let output = house.interleave(&["--only", "*.unpatched.*"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(house.plan_error().contains("--interleave"), "{}", house.plan_error());
}
