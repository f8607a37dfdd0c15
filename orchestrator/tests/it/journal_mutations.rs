//! Journals that are damaged or made by hand, by the thousand: whatever stands in one, it is refused or reported, within the
//! folders that were given, without a panic and without a calculation that never ends.

use std::fmt::Write as _;

use proptest::prelude::*;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use twinboot::analysis::Results;
use twinboot::journal::merge::{Part, merge};
use twinboot::journal::{Entry, journal_lines};
use twinboot::report::{FORMATS, terminal};

use crate::foreign_results::Scene;

const JOURNALS: [&str; 2] = [include_str!("../data/journal.jsonl"), include_str!("../data/forced.jsonl")];

/// Texts that lead out of a folder, end a line, end an escape, or are cut in the middle of a character.
fn texts() -> Vec<String> {
    let plain =
        ["", ".", "..", "../../mine/deep", "/", "a/b", "\0", "\n", "\u{1b}[2J", "\u{202e}", "p = 1\nFIXED", "-", "%s"];
    let long = ["é".repeat(64), "\u{1f600}".repeat(3), "x".repeat(300)];
    plain.into_iter().map(str::to_owned).chain(long).collect()
}

/// Numbers at the ends of what a field can hold.
fn numbers() -> Vec<Value> {
    let whole = [0, 1, 2, 1 << 31, u64::from(u32::MAX), 1 << 53, (1 << 53) + 1, 1 << 63, u64::MAX];
    let real = [-1.0, 0.5, 1e-300, 1e300, f64::MAX, -f64::MAX];
    whole.into_iter().map(Value::from).chain(real.into_iter().map(Value::from)).collect()
}

/// A journal of [`JOURNALS`] with one to four mutations, the same for the same `seed`.
pub fn mutated(journal: &str, seed: u64) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut lines: Vec<String> = journal.lines().map(str::to_owned).collect();
    let mut bytes = Vec::new();
    for _ in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..lines.len());
        match rng.random_range(0..10) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[rng.random_range(0..lines.len())].clone()),
            2 => {
                let other = rng.random_range(0..lines.len());
                lines.swap(at, other);
            }
            _ => lines[at] = value(&lines[at], &mut rng),
        }
        if lines.is_empty() {
            break;
        }
    }
    for line in lines {
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
    }
    // Now and then a journal is no longer JSON, or cut.
    match rng.random_range(0..12) {
        0 => bytes.truncate(rng.random_range(0..=bytes.len())),
        1 if !bytes.is_empty() => {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random();
        }
        _ => {}
    }
    bytes
}

/// The line with one value of it replaced, or taken out.
fn value(line: &str, rng: &mut ChaCha8Rng) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(line) else { return line.to_owned() };
    let mut leaves = Vec::new();
    pointers(&value, &mut String::new(), &mut leaves);
    let Some(place) = leaves.choose(rng) else { return line.to_owned() };
    let (whole, key) = place.rsplit_once('/').unwrap_or(("", ""));
    if rng.random_bool(0.1)
        && let Some(Value::Object(map)) = value.pointer_mut(whole)
    {
        map.remove(key);
        return value.to_string();
    }
    let Some(leaf) = value.pointer_mut(place) else { return line.to_owned() };
    *leaf = match (&*leaf, rng.random_range(0..8)) {
        (_, 0) => [json!(null), json!([]), json!({}), json!(true)].choose(rng).cloned().unwrap_or_default(),
        (Value::String(_), _) => texts().choose(rng).cloned().unwrap_or_default().into(),
        _ => numbers().choose(rng).cloned().unwrap_or_default(),
    };
    value.to_string()
}

/// JSON pointers of everything in `value` that holds nothing itself.
fn pointers(value: &Value, at: &mut String, found: &mut Vec<String>) {
    let depth = at.len();
    let mut each = |key: &str, inner: &Value| {
        write!(at, "/{}", key.replace('~', "~0").replace('/', "~1")).expect("a string takes all");
        pointers(inner, at, found);
        at.truncate(depth);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, inner)| each(key, inner)),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, inner)| each(&index.to_string(), inner)),
        _ => found.push(at.clone()),
    }
}

/// Everything that is made from a journal without touching a disk.
fn report(journal: &str, bytes: &[u8]) {
    let Ok(entries) = journal_lines(bytes) else { return };
    let whole = journal_lines(journal.as_bytes()).expect("a journal");
    let part = |name: &str, entries: &[Entry]| Part { name: name.to_owned(), entries: entries.to_vec() };
    for parts in [[part("one", &entries), part("two", &entries)], [part("one", &entries), part("two", &whole)]] {
        if let Ok(merged) = merge(&parts) {
            Results::fold(merged.entries);
        }
    }
    let results = Results::fold(entries);
    for format in FORMATS {
        let text = format.render(&results);
        let raw = text.iter().flat_map(|text| text.chars()).find(|letter| letter.is_control() && *letter != '\n');
        assert_eq!(raw, None, "{}: a control character", format.name());
    }
    terminal::render(&results, terminal::Look::PLAIN);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_journal_is_reported_or_refused(which in 0..JOURNALS.len(), seed in any::<u64>()) {
        report(JOURNALS[which], &mutated(JOURNALS[which], seed));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_journal_is_read_and_written_within_its_folders(which in 0..JOURNALS.len(), seed in any::<u64>()) {
        let scene = Scene::new("");
        std::fs::write(scene.at("foreign/journal.jsonl"), mutated(JOURNALS[which], seed)).expect("writes");
        let outside = |scene: &Scene| {
            let mut files = scene.files();
            files.retain(|path, _| !path.starts_with(scene.at("foreign")) && !path.starts_with(scene.at("merged")));
            files
        };
        let before = outside(&scene);
        for args in [&["merge", "foreign", "--out", "merged"][..], &["report", "foreign"]] {
            let output = scene.twinboot(args);
            let code = output.status.code();
            prop_assert!(matches!(code, Some(0..=3 | 75 | 130)), "{:?}: {:?}", args, output);
            prop_assert_eq!(outside(&scene), before.clone());
        }
    }
}

/// Every count of every record at every size, whether or not chance finds it.
#[test]
fn no_count_is_too_large() {
    for journal in JOURNALS {
        for number in numbers() {
            for key in ["tries", "landings", "reuses", "exposures", "corruptions", "elapsed_ns", "first_corruption_ns"]
            {
                let lines: Vec<String> = journal
                    .lines()
                    .map(|line| {
                        let mut value: Value = serde_json::from_str(line).expect("JSON");
                        set(&mut value, key, &number);
                        value.to_string() + "\n"
                    })
                    .collect();
                report(journal, lines.concat().as_bytes());
            }
        }
    }
}

/// Sets every `key` in `value` that holds a number.
fn set(value: &mut Value, key: &str, number: &Value) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                if name == key && inner.is_number() {
                    *inner = number.clone();
                } else {
                    set(inner, key, number);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| set(item, key, number)),
        _ => {}
    }
}

#[test]
fn a_hash_that_is_not_ascii_is_cut_like_any_other() {
    let journal = JOURNALS[0];
    let digest = "64879f7d6b960a01909762d911a32d4582c20010c5641ee90278b644a9e3b525";
    assert!(journal.contains(digest));
    for other in ["é".repeat(32), "\u{1f600}".repeat(16), "x\u{65e5}".repeat(16), String::new()] {
        report(journal, journal.replace(digest, &other).as_bytes());
    }
}
