//! Names of guest shapes and test points: what sets them apart from each other, fit for file names.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Guest, Swap, Test};
use super::schema::Size;

/// A text of one's own choice is cut to this length in a name.
const SLUG_MAX: usize = 24;

/// Names guest shapes after the settings in which they differ; the only one is called `default`.
pub fn guests(guests: &mut [Guest]) {
    if let [only] = guests {
        "default".clone_into(&mut only.name);
        return;
    }
    let labels: [fn(&Guest) -> String; 6] = [
        |guest| format!("cpus{}", guest.cpus),
        |guest| format!("mem{}", Size(guest.memory)),
        |guest| match &guest.swap {
            Some(Swap::Zram { size, .. }) => format!("zram{}", Size(*size)),
            Some(Swap::Brd { size }) => format!("brd{}", Size(*size)),
            None => "noswap".to_owned(),
        },
        |guest| match &guest.swap {
            Some(Swap::Zram { algorithm, .. }) => slug(algorithm),
            _ => "plain".to_owned(),
        },
        |guest| slug(&guest.cmdline),
        |guest| guest.clone.name().to_owned(),
    ];
    let varying: Vec<_> =
        labels.iter().filter(|label| guests.iter().map(*label).collect::<BTreeSet<_>>().len() > 1).collect();
    for guest in guests.iter_mut() {
        guest.name = varying.iter().map(|label| label(guest)).collect::<Vec<_>>().join("-");
    }
}

/// Names the points of each test after the arguments in which they differ; the only one keeps the test's name.
/// `points` have the index of the test they come from.
pub fn tests(tests: &[Test], points: &mut [(usize, Test)]) {
    for (origin, test) in tests.iter().enumerate() {
        let mut values: BTreeMap<String, BTreeSet<Option<String>>> = BTreeMap::new();
        let ours: Vec<&Test> = points.iter().filter(|point| point.0 == origin).map(|point| &point.1).collect();
        for key in ours.iter().flat_map(|point| point.args.keys()) {
            values.entry(key.clone()).or_default().extend(ours.iter().map(|point| point.args.get(key).cloned()));
        }
        let varying: Vec<String> =
            values.into_iter().filter(|(_, values)| values.len() > 1).map(|(key, _)| key).collect();
        if varying.is_empty() {
            continue;
        }
        let named = |long: bool| -> Vec<String> {
            let name = |point: &&Test| {
                varying.iter().fold(test.name.clone(), |name, key| name + "-" + &label(key, point.args.get(key), long))
            };
            ours.iter().map(name).collect()
        };
        let mut chosen = named(false);
        if chosen.iter().collect::<BTreeSet<_>>().len() < chosen.len() {
            chosen = named(true);
        }
        for (point, name) in points.iter_mut().filter(|point| point.0 == origin).zip(chosen) {
            point.1.name = name;
        }
    }
}

/// `smp`, `pages4`, `verbose` or `no-verbose`; `strategy-smp` when it is to be long.
fn label(key: &str, value: Option<&String>, long: bool) -> String {
    match value.map(String::as_str) {
        None | Some("false") => format!("no-{}", slug(key)),
        Some("true") => slug(key),
        Some(value) if long => format!("{}-{}", slug(key), slug(value)),
        Some(value) if value.starts_with(|c: char| c.is_ascii_digit()) => format!("{}{}", slug(key), slug(value)),
        Some(value) => slug(value),
    }
}

/// A text as part of a file name. One that has to be changed for that gets a few digits of its hash.
fn slug(text: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    if !text.is_empty() && text.len() <= SLUG_MAX && text.chars().all(legal) {
        return text.to_owned();
    }
    let kept: String = text.chars().map(|c| if legal(c) { c } else { '-' }).take(SLUG_MAX - 8).collect();
    let digest = crate::cache::sha256(text);
    format!("{}-{}", if kept.is_empty() { "none" } else { &kept }, &digest[..6])
}

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn texts_that_look_alike_keep_apart() {
        assert_eq!(slug("lzo-rle"), "lzo-rle");
        assert_ne!(slug("a b"), slug("a/b"));
        assert!(slug("").starts_with("none-"));
        assert!(slug(&"é".repeat(100)).len() <= 24);
    }
}
