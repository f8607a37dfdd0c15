//! Where kernels come from: the kinds of sources, their one-line form, and the version that a name
//! reveals.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::conditions::Version;

/// Where a kernel comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A Debian `linux-source-*` package, fetched and verified by apt.
    Debian {
        /// Package name.
        package: String,
        /// Suite to take it from; the machine's own choice when absent.
        suite: Option<String>,
        /// Exact package version; the newest when absent.
        version: Option<String>,
    },
    /// A git repository at a revision.
    Git {
        /// Local path or URL.
        location: Location,
        /// Revision: commit, tag or branch.
        rev: String,
    },
    /// An unpacked tree, built as it stands and never written to.
    Dir(PathBuf),
    /// A (compressed) tar archive.
    Tarball {
        /// Local path or URL.
        location: Location,
        /// Expected SHA-256, lowercase hex.
        sha256: String,
    },
    /// A kernel that is built already.
    Image {
        /// `bzImage` or `vmlinux`.
        kernel: PathBuf,
        /// Directory of modules to take along (`lib/modules/<release>`).
        modules: Option<PathBuf>,
        /// Its `.config`, for the record.
        config: Option<PathBuf>,
    },
}

/// A file or a repository: here or elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    /// On this machine.
    Path(PathBuf),
    /// Fetched by `git` or `curl`.
    Url(String),
}

impl Source {
    /// Whether it is a kernel that is built already.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Image { .. } => true,
            Self::Debian { .. } | Self::Git { .. } | Self::Dir(_) | Self::Tarball { .. } => false,
        }
    }

    /// The patch series that it names, such as `6.1`.
    pub fn series(&self) -> Option<String> {
        match self {
            Self::Debian { package, .. } => package.strip_prefix("linux-source-").and_then(series_in),
            Self::Git { .. } | Self::Dir(_) | Self::Tarball { .. } | Self::Image { .. } => None,
        }
    }

    /// The kernel's version as far as the source's name reveals it.
    pub fn named_version(&self) -> Option<Version> {
        let of_name = |name: &str| {
            let start = name.find(|c: char| c.is_ascii_digit())?;
            Version::leading(name[start..].trim_end_matches('.'))
        };
        match self {
            Self::Debian { version, .. } => version.as_deref().and_then(Version::leading),
            Self::Git { rev, .. } => rev.starts_with('v').then(|| of_name(rev)).flatten(),
            Self::Tarball { location, .. } => of_name(location.file_name()),
            Self::Dir(_) | Self::Image { .. } => None,
        }
    }

    /// Pins the version, for the kinds that have one, and returns a label for people.
    pub fn pin(&mut self, pinned: &str) -> String {
        match self {
            Self::Debian { version, package, .. } => {
                *version = Some(pinned.to_owned());
                format!("{package} {pinned}")
            }
            Self::Git { rev, .. } => {
                let label = format!("{rev} (commit {pinned})");
                pinned.clone_into(rev);
                label
            }
            Self::Dir(_) | Self::Tarball { .. } | Self::Image { .. } => self.to_string(),
        }
    }
}

impl fmt::Display for Source {
    /// One line, as the plan names the source. Lock files contain this text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian { package, suite, version } => {
                write!(f, "debian {package}")?;
                suite.iter().try_for_each(|suite| write!(f, " from {suite}"))?;
                version.iter().try_for_each(|version| write!(f, " version {version}"))
            }
            Self::Git { location, rev } => write!(f, "git {location} at {rev}"),
            Self::Dir(path) => write!(f, "dir {}", path.display()),
            Self::Tarball { location, sha256 } => write!(f, "tarball {location} {sha256}"),
            Self::Image { kernel, .. } => write!(f, "image {}", kernel.display()),
        }
    }
}

impl Location {
    fn file_name(&self) -> &str {
        match self {
            Self::Path(path) => path.file_name().and_then(|name| name.to_str()).unwrap_or_default(),
            Self::Url(url) => url.rsplit('/').next().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Url(url) => f.write_str(url),
        }
    }
}

/// The first `6.1`-like part of a name.
pub(super) fn series_in(name: &str) -> Option<String> {
    let mut runs = name.split(|c: char| !c.is_ascii_digit() && c != '.');
    runs.find_map(|run| {
        let mut numbers = run.split('.');
        let (major, minor) = (numbers.next()?, numbers.next()?);
        (!major.is_empty() && !minor.is_empty()).then(|| format!("{major}.{minor}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_what_is_named() {
        let told = |source: Source| source.named_version().map(|version| version.to_string());
        let debian = |version: Option<&str>| Source::Debian {
            package: "linux-source-6.1".to_owned(),
            suite: None,
            version: version.map(str::to_owned),
        };
        assert_eq!(told(debian(Some("6.1.192-2"))).as_deref(), Some("6.1.192"));
        assert_eq!(told(debian(None)), None);
        let git = |rev: &str| Source::Git { location: Location::Path(PathBuf::new()), rev: rev.to_owned() };
        assert_eq!(told(git("v6.1.55")).as_deref(), Some("6.1.55"));
        assert_eq!(told(git("0123abc")), None);
        let tarball = |url: &str| Source::Tarball { location: Location::Url(url.to_owned()), sha256: String::new() };
        assert_eq!(told(tarball("https://example.org/linux-6.6.30.tar.xz")).as_deref(), Some("6.6.30"));
    }

    #[test]
    fn a_series_is_the_first_two_numbers() {
        for (name, series) in [
            ("linux-6.1", Some("6.1")),
            ("6.12.117-mine", Some("6.12")),
            ("v7-2.x-5.10", Some("5.10")),
            ("mainline", None),
            ("next-20240101", None),
            ("6.", None),
        ] {
            assert_eq!(series_in(name).as_deref(), series, "{name}");
        }
    }
}
