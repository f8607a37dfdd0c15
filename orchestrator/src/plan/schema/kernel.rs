//! Kernels, variants, and the catalogue of kernels.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::value::{OrText, Scalar};
use crate::journal::rules::Expectation;

/// A source tree at a version, its configuration, and what is built of it. Without a `source` the
/// kernel is the one of that name in the catalogue, `kernels/sources.yaml`, and what is written
/// here replaces what stands there; its name alone is enough (`kernels: [linux-6.1, linux-5.10]`).
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name"]))]
pub struct Kernel {
    /// Name, unique in the plan: letters, digits, `.`, `_`, `+` and `-`.
    #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._+-]*$"))]
    pub name: String,
    /// Where the tree comes from: exactly one of the keys below; the catalogue's unless given.
    pub source: Option<Source>,
    /// Folder under `kernels/patches/` in which patches are looked up, such as `'6.1'`. Taken from
    /// the name of the Debian package, or from the first `6.1`-like part of the kernel's name,
    /// unless given.
    pub series: Option<String>,
    /// What the configuration is built on: `allnoconfig`, `defconfig`, or the path of a `.config`
    /// file.
    pub base_config: BaseConfig,
    /// Layers over it, later ones win: names of fragments in `kernels/config/` (`swap` is
    /// `kernels/config/swap.config`), paths of fragments (with a `/` or `.config` in them), or
    /// options written out (`{PREEMPT: y, HZ: 1000}`). An option that does not survive `make
    /// olddefconfig` is an error.
    pub config: Vec<OrText<BTreeMap<String, Scalar>>>,
    /// What to build of this kernel, instead of the plan's `variants`.
    #[schemars(length(min = 1))]
    pub variants: Option<Vec<Variant>>,
}

/// Where a kernel comes from. Relative paths start at the plan's folder.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct Source {
    /// A `linux-source-*` package of Debian, by its name alone or with suite and version; apt
    /// fetches and verifies it.
    pub debian: Option<OrText<Debian>>,
    /// A revision of a git repository, checked out apart from it.
    pub git: Option<Git>,
    /// An unpacked tree, built as it stands.
    pub dir: Option<PathBuf>,
    /// A tar archive, compressed or not.
    pub tarball: Option<Tarball>,
    /// A kernel that is built already: `bzImage` or `vmlinux`, by its path alone or with modules
    /// and configuration.
    pub image: Option<OrText<Image>>,
}

/// A Debian source package.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["package"]))]
pub struct Debian {
    /// Package, such as `linux-source-6.1`.
    pub package: String,
    /// Suite to take it from, such as `bookworm-security`; what apt would take unless given.
    pub suite: Option<String>,
    /// Exact version of the package; the newest unless given.
    pub version: Option<String>,
}

/// A git repository at a revision: `rev` and either `path` or `url`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["rev"]))]
pub struct Git {
    /// Repository on this machine.
    pub path: Option<PathBuf>,
    /// Repository elsewhere.
    pub url: Option<String>,
    /// Commit, tag or branch.
    pub rev: String,
}

/// A tar archive: `sha256` and either `path` or `url`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["sha256"]))]
pub struct Tarball {
    /// Archive on this machine.
    pub path: Option<PathBuf>,
    /// Archive elsewhere.
    pub url: Option<String>,
    /// Its SHA-256 in 64 hex digits; another archive is refused.
    #[schemars(regex(pattern = "^[0-9A-Fa-f]{64}$"))]
    pub sha256: String,
}

/// A kernel that is built already.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["kernel"]))]
pub struct Image {
    /// `bzImage` or `vmlinux`.
    pub kernel: PathBuf,
    /// Folder of its modules (`lib/modules/<release>`).
    pub modules: Option<PathBuf>,
    /// Its `.config`, for the record.
    pub config: Option<PathBuf>,
}

/// `allnoconfig`, `defconfig`, or the path of a `.config` file.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct BaseConfig(pub String);

impl Default for BaseConfig {
    fn default() -> Self {
        Self("allnoconfig".to_owned())
    }
}

/// A kernel plus patches. A variant that expects `corrupt` and has no `base` is a base: the
/// positive control that the others are held against.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name", "expect"]))]
pub struct Variant {
    /// Name, unique within the kernel: letters, digits, `.`, `_`, `+` and `-`.
    #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._+-]*$"))]
    pub name: String,
    /// Patches in the order they are applied, looked up next to the plan and then in
    /// `kernels/patches/<series>/`; none for the kernel as it is. A folder, a quilt `series` file or
    /// a pattern with `*` stands for all patches in it, in their order.
    pub patches: Vec<OrText<PatchFile>>,
    /// A revision in place of the one that a kernel with a `git` source names: commit, tag or
    /// branch of the same repository. Patches come on top of it. A lock file does not pin it.
    pub rev: Option<String>,
    /// A ready kernel in place of the one that a kernel with an `image` source names, so that two
    /// of them can be compared.
    pub image: Option<OrText<Image>>,
    /// What a run must show to succeed: `corrupt` at least one corruption, `clean` none in enough
    /// exposures, `any` whatever is seen.
    pub expect: Option<Expectation>,
    /// Name of the base it is compared with; the kernel's first base unless given.
    pub base: Option<String>,
    /// Kernels it is built for, as patterns with `*` and `?`; all unless given.
    #[schemars(length(min = 1))]
    pub kernels: Option<Vec<String>>,
    /// Versions it is built for, as bounds with commas between them: `">=6.1,<6.13"`; all unless
    /// given. A bound (`=`, `!=`, `<`, `<=`, `>`, `>=`) is compared in the numbers it has, so that
    /// `=6.1` takes every 6.1.y and `>6.1` begins with 6.2. What is known of a version without
    /// fetching anything counts: the version of the package, revision or archive that the plan or
    /// its lock file names, else the series.
    #[schemars(length(min = 1))]
    pub when: Option<String>,
    /// It is judged by itself and compared with nothing: a kernel that the race was never in.
    pub alone: bool,
}

/// A plain diff or a `git format-patch` mail.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["file"]))]
pub struct PatchFile {
    /// Its name or path.
    pub file: String,
    /// Apply it in reverse, to take a fix out.
    pub reverse: bool,
    /// Versions that need it, as for a variant; it is left out of the others. All unless given.
    #[schemars(length(min = 1))]
    pub when: Option<String>,
}

/// Kernels that plans may name without saying where they come from, by their names.
pub type Catalogue = BTreeMap<String, CatalogueEntry>;

/// What a kernel of the catalogue is, where the plan says nothing else.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["source"]))]
pub struct CatalogueEntry {
    /// Where the tree comes from. Relative paths start at `kernels/`.
    pub source: Option<Source>,
    /// Folder under `kernels/patches/`; taken from the Debian package or the kernel's name unless
    /// given.
    pub series: Option<String>,
    /// What the configuration is built on.
    pub base_config: BaseConfig,
    /// Layers over it, as in a plan.
    pub config: Vec<OrText<BTreeMap<String, Scalar>>>,
    /// What a reader should know of this kernel; shown by `twinboot plan show`.
    pub notes: String,
}
