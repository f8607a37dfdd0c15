//! `when:` conditions, held against what is known of a kernel's version before anything is fetched.

use super::Context;
use crate::plan::model::{Kernel, Location, Source};
use crate::plan::version::{Condition, Version};
use crate::plan::yaml::KeyPath;

/// The condition at `path`, when it does not hold for `kernel`. One that cannot be read or answered is an error.
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

/// As much of a kernel's version as its source's name tells, else its series.
fn known(kernel: &Kernel) -> Option<Version> {
    let of_name = |name: &str| {
        let start = name.find(|c: char| c.is_ascii_digit())?;
        Version::leading(name[start..].trim_end_matches('.'))
    };
    let series = kernel.series.as_deref().and_then(Version::leading);
    let named = match &kernel.source {
        Source::Debian { version: Some(version), .. } => Version::leading(version),
        Source::Git { rev, .. } if rev.starts_with('v') => of_name(rev),
        Source::Tarball { location, .. } => match location {
            Location::Path(path) => path.file_name().and_then(|name| of_name(&name.to_string_lossy())),
            Location::Url(url) => url.rsplit('/').next().and_then(of_name),
        },
        _ => None,
    };
    // A name that says something else than the series, such as that of a branch, is not about the version.
    named.filter(|named| series.as_ref().is_none_or(|series| named.begins_with(series))).or(series)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::plan::model::BaseConfig;

    fn of(source: Source, series: Option<&str>) -> Option<String> {
        let kernel = Kernel {
            name: "k".to_owned(),
            series: series.map(str::to_owned),
            source,
            locked: None,
            notes: None,
            base_config: BaseConfig::Allnoconfig,
            config: Vec::new(),
            variants: Vec::new(),
        };
        known(&kernel).map(|version| version.to_string())
    }

    #[test]
    fn a_version_is_read_from_what_is_named() {
        let debian = |version: Option<&str>| Source::Debian {
            package: "linux-source-6.1".to_owned(),
            suite: None,
            version: version.map(str::to_owned),
        };
        assert_eq!(of(debian(Some("6.1.192-2")), Some("6.1")).as_deref(), Some("6.1.192"));
        assert_eq!(of(debian(None), Some("6.1")).as_deref(), Some("6.1"));
        let git = |rev: &str| Source::Git { location: Location::Path(PathBuf::new()), rev: rev.to_owned() };
        assert_eq!(of(git("v6.1.55"), None).as_deref(), Some("6.1.55"));
        assert_eq!(of(git("v2-fix"), Some("6.1")).as_deref(), Some("6.1"));
        assert_eq!(of(git("0123abc"), None), None);
        let tarball = |url: &str| Source::Tarball { location: Location::Url(url.to_owned()), sha256: String::new() };
        assert_eq!(of(tarball("https://example.org/linux-6.6.30.tar.xz"), None).as_deref(), Some("6.6.30"));
    }
}
