//! Variants: patches, what each is compared with, and which versions they are for.

use std::collections::BTreeMap;

use super::context::Context;
use super::kernels;
use crate::journal::rules::Expectation;
use crate::plan::conditions::{Condition, Version, matches_pattern};
use crate::plan::model::{Kernel, LeftOut, Patch, Source, Variant};
use crate::plan::schema::{self, OrText, PatchFile};
use crate::plan::yaml::KeyPath;
use crate::suggest::did_you_mean_or;

/// Gives every kernel its own variants, or else the plan's. Returns what `when` leaves out.
pub(super) fn resolve(
    context: Context,
    shared_variants: &[schema::Variant],
    kernels: &[schema::Kernel],
    resolved: &mut [Kernel],
) -> Vec<LeftOut> {
    let mut left_out = Vec::new();
    let shared = KeyPath::keys(&["variants"]);
    let needs_shared = kernels.iter().any(|kernel| kernel.variants.is_none());
    if shared_variants.is_empty() && (needs_shared || context.document.has(&shared)) && !kernels.is_empty() {
        context.no_items(&KeyPath::root(), "variants", "variant");
    }
    check_list(context, &shared, shared_variants, kernels);
    for (index, (kernel, resolved)) in kernels.iter().zip(resolved).enumerate() {
        let own = KeyPath::keys(&["kernels"]).index(index).key("variants");
        match &kernel.variants {
            Some(variants) => {
                if variants.is_empty() && context.document.has(&own) {
                    context.no_items(&KeyPath::keys(&["kernels"]).index(index), "variants", "variant");
                }
                check_list(context, &own, variants, kernels);
                of_kernel(context, &own, variants, resolved, &mut left_out);
            }
            None if context.document.has(&own) => {}
            None => of_kernel(context, &shared, shared_variants, resolved, &mut left_out),
        }
        let none_given = kernel.variants.as_ref().map_or(shared_variants.is_empty(), Vec::is_empty);
        if resolved.variants.is_empty() && !none_given {
            let at = KeyPath::keys(&["kernels"]).index(index).key("name");
            let message = format!("no variant is built for kernel '{}'", kernel.name);
            context.document.error(&at, message, Some("see `kernels` and `when` of the variants".to_owned()));
        }
    }
    left_out
}

/// Checks what does not depend on the kernel.
fn check_list(context: Context, path: &KeyPath, variants: &[schema::Variant], kernels: &[schema::Kernel]) {
    let mut seen = BTreeMap::new();
    for (index, variant) in variants.iter().enumerate() {
        let path = path.index(index);
        context.name(&path, &variant.name, "variant", &mut seen);
        if variant.expect.is_none() {
            let hint = "what a run must show: `corrupt`, `clean` or `any`";
            context.document.missing(&path, "expect", Some(hint.to_owned()));
        }
        if variant.alone && variant.base.is_some() {
            let hint = "take one of the two out".to_owned();
            let message = format!("variant '{}' is alone and has a base", variant.name);
            context.document.key_error(&path.key("alone"), message, Some(hint));
        }
        let Some(patterns) = &variant.kernels else { continue };
        if patterns.is_empty() {
            context.no_items(&path, "kernels", "pattern");
        }
        for (index, pattern) in patterns.iter().enumerate() {
            if !kernels.iter().any(|kernel| matches_pattern(pattern, &kernel.name)) {
                let hint =
                    did_you_mean_or(pattern, kernels.iter().map(|kernel| kernel.name.as_str()), "kernels of this plan");
                let message = format!("no kernel is called '{pattern}'");
                context.document.error(&path.key("kernels").index(index), message, hint);
            }
        }
    }
}

fn is_base(variant: &schema::Variant) -> bool {
    variant.expect == Some(Expectation::Corrupt) && variant.base.is_none() && !variant.alone
}

/// Resolves those of `variants` that are built for `kernel`.
fn of_kernel(
    context: Context,
    path: &KeyPath,
    variants: &[schema::Variant],
    kernel: &mut Kernel,
    left_out: &mut Vec<LeftOut>,
) {
    let built_for = |variant: &schema::Variant| {
        let patterns = variant.kernels.as_ref();
        patterns.is_none_or(|patterns| patterns.iter().any(|pattern| matches_pattern(pattern, &kernel.name)))
    };
    let mut ours: Vec<(usize, &schema::Variant)> =
        variants.iter().enumerate().filter(|(_, variant)| built_for(variant)).collect();
    ours.retain(|(index, variant)| {
        let broken = broken(context, &path.index(*index).key("when"), variant.when.as_deref(), kernel);
        if let Some(when) = broken {
            let (kernel, variant) = (kernel.name.clone(), variant.name.clone());
            left_out.push(LeftOut { kernel, variant, patch: None, when });
            return false;
        }
        true
    });
    let bases: Vec<&str> =
        ours.iter().filter(|(_, variant)| is_base(variant)).map(|(_, variant)| variant.name.as_str()).collect();
    let unsure = ours.iter().any(|(_, variant)| variant.expect.is_none());
    let mut resolved: Vec<Variant> = Vec::new();
    for (index, variant) in ours {
        let path = path.index(index);
        let mut patches = Vec::new();
        for (index, patch) in variant.patches.iter().enumerate() {
            let at = path.key("patches").index(index);
            match needed(context, &at, patch, kernel) {
                Ok(()) => patches.extend(self::patches(context, &at, patch, kernel)),
                Err((file, when)) => left_out.push(LeftOut {
                    kernel: kernel.name.clone(),
                    variant: variant.name.clone(),
                    patch: Some(file),
                    when,
                }),
            }
        }
        let resolved_variant = Variant {
            name: variant.name.clone(),
            patches,
            rev: variant.rev.clone(),
            image: variant.image.as_ref().map(|image| kernels::image(context, &path.key("image"), image)),
            // An error has been noted where there is none.
            expect: variant.expect.unwrap_or(Expectation::Any),
            base: base(context, &path, variant, (&bases, unsure), kernel),
        };
        check_image(context, &path, variant, kernel);
        check_rev(context, &path, variant, kernel);
        if !context.document.damaged(&path) {
            check_different(context, &path, &resolved_variant, &resolved, kernel);
        }
        resolved.push(resolved_variant);
    }
    kernel.variants = resolved;
}

/// Succeeds if the kernel's version needs the patch; otherwise gives its name and the condition.
fn needed(context: Context, path: &KeyPath, raw: &OrText<PatchFile>, kernel: &Kernel) -> Result<(), (String, String)> {
    let OrText::Full(raw) = raw else { return Ok(()) };
    match broken(context, &path.key("when"), raw.when.as_deref(), kernel) {
        Some(when) => Err((raw.file.clone(), when)),
        None => Ok(()),
    }
}

/// The patches that one item of the list stands for, in the order they are applied.
fn patches(context: Context, path: &KeyPath, raw: &OrText<PatchFile>, kernel: &Kernel) -> Vec<Patch> {
    let (at, file, reverse) = match raw {
        OrText::Text(file) => (path.clone(), file, false),
        OrText::Full(raw) => (path.key("file"), &raw.file, raw.reverse),
    };
    if file.is_empty() && (context.document.damaged(&at) || !context.document.has(&at)) {
        context.document.missing(path, "file", Some("the name of a patch".to_owned()));
        return vec![Patch { path: context.path(file), reverse }];
    }
    let mut files = context.patches(&at, file, kernel.series.as_deref());
    // What is taken out goes last first.
    if reverse {
        files.reverse();
    }
    files.into_iter().map(|path| Patch { path, reverse }).collect()
}

/// Checks that a revision is one, and of a git repository.
fn check_rev(context: Context, path: &KeyPath, variant: &schema::Variant, kernel: &Kernel) {
    let Some(rev) = &variant.rev else { return };
    let at = path.key("rev");
    if !matches!(kernel.source, Source::Git { .. }) {
        let message = format!("{} does not come from git, so a variant of it has no `rev`", called(kernel));
        let hint = "give the kernel a `source: {git: {path: …, rev: …}}`, or the variant patches";
        context.document.key_error(&at, message, Some(hint.to_owned()));
    }
    kernels::check_rev(context, &at, rev);
}

/// Checks that patches are only for sources, and ready kernels only for ready kernels.
fn check_image(context: Context, path: &KeyPath, variant: &schema::Variant, kernel: &Kernel) {
    let ready = kernel.source.is_ready();
    if ready && !variant.patches.is_empty() {
        let message = format!("{} is built already and cannot be patched", called(kernel));
        let hint = "give the variant an `image:` of its own, or the kernel a source that can be built";
        context.document.key_error(&path.key("patches"), message, Some(hint.to_owned()));
    }
    if !ready && variant.image.is_some() {
        let message = format!("{} is built from source and cannot be compared with a ready one", called(kernel));
        let hint = "they may differ in more than the patch; make the kernel's source an `image` too";
        context.document.key_error(&path.key("image"), message, Some(hint.to_owned()));
    }
}

/// Reports two variants that would be the same kernel: there is nothing to compare.
fn check_different(context: Context, path: &KeyPath, variant: &Variant, before: &[Variant], kernel: &Kernel) {
    fn ready<'a>(variant: &'a Variant, kernel: &'a Kernel) -> Option<&'a std::path::PathBuf> {
        match variant.image.as_ref().unwrap_or(&kernel.source) {
            Source::Image { kernel, .. } => Some(kernel),
            _ => None,
        }
    }
    let same = |other: &&Variant| {
        other.patches == variant.patches
            && ready(other, kernel) == ready(variant, kernel)
            && kernel.source_of(other) == kernel.source_of(variant)
    };
    let Some(other) = before.iter().find(same) else { return };
    let what = if ready(variant, kernel).is_some() { "image" } else { "patches" };
    let message =
        format!("variants '{}' and '{}' of {} have the same {what}", other.name, variant.name, called(kernel));
    let hint = "they would be one kernel, with nothing to compare; change one of them or take it out";
    context.document.error(path, message, Some(hint.to_owned()));
}

/// The base that a variant is compared with; none for a base. `unsure` is set when an unreadable
/// variant may be a base.
fn base(
    context: Context,
    path: &KeyPath,
    variant: &schema::Variant,
    (bases, unsure): (&[&str], bool),
    kernel: &Kernel,
) -> Option<String> {
    let at = path.key("base");
    if let Some(name) = &variant.base {
        if !bases.contains(&name.as_str()) {
            let message = if *name == variant.name {
                format!("variant '{name}' names itself as its base")
            } else {
                format!("{} has no base '{name}'", called(kernel))
            };
            let hint = "a base is a variant with `expect: corrupt` and no `base`";
            let hint = match bases {
                [] => hint.to_owned(),
                _ => format!("{hint}; there are: {}", bases.join(", ")),
            };
            context.document.error(&at, message, Some(hint));
        }
        return Some(name.clone());
    }
    if variant.alone {
        return None;
    }
    // What it expects, or its base, was there and unreadable: told already.
    if variant.expect.is_none() || is_base(variant) || context.document.has(&at) {
        return None;
    }
    if bases.is_empty() && !unsure {
        let message = format!("variant '{}' of {} has nothing to be compared with", variant.name, called(kernel));
        let hint = "add a variant that expects `corrupt`, the positive control, or name one with `base:`, or have it judged `alone: true`";
        context.document.error(path, message, Some(hint.to_owned()));
    }
    bases.first().map(|base| (*base).to_owned())
}

fn called(kernel: &Kernel) -> String {
    if kernel.name.is_empty() { "the unnamed kernel".to_owned() } else { format!("kernel '{}'", kernel.name) }
}

/// The condition at `path` if it does not hold for `kernel`. A condition that cannot be read or
/// decided is an error.
pub(super) fn broken(context: Context, path: &KeyPath, when: Option<&str>, kernel: &Kernel) -> Option<String> {
    let condition = match Condition::parse(when?) {
        Ok(condition) => condition,
        Err(bound) => {
            let message = format!("'{bound}' is no bound on a version");
            let hint = "such as `when: \">=6.1,<6.13\"`; =, !=, <, <=, > and >= are known, `and` is a comma";
            context.document.error(path, message, Some(hint.to_owned()));
            return None;
        }
    };
    let Some(known) = known(kernel) else {
        let message = format!("nothing tells the version of kernel '{}', so '{condition}' has no answer", kernel.name);
        context.document.error(path, message, Some("give the kernel a `series: '6.1'`".to_owned()));
        return None;
    };
    match condition.holds(&known) {
        Some(true) => None,
        Some(false) => Some(condition.to_string()),
        None => {
            let message =
                format!("kernel '{}' is only known to be a {known}, so '{condition}' has no answer", kernel.name);
            let hint = "name the `version` of its Debian package, or pin it with `twinboot plan lock`";
            context.document.error(path, message, Some(hint.to_owned()));
            None
        }
    }
}

/// What is known of a kernel's version: from its source's name, or else its series.
fn known(kernel: &Kernel) -> Option<Version> {
    let series = kernel.series.as_deref().and_then(Version::leading);
    // A name that says something else than the series, such as that of a branch, is not about the
    // version.
    let named = kernel.source.named_version();
    named.filter(|named| series.as_ref().is_none_or(|series| named.begins_with(series))).or(series)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::plan::model::{BaseConfig, Location};

    #[test]
    fn a_name_counts_where_it_fits_the_series() {
        let known = |rev: &str, series: Option<&str>| {
            let kernel = Kernel {
                name: "k".to_owned(),
                series: series.map(str::to_owned),
                source: Source::Git { location: Location::Path(PathBuf::new()), rev: rev.to_owned() },
                locked: None,
                notes: None,
                base_config: BaseConfig::Allnoconfig,
                config: Vec::new(),
                variants: Vec::new(),
            };
            known(&kernel).map(|version| version.to_string())
        };
        assert_eq!(known("v6.1.55", Some("6.1")).as_deref(), Some("6.1.55"));
        assert_eq!(known("v2-fix", Some("6.1")).as_deref(), Some("6.1"));
        assert_eq!(known("main", Some("6.1")).as_deref(), Some("6.1"));
        assert_eq!(known("main", None), None);
    }
}
