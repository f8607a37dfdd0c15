//! What of an earlier sweep is taken over, and when it is refused.

use super::*;
use crate::outcome::entry::{Accelerator, Host};
use crate::outcome::forced::{Exclusion, Forced, ForcedFailed, ForcedSpec, SweepPoint, SweepTraced, SweepTried};

fn started() -> RunStarted {
    RunStarted {
        schema: crate::outcome::entry::SCHEMA,
        twinboot: "0".to_owned(),
        started: "2026-01-01T00:00:00Z".to_owned(),
        plan: "p".to_owned(),
        plan_sha256: "ab".repeat(32),
        rerun: String::new(),
        seed: 7,
        alpha: 1e-6,
        host: Host { kernel: String::new(), cpu: String::new(), cpus: 2, memory: 1 },
        accelerator: Accelerator { name: "tcg".to_owned(), qemu: "7.2".to_owned() },
        cells: Vec::new(),
        comparisons: Vec::new(),
        forced: vec![spec("c", false)],
    }
}

fn spec(id: &str, coarse: bool) -> ForcedSpec {
    ForcedSpec {
        id: id.to_owned(),
        kernel: "k".to_owned(),
        variant: "v".to_owned(),
        base: None,
        guest: "default".to_owned(),
        name: "sweep".to_owned(),
        program: "swap-race".to_owned(),
        cpus: 2,
        memory: 1,
        swap: None,
        patches: Vec::new(),
        what: Forced::Sweep {
            victim: "read page".to_owned(),
            interferers: Vec::new(),
            functions: Vec::new(),
            callees: Vec::new(),
            coarse,
        },
    }
}

fn built(load_digest: &str) -> Built {
    Built {
        kernel: "k".to_owned(),
        variant: "v".to_owned(),
        release: String::new(),
        config_sha256: String::new(),
        compiler: String::new(),
        key: String::new(),
        load_digest: load_digest.to_owned(),
        cached: true,
        seconds: 0.0,
        patch_notes: Vec::new(),
    }
}

fn point(address: u64) -> SweepPoint {
    SweepPoint {
        address,
        function: "f".to_owned(),
        offset: 0,
        instruction: "nop".to_owned(),
        inlined: None,
        file: None,
        line: None,
        source: None,
        order: Some(address),
        illegal: None,
    }
}

fn tried(address: u64, outcome: ForcedOutcome) -> Entry {
    let (cell, threads, problems) = ("c".to_owned(), Vec::new(), Vec::new());
    Entry::SweepTried(Box::new(SweepTried { cell, address, outcome, threads, problems, seconds: 0.1 }))
}

fn entries() -> Vec<Entry> {
    let points = (1..=4).map(point).collect();
    let another_way = ForcedOutcome::Excluded { step: 1, why: Exclusion::TookAnotherWay, damage: None };
    vec![
        Entry::RunStarted(Box::new(started())),
        Entry::Built(Box::new(built("one"))),
        Entry::SweepTraced(Box::new(SweepTraced { cell: "c".to_owned(), points, steps: 4, seconds: 0.1 })),
        tried(1, ForcedOutcome::Clean),
        tried(2, ForcedOutcome::Lost { reason: "late".to_owned() }),
        tried(3, another_way),
    ]
}

/// A results folder with this journal, and `tail` behind its last line.
fn folder(entries: &[Entry], tail: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let mut journal = journal::Journal::create(dir.path()).expect("creates");
    entries.iter().for_each(|entry| journal.append(entry).expect("writes"));
    let path = dir.path().join(journal::FILE);
    let text = std::fs::read_to_string(&path).expect("reads") + tail;
    std::fs::write(&path, text).expect("writes");
    dir
}

#[test]
fn what_was_lost_is_tried_again_and_the_rest_is_not() {
    let dir = folder(&entries(), "");
    let earlier = read(dir.path()).expect("is a journal");
    let known = earlier.known("c");
    assert_eq!(known.points.map(|points| points.len()), Some(4));
    assert_eq!(known.tried.into_iter().collect::<Vec<_>>(), [1]);
    let other = earlier.known("d");
    assert!(other.points.is_none() && other.tried.is_empty());
    assert!(!earlier.has_failed("c"));
    let mut failed = entries();
    failed.push(Entry::ForcedFailed(ForcedFailed { cell: "c".to_owned(), reason: "no guest".to_owned(), plan: false }));
    assert!(read(folder(&failed, "").path()).expect("is a journal").has_failed("c"));
}

#[test]
fn a_line_that_was_cut_off_is_taken_away_before_the_next() {
    let dir = folder(&entries(), "{\"event\":\"sweep_tr");
    assert_eq!(read(dir.path()).expect("is a journal").entries.len(), 6);
    let mut journal = journal::Journal::reopen(dir.path()).expect("opens");
    journal.append(&tried(4, ForcedOutcome::Clean)).expect("writes");
    let earlier = read(dir.path()).expect("is a journal");
    assert_eq!(earlier.entries.len(), 7);
    assert_eq!(earlier.known("c").tried.into_iter().collect::<Vec<_>>(), [1, 4]);
}

#[test]
fn another_plan_kernel_seed_or_accelerator_is_refused_by_name() {
    let dir = folder(&entries(), "");
    let earlier = read(dir.path()).expect("is a journal");
    let refusal = |change: fn(&mut RunStarted), digest: &str| {
        let mut now = started();
        change(&mut now);
        check(dir.path(), &earlier, &now, &[built(digest)]).err().map(|error| error.to_string())
    };
    assert_eq!(refusal(|_| {}, "one"), None);
    let told = |change, digest, words: &str| {
        let text = refusal(change, digest).unwrap_or_default();
        assert!(text.contains(words) && text.contains("cannot be taken up"), "{words}: {text}");
    };
    told(|now| now.plan_sha256 = "cd".repeat(32), "one", "the plan has changed");
    told(|now| now.forced = vec![spec("c", true)], "one", "--coarse");
    told(|now| now.forced = vec![spec("d", false)], "one", "other cells (c)");
    told(|now| now.accelerator.name = "kvm".to_owned(), "one", "are not mixed");
    told(|now| now.seed = 8, "one", "its seed is 7, not 8");
    told(|_| {}, "two", "the kernel k v is not the one");
}

#[test]
fn what_is_no_journal_of_a_run_is_refused() {
    let empty = folder(&[], "");
    assert!(matches!(read(empty.path()), Err(Error::Resume(_))));
    let dir = tempfile::tempdir().expect("a scratch folder");
    assert!(matches!(read(dir.path()), Err(Error::Io { .. })));
}
