//! The matrix: guest shapes, test points, and which of their combinations are run.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{Context, guess};
use crate::plan::axis::GuestValue;
use crate::plan::model::{Guest, Kernel, Test};
use crate::plan::schema::{Axis, GUEST_AXES, Matrix, Scalar};
use crate::plan::validate::Problem;
use crate::plan::yaml::KeyPath;
use crate::plan::{glob, names};

/// More cells than any plan means to have.
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

/// A setting to one value.
enum Setting {
    Guest(GuestValue),
    Arg { test: Option<String>, key: String, value: String },
}

impl Setting {
    /// Whether it sets an argument of the test of that name.
    fn is_of_test(&self, name: &str) -> bool {
        matches!(self, Self::Arg { test, .. } if test.as_ref().is_none_or(|test| test == name))
    }
}

/// An entry of `include` or `exclude`: settings, and patterns for the other parts of a cell.
#[derive(Default)]
struct Entry {
    settings: Vec<Setting>,
    kernel: Option<String>,
    variant: Option<String>,
    test: Option<String>,
}

/// Expands the matrix over the guest and the tests as they are written; `forced` when the plan has interleavings or
/// sweeps too.
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
    names::guests(&mut guests);
    names::tests(tests, &mut points);
    Points { guests, tests: points.into_iter().map(|(_, test)| test).collect(), cells, places }
}

/// The message about a matrix of more than [`CELLS_MAX`] cells, told by its numbers before any of it is made.
fn too_many(axes: &[Vec<Setting>], kernels: &[Kernel], tests: &[Test]) -> Option<String> {
    let product = |values: &dyn Fn(&[Setting]) -> usize| {
        let counts = axes.iter().map(|axis| values(axis).max(1) as u128);
        counts.fold(1, u128::saturating_mul)
    };
    let guests = product(&|axis| axis.iter().filter(|setting| matches!(setting, Setting::Guest(_))).count());
    let of_test = |test: &Test| product(&|axis| axis.iter().filter(|setting| setting.is_of_test(&test.name)).count());
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
        if !include.test.as_ref().is_none_or(|pattern| glob::matches(pattern, &test.name)) {
            continue;
        }
        let mut changed = test.clone();
        let mut names_test = false;
        for (key, value) in include.args_for(&test.name) {
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

/// The guests that an `include` is about: all there are, or the one that it describes, which joins them.
fn guest_indices(include: &Entry, guest: &Guest, guests: &mut Vec<Guest>) -> Vec<usize> {
    let mut shape = guest.clone();
    let mut of_guest: Vec<&GuestValue> = include.guest_values().collect();
    of_guest.sort_by_key(|value| value.rank());
    for value in &of_guest {
        value.apply(&mut shape);
    }
    if of_guest.is_empty() { (0..guests.len()).collect() } else { vec![index_of(guests, shape)] }
}

/// Where `item` stands in the list, at its end if it was not there.
fn index_of<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|other| *other == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

impl Entry {
    fn matches_kernel(&self, (kernel, variant): (&str, &str)) -> bool {
        let matches =
            |pattern: &Option<String>, name| pattern.as_ref().is_none_or(|pattern| glob::matches(pattern, name));
        matches(&self.kernel, kernel) && matches(&self.variant, variant)
    }

    fn matches_names(&self, (kernel, variant, test): (&str, &str, &str)) -> bool {
        self.matches_kernel((kernel, variant)) && self.test.as_ref().is_none_or(|pattern| glob::matches(pattern, test))
    }

    fn matches_settings(&self, guest: &Guest, origin: &str, test: &Test) -> bool {
        self.settings.iter().all(|setting| match setting {
            Setting::Guest(value) => value.is_in(guest),
            Setting::Arg { test: named, key, value } => {
                named.as_ref().is_none_or(|name| name == origin) && test.args.get(key) == Some(value)
            }
        })
    }

    /// Whether this says nothing of tests, and so is about interleavings and sweeps as well.
    fn is_of_places(&self) -> bool {
        self.test.is_none() && !self.has_args()
    }

    fn matches_place(&self, names: (&str, &str), guest: &Guest) -> bool {
        self.matches_kernel(names) && self.guest_values().all(|value| value.is_in(guest))
    }

    fn guest_values(&self) -> impl Iterator<Item = &GuestValue> {
        self.settings.iter().filter_map(|setting| match setting {
            Setting::Guest(value) => Some(value),
            Setting::Arg { .. } => None,
        })
    }

    fn has_args(&self) -> bool {
        self.settings.iter().any(|setting| matches!(setting, Setting::Arg { .. }))
    }

    fn args_for<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.settings.iter().filter_map(move |setting| match setting {
            Setting::Arg { test, key, value } if test.as_ref().is_none_or(|test| test == name) => {
                Some((key.as_str(), value.as_str()))
            }
            _ => None,
        })
    }
}

/// Every guest shape, the first axis changing slowest.
fn shapes(guest: &Guest, axes: &[Vec<Setting>]) -> Vec<Guest> {
    let mut combinations: Vec<Vec<&GuestValue>> = vec![Vec::new()];
    for axis in axes {
        let values: Vec<&GuestValue> = axis
            .iter()
            .filter_map(|setting| match setting {
                Setting::Guest(value) => Some(value),
                Setting::Arg { .. } => None,
            })
            .collect();
        if !values.is_empty() {
            combinations = combinations
                .iter()
                .flat_map(|before| values.iter().map(move |value| [before.as_slice(), &[*value]].concat()))
                .collect();
        }
    }
    let shape = |mut values: Vec<&GuestValue>| {
        // A size makes the zram device whose compressor another axis sets.
        values.sort_by_key(|value| value.rank());
        let mut shape = guest.clone();
        for value in values {
            value.apply(&mut shape);
        }
        shape
    };
    combinations.into_iter().map(shape).collect()
}

/// Every variation of a test's arguments, the first axis changing slowest.
fn variations(test: &Test, axes: &[Vec<Setting>]) -> Vec<Test> {
    let mut variations = vec![test.clone()];
    for axis in axes {
        let values: Vec<(&str, &str)> = axis
            .iter()
            .filter_map(|setting| match setting {
                Setting::Arg { key, value, .. } if setting.is_of_test(&test.name) => {
                    Some((key.as_str(), value.as_str()))
                }
                _ => None,
            })
            .collect();
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

/// The axes with their values, checked.
fn axes(context: Context, path: &KeyPath, raw: &Matrix, guest: &Guest, tests: &[Test]) -> Vec<Vec<Setting>> {
    let mut axes = Vec::new();
    for (name, values) in &raw.axes {
        let path = path.key(name);
        if values.is_empty() {
            if !context.document.damaged(&path) {
                let hint = "name at least one value, or take the axis out".to_owned();
                context.document.error(&path, "the list is empty", Some(hint));
            }
            continue;
        }
        let sized = raw.axes.iter().any(|(axis, _)| axis == "guest.swap.zram.size");
        check_zram(context, &path, name, guest, sized);
        let mut seen = BTreeSet::new();
        let mut settings = Vec::new();
        for (index, value) in values.iter().enumerate() {
            let path = path.index(index);
            let text = context.spelled(&path, value);
            if !seen.insert(text.clone()) {
                context.document.error(&path, format!("the value '{text}' is in the list already"), None);
            } else if let Some(setting) = setting(context, &path, name, text, tests) {
                settings.push(setting);
            }
        }
        axes.push(settings);
    }
    axes
}

/// A zram axis needs a guest whose swap can be zram.
fn check_zram(context: Context, path: &KeyPath, axis: &str, guest: &Guest, sized: bool) {
    use crate::plan::model::Swap;
    let problem = match (&guest.swap, axis) {
        (Some(Swap::Brd { .. }), _) if axis.starts_with("guest.swap.zram.") => {
            "the guest's swap device is brd, this axis needs zram"
        }
        (None, "guest.swap.zram.algorithm") if !sized => "the guest has no zram device whose compressor this could set",
        _ => return,
    };
    context.document.key_error(path, problem, Some("give the guest `swap: {zram: {size: 64K}}`".to_owned()));
}

/// The setting of `axis` to `text`; notes what is wrong with it.
fn setting(context: Context, path: &KeyPath, axis: &str, text: String, tests: &[Test]) -> Option<Setting> {
    match Axis::parse(axis)? {
        Axis::Guest(axis) => match GuestValue::parse(axis, &text) {
            Ok(value) => Some(Setting::Guest(value)),
            Err(Problem { message, hint }) => {
                context.document.error(path, message, hint);
                None
            }
        },
        Axis::Arg { test, key } => {
            if let Some(name) = &test
                && !tests.iter().any(|test| test.name == *name)
            {
                let axis_path = if matches!(path.last(), Some(crate::plan::yaml::Step::Index(_))) {
                    path.parent().unwrap_or_default()
                } else {
                    path.clone()
                };
                let hint = guess(name, tests.iter().map(|test| test.name.as_str()), "tests of this plan");
                context.document.key_error(&axis_path, format!("there is no test '{name}'"), hint);
                return None;
            }
            context.check(path, crate::plan::validate::word(&key, "argument"));
            context.check(path, crate::plan::validate::line(&text));
            Some(Setting::Arg { test, key, value: text })
        }
    }
}

/// The entries of `include` or `exclude`, checked.
fn entries(
    context: Context,
    path: &KeyPath,
    raw: Option<&[BTreeMap<String, Scalar>]>,
    (kernels, guest, tests): (&[Kernel], &Guest, &[Test]),
    axes: &[Vec<Setting>],
) -> Vec<Entry> {
    let Some(raw) = raw else { return Vec::new() };
    if raw.is_empty() && !context.document.damaged(path) {
        context.document.error(path, "the list is empty", Some("take it out".to_owned()));
    }
    let mut entries = Vec::new();
    for (index, map) in raw.iter().enumerate() {
        let path = path.index(index);
        let mut entry = Entry::default();
        if map.is_empty() && !context.document.damaged(&path) {
            context.document.error(&path, "this names nothing", Some("name an axis and a value".to_owned()));
        }
        for (key, value) in map {
            let at = path.key(key);
            let text = context.spelled(&at, value);
            let (slot, names): (&mut Option<String>, Vec<&str>) = match key.as_str() {
                "kernel" => (&mut entry.kernel, kernels.iter().map(|kernel| kernel.name.as_str()).collect()),
                "variant" => {
                    let variants = kernels.iter().flat_map(|kernel| &kernel.variants);
                    (&mut entry.variant, variants.map(|variant| variant.name.as_str()).collect())
                }
                "test" => (&mut entry.test, tests.iter().map(|test| test.name.as_str()).collect()),
                setting_key if Axis::parse(setting_key).is_some() => {
                    let sized = map.contains_key("guest.swap.zram.size")
                        || axes
                            .iter()
                            .flatten()
                            .any(|setting| matches!(setting, Setting::Guest(value) if value.makes_zram()));
                    check_zram(context, &at, key, guest, sized);
                    entry.settings.extend(setting(context, &at, key, text, tests));
                    continue;
                }
                unknown => {
                    let known = GUEST_AXES.into_iter().chain(["kernel", "variant", "test", "test.args.KEY"]);
                    let hint = guess(unknown, known, "known here");
                    context.document.key_error(&at, format!("unknown key `{unknown}`"), hint);
                    continue;
                }
            };
            if !names.iter().any(|name| glob::matches(&text, name)) {
                let hint = guess(&text, names.iter().copied(), "in this plan");
                context.document.error(&at, format!("no {key} is called '{text}'"), hint);
            }
            *slot = Some(text);
        }
        entries.push(entry);
    }
    entries
}
