//! What every resolving step needs: the document, and where to look for files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::plan::lock::LockFile;
use crate::plan::patch_files;
use crate::plan::roots::{self, Roots};
use crate::plan::schema::Scalar;
use crate::plan::validate::{self, Problem};
use crate::plan::yaml::{Document, KeyPath};
use crate::suggest::{did_you_mean_or, nearest, question};

/// What every resolving step needs.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// The plan's text, and the errors found in it.
    pub document: &'a Document,
    /// The plan's folder: relative paths start there.
    pub folder: &'a Path,
    pub roots: &'a Roots,
    pub lock: Option<&'a LockFile>,
}

impl Context<'_> {
    /// Reports a problem with the value at `path`, if there is one.
    pub(super) fn check(&self, path: &KeyPath, check: Result<(), Problem>) {
        if let Err(Problem { message, hint }) = check {
            self.document.error(path, message, hint);
        }
    }

    /// The value at `path` as it was understood; none, with an error, where it was not.
    pub(super) fn check_value<T>(&self, path: &KeyPath, value: Result<T, Problem>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(problem) => {
                self.check(path, Err(problem));
                None
            }
        }
    }

    /// Checks that the map at `path` has a legal name that is not in `seen`, and adds it there.
    pub(super) fn name<'n>(&self, path: &KeyPath, name: &'n str, what: &str, seen: &mut BTreeMap<&'n str, usize>) {
        let at = path.key("name");
        if !self.document.has(&at) {
            self.document.missing(path, "name", Some(format!("every {what} has one: `name: …`")));
            return;
        }
        if self.document.damaged(&at) {
            return;
        }
        self.check(&at, validate::name(name));
        let position = seen.len();
        if seen.insert(name, position).is_some() && !name.is_empty() {
            self.document.error(&at, format!("another {what} is called '{name}' already"), None);
        }
    }

    /// Reports that the list `key` in the map at `path` is empty or missing.
    pub(super) fn no_items(&self, path: &KeyPath, key: &str, what: &str) {
        let at = path.key(key);
        if self.document.damaged(&at) {
            return;
        }
        if self.document.has(&at) {
            self.document.error(&at, "the list is empty", Some(format!("name at least one {what}")));
        } else {
            self.document.missing(path, key, Some(format!("name at least one {what}")));
        }
    }

    /// A map of scalars with its values as they are spelled in the file, each checked to be one
    /// line.
    pub(super) fn scalars(&self, path: &KeyPath, map: &BTreeMap<String, Scalar>) -> BTreeMap<String, String> {
        map.iter()
            .map(|(key, value)| {
                let at = path.key(key);
                let text = self.spelled(&at, value);
                self.check(&at, validate::line(&text));
                (key.clone(), text)
            })
            .collect()
    }

    /// A scalar as it is spelled in the file: `6.10` is not 6.1.
    pub(super) fn spelled(&self, path: &KeyPath, value: &Scalar) -> String {
        self.document.spelling(path).unwrap_or(&value.0).to_owned()
    }
}

impl Context<'_> {
    /// Resolves a path relative to the plan's folder.
    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.join(path)
    }

    /// The file that the plan names at `at`; reports it when it is missing.
    pub(super) fn file(&self, at: &KeyPath, path: impl AsRef<Path>, what: &str) -> PathBuf {
        self.existing(at, path.as_ref(), what, Path::is_file)
    }

    /// The folder that the plan names at `at`; reports it when it is missing.
    pub(super) fn directory(&self, at: &KeyPath, path: impl AsRef<Path>, what: &str) -> PathBuf {
        self.existing(at, path.as_ref(), what, Path::is_dir)
    }

    fn existing(&self, at: &KeyPath, path: &Path, what: &str, is_there: fn(&Path) -> bool) -> PathBuf {
        let found = self.path(path);
        if path.as_os_str().is_empty() {
            self.document.error(at, format!("the path of the {what} is empty"), None);
        } else if !is_there(&found) {
            let message = format!("there is no {what} {}", path.display());
            let hint = if found.exists() {
                Some("something else has that name".to_owned())
            } else if path.is_absolute() {
                None
            } else {
                Some("relative paths start at the plan's folder".to_owned())
            };
            self.document.error(at, message, hint);
        }
        found
    }

    /// A configuration fragment, by name or by path.
    pub(super) fn fragment(&self, at: &KeyPath, name: &str) -> PathBuf {
        if name.contains('/') || Path::new(name).extension().is_some_and(|extension| extension == "config") {
            return self.file(at, name, "configuration fragment");
        }
        let path = self.roots.fragment(name);
        if !path.is_file() {
            let known = self.roots.fragments();
            let hint = did_you_mean_or(name, known.iter().map(String::as_str), "in kernels/config");
            self.document.error(at, format!("there is no configuration fragment '{name}'"), hint);
        }
        path
    }

    /// An image recipe, by name or by path.
    pub(super) fn recipe(&self, at: &KeyPath, name: &str) -> PathBuf {
        let has_suffix = Path::new(name).extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if name.contains('/') || has_suffix {
            return self.file(at, name, "image recipe");
        }
        let path = self.roots.recipe(name);
        if !path.is_file() {
            let known = self.roots.recipes();
            let hint = did_you_mean_or(name, known.iter().map(String::as_str), "in images");
            self.document.error(at, format!("there is no image recipe '{name}'"), hint);
        }
        path
    }

    /// The patches that `name` stands for, for a kernel of `series`: one, or all of a folder, of a quilt series, or of a
    /// pattern. Next to the plan, else in the data folder.
    pub(super) fn patches(&self, at: &KeyPath, name: &str, series: Option<&str>) -> Vec<PathBuf> {
        if let Some((message, hint)) = patch_files::refusal(name) {
            self.document.error(at, message, Some(hint.to_owned()));
            return vec![self.path(name)];
        }
        let shipped = series.map(|series| self.roots.patches(series).join(name));
        let places = std::iter::once(self.path(name)).chain(shipped);
        for place in places {
            match patch_files::expand(&place) {
                Ok(Some(files)) => return files,
                Ok(None) => {}
                Err(problem) => {
                    self.document.error(at, problem, None);
                    return vec![place];
                }
            }
        }
        vec![self.patch(at, name, series)]
    }

    /// A patch for a kernel of `series`: next to the plan, else in the data folder.
    fn patch(&self, at: &KeyPath, name: &str, series: Option<&str>) -> PathBuf {
        let beside = self.path(name);
        if name.is_empty() {
            self.document.error(at, "the patch's name is empty", None);
            return beside;
        }
        if beside.is_file() {
            return beside;
        }
        let Some(series) = series else {
            let hint = "to look in kernels/patches/<series> too, give the kernel a `series: '6.1'`".to_owned();
            self.document.error(at, format!("there is no patch {name} next to the plan"), Some(hint));
            return beside;
        };
        let shipped = self.roots.patches(series).join(name);
        if shipped.is_file() {
            return shipped;
        }
        let mut known = roots::names(&self.roots.patches(series), "");
        known.extend(roots::names(self.folder, ".patch").into_iter().map(|stem| format!("{stem}.patch")));
        // Compared without the ending that makes all patches alike.
        let stem = |name: &str| name.trim_end_matches(".patch").to_owned();
        let stems: Vec<String> = known.iter().map(|name| stem(name)).collect();
        let hint = nearest(&stem(name), stems.iter().map(String::as_str))
            .and_then(|near| known.iter().find(|name| stem(name) == near))
            .map(|near| question(near));
        let message = format!("there is no patch {name}, neither next to the plan nor in kernels/patches/{series}");
        self.document.error(at, message, hint);
        shipped
    }
}
