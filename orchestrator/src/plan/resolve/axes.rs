//! The axes of the matrix and the entries of `include` and `exclude`: settings, each to one value,
//! checked.

use std::collections::{BTreeMap, BTreeSet};

use super::context::Context;
use crate::journal::rules::Warmth;
use crate::plan::conditions::matches_pattern;
use crate::plan::model::{Guest, Kernel, Swap, Test};
use crate::plan::schema::{Axis, GUEST_AXES, Matrix, Scalar, Size, Zram};
use crate::plan::validate::{self, Problem};
use crate::plan::yaml::{KeyPath, Step};
use crate::suggest::did_you_mean_or;

/// A setting of the guest to one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GuestValue {
    /// `guest.cpus`
    Cpus(u32),
    /// `guest.memory`, in bytes.
    Memory(u64),
    /// `guest.swap.zram.size`, in bytes.
    ZramSize(u64),
    /// `guest.swap.zram.algorithm`
    Algorithm(String),
    /// `guest.cmdline`
    Cmdline(String),
    /// `guest.clone`
    Clone(Warmth),
}

impl GuestValue {
    /// Reads the value of one of [`GUEST_AXES`].
    ///
    /// # Errors
    ///
    /// When the text is not a value of the axis, or is one that a guest cannot have.
    pub(super) fn parse(axis: &str, text: &str) -> Result<Self, Problem> {
        let size = |check: fn(u64) -> Result<(), Problem>| {
            let Some(Size(bytes)) = Size::parse(text) else {
                return Err(expected(text, "a size such as 65536, 64K, 512M or 1G"));
            };
            check(bytes).map(|()| bytes)
        };
        match GUEST_AXES.iter().position(|known| *known == axis) {
            Some(0) => {
                let cpus = text.parse().map_err(|_| expected(text, "a whole number of CPUs"))?;
                validate::cpus(cpus).map(|()| Self::Cpus(cpus))
            }
            Some(1) => size(validate::memory).map(Self::Memory),
            Some(2) => size(validate::swap_size).map(Self::ZramSize),
            Some(3) => validate::algorithm(text).map(|()| Self::Algorithm(text.to_owned())),
            Some(4) => validate::line(text).map(|()| Self::Cmdline(text.to_owned())),
            Some(5) => match text {
                "warm" => Ok(Self::Clone(Warmth::Warm)),
                "cold" => Ok(Self::Clone(Warmth::Cold)),
                _ => Err(expected(text, "`warm` or `cold`")),
            },
            _ => Err(Problem { message: format!("unknown axis `{axis}`"), hint: None }),
        }
    }

    /// Order in which values are applied: the zram device comes before its compressor.
    pub(super) fn rank(&self) -> usize {
        match self {
            Self::Cpus(_) => 0,
            Self::Memory(_) => 1,
            Self::ZramSize(_) => 2,
            Self::Algorithm(_) => 3,
            Self::Cmdline(_) => 4,
            Self::Clone(_) => 5,
        }
    }

    /// Whether applying this gives a guest a zram device.
    pub(super) fn makes_zram(&self) -> bool {
        matches!(self, Self::ZramSize(_))
    }

    /// Sets this in `guest`. A compressor has no effect where there is no zram device.
    pub(super) fn apply(&self, guest: &mut Guest) {
        match self {
            Self::Cpus(cpus) => guest.cpus = *cpus,
            Self::Memory(bytes) => guest.memory = *bytes,
            Self::Cmdline(text) => guest.cmdline.clone_from(text),
            Self::Clone(warmth) => guest.clone = *warmth,
            Self::ZramSize(bytes) => match &mut guest.swap {
                Some(Swap::Zram { size, .. }) => *size = *bytes,
                swap => *swap = Some(Swap::Zram { size: *bytes, algorithm: Zram::default().algorithm }),
            },
            Self::Algorithm(name) => {
                if let Some(Swap::Zram { algorithm, .. }) = &mut guest.swap {
                    algorithm.clone_from(name);
                }
            }
        }
    }

    /// Whether `guest` has this value.
    pub(super) fn is_in(&self, guest: &Guest) -> bool {
        match self {
            Self::Cpus(cpus) => guest.cpus == *cpus,
            Self::Memory(bytes) => guest.memory == *bytes,
            Self::Cmdline(text) => guest.cmdline == *text,
            Self::Clone(warmth) => guest.clone == *warmth,
            Self::ZramSize(bytes) => matches!(&guest.swap, Some(Swap::Zram { size, .. }) if size == bytes),
            Self::Algorithm(name) => matches!(&guest.swap, Some(Swap::Zram { algorithm, .. }) if algorithm == name),
        }
    }
}

fn expected(found: &str, wanted: &str) -> Problem {
    Problem { message: format!("found '{found}', expected {wanted}"), hint: None }
}

/// One setting and its value.
pub(super) enum Setting {
    Guest(GuestValue),
    Arg { test: Option<String>, key: String, value: String },
}

impl Setting {
    /// Whether it sets an argument of the test `name`.
    pub(super) fn is_of_test(&self, name: &str) -> bool {
        matches!(self, Self::Arg { test, .. } if test.as_ref().is_none_or(|test| test == name))
    }
}

/// The settings of the guest among these.
pub(super) fn guest_values(settings: &[Setting]) -> impl Iterator<Item = &GuestValue> {
    settings.iter().filter_map(|setting| match setting {
        Setting::Guest(value) => Some(value),
        Setting::Arg { .. } => None,
    })
}

/// The arguments of the test `name` among these, as (key, value).
pub(super) fn args_for<'a>(settings: &'a [Setting], name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    settings.iter().filter_map(move |setting| match setting {
        Setting::Arg { key, value, .. } if setting.is_of_test(name) => Some((key.as_str(), value.as_str())),
        _ => None,
    })
}

/// An entry of `include` or `exclude`: settings, and patterns for the other parts of a cell.
#[derive(Default)]
pub(super) struct Entry {
    pub settings: Vec<Setting>,
    pub kernel: Option<String>,
    pub variant: Option<String>,
    pub test: Option<String>,
}

impl Entry {
    pub(super) fn matches_kernel(&self, (kernel, variant): (&str, &str)) -> bool {
        let matches =
            |pattern: &Option<String>, name| pattern.as_ref().is_none_or(|pattern| matches_pattern(pattern, name));
        matches(&self.kernel, kernel) && matches(&self.variant, variant)
    }

    pub(super) fn matches_names(&self, (kernel, variant, test): (&str, &str, &str)) -> bool {
        self.matches_kernel((kernel, variant))
            && self.test.as_ref().is_none_or(|pattern| matches_pattern(pattern, test))
    }

    pub(super) fn matches_settings(&self, guest: &Guest, origin: &str, test: &Test) -> bool {
        self.settings.iter().all(|setting| match setting {
            Setting::Guest(value) => value.is_in(guest),
            Setting::Arg { key, value, .. } => setting.is_of_test(origin) && test.args.get(key) == Some(value),
        })
    }

    /// Whether this entry names no test or argument, so that it covers interleavings and sweeps
    /// too.
    pub(super) fn is_of_places(&self) -> bool {
        self.test.is_none() && !self.has_args()
    }

    pub(super) fn matches_place(&self, names: (&str, &str), guest: &Guest) -> bool {
        self.matches_kernel(names) && guest_values(&self.settings).all(|value| value.is_in(guest))
    }

    pub(super) fn has_args(&self) -> bool {
        self.settings.iter().any(|setting| matches!(setting, Setting::Arg { .. }))
    }
}

/// The axes with their values, checked.
pub(super) fn axes(context: Context, path: &KeyPath, raw: &Matrix, guest: &Guest, tests: &[Test]) -> Vec<Vec<Setting>> {
    let sized = raw.axes.iter().any(|(axis, _)| axis == "guest.swap.zram.size");
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
    let problem = match (&guest.swap, axis) {
        (Some(Swap::Brd { .. }), _) if axis.starts_with("guest.swap.zram.") => {
            "the guest's swap device is brd, this axis needs zram"
        }
        (None, "guest.swap.zram.algorithm") if !sized => "the guest has no zram device whose compressor this could set",
        _ => return,
    };
    context.document.key_error(path, problem, Some("give the guest `swap: {zram: {size: 64K}}`".to_owned()));
}

/// Reads `text` as a value of `axis` and reports errors.
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
                let axis_path = if matches!(path.last(), Some(Step::Index(_))) {
                    path.parent().unwrap_or_default()
                } else {
                    path.clone()
                };
                let hint = did_you_mean_or(name, tests.iter().map(|test| test.name.as_str()), "tests of this plan");
                context.document.key_error(&axis_path, format!("there is no test '{name}'"), hint);
                return None;
            }
            context.check(path, validate::word(&key, "argument"));
            context.check(path, validate::line(&text));
            Some(Setting::Arg { test, key, value: text })
        }
    }
}

/// The entries of `include` or `exclude`, checked.
pub(super) fn entries(
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
                        || axes.iter().flat_map(|axis| guest_values(axis)).any(GuestValue::makes_zram);
                    check_zram(context, &at, key, guest, sized);
                    entry.settings.extend(setting(context, &at, key, text, tests));
                    continue;
                }
                unknown => {
                    let known = GUEST_AXES.into_iter().chain(["kernel", "variant", "test", "test.args.KEY"]);
                    let hint = did_you_mean_or(unknown, known, "known here");
                    context.document.key_error(&at, format!("unknown key `{unknown}`"), hint);
                    continue;
                }
            };
            if !names.iter().any(|name| matches_pattern(&text, name)) {
                let hint = did_you_mean_or(&text, names.iter().copied(), "in this plan");
                context.document.error(&at, format!("no {key} is called '{text}'"), hint);
            }
            *slot = Some(text);
        }
        entries.push(entry);
    }
    entries
}
