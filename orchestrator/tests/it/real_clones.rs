//! Warm clones of a real Linux 6.1: they come to life from one boot, each with random numbers of its own, and a saved guest
//! that was damaged is taken anew. `ci/test` asks for it by name (`--ignored`), behind the tests that build the kernel.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use twinboot::journal::entry::{RoundFinished, RoundOutcome, Snapshot};
use twinboot::journal::rules::Warmth;
use twinboot::journal::{Entry, journal_lines};

/// A guest test in shell: draws from the kernel's generator, and tells as details of its summary what it drew and what no two
/// boots have in common, the microsecond of an early kernel line.
const DRAW: &str = r#"#!/bin/sh
hex() { head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
drawn=$(hex)
counts='"tries":9,"landings":9,"reuses":9,"exposures":9,"corruptions":0'
echo '{"type":"preflight","protocol":1,"test":"draw","strategy":"none","kernel_release":"'$(uname -r)'","kernel_version":"","cpus":1,"preemption":"unknown","page_size":4096,"swap":null,"seed":1}'
echo '{"type":"summary","elapsed_ns":1,'$counts',"first_corruption_ns":null,"stopped_by":"deadline","seed":1,"details":[["drawn","'$drawn'"],["boot","'$(dmesg | grep -m1 initmem | tr -dc '0-9.')'"]]}'
"#;

/// A folder with a plan of `rounds` warm rounds of that test, on the fixed kernel of plans/quick.yaml.
struct House(tempfile::TempDir);

impl House {
    fn new(rounds: u32) -> Self {
        let house = Self(tempfile::tempdir().expect("a scratch folder"));
        let indented = format!("      {}", DRAW.replace('\n', "\n      "));
        let recipe = format!(
            "init: twinboot-init\nbusybox: true\nssh: dropbear\nfiles:\n  - to: /usr/local/bin/draw\n    mode: \"0755\"\n    content: |\n{indented}"
        );
        std::fs::write(house.file("draw.yaml"), recipe).expect("writes");
        let plan = format!(
            "name: clones\nkernels:\n  - {{name: linux-6.1, source: {{debian: linux-source-6.1}}, config: [base, swap, preempt, symbols]}}\n\
             variants:\n  - {{name: patched, expect: clean, alone: true}}\n\
             guest: {{cpus: 2, memory: 512M, image: {}, clone: warm, boots: 1}}\n\
             tests:\n  - {{name: draw, run: draw, rounds: {rounds}, stop: {{sequential: false}}}}\n",
            house.file("draw.yaml").display()
        );
        std::fs::write(house.file("plan.yaml"), plan).expect("writes");
        house
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs the plan; its journal.
    fn run(&self, out: &str, seed: u64) -> Vec<Entry> {
        let program = std::env::var_os("TWINBOOT_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_twinboot").into());
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let mut command = Command::new(program);
        command
            .current_dir(root)
            .env("TWINBOOT_DATA", root)
            .arg("run")
            .arg(self.file("plan.yaml"))
            .arg("--out")
            .arg(self.file(out))
            .args(["--seed", &seed.to_string()]);
        let status = command.status().expect("twinboot starts");
        assert_eq!(status.code(), Some(0), "the test comes to its end, and nothing is expected of it");
        journal_lines(&std::fs::read(self.file(out).join("journal.jsonl")).expect("a journal")).expect("entries")
    }
}

fn rounds(entries: &[Entry]) -> Vec<&RoundFinished> {
    let ends =
        entries.iter().filter_map(|entry| if let Entry::RoundFinished(end) = entry { Some(&**end) } else { None });
    ends.inspect(|end| assert_eq!((&end.outcome, end.clone), (&RoundOutcome::Finished, Warmth::Warm))).collect()
}

fn snapshots(entries: &[Entry]) -> Vec<&Snapshot> {
    entries.iter().filter_map(|entry| if let Entry::Snapshot(it) = entry { Some(&**it) } else { None }).collect()
}

/// What every round told under this name.
fn told<'a>(entries: &'a [Entry], name: &str) -> Vec<&'a str> {
    let details = rounds(entries).into_iter().flat_map(|end| &end.summary.as_ref().expect("a summary").details);
    details.filter(|(it, _)| it == name).map(|(_, value)| value.as_str()).collect()
}

#[test]
#[ignore = "builds and boots real kernels; ci/test runs it"]
fn siblings_share_a_boot_and_no_random_number_and_a_damaged_original_is_replaced() {
    let house = House::new(4);
    // Not those of an earlier run of this test.
    let seed = rand::random_range(0..1 << 52);
    let entries = house.run("first", seed);
    let drawn = told(&entries, "drawn");
    assert_eq!((drawn.len(), drawn.iter().collect::<HashSet<_>>().len()), (4, 4), "{drawn:?}");
    assert_eq!(told(&entries, "boot").iter().collect::<HashSet<_>>().len(), 1, "one boot for all of them");

    let again = house.run("again", seed);
    let [saved] = snapshots(&again)[..] else { panic!("{:?}", snapshots(&again)) };
    assert!(saved.cached, "a run of the same seed finds it");
    assert_eq!(told(&again, "boot")[0], told(&entries, "boot")[0]);
    damage();

    let replaced = house.run("replaced", seed);
    let [saved] = snapshots(&replaced)[..] else { panic!("{:?}", snapshots(&replaced)) };
    assert!(!saved.cached, "what was damaged is not used");
    assert_ne!(told(&replaced, "boot")[0], told(&entries, "boot")[0], "its rounds stem from another boot");
    let notice = |entry: &Entry| matches!(entry, Entry::Notice { text } if text.contains("damaged"));
    assert!(replaced.iter().any(notice), "and the journal says so");

    let other = house.run("other", seed + 1);
    let [saved] = snapshots(&other)[..] else { panic!("{:?}", snapshots(&other)) };
    assert!(!saved.cached, "another run boots anew");
    assert_ne!(told(&other, "boot")[0], told(&replaced, "boot")[0]);
    assert!(told(&other, "drawn").iter().all(|it| !drawn.contains(it)), "another run, other seeds");
}

/// Flips a bit in the middle of the state that was used last.
fn damage() {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache"));
    let entries = std::fs::read_dir(cache.join("twinboot/snapshots")).expect("saved guests").flatten();
    let latest = entries.max_by_key(|entry| entry.metadata().and_then(|it| it.modified()).ok()).expect("one was used");
    let state = latest.path().join("state");
    let mut bytes = std::fs::read(&state).expect("a state");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(state, bytes).expect("writes");
}
