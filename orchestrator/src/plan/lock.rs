//! The lock file beside a plan, `<plan>.lock.yaml`: the exact sources, patches and fragments that
//! runs must use.
//!
//! `twinboot plan lock` writes it. While it exists, every command that reads the plan uses the
//! versions it names and refuses anything that differs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::model::{BaseConfig, ConfigLayer, Kernel, Locked, Plan};
use super::roots::Roots;
use super::validate;
use crate::plan::yaml::{Diagnostics, Document, KeyPath};

/// The format's version; no other is read.
const FORMAT: u32 = 1;

/// Hint for a lock that does not match.
const UPDATE: &str = "`twinboot plan lock --update` writes it anew; see that the change is meant";

/// What a lock file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lock {
    /// Version of the format.
    pub format: u32,
    /// Kernels by name.
    pub kernels: BTreeMap<String, LockedKernel>,
    /// SHA-256 of every fragment, base configuration and patch: relative to the data folder, or
    /// after `./` to the plan's.
    pub files: BTreeMap<String, String>,
}

/// What a kernel's source is pinned to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LockedKernel {
    /// The source as the plan or the catalogue names it.
    pub source: String,
    /// Version of the Debian package, or the git commit; none for sources that have neither.
    pub version: Option<String>,
    /// What the source must be: `sha256` of a package, an archive or a ready kernel, `git` and a
    /// commit, `dir` and a digest.
    pub identity: String,
}

/// Why a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is there and cannot be read.
    #[error("cannot read the lock file {}", path.display())]
    Read {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is malformed.
    #[error("{0}")]
    Form(Diagnostics),
}

/// A lock file that has been read, and what is wrong with it so far.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
    lock: Lock,
    document: Document,
}

/// Where the lock file of a plan is or would be: `p.lock.yaml` beside `p.yaml`.
pub fn path_of(plan: &Path) -> PathBuf {
    plan.with_extension("lock.yaml")
}

/// The files whose content decides what is built, by the names that a lock file gives them.
pub fn files(plan: &Plan, roots: &Roots) -> BTreeMap<String, PathBuf> {
    let folder = plan.path.parent().unwrap_or(Path::new(""));
    let mut paths = BTreeSet::new();
    for kernel in &plan.kernels {
        if let BaseConfig::File(path) = &kernel.base_config {
            paths.insert(path);
        }
        paths.extend(kernel.config.iter().filter_map(|layer| match layer {
            ConfigLayer::Fragment(path) => Some(path),
            ConfigLayer::Inline(_) => None,
        }));
        paths.extend(kernel.variants.iter().flat_map(|variant| &variant.patches).map(|patch| &patch.path));
    }
    let name = |path: &Path| {
        // Both ends are compared with their links followed: a plan's folder is known by its real
        // path.
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let (file, folder, data) = (real(path), real(folder), real(roots.data()));
        match (file.strip_prefix(data.join("kernels")), file.strip_prefix(&folder)) {
            (Ok(below), _) => format!("kernels/{}", below.display()),
            (_, Ok(below)) => format!("./{}", below.display()),
            _ => file.display().to_string(),
        }
    };
    paths.into_iter().map(|path| (name(path), path.clone())).collect()
}

impl Lock {
    /// A lock of `kernels` and of the files that `plan` is made with.
    ///
    /// # Errors
    ///
    /// The first file that cannot be read.
    pub fn new(
        kernels: BTreeMap<String, LockedKernel>,
        plan: &Plan,
        roots: &Roots,
    ) -> Result<Self, (PathBuf, std::io::Error)> {
        let hashed = files(plan, roots).into_iter().map(|(name, path)| match std::fs::read(&path) {
            Ok(bytes) => Ok((name, crate::cache::sha256(bytes))),
            Err(error) => Err((path, error)),
        });
        Ok(Self { format: FORMAT, kernels, files: hashed.collect::<Result<_, _>>()? })
    }

    /// The same lock in the current format.
    #[must_use]
    pub fn with_format(self) -> Self {
        Self { format: FORMAT, ..self }
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let mut text = format!(
            "# Written by `twinboot plan lock`: runs of the plan beside it use what is named here and nothing else.\n\
             # `twinboot plan lock --update` writes it anew.\nformat: {}\nkernels:{}\n",
            self.format,
            if self.kernels.is_empty() { " {}" } else { "" }
        );
        for (name, kernel) in &self.kernels {
            let _ = writeln!(text, "  {}:\n    source: {}", quoted(name), quoted(&kernel.source));
            if let Some(version) = &kernel.version {
                let _ = writeln!(text, "    version: {}", quoted(version));
            }
            let _ = writeln!(text, "    identity: {}", quoted(&kernel.identity));
        }
        let _ = writeln!(text, "files:{}", if self.files.is_empty() { " {}" } else { "" });
        for (name, sum) in &self.files {
            let _ = writeln!(text, "  {}: {}", quoted(name), quoted(sum));
        }
        text
    }
}

impl LockFile {
    /// The lock file of the plan at `plan`; none where there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is malformed.
    pub fn beside(plan: &Path) -> Result<Option<Self>, Error> {
        let path = path_of(plan);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path).map(Some).map_err(Error::Form),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// Reads a lock file given as text; `path` is where it comes from.
    ///
    /// # Errors
    ///
    /// Everything that is malformed.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Diagnostics> {
        let (lock, document) = Document::read::<Lock>(text, path);
        let Some(lock) = lock else { return Err(document.into_diagnostics()) };
        let root = KeyPath::root();
        if !document.has(&root.key("format")) {
            document.missing(&root, "format", Some(UPDATE.to_owned()));
        } else if lock.format != FORMAT && !document.damaged(&root.key("format")) {
            let message = format!("the lock has format {}, expected {FORMAT}", lock.format);
            document.error(&root.key("format"), message, Some(UPDATE.to_owned()));
        }
        for (name, kernel) in &lock.kernels {
            let at = KeyPath::keys(&["kernels", name]);
            for key in ["source", "identity"] {
                if !document.has(&at.key(key)) {
                    document.missing(&at, key, Some(UPDATE.to_owned()));
                }
            }
            let known = kernel.identity.split_once(' ').is_some_and(|(kind, digest)| {
                ["sha256", "git", "dir"].contains(&kind)
                    && digest.len() >= 32
                    && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
            });
            if document.has(&at.key("identity")) && !known {
                let message = format!("'{}' is no identity of a source", kernel.identity);
                document.error(&at.key("identity"), message, Some(UPDATE.to_owned()));
            }
        }
        for (name, sum) in &lock.files {
            if let Err(problem) = validate::sha256(sum) {
                document.error(&KeyPath::keys(&["files", name]), problem.message, Some(UPDATE.to_owned()));
            }
        }
        if document.has_errors() {
            return Err(document.into_diagnostics());
        }
        Ok(Self { path: path.to_path_buf(), lock, document })
    }

    /// What it says.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Pins the kernel's source to the locked version. Mismatches are collected for
    /// [`LockFile::verify`].
    pub fn pin(&self, kernel: &mut Kernel) {
        let named = kernel.source.to_string();
        let Some(locked) = self.lock.kernels.get(&kernel.name) else {
            let message = format!("the plan's kernel '{}' is not in the lock", kernel.name);
            self.document.error(&KeyPath::keys(&["kernels"]), message, Some(UPDATE.to_owned()));
            return;
        };
        let at = KeyPath::keys(&["kernels", &kernel.name]);
        if locked.source != named {
            let message =
                format!("kernel '{}' is locked as `{}`, and the plan has `{named}`", kernel.name, locked.source);
            self.document.error(&at.key("source"), message, Some(UPDATE.to_owned()));
            return;
        }
        let label = match &locked.version {
            Some(pinned) => kernel.source.pin(pinned),
            None => named,
        };
        kernel.locked = Some(Locked { file: self.path.clone(), label, identity: locked.identity.clone() });
    }

    /// Compares the lock with the plan that was resolved with it and with the files as they are
    /// now.
    ///
    /// # Errors
    ///
    /// All differences.
    pub fn verify(self, plan: &Plan, roots: &Roots) -> Result<(), Diagnostics> {
        let error = |path: &KeyPath, message: String| self.document.error(path, message, Some(UPDATE.to_owned()));
        for name in self.lock.kernels.keys().filter(|name| !plan.kernels.iter().any(|kernel| kernel.name == **name)) {
            error(&KeyPath::keys(&["kernels", name]), format!("the plan has no kernel '{name}'"));
        }
        let used = files(plan, roots);
        for (name, path) in &used {
            let Some(locked) = self.lock.files.get(name) else {
                error(&KeyPath::keys(&["files"]), format!("{name} is used and not in the lock"));
                continue;
            };
            let at = KeyPath::keys(&["files", name]);
            match std::fs::read(path).map(crate::cache::sha256) {
                Ok(found) if found == *locked => {}
                Ok(found) => {
                    error(&at, format!("{name} was changed: its SHA-256 is {found}, and {locked} is locked"));
                }
                Err(source) => error(&at, format!("{name} cannot be read: {source}")),
            }
        }
        for name in self.lock.files.keys().filter(|name| !used.contains_key(*name)) {
            error(&KeyPath::keys(&["files", name]), format!("the plan no longer uses {name}"));
        }
        self.document.finish()
    }
}
