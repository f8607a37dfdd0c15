//! The matrix: guest shapes, test points, and which of their combinations are run.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::axes::{Entry, GuestValue, Setting, args_for, axes, entries, guest_values};
use super::context::Context;
use crate::plan::conditions::matches_pattern;
use crate::plan::model::{Guest, Kernel, Swap, Test};
use crate::plan::schema::{Matrix, Size};
use crate::plan::yaml::KeyPath;

/// Free text is cut to this length in a name.
const SLUG_MAX: usize = 24;
/// The most cells a plan may have.
const CELLS_MAX: usize = 10_000;

/// Everything that cells are made of.
#[derive(Default)]
pub(super) struct Points {
    pub guests: Vec<Guest>,
    pub tests: Vec<Test>,
    pub cells: Vec<Point>,
    /// Where interleavings and sweeps are run.
    pub places: Vec<Place>,
}

/// A kernel, one of its variants and a guest, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub kernel: usize,
    pub variant: usize,
    pub guest: usize,
}

/// One cell, by index into the kernels, that kernel's variants, the guests and the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Point {
    pub kernel: usize,
    pub variant: usize,
    pub guest: usize,
    pub test: usize,
}

/// Expands the matrix over the guest and the tests. `forced` is set when the plan also has
/// interleavings or sweeps.
pub(super) fn expand(
    context: Context,
    raw: &Matrix,
    kernels: &[Kernel],
    guest: &Guest,
    tests: &[Test],
    forced: bool,
) -> Points {
    let path = KeyPath::keys(&["matrix"]);
    let axes = axes(context, &path, raw, guest, tests);
    let includes = entries(context, &path.key("include"), raw.include.as_deref(), (kernels, guest, tests), &axes);
    let excludes = entries(context, &path.key("exclude"), raw.exclude.as_deref(), (kernels, guest, tests), &axes);

    if let Some(message) = too_many(&axes, kernels, tests) {
        context.document.error(&path, message, Some(too_many_hint()));
        return Points::default();
    }
    let mut guests = shapes(guest, &axes);
    // Each with the index of the test it comes from.
    let mut points: Vec<(usize, Test)> = Vec::new();
    for (origin, test) in tests.iter().enumerate() {
        points.extend(variations(test, &axes).into_iter().map(|test| (origin, test)));
    }

    let mut cells = Vec::new();
    let mut places = Vec::new();
    let mut hits = vec![false; excludes.len()];
    for (kernel, variant) in built_variants(kernels) {
        for (guest_index, shape) in guests.iter().enumerate() {
            let names = (&*kernels[kernel].name, &*kernels[kernel].variants[variant].name);
            let mut free = true;
            for (exclude, hit) in excludes.iter().zip(&mut hits).filter(|(it, _)| it.is_of_places()) {
                if exclude.matches_place(names, shape) {
                    *hit |= forced;
                    free = false;
                }
            }
            if free {
                places.push(Place { kernel, variant, guest: guest_index });
            }
            for (test_index, (origin, test)) in points.iter().enumerate() {
                let mut keep = true;
                for (exclude, hit) in excludes.iter().zip(&mut hits) {
                    let names =
                        (&*kernels[kernel].name, &*kernels[kernel].variants[variant].name, &*tests[*origin].name);
                    if exclude.matches_names(names) && exclude.matches_settings(shape, &tests[*origin].name, test) {
                        (keep, *hit) = (false, true);
                    }
                }
                if keep {
                    cells.push(Point { kernel, variant, guest: guest_index, test: test_index });
                }
            }
        }
    }
    for (index, hit) in hits.into_iter().enumerate() {
        if !hit && (!cells.is_empty() || forced) && !context.document.has_errors() {
            context.document.error(&path.key("exclude").index(index), "this matches no cell", None);
        }
    }

    let mut there: HashSet<Point> = cells.iter().copied().collect();
    let mut taken: HashSet<Place> = places.iter().copied().collect();
    for (index, include) in includes.iter().enumerate() {
        if include.is_of_places() {
            let shapes = guest_indices(include, guest, &mut guests);
            for (kernel, variant) in built_variants(kernels) {
                if include.matches_kernel((&*kernels[kernel].name, &*kernels[kernel].variants[variant].name)) {
                    let more = shapes.iter().map(|guest| Place { kernel, variant, guest: *guest });
                    places.extend(more.filter(|place| taken.insert(*place)));
                }
            }
        }
        let more = included(include, kernels, guest, tests, (&mut guests, &mut points));
        cells.extend(more.into_iter().filter(|point| there.insert(*point)));
        if cells.len().max(places.len()) > CELLS_MAX {
            let message = format!("the matrix has {} cells with those up to here", cells.len().max(places.len()));
            context.document.error(&path.key("include").index(index), message, Some(too_many_hint()));
            return Points::default();
        }
    }
    name_guests(&mut guests);
    name_tests(tests, &mut points);
    Points { guests, tests: points.into_iter().map(|(_, test)| test).collect(), cells, places }
}

/// The error for a matrix of more than [`CELLS_MAX`] cells, counted before any cell is made.
fn too_many(axes: &[Vec<Setting>], kernels: &[Kernel], tests: &[Test]) -> Option<String> {
    let product = |values: &dyn Fn(&[Setting]) -> usize| {
        let counts = axes.iter().map(|axis| values(axis).max(1) as u128);
        counts.fold(1, u128::saturating_mul)
    };
    let guests = product(&|axis| guest_values(axis).count());
    let of_test = |test: &Test| product(&|axis| args_for(axis, &test.name).count());
    let points = tests.iter().map(of_test).fold(0, u128::saturating_add);
    let built = built_variants(kernels).count() as u128;
    let cells = built.max(1).saturating_mul(guests).saturating_mul(points.max(1));
    (cells > CELLS_MAX as u128)
        .then(|| format!("the matrix has {cells} cells: {built} kernels × {guests} guests × {points} tests"))
}

fn too_many_hint() -> String {
    format!("at most {CELLS_MAX} cells are allowed; cut axes short, or make several plans of it")
}

fn built_variants(kernels: &[Kernel]) -> impl Iterator<Item = (usize, usize)> {
    kernels
        .iter()
        .enumerate()
        .flat_map(|(index, kernel)| (0..kernel.variants.len()).map(move |variant| (index, variant)))
}

/// The cells of one `include`; new guests and tests join the lists.
fn included(
    include: &Entry,
    kernels: &[Kernel],
    guest: &Guest,
    tests: &[Test],
    (guests, points): (&mut Vec<Guest>, &mut Vec<(usize, Test)>),
) -> Vec<Point> {
    let guest_indices = guest_indices(include, guest, guests);
    let mut test_indices = Vec::new();
    for (origin, test) in tests.iter().enumerate() {
        if !include.test.as_ref().is_none_or(|pattern| matches_pattern(pattern, &test.name)) {
            continue;
        }
        let mut changed = test.clone();
        let mut names_test = false;
        for (key, value) in args_for(&include.settings, &test.name) {
            changed.args.insert(key.to_owned(), value.to_owned());
            names_test = true;
        }
        if names_test {
            test_indices.push(index_of(points, (origin, changed)));
        } else if include.has_args() {
            // Its arguments are another test's.
        } else {
            test_indices
                .extend(points.iter().enumerate().filter(|(_, point)| point.0 == origin).map(|(index, _)| index));
        }
    }
    let mut cells = Vec::new();
    for (kernel, variant) in built_variants(kernels) {
        let names = (&*kernels[kernel].name, &*kernels[kernel].variants[variant].name);
        if include.matches_kernel(names) {
            for &guest in &guest_indices {
                cells.extend(test_indices.iter().map(|&test| Point { kernel, variant, guest, test }));
            }
        }
    }
    cells
}

/// The guests that an `include` selects: all of them, or the one it describes, which is added.
fn guest_indices(include: &Entry, guest: &Guest, guests: &mut Vec<Guest>) -> Vec<usize> {
    let values: Vec<&GuestValue> = guest_values(&include.settings).collect();
    if values.is_empty() { (0..guests.len()).collect() } else { vec![index_of(guests, shape(guest, values))] }
}

/// The guest with these values.
fn shape(guest: &Guest, mut values: Vec<&GuestValue>) -> Guest {
    // A size makes the zram device whose compressor another axis sets.
    values.sort_by_key(|value| value.rank());
    let mut shape = guest.clone();
    for value in values {
        value.apply(&mut shape);
    }
    shape
}

/// The index of `item` in the list, which it is added to if missing.
fn index_of<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|other| *other == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

/// Every guest shape, the first axis changing slowest.
fn shapes(guest: &Guest, axes: &[Vec<Setting>]) -> Vec<Guest> {
    let mut combinations: Vec<Vec<&GuestValue>> = vec![Vec::new()];
    for axis in axes {
        let values: Vec<&GuestValue> = guest_values(axis).collect();
        if !values.is_empty() {
            combinations = combinations
                .iter()
                .flat_map(|before| values.iter().map(move |value| [before.as_slice(), &[*value]].concat()))
                .collect();
        }
    }
    combinations.into_iter().map(|values| shape(guest, values)).collect()
}

/// Every variation of a test's arguments, the first axis changing slowest.
fn variations(test: &Test, axes: &[Vec<Setting>]) -> Vec<Test> {
    let mut variations = vec![test.clone()];
    for axis in axes {
        let values: Vec<(&str, &str)> = args_for(axis, &test.name).collect();
        if !values.is_empty() {
            variations = variations
                .iter()
                .flat_map(|before| {
                    values.iter().map(move |(key, value)| {
                        let mut test = before.clone();
                        test.args.insert((*key).to_owned(), (*value).to_owned());
                        test
                    })
                })
                .collect();
        }
    }
    variations
}

/// Names guest shapes after the settings in which they differ; the only one is called `default`.
fn name_guests(guests: &mut [Guest]) {
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

/// Names the points of each test after the arguments in which they differ; the only one keeps the
/// test's name. `points` have the index of the test they come from.
fn name_tests(tests: &[Test], points: &mut [(usize, Test)]) {
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

/// `smp`, `pages4`, `verbose` or `no-verbose`; `strategy-smp` in the long form.
fn label(key: &str, value: Option<&String>, long: bool) -> String {
    match value.map(String::as_str) {
        None | Some("false") => format!("no-{}", slug(key)),
        Some("true") => slug(key),
        Some(value) if long => format!("{}-{}", slug(key), slug(value)),
        Some(value) if value.starts_with(|c: char| c.is_ascii_digit()) => format!("{}{}", slug(key), slug(value)),
        Some(value) => slug(value),
    }
}

/// Makes text fit for a file name. If that changes it, a few digits of its hash are added.
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
